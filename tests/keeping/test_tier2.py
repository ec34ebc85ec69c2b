"""Tier 2: batched within 30 s, checkpoints within 60 s, coalesced; dirty until acknowledged; and the sweep."""

import asyncio

import pytest

from keeping.game import Item, earn, enter, kept, revision
from keeping.wire import tap
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Keeper
from realmkeep.keeping.writing.flusher import AHEAD_WRITES
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, NONE, Fault, delay, reject
from realmkeep.testing.lab import Lab


async def test_a_batched_change_is_durable_within_30_s_and_not_at_once(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 12
    await lab.advance(20)
    assert kept(lab).xp == 0
    await lab.advance(10)
    assert kept(lab).xp == 12


async def test_a_change_of_checkpoint_fields_only_is_durable_within_60_s(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.x = 1.5
    await lab.advance(50)
    assert kept(lab).x == 0.0
    await lab.advance(10)
    assert kept(lab).x == 1.5


async def test_a_batched_change_hurries_a_checkpoint_along(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.x = 1.5
    await lab.advance(10)
    ada.record.xp = 1
    await lab.advance(30)
    assert (kept(lab).x, kept(lab).xp) == (1.5, 1)


async def test_the_specification_s_coalescing_timeline(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    wire = tap(monkeypatch, lab.line())
    ada.record.xp += 10
    await lab.advance(0.5)
    ada.record.xp += 15
    await lab.advance(0.5)
    ada.record.x = 100.0
    await lab.advance(29)
    (write,) = wire.writes_of("rover:1")
    assert len(write.effects) == 2  # the record and its revision
    assert (kept(lab).xp, kept(lab).x) == (25, 100.0)
    await lab.advance(120)
    assert wire.writes_of("rover:1") == [write]


async def test_what_changes_all_the_time_is_written_once_an_interval(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    wire = tap(monkeypatch, lab.line())
    for _ in range(300):
        ada.record.xp += 1
        await lab.advance(1)
    assert 300 / 30 <= len(wire.writes_of("rover:1")) <= 300 / 29 + 1


async def test_nothing_is_written_while_nothing_changes(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    wire = tap(monkeypatch, lab.line())
    ada.record.target = 7  # ephemeral
    await lab.advance(300)
    assert {effect.key for each in wire.transactions for effect in each.effects} == {"server:lab-1:lease"}


async def test_a_change_that_lands_while_its_flush_is_in_flight_is_not_lost(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 1
    lab.line().plan = lambda method: delay(0.5, 0.5) if method == "write" else delay(0.0)
    await lab.advance(29.4)
    assert kept(lab).xp == 0
    ada.record.xp = 2
    await lab.advance(0.6)
    assert kept(lab).xp == 1
    assert ada.dirty
    await lab.advance(30)
    assert kept(lab).xp == 2
    await lab.advance(1)
    assert not ada.dirty


@pytest.mark.parametrize("fault", [reject(), LOSE_REQUEST], ids=["refused by the store", "never arrived"])
async def test_a_failed_flush_stays_dirty_and_is_written_again(lab: Lab, keeper: Keeper, fault: Fault) -> None:
    ada = await enter(keeper)
    ada.record.xp = 1
    lab.line().plan = lambda method: fault if method == "write" else delay(0.0)
    await lab.advance(40)
    assert kept(lab).xp == 0
    assert ada.dirty
    lab.line().plan = lambda _: delay(0.0)
    await lab.advance(3)
    assert kept(lab).xp == 1
    assert not ada.dirty


async def test_dirty_is_cleared_by_the_acknowledgement_and_never_before(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    assert not ada.dirty
    ada.record.xp = 1
    assert ada.dirty
    lab.line().plan = lambda method: delay(0.0, 5.0) if method == "write" else delay(0.0)
    await lab.advance(30)
    assert kept(lab).xp == 1
    assert ada.dirty
    await lab.advance(5)
    assert not ada.dirty


async def test_a_flush_whose_answer_is_lost_is_not_written_twice(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 1
    await lab.advance(25)
    lab.line().plan = lambda method: LOSE_REPLY if method == "write" else delay(0.0)
    await lab.advance(5)
    landed = revision(lab)
    assert kept(lab).xp == 1
    lab.line().plan = lambda _: delay(0.0)
    await lab.advance(60)
    assert revision(lab) == landed
    assert not ada.dirty


@pytest.mark.parametrize("strict", [True, False])
async def test_touch_marks_a_change_inside_a_container(strict: bool) -> None:
    async with Lab(strict=strict, config=KeeperConfig(sweep_interval_s=600)) as lab:
        ada = await enter(lab.keeper)
        ada.record.inventory.append(Item("rope"))
        ada.record.touch("inventory")
        await lab.advance(30)
        assert kept(lab).inventory == [Item("rope")]
        assert lab.keeper.status().forgotten_marks == 0


async def test_a_forgotten_mark_costs_ten_seconds_more_and_is_counted(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.inventory.append(Item("rope"))
    assert not ada.dirty
    await lab.advance(10.5)
    assert ada.dirty
    assert keeper.status().forgotten_marks == 1
    await lab.advance(29.5)
    assert kept(lab).inventory == [Item("rope")]
    assert keeper.status().forgotten_marks == 1


async def test_the_sweep_sees_every_live_record_within_its_interval(lab: Lab, keeper: Keeper) -> None:
    sessions = [await enter(keeper, number) for number in range(100)]
    await lab.advance(11)
    for session in sessions:
        session.record.inventory.append(Item("rope"))
    await lab.advance(20.5)  # a round that had begun, and a whole one
    assert keeper.status().forgotten_marks == 100


async def test_the_sweep_finds_nothing_where_everything_was_marked(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    for second in range(120):
        ada.record.xp += 1
        bob.record.x += 1.0
        if second % 7 == 0:
            await keeper.commit(earn, bob)
        await lab.advance(1)
    assert keeper.status().forgotten_marks == 0


class TickingClock(FakeClock):
    """Time passes while code runs: some at each look."""

    per_look_s = 0.0001

    def monotonic_s(self) -> float:
        self.jump(self.per_look_s)
        return super().monotonic_s()

    def jump(self, by_s: float) -> None:
        self._now_ns += round(by_s * 1_000_000_000)

    def glance_s(self) -> float:
        """What it shows, without a look."""
        return super().monotonic_s()


async def test_flushing_yields_to_the_loop_after_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand dirty players; between two turns of the loop passes no more than a slice and one step of each task."""
    monkeypatch.setattr("realmkeep.testing.lab.FakeClock", TickingClock)
    async with Lab() as lab:
        clock = lab.clock
        assert isinstance(clock, TickingClock)
        sessions = [await enter(lab.keeper, number) for number in range(2_000)]
        for session in sessions:
            session.record.xp += 1
        await lab.advance(20)
        turns_s: list[float] = []
        ticking: list[asyncio.Task[None]] = []

        async def ticks() -> None:
            while sessions[-1].dirty:
                before_s = clock.glance_s()
                await asyncio.sleep(0)
                turns_s.append(clock.glance_s() - before_s)

        def starts_with_the_flush(_: str) -> Fault:
            if not ticking:
                ticking.append(asyncio.create_task(ticks()))
            return NONE

        clock.jump(10)  # all of them are due by now
        lab.line().plan = starts_with_the_flush
        await lab.advance(0.3)
        assert ticking[0].done()
        assert len(turns_s) > 200
        assert max(turns_s) <= 0.0005 + 6 * clock.per_look_s  # a batch that is sent takes one look more


async def test_flushes_leave_room_for_commits_in_the_queue(lab: Lab, keeper: Keeper) -> None:
    """However many are dirty, few thousand writes stand before a commit."""
    sessions = [await enter(keeper, number) for number in range(3_000)]
    for session in sessions:
        session.record.xp += 1
    lab.line().plan = lambda method: delay(0.0, 60.0) if method == "write" else delay(0.0)
    await lab.advance(31)
    assert 0 < keeper.status().queue_depth <= AHEAD_WRITES
    lab.line().plan = lambda _: delay(0.0)
    await lab.advance(120)
    assert all(kept(lab, number).xp == 1 for number in range(3_000))


async def test_the_interval_is_a_setting() -> None:
    async with Lab(config=KeeperConfig(flush_interval_s=2, checkpoint_interval_s=4)) as lab:
        ada = await enter(lab.keeper)
        ada.record.xp = 1
        await lab.advance(2)
        assert kept(lab).xp == 1
        ada.record.x = 1.0
        await lab.advance(2.9)
        assert kept(lab).x == 0.0
        await lab.advance(1)
        assert kept(lab).x == 1.0
