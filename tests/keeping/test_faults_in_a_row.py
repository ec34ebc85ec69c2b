"""Sequences of more than one fault: an attempt after an attempt, a loss inside healing, a race on the way to a claim."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from keeping.game import (
    Guild,
    Player,
    at_some_turn,
    deposit,
    earn,
    enter,
    hooks_of,
    inside,
    kept,
    opens_letters,
    pay,
    revision,
)
from realmkeep.errors import (
    AlreadyExists,
    AlreadyOwned,
    CommitRefused,
    CommitUnknown,
    InvalidKey,
    OutcomeUnknown,
    SessionFrozen,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from realmkeep.keeping import Hooks, Op, Session
from realmkeep.keeping.ownership.loss_probe import LOSS_S, LossProbe
from realmkeep.keeping.ownership.revisions import token_of
from realmkeep.keys import SERVER_STORE_RUNS
from realmkeep.records import encode
from realmkeep.storage import AnyTransaction, Committed, Put, Unknown, WriteOutcome
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REQUEST, NONE, FaultyStorage, delay, reject
from realmkeep.testing.lab import Lab

LONG_S = 40.0  # longer than any loss window, and than a heartbeat
Write = Callable[[Sequence[AnyTransaction]], Awaitable[list[WriteOutcome]]]


def everysec() -> Lab:
    """A store that may lose its last second."""
    return Lab(loss_window_s=1.0, hooks=opens_letters(Hooks()))


def guards_on(transactions: Sequence[AnyTransaction], key: str) -> bool:
    return any(guard.key == key for transaction in transactions for guard in transaction.guards)


def intercept(
    line: FaultyStorage, how: Callable[[Write, Sequence[AnyTransaction]], Awaitable[list[WriteOutcome]]]
) -> None:
    """Let a test come between a server and its store."""
    real = line.write

    async def write(transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        return await how(real, transactions)

    line.write = write


async def test_a_deleted_record_leaves_no_operations_to_the_next_of_its_name() -> None:
    async with Lab() as lab:
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
        await lab.keeper.commit(earn, bob, ops=(Op(1),))
        await bob.logout()
        assert lab.store.value("rover:2:ops") is not None
        await lab.keeper.commit(lambda _: lab.keeper.tx.delete(Player, 2), ada)
        assert [key for key in lab.store.live_keys() if key.startswith("rover:2") and key != "rover:2:updated"] == []


async def test_a_commit_that_was_undone_leaves_its_version_key_to_the_next_one() -> None:
    """A record without a version key, whose first write is refused after it was staged."""
    async with Lab() as lab:
        lab.store.perform(Put("rover:5", encode(Player(name="a"), "json")))
        lab.store.perform(Put("rover:5:updated", b"5"))
        lab.store.perform(Put("guild:7", b"x"))
        session = await lab.keeper.login(Player, 5)
        assert session is not None
        with pytest.raises(AlreadyExists):
            await lab.keeper.commit(lambda _: lab.keeper.tx.create(Guild, 7, Guild()), session)
        await lab.advance(3)
        await lab.keeper.commit(earn, session)
        assert lab.store.value("rover:5:version") == b"1"


async def test_a_first_attempt_without_an_answer_is_remembered_over_a_second_that_was_refused() -> None:
    """The first one landed late, and another server has the record since: nobody here can know, so nobody says no."""
    async with Lab() as lab:
        ada = await enter(lab.keeper, 1)
        attempts = 0

        async def late(real: Write, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
            nonlocal attempts
            if guards_on(transactions, "rover:1:owner"):
                attempts += 1
                if attempts == 1:
                    return [Unknown(OutcomeUnknown("late")) for _ in transactions]
                if attempts == 2:
                    await real(transactions)
                    lab.store.perform(Put("rover:1:owner", b"lab-9/aaaaaaaa/99999999999999999"))
            return await real(transactions)

        intercept(lab.line(), late)
        with pytest.raises(CommitUnknown):
            await lab.finish(lab.keeper.commit(earn, ada))
        assert attempts == 2


async def test_a_release_without_an_answer_did_not_land_if_another_server_has_written_since() -> None:
    lost: list[str] = []
    async with Lab() as lab:

        @hooks_of(lab.keeper).on_lost_ownership(Player)
        def _(_: Session[Player], reason: str) -> None:
            lost.append(reason)

        ada = await enter(lab.keeper, 1)
        ada.record.hp = 77
        lab.lose_next_request()
        leaving = asyncio.ensure_future(ada.logout())
        line = lab.line()
        load_many, claimed = line.load_many, False

        async def claimed_and_released_meanwhile(keys: Sequence[str]) -> list[bytes | None]:
            nonlocal claimed
            if not claimed and "rover:1:owner" in keys:
                claimed = True
                lab.store.remove("rover:1:owner")
                lab.store.perform(Put("rover:1:updated", b"%d" % (ada.revision + 5)))
            return await load_many(keys)

        line.load_many = claimed_and_released_meanwhile
        await lab.advance(5)
        await asyncio.gather(leaving, return_exceptions=True)
        assert claimed
        assert lost == ["released by another server"], "its last state was not taken for stored"


async def test_a_commit_that_the_store_will_never_take_freezes_nobody() -> None:
    async with Lab() as lab:
        ada = await enter(lab.keeper, 1)
        lab.line().script("write", reject(StorageError("never")))
        with pytest.raises(StorageError):
            await lab.finish(lab.keeper.commit(earn, ada))
        assert ada.frozen is None
        await lab.keeper.commit(earn, ada)
        assert kept(lab).gold == 110


async def test_permissions_that_an_operator_broke_and_mended_cost_no_commit() -> None:
    async with Lab() as lab:
        ada = await enter(lab.keeper, 1)
        lab.line().script("write", reject(StorageMisconfigured("NOPERM")))
        await lab.finish(lab.keeper.commit(earn, ada))
        assert kept(lab).gold == 110


@pytest.mark.parametrize("turns", range(2, 26, 2))
async def test_a_commit_that_comes_while_healing_is_interrupted_is_kept(turns: int) -> None:
    async with everysec() as lab:
        await lab.advance(LONG_S)
        ada = await enter(lab.keeper, 1)
        before = lab.store.snapshot()
        await lab.keeper.commit(earn, ada)
        lab.store.restore(before)
        lab.line().script("write", NONE, LOSE_REQUEST)
        first = asyncio.ensure_future(lab.keeper.commit(earn, ada))
        for _ in range(turns):
            await asyncio.sleep(0)
        second = asyncio.ensure_future(lab.keeper.commit(earn, ada))
        await lab.advance(8)
        assert first.done()
        assert second.done()
        assert kept(lab).gold == 130


async def test_two_that_trade_again_after_a_long_time_are_still_healed_as_one() -> None:
    async with everysec() as lab:
        await lab.advance(LONG_S)
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
        await lab.keeper.commit(pay, ada, bob)
        await lab.advance(LONG_S)
        before = lab.store.snapshot()
        await lab.keeper.commit(pay, ada, bob)
        lab.store.restore(before)
        bob.record.hp = 0
        assert not await at_some_turn(lambda: kept(lab, 1).gold + kept(lab, 2).gold != 200)
        await lab.advance(12)
        assert (kept(lab, 1).gold, kept(lab, 2).gold) == (80, 120)


async def test_a_store_that_loses_once_more_what_was_just_written_again_tears_nothing() -> None:
    """The queue follows what the recovery has written, and not what the store holds by then."""
    async with everysec() as lab:
        await lab.advance(LONG_S)
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
        before = lab.store.snapshot()
        await lab.keeper.commit(pay, ada, bob)
        lab.store.restore(before)
        dies_again = [True]

        async def loses(real: Write, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
            outcomes = await real(transactions)
            if dies_again and guards_on(transactions, "rover:2:owner"):
                dies_again.clear()
                lab.store.restore(before)
            return outcomes

        ada.record.hp = 0
        intercept(lab.line(), loses)
        assert not await at_some_turn(lambda: kept(lab, 1).gold + kept(lab, 2).gold != 200)
        await lab.advance(12)
        assert not dies_again
        assert (kept(lab, 1).gold, kept(lab, 2).gold, kept(lab, 1).hp) == (90, 110, 0)


async def test_writes_whose_answers_overtook_each_other_are_written_again_in_their_first_order() -> None:
    async with everysec() as lab:
        await lab.advance(LONG_S)
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
        before = lab.store.snapshot()
        lab.line().script("write", delay(0.0, 0.5))  # the first answer
        first = asyncio.ensure_future(lab.keeper.commit(pay, ada, bob))
        await lab.advance(0.1)
        await lab.keeper.commit(pay, ada, bob)
        assert not first.done()
        await lab.finish(first)
        entries = [entry.order for entry in inside(lab.keeper).store_loss.tail]
        assert entries != sorted(entries), "the control: they did overtake each other"
        written: list[int] = []

        async def listens(real: Write, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
            outcomes = await real(transactions)
            for transaction, outcome in zip(transactions, outcomes, strict=True):
                if isinstance(outcome, Committed):
                    effects = [each for each in transaction.effects if isinstance(each, Put)]
                    written.extend(int(each.value) for each in effects if each.key == "rover:1:updated")
            return outcomes

        intercept(lab.line(), listens)
        lab.store.restore(before)
        await lab.advance(12)
        assert (kept(lab, 1).gold, kept(lab, 2).gold) == (80, 120)
        assert len(written) >= 2
        assert written == sorted(written)


async def test_what_was_lost_of_a_record_is_written_again_in_its_order() -> None:
    """A guild that was made, paid into and released within the lost second: no moment shows gold that was nowhere before."""
    async with everysec() as lab:
        await lab.advance(LONG_S)
        ada = await enter(lab.keeper, 1)
        before = lab.store.snapshot()
        await lab.keeper.commit(lambda _: lab.keeper.tx.create(Guild, 7, Guild(gold=0)), ada)
        guild = await lab.keeper.hold(Guild, 7)
        assert guild is not None
        await lab.keeper.commit(deposit, ada, guild)
        await guild.release()
        lab.store.restore(before)
        ada.record.hp = 0

        def is_torn() -> bool:
            stored = lab.stored(Guild, 7)
            return kept(lab).gold + (0 if stored is None else stored.gold) != 100

        assert not await at_some_turn(is_torn)
        await lab.advance(12)
        stored = lab.stored(Guild, 7)
        assert stored is not None
        assert stored.gold == 1


async def test_a_released_record_that_another_server_had_since_is_left_alone_by_healing() -> None:
    """The other server's clock is slower, so its revision is older than the one that was lost."""
    async with everysec() as lab:
        await lab.advance(LONG_S)
        ada = await enter(lab.keeper, 1)
        before = lab.store.snapshot()
        await lab.keeper.commit(earn, ada)
        token = ada.revision_min
        await lab.advance(1)
        await lab.keeper.commit(earn, ada)
        await ada.logout()
        last = revision(lab)
        lab.store.restore(before)
        blob = lab.store.value("rover:1")
        lab.store.remove("rover:1:owner")
        lab.store.perform(Put("rover:1:updated", b"%d" % (last - 10)))
        assert last - 10 > token
        await lab.advance(15)
        assert lab.store.value("rover:1") == blob


