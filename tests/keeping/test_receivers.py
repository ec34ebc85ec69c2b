"""A letter needs a record that is there, and an inbox with room; the store looks, in the sender's own transaction."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from pathlib import Path

import pytest

from keeping.game import Guild, Player, enter, enter_and_read, hooks_of, kept, make, opens_letters, patiently, pay
from realmkeep.config import KeeperConfig
from realmkeep.errors import AlreadyExists, InboxFull, KeepingError, NoSuchReceiver
from realmkeep.keeping import Keeper, Op, Session, restore_rescued
from realmkeep.keeping.letters.inboxes import LATER_S
from realmkeep.keeping.letters.kept_letters import list_kept_letters
from realmkeep.keeping.writing.receivers import ReceiverConditions
from realmkeep.storage import Need
from realmkeep.storage.memory import MemoryStorage
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, delay
from realmkeep.testing.lab import Lab

MAX = 20


def send(keeper: Keeper, sender: Player, *, to: int = 2, letters: int = 1) -> int:
    for _ in range(letters):
        sender.gold -= 1
        keeper.tx.deliver(Player, to, {"gold": 1})
    return sender.gold


def inbox(lab: Lab, number: int = 2) -> int:
    return len(lab.store.entries(f"rover:{number}:inbox"))


@pytest.fixture
async def small() -> AsyncGenerator[Lab]:
    """Inboxes that hold twenty letters."""
    async with Lab(config=KeeperConfig(inbox_letters_max=MAX)) as lab:
        yield lab


async def test_a_letter_to_nobody_is_refused_and_nothing_happened(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    with pytest.raises(NoSuchReceiver, match=r"rover:2, which does not exist \(check the receiver") as caught:
        await keeper.commit(partial(send, keeper), ada, ops=(Op(1, b"send"),))
    assert isinstance(caught.value, KeepingError)
    assert (caught.value.retryable, caught.value.outcome) == (False, "not_applied")
    await ada.settled()
    assert (ada.record.gold, kept(lab).gold, ada.recorded(Op(1, b"send"))) == (100, 100, None)
    assert not lab.store.exists("rover:2:inbox")
    await make(keeper, 2)
    assert (await keeper.commit(partial(send, keeper), ada, ops=(Op(1, b"send"),))).result == 99
    assert inbox(lab) == 1


async def test_the_control_without_needs_a_letter_to_nobody_is_taken(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: ReceiverConditions) -> Iterator[Need]:
        return iter(())

    monkeypatch.setattr(ReceiverConditions, "needs", nothing)
    await keeper.commit(partial(send, keeper), await enter(keeper))
    assert inbox(lab) == 1


@pytest.mark.parametrize("made_first", [True, False])
async def test_a_letter_to_a_record_that_the_same_commit_makes_arrives(
    lab: Lab, keeper: Keeper, *, made_first: bool
) -> None:
    def founds(_: Player) -> None:
        if made_first:
            keeper.tx.create(Guild, 7, Guild())
        keeper.tx.deliver(Guild, 7, {"welcome": 1})
        if not made_first:
            keeper.tx.create(Guild, 7, Guild())

    ada = await enter(keeper)
    await keeper.commit(founds, ada)
    assert len(lab.store.entries("guild:7:inbox")) == 1
    with pytest.raises(AlreadyExists):
        await keeper.commit(founds, ada)
    assert len(lab.store.entries("guild:7:inbox")) == 1


async def test_a_letter_to_a_record_that_the_same_commit_has_deleted_is_refused(lab: Lab, keeper: Keeper) -> None:
    await make(keeper, 2)

    def ends(player: Player) -> None:
        keeper.tx.delete(Player, 2)
        send(keeper, player)

    ada = await enter(keeper)
    with pytest.raises(NoSuchReceiver):
        await keeper.commit(ends, ada)
    assert ada.record.gold == 100
    assert lab.store.exists("rover:2")


async def test_whoever_deletes_and_whoever_sends_at_once_leave_no_letter_to_nobody(lab: Lab) -> None:
    other = await lab.server("lab-2")
    for number in range(10, 40):
        await make(lab.keeper, number)
    ada, bob = await enter(lab.keeper, 1), await enter(other, 2)

    async def sends(to: int) -> bool:
        try:
            await lab.keeper.commit(lambda player: send(lab.keeper, player, to=to), ada)
        except NoSuchReceiver:
            return False
        return True

    letters = 0
    for number in range(10, 40):
        lab.line().script("write", delay(0.001 * (number % 3)))
        lab.line("lab-2").script("write", delay(0.001))
        sent, _ = await asyncio.gather(
            sends(number), other.commit(lambda _, number=number: other.tx.delete(Player, number), bob)
        )
        letters += sent
    await lab.advance(5)
    assert 0 < letters < 30
    assert ada.record.gold == 100 - letters
    assert (
        inbox(lab, 1) + sum(inbox(lab, number) for number in range(10, 40)) == letters
    )  # returned, or where it was sent


async def test_a_repeated_letter_whose_answer_was_lost_was_sent_though_its_receiver_is_gone(lab: Lab) -> None:
    await make(lab.keeper, 2)
    ada = await enter(lab.keeper)
    lab.line().script("write", LOSE_REPLY)
    await lab.keeper.commit(partial(send, lab.keeper), ada)
    await lab.keeper.commit(lambda _: lab.keeper.tx.delete(Player, 2), ada)
    assert (ada.record.gold, kept(lab).gold, inbox(lab)) == (99, 99, 1)
    (letter,) = await list_kept_letters(lab.line())
    assert (letter.record, letter.why) == ("rover:2", "no record")


async def test_one_whose_request_was_lost_is_refused_when_it_is_sent_again(lab: Lab) -> None:
    await make(lab.keeper, 2)
    ada = await enter(lab.keeper)
    lab.line().script("write", LOSE_REQUEST)
    sending = asyncio.ensure_future(lab.keeper.commit(partial(send, lab.keeper), ada))
    await asyncio.sleep(0)
    lab.store.remove("rover:2")
    with pytest.raises(NoSuchReceiver):
        await sending
    assert (ada.record.gold, kept(lab).gold, inbox(lab)) == (100, 100, 0)


async def test_what_is_built_on_a_refused_letter_is_taken_back_with_it_and_others_are_not(lab: Lab) -> None:
    keeper = lab.keeper
    ada, bob, eve = await enter(keeper, 1), await enter(keeper, 2), await enter(keeper, 3)
    outcomes = await asyncio.gather(
        keeper.commit(lambda player: send(keeper, player, to=9), ada),
        keeper.commit(pay, ada, bob),
        keeper.commit(partial(send, keeper), eve),
        return_exceptions=True,
    )
    assert [type(each).__name__ for each in outcomes] == ["NoSuchReceiver", "CommitRefused", "Receipt"]
    await ada.settled()
    assert [kept(lab, number).gold for number in (1, 2, 3)] == [100, 100, 99]


async def test_a_letter_that_healing_sends_again_lies_where_operators_see_it_if_its_receiver_is_gone() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        await make(lab.keeper, 2)
        ada = await enter(lab.keeper)
        before = lab.store.snapshot()
        await lab.keeper.commit(partial(send, lab.keeper), ada)
        lab.store.restore(before)
        lab.store.remove("rover:2")
        await lab.advance(30)
        assert (kept(lab).gold, inbox(lab)) == (99, 1)
        (letter,) = await list_kept_letters(lab.line())
        assert (letter.record, letter.why) == ("rover:2", "no record")
        await lab.keeper.commit(pay, ada, await enter(lab.keeper, 3))
        assert kept(lab).gold == 89


async def test_a_letter_to_nobody_is_refused_although_the_store_loses_data_meanwhile() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 3)
        await lab.advance(5)
        before = lab.store.snapshot()
        await lab.keeper.commit(pay, ada, bob)
        lab.store.restore(before)
        outcomes = await asyncio.gather(
            lab.keeper.commit(partial(send, lab.keeper), bob), lab.keeper.commit(pay, ada, bob), return_exceptions=True
        )
        await lab.advance(30)
        assert isinstance(outcomes[0], NoSuchReceiver)
        assert inbox(lab) == 0
        assert kept(lab, 1).gold + kept(lab, 3).gold == 200
        assert (kept(lab, 1).gold, kept(lab, 3).gold) == (ada.record.gold, bob.record.gold)


async def test_a_rescued_letter_is_delivered_where_operators_see_it_and_holds_up_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rescue.jsonl"
    async with Lab() as lab:
        await make(lab.keeper, 2)
        ada = await enter(lab.keeper)
        lab.keeper._rescue_path = path
        lab.line().down = True
        sending = asyncio.ensure_future(lab.keeper.commit(partial(send, lab.keeper), ada))
        await asyncio.sleep(0)
        ada.record.diary = "later than the letter"
        report = await patiently(lab, lab.keeper.close(deadline_s=1))
        assert not report.clean
        sending.cancel()
        lab.store.remove("rover:2")
        storage = MemoryStorage(lab.store)
        restored = await restore_rescued(storage, path)
        assert restored.clean
        assert (kept(lab).gold, kept(lab).diary, inbox(lab)) == (99, "later than the letter", 1)
        (letter,) = await list_kept_letters(storage)
        assert letter.why == "no record"


async def test_a_full_inbox_takes_nothing_more_and_has_room_again_once_it_was_opened(small: Lab) -> None:
    opens_letters(hooks_of(small.keeper))
    await make(small.keeper, 2)
    ada = await enter(small.keeper)
    await small.keeper.commit(lambda player: send(small.keeper, player, letters=MAX - 1), ada)
    with pytest.raises(InboxFull, match=r"too many letters wait for rover:2 .*keeper\.inbox_letters_max") as caught:
        await small.keeper.commit(lambda player: send(small.keeper, player, letters=2), ada)
    assert caught.value.retryable
    assert (ada.record.gold, inbox(small)) == (81, MAX - 1)
    await small.keeper.commit(partial(send, small.keeper), ada)
    with pytest.raises(InboxFull):
        await small.keeper.commit(partial(send, small.keeper), ada)
    assert (ada.record.gold, kept(small).gold, inbox(small)) == (80, 80, MAX)
    await enter_and_read(small.keeper, 2)
    await small.keeper.commit(partial(send, small.keeper), ada)


async def test_a_commit_with_more_letters_than_an_inbox_takes_is_refused_at_once(small: Lab) -> None:
    ada, _ = await enter(small.keeper, 1), await enter(small.keeper, 2)
    with pytest.raises(InboxFull):
        await small.keeper.commit(lambda player: send(small.keeper, player, letters=MAX + 1), ada)
    assert (ada.record.gold, small.keeper.status().recoveries) == (100, 0)


async def test_what_is_kept_counts_too_so_that_nobody_fills_a_store_by_way_of_it(small: Lab) -> None:
    @hooks_of(small.keeper).on_letter(Player)
    def _(player: Player, letter: object) -> None:
        raise KeyError(letter)

    ada, bob = await enter(small.keeper, 1), await enter(small.keeper, 2)
    for _number in range(MAX):
        await small.keeper.commit(partial(send, small.keeper), ada)
        await bob.open_letters()
    assert len(small.store.entries("rover:2:kept")) == MAX
    with pytest.raises(InboxFull):
        await small.keeper.commit(partial(send, small.keeper), ada)


async def test_one_sender_alone_fills_no_inbox_where_the_game_looks_first() -> None:
    async with Lab(config=KeeperConfig(inbox_letters_max=MAX, inbox_letters_per_sender_max=5)) as lab:
        await make(lab.keeper, 2)
        ada, eve = await enter(lab.keeper, 1), await enter(lab.keeper, 3)
        for _ in range(5):
            await lab.keeper.letters.check_room(ada, Player, 2)
            await lab.keeper.commit(partial(send, lab.keeper), ada)
        with pytest.raises(InboxFull):
            await lab.keeper.letters.check_room(ada, Player, 2)
        await lab.keeper.letters.check_room(eve, Player, 2)
        await lab.keeper.commit(lambda player: send(lab.keeper, player, letters=MAX - 5), ada)
        with pytest.raises(InboxFull):
            await lab.keeper.letters.check_room(eve, Player, 2)
        assert lab.keeper.status().recoveries == 0


async def test_servers_that_send_at_once_never_overfill_an_inbox(small: Lab) -> None:
    other = await small.server("lab-2")
    await make(small.keeper, 2)
    senders: list[tuple[Keeper, Session[Player]]] = [
        (keeper, await enter(keeper, number)) for keeper, number in ((small.keeper, 1), (other, 3)) for _ in range(1)
    ]

    async def sends(keeper: Keeper, sender: Session[Player]) -> int:
        sent = 0
        for _ in range(15):
            try:
                await keeper.commit(partial(send, keeper), sender)
            except InboxFull:
                continue
            sent += 1
        return sent

    sent = await asyncio.gather(*(sends(keeper, sender) for keeper, sender in senders))
    assert sum(sent) == inbox(small) == MAX
    assert [sender.record.gold for _, sender in senders] == [100 - each for each in sent]


async def test_an_answer_to_a_letter_that_finds_no_room_keeps_the_letter_and_holds_up_no_other(small: Lab) -> None:
    @hooks_of(small.keeper).on_letter(Player)
    def _(player: Player, letter: dict[str, int]) -> None:
        player.diary += f"{letter['number']} "
        if letter.get("answer"):
            small.keeper.tx.deliver(Player, letter["answer"], {"number": 0})

    await make(small.keeper, 3)
    ada, bob = await enter(small.keeper, 1), await enter(small.keeper, 2)
    await small.keeper.commit(lambda _: [small.keeper.tx.deliver(Player, 3, {"number": 0}) for _ in range(MAX)], ada)
    letters = [{"number": 1}, {"number": 2, "answer": 3}, {"number": 3}, {"number": 4, "answer": 9}, {"number": 5}]
    await small.keeper.commit(lambda _: [small.keeper.tx.deliver(Player, 2, each) for each in letters], ada)
    await bob.open_letters()
    assert bob.record.diary == kept(small, 2).diary == "1 3 5 "
    assert len(small.store.entries("rover:2:kept")) == 2
    (said,) = small.keeper.degraded
    assert said.startswith("1 letters cannot be applied")
    small.store.remove("rover:3:inbox")
    await small.advance(LATER_S + 1)
    assert bob.record.diary == "1 3 5 2 "
    assert inbox(small, 3) == 1


async def test_an_inbox_of_ten_thousand_letters_from_before_opens_and_takes_new_ones_then(lab: Lab) -> None:
    opens_letters(hooks_of(lab.keeper))
    await make(lab.keeper, 2)
    ada = await enter(lab.keeper)
    await lab.keeper.commit(partial(send, lab.keeper), ada)
    (stored,) = lab.store.entries("rover:2:inbox")
    id_, rest = stored[:18], stored[18:]
    assert id_.startswith(b'["')
    lab.store.entries("rover:2:inbox")[:] = [b'["%016x%b' % (number, rest) for number in range(10_000)]
    with pytest.raises(InboxFull):
        await lab.keeper.commit(partial(send, lab.keeper), ada)
    bob = await enter_and_read(lab.keeper, 2)
    assert bob.record.gold == 100 + 10_000
    await lab.keeper.commit(partial(send, lab.keeper), ada)
