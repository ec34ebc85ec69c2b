"""The control list of a server: acts of operators on the records that it owns, asked for from anywhere in the realm."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import OpReused, RealmkeepError, SessionEnded, StorageError
from realmkeep.keeping.keeper import engine_of
from realmkeep.operations.operators.orders import Forget, Order, Outcome
from realmkeep.operations.operators.running import OrderRunner
from realmkeep.storage import Append, DropFirst, Failed, Transaction, Unknown

if TYPE_CHECKING:
    from realmkeep import Keeper, Session
    from realmkeep.operations.operators.players import LiveGame, Players
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

POLL_S: Final = 0.5  # how soon an act on another server's player begins
ORDERS_A_ROUND: Final = 100


async def send_order(storage: Storage, server: str, order: Order) -> None:
    """Put an order into the control list of a server; one that arrives twice is run once.

    Raises:
        StorageError: The store cannot be reached.
    """
    append = Append(keys.server_control(server), msgspec.json.encode(order))
    (outcome,) = await storage.write([Transaction([], [append])])
    if isinstance(outcome, (Failed, Unknown)):
        raise outcome.error


class ControlListener:
    """Runs the orders in the control list of one server.

    Args:
        keeper: Owns the records.
        players: The game's word.
        live: The game's reactions.
    """

    def __init__(self, keeper: Keeper, players: Players, live: LiveGame | None = None) -> None:
        self._engine = engine_of(keeper)
        self._keeper = keeper
        self._players = players
        self._runner = OrderRunner(keeper, players, live)
        self._key = keys.server_control(keeper.name)

    async def listen(self) -> None:
        """Look for orders, for ever."""
        while True:
            try:
                orders = await self._engine.storage.load_list(self._key, count=ORDERS_A_ROUND)
                for stored in orders:
                    await self._run(stored)
                    await self._drop()
            except StorageError as error:  # the keeper reports an unreachable store; the list is still there
                log.info("the control list was not read to its end: %s", error)
            await self._engine.clock.sleep(POLL_S)

    async def _drop(self) -> None:
        """Take the first order out; if the server dies before, the order is read again and has its outcome."""
        (outcome,) = await self._engine.storage.write([Transaction([], [DropFirst(self._key, 1)])])
        if isinstance(outcome, (Failed, Unknown)):
            raise outcome.error

    async def _run(self, stored: bytes) -> None:
        """Run one order, unless its record is not live here: then its asker looks for the owner anew.

        Raises:
            StorageError: The store cannot be reached; the order stays.
        """
        try:
            order = msgspec.json.decode(stored, type=Order)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            log.error("an entry of %s is no order, and is dropped: %s", self._key, error)
            return
        if order.expires_us <= self._engine.clock.wall_us():
            log.warning("the act %s on %s came too late, and is dropped", order.act_id, order.target)
            return
        session = self._session(order)
        if session is None:
            return
        try:
            outcome = await self._runner.run(order, session)
        except StorageError:
            raise
        except (SessionEnded, OpReused) as error:
            log.info("the act %s on %s was not run here: %s", order.act_id, order.target, error)
        except RealmkeepError as error:
            log.warning("the act %s on %s failed: %s", order.act_id, order.target, error)
        else:
            self._say(order, outcome)

    def _session(self, order: Order) -> Session[Any] | None:
        """The live session for an order: of a player, or, for a `Forget`, of any record that names players."""
        session = self._engine.sessions.get(order.target)
        if session is None or not session.writable:
            return None
        return session if session.cls is self._players.record or isinstance(order.change, Forget) else None

    def _say(self, order: Order, outcome: Outcome) -> None:
        told = f"refused: {outcome.refused}" if outcome.refused else f"audit entry {outcome.entry}"
        log.info("operator %s: %s %s: %s", order.operator, order.act, order.target, told)


def control_list(keeper: Keeper, players: Players, live: LiveGame | None = None) -> None:
    """Run the orders in the control list of a keeper's server, until the keeper closes.

    Args:
        keeper: Open.
        players: The game's word.
        live: The game's reactions.
    """
    engine = engine_of(keeper)
    engine.background.run_forever("acts of operators", ControlListener(keeper, players, live).listen)
