"""The steps of an ending: each on its own, and none that could be left out cancels one that is needed."""

import logging
from collections.abc import AsyncIterator

import pytest

from keeping.game import Player, enter, inside, kept
from realmkeep.errors import StorageMisconfigured
from realmkeep.keeping import Keeper
from realmkeep.keeping.live.session import Session
from realmkeep.storage.memory import MemoryStorage
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, Fault, delay, reject
from realmkeep.testing.lab import Lab

FORBIDDEN = StorageMisconfigured("this user may not do that", hint="allow it")
RUNS = "server:store-runs"


@pytest.fixture
async def town() -> AsyncIterator[Lab]:
    """A realm on a store that may lose the last second, so that others wait for a server that has not left."""
    async with Lab(loss_window_s=1.0) as lab:
        yield lab


def names(lab: Lab) -> set[str]:
    """What a keeper leaves in the store of itself."""
    return {key for key in lab.store.live_keys() if key.endswith((":owner", ":lease")) or key == RUNS}


@pytest.mark.parametrize("fault", [reject(FORBIDDEN), delay(0, 3600)], ids=["forbidden", "hangs"])
async def test_a_store_that_takes_no_snapshot_is_closed_cleanly_all_the_same(
    town: Lab, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    (await enter(town.keeper)).record.xp = 5
    town.line().script("snapshot", fault)
    report = await town.finish(town.keeper.close())
    assert (report.clean, report.released) == (True, 1)
    assert kept(town).xp == 5
    assert names(town) == set()
    (told,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert told.levelno == logging.WARNING
    assert "the store took no snapshot" in told.getMessage()


async def test_a_store_that_cannot_be_flushed_is_told_and_the_name_is_free(
    town: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """What it acknowledged may still be lost, so the other servers go on waiting for this one if it is restarted."""
    await enter(town.keeper)
    town.line().script("flush", reject(FORBIDDEN))
    assert (await town.finish(town.keeper.close())).clean
    assert names(town) == {RUNS}
    assert "the store was not flushed: this user may not do that" in caplog.text


async def test_a_lost_answer_about_the_name_keeps_nobody_waiting(town: Lab, caplog: pytest.LogCaptureFixture) -> None:
    town.line().script("write", LOSE_REPLY)
    assert (await town.finish(town.keeper.close())).clean
    assert names(town) == set()
    assert "the name stays taken for one lease" in caplog.text


async def test_one_session_that_fails_in_an_unforeseen_way_leaves_the_others_saved(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        (await enter(keeper, number)).record.xp = 5
    whole = inside(keeper).stager.encode

    def breaks_for_two(session: Session[Player]) -> bytes:
        if session.id == "2":
            raise ZeroDivisionError
        return whole(session)

    monkeypatch.setattr(inside(keeper).stager, "encode", breaks_for_two)
    report = await lab.finish(keeper.close())
    assert (report.rescued, report.released) == (("rover:2",), 2)
    assert (kept(lab, 1).xp, kept(lab, 3).xp) == (5, 5)


async def test_a_store_that_cannot_be_let_go_of_does_not_hide_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: MemoryStorage) -> None:
        raise FORBIDDEN

    clock = FakeClock()
    keeper = await clock.finish(Keeper.open("memory://", clock=clock))
    monkeypatch.setattr(MemoryStorage, "disconnect", fails)
    assert (await clock.finish(keeper.close())).clean
