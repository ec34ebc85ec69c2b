"""The errors of the first day, each with a message that says what to do."""

import asyncio
from typing import Any

import pytest

from keeping.game import Guild, Item, Player, changes_nothing, earn, enter, kept, pay
from realmkeep.config import KeeperConfig
from realmkeep.errors import InvalidKey, Misuse, NameTaken, OwnershipLost, RecordError, SessionEnded, TierViolation
from realmkeep.keeping import Keeper, Op, Session
from realmkeep.testing.lab import Lab


async def test_a_coroutine_function_as_the_body_of_a_commit(keeper: Keeper) -> None:
    async def body(player: Player) -> None:
        player.gold += 1

    async def body_of_all(players: list[Player]) -> None:
        await body(*players)

    ada = await enter(keeper)
    with pytest.raises(Misuse, match=r"body is a coroutine function; a commit runs without awaiting.*plain `def"):
        await keeper.commit(body, ada)
    with pytest.raises(Misuse, match="coroutine function"):
        await keeper.commit_all(body_of_all, [ada])
    assert ada.record.gold == 100


async def test_a_function_that_returns_an_awaitable_is_found_and_undone(lab: Lab, keeper: Keeper) -> None:
    async def later() -> None:
        pytest.fail("it ran")

    def body(player: Player) -> object:
        player.gold += 1
        return later()

    ada = await enter(keeper)
    with pytest.raises(Misuse, match=r"returned a coroutine, an awaitable.*runs without awaiting"):
        await keeper.commit(body, ada)
    assert ada.record.gold == kept(lab).gold == 100


async def test_the_same_session_twice(keeper: Keeper) -> None:
    ada = await enter(keeper)
    with pytest.raises(Misuse, match=r"the same session twice.*does not trade with itself"):
        await keeper.commit(pay, ada, ada)


async def test_a_plain_record_where_a_session_belongs(keeper: Keeper) -> None:
    ada = await enter(keeper)
    wrong: Any = ada.record
    with pytest.raises(Misuse, match=r"got a Player where a session belongs.*login or hold returned, not its record"):
        await keeper.commit(earn, wrong)


async def test_none_of_a_login_that_found_nobody(keeper: Keeper) -> None:
    nobody: Any = await keeper.login(Player, 1)
    with pytest.raises(Misuse, match="got a NoneType where a session belongs"):
        await keeper.commit(earn, nobody)


async def test_more_ops_than_sessions(keeper: Keeper) -> None:
    ada = await enter(keeper)
    ops: Any = (Op(1), Op(2))
    with pytest.raises(Misuse, match=r"2 ops for 1 sessions.*op of the first"):
        await keeper.commit(earn, ada, ops=ops)


async def test_no_sessions_at_all(keeper: Keeper) -> None:
    nobody: list[Session[Player]] = []
    with pytest.raises(Misuse, match="at least one record"):
        await keeper.commit_all(changes_nothing, nobody)


async def test_more_sessions_than_a_transaction_takes(lab: Lab, keeper: Keeper) -> None:
    everybody = [await enter(keeper, number) for number in range(150)]

    def tax(players: list[Player]) -> None:
        for player in players:
            player.gold -= 1

    with pytest.raises(Misuse, match=r"150 sessions.*split it"):
        await keeper.commit_all(tax, everybody)
    assert all(session.record.gold == 100 for session in everybody)
    await keeper.commit_all(tax, everybody[:140])
    assert [kept(lab, number).gold for number in (0, 139, 140)] == [99, 99, 100]


async def test_a_result_that_cannot_be_stored(keeper: Keeper) -> None:
    ada = await enter(keeper)
    with pytest.raises(Misuse, match="return None, numbers, text, lists or dictionaries"):
        await keeper.commit(lambda _player: {1j}, ada, ops=(Op(1),))


