"""A store that went backwards: rewritten where that was to be expected, halted where it had promised not to."""

import asyncio

import pytest

from keeping.game import (
    Guild,
    Player,
    at_some_turn,
    deposit,
    earn,
    enter,
    kept,
    make,
    opens_letters,
    pay,
    revision,
)
from keeping.wire import tap
from realmkeep.config import KeeperConfig
from realmkeep.errors import CommitPending, StorageUnavailable
from realmkeep.keeping import Hooks, Keeper, Op, Session, heal
from realmkeep.keeping.recovery import store_loss
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.storage import Put
from realmkeep.testing.lab import Lab


async def hurt(lab: Lab, *numbers: int) -> None:
    """Something must be written for the loss to be noticed."""
    for number in numbers:
        session = lab.keeper.session(Player, number)
        assert session is not None
        session.record.hp = 0
    await lab.advance(2)


async def enter_unheard(lab: Lab, other: Keeper, number: int) -> Session[Player]:
    """A player gets in at another server, which has waited in vain for the first one to look what the store lost."""
    lab.line().down = True
    session = await lab.finish(enter(other, number))
    lab.line().down = False
    return session


async def test_within_a_known_window_everything_lost_is_written_again() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        ada, bob, cid = [await enter(lab.keeper, number) for number in (1, 2, 3)]
        before = lab.store.snapshot()
        await lab.keeper.commit(pay, ada, bob, ops=(Op(1), Op(1)))
        await lab.keeper.commit(earn, cid)
        lab.store.restore(before)
        assert kept(lab, 1).gold == 100
        await hurt(lab, 3)
        assert [kept(lab, number).gold for number in (1, 2, 3)] == [90, 110, 110]
        assert lab.keeper.degraded == ()
        assert not ada.dirty
        keeper = await lab.restart()
        ada, bob = await lab.finish(enter(keeper, 1)), await lab.finish(enter(keeper, 2))
        assert (await keeper.commit(pay, ada, bob, ops=(Op(1), Op(1)))).repeated


async def test_a_loss_is_noticed_by_the_next_heartbeat_even_if_nobody_plays() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        ada = await enter(lab.keeper)
        await lab.advance(25)
        before = lab.store.snapshot()
        await lab.advance(9)
        await lab.keeper.commit(earn, ada)
        lab.store.restore(before)
        await lab.advance(12)
        assert kept(lab).gold == 110


@pytest.mark.parametrize("written_by", ["a commit", "a flush"])
async def test_a_loss_younger_than_the_last_heartbeat_is_noticed_though_nobody_plays(written_by: str) -> None:
    """The lease in the store is then as new as ours: only the newest write tells."""
    async with Lab(loss_window_s=1.0) as lab:
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
        await make(lab.keeper, 3)
        await lab.advance(15)
        before = lab.store.snapshot()
        if written_by == "a commit":
            await lab.keeper.commit(lambda player: lab.keeper.tx.deliver(Player, 3, {"gold": player.gold}), bob)
            await lab.keeper.commit(earn, ada)
        else:
            ada.record.hp = 7
            ada.record.level += 1
            await ada.settled()
        lab.store.restore(before)
        await lab.advance(7)
        assert (kept(lab).gold, kept(lab).hp) == (ada.record.gold, ada.record.hp)
        assert len(lab.store.entries("rover:3:inbox")) == (written_by == "a commit")
        assert not ada.dirty


async def test_a_loss_is_noticed_though_others_go_on_writing() -> None:
    """Their writes succeed: neither a refusal nor the newest write tells that the store was older for a moment."""
    async with Lab(loss_window_s=1.0) as lab:
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
        await lab.advance(15)
        await lab.keeper.commit(earn, bob)
        await lab.advance(0.02)
        before = lab.store.snapshot()
        await lab.keeper.commit(earn, ada)
        lab.store.restore(before)
        await lab.advance(0.2)  # a store needs that long to come back
        for _ in range(50):
            await lab.keeper.commit(earn, bob)
            await lab.advance(0.1)
        await lab.advance(2)
        assert kept(lab, 1).gold == 110


async def test_a_loss_of_a_record_that_was_just_made_is_noticed() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        await lab.advance(15)
        before = lab.store.snapshot()
        await enter(lab.keeper)
        lab.store.restore(before)
        await lab.advance(10)
        assert kept(lab).gold == 100


