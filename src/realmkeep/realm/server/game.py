"""What the parts of the server share: the keeper, the world, who is in it, and what time it is."""

from asyncio import Task
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import structlog

from realmkeep import Keeper, Session
from realmkeep.accounts import Accounts
from realmkeep.background import STEADY_S, Background
from realmkeep.clock import Clock
from realmkeep.errors import NoMoreIds, NoSuchAccount, Quarantined, RecordError
from realmkeep.rate_limited_log import RateLimitedLog
from realmkeep.realm.actions.scene import SERIALS_PER_BLOCK, NamedPlayer, Scene, Serials
from realmkeep.realm.actions.trading import TradeBook
from realmkeep.realm.server.player_connections import PlayerConnection, PlayerConnections
from realmkeep.realm.wire.limits import LruMap, TokenBucket
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import World
from realmkeep.realm.world.places import Place, Places
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.zone import Zone

ALLOWANCES_MAX: Final = 20_000  # players of whom it is known what they have said; those heard least recently go first

log = structlog.get_logger("realm")

ID_DIGITS_MAX: Final = 18  # of the ids that a realm gives out; an account of an older store may name anything


@dataclass(eq=False)
class Game:
    """One running realm.

    Attributes:
        zones: The sessions of the zones' records, by zone name.
        random: The only source of chance.
        ticks: Since the start.
        refilling: A block of serials is on its way.
        strangers: Bounds the lines that a client without a session may cause at will.
        comings: Bounds the lines about players who come and go.
    """

    keeper: Keeper
    accounts: Accounts
    world: World
    places: Places
    zones: dict[str, Session[Zone]]
    clock: Clock
    random: Random
    serials: Serials
    connections: PlayerConnections = field(default_factory=PlayerConnections)
    ticks: int = 0
    refilling: bool = False

    def __post_init__(self) -> None:
        self.background = Background("the realm", self.clock)
        self.trades = TradeBook(self.connections.send_event)
        self.strangers = RateLimitedLog(self.clock)
        self.arrivals_log = RateLimitedLog(self.clock)
        self._allowances = LruMap[int, TokenBucket](
            lambda: TokenBucket(self.clock.monotonic_s()), entries_max=ALLOWANCES_MAX
        )

    def message_allowance(self, player_id: int) -> TokenBucket:
        """What a player may still say: the player's own, over all sessions and connections."""
        return self._allowances[player_id]

    @property
    def degraded(self) -> tuple[str, ...]:
        """Why not everything is as promised now, one sentence each."""
        return (*self.keeper.degraded, *self.accounts.degraded, *self.background.degraded)

    def scene(self, other: NamedPlayer | None = None) -> Scene:
        """This moment."""
        return Scene(
            self.world,
            self.places,
            self.serials,
            self.random,
            now_s=self.clock.monotonic_s(),
            wall_us=self.clock.wall_us(),
            other=other,
        )

    def spawn_task(
        self, work: Coroutine[Any, Any, None], name: str, *, failed: Callable[[], object] = lambda: None
    ) -> None:
        """Run something beside; what it raises is logged, because nobody else would hear of it.

        Args:
            work: What to do.
            name: What it is called in the log.
            failed: Called if it raises: gives the last answer to the client that waits for one.
        """

        def ended(task: Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                failed()

        self.background.run(name, work, lasts_s=STEADY_S).add_done_callback(ended)

    async def tasks_finished(self) -> None:
        """Wait for everything that was spawned."""
        await self.background.finished()

    def disconnect_player(self, connection: PlayerConnection) -> None:
        """A player is disconnected: grace begins, in which the player can still be fought."""
        self.connections.detach_peer(connection)
        self.trades.player_left(connection.player, "disconnected")
        if not connection.session.ended:
            connection.session.disconnect()

    def remove_player(self, connection: PlayerConnection) -> None:
        """A player logs out: from this moment nothing more is heard from them, and nothing happens to them."""
        self.connections.remove_player(connection)
        self.trades.player_left(connection.player, "logged_out")
        self.places.remove_player(connection.player)

    def zone_of(self, place: Place) -> Session[Zone]:
        """The session of a place's record."""
        return self.zones[place.name]

    async def look_up_player(self, player: int | str) -> NamedPlayer | None:
        """A player by id or by name, whether in the game or not; None if there is no such player.

        Raises:
            ActionRefused: `unavailable`: the player is not in the game, and its record cannot be read.
            StorageUnavailable: The player is not in the game, and the store cannot tell.
        """
        if (connection := self.connections.find_player(player)) is not None:
            return NamedPlayer(
                connection.player.player_id, connection.player.name, frozenset(connection.player.blocked)
            )
        try:
            player_id = player if isinstance(player, int) else await self._character_id(player)
            record = None if player_id is None else await self.keeper.table(Player).load(player_id)
        except (Quarantined, RecordError) as error:
            self.strangers.say(log.error, "a player cannot be loaded", error=str(error))
            raise ActionRefused("unavailable", "that player cannot be loaded; an operator has to look") from error
        return (
            None
            if player_id is None or record is None
            else NamedPlayer(player_id, record.name, frozenset(record.blocked))
        )

    async def _character_id(self, name: str) -> int | None:
        try:
            character_id = await self.accounts.character_id(name)
        except NoSuchAccount:
            return None
        text = "" if character_id is None else str(character_id)
        return int(text) if len(text) <= ID_DIGITS_MAX and text.isascii() and text.isdigit() else None

    async def refill_serials(self) -> None:
        """Fetch the next block of serials when they run low. Without a counter of ids the realm goes on with what it has.

        Raises:
            StorageError: The store cannot be reached.
        """
        self.refilling = True
        try:
            while self.serials.low:
                self.serials.add_block(await self.keeper.allocate_id(SERIALS_PER_BLOCK))
        except NoMoreIds as error:
            log.info("no serials were fetched", error=str(error))  # keeper.degraded says so to the operator
        finally:
            self.refilling = False

    def announce_level(self, connection: PlayerConnection) -> None:
        """Tell a player of a level-up, once it is durable."""
        player = connection.player
        if player.level > connection.level_told:
            connection.level_told = player.level
            connection.send_event({"type": "event", "kind": "level_up", "level": player.level, "max_hp": player.max_hp})
