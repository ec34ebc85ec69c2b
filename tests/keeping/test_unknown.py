"""Unknown outcomes are resolved, never guessed; the queue is bounded."""

import asyncio

import pytest

from keeping.game import Player, earn, enter, kept, pay, revision
from keeping.wire import tap
from realmkeep.config import KeeperConfig
from realmkeep.errors import CommitPending, CommitRefused, CommitUnknown, NoSuchReceiver, QueueFull, ValueTooLarge
from realmkeep.keeping import Keeper, Op
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, NONE, Fault, cut, duplicate, late, reject
from realmkeep.testing.lab import Lab


@pytest.mark.parametrize(
    "fault",
    [LOSE_REPLY, LOSE_REQUEST, reject(), late(0.01), late(3.0), duplicate(0.01), duplicate(3.0)],
    ids=["reply lost", "request lost", "refused", "late", "very late", "twice", "twice, late"],
)
async def test_whatever_happens_to_a_commit_on_the_line_it_happens_once(lab: Lab, keeper: Keeper, fault: Fault) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().script("write", fault)
    receipt = await lab.finish(keeper.commit(pay, ada, bob))
    assert receipt.result == 90
    once = revision(lab, 1), revision(lab, 2)
    await lab.advance(10)
    assert (revision(lab, 1), revision(lab, 2)) == once
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)


@pytest.mark.parametrize("reaches", range(5))
@pytest.mark.parametrize("answered", range(3))
async def test_a_line_that_breaks_in_the_middle_of_a_batch_loses_and_doubles_nothing(
    lab: Lab, keeper: Keeper, reaches: int, answered: int
) -> None:
    sessions = [await enter(keeper, number) for number in range(4)]
    lab.line().script("write", cut(reaches=reaches, answered=min(answered, reaches)))
    await lab.finish(asyncio.gather(*(keeper.commit(earn, session) for session in sessions)))
    assert [kept(lab, number).gold for number in range(4)] == [110] * 4


