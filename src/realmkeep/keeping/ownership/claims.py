"""Claims: how the ownership of a record passes from one server to the next.

A claim guards on the owner, its lease and the revision that it read, so the server owns exactly the state that it loaded; a
write in between makes the claim start again.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Self, TypeVar

from realmkeep import keys
from realmkeep.callables import discard
from realmkeep.errors import (
    AlreadyOwned,
    Corrupt,
    InvalidKey,
    Misuse,
    Quarantined,
    RecordError,
    StorageUnavailable,
    WrongType,
)
from realmkeep.keeping.live.op_ring import OpRing
from realmkeep.keeping.ownership.lease import Lease, Owner
from realmkeep.keeping.ownership.loss_probe import is_older
from realmkeep.keeping.ownership.revisions import claimable_number, stored_number
from realmkeep.keeping.ownership.thawing import LossGuard, Thawed, thaw
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.records import Record, load
from realmkeep.storage import Committed, Failed, Guard, Put, Transaction, load_each
from realmkeep.storage.cold import Stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from realmkeep.background import Background
    from realmkeep.clock import Clock
    from realmkeep.keeping.live.record_encoder import RecordEncoder
    from realmkeep.keeping.ownership.lease import LeaseHolder
    from realmkeep.keeping.ownership.restart_barrier import RestartBarrier
    from realmkeep.keeping.ownership.safe_point import SafePoint
    from realmkeep.keys import RecordKeys
    from realmkeep.records import Limits, Loaded
    from realmkeep.storage import Append, Effect, Storage
    from realmkeep.storage.cold import ColdRow, ColdStore

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)

CORRUPT_KEEP_S: Final = 7 * 24 * 3600  # a week for an operator to look
OWNERS_READ_AT_ONCE: Final = 500  # half of what a store reads at one moment (`Storage.load_many`)
CLAIM_ATTEMPTS: Final = 16  # each lost to another writer of this very record; more is a fight, not a race


class Claimed(NamedTuple, Generic[R]):
    """A record that this server owns now.

    Attributes:
        token: The fencing token of the claim: larger than that of any claim before it.
        revision: Its revision in the store.
        stored_version: The schema version in its `:version` key; 0 if there is none.
        changed: It was migrated or mended: write it at once.
        migrated_from: The stored schema version, if it was older than the code's; else None.
        is_new: It was made by `create`.
        found: The record as the store had it; of a frozen one, as the cold tier had it.
    """

    record: R
    keys: RecordKeys
    token: int
    revision: int
    stored_version: int
    ring: OpRing
    changed: bool
    migrated_from: int | None = None
    is_new: bool = False
    found: StoredRecord | None = None


class StoredRecord(NamedTuple):
    """The values of a record in the store, all of one moment.

    Attributes:
        thawed: Its row in the cold tier, whose values stand here, and the stub in their place in the store; None if it is not frozen.
    """

    owner: bytes | None
    record: bytes | None
    updated: bytes | None
    version: bytes | None
    ops: bytes | None
    left: bytes | None = None
    thawed: Thawed | None = None

    @classmethod
    def of(cls, found: list[bytes | None]) -> Self:
        """The values of owner, record, revision, version and ops, and perhaps of the last owner."""
        owner, record, updated, version, ops, *left = found
        return cls(owner, record, updated, version, ops, left[0] if left else None)

    @property
    def revision(self) -> int:
        """In the store; 0 if there is none.

        Raises:
            Corrupt: It is not a whole number, or lies far beyond today.
        """
        return _number(self.updated, "revision")

    @property
    def token(self) -> int:
        """The fencing token of the owner in the store; 0 if there is no owner.

        Raises:
            Corrupt: It is not a whole number, or lies far beyond today.
        """
        return 0 if self.owner is None else _number(self.owner.rpartition(b"/")[2], "fencing token")


def _number(stored: bytes | None, what: str) -> int:
    number = claimable_number(stored)
    if number is None:
        raise Corrupt(
            f"the {what} {stored!r:.40} is not a whole number, or far beyond today",
            hint="it is microseconds since 1970",
        )
    return number


class Claims:
    """Claims records for one server.

    Args:
        storage: The store.
        clock: The clock.
        lease: The server's lease.
        limits: The caps on one record.
        encoder: Encodes new records.
        barrier: Holds claims up after a restart of the store.
        safe_point: Waits until another server's write is safe.
        accept_unchecked: As `records.accept_unchecked`.
        entry_of_new: Returns the entry of the journal for a new record: it, its key, bytes and revision; None for none.
        background: Runs the question to a cold tier that was away.
        cold: The cold tier, from which frozen records come back; None if this server has none.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        lease: LeaseHolder,
        *,
        limits: Limits,
        encoder: RecordEncoder,
        barrier: RestartBarrier,
        safe_point: SafePoint,
        accept_unchecked: bool,
        entry_of_new: Callable[[Record, str, bytes, int], Append | None],
        background: Background,
        cold: ColdStore | None = None,
    ) -> None:
        self._storage = storage
        self._entry_of_new = entry_of_new
        self._clock = clock
        self._lease = lease
        self._limits = limits
        self._encoder = encoder
        self._barrier = barrier
        self._safe_point = safe_point
        self._accept_unchecked = accept_unchecked
        self._cold = cold
        self._loss_guard = LossGuard(cold, clock, background)

    async def claim(self, cls: type[R], record_keys: RecordKeys, create: Callable[[], R] | None) -> Claimed[R] | None:
        """Own the record, or make it; None if it is absent and `create` is None.

        Raises:
            AlreadyOwned: A live server owns it.
            Misuse: `create` makes records of another class.
            Quarantined: The stored record cannot be used; its bytes are kept.
            RecordError: The new record cannot be stored.
            StorageError: The store cannot be reached; or the record is frozen, and the cold tier cannot.
        """
        was_stub: bytes | None = None
        for _ in range(CLAIM_ATTEMPTS):
            run = self._barrier.passed_run
            stored = await self._stored(record_keys)
            if await self._barrier.wait_until_passed():
                continue
            lease_guards = await self._check_free(record_keys, stored.owner)
            if self._safe_point.needed and self._is_of_others(stored):
                if not await self._safe_point.reached(run):
                    continue
                lease_guards = await self._check_free(record_keys, stored.owner)  # a lease is renewed meanwhile
            if stored.record is None:
                if create is None:
                    return None
                await self._loss_guard.check(record_keys.record)
                claimed = self._made(record_keys, stored, _of(cls, create(), record_keys))
            else:
                if (stub := Stub.read(stored.record)) is not None:
                    row = await thaw(self._cold, record_keys.record, stub, is_final=was_stub == stored.record)
                    was_stub = stored.record
                    if row is None:
                        continue
                    stored = _of_row(stored, row)
                claimed = await self._loaded(cls, record_keys, stored)
            if await self._own(claimed, stored, lease_guards):
                return claimed
        raise StorageUnavailable(
            f"{record_keys.record} was changed by other servers during each of {CLAIM_ATTEMPTS} claims",
            hint="try again",
        )

    async def _stored(self, record_keys: RecordKeys) -> StoredRecord:
        """The stored values of a record, all read at one moment.

        A store that promised to lose nothing has no barrier. So its identity and the newest acknowledged write of this server
        are read with them: if it lacks one of them, its copy of the record may be stale, or missing, as well.

        Raises:
            Corrupt: Something else lies at one of its keys.
            StorageError: The store cannot be reached, or holds older data than it acknowledged.
        """
        beside = [record_keys.owner, record_keys.record, record_keys.updated, record_keys.version, record_keys.ops]
        beside += [record_keys.left] if self._safe_point.needed else []
        newest = self._lease.newest_write
        try:
            if self._barrier.needed:
                return StoredRecord.of(await self._storage.load_many(beside))
            probes = [SERVER_STORE_ID, *([] if newest is None else [newest.key])]
            *found, store_id = await self._storage.load_many([*beside, *probes[::-1]])
            lacks = newest is not None and is_older(found.pop(), newest.revision)
            if lacks or store_id != self._lease.store_id:
                self._lease.suspect_loss()
            if not self._lease.loss_suspected:
                return StoredRecord.of(found)
        except WrongType as error:
            raise Corrupt(
                f"{record_keys.record} cannot be used: {error.message}",
                hint="move that key away, and restore the record",
            ) from error
        raise StorageUnavailable(
            f"{record_keys.record} is not read: the store may hold older data than it acknowledged",
            hint="keeper.degraded says more; the store is compared with the live records first",
        )

    def _is_of_others(self, stored: StoredRecord) -> bool:
        """Whether another server, or a former incarnation of this one, wrote it lately; it may die together with the store."""
        ours = self._lease.identity
        is_owned = stored.owner is not None and not stored.owner.startswith(ours)
        return is_owned or (stored.left is not None and stored.left != ours)

    async def former_records(self, cls: type[Record]) -> AsyncIterator[str]:
        """The ids of the records of this class that a former incarnation of this server owns.

        A key that is no owner key, or cannot be read, is logged and left out.

        Raises:
            StorageError: The store cannot be reached.
        """
        batch: list[str] = []
        async for key in self._storage.keys(f"{cls.__realmkeep__.kind}:*:owner"):
            batch.append(key)
            if len(batch) == OWNERS_READ_AT_ONCE:
                for found in await self._ours(batch):
                    yield found
                batch.clear()
        for found in await self._ours(batch):
            yield found

    async def _ours(self, owner_keys: list[str]) -> list[str]:
        found = await load_each(self._storage, owner_keys)
        held = [(key, Owner.read(value, key)) for key, value in zip(owner_keys, found, strict=True)]
        ours = [
            key
            for key, owner in held
            if owner is not None and owner.server == self._lease.name and owner.incarnation != self._lease.incarnation
        ]
        return [id_ for key in ours if (id_ := _id_in(key)) is not None]

    async def _check_free(self, record_keys: RecordKeys, stored: bytes | None) -> list[Guard]:
        """The guards under which the record stays free to claim.

        Raises:
            AlreadyOwned: A live server owns it.
        """
        if stored is None:
            return []
        owner = Owner.decode(stored, record_keys.owner)
        if owner.server == self._lease.name:
            # A former incarnation, whose lease is ours now, or a claim of our own whose answer was lost: no session uses it.
            return []
        lease_key = keys.server_lease(owner.server)
        (found,) = await load_each(self._storage, [lease_key])
        lease = None if found is None else Lease.decode(found, lease_key)
        if lease is not None and lease.incarnation == owner.incarnation:
            wait_s = self._lease.watch.left_s(lease_key, found or b"", lease.ttl_s or self._lease.ttl_s)
            if wait_s > 0:
                raise AlreadyOwned(
                    f"{record_keys.record} is owned by the live server {owner.server!r}",
                    server=owner.server,
                    wait_s=wait_s,
                    hint=f"log in there, or release it there; if that server is dead, wait {wait_s:.0f} s at most",
                )
            log.warning("the lease of %s stands still, so %s passes on", owner.server, record_keys.record)
        return [Guard(lease_key, found)]

    def _made(self, record_keys: RecordKeys, stored: StoredRecord, record: R) -> Claimed[R]:
        """A record that does not exist yet. Its revision goes on from one that was deleted under the same id."""
        revision = max(self._clock.wall_us(), stored.revision + 1, stored.token + 1)
        version = record.__realmkeep__.version
        return Claimed(record, record_keys, revision, revision, version, OpRing(), changed=False, is_new=True)

    async def _loaded(self, cls: type[R], record_keys: RecordKeys, stored: StoredRecord) -> Claimed[R]:
        blob = stored.record or b""
        try:
            revision, former = stored.revision, stored.token
            ring = OpRing.decode(stored.ops, record_keys.ops)
        except RecordError as error:
            raise await self._quarantined(record_keys, blob, error) from error
        loaded = await self._load(cls, record_keys, blob)
        if loaded.issues:
            log.warning("%s was mended: %s", record_keys.record, "; ".join(str(issue) for issue in loaded.issues))
        token = max(self._clock.wall_us(), revision + 1, former + 1)
        version = stored_number(stored.version) or 0
        record, migrated_from = loaded.require(), loaded.migrated_from
        return Claimed(record, record_keys, token, revision, version, ring, loaded.changed, migrated_from, found=stored)

    async def read_record(self, cls: type[R], record_keys: RecordKeys, blob: bytes) -> R:
        """The record that these bytes hold, without owning it.

        Raises:
            Quarantined: They cannot be used; a copy is kept.
            StorageError: The store cannot be reached.
        """
        return (await self._load(cls, record_keys, blob)).require()

    async def _load(self, cls: type[R], record_keys: RecordKeys, blob: bytes) -> Loaded[R]:
        try:
            loaded = load(blob, cls, limits=self._limits, accept_unchecked=self._accept_unchecked)
            loaded.require()
        except RecordError as error:
            raise await self._quarantined(record_keys, blob, error) from error
        return loaded

    async def _quarantined(self, record_keys: RecordKeys, blob: bytes, error: RecordError) -> Quarantined:
        """Keep a copy of unusable bytes, one for the same bytes."""
        kept_at = keys.corrupt(record_keys, hashlib.sha256(blob).hexdigest()[:16])
        await self._storage.write([Transaction([], [Put(kept_at, blob, expire_s=CORRUPT_KEEP_S)])])
        return Quarantined(
            f"{record_keys.record} cannot be used: {error.message}",
            kept_at=kept_at,
            hint=f"a copy is kept under {kept_at} for a week; {error.hint or 'mend or restore the record'}",
        )

    async def _own(self, claimed: Claimed[R], stored: StoredRecord, lease_guards: list[Guard]) -> bool:
        """Write the owner key, if nothing changed since it was read; False if something did."""
        record_keys = claimed.keys
        updated = stored.updated if stored.thawed is None else stored.thawed.updated
        guards = [Guard(record_keys.owner, stored.owner), Guard(record_keys.updated, updated), *lease_guards]
        owner = self._lease.owner_key(claimed.token)
        effects: list[Effect] = [Put(record_keys.owner, owner)]
        if stored.record is None:
            guards.append(Guard(record_keys.record, None))
            stored_anew = self._encoder.encode_record(claimed.record, record_keys.record)
            if claimed.record.__realmkeep__.journal:
                entry = self._entry_of_new(claimed.record, record_keys.record, stored_anew, claimed.revision)
                effects += [] if entry is None else [entry]
            effects += [
                Put(record_keys.record, stored_anew),
                Put(record_keys.version, b"%d" % claimed.stored_version),
                Put(record_keys.updated, b"%d" % claimed.revision),
            ]
        if stored.thawed is not None:
            guards.append(Guard(record_keys.record, stored.thawed.stub))
            effects += stored.thawed.effects(record_keys)
        (outcome,) = await self._storage.write([Transaction(guards, effects)])
        if isinstance(outcome, Committed):
            if stored.record is None:
                self._lease.record_claim(record_keys.updated, claimed.revision)
            return True
        if isinstance(outcome, Failed):
            raise outcome.error
        # No session uses a claim that was refused or whose answer was lost, so the next attempt reads the store anew.
        return False


def _of_row(stored: StoredRecord, row: ColdRow) -> StoredRecord:
    """A frozen record as the thaw leaves it in the store."""
    revision = max(row.revision, stored.revision)  # a key of the revision beside a stub is of another program
    thawed = Thawed(stored.record or b"", stored.updated, row, revision)
    return stored._replace(
        record=row.body, updated=b"%d" % revision, version=b"%d" % row.version, ops=row.ops or None, thawed=thawed
    )


def _of(cls: type[R], record: R, record_keys: RecordKeys) -> R:
    if type(record) is not cls:
        discard(record)
        raise Misuse(
            f"create made a {type(record).__name__} for {record_keys.record}", hint=f"make a {cls.__name__} there"
        )
    return record


def _id_in(owner_key: str) -> str | None:
    """The id of the record with this owner key; None, with a line in the log, if Realmkeep makes no such key."""
    try:
        return keys.parse(owner_key).id
    except InvalidKey as error:
        log.error("%r is no key of Realmkeep, and left alone: %s", owner_key, error)
        return None
