"""A drain: the lease says it first, then each player is released, then the server closes; none is lost or refused elsewhere."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from keeping.game import Guild, Player, enter, hooks_of
from keeping.test_directory import gateway, opened
from realmkeep.config import KeeperConfig
from realmkeep.errors import Misuse, ShuttingDown
from realmkeep.keeping import Keeper, ServerInfo
from realmkeep.keys import server_lease
from realmkeep.storage import Put, Transaction
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import FaultyStorage, delay, reject

PLAYERS = 300


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def north_and_south(clock: FakeClock) -> tuple[MemoryStore, Keeper, Keeper]:
    store = MemoryStore(clock)
    north = await opened(store, clock, KeeperConfig(name="north", address="north:7777"))
    return store, north, await opened(store, clock, KeeperConfig(name="south"))


async def test_every_player_of_a_drained_server_is_live_elsewhere_with_its_last_change(clock: FakeClock) -> None:
    store, north, south = await north_and_south(clock)
    for id_ in range(PLAYERS):
        session = await enter(north, id_)
        session.record.xp = id_  # not flushed yet
    guild = await north.hold(Guild, 1, create=Guild)
    let_go: list[Any] = []
    hooks_of(north).on_drain(Player)(lambda session, to: let_go.append((session.id, to, guild.ended)))
    report = await north.drain(to="south")
    assert (report.released, report.clean) == (PLAYERS + 1, True)
    assert let_go == [(str(id_), "south", False) for id_ in range(PLAYERS)]  # the guild goes last
    for id_ in range(PLAYERS):
        session = await south.login(Player, id_, create=Player)
        assert session.record.xp == id_
    assert await (await gateway(store)).servers(["north", "south"]) == [
        ServerInfo("south", south.status().incarnation, "", "", "open", "")
    ]
    await south.close()


async def test_the_realm_is_told_first_and_commits_go_on_until_the_release(clock: FakeClock) -> None:
    store, north, south = await north_and_south(clock)
    here, away = await enter(north, 1), await enter(north, 2)
    away.disconnect()
    directory = await gateway(store)
    draining = asyncio.create_task(north.drain(to="south", per_s=1))
    while (told := await directory.whereabouts(Player, 1)) is not None and told.state == "open":
        await asyncio.sleep(0)
    assert told is not None
    assert (told.is_alive, told.state, told.drains_to) == (True, "draining", "south")
    (server,) = await directory.servers(["north"])
    assert (server.address, server.state, server.drains_to) == ("north:7777", "draining", "south")
    for refused in (north.login(Player, 2), north.login(Player, 3, create=Player), north.hold(Guild, 1, create=Guild)):
        with pytest.raises(ShuttingDown) as error:  # also of the player in grace: it is better off at the other server
            await refused
        assert error.value.hint == "connect to south"
    while not here.ended:
        await asyncio.sleep(0)
    await clock.advance(0.9)
    assert not away.ended  # one in a second
    away.record.xp += 1
    await clock.advance(0.2)
    while not draining.done():
        await clock.advance(0.1)
    assert (await draining).clean
    session = await south.login(Player, 2, create=Player)
    assert session.record.xp == 1
    await south.close()


async def test_a_close_takes_over_from_a_slow_drain(clock: FakeClock) -> None:
    _, north, south = await north_and_south(clock)
    for id_ in range(5):
        await enter(north, id_)
    draining = asyncio.create_task(north.drain(per_s=0.001))
    await clock.advance(1)
    report = await north.close()
    assert report.clean
    await clock.advance(1000)
    assert (await draining).released == 5
    assert (await north.drain()).clean  # closed already
    await south.close()


async def test_a_login_under_way_is_let_go_again(clock: FakeClock) -> None:
    store, _, south = await north_and_south(clock)
    line = FaultyStorage(MemoryStorage(store, clock=clock), clock=clock)
    west = await Keeper.open(line, config=KeeperConfig(name="west"), clock=clock)
    line.script("write", delay(1.0))
    login = asyncio.create_task(west.login(Player, 1, create=Player))
    await asyncio.sleep(0)
    draining = asyncio.create_task(west.drain())
    await asyncio.sleep(0)
    await clock.advance(2)
    with pytest.raises(ShuttingDown):
        await login
    assert (await draining).clean
    assert await south.whereabouts(Player, 1) is None
    await south.close()


async def test_a_hook_that_fails_and_a_record_that_is_frozen_stop_no_drain(
    clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # for the rescue file
    _, north, south = await north_and_south(clock)
    first, second = await enter(north, 1), await enter(north, 2)
    hooks_of(north).on_drain(Player)(lambda _session, _to: 1 / 0)
    first.record.hp = -5
    report = await north.drain()
    assert second.ended
    assert (report.released, report.rescued) == (1, ("rover:1",))  # the shutdown rescues the other
    await south.close()


async def test_a_drain_without_its_store_ends_in_time_with_the_states_in_the_rescue_file(
    clock: FakeClock, tmp_path: Path
) -> None:
    line = FaultyStorage(MemoryStorage(MemoryStore(clock), clock=clock), clock=clock)
    path = tmp_path / "rescue.jsonl"
    north = await Keeper.open(line, config=KeeperConfig(name="north"), clock=clock, rescue_path=path)
    await enter(north, 1)
    line.script("write", *[reject()] * 1000)
    begun_s = clock.monotonic_s()
    draining = asyncio.create_task(north.drain(deadline_s=10))
    await clock.advance(20)  # a beat for the lease at most, and the deadline; then only the file is written
    report = await draining
    assert clock.monotonic_s() - begun_s == 20
    assert (report.released, report.rescued, path.exists()) == (0, ("rover:1",), True)


async def test_a_lease_of_an_older_release_is_open_and_an_unreadable_one_is_left_out(clock: FakeClock) -> None:
    store, north, south = await north_and_south(clock)
    directory = await gateway(store)
    old = b'{"incarnation":"a","beat":1,"host":"h","pid":1}'
    line = MemoryStorage(store, clock=clock)
    await line.connect()
    await line.write([Transaction([], [Put(server_lease("old"), old), Put(server_lease("torn"), b"{")])])
    assert await directory.servers(["torn", "old"]) == [ServerInfo("old", "a", "", "", "open", "")]
    for keeper in (north, south):
        await keeper.close()


@pytest.mark.parametrize(
    "wrong", [{"to": "north"}, {"to": "a b"}, {"to": 5}, {"per_s": 0}, {"per_s": "x"}, {"deadline_s": "x"}]
)
async def test_a_wrong_argument_is_refused_before_anything_happens(clock: FakeClock, wrong: dict[str, Any]) -> None:
    _, north, south = await north_and_south(clock)
    with pytest.raises(Misuse):
        await north.drain(**wrong)
    assert (await enter(north, 1)).connected
    for keeper in (north, south):
        await keeper.close()
