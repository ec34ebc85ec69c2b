"""Tier 1: memory runs ahead, the acknowledgement waits; one FIFO."""

import asyncio
import functools
import gc
import itertools
import weakref
from collections.abc import Callable

import pytest

from keeping.game import Guild, Item, NotEnough, Player, deposit, earn, enter, inside, kept, pay, revision
from keeping.wire import tap
from realmkeep.config import KeeperConfig
from realmkeep.errors import CommitRefused, InvalidRecord, Misuse, RecordTooLarge, Unstorable
from realmkeep.keeping import Keeper, Op, Session
from realmkeep.keeping.writing.write_queue import BATCH_MEMBERS, BATCH_WRITES_MIN
from realmkeep.storage import Guard
from realmkeep.testing.faulty import delay
from realmkeep.testing.lab import Lab

QUICK = KeeperConfig(tier1_rate_per_s=10_000)


async def test_memory_is_ahead_and_the_caller_hears_yes_only_when_it_is_durable(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().plan = lambda _: delay(1.0, 1.0)
    commit = asyncio.create_task(keeper.commit(pay, ada, bob))
    await lab.clock.settle()
    assert (ada.record.gold, bob.record.gold) == (90, 110)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (100, 100)
    await lab.advance(1.5)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)
    assert not commit.done()
    await lab.advance(0.5)
    assert commit.done()
    assert commit.result().result == 90


async def test_a_commit_is_one_transaction_that_guards_on_owner_and_revision_of_each(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    before = {number: lab.store.value(f"rover:{number}:updated") for number in (1, 2)}
    wire = tap(monkeypatch, lab.line())
    await keeper.commit(pay, ada, bob)
    (transaction,) = wire.transactions
    assert list(transaction.guards) == [
        Guard("rover:1:owner", ada.claim),
        Guard("rover:1:updated", before[1]),
        Guard("rover:2:owner", bob.claim),
        Guard("rover:2:updated", before[2]),
    ]


async def test_revisions_rise_even_when_the_wall_clock_goes_back(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    revisions = [revision(lab)]
    for _ in range(3):
        lab.clock.step_wall(-3600)
        await keeper.commit(earn, ada)
        revisions.append(revision(lab))
    assert revisions == sorted(set(revisions))


@pytest.mark.parametrize("batched", ["xp", "diary"])
async def test_if_the_function_raises_nothing_happened(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch, batched: str
) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    setattr(ada.record, batched, 5 if batched == "xp" else "5")
    bag = ada.record.inventory
    bag.append(Item("rope"))
    as_before = repr((ada.record, bob.record))
    wire = tap(monkeypatch, lab.line())

    def fails(a: Player, b: Player) -> None:
        pay(a, b)
        a.inventory.append(Item("sword"))
        b.bank.append(Item("sword"))
        a.level += 1
        raise NotEnough

    with pytest.raises(NotEnough):
        await keeper.commit(fails, ada, bob, ops=(Op(1), Op(1)))
    assert repr((ada.record, bob.record)) == as_before
    assert ada.record.inventory is bag
    assert (ada.last_op, bob.last_op) == (0, 0)
    await lab.clock.settle()
    assert wire.transactions == []


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        ({"gold": -1}, InvalidRecord),
        ({"diary": "x" * 70_000}, RecordTooLarge),
        ({"x": float("nan")}, Unstorable),
    ],
    ids=["invalid", "too large", "unstorable"],
)
async def test_if_a_record_cannot_be_stored_nothing_happened(
    lab: Lab, keeper: Keeper, spoil: dict[str, object], error: type[Exception]
) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)

    def spoiled(a: Player, b: Player) -> None:
        pay(a, b)
        for name, value in spoil.items():
            setattr(b, name, value)

    with pytest.raises(error):
        await keeper.commit(spoiled, ada, bob)
    assert (ada.record, bob.record) == (kept(lab, 1), kept(lab, 2))
    assert ada.frozen is None
    assert bob.frozen is None
    await keeper.commit(pay, ada, bob)


