"""What nobody here owns: held and borrowed records, records made and deleted in commits."""

import asyncio
import contextlib

import pytest

from keeping.game import Guild, NotEnough, Player, changes_nothing, deposit, earn, enter, kept
from realmkeep.errors import AlreadyExists, AlreadyOwned, Misuse, SessionEnded
from realmkeep.keeping import Keeper, Op, Tx
from realmkeep.testing.faulty import delay
from realmkeep.testing.lab import Lab


def guild_of(lab: Lab) -> Guild:
    stored = lab.stored(Guild, 1)
    assert stored is not None
    return stored


async def test_a_held_record_is_one_session_for_everybody_who_asks(keeper: Keeper) -> None:
    first = await keeper.hold(Guild, 1, create=Guild)
    assert await keeper.hold(Guild, 1) is first
    assert await asyncio.gather(*(keeper.hold(Guild, 1) for _ in range(3))) == [first] * 3
    assert await keeper.hold(Guild, 2) is None


async def test_fifty_members_use_one_bank_at_once_and_not_a_coin_is_lost(lab: Lab, keeper: Keeper) -> None:
    guild = await keeper.hold(Guild, 1, create=Guild)
    members = [await enter(keeper, number) for number in range(50)]
    await asyncio.gather(*(keeper.commit(deposit, member, guild) for member in members for _ in range(5)))
    assert guild_of(lab).gold == 250
    assert all(kept(lab, number).gold == 95 for number in range(50))


async def test_a_held_record_is_refused_to_other_servers_until_it_is_released(lab: Lab, keeper: Keeper) -> None:
    other = await lab.server("lab-2")
    guild = await keeper.hold(Guild, 1, create=Guild)
    with pytest.raises(AlreadyOwned, match="guild:1 is owned by the live server 'lab-1'"):
        await other.hold(Guild, 1)
    guild.record.motto = "moved"
    await guild.release()
    theirs = await other.hold(Guild, 1)
    assert theirs is not None
    assert theirs.record.motto == "moved"


async def test_a_player_who_is_logged_in_cannot_be_held(keeper: Keeper) -> None:
    await enter(keeper)
    with pytest.raises(AlreadyOwned, match=r"keeper\.session"):
        await keeper.hold(Player, 1)


async def test_borrowing_an_offline_player_claims_loads_and_releases(lab: Lab, keeper: Keeper) -> None:
    await (await enter(keeper)).logout()
    async with keeper.borrow(Player, 1) as ada:
        assert ada is not None
        assert lab.store.value("rover:1:owner") is not None
        await keeper.commit(earn, ada)
        ada.record.xp = 3
    assert lab.store.value("rover:1:owner") is None
    assert (kept(lab).gold, kept(lab).xp) == (110, 3)
    assert keeper.sessions(Player) == []


async def test_borrowing_a_live_player_is_its_session_and_leaves_it_live(keeper: Keeper) -> None:
    session = await enter(keeper)
    async with keeper.borrow(Player, 1) as ada:
        assert ada is session
    assert session.connected


async def test_borrowing_a_player_in_grace_neither_resumes_nor_ends_it(keeper: Keeper) -> None:
    session = await enter(keeper)
    session.disconnect()
    async with keeper.borrow(Player, 1) as ada:
        assert ada is session
    assert not session.connected
    assert not session.ended


async def test_borrowing_beside_a_live_owner_elsewhere_is_refused_with_its_name(lab: Lab, keeper: Keeper) -> None:
    await enter(await lab.server("lab-2"))
    with pytest.raises(AlreadyOwned, match="lab-2") as caught:
        async with keeper.borrow(Player, 1):
            pytest.fail("it is not ours")
    assert caught.value.server == "lab-2"


async def test_borrowing_what_does_not_exist_is_none(keeper: Keeper) -> None:
    async with keeper.borrow(Player, 1) as nobody:
        assert nobody is None


async def test_whoever_logs_in_while_a_record_is_borrowed_waits_until_the_block_ends(lab: Lab, keeper: Keeper) -> None:
    await (await enter(keeper)).logout()
    async with keeper.borrow(Player, 1) as ada:
        assert ada is not None
        login = asyncio.create_task(enter(keeper))
        await lab.clock.settle()
        assert not login.done()
        assert keeper.session(Player, 1) is ada
        await keeper.commit(earn, ada)
        await lab.clock.settle()
        assert not login.done()
    session = await login
    assert session is not ada
    assert session.record.gold == 110


