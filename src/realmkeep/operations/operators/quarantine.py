"""Records that cannot be used: their bytes, what is wrong with them, and the two ways out: mend, or discard."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep import keys
from realmkeep.accounts.account import Account
from realmkeep.errors import ActRefused, InvalidKey, RecordError, StorageUnavailable
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.record_keys import keys_of, limits_of
from realmkeep.keeping.ownership.claims import CORRUPT_KEEP_S
from realmkeep.keeping.ownership.lease import Owner
from realmkeep.keeping.ownership.revisions import stored_number
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.orders import Order, OrderBook, Outcome
from realmkeep.operations.operators.roles import check_grant
from realmkeep.records import encode, load
from realmkeep.records.json_codec import with_crc
from realmkeep.storage import Committed, Delete, Failed, Guard, Put, Refused, Transaction, Unknown, load_each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from realmkeep import Keeper, Record
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Effect

DELETED_KEEP_S: Final = 60.0  # as `keeper.tx.delete` leaves the revision of a deleted record
TURNS_MAX: Final = 20
DIGEST_CHARS: Final = 16


class KeptCopy(msgspec.Struct, frozen=True):
    """A copy of bytes that were found unusable: its key, the record's key, and whether the record is still unusable."""

    key: str
    record: str
    unusable: bool


class IssueView(msgspec.Struct, frozen=True):
    """One broken rule: its place in the record, the value found, and the demand."""

    path: str
    value: str
    rule: str


class QuarantineView(msgspec.Struct, frozen=True, kw_only=True):
    """The stored bytes of one record.

    Attributes:
        key: The record's key, or that of a kept copy.
        digest: Names these very bytes, for `mend` and `discard`.
        bytes_count: Their number.
        content: The bytes as text.
        error: The sentence of the loading path; empty if the record can be used.
        issues: Each broken rule.
        server: The server that owns the record; empty if none does.
    """

    key: str
    digest: str
    bytes_count: int
    content: str
    error: str
    issues: tuple[IssueView, ...]
    server: str


