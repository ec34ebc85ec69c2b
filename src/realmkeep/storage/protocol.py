"""A store is a map from keys to bytes with one way to change it: the mini-transaction.

The models are Sinfonia's minitransactions (Aguilera et al., SOSP 2007) and etcd's Txn: a transaction compares some keys
with expected values and, only if all are equal, applies some effects.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from realmkeep.errors import StorageError

VALUE_BYTES_MAX: Final = 512 * 1024  # a record has at most 64 KiB by default; a larger value stalls a store
KEY_BYTES_MAX: Final = 1024  # kinds, ids and digests fit several times over
TRANSACTION_KEYS_MAX: Final = 1024  # guards, needs and effects together; a trade needs about ten
TRANSACTION_BYTES_MAX: Final = 8 * 1024 * 1024  # a larger script call would stall a store for its other clients
EXPIRE_S_MIN: Final = 0.001  # stores count expiries in milliseconds
EXPIRE_S_MAX: Final = 100 * 366 * 24 * 3600  # a century; added to the wall clock it still fits every engine


class Guard(msgspec.Struct, frozen=True, gc=False):
    """The transaction happens only if `key` holds exactly `expected`; None expects the key to be absent."""

    key: str
    expected: bytes | None


class Present(msgspec.Struct, frozen=True, gc=False):
    """The transaction happens only if `key` holds a value or a list."""

    key: str


class Shorter(msgspec.Struct, frozen=True, gc=False):
    """The transaction happens only if the list at `key` has fewer than `than` (at least 1) entries; an absent list has 0."""

    key: str
    than: int


Need: TypeAlias = Present | Shorter


class Put(msgspec.Struct, frozen=True, gc=False):
    """Set `key` to `value`. With `expire_s` the key vanishes after that time; without, a former expiry is removed.

    `expire_s` is in seconds, from `EXPIRE_S_MIN` to `EXPIRE_S_MAX`, and rounded to milliseconds.
    """

    key: str
    value: bytes
    expire_s: float | None = None


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove `key` and its value or list; without effect if the key is absent."""

    key: str


class Append(msgspec.Struct, frozen=True, gc=False):
    """Append `value` to the list at `key`, which is made if absent; a list has no expiry."""

    key: str
    value: bytes


class Extend(msgspec.Struct, frozen=True, gc=False):
    """Add `value` to the end of the value at `key`, which is made if absent; its expiry stays.

    The store does not compare the value that results with `VALUE_BYTES_MAX`: its owner puts it anew in time.
    """

    key: str
    value: bytes


class DropFirst(msgspec.Struct, frozen=True, gc=False):
    """Remove the first `count` (at least 1) entries of the list at `key`, or all if it has fewer; an empty list is absent."""

    key: str
    count: int


Effect: TypeAlias = Put | Extend | Delete | Append | DropFirst


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """If every guard and every need holds, all effects happen, in order; otherwise none does.

    Guards are compared in their order, then needs in theirs, all before the first effect. The first one that does not hold,
    or whose key holds the wrong type, decides the outcome. A key may occur in any number of guards, needs and effects. A
    transaction without guards and needs always happens; one without effects only compares.
    """

    guards: Sequence[Guard]
    effects: Sequence[Effect]
    needs: Sequence[Need] = ()


STEP_OPERATIONS: Final = 5  # two guards, two puts, an extension


class OwnedKeys(msgspec.Struct, gc=False):
    """The keys of an owned record, as its server writes them. They are checked: no key here breaks a limit of the protocol.

    Attributes:
        record: The key of its bytes.
        updated: The key of its revision.
        owner: The key of its claim.
        ops: The key of its log of operations.
        claim: The claim, the value of `owner`.
        prepared: A backend's own form of the above, made at the first write.
    """

    record: str
    updated: str
    owner: str
    ops: str
    claim: bytes
    prepared: tuple[bytes, ...] | None = None


class Step(msgspec.Struct, frozen=True, gc=False):
    """The next revision of one owned record.

    Attributes:
        of: Its keys.
        follows: The revision before, at least 1.
        leaves: The revision that it leaves.
        stored: The record's bytes.
        line: The addition to its log of operations; empty for none.
    """

    of: OwnedKeys
    follows: int
    leaves: int
    stored: bytes
    line: bytes = b""


class Advance(msgspec.Struct, frozen=True, gc=False):
    """A transaction that advances owned records: each holds its claim and the revision before; all advance, or none.

    It means the same as a `Transaction` of its guards and effects, and a backend may apply it as one. A backend may also write
    it without making those: its parts are always the same, so most of their bytes on the wire are known beforehand.

    Attributes:
        steps: The records.
        entry: An addition to a list that many advances share, such as a journal; None for none.
    """

    steps: tuple[Step, ...]
    entry: Append | None = None

    @property
    def guards(self) -> list[Guard]:
        """Claim and revision of each record."""
        return [
            guard
            for step in self.steps
            for guard in (Guard(step.of.owner, step.of.claim), Guard(step.of.updated, b"%d" % step.follows))
        ]

    @property
    def effects(self) -> list[Effect]:
        """Bytes and revision of each record, then the additions to the logs, then the entry."""
        effects: list[Effect] = [
            put
            for step in self.steps
            for put in (Put(step.of.record, step.stored), Put(step.of.updated, b"%d" % step.leaves))
        ]
        effects += [Extend(step.of.ops, step.line) for step in self.steps if step.line]
        if self.entry is not None:
            effects.append(self.entry)
        return effects

    @property
    def needs(self) -> tuple[Need, ...]:
        """None."""
        return ()


