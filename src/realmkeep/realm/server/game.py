"""The shared state of the server's parts: the keeper, the world, the players, the clock."""

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
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.operations.backup.schedule import BackupSchedule
from realmkeep.operations.journal.archiver import Archiver
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

ALLOWANCES_MAX: Final = 20_000  # players with a message allowance in memory; the least recently active goes first

log = structlog.get_logger("realm")

ID_DIGITS_MAX: Final = 18  # of a realm's own ids; an account of an older store may name an id of any form


@dataclass(eq=False)
class Game:
    """One running realm.

    Attributes:
        zones: The sessions of the zones' records, by zone name.
        random: The only source of chance.
        ticks: Number of ticks since the start.
        refilling: Whether an allocation of serials is under way.
        backups: The schedule of backups; None if this server makes none.
        archiver: Archives the journal; None if this server writes none.
        cold_archiver: Keeps the cold tier; None if this server has none.
        strangers_log: Bounds the log lines that a client without a session may cause at will.
        arrivals_log: Bounds the log lines about logins and logouts.
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
    backups: BackupSchedule | None = None
    archiver: Archiver | None = None
    cold_archiver: ColdArchiver | None = None

    def __post_init__(self) -> None:
        self.background = Background("the realm", self.clock)
        self.trades = TradeBook(self.connections.send_event)
        self.strangers_log = RateLimitedLog(self.clock)
        self.arrivals_log = RateLimitedLog(self.clock)
        self._allowances = LruMap[int, TokenBucket](
            lambda: TokenBucket(self.clock.monotonic_s()), entries_max=ALLOWANCES_MAX
        )

    def message_allowance(self, player_id: int) -> TokenBucket:
        """The message allowance of a player, shared by all its sessions and connections."""
        return self._allowances[player_id]

    @property
    def degraded(self) -> tuple[str, ...]:
        """The reasons for which a promise is not being kept now, one sentence each."""
        return (*self.keeper.degraded, *self.degraded_beside_keeper)

    @property
    def degraded_beside_keeper(self) -> tuple[str, ...]:
        """As `degraded`, without the keeper's own reasons."""
        backups = (self.backups.trouble,) if self.backups is not None and self.backups.trouble else ()
        journal = (self.archiver.trouble,) if self.archiver is not None and self.archiver.trouble else ()
        return (*self.accounts.degraded, *self.background.degraded, *backups, *journal)

    def scene(self, other: NamedPlayer | None = None) -> Scene:
        """The surroundings of an action at this moment."""
        return Scene(
            self.keeper,
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
        """Run a task in the background; its error is logged, because no caller waits for it.

        Args:
            work: The coroutine to run.
            name: The name of the task in the log.
            failed: Called if the task raises, to answer the waiting client.
        """

        def ended(task: Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                failed()

        self.background.run(name, work, lasts_s=STEADY_S).add_done_callback(ended)

    def disconnect_player(self, connection: PlayerConnection) -> None:
        """Disconnect a player: grace begins, and monsters can still fight the player."""
        self.connections.detach_peer(connection)
        self.trades.player_left(connection.player, "disconnected")
        if not connection.session.ended:
            connection.session.disconnect()

    def remove_player(self, connection: PlayerConnection) -> None:
        """Take a player out of the game: its client is no longer read, and nothing in the game affects it."""
        self.connections.remove_player(connection)
        self.trades.player_left(connection.player, "logged_out")
        self.places.remove_player(connection.player)

    def zone_of(self, place: Place) -> Session[Zone]:
        """The session of a zone's record."""
        return self.zones[place.name]

    async def look_up_player(self, player: int | str) -> NamedPlayer | None:
        """Look a player up by id or name, in the game or in the store; None if there is no such player.

        Raises:
            ActionRefused: `unavailable`: the player is not in the game, and its record cannot be read.
            StorageUnavailable: The player is not in the game, and the store cannot be reached.
        """
        if (connection := self.connections.find_player(player)) is not None:
            return NamedPlayer(
                connection.player.player_id, connection.player.name, frozenset(connection.player.blocked)
            )
        try:
            player_id = player if isinstance(player, int) else await self._character_id(player)
            record = None if player_id is None else await self.keeper.table(Player).load(player_id)
        except (Quarantined, RecordError) as error:
            self.strangers_log.say(log.error, "a player cannot be loaded", error=str(error))
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
        """Allocate blocks of serials while they run low; if there are no more ids, the realm uses up its last serials.

        Raises:
            StorageError: The store cannot be reached.
        """
        self.refilling = True
        try:
            while self.serials.low:
                self.serials.add_block(await self.keeper.allocate_id(SERIALS_PER_BLOCK))
        except NoMoreIds as error:
            log.info("no serials were allocated", error=str(error))  # keeper.degraded tells the operator
        finally:
            self.refilling = False

    def announce_level(self, connection: PlayerConnection) -> None:
        """Tell a player of a durable level-up, once."""
        player = connection.player
        if player.level > connection.level_told:
            connection.level_told = player.level
            connection.send_event({"type": "event", "kind": "level_up", "level": player.level, "max_hp": player.max_hp})