async def test_a_record_is_borrowed_by_several_and_released_by_the_last(lab: Lab, keeper: Keeper) -> None:
    await (await enter(keeper)).logout()
    async with keeper.borrow(Player, 1) as first:
        async with keeper.borrow(Player, 1) as second:
            assert first is second
        assert first is not None
        assert not first.ended
        await keeper.commit(earn, first)
    assert first.ended


async def test_a_record_that_is_held_while_somebody_begins_to_borrow_it_stays_held(lab: Lab, keeper: Keeper) -> None:
    await keeper.table(Guild).save(1, Guild())
    lab.line().plan = lambda _: delay(0.01, 0.01)

    async def borrows() -> object:
        async with keeper.borrow(Guild, 1) as guild:
            return guild

    holding = asyncio.create_task(keeper.hold(Guild, 1))
    await asyncio.sleep(0)  # its entry has begun
    borrowing = asyncio.create_task(borrows())
    guild = await lab.finish(holding)
    assert await lab.finish(borrowing) is guild
    assert guild is not None
    assert guild.connected


async def test_whoever_holds_a_record_while_it_is_borrowed_waits_until_the_block_ends(lab: Lab, keeper: Keeper) -> None:
    """The session of the block ends with it; the holder needs one that stays."""
    await keeper.table(Guild).save(1, Guild())
    async with keeper.borrow(Guild, 1) as guild:
        holding = asyncio.create_task(keeper.hold(Guild, 1))
        await lab.clock.settle()
        assert not holding.done()
    held = await holding
    assert held is not None
    assert held is not guild
    assert held.connected


async def test_a_record_can_be_made_to_be_borrowed(lab: Lab, keeper: Keeper) -> None:
    async with keeper.borrow(Guild, 1, create=lambda: Guild(gold=3)) as guild:
        assert guild.record.gold == 3
    assert guild_of(lab).gold == 3
    assert guild.ended


async def test_a_borrower_that_is_cancelled_at_any_moment_leaves_the_block_of_another_alone() -> None:
    turns = 0
    for turns in range(200):
        async with Lab() as lab:
            await lab.keeper.table(Guild).save(1, Guild())
            over = asyncio.Event()
            tasks = [asyncio.create_task(borrow_until(lab.keeper, over)) for _ in range(2)]
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks[0].cancel()
            await lab.clock.settle()
            guild = lab.keeper.session(Guild, 1)
            assert guild is not None
            await lab.keeper.commit(changes_nothing, guild)
            was_inside = guild.borrowers == 1
            over.set()
            await tasks[1]
            assert lab.store.value("guild:1:owner") is None
            if was_inside and turns > 20:
                break
    assert turns < 199


async def borrow_until(keeper: Keeper, over: asyncio.Event) -> None:
    async with keeper.borrow(Guild, 1) as guild:
        assert guild is not None
        assert not guild.ended
        await over.wait()
        assert not guild.ended


async def test_a_block_that_raises_releases_what_it_borrowed(lab: Lab, keeper: Keeper) -> None:
    await (await enter(keeper)).logout()
    with pytest.raises(NotEnough):
        async with keeper.borrow(Player, 1):
            raise NotEnough
    assert lab.store.value("rover:1:owner") is None


async def test_a_block_that_is_cancelled_releases_what_it_borrowed(lab: Lab, keeper: Keeper) -> None:
    await (await enter(keeper)).logout()
    inside = asyncio.Event()

    async def borrows() -> None:
        async with keeper.borrow(Player, 1):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(borrows())
    await inside.wait()
    task.cancel()
    await asyncio.wait([task])
    await lab.clock.settle()
    assert lab.store.value("rover:1:owner") is None
    assert (await enter(keeper)).connected


async def test_a_commit_makes_a_record_whole_or_not_at_all(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)

    def founds(player: Player) -> None:
        player.gold -= 60
        keeper.tx.create(Guild, 1, Guild(gold=60))
        if player.gold < 0:
            raise NotEnough

    await keeper.commit(founds, ada)
    assert (kept(lab).gold, guild_of(lab).gold) == (40, 60)
    with pytest.raises(NotEnough):
        await keeper.commit(founds, ada)
    guild = await keeper.hold(Guild, 1)
    assert guild is not None
    assert guild.record.gold == 60


