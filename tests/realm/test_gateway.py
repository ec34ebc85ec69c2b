"""A gateway sends a client to the server that has its player, and to a live one when that is gone."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest
from lab import LabPeer

from realmkeep import Keeper, KeeperConfig
from realmkeep.accounts import Account
from realmkeep.background import Background
from realmkeep.errors import Misuse, StorageUnavailable
from realmkeep.keeping import announce_address
from realmkeep.realm.gateway.gateway import Gateway
from realmkeep.realm.gateway.routes import Routes, accepts_connections
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.requests import read_request
from realmkeep.realm.wire.server_address import ServerAddress
from realmkeep.realm.world.player import Player
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.lab import abandon

ADA = 7
PORTS = {"north": 1001, "south": 1002}
ADDRESSES = {name: f"{name}.example.org:{port}/{port + 1000}" for name, port in PORTS.items()}


class Away(MemoryStorage):
    """A store that a gateway cannot reach while `away`."""

    away = False

    async def load(self, key: str) -> bytes | None:
        if self.away:
            raise StorageUnavailable("away")
        return await super().load(key)


class RealmOfTwo:
    """Two servers, an account `Ada` with a player, and a gateway whose connections go nowhere."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.line = Away(self.store, clock=self.clock)
        self.keepers: dict[str, Keeper] = {}
        self.dead = set[str]()
        self.routes = Routes(self.line, [*PORTS], self.clock, self.accepts)
        self.background = Background("the gateway", self.clock)
        self.gateway = Gateway(self.routes, self.background, self.clock)

    async def accepts(self, address: ServerAddress) -> bool:
        return address.host.partition(".")[0] not in self.dead

    async def open(self) -> None:
        await self.line.connect()
        for name in PORTS:
            await self.start(name)
        accounts = self.keepers["north"].unowned(Account)
        await accounts.create("ada", Account(username="ada", password_hash="none", character_ids=[ADA]))
        session = await self.keepers["north"].login(Player, ADA, create=lambda: Player(player_id=ADA, name="Ada"))
        await session.logout()

    async def start(self, name: str) -> None:
        config = KeeperConfig(name=name, address=ADDRESSES[name], heartbeat_s=1.0, lease_ttl_s=5.0)
        storage = MemoryStorage(self.store, clock=self.clock)
        self.keepers[name] = await Keeper.open(storage, config=config, clock=self.clock)
        self.dead.discard(name)

    def kill(self, name: str) -> None:
        abandon(self.keepers.pop(name))
        self.dead.add(name)

    async def ask(self, username: str = "", **fields: str) -> Mapping[str, Any]:
        """The answer to a login at the gateway."""
        await self.clock.advance(1.0)  # what was looked at before counts no more
        peer = LabPeer("client", 0.0)
        heard: list[Mapping[str, Any]] = []
        request = {"type": "login", "username": username, **fields}
        self.gateway.handle_request(peer, read_request(request, logged_in=False), heard.append)
        while not peer.closed:
            await asyncio.sleep(0)
        (answer,) = heard
        return answer

    async def server_for(self, username: str = "", **fields: str) -> str:
        return (await self.ask(username, **fields))["server"]


@pytest.fixture
async def realm() -> AsyncGenerator[RealmOfTwo]:
    made = RealmOfTwo()
    await made.open()
    yield made
    await made.background.stop()
    for keeper in made.keepers.values():
        abandon(keeper)


async def test_a_client_is_sent_to_the_server_that_has_its_player(realm: RealmOfTwo) -> None:
    for name in ("south", "north", "south"):
        session = await realm.keepers[name].login(Player, ADA, create=Player)
        host, port = f"{name}.example.org", PORTS[name]
        expected = {"type": "redirect", "server": name, "host": host, "tcp": port, "udp": port + 1000}
        assert [await realm.ask("Ada") for _ in range(3)] == [expected] * 3
        session.disconnect()
        assert await realm.ask("ADA") == expected  # in grace, it is resumed there
        await session.logout()


async def test_players_without_a_server_take_turns(realm: RealmOfTwo) -> None:
    for username in ("Ada", "", "nobody", "x" * 300):
        assert {await realm.server_for(username) for _ in range(2)} == {"north", "south"}