AnyTransaction: TypeAlias = Transaction | Advance


class Committed(msgspec.Struct, frozen=True, gc=False):
    """The transaction happened and is as durable as `Storage.capability` says."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A guard or a need did not hold, so no effect happened.

    `found` is the actual value of its key (None: the key is absent), or the length, in decimal, of a list that is not
    `Shorter`.
    """

    guard: Guard | Need
    found: bytes | None


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The store did not execute the transaction: no effect happened. `error.retryable` says whether to try again."""

    error: StorageError


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """The connection broke or timed out: the transaction happened wholly, or not at all, or still will, wholly.

    A request on the old connection may still be applied later. Before acting on the outcome, read a guarded key and send
    the transaction again with the same guards: if an effect changes a guarded key, at most one of the two is applied.
    """

    error: StorageError


WriteOutcome: TypeAlias = Committed | Refused | Failed | Unknown
COMMITTED: Final = Committed()


class Capability(msgspec.Struct, frozen=True):
    """The promises of a store about committed writes, as it is configured now.

    Attributes:
        backend: `memory`, `sqlite`, `redis`, `redis-cluster`, `redis-sentinel`, `postgresql` or `embedded`.
        engine: The engine's name and version, such as `valkey 9.1.2`.
        durable_on_return: A committed write survives the crash of this process and of the store's process.
        survives_power_loss: A committed write survives the loss of power (fsync came before the reply).
        loss_window_s: The seconds of committed writes that a crash of the store may lose; 0: none, None: all.
        shared: Other servers can use the same store.
        fsync: The engine's own name for the setting: `always`, `everysec`, `no`, `full`, `on`, `off`, `none`.
        warnings: Faults that an operator should mend, one sentence each.
        process_id: The id of the store's process on its machine; it changes when the store is restarted. None if the
            store does not report it, or has no process of its own.
        survives_node_loss: A committed write survives the loss of any one machine of the store, because another one has it.
            The loss window is that of a second loss.
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
    survives_node_loss: bool = False

    @property
    def promise(self) -> str:
        """The promise for an acknowledged tier-1 operation, in one clause."""
        if not self.durable_on_return and self.backend == "memory":
            return "nothing outlives this process"
        if self.survives_node_loss:
            return "acknowledged operations survive the loss of any one machine of the store"
        if self.survives_power_loss:
            return "acknowledged operations survive a loss of power"
        window_s = self.loss_window_s
        if window_s == 0:
            return "acknowledged operations survive a crash of the store, but not a loss of power"
        return "a crash of the store may lose " + ("everything" if window_s is None else f"the last {window_s:g} s")


