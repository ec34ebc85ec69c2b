"""Every task of a keeper fails once in a way nobody foresaw: it is logged, told, and the keeper goes on keeping."""

import asyncio
import logging
from typing import Any

import pytest

from keeping.game import Player, earn, enter, hooks_of, inside, kept, opens_letters, pay
from realmkeep.background import STEADY_S
from realmkeep.keeping import Keeper
from realmkeep.keeping.letters.notice_listener import NoticeListener
from realmkeep.keeping.ownership.lease import LeaseHolder
from realmkeep.keeping.recovery.look_back import LookBack
from realmkeep.keeping.writing.flusher import Flusher
from realmkeep.keeping.writing.outage import OutageWatch
from realmkeep.keeping.writing.pending_watch import PendingWatch
from realmkeep.testing.lab import Lab

LOOPS: dict[str, tuple[type, str]] = {
    "lease": (LeaseHolder, "_renew"),
    "flusher": (Flusher, "_flush_due"),
    "urgent writes": (Flusher, "write_urgent"),
    "notices": (NoticeListener, "listen"),
    "patience": (PendingWatch, "watch_queue"),
    "outage": (OutageWatch, "watch"),
    "look back": (LookBack, "watch"),
}


def break_once(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str) -> list[str]:
    """The next call of a method fails; returns the calls after that as they come."""
    whole, calls = getattr(owner, method), list[str]()

    def breaks(*args: Any, **options: Any) -> Any:
        calls.append(method)
        if len(calls) == 1:
            raise ZeroDivisionError
        return whole(*args, **options)

    monkeypatch.setattr(owner, method, breaks)
    return calls


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]


async def test_these_are_all_the_loops_of_a_keeper(lab: Lab, keeper: Keeper) -> None:
    assert {task.get_name() for task in inside(keeper).background._loops} == LOOPS.keys()


@pytest.mark.parametrize("name", LOOPS)
async def test_a_loop_of_the_keeper_that_fails_is_told_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    calls = break_once(monkeypatch, *LOOPS[name])
    async with Lab() as lab:
        ada = await enter(lab.keeper)
        await lab.advance(11)
        assert lab.keeper.degraded == (f"a task of the keeper failed: {name}: ZeroDivisionError()",)
        assert failures(caplog) == [f"a task of the keeper failed: {name}; it is started again"]
        assert len(calls) > 1
        ada.record.xp = 7
        await lab.advance(STEADY_S)
        assert lab.keeper.degraded == ()
        assert kept(lab).xp == 7
        assert lab.store.value("server:lab-1:lease") is not None


@pytest.mark.parametrize("failing", ["write", "store_loss.remember", "store_loss.released", "resolver"])
async def test_a_write_with_which_something_unforeseen_goes_wrong_is_settled(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """None of its neighbours waits for ever, and nothing happens twice."""
    engine = inside(keeper)
    ada, bob, cid = [await enter(keeper, number) for number in (1, 2, 3)]
    if failing == "resolver":
        break_once(monkeypatch, engine.queue.resolver, "resolve")
        lab.lose_next_reply()
    elif failing == "write":
        break_once(monkeypatch, engine.storage, "write")
    else:
        break_once(monkeypatch, engine.store_loss, failing.removeprefix("store_loss."))
    first, second = asyncio.create_task(keeper.commit(pay, ada, bob)), asyncio.create_task(keeper.commit(earn, cid))
    await lab.finish(asyncio.gather(first, second))
    await lab.finish(asyncio.gather(ada.logout(), bob.logout()))
    assert [kept(lab, number).gold for number in (1, 2, 3)] == [90, 110, 110]
    assert (ada.ended, bob.ended) == (True, True)
    assert any("ZeroDivisionError()" in reason for reason in keeper.degraded)
    assert (await lab.finish(keeper.close())).clean


async def test_a_letter_an_eviction_and_a_look_back_that_fail_are_told(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = inside(keeper)
    opens_letters(hooks_of(keeper))
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    told: set[str] = set()

    def send(_: Player) -> None:
        keeper.tx.deliver(Player, 2, {"gold": 1})

    break_once(monkeypatch, engine.inboxes, "_drain")
    await keeper.commit(send, ada)
    await lab.advance(1)
    told |= set(keeper.degraded)
    looks = break_once(monkeypatch, engine.store_loss, "look")
    engine.lease.look_back_due.set()
    await lab.advance(2)
    told |= set(keeper.degraded)
    break_once(monkeypatch, engine.exit, "_queue_release")
    bob.disconnect()
    await lab.advance(31)
    told |= set(keeper.degraded)
    assert {reason.split(": ")[1] for reason in told} == {"letters of rover:2", "look back", "eviction of rover:2"}
    assert len(looks) == 2
    report = await lab.finish(keeper.close())
    assert (report.clean, report.released) == (True, 2)
