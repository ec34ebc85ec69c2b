"""A login asks the server that owns a player for the release: who is in grace there comes over in under a second."""

import asyncio

import pytest

from keeping.game import Player, enter, hooks_of, kept
from keeping.test_directory import opened
from realmkeep.config import KeeperConfig
from realmkeep.errors import AlreadyOwned
from realmkeep.keeping import Keeper, Session
from realmkeep.keys import server_notices
from realmkeep.storage.memory import MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.lab import Lab, abandon

UNDER_A_SECOND = 0.9
WAIT_S = 2.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def two(clock: FakeClock) -> tuple[Keeper, Keeper]:
    store = MemoryStore(clock)
    return await opened(store, clock, KeeperConfig(name="north")), await opened(
        store, clock, KeeperConfig(name="south")
    )


async def wanted(
    clock: FakeClock, south: Keeper, *, within_s: float, wait_s: float = WAIT_S
) -> "asyncio.Task[Session[Player] | None]":
    login = asyncio.create_task(south.login(Player, 1, wait_s=wait_s))
    for _ in range(round(within_s / 0.05)):
        await clock.advance(0.05)
        if login.done():
            break
    return login


async def test_a_player_in_grace_comes_over_in_under_a_second_with_everything(clock: FakeClock) -> None:
    north, south = await two(clock)
    evicted: list[Session[Player]] = []
    hooks_of(north).on_evict(Player)(evicted.append)
    session = await enter(north)
    session.record.xp += 5  # not flushed yet
    session.disconnect()
    login = await wanted(clock, south, within_s=UNDER_A_SECOND)
    entered = await login
    assert entered is not None
    assert entered.record.xp == 5
    assert (session.ended, evicted) == (True, [session])
    await clock.advance(60)  # the timer of the grace finds nothing to do
    assert not entered.ended
    await north.close()
    await south.close()


async def test_without_waiting_nothing_is_asked(clock: FakeClock) -> None:
    north, south = await two(clock)
    session = await enter(north)
    session.disconnect()
    with pytest.raises(AlreadyOwned):
        await south.login(Player, 1)
    await clock.advance(3)
    assert not session.ended
    abandon(north)
    abandon(south)


async def test_a_connected_player_stays_unless_the_game_lets_it_go(clock: FakeClock) -> None:
    north, south = await two(clock)
    session = await enter(north)
    login = await wanted(clock, south, within_s=WAIT_S + 0.1)
    with pytest.raises(AlreadyOwned) as refused:
        await login
    assert (refused.value.server, session.ended) == ("north", False)
    asked: list[Session[Player]] = []

    def let_go(player: Session[Player]) -> None:
        asked.append(player)
        player.disconnect()

    hooks_of(north).on_release_requested(Player)(let_go)
    entered = await (await wanted(clock, south, within_s=UNDER_A_SECOND))
    assert entered is not None
    assert asked == [session]
    assert session.ended
    abandon(north)
    abandon(south)


async def test_a_player_whose_connection_ends_a_moment_after_the_request_comes_over_too(clock: FakeClock) -> None:
    north, south = await two(clock)
    session = await enter(north)
    hooks_of(north).on_release_requested(Player)(lambda player: clock.call_later(0.3, player.disconnect))
    entered = await (await wanted(clock, south, within_s=WAIT_S))
    assert entered is not None
    assert session.ended
    abandon(north)
    abandon(south)


async def test_a_request_to_a_dead_server_is_read_by_none_and_its_lease_decides(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    north = await opened(store, clock, KeeperConfig(name="north", heartbeat_s=1.0, lease_ttl_s=3.0))
    south = await opened(store, clock, KeeperConfig(name="south"))
    await enter(north)
    abandon(north)
    entered = await (await wanted(clock, south, within_s=3.5, wait_s=5.0))
    assert entered is not None
    await south.close()


async def test_two_servers_that_ask_at_once_get_one_player_once(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    north, south, east = [await opened(store, clock, KeeperConfig(name=name)) for name in ("north", "south", "east")]
    session = await enter(north)
    session.disconnect()
    logins = [asyncio.create_task(each.login(Player, 1, wait_s=WAIT_S)) for each in (south, east)]
    for _ in range(60):
        await clock.advance(0.05)
    results = await asyncio.gather(*logins, return_exceptions=True)
    assert sorted(type(each).__name__ for each in results) == ["AlreadyOwned", "Session"]
    for keeper in (north, south, east):
        abandon(keeper)


async def test_a_request_for_a_player_who_has_left_and_a_login_here_ask_nobody(lab: Lab) -> None:
    session = await enter(lab.keeper)
    with pytest.raises(AlreadyOwned):
        await lab.keeper.login(Player, 1, wait_s=WAIT_S)  # connected here: this server need not be asked
    assert kept(lab) is not None
    assert lab.store.entries(server_notices(lab.keeper.name)) == []
    await session.logout()
