"""The ends: logout, disconnect and grace, shutdown, rescue, frozen players, degraded."""

import asyncio
import errno
import itertools
import json
import logging
import os
import re
from pathlib import Path

import pytest

from keeping.game import Item, Player, earn, enter, hooks_of, inside, kept, patiently, pay
from keeping.wire import tap
from realmkeep.config import KeeperConfig
from realmkeep.errors import (
    CommitPending,
    CommitRefused,
    RealmkeepError,
    SessionEnded,
    SessionFrozen,
    ShuttingDown,
    StorageFull,
    StorageUnavailable,
)
from realmkeep.keeping import Keeper, Op, Session
from realmkeep.keeping.recovery.rescue_file import Undelivered, decode_line
from realmkeep.keeping.writing.flusher import AHEAD_WRITES
from realmkeep.storage.memory import MemoryStorage
from realmkeep.testing.faulty import LOSE_REPLY, NONE, Fault, delay, reject
from realmkeep.testing.lab import Lab


async def test_logout_writes_the_final_snapshot_and_releases_in_one_transaction(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    ada.record.xp = 5
    await lab.advance(1)
    wire = tap(monkeypatch, lab.line())
    await ada.logout()
    (transaction,) = wire.transactions
    assert {effect.key for effect in transaction.effects} == {"rover:1", "rover:1:updated", "rover:1:owner"}
    assert kept(lab).xp == 5
    assert lab.store.value("rover:1:owner") is None
    assert ada.ended


async def test_logout_leaves_when_the_player_was_last_seen(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    await lab.advance(3600)
    await ada.logout()
    assert int(lab.store.value("rover:1:updated") or b"0") == lab.clock.wall_us()


async def test_ownership_is_released_only_once_the_snapshot_is_durable(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().plan = lambda method: delay(0.0, 2.0) if method == "write" else delay(0.0)
    logout = asyncio.create_task(ada.logout())
    await lab.advance(1)
    assert not ada.ended
    assert not logout.done()
    await lab.advance(1.5)
    assert ada.ended
    assert logout.done()


async def test_a_change_after_the_final_snapshot_is_counted_and_said(
    lab: Lab, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await enter(keeper)
    lab.line().plan = lambda method: delay(0.0, 2.0) if method == "write" else delay(0.0)
    logout = asyncio.create_task(ada.logout())
    await lab.advance(1)
    ada.record.xp = 5
    await lab.finish(logout)
    assert kept(lab).xp == 0
    assert keeper.status().changes_after_end == 1
    assert "rover:1 changed while its session was leaving; that is not stored" in caplog.text


async def test_a_logout_follows_the_commits_before_it(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().plan = lambda _: delay(0.1)
    commit = asyncio.create_task(keeper.commit(pay, ada, bob))
    await asyncio.sleep(0)
    await lab.finish(ada.logout())
    assert commit.done()
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)


async def test_a_logout_after_a_commit_that_does_not_happen_still_saves_the_player(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 4
    await lab.line().save("rover:9", b"somebody")
    lab.line().plan = lambda _: delay(0.1)
    commit = asyncio.create_task(keeper.commit(lambda _: keeper.tx.create(Player, 9, Player()), ada))
    await asyncio.sleep(0)
    await lab.finish(ada.logout())
    assert commit.exception() is not None
    assert ada.ended
    assert kept(lab).xp == 4
    assert lab.store.value("rover:1:owner") is None


async def test_a_logout_whose_answer_is_lost_has_happened_once(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 4
    lab.line().script("write", LOSE_REPLY)
    await lab.finish(ada.logout())
    assert ada.ended
    assert kept(lab).xp == 4
    assert keeper.status().lost == 0


async def test_a_logout_during_an_outage_says_that_it_waits_and_goes_on(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 4
    lab.line().down = True
    with pytest.raises(CommitPending):
        await lab.finish(ada.logout())
    with pytest.raises(SessionEnded, match="leaving"):
        await keeper.commit(earn, ada)
    lab.line().down = False
    await lab.advance(5)
    assert ada.ended
    assert kept(lab).xp == 4


async def test_after_the_logout_everything_of_the_session_says_so(keeper: Keeper) -> None:
    ada = await enter(keeper)
    await ada.logout()
    for call in (ada.disconnect, ada.resume):
        with pytest.raises(SessionEnded, match=r"rover:1 is ended.*log in again"):
            call()
    for later in (ada.logout(), ada.release(), keeper.commit(earn, ada)):
        with pytest.raises(SessionEnded, match=r"rover:1 is ended.*log in again"):
            await later


async def test_a_disconnected_player_is_resumed_within_its_grace_as_it_was(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    ada.record.target = 9  # a combat flag sticks
    ada.disconnect()
    await lab.advance(29)
    wire = tap(monkeypatch, lab.line())
    again = await enter(keeper)
    assert again is ada
    assert (again.connected, again.resumed, again.record.target) == (True, True, 9)
    assert wire.keys_read == []
    await lab.advance(60)
    assert not ada.ended


async def test_in_its_grace_a_record_lives_on(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    ada.disconnect()
    ada.record.hp -= 30
    await keeper.commit(pay, ada, bob)
    assert (kept(lab, 1).hp, kept(lab, 1).gold) == (70, 90)


async def test_when_the_grace_has_run_out_the_player_is_saved_and_free(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 3
    ada.disconnect()
    await lab.advance(31)
    assert ada.ended
    assert kept(lab).xp == 3
    assert (await enter(await lab.server("lab-2"))).record.xp == 3


async def test_the_hooks_of_an_end_run_in_order_and_may_change_the_record(lab: Lab, keeper: Keeper) -> None:
    heard: list[str] = []
    for event in ("disconnect", "resume", "evict"):

        def hook(session: Session[Player], event: str = event) -> None:
            heard.append(event)
            session.record.diary += event[0]

        getattr(hooks_of(keeper), f"on_{event}")(Player)(hook)
    ada = await enter(keeper)
    for call in (ada.disconnect, ada.disconnect, ada.resume, ada.resume, ada.disconnect):
        call()
    await lab.advance(31)
    assert heard == ["disconnect", "resume", "disconnect", "evict"]
    assert kept(lab).diary == "drde"


async def test_a_hook_that_raises_stops_nothing(lab: Lab, keeper: Keeper, caplog: pytest.LogCaptureFixture) -> None:
    @hooks_of(keeper).on_evict(Player)
    def _(session: Session[Player]) -> None:
        raise ValueError(session.id)

    ada = await enter(keeper)
    ada.disconnect()
    await lab.advance(31)
    assert ada.ended
    assert "raised" in caplog.text
    assert keeper.status().hook_failures == 1


async def test_a_player_who_is_back_at_the_last_moment_waits_for_the_eviction_and_loses_nothing(
    lab: Lab, keeper: Keeper
) -> None:
    ada = await enter(keeper)
    ada.record.xp = 3
    ada.disconnect()
    lab.line().plan = lambda method: delay(0.0, 2.0) if method == "write" else delay(0.0)
    await lab.advance(30.5)
    assert not ada.connected
    again = await lab.finish(enter(keeper))
    assert again is not ada
    assert again.record.xp == 3


async def test_a_player_that_cannot_be_saved_is_frozen_and_reported_never_skipped(lab: Lab, keeper: Keeper) -> None:
    frozen: list[str] = []

    @hooks_of(keeper).on_frozen(Player)
    def _(session: Session[Player], error: RealmkeepError) -> None:
        frozen.append(f"{session.keys.record}: {type(error).__name__}")

    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    ada.record.diary = "x" * 70_000
    bob.record.xp = 1
    await lab.advance(31)
    assert frozen == ["rover:1: RecordTooLarge"]
    assert keeper.status().frozen == 1
    assert kept(lab, 2).xp == 1
    assert keeper.degraded == ("1 records cannot be saved as they are, first rover:1",)
    for later in (keeper.commit(earn, ada), ada.logout()):
        with pytest.raises(SessionFrozen, match=r"rover:1 cannot be saved.*mend the record"):
            await later
    assert keeper.session(Player, 1) is ada
    await lab.advance(120)
    assert frozen == ["rover:1: RecordTooLarge"]


async def test_a_frozen_player_that_is_mended_thaws_by_itself(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.x = float("inf")
    await lab.advance(61)
    assert ada.frozen is not None
    ada.record.x = 0.5
    await lab.advance(31)
    assert ada.frozen is None
    assert kept(lab).x == 0.5
    assert keeper.degraded == ()
    await keeper.commit(earn, ada)


async def test_a_frozen_player_whose_grace_has_run_out_is_kept_until_it_can_be_saved(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.diary = "x" * 70_000
    ada.disconnect()
    await lab.advance(100)
    assert not ada.ended
    ada.record.diary = "mended"
    await lab.advance(61)
    assert ada.ended
    assert kept(lab).diary == "mended"


async def test_a_shutdown_saves_everything_releases_everybody_and_drops_the_name(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(MemoryStorage, "flush", _notes(asked, "flush"))
    monkeypatch.setattr(MemoryStorage, "snapshot", _notes(asked, "snapshot"))
    for number in range(10):
        (await enter(keeper, number)).record.inventory.append(Item("rope"))  # not even marked
    session = keeper.session(Player, 3)
    assert session is not None
    session.disconnect()
    report = await lab.finish(keeper.close())
    assert (report.clean, report.released, report.rescued, report.rescue_path) == (True, 10, (), None)
    assert all(kept(lab, number).inventory == [Item("rope")] for number in range(10))
    assert not any(key.endswith((":owner", ":lease")) for key in lab.store.live_keys())
    assert asked == ["flush", "snapshot"]


def _notes(asked: list[str], what: str) -> object:
    async def method(self: MemoryStorage) -> None:
        asked.append(what)

    return method


async def test_a_keeper_that_closes_accepts_nothing_new_and_finishes_what_it_has(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().plan = lambda _: delay(0.1)
    commit = asyncio.create_task(keeper.commit(pay, ada, bob))
    await asyncio.sleep(0)
    closing = asyncio.create_task(keeper.close())
    await asyncio.sleep(0)
    for later in (keeper.commit(earn, ada), enter(keeper, 3), keeper.hold(Player, 4)):
        with pytest.raises(ShuttingDown, match=r"lab-1 is closing.*connect to another server"):
            await later
    assert (await lab.finish(closing)).clean
    assert commit.result().result == 90


async def test_an_operation_that_is_asked_for_again_while_the_keeper_closes_is_not_refused(
    lab: Lab, keeper: Keeper
) -> None:
    ada = await enter(keeper)
    lab.line().plan = lambda _: delay(0.1)
    commit = asyncio.create_task(keeper.commit(earn, ada, ops=(Op(1),)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(keeper.close())
    await asyncio.sleep(0)
    again = asyncio.create_task(keeper.commit(earn, ada, ops=(Op(1),)))
    assert (await lab.finish(closing)).clean
    assert (commit.result().result, again.result().result, again.result().repeated) == (110, 110, True)
    assert kept(lab).gold == 110


async def test_a_login_under_way_when_the_keeper_closes_leaves_its_player_free(lab: Lab, keeper: Keeper) -> None:
    lab.line().plan = lambda _: delay(0.1)
    entry = asyncio.create_task(enter(keeper))
    await lab.advance(0.05)
    assert (await lab.finish(keeper.close())).clean
    assert isinstance(entry.exception(), ShuttingDown)
    assert lab.store.value("rover:1:owner") is None


async def test_closing_twice_does_nothing_more(lab: Lab, keeper: Keeper) -> None:
    await enter(keeper)
    first, second = await lab.finish(asyncio.gather(keeper.close(), keeper.close()))
    assert first is second
    assert await keeper.close() is first


async def test_the_player_of_a_closed_server_logs_in_elsewhere_at_once(lab: Lab, keeper: Keeper) -> None:
    other = await lab.server("lab-2")
    (await enter(keeper)).record.xp = 8
    await keeper.close()
    assert (await enter(other)).record.xp == 8


async def test_what_a_shutdown_could_not_save_is_rescued_and_named(tmp_path: Path) -> None:
    async with Lab() as lab:
        rescue = tmp_path / "rescue.jsonl"
        keeper = await lab.finish(
            Keeper.open(lab.line(), config=KeeperConfig(name="town"), clock=lab.clock, rescue_path=rescue)
        )
        ada, bob = await enter(keeper, 1), await enter(keeper, 2)
        await keeper.commit(earn, ada, ops=(Op(1),))
        ada.record.xp = 7
        bob.record.diary = "x" * 70_000
        lab.line().down = True
        report = await patiently(lab, keeper.close(deadline_s=10))
        assert not report.clean
        assert sorted(report.rescued) == ["rover:1", "rover:2"]
        assert report.rescue_path == rescue
        write, state = [json.loads(line)["line"] for line in rescue.read_text(encoding="utf-8").splitlines()]
        assert (write["what"], write["records"], state["what"], state["record"]) == (
            "write",
            ["rover:1"],
            "state",
            "rover:2",
        )
        assert write["why"] == "the store did not take it in time"
        assert write["guards"][0][0] == "rover:1:owner"
        assert write["guards"][0][1].startswith("town/")
        (player,) = [json.loads(effect[2]) for effect in write["effects"] if effect[:2] == ["put", "rover:1"]]
        assert (player["xp"], player["gold"]) == (7, 110)
        assert state["state"]["diary"] == "x" * 70_000
        assert "65536" in state["why"]


async def test_what_no_file_can_take_is_in_the_log_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Lab() as lab:
        rescue = tmp_path / "rescue.jsonl"
        rescue.mkdir()
        keeper = await lab.finish(
            Keeper.open(lab.line(), config=KeeperConfig(name="town"), clock=lab.clock, rescue_path=rescue)
        )
        (await enter(keeper, 1)).record.xp = 7
        lab.line().down = True
        report = await patiently(lab, keeper.close(deadline_s=10))
        assert (report.clean, report.rescued, report.rescue_path) == (False, ("rover:1",), None)
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
        assert [line for line in said if "rescue.jsonl cannot be written" in line and "is not a regular file" in line]
        (last,) = [line.removeprefix("rescue line: ") for line in said if line.startswith("rescue line: ")]
        assert isinstance(rescued := decode_line(last.encode()), Undelivered)
        assert rescued.records == ("rover:1",)


async def test_a_rescue_file_that_a_full_disk_cuts_short_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with Lab() as lab:
        rescue = tmp_path / "rescue.jsonl"
        rescue.write_text('{"key":"of another shutdown"}\n')
        keeper = await lab.finish(
            Keeper.open(lab.line(), config=KeeperConfig(name="town"), clock=lab.clock, rescue_path=rescue)
        )
        await enter(keeper, 1)
        lab.line().down = True
        monkeypatch.setattr(os, "fsync", full)
        report = await patiently(lab, keeper.close(deadline_s=10))
        assert (report.rescued, report.rescue_path) == (("rover:1",), None)
        assert rescue.read_text() == '{"key":"of another shutdown"}\n'


async def test_a_connection_that_ends_while_its_player_is_released_is_no_error(
    lab: Lab, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().plan = lambda _: delay(0.1)
    leaving = asyncio.create_task(ada.logout())
    closing = asyncio.create_task(keeper.close())
    await lab.advance(0.05)
    ada.disconnect()
    bob.disconnect()
    report = await lab.finish(closing)
    await leaving
    assert (report.clean, report.released, ada.ended, bob.ended) == (True, 2, True, True)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_frozen_player_is_rescued_and_the_others_are_saved(tmp_path: Path) -> None:
    async with Lab() as lab:
        rescue = tmp_path / "rescue.jsonl"
        keeper = await lab.finish(
            Keeper.open(lab.line(), config=KeeperConfig(name="town"), clock=lab.clock, rescue_path=rescue)
        )
        ada, bob = await enter(keeper, 1), await enter(keeper, 2)
        ada.record.xp = 7
        bob.record.x = float("nan")
        report = await patiently(lab, keeper.close())
        assert (report.clean, report.rescued, report.released) == (False, ("rover:2",), 1)
        assert kept(lab, 1).xp == 7
        (line,) = rescue.read_text(encoding="utf-8").splitlines()
        assert json.loads(line)["line"]["record"] == "rover:2"


async def test_nothing_is_degraded_while_the_promise_is_kept(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    for _ in range(120):
        ada.record.xp += 1
        await lab.advance(1)
        assert keeper.degraded == ()


async def test_an_outage_is_told_with_its_cause_and_is_over_when_it_is_over(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().down = True
    ada.record.hp = 0
    await lab.advance(5)
    said = keeper.degraded
    assert said == ("nothing can be stored: the store is down (wait until it is up)",)
    for _ in range(20):
        await lab.advance(1)
        assert keeper.degraded == said, "it can be compared with what was said before"
    await lab.advance(10)
    assert any("lease of lab-1 could not be renewed; other servers may take over" in said for said in keeper.degraded)
    lab.line().down = False
    await lab.advance(3)
    assert keeper.degraded == ()


async def test_what_is_said_does_not_swing_between_two_causes(lab: Lab, keeper: Keeper) -> None:
    """The write was refused for one reason, and what became of it cannot be asked for another."""
    ada = await enter(keeper)
    full, away = (
        reject(StorageFull("the disk is full")),
        Fault(0.3, rejected=StorageUnavailable("the store is loading")),
    )
    lab.line().plan = lambda method: full if method == "write" else away if method == "load_many" else NONE
    ada.record.hp = 0
    said: list[tuple[str, ...]] = []
    for _ in range(100):
        await lab.advance(0.11)
        said.append(keeper.degraded)
    changes = [now for before, now in itertools.pairwise(said) if now != before]
    assert changes == [("nothing can be stored: the store is loading",)]


async def test_a_store_that_hangs_without_an_error_is_told_by_the_write_that_waits(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().plan = lambda method: delay(60.0) if method == "write" else delay(0.0)
    ada.record.hp = 0
    await lab.advance(4.9)
    assert keeper.degraded == ()
    await lab.advance(0.2)
    assert keeper.degraded == ("nothing can be stored: the store does not answer",)
    lab.line().plan = lambda _: delay(0.0)
    await lab.advance(60)
    assert keeper.degraded == ()
    assert kept(lab).hp == 0


async def test_a_store_that_hangs_is_told_even_if_nothing_is_to_be_written(lab: Lab, keeper: Keeper) -> None:
    await lab.advance(5)
    lab.line().plan = lambda _: delay(60.0)
    await lab.advance(7.1)
    assert keeper.degraded == ("nothing can be stored: the store does not answer",)


async def test_a_write_that_is_refused_or_whose_answer_is_lost_is_no_outage(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().plan = lambda method: delay(0.05, 0.05)
    for disturb in (lab.lose_next_reply, lab.lose_next_request):
        disturb()
        ada.record.xp += 1
        ada.record.level += 1
        for _ in range(20):
            await lab.advance(0.05)
            assert keeper.degraded == ()


def outage_log(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.message
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("realmkeep")
    ]


async def test_an_outage_is_logged_when_it_begins_rarely_while_it_lasts_and_when_it_ends(
    lab: Lab, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await enter(keeper)
    await lab.advance(5)
    ada.record.hp = 0
    lab.line().down = True
    await lab.advance(60)
    lab.line().down = False
    await lab.advance(20)
    began, *reminders, ended = outage_log(caplog)
    assert began == "nothing can be stored: the store is down (wait until it is up)"
    assert len(reminders) == 5
    assert reminders[0].startswith(began + ": for 12 s, ")
    assert int(reminders[-1].split()[-3]) > 50  # a lease and notices, each once a second
    assert re.fullmatch(r"the store serves again after 6\d\.\d s; \d+ attempts had failed", ended)


async def test_a_hanging_store_is_logged_once_with_how_long_it_lasted(
    lab: Lab, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    await lab.advance(5)
    lab.line().plan = lambda _: delay(12.0)
    await lab.advance(8)
    lab.line().plan = lambda _: delay(0.0)
    await lab.advance(30)
    assert outage_log(caplog) == [
        "nothing can be stored: the store does not answer",
        "the store serves again after 13.0 s; 0 attempts had failed",
    ]


async def test_changed_records_that_are_late_are_told(lab: Lab, keeper: Keeper) -> None:
    """The queue is full of flushes that nobody answers, so those behind them are late."""
    sessions = [await enter(keeper, number) for number in range(2 * AHEAD_WRITES + 76)]
    for session in sessions:
        session.record.xp = 1
    lab.line().plan = lambda method: delay(0.0, 60.0) if method == "write" else delay(0.0)
    await lab.advance(31)
    assert "changed records are written late" in keeper.degraded
    await lab.advance(129)
    assert "changed records are written late" not in keeper.degraded


async def test_a_task_of_the_keeper_that_failed_is_told(lab: Lab, keeper: Keeper) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    inside(keeper).background.run("a broken one", broken())
    await lab.clock.settle()
    (said,) = keeper.degraded
    assert said == "a task of the keeper failed: a broken one: ZeroDivisionError()"


async def test_a_logout_whose_caller_is_gone_survives_the_refusal_of_what_it_follows(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper, 1)
    await lab.line().save("rover:9", b"somebody")
    unheard = asyncio.create_task(keeper.commit(lambda player: keeper.tx.create(Player, 9, Player()), ada))
    logout = asyncio.create_task(ada.logout())
    await asyncio.sleep(0)
    logout.cancel()
    with pytest.raises(CommitRefused):
        await lab.finish(unheard)
    await lab.advance(1)
    assert ada.ended
    assert lab.store.value("rover:1:owner") is None
