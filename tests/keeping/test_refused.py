"""Refused: another server owns the record. One session ends, the others go on."""

import asyncio
from itertools import pairwise

import pytest

from keeping.game import Player, earn, enter, hooks_of, kept, pay, swap_names
from realmkeep.errors import AlreadyExists, CommitRefused, OwnershipLost
from realmkeep.keeping import Keeper, Op, Session
from realmkeep.testing.faulty import delay
from realmkeep.testing.lab import Lab

PAUSE_S = 40.0  # longer than a lease lives


async def take_over(lab: Lab, *numbers: int, pause_s: float = PAUSE_S) -> Keeper:
    """The first server is cut off for so long that a second one owns these players; then the line is back."""
    other = await lab.server("lab-2")
    lab.line().down = True
    await lab.advance(pause_s)
    for number in numbers:
        await enter(other, number)
    lab.line().down = False
    return other


async def test_the_writes_of_a_server_that_was_replaced_are_refused(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    other = await take_over(lab, 1)
    with pytest.raises(OwnershipLost, match=r"rover:1.*tell the client to reconnect") as caught:
        await lab.finish(keeper.commit(earn, ada))
    assert caught.value.outcome == "not_applied"
    assert kept(lab).gold == 100
    theirs = other.session(Player, 1)
    assert theirs is not None
    await other.commit(earn, theirs)
    assert kept(lab).gold == 110


async def test_the_session_of_the_lost_owner_ends_and_the_game_is_told_once(lab: Lab, keeper: Keeper) -> None:
    lost: list[tuple[str, bool, str]] = []

    @hooks_of(keeper).on_lost_ownership(Player)
    def _(session: Session[Player], reason: str) -> None:
        lost.append((session.id, session.ended, reason))

    ada = await enter(keeper)
    await take_over(lab, 1)
    ada.record.hp = 0
    await lab.advance(60)
    assert [(number, ended) for number, ended, _ in lost] == [("1", True)]
    assert "lab-2" in lost[0][2]
    assert keeper.sessions(Player) == []
    assert keeper.status().lost == 1
    for later in (keeper.commit(earn, ada), ada.logout()):
        with pytest.raises(OwnershipLost, match="rover:1"):
            await later


async def test_the_other_sessions_of_the_transaction_are_as_before_it_and_go_on(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    bob.record.xp = 77  # batched, not yet durable
    await take_over(lab, 1, pause_s=PAUSE_S)
    with pytest.raises(CommitRefused, match="rover:1"):
        await lab.finish(keeper.commit(pay, ada, bob, ops=(Op(1), Op(1))))
    assert not bob.ended
    assert (bob.record.gold, bob.record.xp, bob.last_op) == (100, 77, 0)
    assert (await lab.finish(keeper.commit(earn, bob))).result == 110
    assert (kept(lab, 2).gold, kept(lab, 2).xp) == (110, 77)


async def test_what_the_others_had_batched_is_durable_after_a_refusal(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    await take_over(lab, 1)
    bob.record.xp = 5
    with pytest.raises(CommitRefused):
        await lab.finish(keeper.commit(pay, ada, bob))
    await lab.advance(3)
    assert kept(lab, 2).xp == 5


async def test_a_whole_chain_on_a_lost_record_is_refused_and_nothing_of_it_is_stored(lab: Lab, keeper: Keeper) -> None:
    players = [await enter(keeper, number) for number in range(5)]
    await take_over(lab, 0)
    lab.line().plan = lambda _: delay(0.2)
    commits = [asyncio.create_task(keeper.commit(pay, a, b)) for a, b in pairwise(players)]
    untouched = asyncio.create_task(keeper.commit(earn, await lab.finish(enter(keeper, 9))))
    await lab.finish(asyncio.wait([*commits, untouched]))
    assert all(isinstance(commit.exception(), CommitRefused | OwnershipLost) for commit in commits)
    assert untouched.result().result == 110
    await lab.advance(5)
    assert [kept(lab, number).gold for number in range(5)] == [100] * 5
    assert [session.record.gold for session in players[1:]] == [100] * 4


async def test_a_commit_that_creates_what_exists_is_refused_and_nothing_happened(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    await (await enter(keeper, 2)).logout()

    def gives_birth(player: Player) -> None:
        player.gold -= 50
        keeper.tx.create(Player, 2, Player(gold=50))

    with pytest.raises(AlreadyExists, match=r"rover:2 exists.*choose another id") as caught:
        await keeper.commit(gives_birth, ada)
    assert not caught.value.retryable
    assert ada.record.gold == 100
    assert kept(lab, 2).gold == 100


async def test_changes_after_a_commit_that_is_refused_are_undone_with_it(lab: Lab, keeper: Keeper) -> None:
    """They may have been built on it; what was before it stays."""
    ada = await enter(keeper)
    await lab.line().save("rover:9", b"somebody")
    ada.record.xp = 1
    lab.line().plan = lambda _: delay(0.5)

    def creates(player: Player) -> None:
        player.xp = 2
        keeper.tx.create(Player, 9, Player())

    commit = asyncio.create_task(keeper.commit(creates, ada))
    await lab.advance(0.1)
    ada.record.xp = 3
    await lab.finish(asyncio.wait([commit]))
    assert isinstance(commit.exception(), AlreadyExists)
    assert ada.record.xp == 1


async def test_two_players_of_one_trade_both_lost_are_both_told(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    await take_over(lab, 1, 2)
    with pytest.raises(CommitRefused, match="rover:1, rover:2"):
        await lab.finish(keeper.commit(swap_names, ada, bob))
    assert ada.ended
    assert bob.ended
