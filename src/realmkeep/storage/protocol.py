"""A store is a map from keys to bytes with one way to change it: the mini-transaction.

Sinfonia's minitransactions (Aguilera et al., SOSP 2007) and etcd's Txn are the models: a transaction compares some keys
with expected values and, only if all are equal, applies some effects.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from realmkeep.errors import StorageError

VALUE_BYTES_MAX: Final = 512 * 1024  # a record is at most 64 KiB by default; beyond this one value stalls a store
KEY_BYTES_MAX: Final = 1024  # kinds, ids and digests fit several times over
TRANSACTION_KEYS_MAX: Final = 1024  # guards, needs and effects together; a trade needs about ten
TRANSACTION_BYTES_MAX: Final = 8 * 1024 * 1024  # one script call must not stall a store for its other clients
EXPIRE_S_MIN: Final = 0.001  # stores count expiries in milliseconds
EXPIRE_S_MAX: Final = 100 * 366 * 24 * 3600  # a century; added to the time of day it still fits every engine


class Guard(msgspec.Struct, frozen=True, gc=False):
    """The transaction happens only if `key` holds exactly `expected`; None means that nothing lies there."""

    key: str
    expected: bytes | None


class Present(msgspec.Struct, frozen=True, gc=False):
    """The transaction happens only if something lies at `key`, value or list."""

    key: str


class Shorter(msgspec.Struct, frozen=True, gc=False):
    """The transaction happens only if the list at `key` has fewer than `than` (at least 1) entries; an absent one has none."""

    key: str
    than: int


Need: TypeAlias = Present | Shorter


class Put(msgspec.Struct, frozen=True, gc=False):
    """Set `key` to `value`. With `expire_s` it vanishes then; without, it stays, even if it had an expiry.

    `expire_s` is in seconds, from `EXPIRE_S_MIN` to `EXPIRE_S_MAX`, and rounded to milliseconds.
    """

    key: str
    value: bytes
    expire_s: float | None = None


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove `key`, whatever it holds, value or list; nothing happens if it is absent."""

    key: str


class Append(msgspec.Struct, frozen=True, gc=False):
    """Append `value` to the list at `key`, which is made if absent; a list has no expiry."""

    key: str
    value: bytes


class DropFirst(msgspec.Struct, frozen=True, gc=False):
    """Remove the first `count` (at least 1) entries of the list at `key`, or all if it has fewer; an empty list is absent."""

    key: str
    count: int


Effect: TypeAlias = Put | Delete | Append | DropFirst


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """If every guard and every need holds, every effect happens, in order; otherwise nothing does.

    Guards are compared in their order, then needs in theirs, all before the first effect; the first that does not hold, or
    lies on the wrong type, decides the outcome. A key may occur in any number of them. Without guards and needs it always
    happens; without effects it only compares.
    """

    guards: Sequence[Guard]
    effects: Sequence[Effect]
    needs: Sequence[Need] = ()