class Storage(Protocol):
    """A durable map from keys to bytes, and to lists of bytes. Every backend keeps these invariants.

    One object belongs to one event loop; any number of its tasks may call it at the same time.

    Atomicity. A transaction happens wholly or not at all: for concurrent readers, for other writers, and after a crash
    of this process, of the store, or of the machine. A batch is not atomic: some of its transactions may be committed,
    others refused.

    Order. The transactions of one `write` take effect in their order, the later seeing the effects of the earlier. The
    `write` calls of one storage object take effect in the order in which they started to run, also while earlier ones
    are under way. A read that starts after a write returned sees it. After an `Unknown` or `Failed` outcome, later
    transactions may still be committed: a transaction that must not overtake an earlier one needs a guard on its effects.

    Durability. When `Committed` or a returned method says so, the change is as durable as `capability` promises.
    `flush` returns when everything accepted so far is. The result of a read, and the value in a refusal, are equally
    durable, even if an earlier run of the store had written them and ended before it synced or acknowledged them.

    Expiry. A key with an expiry is absent from that moment on, for guards and reads alike, within the granularity of a
    millisecond; an unexpired key is never absent.

    Cancellation. Cancelling a call abandons only the wait: its transactions happen wholly or not at all, and every other
    call goes on and gets its own answer.

    Types. A key holds a value or a list, or is absent; a list that loses its last entry is absent. The wrong type is
    `WrongType` naming the key: a guard (even one that expects absence), put, extension or value read on a list, and an append, drop,
    `Shorter` or list read on a value. The transaction does not happen and the key stays as it is. The type is judged after
    the effects before it, so one transaction can delete a key and make it anew with the other type. `Delete` removes either.

    Limits. Keys are text of 1 to `KEY_BYTES_MAX` UTF-8 bytes without NUL; values and list entries are opaque bytes, none
    to `VALUE_BYTES_MAX`, and an empty value is not an absent one; transactions have at most `TRANSACTION_KEYS_MAX`
    guards, needs and effects and `TRANSACTION_BYTES_MAX` bytes of keys and values. Beyond them `ValueTooLarge` is raised before
    anything of the call is sent; a malformed key is `InvalidKey`, in every method. A call has any number of
    transactions, and none at all is fine.

    Failure. A request is never sent again behind the caller's back if it could be applied twice. Methods raise; `write`
    raises only for its arguments and reports other failures as one outcome for each transaction. A broken connection is
    re-established in the background, with backoff. Until then, before `connect` and after `disconnect`, every other
    method fails with `StorageUnavailable`, and `write` with `Failed` of it.
    """

    @property
    def capability(self) -> Capability:
        """The promises of this store; a store with a server is asked.

        Raises:
            StorageUnavailable: Not connected yet.
        """
        ...

    async def run_id(self) -> str:
        """Return the name of this run of the store: the same for all its users, another after a restart or a failover.

        A store with a loss window may have lost writes that it acknowledged in an earlier run. The name is empty if the
        store does not report it, or if a crash loses nothing.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def connect(self) -> None:
        """Open the store; returns when it answers. A second call has no effect.

        Raises:
            StorageUnavailable: The store does not answer in time.
            StorageMisconfigured: It answers, but cannot serve: too old, wrong credentials, a foreign or newer file.
            StorageLocked: Another server has the store open, and it cannot be shared.
        """
        ...

    async def disconnect(self) -> None:
        """Finish the accepted calls, then close. A second call has no effect; `connect` opens the store again."""
        ...

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """Apply transactions in order, each wholly or not at all; return one outcome for each.

        Raises:
            ValueTooLarge: A key, value or transaction exceeds the limits; nothing of this call was sent.
            InvalidKey: A key is empty, has a NUL, or is not text; nothing of this call was sent.
            TypeError: A value is not `bytes`, or an effect or a need is of another class; nothing of this call was sent.
            ValueError: An expiry, a count or a length is out of range; nothing of this call was sent.
        """
        ...

    async def load(self, key: str) -> bytes | None:
        """Return the value at `key`; None if the key is absent.

        Raises:
            WrongType: The key holds a list.
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values at `keys`, in their order; up to 1,000 are read at one moment.

        Raises:
            WrongType: One of the keys holds a list.
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """Return the entries of the list at `key` from the index `start` (0 is the first), at most `count`; [] if absent.

        Raises:
            WrongType: The key holds a value.
            StorageUnavailable: The store cannot be reached.
            ValueError: `start` or `count` is negative.
        """
        ...

    async def expiries(self, keys: Sequence[str]) -> list[float | None]:
        """Return the seconds after which each of `keys` vanishes; None for a key without an expiry, and for an absent one.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def exists(self, key: str) -> bool:
        """Whether `key` holds a value or a list.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...

    def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        r"""Iterate over the keys that match, each once, in no order; the store is never blocked.

        A key that exists during the whole iteration is seen; one that comes or goes meanwhile may be. The whole key must
        match: `*` stands for any characters, `?` for one (of text, not one byte), and `\` makes the next character
        literal, or stands for itself at the very end; no other character is special.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def increment(self, key: str, by: int = 1) -> int:
        """Add `by` to the whole number at `key` (absent: 0), atomically and durably, and return the new value.

        The number is text in decimal, without leading zeros or a plus sign, of 64 bits with sign; its expiry stays.

        Raises:
            WrongType: The key holds a list or another text, or the sum does not fit; it was not changed.
            ValueTooLarge: `by` does not fit in 64 bits.
            StorageUnavailable: The store cannot be reached; the number was not changed.
            OutcomeUnknown: The answer was lost. The number may have been changed: a caller that allocates ids skips one.
        """
        ...

    async def flush(self) -> None:
        """Return when everything accepted so far is as durable as this store can make it.

        Raises:
            StorageUnavailable: The store cannot be reached, so its state is unknown.
        """
        ...

    async def snapshot(self) -> None:
        """Ask the engine for a snapshot of the whole store: `BGSAVE`, a checkpoint; without effect if it has none.

        Returns once the engine has accepted. Committed writes are durable without it.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...

    async def save(self, key: str, value: bytes) -> None:
        """Replace `key` by staging the value under `temp:...` and renaming it over, as the specification asks.

        The write has no guard, so use it only for keys that no server owns; a former expiry is removed. An engine that
        replaces a row or an entry in a transaction of its own (SQLite, memory) stages nothing: readers never see half.

        Raises:
            ValueTooLarge: The value, or the key with its staging prefix of about 40 bytes, exceeds the limits.
            WrongType: The key holds a list.
            StorageUnavailable: The store cannot be reached; `key` is unchanged.
            OutcomeUnknown: The answer was lost; `key` holds the old value or the new one.
        """
        ...

    async def delete(self, key: str) -> bool:
        """Remove `key`, without a guard; True if it existed.

        Raises:
            StorageUnavailable: The store cannot be reached; `key` is unchanged.
            OutcomeUnknown: The answer was lost.
        """
        ...

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """Delete staged values (`realmkeep.keys.temp`) that a crash left behind, and only those; return their number.

        Their age is the time in their names, against this server's wall clock.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        ...