async def test_a_loss_of_what_was_just_healed_is_noticed_too() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        ada = await enter(lab.keeper)
        await lab.advance(15)
        before = lab.store.snapshot()
        await lab.keeper.commit(earn, ada)
        for _ in range(3):
            lease = lab.store.value("server:lab-1:lease")
            assert lease is not None
            lab.store.restore(before)
            lab.store.perform(
                Put("server:lab-1:lease", lease, expire_s=30)
            )  # the last beat is older than what was lost
            await lab.advance(10)
            assert kept(lab).gold == 110


async def test_a_deleted_record_that_was_written_last_is_no_loss(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    await ada.logout()
    await lab.line().delete("rover:1:updated")  # by an operator, say
    wire = tap(monkeypatch, lab.line())
    await lab.advance(60)
    assert wire.keys_read.count("rover:2:owner") == 1, "it was looked for a loss once"
    assert bob.connected
    assert lab.keeper.degraded == ()


async def test_what_is_asked_at_a_heartbeat_is_bounded_however_much_is_written(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(lab.keeper)
    wire = tap(monkeypatch, lab.line())
    for _ in range(2000):
        ada.record.level += 1
        await lab.advance(0.01)
    assert 20 < wire.keys_read.count("rover:1:updated") < 2 * (10 + 3) / 0.1 * 2
    await lab.advance(30)
    wire.keys_read.clear()
    await lab.advance(30)
    assert wire.keys_read.count("rover:1:updated") == 0, "what is old enough is safe"


@pytest.mark.parametrize("loss_window_s", [1.0, 0.0])
async def test_what_committed_together_is_rewritten_together(loss_window_s: float) -> None:
    """A crash of this server between two single rewrites would otherwise tear the trade."""
    async with Lab(loss_window_s=loss_window_s, config=KeeperConfig(heal=True)) as lab:
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
        before = lab.store.snapshot()
        await lab.keeper.commit(pay, ada, bob)
        lab.store.restore(before)
        bob.record.hp = 0
        torn = await at_some_turn(lambda: kept(lab, 1).gold + kept(lab, 2).gold != 200)
        await lab.advance(2)
        assert not torn
        assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)


@pytest.mark.parametrize("loss_window_s", [1.0, 0.0])
async def test_letters_and_new_records_of_lost_commits_are_written_again(loss_window_s: float) -> None:
    async with Lab(loss_window_s=loss_window_s, config=KeeperConfig(heal=True)) as lab:
        ada = await enter(lab.keeper)
        await make(lab.keeper, 2)
        before = lab.store.snapshot()

        def founds(player: Player) -> None:
            player.gold -= 30
            lab.keeper.tx.create(Guild, 7, Guild(gold=10))
            lab.keeper.tx.deliver(Player, 2, {"gold": 20})

        await lab.keeper.commit(founds, ada)
        lab.store.restore(before)
        await hurt(lab, 1)
        assert kept(lab).gold == 70
        guild = lab.stored(Guild, 7)
        assert guild is not None
        assert guild.gold == 10
        assert len(lab.store.entries("rover:2:inbox")) == 1


async def test_a_letter_that_came_back_with_the_old_store_is_not_applied_twice() -> None:
    async with Lab(loss_window_s=1.0, hooks=opens_letters(Hooks())) as lab:
        ada = await enter(lab.keeper, 1)
        await make(lab.keeper, 2)
        await lab.keeper.commit(lambda _: lab.keeper.tx.deliver(Player, 2, {"gold": 20}), ada)
        before = lab.store.snapshot()
        bob = await enter(lab.keeper, 2)
        await lab.finish(bob.open_letters())
        assert bob.record.gold == 120
        lab.store.restore(before)
        await hurt(lab, 2)
        await lab.advance(5)
        assert bob.record.gold == 120
        assert kept(lab, 2).gold == 120
        assert lab.store.entries("rover:2:inbox") == []


async def test_a_store_that_promised_to_lose_nothing_halts_until_an_operator_looks(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    before = lab.store.snapshot()
    await keeper.commit(pay, ada, bob)
    lab.store.restore(before)
    with pytest.raises(CommitPending) as caught:
        await lab.finish(keeper.commit(earn, ada))
    await lab.advance(60)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (100, 100)
    (said, *_) = keeper.degraded
    assert "promised to lose nothing" in said
    assert "writing stopped" in said
    heal(keeper)
    await lab.finish(caught.value.wait())
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (100, 110)
    assert keeper.degraded == ()


async def test_nobody_is_let_in_on_an_older_state_and_all_goes_on_when_the_store_has_its_own_again(
    lab: Lab, keeper: Keeper
) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    await (await enter(keeper, 3)).logout()
    older = lab.store.snapshot()
    await keeper.commit(pay, ada, bob)
    own = lab.store.snapshot()
    lab.store.restore(older)
    with pytest.raises(StorageUnavailable, match="older data"):  # before any heartbeat
        await enter(keeper, 3)
    await lab.advance(5)
    assert any("writing stopped" in reason for reason in keeper.degraded)
    with pytest.raises(StorageUnavailable, match="older data"):
        await enter(keeper, 3)
    lab.store.restore(own)
    await lab.advance(5)
    assert keeper.degraded == ()
    await enter(keeper, 3)
    await keeper.commit(earn, ada)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (100, 110)


async def test_an_idle_server_lets_nobody_into_another_store_before_an_operator_says_so() -> None:
    async with Lab() as lab:
        await lab.advance(60)  # no write is recent enough to be missed
        own = lab.store.snapshot()
        lab.store.perform(Put(SERVER_STORE_ID, b"an empty one"))
        with pytest.raises(StorageUnavailable, match="older data"):
            await enter(lab.keeper)
        lab.store.restore(own)
        await lab.advance(5)
        await enter(lab.keeper)


async def test_after_healing_the_next_loss_halts_again(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    for _ in range(2):
        before = lab.store.snapshot()
        await lab.finish(keeper.commit(earn, ada))
        lab.store.restore(before)
        await hurt(lab, 1)
        assert any("writing stopped" in reason for reason in keeper.degraded)
        heal(keeper)
        await lab.advance(5)
        assert kept(lab).gold == ada.record.gold
        ada.record.hp = 100


async def test_a_permission_without_a_loss_is_none_for_the_next_one(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    heal(keeper)
    before = lab.store.snapshot()
    await keeper.commit(earn, ada)
    lab.store.restore(before)
    await hurt(lab, 1)
    assert any("writing stopped" in reason for reason in keeper.degraded)
    assert kept(lab).gold == 100


async def test_heal_true_needs_no_operator() -> None:
    async with Lab(config=KeeperConfig(heal=True)) as lab:
        ada = await enter(lab.keeper)
        for gold in (110, 120):
            before = lab.store.snapshot()
            await lab.keeper.commit(earn, ada)
            lab.store.restore(before)
            await hurt(lab, 1)
            assert kept(lab).gold == gold
            ada.record.hp = 100


async def test_another_store_at_the_same_address_halts_whatever_its_window() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        ada = await enter(lab.keeper)
        before = lab.store.snapshot()
        await lab.keeper.commit(earn, ada)
        lab.store.restore(before)
        lab.store.perform(Put(SERVER_STORE_ID, b"a backup of somebody else's"))
        await hurt(lab, 1)
        assert kept(lab).gold == 100
        assert any("another store than at the start" in reason for reason in lab.keeper.degraded)


async def test_a_player_claimed_elsewhere_while_the_store_had_forgotten_its_owner_is_lost_here() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        await (await enter(lab.keeper, 2)).logout()
        nobody = lab.store.snapshot()
        bob = await enter(lab.keeper, 2)
        ada = await enter(lab.keeper, 1)
        await lab.keeper.commit(pay, ada, bob)
        lab.store.restore(nobody)
        theirs = await enter_unheard(lab, await lab.server("lab-2"), 2)
        ada.record.hp = 0
        await lab.advance(5)
        assert bob.ended
        assert not theirs.ended
        assert kept(lab, 1).gold == 90


async def test_a_commit_beside_more_writes_than_one_batch_takes_is_answered_when_all_are_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_loss, "ENTRIES_AT_ONCE", 1)
    async with Lab(loss_window_s=1.0) as lab:
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
        before = lab.store.snapshot()
        await lab.keeper.commit(earn, ada)
        lab.store.restore(before)
        paying = asyncio.create_task(lab.keeper.commit(pay, ada, bob))
        await lab.advance(2)
        assert paying.done()
        await paying
        assert (kept(lab, 1).gold, kept(lab, 2).gold) == (100, 110)


async def test_revisions_never_go_back_by_healing() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        ada = await enter(lab.keeper)
        before = lab.store.snapshot()
        await lab.keeper.commit(earn, ada)
        highest = revision(lab)
        lab.store.restore(before)
        await hurt(lab, 1)
        assert revision(lab) > highest


async def test_shared_records_heal_with_their_members() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        guild = await lab.keeper.hold(Guild, 1, create=Guild)
        members = [await enter(lab.keeper, number) for number in range(5)]
        before = lab.store.snapshot()
        for member in members:
            await lab.keeper.commit(deposit, member, guild)
        lab.store.restore(before)
        await hurt(lab, 3)
        stored = lab.stored(Guild, 1)
        assert stored is not None
        assert stored.gold == 5
        assert [kept(lab, number).gold for number in range(5)] == [99] * 5