async def test_what_landed_is_told_by_its_revision_and_not_written_again(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    wire = tap(monkeypatch, lab.line())
    lab.lose_next_reply()
    await lab.finish(keeper.commit(earn, ada))
    assert len(wire.writes_of("rover:1")) == 1
    assert wire.keys_read == ["rover:1:owner", "rover:1:updated"]


async def test_a_caller_is_told_that_it_waits_and_can_await_the_outcome(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().down = True
    began_s = lab.clock.monotonic_s()
    with pytest.raises(CommitPending, match=r"5 s.*await wait\(\) for its outcome") as caught:
        await lab.finish(keeper.commit(earn, ada, ops=(Op(1),)))
    assert 5 <= lab.clock.monotonic_s() - began_s < 6
    assert caught.value.outcome == "unknown"
    lab.line().down = False
    receipt = await lab.finish(caught.value.wait())
    assert getattr(receipt, "result", None) == 110
    assert kept(lab).gold == 110


async def test_a_retry_of_a_pending_commit_joins_it(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().down = True
    for _ in range(2):
        with pytest.raises(CommitPending):
            await lab.finish(keeper.commit(earn, ada, ops=(Op(1),)))
    lab.line().down = False
    await lab.advance(3)
    again = await lab.finish(keeper.commit(earn, ada, ops=(Op(1),)))
    assert (again.repeated, again.result, kept(lab).gold) == (True, 110, 110)


async def test_memory_goes_on_during_an_outage_and_everything_is_durable_after_it(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().down = True
    commits = [asyncio.create_task(keeper.commit(pay, ada, bob)) for _ in range(5)]
    for _ in range(20):
        ada.record.xp += 1
        await lab.advance(1)
    assert all(isinstance(commit.exception(), CommitPending) for commit in commits)
    assert ada.record.gold == 50
    lab.line().down = False
    await lab.advance(15)
    assert (kept(lab, 1).gold, kept(lab, 2).gold, kept(lab, 1).xp) == (50, 150, 20)


async def test_if_ownership_was_lost_before_the_answer_the_outcome_is_unknown_and_the_retry_there_tells(
    lab: Lab, keeper: Keeper
) -> None:
    ada = await enter(keeper)
    other = await lab.server("lab-2")
    lab.lose_next_reply()
    lab.line().plan = lambda method: reject() if method == "load_many" else NONE
    commit = asyncio.create_task(keeper.commit(earn, ada, ops=(Op(1, b"earn"),)))
    await lab.clock.settle()
    lab.line().down = True
    await lab.advance(40)
    pending = commit.exception()
    assert isinstance(pending, CommitPending)
    theirs = await enter(other)
    lab.line().plan = lambda _: NONE
    lab.line().down = False
    with pytest.raises(CommitUnknown, match=r"rover:1.*retry at the new owner tells") as caught:
        await lab.finish(pending.wait())
    assert caught.value.outcome == "unknown"
    assert (keeper.status().commits_unknown, keeper.status().refused_by_store) == (1, 0)
    again = await other.commit(earn, theirs, ops=(Op(1, b"earn"),))
    assert (again.repeated, again.result, kept(lab).gold) == (True, 110, 110)


async def test_a_late_duplicate_of_an_acknowledged_commit_changes_nothing(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().script("write", duplicate(20.0))
    await lab.finish(keeper.commit(earn, ada))
    await lab.finish(keeper.commit(earn, ada))
    after = revision(lab)
    await lab.advance(25)
    assert len(lab.line().late_results) == 1
    assert (kept(lab).gold, revision(lab)) == (120, after)


async def test_a_full_queue_refuses_a_commit_before_its_function_runs() -> None:
    async with Lab(config=KeeperConfig(queue_max=16, tier1_rate_per_s=1000)) as lab:
        ada = await enter(lab.keeper)
        lab.line().down = True
        commits = [asyncio.create_task(lab.keeper.commit(earn, ada)) for _ in range(16)]
        await lab.clock.settle()

        def must_not_run(player: Player) -> None:
            pytest.fail("it ran")

        with pytest.raises(QueueFull, match="nothing ran; try again") as caught:
            await lab.keeper.commit(must_not_run, ada)
        assert caught.value.retryable
        assert ada.record.gold == 260
        lab.line().down = False
        await lab.advance(10)
        assert all(commit.done() for commit in commits)
        assert kept(lab).gold == 260
        assert (await lab.keeper.commit(earn, ada)).result == 270


async def test_a_store_that_will_never_take_a_write_freezes_its_record_and_holds_up_nobody(
    lab: Lab, keeper: Keeper
) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().script("write", Fault(rejected=ValueTooLarge("a store's own, smaller limit")))
    ada.record.hp = 0
    await lab.clock.settle()
    await lab.advance(1)
    assert ada.frozen is not None
    assert "smaller limit" in ada.frozen
    assert (await lab.finish(keeper.commit(earn, bob))).result == 110
    await lab.advance(31)
    assert ada.frozen is None
    assert kept(lab).hp == 0


async def test_a_release_whose_answer_is_lost_at_once_after_the_login_is_no_loss_of_the_store(
    lab: Lab, keeper: Keeper
) -> None:
    """The clock stands still, or was set back: the release leaves exactly the token of the claim."""
    await (await enter(keeper)).logout()
    ada = await enter(keeper)
    lab.line().script("write", LOSE_REPLY)
    await lab.finish(ada.logout())
    assert revision(lab) == ada.revision_min
    assert (keeper.degraded, keeper.status().healed_records) == ((), 0)
    assert (await enter(keeper)).record.gold == 100


async def test_a_late_duplicate_of_what_did_not_happen_finds_no_revision_that_was_used_again(
    lab: Lab, keeper: Keeper
) -> None:
    """Under a clock that was set back, revisions rise by one: the next write must not take one of the writes that failed."""
    ahead_us = lab.clock.wall_us() + 60_000_000
    await (await enter(keeper)).logout()
    lab.store.replace("rover:1:updated", b"%d" % ahead_us)
    ada = await enter(keeper)
    lab.line().script("write", late(5.0))
    to_nobody = asyncio.ensure_future(keeper.commit(lambda _: keeper.tx.deliver(Player, 99, {"gold": 1}), ada))
    built_on_it = asyncio.ensure_future(keeper.commit(earn, ada))
    refused = await lab.finish(asyncio.gather(to_nobody, built_on_it, return_exceptions=True))
    assert [type(each) for each in refused] == [NoSuchReceiver, CommitRefused]
    await lab.advance(10)
    assert (ada.record.gold, kept(lab).gold) == (100, 100)
    assert keeper.degraded == ()
    await keeper.commit(earn, ada)
    assert kept(lab).gold == 110