class Committed(msgspec.Struct, frozen=True, gc=False):
    """The transaction happened and is as durable as `Storage.capability` says."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A guard or a need did not hold, so nothing happened.

    `found` is what its key held instead (None: nothing); of a list that is not `Shorter` its length, in decimal.
    """

    guard: Guard | Need
    found: bytes | None


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The store did not execute the transaction: nothing happened. `error.retryable` says whether to try again."""

    error: StorageError


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """The connection broke or timed out: the transaction happened wholly, or not at all, or still will, wholly.

    A request that is still under way on the old connection may be applied later. So before acting on it, read a guarded
    key and send the transaction again with the same guards: of both, at most one is applied if an effect changes a guard.
    """

    error: StorageError


WriteOutcome: TypeAlias = Committed | Refused | Failed | Unknown
COMMITTED: Final = Committed()


class Capability(msgspec.Struct, frozen=True):
    """What a store, as it is configured right now, can promise of a write that it reported as committed.

    Attributes:
        backend: `memory`, `sqlite`, `redis` or `embedded`.
        engine: The engine's name and version, such as `valkey 9.1.2`.
        durable_on_return: It survives the crash of this process and of the store's process.
        survives_power_loss: It survives the loss of power (fsync came before the reply).
        loss_window_s: What a crash of the store may lose, in seconds; 0 if nothing, None if everything.
        shared: Other servers can use the same store.
        fsync: The engine's own name for the setting: `always`, `everysec`, `no`, `full`, `none`.
        warnings: What an operator should mend, one sentence each.
        process_id: The store's own process, on the machine it runs on; another one after the store was started again.
            None if it says none, or is no process of its own.
    """

    backend: str
    engine: str
    durable_on_return: bool
    survives_power_loss: bool
    loss_window_s: float | None
    shared: bool
    fsync: str
    warnings: tuple[str, ...] = ()
    process_id: int | None = None


class Storage(Protocol):
    """A durable map from keys to bytes, and to lists of bytes. Every backend keeps these invariants.

    One object belongs to one event loop; any number of its tasks may call it at the same time.

    Atomicity. A transaction happens wholly or not at all: for concurrent readers, for other writers, and after a crash
    of this process, of the store, or of the machine. A batch is not atomic: some of its transactions may be committed,
    others refused.

    Order. The transactions of one `write` take effect in their order, the later seeing the effects of the earlier. The
    `write` calls of one storage object take effect in the order in which they started to run, also while earlier ones
    are under way. A read that starts after a write returned sees it. After an `Unknown` or `Failed` outcome later
    transactions may still be committed: what must not overtake has a guard on what the earlier one leaves.

    Durability. When `Committed` or a returned method says so, the change is as durable as `capability` promises.
    `flush` returns when everything accepted so far is. So is whatever a read returns, or a refusal says was found: also what
    an earlier run of the store had written and not yet synced, or acknowledged, when it ended.

    Expiry. A key with an expiry is absent from that moment on, for guards and reads alike, within the granularity of a
    millisecond; an unexpired key is never absent.

    Cancellation. Cancelling a call abandons the wait, nothing else: its transactions happen wholly or not at all, and
    every other call keeps working and gets its own answer.

    Types. A key holds a value, a list, or nothing; a list whose last entry is dropped is nothing. A guard (also one that
    expects nothing), put or read of a value on a list, or an append, drop, `Shorter` or list read on a value, is `WrongType`
    naming the key; the transaction does not happen and the key is not touched. What counts is what the effects before it leave,
    so a key can be deleted and made anew with the other type in one transaction. `Delete` removes either.

    Limits. Keys are text of 1 to `KEY_BYTES_MAX` UTF-8 bytes without NUL; values and list entries are opaque bytes, none
    to `VALUE_BYTES_MAX`, and an empty value is not an absent one; transactions have at most `TRANSACTION_KEYS_MAX`
    guards, needs and effects and `TRANSACTION_BYTES_MAX` bytes of keys and values. Beyond them `ValueTooLarge` is raised before
    anything of the call is sent; a malformed key is `InvalidKey`, in every method. A call has any number of
    transactions, and none at all is fine.

    Failure. Nothing is retried behind the caller's back where it could be applied twice. Methods raise; `write` raises
    for its arguments alone and reports the rest as one outcome for each transaction. A broken connection is
    re-established in the background, with backoff; until then, before `connect` and after `disconnect`, every other
    method fails with `StorageUnavailable`, and `write` with `Failed` of it.
    """

    @property
    def capability(self) -> Capability:
        """What this store promises; read from the live server where there is one.

        Raises:
            StorageUnavailable: Not connected yet.
        """
        ...

    async def run_id(self) -> str:
        """Names this run of the store: the same for everybody who uses it, another one after a restart or a failover.

        What a store with a loss window acknowledged in an earlier run may be lost. Empty where the store does not say, or
        where a crash loses nothing.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def connect(self) -> None:
        """Open the store; returns when it answers. Calling it again does nothing.

        Raises:
            StorageUnavailable: It does not answer in time.
            StorageMisconfigured: It answers, but cannot serve: too old, wrong credentials, a foreign or newer file.
            StorageLocked: Another server has it open and it cannot be shared.
        """
        ...

    async def disconnect(self) -> None:
        """Finish what was accepted, then close. Calling it again does nothing; `connect` opens it anew."""
        ...

    async def write(self, transactions: Sequence[Transaction]) -> list[WriteOutcome]:
        """Apply transactions in order, each all or nothing; one outcome for each.

        Raises:
            ValueTooLarge: A key, value or transaction exceeds the limits; nothing of this call was sent.
            InvalidKey: A key is empty, has a NUL, or is not text; nothing of this call was sent.
            TypeError: A value is not `bytes`, an effect is none of the four, or a need none of the two; nothing of this call
                was sent.
            ValueError: An expiry, a count or a length is out of range; nothing of this call was sent.
        """
        ...

    async def load(self, key: str) -> bytes | None:
        """The value at `key`; None if nothing lies there.

        Raises:
            WrongType: A list lies there.
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values at `keys`, in their order, read at one moment where there are at most 1,000.

        Raises:
            WrongType: A list lies at one of them.
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """The entries of the list at `key` from the index `start` (0 is the first), at most `count`; empty if absent.

        Raises:
            WrongType: A value lies there.
            StorageUnavailable: The store cannot be reached.
            ValueError: `start` or `count` is negative.
        """
        ...

    async def exists(self, key: str) -> bool:
        """Whether anything lies at `key`, value or list.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...

    def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        r"""The keys that match, each once, in no order; never blocks the store.

        A key that exists during the whole iteration is seen; one that comes or goes meanwhile may be. The whole key must
        match: `*` stands for any characters, `?` for one (of text, not one byte), and `\` makes the next character
        literal, or stands for itself at the very end; nothing else is special.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def increment(self, key: str, by: int = 1) -> int:
        """Add `by` to the whole number at `key` (absent: 0), atomically and durably, and return the new value.

        The number is text in decimal, without leading zeros or a plus sign, of 64 bits with sign; its expiry stays.

        Raises:
            WrongType: What lies there is no such number, or a list, or the sum does not fit; it was not touched.
            ValueTooLarge: `by` does not fit in 64 bits.
            StorageUnavailable: The store cannot be reached; nothing was added.
            OutcomeUnknown: The answer was lost. It may have been added: a caller that allocates ids skips one.
        """
        ...

    async def flush(self) -> None:
        """Return when everything accepted so far is as durable as this store can make it.

        Raises:
            StorageUnavailable: The store cannot be reached, so that nobody can say.
        """
        ...

    async def snapshot(self) -> None:
        """Ask the engine for a clean snapshot of everything: `BGSAVE`, a checkpoint; nothing where there is none.

        Returns once the engine has accepted; what is durable is durable without it.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def save(self, key: str, value: bytes) -> None:
        """Replace `key` by staging the value under `temp:...` and renaming it over, as the specification asks.

        Unguarded, so only for keys that no server owns; an expiry it had is gone. An engine that replaces a row or an
        entry in a transaction of its own (SQLite, memory) stages nothing, because nothing half-written can be seen.

        Raises:
            ValueTooLarge: The value, or the key with its staging prefix of about 40 bytes, exceeds the limits.
            WrongType: A list lies there.
            StorageUnavailable: The store cannot be reached; `key` is unchanged.
            OutcomeUnknown: The answer was lost; `key` holds the old value or the new one.
        """
        ...

    async def delete(self, key: str) -> bool:
        """Remove `key`, unguarded; True if something lay there.

        Raises:
            StorageUnavailable: The store cannot be reached; `key` is unchanged.
            OutcomeUnknown: The answer was lost.
        """
        ...

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """Delete staged values (`realmkeep.keys.temp`) that a crash left behind, and only those; returns how many.

        Their age is what stands in their names, against this server's wall clock.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...
