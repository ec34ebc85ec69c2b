"""Letters: delivered in the sender's transaction, applied exactly once by whoever owns the receiver."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from keeping.game import NotEnough, Player, enter, enter_and_read, hooks_of, kept, make
from realmkeep.errors import Misuse
from realmkeep.keeping import Hooks, Keeper, Op, Session
from realmkeep.keeping.letters.inboxes import LETTERS_A_COMMIT
from realmkeep.testing.faulty import NONE, delay, reject
from realmkeep.testing.lab import Lab


def mailbox(hooks: Hooks) -> Hooks:
    """Gold comes out of letters; the diary says in which order."""

    @hooks.on_letter(Player)
    def _(player: Player, letter: dict[str, int]) -> None:
        player.gold += letter["gold"]
        player.diary += f"{letter['gold']} "

    return hooks


def send(keeper: Keeper, sender: Player, *, to: int = 2, gold: int = 10) -> int:
    sender.gold -= gold
    keeper.tx.deliver(Player, to, {"gold": gold})
    return sender.gold


def wealth(lab: Lab) -> int:
    """All gold there is: in the records and in the letters, as the store has it."""
    stored = [lab.stored(Player, number) for number in (1, 2)]
    letters = lab.store.entries("rover:2:inbox")
    return sum(player.gold for player in stored if player is not None) + 10 * len(letters)


@pytest.fixture
async def post(lab: Lab) -> Lab:
    mailbox(hooks_of(lab.keeper))
    await make(lab.keeper, 2)
    return lab


async def test_a_letter_to_a_player_who_is_offline_is_applied_soon_after_login(post: Lab) -> None:
    await (await enter(post.keeper, 2)).logout()
    ada = await enter(post.keeper, 1)
    await post.keeper.commit(partial(send, post.keeper), ada)
    assert (kept(post, 1).gold, kept(post, 2).gold, len(post.store.entries("rover:2:inbox"))) == (90, 100, 1)
    bob = await enter(post.keeper, 2)
    await bob.open_letters()
    assert (bob.record.gold, kept(post, 2).gold) == (110, 110)
    assert post.store.entries("rover:2:inbox") == []


async def test_a_letter_to_a_player_of_this_server_is_applied_at_once(post: Lab) -> None:
    ada, bob = await enter(post.keeper, 1), await enter(post.keeper, 2)
    await post.keeper.commit(partial(send, post.keeper), ada)
    await post.clock.settle()
    assert (bob.record.gold, kept(post, 2).gold) == (110, 110)


async def test_a_letter_to_a_player_of_another_server_is_applied_on_notice(post: Lab) -> None:
    other = await post.server("lab-2")
    mailbox(hooks_of(other))
    ada, bob = await enter(post.keeper, 1), await enter(other, 2)
    await post.keeper.commit(partial(send, post.keeper), ada)
    await post.advance(1.5)
    assert (bob.record.gold, kept(post, 2).gold) == (110, 110)


async def test_a_notice_that_the_store_did_not_take_is_sent_again(post: Lab) -> None:
    other = await post.server("lab-2")
    mailbox(hooks_of(other))
    ada, bob = await enter(post.keeper, 1), await enter(other, 2)
    post.line().script("load_many", reject())
    post.line().script("write", NONE, reject())
    await post.keeper.commit(partial(send, post.keeper), ada)
    await post.advance(5)
    assert (bob.record.gold, kept(post, 2).gold) == (110, 110)


async def test_letters_are_applied_in_the_order_in_which_they_were_sent(post: Lab) -> None:
    ada = await enter(post.keeper, 1)
    await post.keeper.commit(lambda player: [send(post.keeper, player, gold=gold) for gold in (1, 2, 3)], ada)
    await post.keeper.commit(partial(send, post.keeper), ada)
    assert (await enter_and_read(post.keeper, 2)).record.diary == "1 2 3 10 "


async def test_a_commit_that_fails_delivers_nothing(post: Lab) -> None:
    ada = await enter(post.keeper, 1)

    def fails(player: Player) -> None:
        send(post.keeper, player)
        raise NotEnough

    with pytest.raises(NotEnough):
        await post.keeper.commit(fails, ada)
    assert post.store.entries("rover:2:inbox") == []


async def test_a_letter_to_a_record_whose_owner_cannot_be_read_waits_there_and_breaks_nothing(post: Lab) -> None:
    await (await enter(post.keeper, 2)).logout()
    await post.line().save("rover:2:owner", b"somebody")
    ada = await enter(post.keeper, 1)
    await post.keeper.commit(partial(send, post.keeper), ada)
    await post.advance(2)
    assert post.keeper.degraded == ()
    assert len(post.store.entries("rover:2:inbox")) == 1


async def test_a_full_inbox_is_applied_in_a_few_commits(post: Lab) -> None:
    ada = await enter(post.keeper, 1, gold=1000)
    letters = 2 * LETTERS_A_COMMIT + 5
    await post.keeper.commit(lambda player: [send(post.keeper, player, gold=1) for _ in range(letters)], ada)
    assert (await enter_and_read(post.keeper, 2)).record.gold == 100 + letters
    assert post.store.entries("rover:2:inbox") == []


async def test_a_letter_that_cannot_be_applied_is_kept_aside_and_does_not_hold_up_the_others(
    post: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await enter(post.keeper, 1)

    def sends(player: Player) -> None:
        send(post.keeper, player)
        post.keeper.tx.deliver(Player, 2, {"a hook": "that knows no such letter"})
        post.keeper.tx.deliver(Player, 2, {"gold": -10_000})  # the record would be invalid
        send(post.keeper, player)

    await post.keeper.commit(sends, ada)
    with caplog.at_level(logging.ERROR):
        bob = await enter_and_read(post.keeper, 2)
    assert (bob.record.gold, kept(post, 2).gold) == (120, 120)
    assert len(post.store.entries("rover:2:kept")) == 2
    assert caplog.text.count("a letter to rover:2 cannot be applied; it is kept") == 2
    assert post.keeper.status().letters_kept_aside == 2
    assert post.store.entries("rover:2:inbox") == []


async def test_without_a_hook_letters_stay_and_the_log_says_what_to_do(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await enter(lab.keeper, 1)
    await make(lab.keeper, 2)
    await lab.keeper.commit(partial(send, lab.keeper), ada)
    await enter(lab.keeper, 2)
    assert "register hooks.on_letter" in caplog.text
    assert len(lab.store.entries("rover:2:inbox")) == 1


async def test_a_login_does_not_fail_because_its_letters_cannot_be_read_now(post: Lab) -> None:
    ada = await enter(post.keeper, 1)
    await post.keeper.commit(partial(send, post.keeper), ada)
    post.line().script("load_list", reject())
    bob = await enter(post.keeper, 2)
    assert bob.record.gold == 100
    await post.advance(2)
    assert bob.record.gold == 110


@pytest.mark.parametrize(("letter", "said"), [(object(), "cannot be stored"), ("x" * 70_000, "bytes")])
async def test_a_letter_that_cannot_be_stored_is_refused_where_it_is_sent(post: Lab, letter: object, said: str) -> None:
    ada = await enter(post.keeper, 1)
    with pytest.raises(Misuse, match=said):
        await post.keeper.commit(lambda _: post.keeper.tx.deliver(Player, 2, letter), ada)


async def test_what_a_letter_changed_is_told_when_it_is_durable_in_order_with_what_the_hook_returned(
    lab: Lab, keeper: Keeper
) -> None:
    told: list[tuple[str, object, object, int]] = []

    @hooks_of(keeper).on_letter(Player)
    def apply(player: Player, letter: dict[str, int]) -> str:
        player.gold += letter["gold"]
        return f"{player.gold} in all"

    @hooks_of(keeper).on_letter_settled(Player)
    def tell_client(session: Session[Player], letter: Any, result: Any) -> None:
        told.append((session.id, letter, result, kept(lab, 2).gold))

    ada, _ = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().plan = lambda method: delay(0.5, 0.5) if method == "write" else NONE
    await lab.finish(keeper.commit(lambda player: [send(keeper, player, gold=gold) for gold in (1, 2)], ada))
    await lab.advance(0.5)
    assert told == []
    await lab.advance(2)
    assert told == [("2", {"gold": 1}, "101 in all", 103), ("2", {"gold": 2}, "103 in all", 103)]


async def test_a_letter_that_did_not_stay_applied_is_not_told(post: Lab, keeper: Keeper) -> None:
    """Its owner was replaced while the commit was under way: the new owner applies it, and tells."""
    told: list[int] = []
    hooks_of(keeper).on_letter_settled(Player)(lambda session, letter, result: told.append(1))
    ada = await enter(keeper, 1)
    await enter(keeper, 2)
    await keeper.commit(partial(send, keeper), ada)
    assert told == []
    post.line().down = True
    await post.advance(40)
    other = await post.server("lab-2")
    mailbox(hooks_of(other))
    hooks_of(other).on_letter_settled(Player)(lambda session, letter, result: told.append(2))
    assert (await post.finish(enter(other, 2))).record.gold == 110
    post.line().down = False
    await post.advance(10)
    assert told == [2]


async def test_a_letter_that_is_kept_aside_is_not_told(post: Lab, keeper: Keeper) -> None:
    told: list[object] = []
    hooks_of(keeper).on_letter_settled(Player)(lambda _, letter, __: told.append(letter))
    ada = await enter(keeper, 1)

    def sends(player: Player) -> None:
        send(keeper, player)
        keeper.tx.deliver(Player, 2, {"a hook": "that knows no such letter"})

    await keeper.commit(sends, ada)
    await enter_and_read(keeper, 2)
    assert told == [{"gold": 10}]


Crash = Callable[[Lab], Awaitable[None]]


async def sender_crashes(lab: Lab) -> None:
    await lab.crash("lab-1")


async def receiver_crashes(lab: Lab) -> None:
    await lab.crash("lab-2")


async def both_crash(lab: Lab) -> None:
    await lab.crash("lab-1")
    await lab.crash("lab-2")


async def store_is_away(lab: Lab) -> None:
    lab.line("lab-1").down = lab.line("lab-2").down = True
    await lab.advance(3)
    lab.line("lab-1").down = lab.line("lab-2").down = False


@pytest.mark.parametrize("receiver_is_here_first", [True, False])
@pytest.mark.parametrize("crash", [sender_crashes, receiver_crashes, both_crash, store_is_away])
async def test_a_letter_is_applied_exactly_once_whoever_crashes_at_whatever_step(
    crash: Crash,
    receiver_is_here_first: bool,
) -> None:
    """Crashed after every number of turns of the event loop until the letter is applied; then the sender retries."""
    outcomes: set[str] = set()
    over = False
    for turns in range(400):
        async with Lab(hooks=mailbox(Hooks())) as lab:
            other = await lab.server("lab-2")
            await (await enter(other, 2)).logout()
            await enter(lab.keeper, 1)
            bob = await enter(other, 2) if receiver_is_here_first else None
            story = asyncio.create_task(tell(lab, other, receiver_is_here=bob is not None))
            for _ in range(turns):
                if story.done():
                    break
                await asyncio.sleep(0)
            over = story.done()
            outcomes.add(f"{kept(lab, 1).gold} {len(lab.store.entries('rover:2:inbox'))} {kept(lab, 2).gold}")
            await crash(lab)
            assert wealth(lab) == 200
            story.cancel()
            await asyncio.wait([story])
            await come_back(lab)
            assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)
            assert lab.store.entries("rover:2:inbox") == []
        if over:
            break
    assert over
    assert {"100 0 100", "90 1 100", "90 0 110"} <= outcomes


async def tell(lab: Lab, other: Keeper, *, receiver_is_here: bool) -> None:
    ada = lab.keeper.session(Player, 1)
    assert ada is not None
    await lab.keeper.commit(partial(send, lab.keeper), ada, ops=(Op(1, b"send"),))
    if receiver_is_here:
        bob = other.session(Player, 2)
        assert bob is not None
        await bob.open_letters()  # as on notice, without the second that a notice may take
    else:
        await enter_and_read(other, 2)


async def come_back(lab: Lab) -> None:
    """Whoever crashed is started again; the client sends its operation again, as it had no answer.

    The receiver comes anew in any case: the notice may have been lost with the sender.
    """
    for name in ("lab-1", "lab-2"):
        if lab.keeper_of(name) is None:
            await lab.restart(name)
    for name, number in (("lab-1", 1), ("lab-2", 2)):
        keeper = lab.keeper_of(name)
        assert keeper is not None
        session = keeper.session(Player, number) or await lab.finish(enter(keeper, number))
        if number == 1:
            await lab.finish(keeper.commit(partial(send, keeper), session, ops=(Op(1, b"send"),)))
        else:
            await lab.finish(session.logout())
            await lab.finish(enter(keeper, number))
    await lab.advance(5)