async def test_a_wish_counts_for_more_than_the_player_and_a_server_that_is_away_for_less(realm: RealmOfTwo) -> None:
    await realm.keepers["north"].login(Player, ADA, create=Player)
    assert [await realm.server_for("Ada", server="south") for _ in range(2)] == ["south"] * 2
    assert await realm.server_for("Ada", server="no such server") in PORTS
    realm.kill("south")
    assert await realm.server_for("Ada", server="south") == "north"


async def test_no_client_is_sent_to_a_dead_server_although_its_lease_holds(realm: RealmOfTwo) -> None:
    await realm.keepers["north"].login(Player, ADA, create=Player)
    realm.kill("north")
    assert [await realm.server_for("Ada") for _ in range(3)] == ["south"] * 3  # whose login says for how long to wait
    await realm.start("north")
    assert await realm.server_for("Ada", server="north") == "north"
    realm.kill("north")
    await realm.clock.advance(10)  # the lease is gone, too
    assert await realm.server_for("Ada") == "south"


async def test_clients_that_ask_at_once_share_a_knock(realm: RealmOfTwo) -> None:
    knocks = 0

    async def accepts(_address: ServerAddress) -> bool:
        nonlocal knocks
        knocks += 1
        await asyncio.sleep(0)
        return False

    routes = Routes(realm.line, [*PORTS], realm.clock, accepts)
    assert await asyncio.gather(*(routes.choose("ada", "") for _ in range(50))) == [None] * 50
    assert knocks == len(PORTS)


async def test_a_host_that_is_no_name_accepts_no_connection() -> None:
    assert not await accepts_connections(ServerAddress("a..b", 1, 1))


async def test_without_any_server_a_client_is_told_to_come_again(realm: RealmOfTwo) -> None:
    for name in PORTS:
        realm.kill(name)
    refused = {"type": "auth_fail", "reason": "unavailable", "retry_after_s": 1.0}
    assert await realm.ask("Ada") == refused
    await realm.start("south")
    assert await realm.server_for("Ada") == "south"
    realm.line.away = True
    assert await realm.ask("Ada") == refused


async def test_a_draining_server_gets_nobody_and_its_players_go_where_it_sends_them(realm: RealmOfTwo) -> None:
    north = realm.keepers.pop("north")
    await north.login(Player, ADA, create=Player)
    for other in (100, 101):
        await north.login(Player, other, create=Player)
    draining = asyncio.create_task(north.drain(to="south", per_s=0.1))
    await realm.clock.advance(1)
    assert [await realm.server_for(username) for username in ("Ada", "", "Ada")] == ["south"] * 3
    await realm.clock.advance(60)
    await draining


async def test_a_server_without_an_address_is_passed_over_until_it_tells_one(realm: RealmOfTwo) -> None:
    south = realm.keepers["south"]
    await announce_address(south, "somewhere")
    assert [await realm.server_for() for _ in range(2)] == ["north"] * 2
    await announce_address(south, "[::1]:7777")
    found = [await realm.ask() for _ in range(2)]
    assert {"type": "redirect", "server": "south", "host": "::1", "tcp": 7777, "udp": 7777} in found
    with pytest.raises(Misuse):
        await announce_address(south, "two words")


async def test_a_gateway_answers_logins_alone_and_one_at_a_time_for_a_client(realm: RealmOfTwo) -> None:
    peer = LabPeer("client", 0.0)
    assert realm.gateway.welcome(peer)["server"] == "gateway"
    login = read_request({"type": "login", "username": "Ada"}, logged_in=False)
    realm.gateway.handle_request(peer, login, lambda _: None)
    for request in (login, read_request({"type": "ping"}, logged_in=True)):
        with pytest.raises(BadInput):
            realm.gateway.handle_request(peer, request, lambda _: None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("localhost:7777", ServerAddress("localhost", 7777, 7777)),
        ("10.0.0.1:1/65535", ServerAddress("10.0.0.1", 1, 65535)),
        ("[::1]:1/2", ServerAddress("::1", 1, 2)),
        *[
            (text, None)
            for text in ("", "x", "x:0", "x:65536", "x:1/0", "::1:7777", "x:1/2/3", "a b:1", "[fe80::1%eth0]:1")
        ],
    ],
)
def test_an_address_is_read_back_as_it_was_written(text: str, found: ServerAddress | None) -> None:
    assert ServerAddress.read(text) == found
    assert found is None or ServerAddress.read(str(found)) == found
