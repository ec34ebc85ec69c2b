"""When a lease ends: by what both sides can measure, whatever the clocks of the store and of the servers say."""

import math
import os
import socket
from collections.abc import Callable

import msgspec
import pytest

from keeping.game import Player, earn, enter, inside, kept
from realmkeep.clock import Timer
from realmkeep.errors import AlreadyOwned
from realmkeep.keeping import Keeper
from realmkeep.keeping.ownership.lease import LEASES_WATCHED_MAX, Lease, LeaseState, LeaseWatch
from realmkeep.storage import Put
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.lab import Lab

HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S


class SteppedClock:
    """The clock of the store's machine: it goes with the lab's, and can be set."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.ahead_s = 0.0

    def wall_us(self) -> int:
        return self._clock.wall_us() + round(self.ahead_s * 1e6)

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s() + self.ahead_s

    async def sleep(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        return self._clock.call_later(delay_s, call)


@pytest.fixture
def store_clock(lab: Lab) -> SteppedClock:
    """The store drops leases by this clock."""
    lab.store._clock = clock = SteppedClock(lab.clock)  # pyright: ignore[reportAttributeAccessIssue]
    return clock


async def first_wait(keeper: Keeper) -> float:
    with pytest.raises(AlreadyOwned) as refused:
        await enter(keeper)
    return refused.value.wait_s


@pytest.mark.parametrize("crashed_s", [0, 25, 300])
@pytest.mark.parametrize("back_s", [HOUR_S, YEAR_S])
async def test_a_store_whose_clock_is_set_back_keeps_the_player_of_a_dead_server_no_longer_than_a_lease(
    lab: Lab, keeper: Keeper, store_clock: SteppedClock, back_s: float, crashed_s: float
) -> None:
    ada = await enter(keeper)
    await keeper.commit(earn, ada)
    other = await lab.server("lab-2")
    store_clock.ahead_s = -back_s
    await lab.crash()
    await lab.advance(crashed_s)
    wait_s = await first_wait(other)
    assert 20 < wait_s <= 30
    await lab.advance(wait_s - 1)
    assert await first_wait(other) == pytest.approx(1)
    await lab.advance(1)
    back = await enter(other)
    assert back.record.gold == 110
    assert lab.store.value("server:lab-1:lease") is not None


async def test_a_server_that_lives_keeps_its_players_however_the_store_s_clock_is_set_back(
    lab: Lab, keeper: Keeper, store_clock: SteppedClock
) -> None:
    await enter(keeper)
    other = await lab.server("lab-2")
    for _ in range(20):
        store_clock.ahead_s -= HOUR_S
        await lab.advance(7)
        assert await first_wait(other) > 0
    assert keeper.degraded == ()


async def test_a_restart_by_another_host_is_not_kept_waiting_for_an_hour(lab: Lab, store_clock: SteppedClock) -> None:
    value = msgspec.json.encode(Lease("f00f00f0", 1, "elsewhere", 4711, ttl_s=30))
    lab.store.perform(Put("server:town:lease", value, expire_s=30))
    store_clock.ahead_s = -HOUR_S
    began_s = lab.clock.monotonic_s()
    keeper = await lab.server("town")
    assert 29 <= lab.clock.monotonic_s() - began_s <= 32
    assert (await enter(keeper)).connected


async def test_a_paused_server_whose_lease_the_store_kept_hears_at_once_of_every_player_it_lost(
    lab: Lab, keeper: Keeper, store_clock: SteppedClock
) -> None:
    """Its lease never vanished, so nothing but its own clock tells that others were free to take over."""
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    other = await lab.server("lab-2")
    store_clock.ahead_s = -HOUR_S
    lab.line().down = True
    await lab.advance(40)
    await first_wait(other)
    await lab.advance(30)
    there = await enter(other)
    lab.line().down = False
    await lab.advance(5)
    assert ada.ended
    assert bob.connected
    assert there.connected
    await keeper.commit(earn, bob)
    assert kept(lab, 2).gold == 110


async def test_a_server_that_goes_on_in_the_moment_of_the_takeover_keeps_its_player(
    lab: Lab, keeper: Keeper, store_clock: SteppedClock
) -> None:
    """The claim guards on the very lease that stood still."""
    ada = await enter(keeper)
    other = await lab.server("lab-2")
    store_clock.ahead_s = -HOUR_S
    lab.line().down = True
    await lab.advance(11)
    await first_wait(other)
    await lab.advance(30)
    claims = inside(other).claims
    whole = claims._own

    async def after_a_renewal(*arguments: object) -> bool:
        lab.line().down = False
        await inside(keeper).lease._renew()
        return await whole(*arguments)  # pyright: ignore[reportArgumentType]

    claims._own = after_a_renewal  # pyright: ignore[reportAttributeAccessIssue]
    assert await first_wait(other) > 0
    assert ada.connected


async def test_a_store_whose_clock_is_set_forward_costs_a_live_server_its_lease_for_a_heartbeat_at_most(
    lab: Lab, keeper: Keeper, store_clock: SteppedClock
) -> None:
    """Who asks in that time gets the record, fenced as after any lost lease; who does not stays where they are."""
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    other = await lab.server("lab-2")
    store_clock.ahead_s = HOUR_S
    there = await enter(other, 1)
    await lab.advance(11)
    assert ada.ended
    assert bob.connected
    for number in (1, 2):
        with pytest.raises(AlreadyOwned):
            await enter((keeper, other)[number - 1], number)
    await keeper.commit(earn, bob)
    await other.commit(earn, there)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (110, 110)


@pytest.mark.parametrize("step_s", [-YEAR_S, -HOUR_S, HOUR_S, YEAR_S])
async def test_a_server_whose_own_clock_is_set_keeps_its_players_and_loses_none_of_their_changes(
    lab: Lab, keeper: Keeper, step_s: float
) -> None:
    ada = await enter(keeper)
    other = await lab.server("lab-2")
    for _ in range(3):
        lab.clock.step_wall(step_s)
        await keeper.commit(earn, ada)
        ada.record.xp += 1
        await lab.advance(31)
        assert 0 < await first_wait(other) <= 30
    assert (kept(lab).gold, kept(lab).xp) == (130, 3)
    await ada.release()
    lab.clock.step_wall(-2 * step_s)
    there = await enter(other)
    await other.commit(earn, there)
    await there.release()
    assert kept(lab).gold == 140


@pytest.mark.parametrize("behind_s", [0.0, HOUR_S, YEAR_S])
async def test_a_keeper_that_took_the_name_is_heard_of_although_its_clock_is_behind(
    lab: Lab, keeper: Keeper, behind_s: float
) -> None:
    ada = await enter(keeper)
    for beat in range(1, 6):
        expires_us = lab.clock.wall_us() - round(behind_s * 1e6)
        value = msgspec.json.encode(Lease("f00f00f0", beat, "elsewhere", 4711, expires_us, 30))
        lab.store.perform(Put("server:lab-1:lease", value, expire_s=30))
        await lab.advance(11)
    assert ada.ended
    assert keeper.degraded == ("another keeper took the name lab-1",)


async def test_a_lease_without_any_word_of_its_process_is_still_read(lab: Lab) -> None:
    """As it was written before; a number on a host proves nothing, so it is watched."""
    stored = b'{"incarnation":"f00f00f0","beat":1,"host":"%b","pid":4194999}' % socket.gethostname().encode()
    lab.store.perform(Put("server:town:lease", stored, expire_s=30))
    began_s = lab.clock.monotonic_s()
    await lab.server("town")
    assert 29 <= lab.clock.monotonic_s() - began_s <= 32


async def test_a_process_that_is_this_one_is_replaced_at_once(lab: Lab) -> None:
    ada = await enter(lab.keeper)
    stored = Lease.decode(lab.store.value("server:lab-1:lease") or b"", "")
    assert (stored.pid, stored.host) == (os.getpid(), socket.gethostname())
    began_s = lab.clock.monotonic_s()
    keeper = await lab.restart()
    assert lab.clock.monotonic_s() == began_s
    assert [session.id for session in await keeper.recover(Player)] == [ada.id]


def test_a_watch_counts_from_the_last_change_and_forgets_what_nobody_could_have() -> None:
    clock = FakeClock()
    watch = LeaseWatch(clock)
    assert watch.left_s("a", b"1", 30) == 30
    clock._now_ns += 29_000_000_000
    assert watch.left_s("a", b"1", 30) == 1
    assert watch.left_s("a", b"2", 30) == 30
    assert watch.left_s("b", b"1", -5) == 0
    assert watch.left_s("c", b"1", math.inf) == 900
    for number in range(2 * LEASES_WATCHED_MAX):
        watch.left_s(f"server:{number}", b"1", 30)
    assert len(watch._seen) == LEASES_WATCHED_MAX


async def test_a_lease_lapses_by_time_is_held_again_once_it_is_renewed_and_dropped_at_the_end(
    lab: Lab, keeper: Keeper
) -> None:
    lease = inside(keeper).lease
    assert lease.state is LeaseState.HELD
    lab.line().down = True
    await lab.advance(32)
    assert lease.state is LeaseState.LAPSED
    lab.line().down = False
    await lab.advance(3)
    assert lease.state is LeaseState.HELD
    await lab.finish(keeper.close())
    assert lease.state is LeaseState.DROPPED
