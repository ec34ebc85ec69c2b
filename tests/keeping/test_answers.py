"""What a handler tells a client: ack, refused, pending or undecided; nothing is decided twice for one operation."""

import asyncio
from typing import Any

import pytest

from keeping.game import NotEnough, Player, earn, enter, kept, pay
from realmkeep import Ack, Answer, Pending, Rejected, Undecided, answer
from realmkeep.config import KeeperConfig
from realmkeep.errors import CommitUnknown, Misuse, OpReused, OpTooOld, QueueFull, SessionEnded, TierViolation
from realmkeep.keeping import Keeper, Op, Receipt, Session
from realmkeep.testing.faulty import NONE, reject
from realmkeep.testing.lab import Lab

OP = Op(7, b"attack 3")


async def never() -> Receipt[Any]:
    raise AssertionError("an operation that was applied before is decided again")


async def test_an_operation_is_acknowledged_with_its_result(keeper: Keeper) -> None:
    ada = await enter(keeper)
    assert await answer(ada, OP, lambda: keeper.commit(earn, ada, ops=(OP,))) == Ack(110, repeated=False)


async def test_a_killing_blow_that_is_sent_again_does_not_find_the_risen_victim(lab: Lab, keeper: Keeper) -> None:
    """The decision before the commit: who stands there. It is not asked again, also after a restart."""
    ada = await enter(keeper)
    standing = ["wolf", "bear"]
    fallen: list[str] = []

    async def attack(session: Session[Player], op: Op) -> Answer[str]:
        async def act() -> Receipt[str]:
            victim = standing.pop(0)

            def loot(player: Player) -> str:
                player.gold += 5
                return victim

            receipt = await lab.keeper.commit(loot, session, ops=(op,))
            fallen.append(victim)
            return receipt

        return await answer(session, op, act)

    assert await attack(ada, OP) == Ack("wolf", repeated=False)
    assert await attack(ada, OP) == Ack("wolf", repeated=True)
    ada = await enter(await lab.restart())
    assert await attack(ada, OP) == Ack("wolf", repeated=True)
    assert (fallen, kept(lab).gold) == (["wolf"], 105)


async def test_an_operation_on_its_way_is_waited_for_and_not_acknowledged_before(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().down = True
    first = asyncio.create_task(answer(ada, OP, lambda: keeper.commit(earn, ada, ops=(OP,))))
    await lab.clock.settle()
    again = asyncio.create_task(answer(ada, OP, never))
    await lab.advance(1)
    assert not again.done()
    lab.line().down = False
    assert (await lab.finish(first), await lab.finish(again)) == (Ack(110, repeated=False), Ack(110, repeated=True))


async def test_a_store_that_does_not_answer_is_pending_until_it_does(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().down = True
    pending = await answer(ada, OP, lambda: keeper.commit(earn, ada, ops=(OP,)))
    repeated = await answer(ada, OP, never)
    assert isinstance(pending, Pending)
    assert isinstance(repeated, Pending)
    lab.line().down = False
    assert await pending.wait() == Ack(110, repeated=False)
    assert await repeated.wait() == Ack(110, repeated=True)


@pytest.mark.parametrize(("arrived", "told"), [(False, Rejected), (True, Undecided)])
async def test_an_operation_whose_record_was_taken_meanwhile_is_refused_or_undecided(
    lab: Lab, keeper: Keeper, *, arrived: bool, told: type[Rejected | Undecided]
) -> None:
    ada = await enter(keeper)
    zone = await lab.server("zone-2")
    if arrived:
        lab.lose_next_reply()
        lab.line().plan = lambda method: reject() if method == "load_many" else NONE
    else:
        lab.line().down = True
    first = asyncio.create_task(answer(ada, OP, lambda: keeper.commit(earn, ada, ops=(OP,))))
    await lab.clock.settle()
    lab.line().down = True
    pending = await first
    assert isinstance(pending, Pending)
    await lab.advance(60)
    taken = await enter(zone)
    assert taken.record.gold == (110 if arrived else 100)
    lab.line().plan = lambda _: NONE
    lab.line().down = False
    lost = await pending.wait()
    assert isinstance(lost, told)
    assert isinstance(lost.error, CommitUnknown) is arrived


async def test_whatever_did_not_happen_is_refused_with_its_reason(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    for number in range(10, 50):
        await keeper.commit(earn, ada, ops=(Op(number),))
    too_old = await answer(ada, OP, never)
    reused = await answer(ada, Op(49, b"another"), never)
    for refused, kind in ((too_old, OpTooOld), (reused, OpReused)):
        assert isinstance(refused, Rejected)
        assert type(refused.error) is kind
    await ada.logout()
    ended = await answer(ada, Op(60), lambda: keeper.commit(earn, ada, ops=(Op(60),)))
    assert isinstance(ended, Rejected)
    assert type(ended.error) is SessionEnded
    assert kept(lab).gold == 500


async def test_a_full_queue_is_refused_and_may_be_tried_again() -> None:
    async with Lab(config=KeeperConfig(queue_max=16)) as lab:
        ada = await enter(lab.keeper)
        guests = [await enter(lab.keeper, number) for number in range(2, 20)]
        lab.line().down = True
        some = [asyncio.create_task(lab.keeper.commit(earn, guest)) for guest in guests[:16]]
        await lab.clock.settle()
        full = await answer(ada, OP, lambda: lab.keeper.commit(earn, ada, ops=(OP,)))
        assert isinstance(full, Rejected)
        assert type(full.error) is QueueFull
        assert full.error.retryable
        lab.line().down = False
        await lab.finish(asyncio.gather(*some))


async def test_only_a_function_that_makes_a_commit_is_taken(keeper: Keeper) -> None:
    ada = await enter(keeper)
    begun: Any = keeper.commit(earn, ada, ops=(OP,))
    with pytest.raises(Misuse, match=r"answer got a coroutine \(pass an `async def`"):
        await answer(ada, OP, begun)
    nothing: Any = lambda: None  # noqa: E731 - of the wrong type on purpose
    with pytest.raises(Misuse, match=r"answer returned None \(pass an `async def`"):
        await answer(ada, OP, nothing)
    assert ada.record.gold == 100


async def test_a_bug_of_the_game_and_its_own_refusal_pass_through(keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    with pytest.raises(NotEnough):
        await answer(ada, OP, lambda: keeper.commit(lambda a, b: pay(a, b, 5000), ada, bob, ops=(OP, None)))
    with pytest.raises(Misuse, match="same session twice"):
        await answer(ada, OP, lambda: keeper.commit(pay, ada, ada, ops=(OP, None)))

    async def outside() -> Receipt[None]:
        ada.record.gold = 5
        raise AssertionError

    with pytest.raises(TierViolation):
        await answer(ada, OP, outside)
    assert ada.record.gold == 100