@pytest.mark.parametrize("error", [InvalidKey("no such id"), CommitRefused("no such thing")])
async def test_an_error_of_ours_that_a_hook_raises_holds_up_no_other_letter(error: Exception) -> None:
    hooks = Hooks()

    @hooks.on_letter(Player)
    def _(player: Player, letter: str) -> None:
        if letter == "bad":
            raise error
        player.gold += 20

    async with Lab(hooks=hooks) as lab:
        ada = await enter(lab.keeper, 1)
        bob = await enter(lab.keeper, 2)
        for letter in ("bad", "good"):
            await lab.keeper.commit(lambda _, letter=letter: lab.keeper.tx.deliver(Player, 2, letter), ada)
        await lab.advance(10)
        assert bob.record.gold == 120


async def test_a_claim_that_counts_on_a_dead_owner_is_refused_if_that_renews_its_lease() -> None:
    async with Lab() as lab:
        other = await lab.server("lab-2")
        await enter(lab.keeper, 1)
        lab.line().down = True
        lease = lab.store.value("server:lab-1:lease")
        assert lease
        await lab.advance(60)
        assert lab.store.value("server:lab-1:lease") is None
        renewed = False

        async def renewed_meanwhile(real: Write, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
            nonlocal renewed
            if not renewed and guards_on(transactions, "rover:1:owner"):
                renewed = True
                lab.store.perform(Put("server:lab-1:lease", lease, expire_s=45.0))
            return await real(transactions)

        intercept(lab.line("lab-2"), renewed_meanwhile)
        with pytest.raises(AlreadyOwned):
            await lab.finish(enter(other, 1))


async def test_the_token_of_a_claim_is_above_the_one_before_also_by_a_slow_clock() -> None:
    async with Lab() as lab:
        other = await lab.server("lab-2")
        await (await enter(lab.keeper, 1)).logout()
        await lab.advance(100)
        await enter(lab.keeper, 1)
        owner = lab.store.value("rover:1:owner")
        lab.clock.step_wall(-200)
        await lab.crash()
        await lab.advance(60)
        await enter(other, 1)
        assert token_of(lab.store.value("rover:1:owner")) > token_of(owner)


async def test_the_token_of_a_claim_is_above_that_of_a_released_one_although_the_clock_was_set_back() -> None:
    """The owner key is gone by then: only the revision tells the next claim what came before."""
    async with Lab() as lab:
        lab.clock.step_wall(200)
        ada = await enter(lab.keeper, 1)
        owner = lab.store.value("rover:1:owner")
        await ada.logout()
        ada = await enter(lab.keeper, 1)
        later = lab.store.value("rover:1:owner")
        lab.clock.step_wall(-200)
        await ada.logout()
        await enter(lab.keeper, 1)
        assert token_of(owner) < token_of(later) < token_of(lab.store.value("rover:1:owner"))


async def test_a_renewal_that_never_returns_is_given_up_before_the_lease_ends() -> None:
    async with Lab() as lab:
        hung = False

        async def hangs_once(real: Write, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
            nonlocal hung
            if not hung and guards_on(transactions, "server:lab-1:lease"):
                hung = True
                await asyncio.Event().wait()
            return await real(transactions)

        intercept(lab.line(), hangs_once)
        await lab.advance(60)
        assert hung
        assert lab.store.value("server:lab-1:lease") is not None
        assert lab.keeper.degraded == ()


async def test_a_second_disconnect_has_a_whole_grace() -> None:
    async with Lab() as lab:
        grace_s = inside(lab.keeper).config.grace_s
        ada = await enter(lab.keeper, 1)
        ada.disconnect()
        await lab.advance(grace_s - 5)
        ada.resume()
        ada.disconnect()
        await lab.advance(grace_s - 5)
        assert not ada.ended
        await lab.advance(10)
        assert ada.ended


async def test_a_logout_that_could_not_be_saved_is_tried_again_after_a_grace() -> None:
    """It followed a commit that mended the record and did not happen."""
    async with Lab() as lab:
        ada = await enter(lab.keeper, 1)
        lab.store.perform(Put("guild:7", b"x"))

        def mends(player: Player) -> None:
            player.x = 1.0
            lab.keeper.tx.create(Guild, 7, Guild())

        ada.record.x = float("nan")
        refused = asyncio.ensure_future(lab.keeper.commit(mends, ada))
        await asyncio.sleep(0)
        leaving = asyncio.ensure_future(ada.logout())
        await lab.advance(5)
        outcomes = await asyncio.gather(refused, leaving, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [AlreadyExists, SessionFrozen]
        assert not ada.ended
        ada.record.x = 5.0
        await lab.advance(inside(lab.keeper).config.grace_s * 3)
        assert ada.ended
        assert kept(lab).x == 5.0


async def test_a_login_that_waits_for_a_borrowed_record_is_woken_though_the_record_cannot_be_released() -> None:
    async with Lab() as lab:
        await (await enter(lab.keeper, 1)).logout()

        async def borrows() -> None:
            async with lab.keeper.borrow(Player, 1) as session:
                assert session is not None
                await lab.clock.sleep(1)
                session.record.hp = -5

        one = asyncio.ensure_future(borrows())
        await lab.clock.settle()
        two = asyncio.ensure_future(enter(lab.keeper, 1))
        await lab.advance(5)
        assert one.done()
        assert two.done()
        await asyncio.gather(one, two, return_exceptions=True)


async def test_a_server_vouches_for_a_run_of_the_store_when_the_store_has_it_and_not_before() -> None:
    async with everysec() as lab:
        await lab.advance(LONG_S)

        async def away(real: Write, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
            if guards_on(transactions, SERVER_STORE_RUNS):
                raise StorageUnavailable("away")
            return await real(transactions)

        intercept(lab.line(), away)
        lab.store.restore(lab.store.snapshot())
        await lab.advance(15)
        barrier = inside(lab.keeper).barrier
        assert barrier.confirmed_run != await barrier.current_run()


def test_what_is_safe_counts_from_the_question_and_not_from_its_late_answer() -> None:
    clock = FakeClock()
    loss_probe = LossProbe(clock, lambda: 2.0)
    loss_probe.add_sample("a", 7)
    seen, asked_s = loss_probe.take_samples(), clock.monotonic_s()
    clock._now_ns += 5_000_000_000
    assert loss_probe.check(seen, [b"7"])
    assert loss_probe.safe_s == asked_s - LOSS_S


async def test_a_write_that_was_found_landed_bears_witness_of_a_loss() -> None:
    """Of a store that does not tell of its restarts."""
    async with Lab(loss_window_s=1.0) as lab:
        ada = await enter(lab.keeper)
        await lab.advance(29)
        before = lab.store.snapshot()
        lab.lose_next_reply()
        await lab.finish(lab.keeper.commit(earn, ada))
        runs: Any = lab.store.runs
        lab.store.restore(before)
        lab.store.runs = runs
        await lab.advance(12)
        assert kept(lab).gold == 110


async def test_a_player_who_is_back_in_the_turn_in_which_the_grace_runs_out_is_not_evicted() -> None:
    async with Lab() as lab:
        ada = await enter(lab.keeper, 1)
        ada.disconnect()
        eviction = inside(lab.keeper).exit._evict(ada)  # as the timer begins it, in a task that runs later
        ada.resume()
        await eviction
        assert ada.connected


async def test_a_letter_whose_change_cannot_be_stored_is_not_remembered_as_opened() -> None:
    """It made the record invalid, with others of its commit; when it can be opened, it is."""
    async with Lab(hooks=opens_letters(Hooks())) as lab:
        ada = await enter(lab.keeper, 1)
        bob = await enter(lab.keeper, 2)
        bob.record.x = float("nan")
        await lab.keeper.commit(lambda _: lab.keeper.tx.deliver(Player, 2, {"gold": 20}), ada)
        await lab.advance(3)
        assert bob.record.gold == 100
        bob.record.x = 1.0
        await lab.advance(120)
        assert bob.record.gold == 120
