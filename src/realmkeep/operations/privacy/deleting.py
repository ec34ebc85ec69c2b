"""The deletion of one player with all keys beside it; what the player held counts as destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from realmkeep.errors import ActRefused, RecordError, StorageUnavailable, WrongType
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.record_keys import limits_of
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.keeping.ownership.lease import Owner
from realmkeep.operations.archive.erasing import Intent, find_intent, finish
from realmkeep.operations.economy.letters import held_in_letter, letters_by_kind
from realmkeep.operations.operators.orders import Order, OrderBook, Outcome
from realmkeep.records import held_by, load
from realmkeep.storage import Committed, Delete, Failed, Guard, Put, Refused, Shorter, Transaction, Unknown, load_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep import Keeper
    from realmkeep.keys import RecordKeys
    from realmkeep.operations.backup.holdings import Holdings
    from realmkeep.operations.operators.acts import Acts
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.records import Held
    from realmkeep.storage import Effect, Need

DELETED_KEEP_S: Final = 60.0  # as `keeper.tx.delete` leaves the revision of a deleted record
TURNS_MAX: Final = 200
AGAIN_S: Final = 0.25  # while a server lets a record go


class PlayerDeletion:
    """Deletes players.

    Args:
        keeper: Any keeper of the realm.
        acts: The acts of operators.
        holdings: The game's classes.
    """

    def __init__(self, keeper: Keeper, acts: Acts, holdings: Holdings) -> None:
        engine = engine_of(keeper)
        self._acts = acts
        self._storage = engine.storage
        self._clock = engine.clock
        self._journal = engine.journal
        self._cold = engine.cold
        self._reads = engine.reads
        self._records = engine.records
        self._letters = letters_by_kind(holdings)
        self._book = OrderBook(engine.storage, engine.clock, keeper.name)

    async def delete(self, by: Operator, at: RecordKeys, copies: Sequence[str], *, reason: str, act_id: str) -> Outcome:
        """Delete a player with all keys beside it, once no server owns it.

        Args:
            by: The operator.
            at: The keys of the player.
            copies: The keys of copies of its unusable bytes.
            reason: For the audit trail.
            act_id: The id of this deletion.

        Raises:
            OpReused: The id is that of another act.
            ActPending: Its server has not let it go; ask again.
            StorageError: The store cannot be reached, or its cold tier; ask again.
        """
        order = Order(act_id=act_id, act="erase", operator=by.name, role=by.role, target=at.record, reason=reason)
        beside = [at.record, at.version, at.ops, at.inbox, at.kept, at.notes, at.left, *copies]
        for _ in range(TURNS_MAX):
            found = await self._book.look(order)
            if isinstance(found, Outcome):
                await self._erase_cold(at)
                return found.require()
            stored, owned, updated = await load_each(self._storage, [at.record, at.owner, at.updated])
            if owned is not None:
                await self._let_go(by, at, owned, reason)
                continue
            if stored is not None and self._cold is not None:  # a frozen player holds what its row has
                stored = await self._reads.load(at.record)
            held, needs = await self._contents(at, stored)
            ahead = self._clock.wall_us() + int(DELETED_KEEP_S * 1_000_000)
            outcome, more = self._book.done(order, {"keys": len(beside)}, found)
            guards = [
                Guard(at.owner, None),
                Guard(at.updated, updated),
                *(one for one in more if isinstance(one, Guard)),
            ]
            effects: list[Effect] = [Delete(key) for key in beside]
            effects.append(Put(at.updated, b"%d" % ahead, expire_s=DELETED_KEEP_S))
            effects += [one for one in more if not isinstance(one, Guard)]
            told = f"{by.name}: {reason}"
            entry = self._journal.deleted(at.record, fn="erase", reason=told, held=held, because=f"erase by {by.name}")
            effects += [] if entry is None else [entry]
            effects += [] if self._cold is None else [Intent(at.record, ahead).put]
            (written,) = await self._storage.write([Transaction(guards, effects, needs)])
            match written:
                case Committed():
                    await self._storage.flush()
                    await self._erase_cold(at)
                    return outcome
                case Refused():
                    continue
                case Failed() | Unknown():
                    raise written.error
        raise StorageUnavailable(f"{at.record} was taken again and again", hint="ask again with the same id")

    async def _erase_cold(self, at: RecordKeys) -> None:
        """Finish the erasure in the cold tier, if its intent is still there.

        Raises:
            StorageError: A store cannot be reached; the intent stays.
        """
        if self._cold is not None and (intent := await find_intent(self._storage, at.record)) is not None:
            await finish(self._storage, self._cold, intent)

    async def _contents(self, at: RecordKeys, stored: bytes | None) -> tuple[list[Held | None], list[Need]]:
        """What the record and its letters hold, and the needs under which no letter has come since.

        Unreadable bytes hold nothing: an audit does not count them either.
        """
        held: list[Held | None] = []
        needs: list[Need] = []
        try:
            if stored is not None:
                cls, limits = self._acts.player_class, limits_of(self._records)
                record = load(stored, cls, limits=limits, accept_unchecked=self._records.accept_unchecked).require()
                held.append(held_by(cls.__realmkeep__, record))
        except RecordError:
            held = []
        for key in (at.inbox, at.kept):
            try:
                letters = await self._storage.load_list(key)
            except WrongType:
                continue
            needs.append(Shorter(key, len(letters) + 1))
            held += [self._in_letter(each) for each in letters]
        return held, needs

    def _in_letter(self, stored: bytes) -> Held | None:
        try:
            return held_in_letter(stored, self._letters)
        except (RecordError, *UNDECODABLE):
            return None

    async def _let_go(self, by: Operator, at: RecordKeys, owned: bytes, reason: str) -> None:
        """Have the owner save the player and give it up; a dead owner's claim is taken over and released."""
        owner = Owner.read(owned, at.owner)
        try:
            await self._acts.release(by, at.id, reason=reason)
        except ActRefused:  # a dead server's: the act has claimed and released it
            if owner is None:
                raise
        await self._clock.sleep(AGAIN_S)
