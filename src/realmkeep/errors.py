"""Every error Realmkeep raises, with the facts a caller decides on.

A driver's exception never crosses the library's boundary: each backend maps its own, once, and raises from it.
"""

from typing import ClassVar, Literal

Outcome = Literal["not_applied", "unknown"]


class RealmkeepError(Exception):
    """The root: what happened, to which key, and what to do now.

    Attributes:
        message: One sentence; names the key, field or setting concerned.
        hint: What to do now; empty where nothing can be done.
        retryable: True when the same call may succeed later without anything else being changed.
        outcome: `"not_applied"`: nothing was changed. `"unknown"`: the change may or may not have happened, wholly.
    """

    retryable: ClassVar[bool] = False
    outcome: ClassVar[Outcome] = "not_applied"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(RealmkeepError):
    """A setting has a wrong name, type or value; the message names the key, the value and the allowed range."""


class InvalidKey(RealmkeepError):
    """A kind, id or key does not fit the key schema."""


# --- records: what is kept


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
    """A record breaks its validation rules so that it is quarantined or rejected; `issues` has the report."""


class Unstorable(RecordError):
    """A live record holds a value that cannot be stored (NaN, an integer beyond 64 bits, a foreign type); the path is named."""


class TierViolation(RecordError):
    """An `IMMEDIATE` field was changed outside a commit."""


# --- storage: where it is kept


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


# --- accounts

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

    def __init__(self, reason: AuthReason, message: str, *, retry_after_s: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason: AuthReason = reason
        self.retry_after_s = retry_after_s


class NoSuchAccount(AccountError):
    """An operator or the game named an account that does not exist."""


class MalformedHash(AccountError):
    """A stored password hash cannot be read, or asks for more work than allowed; no password matches it."""


class SealBroken(AccountError):
    """A sealed payload cannot be opened. One text for every cause: what is wrong with it helps nobody but an attacker."""

    def __init__(self) -> None:
        super().__init__(
            "the sealed payload cannot be opened", hint="seal it anew with the server's current public key"
        )


class BadSealingKey(AccountError):
    """A public key is malformed, or the file with the server's keys is malformed or open to other users of the machine."""
