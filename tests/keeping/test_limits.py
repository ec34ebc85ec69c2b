"""The rate limit: ten tier-1 operations a second for the player who starts them."""

import asyncio
import logging

import pytest

from keeping.game import Guild, Player, deposit, earn, enter, kept, pay
from realmkeep.config import KeeperConfig
from realmkeep.errors import RateLimited
from realmkeep.keeping import Keeper, Op
from realmkeep.testing.lab import Lab


async def test_ten_at_once_run_at_once_and_without_a_warning(keeper: Keeper, caplog: pytest.LogCaptureFixture) -> None:
    ada = await enter(keeper)
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            await keeper.commit(earn, ada)
    assert ada.record.gold == 200
    assert caplog.records == []


async def test_the_excess_waits_its_turn_in_order_and_warns_once(
    lab: Lab, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await enter(keeper)
    began_s = lab.clock.monotonic_s()
    done: list[tuple[int, int]] = []

    async def one(number: int) -> None:
        await keeper.commit(earn, ada)
        done.append((number, round((lab.clock.monotonic_s() - began_s) * 1000)))

    await lab.finish(asyncio.gather(*(one(number) for number in range(15))))
    assert done == [(number, max(0, number - 9) * 100) for number in range(15)]
    assert [record.message for record in caplog.records if "tier-1 operations a second" in record.message] == [
        "rover:1 starts more than 10 tier-1 operations a second; the excess waits"
    ]


async def test_beyond_the_queue_the_game_may_kick(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    waiting = [asyncio.create_task(keeper.commit(earn, ada)) for _ in range(10 + 32)]
    await lab.clock.settle()
    with pytest.raises(RateLimited, match=r"rover:1 has 32 tier-1 operations waiting.*kick") as caught:
        await keeper.commit(earn, ada)
    assert caught.value.retryable
    await lab.finish(asyncio.gather(*waiting))
    assert kept(lab).gold == 100 + 42 * 10


async def test_over_a_minute_no_more_than_the_rate_gets_through(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    done: list[float] = []

    async def greedy() -> None:
        while lab.clock.monotonic_s() < began_s + 60:
            await keeper.commit(earn, ada)
            done.append(lab.clock.monotonic_s())

    began_s = lab.clock.monotonic_s()
    await lab.finish(asyncio.gather(*(greedy() for _ in range(5))))
    assert len([at_s for at_s in done if at_s <= began_s + 60]) == 10 + 60 * 10


async def test_only_the_player_who_starts_is_counted(keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1, gold=1000), await enter(keeper, 2, gold=1000)
    for _ in range(10):
        await keeper.commit(pay, ada, bob)
    for _ in range(10):
        await keeper.commit(pay, bob, ada)
    assert ada.record.gold == 1000


async def test_escalations_are_never_limited(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    for level in range(2, 60):
        ada.record.level = level
        await ada.settled()
    assert kept(lab).level == 59
    await keeper.commit(earn, ada)


async def test_shared_records_are_never_limited(lab: Lab, keeper: Keeper) -> None:
    guild = await keeper.hold(Guild, 1, create=Guild)
    members = [await enter(keeper, number) for number in range(20)]
    for member in members:
        await keeper.commit(deposit, member, guild)
        await keeper.commit(lambda held: setattr(held, "motto", "all for one"), guild)
    stored = lab.stored(Guild, 1)
    assert stored is not None
    assert stored.gold == 20


async def test_answers_from_the_ring_are_never_limited(keeper: Keeper) -> None:
    ada = await enter(keeper)
    for _ in range(50):
        await keeper.commit(earn, ada, ops=(Op(1),))
    assert ada.record.gold == 110


async def test_the_rate_is_a_setting() -> None:
    async with Lab(config=KeeperConfig(tier1_rate_per_s=2, tier1_queue_max=1)) as lab:
        ada = await enter(lab.keeper)
        commits = [asyncio.create_task(lab.keeper.commit(earn, ada)) for _ in range(4)]
        await lab.clock.settle()
        assert [commit.done() for commit in commits] == [True, True, False, True]
        assert isinstance(commits[3].exception(), RateLimited)
        await lab.finish(commits[2])


async def test_a_player_s_record_is_untouched_by_what_was_limited(lab: Lab) -> None:
    async with Lab(config=KeeperConfig(tier1_rate_per_s=1, tier1_queue_max=1)) as slow:
        ada: Player = (await enter(slow.keeper)).record
        session = slow.keeper.session(Player, 1)
        assert session is not None
        await slow.keeper.commit(earn, session)
        waits = asyncio.create_task(slow.keeper.commit(earn, session))
        await slow.clock.settle()
        with pytest.raises(RateLimited):
            await slow.keeper.commit(earn, session)
        assert ada.gold == 110
        await slow.finish(waits)
        assert ada.gold == 120
