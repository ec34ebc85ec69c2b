"""Every error of Realmkeep, with the facts on which a caller decides.

A driver's exception never leaves the library: each backend maps its own, once, and raises from it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal

Outcome = Literal["not_applied", "unknown"]


class RealmkeepError(Exception):
    """The root of all errors: its text says what happened, to which key, and what to do now.

    Attributes:
        message: One sentence; it names the key, field or setting concerned.
        hint: The remedy; empty if there is none.
        retryable: True if the same call may succeed later. With the outcome `"unknown"`, repeat only a guarded or idempotent
            call: the first attempt may still be applied.
        outcome: `"not_applied"`: nothing was changed. `"unknown"`: the change happened wholly or not at all.
    """

    retryable: ClassVar[bool] = False
    outcome: ClassVar[Outcome] = "not_applied"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # By default an exception is rebuilt from its arguments alone, which fails for a subclass with required keywords.
        return _rebuilt, (type(self), self.args), self.__dict__

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def _rebuilt(error: type[RealmkeepError], args: tuple[object, ...]) -> RealmkeepError:
    return error.__new__(error, *args)


class ConfigError(RealmkeepError):
    """Settings have a wrong name, type or value; the message names each key, its value, its source and the allowed range."""


class DeploymentChanged(RealmkeepError):
    """Files of a deployment were changed since they were written, so they are not overwritten; nothing was written."""


class FileRefused(RealmkeepError, OSError):
    """A file or directory is unsafe or unusable: another user could change it, it is not a regular file, or its path is wrong.

    It was neither read nor changed. The error is an `OSError` too, so that code that handles a refusal by the system handles
    this one as well.
    """


class InvalidKey(RealmkeepError):
    """A kind, id or key does not fit the key schema."""


class RecordError(RealmkeepError):
    """The root of errors about records."""


class DefinitionError(RecordError, TypeError):
    """A record class is defined wrongly; raised when the class is defined or its migrations are checked."""


class Corrupt(RecordError):
    """Stored bytes cannot be read: malformed, truncated, or the checksum differs. The bytes are kept, never overwritten."""


class RecordTooLarge(RecordError):
    """A record exceeds the cap on bytes, depth or nodes; nothing beyond the cap was stored or allocated."""


class RecordTooNew(RecordError):
    """A stored record has a newer schema version than the code; it is refused, never downgraded."""


class MigrationFailed(RecordError):
    """A migration step is missing, raised, or did not return a dictionary; the stored bytes are unchanged."""


class InvalidRecord(RecordError):
    """A record breaks its validation rules, so it is quarantined or rejected.

    Attributes:
        issues: The report: every `realmkeep.records.issues.Issue` found.
    """

    def __init__(self, message: str, *, issues: tuple[Any, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.issues = issues


class Unstorable(RecordError):
    """A live record holds a value that cannot be stored (NaN, an integer beyond 64 bits, a foreign type); the path is named."""


class TierViolation(RecordError):
    """An `IMMEDIATE` field was changed outside a commit."""


class StorageError(RealmkeepError):
    """The root of errors about stores. Nothing was changed unless `outcome` is `"unknown"`."""


class StorageUnavailable(StorageError):
    """The store cannot be reached, is loading, or refuses for a time; nothing was changed, and a retry may succeed."""

    retryable = True


class OutcomeUnknown(StorageError):
    """The connection broke, timed out or was cancelled after the request was sent: it may or may not have been applied."""

    retryable = True
    outcome = "unknown"


class StorageFull(StorageError):
    """The store refuses writes for lack of memory or disk; nothing was changed, and a retry succeeds once there is room."""

    retryable = True


class StorageMisconfigured(StorageError):
    """The store can be reached but cannot serve Realmkeep: its version, settings, permissions or file are wrong."""


class StorageLocked(StorageError):
    """Another server has this store open; two servers on one directory or file are refused."""


class WrongType(StorageError):
    """A key holds another type than the call needs; it was not changed."""


class ValueTooLarge(StorageError):
    """A value, key or transaction exceeds the limits of the protocol; it was refused before any part was sent."""


class KeepingError(RealmkeepError):
    """The root of errors about sessions, commits and ownership."""


class Misuse(KeepingError, TypeError):
    """A call that can never work: a coroutine function as a commit's body, one session twice, a record for a session."""


