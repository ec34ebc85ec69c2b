"""Notes of operators on players: a list beside the record, to which is only appended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.operations.operators.acts import new_act_id
from realmkeep.operations.operators.orders import Order, OrderBook, Outcome, checked_reason
from realmkeep.operations.operators.roles import check_grant
from realmkeep.storage import Append, Present

if TYPE_CHECKING:
    from realmkeep import Keeper
    from realmkeep.operations.operators.acts import Acts
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.operations.operators.orders import Outcome

SHOWN_MAX: Final = 100  # the newest of them


class Note(msgspec.Struct, frozen=True):
    """One note.

    Attributes:
        at_us: In microseconds since the Unix epoch.
        operator: The operator who wrote it.
        text: Its text.
    """

    at_us: int
    operator: str
    text: str


class Notes:
    """The notes on players. They belong to no record, so they change no player, live or stored.

    Args:
        keeper: Any keeper of the realm.
        acts: Knows the players.
    """

    def __init__(self, keeper: Keeper, acts: Acts) -> None:
        engine = engine_of(keeper)
        self._acts = acts
        self._storage, self._clock = engine.storage, engine.clock
        self._book = OrderBook(engine.storage, engine.clock, keeper.name)

    async def of_player(self, by: Operator, player: int | str) -> list[Note]:
        """The newest hundred notes on a player, the last one first.

        Raises:
            NotGranted: The role is too low.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "show")
        stored = await self._storage.load_list(keys_of(self._acts.player_class, player).notes)
        return [msgspec.json.decode(each, type=Note) for each in stored[: -SHOWN_MAX - 1 : -1]]

    async def add(self, by: Operator, player: int | str, text: str, *, act_id: str = "") -> Outcome:
        """Add a note on a player, with its entry in the audit trail.

        Args:
            by: The operator.
            player: Id or name.
            text: 1 to 300 printable characters.
            act_id: The id of the act; empty for a new one.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: There is no such player, or no text.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "note")
        at = keys_of(self._acts.player_class, await self._acts.player_id(player))
        order = Order(
            act_id=act_id or new_act_id(),
            act="note",
            operator=by.name,
            role=by.role,
            target=at.record,
            reason=checked_reason(text),
        )
        note = msgspec.json.encode(Note(self._clock.wall_us(), by.name, order.reason))
        return await self._book.write(order, {}, [Append(at.notes, note)], [Present(at.record)])
