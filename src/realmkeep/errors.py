"""Every error Realmkeep raises, with the facts a caller decides on.

A driver's exception never crosses the library's boundary: each backend maps its own, once, and raises from it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal

Outcome = Literal["not_applied", "unknown"]


class RealmkeepError(Exception):
    """The root: what happened, to which key, and what to do now.

    Attributes:
        message: One sentence; names the key, field or setting concerned.
        hint: What to do now; empty where nothing can be done.
        retryable: True when the same call may succeed later. Where `outcome` is `"unknown"`, repeat only what is guarded or
            idempotent: the first attempt may still land.
        outcome: `"not_applied"`: nothing was changed. `"unknown"`: the change may or may not have happened, wholly.
    """

    retryable: ClassVar[bool] = False
    outcome: ClassVar[Outcome] = "not_applied"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # By default an exception is rebuilt from its arguments alone, which fails where a subclass requires keywords.
        return _rebuilt, (type(self), self.args), self.__dict__

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def _rebuilt(error: type[RealmkeepError], args: tuple[object, ...]) -> RealmkeepError:
    return error.__new__(error, *args)


class ConfigError(RealmkeepError):
    """Settings have a wrong name, type or value; the message names each key, its value, its source and what is allowed."""


class FileRefused(RealmkeepError, OSError):
    """A file or directory cannot be used as it is: another user could change it, it is no regular file, or its path is wrong.

    Nothing was read from it, and nothing there was changed. It is an `OSError` as well, so that code which expects the system
    to refuse a file needs no second rule.
    """


class InvalidKey(RealmkeepError):
    """A kind, id or key does not fit the key schema."""


class RecordError(RealmkeepError):
    """The root of what can be wrong with a record."""


class DefinitionError(RecordError, TypeError):
    """A record class is defined wrongly; raised at class definition or when its migrations are checked."""


class Corrupt(RecordError):
    """Stored bytes cannot be read: malformed, truncated, or the checksum differs. The bytes are kept, never overwritten."""


class RecordTooLarge(RecordError):
    """A record exceeds the cap on bytes, depth or nodes; nothing was stored or allocated beyond the cap."""


class RecordTooNew(RecordError):
    """A stored record has a newer schema version than the code; it is refused, never downgraded."""


class MigrationFailed(RecordError):
    """A migration step raised or returned something that is not a dictionary; the stored bytes are unchanged."""


class InvalidRecord(RecordError):
    """A record breaks its validation rules so that it is quarantined or rejected.

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
    """The root of what a store can answer. Nothing was changed unless `outcome` is `"unknown"`."""


class StorageUnavailable(StorageError):
    """The store cannot be reached, is loading, or refuses for a while; nothing was changed, and a retry may succeed."""

    retryable = True


class OutcomeUnknown(StorageError):
    """The connection broke, timed out or was cancelled after the request had been sent: it may or may not have been applied."""

    retryable = True
    outcome = "unknown"


class StorageFull(StorageError):
    """The store refuses writes for lack of memory or disk; nothing was changed, and a retry succeeds once there is room."""

    retryable = True


class StorageMisconfigured(StorageError):
    """The store can be reached but cannot serve Realmkeep: its version, its settings, its permissions, or a wrong file."""


class StorageLocked(StorageError):
    """Another server has this store open; running two on one directory or file is refused."""


class WrongType(StorageError):
    """A key holds a value of another type than the call needs; it was not touched."""


class ValueTooLarge(StorageError):
    """A value, key or transaction exceeds the limits of the protocol; refused before anything was sent."""


class KeepingError(RealmkeepError):
    """The root of what sessions, commits and ownership can answer."""


class Misuse(KeepingError, TypeError):
    """A call that can never work: a coroutine function as commit body, one session twice, a record for a session."""


class Later(KeepingError):
    """What a function of `on_letter` raises that cannot apply the letter now: a full bag. The letter is kept, and tried again."""

    retryable = True


class Return(KeepingError):
    """What a function of `on_letter` raises that refuses the letter: it goes back to its sender, with this message as the reason."""


class NameTaken(KeepingError):
    """Another keeper with this server name is alive on this store; every server of a realm needs a name of its own."""


class RescueNotDelivered(KeepingError):
    """What an earlier shutdown could not save is not in the store yet, so nobody is let in; the hint names the command."""