async def test_a_commit_that_would_break_a_rule_tells_which_and_what_to_do(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper, 1)

    def overdraw(a: Player) -> None:
        a.gold = -7

    with pytest.raises(InvalidRecord, match=r"gold is -7.*refuse the request") as caught:
        await keeper.commit(overdraw, ada)
    (issue,) = caught.value.issues
    assert issue.path == "gold"


async def test_later_changes_build_on_a_commit_under_way(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().plan = lambda _: delay(0.5)
    left = await lab.finish(asyncio.gather(*(keeper.commit(pay, ada, bob) for _ in range(5))))
    assert [receipt.result for receipt in left] == [90, 80, 70, 60, 50]
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (50, 150)


async def test_a_tick_s_damage_during_a_commit_in_flight_is_kept(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().plan = lambda _: delay(0.5, 0.5)
    commit = asyncio.create_task(keeper.commit(earn, ada))
    await lab.advance(0.25)
    ada.record.hp -= 30
    await lab.advance(5)
    assert commit.done()
    assert ada.record.hp == 70
    assert (kept(lab).hp, kept(lab).gold) == (100, 110)
    assert ada.dirty
    await lab.advance(26)
    assert kept(lab).hp == 70
    assert not ada.dirty


async def test_a_tick_s_damage_before_a_commit_that_fails_stays(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1, gold=0), await enter(keeper, 2)
    ada.record.hp -= 30
    with pytest.raises(NotEnough):
        await keeper.commit(pay, ada, bob)
    assert ada.record.hp == 70
    await lab.advance(31)
    assert kept(lab).hp == 70


async def test_a_batched_change_is_carried_along_by_a_commit(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    ada.record.xp = 12
    wire = tap(monkeypatch, lab.line())
    await keeper.commit(earn, ada)
    assert kept(lab).xp == 12
    await lab.advance(120)
    assert len(wire.writes_of("rover:1")) == 1


async def test_trades_in_opposite_directions_never_wait_for_each_other(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().plan = lambda _: delay(0.1)
    await lab.finish(asyncio.gather(*(keeper.commit(pay, *pair) for pair in [(ada, bob), (bob, ada)] * 4)))
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (100, 100)


async def test_a_cancelled_caller_cancels_its_wait_and_never_the_commit() -> None:
    """Cancelled after each number of turns of the loop, so at every await."""
    applied: list[int] = []
    for turns in range(100):
        async with Lab() as lab:
            ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
            commit = asyncio.create_task(lab.keeper.commit(pay, ada, bob))
            for _ in range(turns):
                await asyncio.sleep(0)
            if commit.done():
                break
            commit.cancel()
            await lab.clock.settle()
            assert commit.cancelled()
            assert (ada.record, bob.record) == (kept(lab, 1), kept(lab, 2))
            assert kept(lab, 1).gold + kept(lab, 2).gold == 200
            assert (await lab.keeper.commit(earn, ada)).result == kept(lab, 1).gold
            applied.append(110 - kept(lab, 1).gold)
    assert applied[0] == 0  # it had not begun
    assert set(applied[1:]) == {10}
    assert len(applied) > 5


async def test_a_cancelled_caller_that_waited_for_its_rate_ran_nothing(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    await asyncio.gather(*(keeper.commit(earn, ada) for _ in range(10)))
    late = asyncio.create_task(keeper.commit(earn, ada))
    await lab.clock.settle()
    late.cancel()
    await lab.advance(5)
    assert kept(lab).gold == 200


async def test_tier_1_and_tier_2_leave_in_the_order_in_which_they_were_made(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    players = [await enter(keeper, number) for number in range(3)]
    wire = tap(monkeypatch, lab.line())
    players[0].record.level += 1
    first = asyncio.create_task(keeper.commit(earn, players[1]))
    await lab.clock.settle()
    players[2].record.level += 1
    await lab.clock.settle()
    await first
    records = [t.effects[0].key for t in wire.transactions]
    assert records == ["rover:0", "rover:1", "rover:2"]


async def test_commits_gather_while_batches_are_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Lab(config=QUICK) as lab:
        ada = await enter(lab.keeper)
        wire = tap(monkeypatch, lab.line())
        lab.line().plan = lambda method: delay(0.0, 1.0) if method == "write" else delay(0.0)
        commits: list[asyncio.Task[object]] = []
        for _ in range(100):
            commits.append(asyncio.create_task(lab.keeper.commit(earn, ada)))
            await lab.clock.settle()
        await lab.finish(asyncio.gather(*commits))
        assert [len(batch) for batch in wire.batches] == [1, 1, 1, 1, 96]
        assert wire.in_flight_max == 4
        assert kept(lab).gold == 1100


async def test_a_crowd_that_commits_in_step_is_shared_out_over_the_batches_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Lab(config=QUICK) as lab:
        crowd = [await enter(lab.keeper, number) for number in range(1, 101)]
        wire = tap(monkeypatch, lab.line())
        await lab.finish(asyncio.gather(*[lab.keeper.commit(earn, session) for session in crowd]))
        assert [len(batch) for batch in wire.batches] == [25] * 4
        assert wire.in_flight_max == 4
        wire.batches.clear()
        await lab.finish(asyncio.gather(*[lab.keeper.commit(earn, session) for session in crowd[:20]]))
        assert [len(batch) for batch in wire.batches] == [BATCH_WRITES_MIN, 20 - BATCH_WRITES_MIN]


async def test_a_batch_of_a_great_crowd_counts_every_member_of_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def meet(one: Player, other: Player) -> None:
        one.xp += 1
        other.xp += 1

    async with Lab(config=QUICK) as lab:
        crowd = [await enter(lab.keeper, number) for number in range(1, 101)]
        pairs = list(itertools.islice(itertools.permutations(crowd, 2), 6 * BATCH_MEMBERS))
        wire = tap(monkeypatch, lab.line())
        await lab.finish(asyncio.gather(*[lab.keeper.commit(meet, *pair) for pair in pairs]))
        assert {len(batch) for batch in wire.batches[:4]} == {BATCH_MEMBERS // 2}


async def test_what_was_built_on_a_commit_that_did_not_happen_did_not_happen(lab: Lab, keeper: Keeper) -> None:
    ada, bob, cid = [await enter(keeper, number) for number in (1, 2, 3)]
    await lab.line().save("rover:9", b"somebody")
    ada.record.xp = 7

    def found(player: Player) -> None:
        player.gold -= 50
        keeper.tx.create(Player, 9, Player(gold=50))

    lab.line().plan = lambda _: delay(0.5)
    commits = [
        asyncio.create_task(keeper.commit(found, ada)),
        asyncio.create_task(keeper.commit(pay, ada, bob)),
        asyncio.create_task(keeper.commit(pay, bob, cid)),
        asyncio.create_task(keeper.commit(earn, await enter_quietly(lab, keeper, 4))),
    ]
    await lab.finish(asyncio.wait(commits))
    errors = [commit.exception() for commit in commits]
    assert [isinstance(error, CommitRefused) for error in errors] == [True, True, True, False]
    assert "built on a commit that did not happen" in str(errors[2])
    assert [session.record.gold for session in (ada, bob, cid)] == [100, 100, 100]
    await lab.advance(2)
    assert [kept(lab, number).gold for number in (1, 2, 3, 4)] == [100, 100, 100, 110]
    assert kept(lab).xp == 7
    assert (await lab.finish(keeper.commit(pay, ada, bob))).result == 90


async def enter_quietly(lab: Lab, keeper: Keeper, number: int) -> Session[Player]:
    return await lab.finish(enter(keeper, number))


async def test_fifty_on_one_shared_record_reach_half_the_rate_of_fifty_alone() -> None:
    """Counted in virtual time over a line of 2 ms each way: no commit waits for another's answer."""
    async with Lab(config=QUICK) as lab:
        keeper = lab.keeper
        members = [await enter(keeper, number) for number in range(50)]
        guild = await keeper.hold(Guild, 1, create=Guild)
        lab.line().plan = lambda method: delay(0.002, 0.002) if method == "write" else delay(0.0)

        async def plays(member: Session[Player], *, shared: bool) -> None:
            for _ in range(20):
                await (keeper.commit(deposit, member, guild) if shared else keeper.commit(earn, member))

        async def takes_s(*, shared: bool) -> float:
            began_s = lab.clock.monotonic_s()
            await lab.finish(asyncio.gather(*(plays(member, shared=shared) for member in members)))
            return lab.clock.monotonic_s() - began_s

        alone_s, together_s = await takes_s(shared=False), await takes_s(shared=True)
        stored = lab.stored(Guild, 1)
        assert stored is not None
        assert stored.gold == 1000
        assert together_s <= 2 * alone_s
        assert alone_s < 50 * 20 * 0.004 / 10  # the control: one after the other takes 4 s


async def test_a_landed_commit_keeps_none_of_its_bytes_in_memory(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    commits = inside(keeper).commits
    write, _ = commits.run(pay, [ada, bob], (Op(1), Op(1)))
    assert write.transaction.effects
    await lab.clock.settle()
    assert write.landed
    assert (write.transaction.effects, write.members) == ((), ())
    applied = [session.ring.find_op(Op(1)) for session in (ada, bob)]
    assert [entry is not None and entry.write for entry in applied] == [None, None]


async def test_a_session_that_ended_is_freed_without_the_garbage_collector(lab: Lab, keeper: Keeper) -> None:
    """The collector's policy stands on it: what is frozen and in a cycle stays for ever."""
    await lab.line().save("rover:9", b"somebody")

    async def plays(number: int) -> tuple[weakref.ref[object], weakref.ref[object]]:
        session = await enter(keeper, number)
        await keeper.commit(earn, session, ops=(Op(1),))
        with pytest.raises(CommitRefused):
            await keeper.commit(lambda _: keeper.tx.create(Player, 9, Player()), session, ops=(Op(2),))
        session.record.hp = 0
        await session.settled()
        session.disconnect()
        session.resume()
        await session.logout()
        return weakref.ref(session), weakref.ref(session.keys)

    gc.collect()
    gc.disable()
    try:
        refs = [await plays(number) for number in range(3)]
        await lab.advance(61)  # until no deadline refers to them
        assert [ref() for pair in refs for ref in pair] == [None] * 6
    finally:
        gc.enable()


async def test_a_result_that_grows_is_told_of_and_then_refused_also_without_ops(
    keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    """In strict mode: the 25th member of a guild in production is the first long result of a test."""
    ada = await enter(keeper)

    def members(player: Player, count: int) -> list[str]:
        player.gold += 1
        return ["member"] * count

    def sized(count: int) -> Callable[[Player], list[str]]:
        return functools.partial(members, count=count)

    await keeper.commit(sized(14), ada)  # 127 bytes
    assert keeper.status().long_results == 0
    await keeper.commit(sized(15), ada)
    await keeper.commit(sized(28), ada, ops=(Op(1),))
    assert keeper.status().long_results == 2
    (told,) = [record.getMessage() for record in caplog.records]
    assert "members takes 136 bytes; beyond 256 it is refused" in told
    with pytest.raises(Misuse, match="takes 262 bytes, 256 are recorded"):
        await keeper.commit(sized(29), ada)
    with pytest.raises(Misuse, match="takes 262 bytes"):
        await keeper.commit_all(lambda _players: ["member"] * 29, [ada])
    assert ada.record.gold == 103


async def test_a_result_that_no_operation_could_record_is_the_caller_s_own(keeper: Keeper) -> None:
    ada = await enter(keeper)
    mark = object()

    def found(player: Player) -> list[object]:
        return [player.gold, mark]

    assert (await keeper.commit(found, ada)).result == [100, mark]


async def test_in_production_only_operations_bound_the_result() -> None:
    async with Lab(strict=False) as lab:
        ada = await enter(lab.keeper)
        receipt = await lab.keeper.commit(lambda _player: "x" * 300, ada)
        assert len(receipt.result) == 300
        assert lab.keeper.status().long_results == 0
        with pytest.raises(Misuse, match="takes 302 bytes"):
            await lab.keeper.commit(lambda _player: "x" * 300, ada, ops=(Op(1),))
