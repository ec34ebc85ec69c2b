"""Runs an order on a record that this server owns: a commit with the outcome and the audit entry in its transaction."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from realmkeep.accounts.account import Account
from realmkeep.accounts.admin import AccountAdmin
from realmkeep.accounts.lookalikes import Lookalikes
from realmkeep.accounts.notices import AccountNotices
from realmkeep.errors import (
    AccountError,
    ActRefused,
    CommitRefused,
    NotConserved,
    RealmkeepError,
    RecordError,
    SessionFrozen,
    StorageUnavailable,
)
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.record_keys import limits_of
from realmkeep.keeping.operating import commit_for_operator
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.operations.operators.editing import assign, edited
from realmkeep.operations.operators.orders import Edit, Forget, Gift, Kick, Move, OrderBook, Outcome, Release, Rename
from realmkeep.operations.operators.players import LiveGame
from realmkeep.operations.privacy.references import forget_players

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep import Keeper, Record, Session
    from realmkeep.keeping.unowned_records import Also
    from realmkeep.operations.operators.audit import FoundHead
    from realmkeep.operations.operators.orders import Change, Order
    from realmkeep.operations.operators.players import Players

log = logging.getLogger(__name__)

TURNS_MAX: Final = 20  # each lost to another act in the realm at the same moment


class OrderRunner:
    """Runs orders on the live records of one keeper.

    Args:
        keeper: Owns the records.
        players: The game's word.
        live: The game's reactions.
    """

    def __init__(self, keeper: Keeper, players: Players, live: LiveGame | None = None) -> None:
        engine = engine_of(keeper)
        self._keeper = keeper
        self._players = players
        self._live = live or LiveGame()
        self._limits = limits_of(engine.records)
        accounts = UnownedRecords(Account, engine.storage, records=engine.records, clock=engine.clock)
        notices, lookalikes = AccountNotices(engine.storage, engine.clock), Lookalikes(engine.storage)
        self.accounts = AccountAdmin(accounts, notices, lookalikes, engine.clock)
        self._turn = asyncio.Lock()  # two acts at once would take each other's end of the trail
        self.book = OrderBook(engine.storage, engine.clock, keeper.name)

    async def run(self, order: Order, session: Session[Any]) -> Outcome:
        """Run an order once over all attempts at all servers; the outcome is durable when it returns.

        Raises:
            OpReused: Its id is that of another act.
            SessionEnded: The record is not live here any more; ask at its new owner.
            RealmkeepError: The store cannot be reached, or the keeper closes; ask again.
        """
        async with self._turn:
            for _ in range(TURNS_MAX):
                found = await self.book.look(order)
                if isinstance(found, Outcome):
                    return found
                outcome = await self._attempt(order, found, session)
                if outcome is not None:
                    return outcome
        raise StorageUnavailable(f"other acts were faster {TURNS_MAX} times in a row", hint="ask again")

    async def _attempt(self, order: Order, head: FoundHead, session: Session[Any]) -> Outcome | None:
        """Commit the change with its entry; None if another act was faster, or it was this very act."""
        made: list[Outcome] = []
        try:
            renaming = await self._renaming(order)
            function = partial(self._apply, order, head, session, made, renaming)
            await commit_for_operator(self._keeper, function, session)
        except ActRefused as error:
            return await self.book.refuse(order, error)
        except (NotConserved, RecordError, SessionFrozen) as error:
            return await self.book.refuse(order, ActRefused(error.message, hint=error.hint))
        except CommitRefused:  # the trail has moved, or so has a commit on which this one was built
            self._tell_game(session)
            return None
        except BaseException:
            self._tell_game(session)
            raise
        await self._react(order, session)
        return made[0]

    async def _renaming(self, order: Order) -> Sequence[Also]:
        """The guards and effects that rename the account of a player; none for other acts.

        Raises:
            ActRefused: The name is malformed, taken, or looks like one that is.
            StorageError: The store cannot be reached.
        """
        change = order.change
        if not isinstance(change, Rename) or not change.account:
            return ()
        try:
            return (await self.accounts.renaming(change.account, change.name))[1]
        except AccountError as error:
            raise ActRefused(error.message, hint=error.hint) from error

    def _apply(
        self,
        order: Order,
        head: FoundHead,
        session: Session[Any],
        made: list[Outcome],
        renaming: Sequence[Also],
        record: Record,
    ) -> None:
        """Change the record, inside the commit."""
        assert order.change is not None  # an order for a record
        details = self._changed(order.change, session, record)
        outcome, beside = self.book.done(order, details, head)
        made.append(outcome)
        self._keeper.tx.add(*renaming, *beside)
        self._keeper.tx.explain(f"{order.operator}: {order.reason}")
        self._keeper.tx.adjust(f"{order.act} by {order.operator}")
        self._tell_game(session)

    def _tell_game(self, session: Session[Any]) -> None:
        if self._live.changed is not None and not session.ended and not session.borrowers:
            self._live.changed(session)

    def _changed(self, change: Change, session: Session[Any], record: Record) -> dict[str, Any]:
        match change:
            case Edit(field=field, value=value, expected=expected):
                made = edited(record, field, value, self._limits)
                if expected is not None and made.before != expected[0]:
                    raise ActRefused(
                        f"{field} is {made.before!r:.80} by now, and was {expected[0]!r:.80} when you looked",
                        hint="look again, and decide anew",
                    )
                assign(record, made.record)
                return {"field": field, "before": made.before, "after": made.after}
            case Gift(thing=thing, amount=amount):
                self._game(self._players.gift, "gifts", record, thing, amount)
                return {"thing": thing, "amount": amount}
            case Move(place=place):
                self._game(self._players.move, "moves", record, place)
                return {"place": place}
            case Rename(name=name):
                made = edited(record, self._players.name, name, self._limits)
                assign(record, made.record)
                return {"before": made.before, "after": made.after}
            case Forget(fields=fields, ids=ids):
                return {"fields": [*forget_players(record, fields, set(ids).__contains__)]}
            case Kick() | Release():
                if session.borrowers:
                    raise ActRefused(f"{session.keys.record} is not in the game", hint="there is nothing to end")
                return {}

    def _game(self, function: Any, what: str, record: Record, *args: Any) -> None:
        """Call a function of the game; its error is a refusal.

        Raises:
            ActRefused: The game refuses, or has no such function.
        """
        if function is None:
            raise ActRefused(f"this game defines no {what}", hint="give operators.players a function for it")
        try:
            function(record, *args)
        except RealmkeepError:
            raise
        except Exception as error:
            log.exception("the game's function for %s raised", what)
            raise ActRefused(f"the game refuses: {error}", hint="its log has the error") from error

    async def _react(self, order: Order, session: Session[Any]) -> None:
        """After the commit: the game closes the connection, or tells the client."""
        if session.ended or session.borrowers:
            return
        if isinstance(order.change, (Kick, Release)):
            if self._live.kicked is not None:
                self._live.kicked(session, order.reason)
            else:
                session.disconnect()
            if isinstance(order.change, Release) and session.writable:
                await session.release()