async def test_a_record_of_another_class_in_create(keeper: Keeper) -> None:
    ada = await enter(keeper)
    wrong: Any = Player()
    with pytest.raises(Misuse, match=r"tx\.create of a Guild got a Player"):
        await keeper.commit(lambda _: keeper.tx.create(Guild, 1, wrong), ada)


async def test_a_record_of_another_class_at_login(lab: Lab, keeper: Keeper) -> None:
    wrong: Any = Guild
    with pytest.raises(Misuse, match=r"create made a Guild for rover:1.*make a Player"):
        await keeper.login(Player, 1, create=wrong)
    assert lab.store.value("rover:1") is None


async def test_a_new_record_that_cannot_be_stored(lab: Lab, keeper: Keeper) -> None:
    for wrong in (Player(diary="x" * 70_000), Player(gold=-1)):
        with pytest.raises(RecordError):
            await keeper.login(Player, 1, create=lambda wrong=wrong: wrong)
    assert lab.store.value("rover:1") is None


async def test_an_id_that_cannot_stand_in_a_key(keeper: Keeper) -> None:
    for wrong in ("a:b", "", -1, "x" * 200):
        with pytest.raises(InvalidKey):
            await keeper.login(Player, wrong)


async def test_a_change_outside_a_commit_that_belongs_inside_names_the_field(keeper: Keeper) -> None:
    ada = await enter(keeper)
    with pytest.raises(TierViolation, match=r"rover:1: bank is IMMEDIATE.*move the change into keeper\.commit"):
        ada.record.bank = [Item("ring")]


@pytest.mark.parametrize("strict", [True, False])
async def test_a_change_after_ownership_was_lost_raises_in_strict_and_is_counted_in_production(strict: bool) -> None:
    async with Lab(strict=strict) as lab:
        ada = await enter(lab.keeper)
        other = await lab.server("lab-2")
        lab.line().down = True
        await lab.advance(40)
        await enter(other)
        lab.line().down = False
        ada.record.hp = 0
        await lab.advance(5)
        if strict:
            with pytest.raises(OwnershipLost, match=r"was lost.*on_lost_ownership"):
                ada.record.xp += 1
            assert ada.record.xp == 0
        else:
            ada.record.xp += 1
        assert lab.keeper.status().changes_after_end == 1
        await lab.advance(60)
        assert kept(lab).xp == 0


async def test_two_keepers_of_one_name_in_one_process(lab: Lab, keeper: Keeper) -> None:
    with pytest.raises(NameTaken, match=r"'lab-1' is alive.*every server of a realm a name of its own"):
        await Keeper.open(lab.line(), config=KeeperConfig(name="lab-1"), clock=lab.clock)
    assert not keeper.degraded


async def test_a_session_that_is_over_in_a_commit(keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    await bob.logout()
    with pytest.raises(SessionEnded, match=r"rover:2 is ended.*log in again"):
        await keeper.commit(pay, ada, bob)
    assert ada.record.gold == 100


async def test_a_thread_with_an_event_loop_of_its_own_is_refused_and_stops_no_writes() -> None:
    async with Keeper.open("memory://") as keeper:
        ada = await enter(keeper)
        for work in (lambda: keeper.commit(earn, ada), lambda: keeper.login(Player, 2, create=Player)):
            with pytest.raises(Misuse, match=r"another event loop.*run_coroutine_threadsafe"):
                await asyncio.to_thread(asyncio.run, work())
        await keeper.commit(earn, ada)
        assert ada.record.gold == 110


async def test_the_keeper_of_a_commit_within_a_commit_is_told_nothing_strange(lab: Lab, keeper: Keeper) -> None:
    """The inner one is a coroutine that nobody awaits: found, as any awaitable that comes back."""
    ada = await enter(keeper)
    with pytest.raises(Misuse, match="awaitable"):
        await keeper.commit(lambda _player: keeper.commit(earn, ada), ada)
    await asyncio.sleep(0)
    assert kept(lab).gold == 100