class AlreadyOwned(KeepingError):
    """A live server owns the record.

    Attributes:
        server: The name of the server that owns it.
        wait_s: After how many seconds the record is free, at most, if that server is dead: what is left of its lease, measured
            from when this server first saw that it stood still.
    """

    retryable = True

    def __init__(self, message: str, *, server: str, wait_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.server = server
        self.wait_s = wait_s


class Quarantined(KeepingError):
    """What is stored cannot be used: unreadable, newer than the code, or invalid. The bytes are kept; a login is denied.

    Attributes:
        kept_at: The key under which a copy of the bytes lies for a week; empty if only the record's own key holds them.
    """

    def __init__(self, message: str, *, kept_at: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kept_at = kept_at


class SessionEnded(KeepingError):
    """The session was logged out, released or evicted; log in again for a new one."""


class OwnershipLost(SessionEnded):
    """Another server owns the record now; nothing more of this session is stored."""


class SessionFrozen(KeepingError):
    """The record cannot be saved as it is (too large, invalid, unstorable); mend the record, then it thaws by itself."""


class CommitRefused(KeepingError):
    """The commit, or one it was built on, did not happen; its sessions are as before it, or ended."""

    retryable = True


class AlreadyExists(CommitRefused):
    """The commit would create a record that exists; nothing happened."""

    retryable = False


class NoSuchReceiver(CommitRefused):
    """The commit would send a letter to a record that does not exist; nothing happened."""

    retryable = False


class InboxFull(CommitRefused):
    """The commit would send a letter to an inbox that is full; nothing happened."""


class CommitUnknown(OwnershipLost):
    """Ownership was lost while the outcome was unknown; a retry at the new owner is answered by the op ring."""

    outcome = "unknown"


class CommitPending(KeepingError):
    """The store has not answered for a while. The operation goes on; whoever needs its outcome awaits `wait()`."""

    outcome = "unknown"

    def __init__(self, message: str, *, wait: Callable[[], Awaitable[object]], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self._wait: Callable[[], Awaitable[object]] | None = wait

    def __reduce__(self) -> tuple[object, ...]:
        # What it waits for lives in this process alone.
        return _rebuilt, (type(self), self.args), self.__dict__ | {"_wait": None}

    async def wait(self) -> object:
        """The final outcome: what the call would have returned.

        Raises:
            KeepingError: What the call would have raised.
            Misuse: This error came from another process, where the commit is.
        """
        if self._wait is None:
            raise Misuse("the commit runs in another process", hint="wait where it was started")
        return await self._wait()


class QueueFull(KeepingError):
    """The store does not keep up and the write queue is full; the commit was refused before it ran."""

    retryable = True


class RateLimited(KeepingError):
    """A player started more tier-1 operations than the limit and the bounded queue behind it allow; the game may kick."""

    retryable = True


class OpTooOld(KeepingError):
    """The operation id lies below the last 32 of this record: whether it was applied can no longer be said; look at the state."""


class OpReused(KeepingError):
    """This operation id belongs to another request; the client must raise its ids with each new operation."""


class ShuttingDown(KeepingError):
    """The keeper is closing and accepts nothing new."""


class NoMoreIds(KeepingError):
    """The counter of ids is used up, or no number: nothing is given out until an operator mends it, and all else goes on."""


class StoreWentBackwards(KeepingError):
    """The store holds an older revision than it acknowledged: it lost data, and writing stopped until an operator looks."""


AuthReason = Literal[
    "bad_credentials",
    "username_taken",
    "bad_username",
    "weak_password",
    "throttled",
    "encryption_required",
    "replayed",
    "unavailable",
]


class AccountError(RealmkeepError):
    """The root of what can be wrong with an account or its credentials; no message ever holds a secret."""


class AuthFailed(AccountError):
    """A registration, login or change of credentials was refused; nothing was changed. Its text may be shown to the player.

    Attributes:
        reason: The wire protocol's word for it.
        retry_after_s: With `throttled`: seconds until the next attempt is looked at; otherwise 0.
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
    """A sealed payload cannot be opened. One text for every cause: what is wrong with it helps nobody but an attacker."""

    def __init__(
        self,
        message: str = "the sealed payload cannot be opened",
        *,
        hint: str = "seal it anew with the server's current public key",
    ) -> None:
        super().__init__(message, hint=hint)


class BadSealingKey(AccountError):
    """A public key is malformed, or the file with the server's keys is malformed or open to other users of the machine."""
