"""The garbage collector's policy: never over the live sessions."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from keeping.game import Player, earn, enter
from realmkeep.keeping import Keeper
from realmkeep.keeping.live import gc_policy
from realmkeep.keeping.live.gc_policy import COLLECT_EVERY_S
from realmkeep.testing.lab import Lab


@pytest.fixture
def generations() -> Iterator[list[int]]:
    """The generation of every collection that begins."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


async def test_nothing_changes_until_the_world_is_loaded() -> None:
    before = gc.get_freeze_count(), gc.get_threshold()
    async with Lab() as lab:
        await enter(lab.keeper)
        assert (gc.get_freeze_count(), gc.get_threshold()) == before
        assert not lab.keeper.degraded


async def test_after_warm_up_live_sessions_are_out_of_the_collector_s_sight(lab: Lab, keeper: Keeper) -> None:
    sessions = [await enter(keeper, number) for number in range(50)]
    keeper.gc.warmed_up()
    try:
        frozen = gc.get_freeze_count()
        assert frozen > 50
        seen = {id(found) for found in gc.get_objects()}
        assert not any(id(session) in seen for session in sessions)
    finally:
        await keeper.close()
    assert gc.get_freeze_count() == 0


async def test_after_warm_up_only_what_came_since_is_collected_in_full(
    lab: Lab, keeper: Keeper, generations: list[int]
) -> None:
    keeper.gc.warmed_up()
    try:
        generations.clear()
        ada = await enter(keeper)
        kept_alive: list[list[int]] = []
        for _ in range(60):
            await lab.advance(1)
            await keeper.commit(earn, ada)
            kept_alive.extend([] for _ in range(2_000))  # enough allocations for several collections
        assert 0 in generations
        assert generations.count(2) == 2, "one each half minute"
        assert id(ada) in {id(found) for found in gc.get_objects()}
    finally:
        await keeper.close()


class Cycle:
    def __init__(self) -> None:
        self.itself = self


async def test_a_cycle_that_dies_old_is_collected(lab: Lab, keeper: Keeper) -> None:
    keeper.gc.warmed_up()
    try:
        connection = Cycle()
        await lab.advance(COLLECT_EVERY_S + 1)
        gone = weakref.ref(connection)
        del connection
        gc.collect(1)
        assert gone() is not None, "it is of the old generation"
        await lab.advance(COLLECT_EVERY_S + 1)
        assert gone() is None
    finally:
        await keeper.close()


async def test_many_new_sessions_are_frozen_and_never_collected_in_full(
    lab: Lab, keeper: Keeper, generations: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc_policy, "IN_SIGHT_MAX", 20)
    keeper.gc.warmed_up()
    try:
        generations.clear()
        late = [await enter(keeper, number) for number in range(21)]
        await lab.advance(COLLECT_EVERY_S + 1)
        seen = {id(found) for found in gc.get_objects()}
        assert not any(id(session) in seen for session in late)
        assert 2 not in generations
        last = await enter(keeper, 99)
        await lab.advance(COLLECT_EVERY_S + 1)
        assert id(last) in {id(found) for found in gc.get_objects()}
        assert generations.count(2) == 1, "over the one that came since"
    finally:
        await keeper.close()


async def test_the_collector_is_given_back_as_it_was(keeper: Keeper) -> None:
    before = gc.get_threshold()
    keeper.gc.warmed_up()
    assert gc.get_threshold() != before
    await keeper.close()
    assert gc.get_threshold() == before


async def test_warming_up_twice_is_warming_up_once(lab: Lab, keeper: Keeper) -> None:
    before = gc.get_threshold()
    keeper.gc.warmed_up()
    keeper.gc.warmed_up()
    await keeper.close()
    assert gc.get_threshold() == before
    assert lab.keeper.sessions(Player) == []


async def test_a_maintenance_window_collects_everything(keeper: Keeper) -> None:
    keeper.gc.warmed_up()
    try:
        cycle: list[object] = []
        cycle.append(cycle)
        gc.freeze()
        del cycle
        assert keeper.gc.collect_all() >= 1
        assert gc.get_freeze_count() > 0, "what is left is out of sight again"
    finally:
        await keeper.close()