class Later(KeepingError):
    """An `on_letter` hook raises this if it cannot apply the letter now: a full bag. The letter is kept and tried again."""

    retryable = True


class Return(KeepingError):
    """An `on_letter` hook raises this to refuse the letter: it goes back to its sender, with the message as the reason."""


class NameTaken(KeepingError):
    """Another keeper with this server name is alive on this store; every server of a realm needs a name of its own."""


class RescueNotDelivered(KeepingError):
    """Records that an earlier shutdown could not save are not in the store yet, so logins are refused; see the hint."""


class AlreadyOwned(KeepingError):
    """A live server owns the record.

    Attributes:
        server: The owner's name.
        wait_s: The longest time, in seconds, until the record is free if that server is dead: the rest of its lease,
            counted from the moment when this server first saw it standing still.
    """

    retryable = True

    def __init__(self, message: str, *, server: str, wait_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.server = server
        self.wait_s = wait_s


class Quarantined(KeepingError):
    """A stored record is unreadable, newer than the code, or invalid. Its bytes are kept; the login is denied.

    Attributes:
        kept_at: The key that holds a copy of the bytes for a week; empty if only the record's own key holds them.
    """

    def __init__(self, message: str, *, kept_at: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kept_at = kept_at


class SessionEnded(KeepingError):
    """The session was logged out, released or evicted; log in again for a new one."""


class OwnershipLost(SessionEnded):
    """Another server owns the record now; no further change of this session is stored."""


class SessionFrozen(KeepingError):
    """The record cannot be saved as it is (too large, invalid, unstorable); once it is mended, the session goes on."""


class NotConserved(KeepingError):
    """In strict mode: a commit made or destroyed something without a declaration, or left an item twice. Nothing happened."""


class CommitRefused(KeepingError):
    """The commit, or one that it was built on, did not happen; its sessions are as before, or ended."""

    retryable = True


class AlreadyExists(CommitRefused):
    """The commit would create a record that exists; it did not happen."""

    retryable = False


class NoSuchReceiver(CommitRefused):
    """The commit would send a letter to a record that does not exist; it did not happen."""

    retryable = False


class InboxFull(CommitRefused):
    """The commit would send a letter to a full inbox; it did not happen."""


class CommitUnknown(OwnershipLost):
    """Ownership was lost while the outcome was unknown; the op ring answers a retry at the new owner."""

    outcome = "unknown"


class CommitPending(KeepingError):
    """The store has not answered for a while. The operation goes on; await `wait()` for its outcome."""

    outcome = "unknown"

    def __init__(self, message: str, *, wait: Callable[[], Awaitable[object]], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self._wait: Callable[[], Awaitable[object]] | None = wait

    def __reduce__(self) -> tuple[object, ...]:
        # The operation lives in this process only.
        return _rebuilt, (type(self), self.args), self.__dict__ | {"_wait": None}

    async def wait(self) -> object:
        """Return the result of the call, once it is final.

        Raises:
            KeepingError: The call failed.
            Misuse: This error came from another process, where the commit is.
        """
        if self._wait is None:
            raise Misuse("the commit runs in another process", hint="wait where it was started")
        return await self._wait()


class QueueFull(KeepingError):
    """The store does not keep up and the write queue is full; the commit was refused before it ran."""

    retryable = True


class RateLimited(KeepingError):
    """A player started more tier-1 operations than the limit and its queue allow; the game may kick the player."""

    retryable = True


class OpTooOld(KeepingError):
    """The operation id is older than the record's last 32, so the op ring no longer knows it; look at the record."""


class OpReused(KeepingError):
    """This operation id belongs to another request; a client must raise its ids with each new operation."""


class ShuttingDown(KeepingError):
    """The keeper is closing and accepts no new calls."""


class NoMoreIds(KeepingError):
    """The id counter is used up, or not a number: no ids are given out until an operator mends it; all else goes on."""


class StoreWentBackwards(KeepingError):
    """The store holds an older revision than it acknowledged: it has lost data. Writing stops until an operator decides."""


class JournalError(RealmkeepError):
    """The root of errors about the archive of the journal."""


class JournalDamaged(JournalError):
    """A segment of the journal's archive is missing, changed or unreadable. Segments beside it can be read."""


class JournalUnavailable(JournalError):
    """The archive of the journal cannot be read or written now; play goes on, and its entries wait in the store."""

    retryable = True


class BackupError(RealmkeepError):
    """The root of errors about backups; the store was not changed."""


class BackupDamaged(BackupError):
    """A backup is not as it was written: a file or the manifest is missing, changed or unreadable. Use another backup."""


class BackupBusy(BackupError):
    """Another process makes or prunes backups in this directory."""

    retryable = True


class OffsiteUnavailable(BackupError):
    """The bucket for backups cannot be reached, or refuses; the backups in the directory are complete."""

    retryable = True


class MissingIdentity(BackupError):
    """A backup is encrypted, and no secret key for it was given; the key lies where the operator keeps it."""


class RestoreRefused(BackupError):
    """A store is not empty or in use, so no backup is restored into it; nothing was changed."""


class CopyRefused(RealmkeepError):
    """A store is in use, or has something else, so it is not copied, or not copied into."""


class OperatorError(RealmkeepError):
    """The root of errors about operators and their acts; nothing was changed unless `outcome` is `"unknown"`."""


class NotGranted(OperatorError):
    """The role of an operator does not allow this act, or its size."""


class NoOperator(OperatorError):
    """There is no such operator, it is disabled, or the realm has none yet; the message says which."""


class ActRefused(OperatorError):
    """An act cannot be done as asked: a value that the record refuses, a player that is not there. Nothing was changed."""


class ActPending(OperatorError):
    """The server that owns the record has not answered; ask again with the same id: the act happens once."""

    retryable = True
    outcome = "unknown"


class ApprovalNeeded(OperatorError):
    """An act of this weight needs a second admin; nothing was changed. Once one has approved it, ask again with its id."""

    retryable = True


AuthReason = Literal[
    "bad_credentials",
    "username_taken",
    "bad_username",
    "weak_password",
    "new_password_required",
    "throttled",
    "encryption_required",
    "replayed",
    "unavailable",
]


class AccountError(RealmkeepError):
    """The root of errors about accounts and credentials; no message holds a secret."""


class AuthFailed(AccountError):
    """A registration, login or change of credentials was refused; nothing was changed. A player may read the text.

    Attributes:
        reason: The wire protocol's word for the cause.
        retry_after_s: With `throttled`, the seconds until the next attempt is considered; otherwise 0.
    """

    def __init__(self, message: str, *, reason: AuthReason, retry_after_s: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason: AuthReason = reason
        self.retry_after_s = retry_after_s


class NoSuchAccount(AccountError):
    """An operator or the game named an account that does not exist."""


class MalformedHash(AccountError):
    """A stored password hash cannot be read, or asks for more work than allowed; no password matches it."""


class SealBroken(AccountError):
    """A sealed payload cannot be opened. The text is the same for every cause: a more exact one would help only attackers."""

    def __init__(
        self,
        message: str = "the sealed payload cannot be opened",
        *,
        hint: str = "seal it anew with the server's current public key",
    ) -> None:
        super().__init__(message, hint=hint)


class BadSealingKey(AccountError):
    """A public key is malformed, or the file with the server's keys is malformed or open to other users of the machine."""