class Quarantine:
    """Looks at unusable records, mends and discards them.

    Both compare with the bytes that the operator saw. A record that a server owns is not touched.

    Args:
        keeper: Any keeper of the realm.
        classes: The record classes of the game.
    """

    def __init__(self, keeper: Keeper, classes: Sequence[type[Record]]) -> None:
        engine = engine_of(keeper)
        self._engine = engine
        self._storage = engine.storage
        self._classes = {_class_key(cls): cls for cls in (*classes, Account, Operator)}
        self._book = OrderBook(engine.storage, engine.clock, keeper.name)

    async def list(self, by: Operator) -> AsyncIterator[KeptCopy]:
        """The copies of unusable bytes: each login that found some left one, for a week.

        Raises:
            NotGranted: The role is too low.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "show")
        async for key in self._storage.keys("corrupt:*"):
            if (copy := await self.copy_at(key)) is not None:
                yield copy

    async def copy_at(self, key: str) -> KeptCopy | None:
        """The copy with this key; None if it is no key of a copy.

        Raises:
            StorageError: The store cannot be reached.
        """
        try:
            parsed = keys.parse(key)
        except InvalidKey:
            return None
        suffix = next(
            (cls.__realmkeep__.suffix for cls in self._classes.values() if cls.__realmkeep__.kind == parsed.kind),
            "",
        )
        at = keys.record_keys(parsed.kind, parsed.id, suffix=suffix, internal=True)
        (stored,) = await load_each(self._storage, [at.record])
        unusable = stored is not None and bool(self._judged(at.kind, suffix, stored)[0])
        return KeptCopy(key, at.record, unusable)

    async def show(self, by: Operator, key: str) -> QuarantineView:
        """The bytes at the key of a record, or of a kept copy, with everything that is wrong with them.

        Raises:
            NotGranted: The role is too low.
            ActRefused: There is nothing at the key, or it is no key of a record.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "show")
        parsed = self._parsed(key)
        stored = await self._stored(key)
        owner = None
        if parsed.role != "corrupt":
            at = keys.record_keys(parsed.kind, parsed.id, suffix=parsed.suffix, internal=True)
            (owned,) = await load_each(self._storage, [at.owner])
            owner = Owner.read(owned, at.owner)
        suffix = parsed.suffix if parsed.role != "corrupt" else ""
        error, issues = self._judged(parsed.kind, suffix, stored)
        return QuarantineView(
            key=key,
            digest=_digest(stored),
            bytes_count=len(stored),
            content=stored.decode(errors="backslashreplace"),
            error=error,
            issues=issues,
            server="" if owner is None else owner.server,
        )

    def judge(self, key: str, content: bytes) -> tuple[str, tuple[IssueView, ...]]:
        """What the loading path says of a new content, before it is written; an empty sentence if it can be used.

        Args:
            key: The record's key.
            content: JSON with or without a checksum, or s-expressions.

        Raises:
            ActRefused: It is no key of a record.
        """
        parsed = self._parsed(key)
        return self._judged(parsed.kind, parsed.suffix, _with_checksum(content))

    async def mend(self, by: Operator, key: str, content: bytes, *, digest: str, reason: str, act_id: str) -> Outcome:
        """Replace the bytes of a record by others that the loading path accepts.

        Args:
            by: The operator.
            key: The record's key.
            content: As for `judge`.
            digest: Of the bytes that the operator saw.
            reason: For the audit trail.
            act_id: The id of the act.

        Raises:
            NotGranted: The role is too low.
            OpReused: The id is that of another act.
            ActRefused: The content is refused; or the record has changed since, or a server owns it.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "mend")
        parsed = self._parsed(key)
        cls = self._classes.get(_kind(parsed.kind, parsed.suffix))
        if cls is None or parsed.role == "corrupt":
            raise ActRefused(f"{key} is no record of this game", hint="name the record itself")
        error, issues = self.judge(key, content)
        if error:
            raise ActRefused(f"{key} would be as unusable: {error}", hint=_told(issues))
        record = load(_with_checksum(content), cls, limits=limits_of(self._engine.records)).require()
        blob = encode(record, self._engine.records.codec, limits=limits_of(self._engine.records))
        at = keys_of(cls, parsed.id)
        effects = [Put(at.record, blob), Put(at.version, b"%d" % cls.__realmkeep__.version)]
        details = {"before": digest, "after": _digest(blob)}
        return await self._write(by, "mend", at, digest, effects, details, reason, act_id)

    async def discard(self, by: Operator, key: str, *, digest: str, reason: str, act_id: str) -> Outcome:
        """Delete a record that cannot be used, or a kept copy. A copy of the record's bytes is kept for a week.

        Args:
            by: The operator.
            key: The key of the record, or of the copy.
            digest: Of the bytes that the operator saw.
            reason: For the audit trail.
            act_id: The id of the act.

        Raises:
            NotGranted: The role is too low.
            OpReused: The id is that of another act.
            ActRefused: The record can be used; or it has changed since, or a server owns it.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "discard")
        parsed = self._parsed(key)
        stored = await self._storage.load(key)
        if parsed.role == "corrupt":
            return await self._drop_copy(by, key, digest, reason, act_id)
        at = keys.record_keys(parsed.kind, parsed.id, suffix=parsed.suffix, internal=True)
        if stored is not None and not self._judged(parsed.kind, parsed.suffix, stored)[0]:
            raise ActRefused(f"{key} can be used", hint="`realmkeep player erase` deletes a person")
        copy = keys.corrupt(at, digest)
        effects = [Delete(each) for each in (at.record, at.version, at.ops)]
        kept = [] if stored is None else [Put(copy, stored, expire_s=CORRUPT_KEEP_S)]
        details = {"before": digest, "kept_at": copy}
        return await self._write(by, "discard", at, digest, [*effects, *kept], details, reason, act_id)

    async def _drop_copy(self, by: Operator, key: str, digest: str, reason: str, act_id: str) -> Outcome:
        order = _order(by, "discard", key, reason, act_id, {"before": digest})
        for _ in range(TURNS_MAX):
            found = await self._book.look(order)
            if isinstance(found, Outcome):
                return found.require()
            stored = await self._seen(key, digest)
            outcome, beside = self._book.done(order, order.details, found)
            if await self._committed([Guard(key, stored)], [Delete(key)], beside, key):
                return outcome
        raise _contended()

    async def _write(
        self,
        by: Operator,
        act: str,
        at: RecordKeys,
        digest: str,
        effects: Sequence[Effect],
        details: dict[str, Any],
        reason: str,
        act_id: str,
    ) -> Outcome:
        order = _order(by, act, at.record, reason, act_id, details)
        for _ in range(TURNS_MAX):
            found = await self._book.look(order)
            if isinstance(found, Outcome):
                return found.require()
            stored = await self._seen(at.record, digest)
            guards = [Guard(at.record, stored)]
            moved: list[Effect] = []
            if at.kind not in {"account", "operator"}:
                owned, updated = await load_each(self._storage, [at.owner, at.updated])
                free = await self._free(at, owned)
                guards += [Guard(at.owner, owned), Guard(at.updated, updated), *free]
                moved = [*self._moved(at, updated, effects, f"{by.name}: {reason}"), Delete(at.owner)]
            outcome, beside = self._book.done(order, details, found)
            if await self._committed(guards, [*effects, *moved], beside, at.record):
                return outcome
        raise _contended()

    def _moved(self, at: RecordKeys, updated: bytes | None, effects: Sequence[Effect], reason: str) -> list[Effect]:
        """The next revision, and the entry of the journal.

        The revision is later than that of any former owner, whose late writes are then refused.
        """
        now_us, journal = self._engine.clock.wall_us(), self._engine.journal
        mended = next((each.value for each in effects if isinstance(each, Put) and each.key == at.record), None)
        if mended is None:
            ahead = now_us + int(DELETED_KEEP_S * 1_000_000)
            moved = Put(at.updated, b"%d" % ahead, expire_s=DELETED_KEEP_S)
            entry = journal.deleted(at.record, fn="discard", reason=reason)
        else:
            revision = max(now_us, (stored_number(updated) or 0) + 1)
            moved, entry = Put(at.updated, b"%d" % revision), journal.replaced(at.record, mended, revision)
        return [moved] if entry is None else [moved, entry]

    async def _free(self, at: RecordKeys, owned: bytes | None) -> list[Guard]:
        """The guards under which no live server owns the record.

        Raises:
            ActRefused: One does.
        """
        if owned is None:
            return []
        owner = Owner.read(owned, at.owner)
        if owner is None:
            return []
        lease = keys.server_lease(owner.server)
        if await self._storage.exists(lease):
            raise ActRefused(
                f"{at.record} is owned by the live server {owner.server!r}", hint="`realmkeep player release` it first"
            )
        return [Guard(lease, None)]

    async def _seen(self, key: str, digest: str) -> bytes:
        stored = await self._stored(key)
        if _digest(stored) != digest:
            raise ActRefused(f"{key} has changed since it was shown", hint="look at it again, and decide anew")
        return stored

    async def _stored(self, key: str) -> bytes:
        (stored,) = await load_each(self._storage, [key])
        if stored is None:
            raise ActRefused(f"there is nothing at {key}", hint="`realmkeep quarantine list` shows the copies")
        return stored

    async def _committed(
        self, guards: list[Guard], effects: Sequence[Effect], beside: Sequence[Guard | Effect], key: str
    ) -> bool:
        """Write it; False if it has to be tried anew, because something that it compares has moved.

        Raises:
            StorageError: The store cannot be reached.
        """
        more = [each for each in beside if isinstance(each, Guard)]
        also = [each for each in beside if not isinstance(each, Guard)]
        (outcome,) = await self._storage.write([Transaction([*guards, *more], [*effects, *also])])
        match outcome:
            case Committed():
                if self._storage.capability.loss_window_s != 0:
                    await self._storage.flush()
                return True
            case Refused():
                return False
            case Failed() | Unknown():
                raise outcome.error

    def _judged(self, kind: str, suffix: str, stored: bytes) -> tuple[str, tuple[IssueView, ...]]:
        """The sentence of the loading path, and the issues; an empty sentence if the bytes can be used."""
        cls = self._classes.get(_kind(kind, suffix)) or next(
            (cls for cls in self._classes.values() if cls.__realmkeep__.kind == kind), None
        )
        if cls is None:
            return f"no class of this game has the kind {kind!r}", ()
        records = self._engine.records
        try:
            loaded = load(stored, cls, limits=limits_of(records), accept_unchecked=records.accept_unchecked)
            loaded.require()
        except RecordError as error:
            found = getattr(error, "issues", ())
            return error.message, tuple(IssueView(each.path, each.value, each.rule) for each in found)
        return "", ()

    def _parsed(self, key: str) -> keys.ParsedKey:
        try:
            parsed = keys.parse(key)
        except InvalidKey as error:
            raise ActRefused(error.message, hint=error.hint) from error
        if parsed.role not in {"record", "account", "operator", "corrupt"}:
            raise ActRefused(f"{key} is no key of a record", hint="such as player:7, or corrupt:player:7:...")
        return parsed


def _class_key(cls: type[Record]) -> str:
    info = cls.__realmkeep__
    return _kind(info.kind, info.suffix)


def _kind(kind: str, suffix: str) -> str:
    return f"{kind}:{suffix}" if suffix else kind


def _digest(stored: bytes) -> str:
    return hashlib.sha256(stored).hexdigest()[:DIGEST_CHARS]


def _with_checksum(content: bytes) -> bytes:
    """The content as it is stored: JSON that an operator wrote gets its checksum anew."""
    try:
        plain = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return content
    plain.pop("crc", None)
    return with_crc(msgspec.json.encode(plain)) if plain else content


def _told(issues: Sequence[IssueView]) -> str:
    return "; ".join(f"{each.path or 'the record'} should be {each.rule}" for each in issues[:5])


def _order(by: Operator, act: str, target: str, reason: str, act_id: str, details: dict[str, Any]) -> Order:
    return Order(act_id=act_id, act=act, operator=by.name, role=by.role, target=target, reason=reason, details=details)


def _contended() -> StorageUnavailable:
    return StorageUnavailable(f"other acts were faster {TURNS_MAX} times in a row", hint="ask again")
