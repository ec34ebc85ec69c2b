"""The choice of a server for a client: the one that has its player, the one it asks for, or any that lets players in."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from realmkeep.accounts import Account, fold_username
from realmkeep.clock import Clock
from realmkeep.errors import InvalidKey, Quarantined, RecordError
from realmkeep.keeping import Directory, ServerInfo, UnownedRecords, Whereabouts
from realmkeep.rate_limited_log import RateLimitedLog
from realmkeep.realm.wire.server_address import ServerAddress
from realmkeep.realm.world.player import Player
from realmkeep.storage import Storage

LOOK_S: Final = 0.5  # the leases are read so often at most, however many clients ask
KNOCK_S: Final = 1.0  # for a server to accept a connection
KNOCKED_S: Final = 1.0  # a knock counts for so long

log = structlog.get_logger("realm.gateway")


class Route(NamedTuple):
    """The server for a client.

    Attributes:
        server: Its name.
        address: Where the client connects.
    """

    server: str
    address: ServerAddress


async def accepts_connections(address: ServerAddress) -> bool:
    """Whether a server accepts a TCP connection now: the lease of one that was killed holds for a while."""
    try:
        _, writer = await asyncio.open_connection(address.host, address.tcp)
    except (OSError, UnicodeError):  # the latter for a host such as `a..b`
        return False
    writer.close()
    return True


@dataclass(eq=False)
class _Knock:
    """The last knock at a server. Clients that ask at the same time share it."""

    at_s: float = float("-inf")
    is_answered: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Routes:
    """Chooses servers.

    Args:
        storage: The store of the realm, connected.
        names: The names of the realm's servers.
        clock: Paces the reads and knocks.
        accepts: Whether a server accepts a connection.
    """

    def __init__(
        self,
        storage: Storage,
        names: Sequence[str],
        clock: Clock,
        accepts: Callable[[ServerAddress], Awaitable[bool]] = accepts_connections,
    ) -> None:
        self._directory = Directory(storage)
        self._accounts = UnownedRecords(Account, storage, clock=clock)
        self._names = names
        self._clock = clock
        self._accepts = accepts
        self._turn = 0
        self._looking = asyncio.Lock()
        self._looked_s = float("-inf")
        self._servers: list[ServerInfo] = []
        self._knocks: dict[ServerAddress, _Knock] = {}
        self._log = RateLimitedLog(clock)

    async def choose(self, username: str, wish: str) -> Route | None:
        """The server for a player; None if no server lets players in now.

        A server that does not accept connections, or tells no address, is passed over. The answer is a hint: the server's login
        decides, and fetches the player from another server if it is live there.

        Args:
            username: As typed; empty, or of no account, if the player is new.
            wish: The server that the client asks for; empty for the one that has the player.

        Raises:
            StorageError: The store cannot be reached.
        """
        home = None if wish else await self._home(username)
        servers = {info.name: info for info in await self._look()}
        for name in self._preferred(wish, home):
            info = servers.get(name)
            if info is None or info.state != "open":
                continue
            address = ServerAddress.read(info.address)
            if address is None:
                self._log.say(log.warning, "a server tells no address", server=name, address=info.address)
            elif await self._knock(address):
                return Route(name, address)
        return None

    def _preferred(self, wish: str, home: Whereabouts | None) -> list[str]:
        """The names of the servers in the order in which they are tried; without a preference they take turns."""
        self._turn += 1
        turn = self._turn % len(self._names)
        first = [wish]
        if home is not None and home.is_alive:
            first = [home.server, home.drains_to]
        return [*first, *self._names[turn:], *self._names[:turn]]

    async def _home(self, username: str) -> Whereabouts | None:
        """The server that has a player; None if none has, or if the account cannot be read: its login says why."""
        if not username:
            return None
        try:
            found = await self._accounts.get(fold_username(username))
            if found is None or not found.record.character_ids:
                return None
            return await self._directory.whereabouts(Player, found.record.character_ids[0])
        except InvalidKey:
            return None
        except (Quarantined, RecordError) as error:
            self._log.say(log.error, "an account or an owner cannot be read", error=str(error))
            return None

    async def _look(self) -> list[ServerInfo]:
        async with self._looking:
            if self._clock.monotonic_s() - self._looked_s >= LOOK_S:
                self._servers = await self._directory.servers(self._names)
                self._looked_s = self._clock.monotonic_s()
            return self._servers

    async def _knock(self, address: ServerAddress) -> bool:
        knock = self._knocks.setdefault(address, _Knock())
        async with knock.turn:
            if self._clock.monotonic_s() - knock.at_s >= KNOCKED_S:
                try:
                    async with self._clock.timeout(KNOCK_S):
                        knock.is_answered = await self._accepts(address)
                except TimeoutError:
                    knock.is_answered = False
                knock.at_s = self._clock.monotonic_s()
                known = {ServerAddress.read(info.address) for info in self._servers}
                self._knocks = {each: knock for each, knock in self._knocks.items() if each in known}
            return knock.is_answered