async def test_a_commit_deletes_a_record_with_everything_beside_it_and_returns_letters(
    lab: Lab, keeper: Keeper
) -> None:
    ada = await enter(keeper, 1)
    bob = await enter(keeper, 2)
    await keeper.commit(lambda _: keeper.tx.deliver(Player, 2, "hello"), ada)
    await keeper.commit(earn, bob, ops=(Op(1, b"earn"),))
    await bob.logout()
    beside = {key for key in lab.store.live_keys() if key.startswith("rover:2")}
    assert beside == {f"rover:2{each}" for each in ("", ":inbox", ":ops", ":updated", ":version")}
    await keeper.commit(lambda _: keeper.tx.delete(Player, 2), ada)
    left = sorted(key for key in lab.store.live_keys() if key.startswith("rover:2"))
    assert left == ["rover:2:inbox", "rover:2:updated"], "letters are not its own"
    await lab.advance(61)
    assert [key for key in lab.store.live_keys() if key.startswith("rover:2")] == []
    (back,) = lab.store.entries("rover:1:inbox") + lab.store.entries("rover:1:kept")
    assert b"hello" in back


async def test_a_record_that_somebody_owns_is_not_deleted(lab: Lab, keeper: Keeper) -> None:
    ada, _ = await enter(keeper, 1), await enter(keeper, 2)
    with pytest.raises(AlreadyExists, match="rover:2:owner"):
        await keeper.commit(lambda _: keeper.tx.delete(Player, 2), ada)
    assert kept(lab, 2).gold == 100


async def test_a_record_made_anew_under_a_deleted_id_goes_on_with_higher_revisions(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    await bob.logout()
    highest = int(lab.store.value("rover:2:updated") or b"0")
    await keeper.commit(lambda _: keeper.tx.delete(Player, 2), ada)
    await lab.advance(0.001)
    await enter(keeper, 2)
    assert int(lab.store.value("rover:2:updated") or b"0") > highest


async def test_the_transaction_is_usable_only_while_the_function_runs(keeper: Keeper) -> None:
    ada = await enter(keeper)
    kept_tx: list[Tx] = []
    await keeper.commit(lambda _: kept_tx.append(keeper.tx), ada)
    (tx,) = kept_tx
    over = r"this transaction is over.*ask keeper\.tx anew"
    with pytest.raises(Misuse, match=over):
        tx.deliver(Player, 2, "late")
    with pytest.raises(Misuse, match=over):
        tx.create(Guild, 1, Guild())
    with pytest.raises(Misuse, match=over):
        tx.delete(Guild, 1)


async def test_a_keeper_has_a_transaction_only_while_a_function_of_its_own_runs(lab: Lab, keeper: Keeper) -> None:
    north = await lab.server("north")
    ada = await enter(keeper)
    none = r"no commit of this keeper runs.*inside a function given to keeper\.commit"

    def looks(player: Player) -> None:
        keeper.tx.deliver(Player, 1, "hello")
        with pytest.raises(Misuse, match=none):
            _ = north.tx
        if not player.gold:
            raise NotEnough
        player.gold = 0

    for _ in range(2):  # the second raises
        with pytest.raises(Misuse, match=none):
            _ = keeper.tx
        with contextlib.suppress(NotEnough):
            await keeper.commit(looks, ada)
    with pytest.raises(Misuse, match=none):
        _ = keeper.tx
    assert len(lab.store.entries("rover:1:inbox")) == 1


async def test_commits_do_not_nest(lab: Lab, keeper: Keeper) -> None:
    """A coroutine that is started eagerly runs inside the function; its commit would be undone with the outer one."""
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)

    def starts_another(player: Player) -> None:
        with pytest.raises(Misuse, match="commits do not nest"):
            keeper.commit(earn, bob).send(None)
        keeper.tx.deliver(Player, 2, "still here")

    await keeper.commit(starts_another, ada)
    assert bob.record.gold == 100
    assert len(lab.store.entries("rover:2:inbox")) == 1


async def test_a_released_shared_record_takes_no_more_commits(keeper: Keeper) -> None:
    guild = await keeper.hold(Guild, 1, create=Guild)
    await guild.release()
    with pytest.raises(SessionEnded, match="log in again"):
        await keeper.commit(changes_nothing, guild)
