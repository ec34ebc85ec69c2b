"""Exactly once: operation ids, the ring of the last 32, retries whenever and wherever."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from keeping.game import Guild, NotEnough, Player, deposit, earn, enter, kept, pay
from keeping.wire import tap
from realmkeep.config import KeeperConfig
from realmkeep.errors import Corrupt, Misuse, OpReused, OpTooOld, Quarantined
from realmkeep.keeping import Keeper, Op
from realmkeep.keeping.live.op_ring import RING_OPS, STORED_OPS_MAX, OpRing
from realmkeep.storage import Put
from realmkeep.testing.faulty import delay
from realmkeep.testing.lab import Lab

QUICK = KeeperConfig(tier1_rate_per_s=10_000)


def runs_once(calls: list[int]) -> Callable[[Player], dict[str, int]]:
    def fn(player: Player) -> dict[str, int]:
        calls.append(1)
        player.gold += 10
        return {"gold": player.gold}

    return fn


def spend_all(player: Player) -> None:
    player.gold = 0
    raise NotEnough


async def test_the_same_op_returns_the_recorded_result_without_running(keeper: Keeper, lab: Lab) -> None:
    ada = await enter(keeper)
    calls: list[int] = []
    first = await keeper.commit(runs_once(calls), ada, ops=(Op(1, b"earn"),))
    again = await keeper.commit(runs_once(calls), ada, ops=(Op(1, b"earn"),))
    assert (first.result, first.repeated) == ({"gold": 110}, False)
    assert (again.result, again.repeated) == ({"gold": 110}, True)
    assert len(calls) == 1
    assert kept(lab).gold == 110
    assert keeper.status().repeats == 1


async def test_a_retry_during_the_commit_waits_for_it(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    calls: list[int] = []
    lab.line().plan = lambda _: delay(0.5, 0.5)
    first = asyncio.create_task(keeper.commit(runs_once(calls), ada, ops=(Op(1),)))
    await lab.advance(0.2)
    retry = asyncio.create_task(keeper.commit(runs_once(calls), ada, ops=(Op(1),)))
    await lab.advance(0.5)
    assert not retry.done()
    await lab.advance(0.5)
    assert (first.result().repeated, retry.result().repeated) == (False, True)
    assert first.result().result == retry.result().result
    assert len(calls) == 1


async def test_a_retry_during_a_commit_that_does_not_happen_hears_that_too(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    await lab.line().save("rover:9", b"somebody")
    lab.line().plan = lambda _: delay(0.5, 0.5)

    def creates(player: Player) -> None:
        player.gold -= 10
        keeper.tx.create(Player, 9, Player(gold=10))

    commits = [asyncio.create_task(keeper.commit(creates, ada, ops=(Op(1),))) for _ in range(2)]
    await lab.finish(asyncio.wait(commits))
    assert [type(commit.exception()).__name__ for commit in commits] == ["AlreadyExists"] * 2
    assert ada.last_op == 0
    assert (await lab.finish(keeper.commit(earn, ada, ops=(Op(1),)))).repeated is False


async def test_a_retry_after_a_restart_is_answered_from_the_store(lab: Lab) -> None:
    ada = await enter(lab.keeper)
    calls: list[int] = []
    await lab.keeper.commit(runs_once(calls), ada, ops=(Op(7, b"earn"),))
    keeper = await lab.restart()
    again = await keeper.commit(runs_once(calls), await enter(keeper), ops=(Op(7, b"earn"),))
    assert (again.result, again.repeated, len(calls)) == ({"gold": 110}, True, 1)


async def test_a_retry_after_a_crash_that_lost_only_the_answer_is_answered(lab: Lab) -> None:
    ada = await enter(lab.keeper)
    calls: list[int] = []
    lab.line().plan = lambda _: delay(0.1, 10.0)
    commit = asyncio.create_task(lab.keeper.commit(runs_once(calls), ada, ops=(Op(7),)))
    await lab.advance(0.2)
    keeper = await lab.restart()
    assert not commit.done()
    again = await keeper.commit(runs_once(calls), await enter(keeper), ops=(Op(7),))
    assert (again.repeated, len(calls), kept(lab).gold) == (True, 1, 110)


async def test_a_retry_at_another_server_is_answered(lab: Lab, keeper: Keeper) -> None:
    other = await lab.server("lab-2")
    ada = await enter(keeper)
    calls: list[int] = []
    await keeper.commit(runs_once(calls), ada, ops=(Op(7),))
    await ada.release()
    again = await other.commit(runs_once(calls), await enter(other), ops=(Op(7),))
    assert (again.result, again.repeated, len(calls)) == ({"gold": 110}, True, 1)


async def test_without_a_fault_a_repeat_costs_no_write(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    await keeper.commit(earn, ada, ops=(Op(1),))
    wire = tap(monkeypatch, lab.line())
    await keeper.commit(earn, ada, ops=(Op(1),))
    assert wire.transactions == []


async def test_the_ring_is_written_in_the_commit_s_own_transaction_and_by_commits_only(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    wire = tap(monkeypatch, lab.line())
    await keeper.commit(earn, ada, ops=(Op(1),))
    (transaction,) = wire.transactions
    assert {"rover:1", "rover:1:ops"} <= {effect.key for effect in transaction.effects}
    await keeper.commit(earn, ada)
    ada.record.hp = 0
    await ada.settled()
    ada.record.xp = 1
    await ada.logout()
    assert wire.writes_of("rover:1:ops") == [transaction]


async def test_the_last_32_are_kept_and_below_them_is_too_old() -> None:
    async with Lab(config=QUICK) as lab:
        ada = await enter(lab.keeper)
        for number in range(1, 41):
            await lab.keeper.commit(earn, ada, ops=(Op(number),))
        for restarted in (False, True):
            keeper = await lab.restart() if restarted else lab.keeper
            session = await enter(keeper) if restarted else ada
            for number in range(9, 41):
                again = await keeper.commit(earn, session, ops=(Op(number),))
                assert (again.repeated, again.result) == (True, 100 + 10 * number)
            with pytest.raises(OpTooOld, match=r"operation 8 lies below the last 32 \(9 to 40\).*read the state"):
                await keeper.commit(earn, session, ops=(Op(8),))
        assert kept(lab).gold == 500


async def test_ids_may_skip_and_come_late_within_the_ring(keeper: Keeper) -> None:
    ada = await enter(keeper)
    for number in (10, 30, 20, 15):
        assert not (await keeper.commit(earn, ada, ops=(Op(number),))).repeated
    for number in (10, 15, 20, 30):
        assert (await keeper.commit(earn, ada, ops=(Op(number),))).repeated
    assert ada.last_op == 30


async def test_the_same_id_for_another_request_is_an_error(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    await keeper.commit(earn, ada, ops=(Op(1, b"buy sword"),))
    with pytest.raises(OpReused, match=r"operation 1 was applied for another request.*raise its op id"):
        await keeper.commit(earn, ada, ops=(Op(1, b"buy shield"),))
    assert kept(lab).gold == 110


async def test_two_op_ids_in_one_trade_are_both_recorded(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    await keeper.commit(pay, ada, bob, ops=(Op(5, b"offer"), Op(9, b"accept")))
    again = await keeper.commit(pay, ada, bob, ops=(Op(5, b"offer"), Op(9, b"accept")))
    assert (again.result, again.repeated) == (90, True)
    for session, op in ((ada, Op(5, b"offer")), (bob, Op(9, b"accept"))):
        recorded = session.recorded(op)
        assert recorded is not None
        assert (recorded.result, recorded.repeated) == (90, True)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)


async def test_half_of_a_trade_that_was_applied_before_is_an_error_that_names_the_way_out(
    lab: Lab, keeper: Keeper
) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    await keeper.commit(pay, ada, bob, ops=(Op(5), Op(9)))
    for ops in ((Op(5), Op(10)), (Op(6), Op(9))):
        with pytest.raises(OpReused, match=r"session\.recorded"):
            await keeper.commit(pay, ada, bob, ops=ops)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)


async def test_a_session_without_an_op_takes_part_in_a_commit_with_ops(lab: Lab, keeper: Keeper) -> None:
    ada, guild = await enter(keeper), await keeper.hold(Guild, 1, create=Guild)
    for _ in range(2):
        await keeper.commit(deposit, ada, guild, ops=(Op(1), None))
    assert lab.store.value("guild:1:ops") is None
    assert guild.record.gold == 1


async def test_an_op_that_only_the_second_player_has_is_found(keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    await keeper.commit(pay, ada, bob, ops=(None, Op(3)))
    assert (await keeper.commit(pay, ada, bob, ops=(None, Op(3)))).repeated


async def test_a_commit_that_failed_has_not_used_its_op(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1, gold=5), await enter(keeper, 2)
    with pytest.raises(NotEnough):
        await keeper.commit(pay, ada, bob, ops=(Op(1), Op(1)))
    await keeper.commit(earn, ada)
    assert not (await keeper.commit(pay, ada, bob, ops=(Op(1), Op(1)))).repeated
    assert kept(lab, 2).gold == 110


@pytest.mark.parametrize(
    ("result", "said"), [(object(), "cannot be recorded"), ("x" * 300, "302 bytes, 256 are recorded")]
)
async def test_a_result_that_cannot_be_recorded_is_refused_and_nothing_happened(
    lab: Lab, keeper: Keeper, result: object, said: str
) -> None:
    ada = await enter(keeper)

    def fn(player: Player) -> object:
        earn(player)
        return result

    with pytest.raises(Misuse, match=said + r".*\(return "):
        await keeper.commit(fn, ada, ops=(Op(1),))
    assert ada.record == kept(lab)
    assert ada.last_op == 0


@pytest.mark.parametrize("number", [0, -1, 2**53, True, 1.0, "1"])
async def test_an_op_id_is_a_whole_number_that_every_client_can_count_to(keeper: Keeper, number: object) -> None:
    ada = await enter(keeper)
    with pytest.raises(Misuse, match="is not a whole number from 1 to"):
        await keeper.commit(earn, ada, ops=(Op(number),))  # pyright: ignore[reportArgumentType]


async def test_a_ring_that_cannot_be_read_denies_the_login(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    await keeper.commit(earn, ada, ops=(Op(1),))
    await ada.logout()
    ring = lab.store.value("rover:1:ops")
    assert ring is not None
    lab.store.perform(Put("rover:1:ops", ring.replace(b"110", b"111")))
    with pytest.raises(Quarantined, match=r"rover:1:ops.*kept"):
        await enter(keeper)


async def test_a_full_ring_stays_below_16_kib() -> None:
    async with Lab(config=QUICK) as lab:
        ada = await enter(lab.keeper)
        for number in range(40):
            await lab.keeper.commit(lambda _player: "x" * 254, ada, ops=(Op(2**53 - 41 + number),))
        ring = lab.store.value("rover:1:ops")
        assert ring is not None
        assert 32 * 256 < len(ring) < 16 * 1024


async def test_a_commit_adds_one_line_and_the_log_is_put_anew_before_it_grows() -> None:
    async with Lab(config=QUICK) as lab:
        ada = await enter(lab.keeper)
        lengths: list[int] = []
        for number in range(1, 3 * STORED_OPS_MAX):
            before = lab.store.value("rover:1:ops") or b""
            await lab.keeper.commit(runs_once([]), ada, ops=(Op(number),))
            after = lab.store.value("rover:1:ops") or b""
            lengths.append(after.count(b"\n"))
            assert after.startswith(before) or lengths[-1] == RING_OPS
        assert max(lengths) == STORED_OPS_MAX
        assert lengths.count(RING_OPS) > 2
        again = OpRing.decode(lab.store.value("rover:1:ops"), "rover:1:ops")
        assert again.find_op(Op(3 * STORED_OPS_MAX - RING_OPS)) is not None
        with pytest.raises(OpTooOld):
            again.find_op(Op(3 * STORED_OPS_MAX - RING_OPS - 1))


async def test_a_ring_of_the_former_form_is_read_and_put_anew(lab: Lab, keeper: Keeper) -> None:
    former = (Path(__file__).parents[1] / "golden/ops/former.json").read_bytes()
    await (await enter(keeper)).logout()
    await lab.line().save("rover:1:ops", former)
    ada = await enter(keeper)
    assert ada.last_op == 40
    assert ada.ring.has_letter("letter-2")
    receipt = await keeper.commit(earn, ada, ops=(Op(9, b"request 9"),))
    assert (receipt.repeated, receipt.result) == (True, {"gold": 9})
    await keeper.commit(earn, ada, ops=(Op(41),))
    stored = lab.store.value("rover:1:ops")
    assert stored is not None
    assert b'{"ops"' not in stored
    again = OpRing.decode(stored, "rover:1:ops")
    assert again.has_letter("letter-2")
    assert [again.find_op(Op(number, b"request %d" % number)) is not None for number in (10, 40)] == [True, True]
    assert again.find_op(Op(41)) is not None


@pytest.mark.parametrize("letters", [0, 2])
def test_every_damaged_byte_of_a_ring_is_noticed(letters: int) -> None:
    ring = OpRing()
    ring.add_letters([f"l{number}" for number in range(letters)], safe_s=0.0)
    for number in (1, 2):
        ring.add_op(Op(number), b"null")
    stored = ring.encode()
    for at in range(len(stored)):
        with pytest.raises(Corrupt):
            OpRing.decode(stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :], "rover:1:ops")
        if at and stored[at - 1 : at] != b"\n":
            with pytest.raises(Corrupt):
                OpRing.decode(stored[:at], "rover:1:ops")


async def test_what_a_failed_commit_added_is_not_in_the_log(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper, 1)
    await keeper.commit(earn, ada, ops=(Op(1),))
    before = lab.store.value("rover:1:ops")
    with pytest.raises(NotEnough):
        await keeper.commit(spend_all, ada, ops=(Op(2),))
    await keeper.commit(earn, ada)
    assert lab.store.value("rover:1:ops") == before
    assert await ada.recall(Op(2)) is None
