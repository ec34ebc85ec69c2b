"""Letters that go back: refused, too late, or to a record that is gone; exactly once, and never twice."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from keeping.game import Guild, Player, enter, enter_and_read, hooks_of, kept
from keeping.test_kept_letters import run_letters
from realmkeep.errors import Later, Misuse, Return
from realmkeep.keeping import Hooks, Keeper, Letter, Returned
from realmkeep.keeping.letters import returning
from realmkeep.keeping.letters.inboxes import LATER_S, LETTERS_A_COMMIT
from realmkeep.keeping.letters.kept_letters import list_kept_letters, retry_kept_letters, return_kept_letters
from realmkeep.keeping.live.envelope import open_envelope
from realmkeep.keeping.live.op_ring import OpRing
from realmkeep.storage import Append, Effect, Transaction
from realmkeep.storage.sqlite import SqliteStorage
from realmkeep.testing.faulty import NONE, Fault, cut, delay, late, reject
from realmkeep.testing.lab import Lab


class Purse(Letter, kind="purse"):
    gold: int
    wish: str = ""


class Answer:
    """What the hook says to a wish; may change while the game runs."""

    def __init__(self, **answers: BaseException) -> None:
        self.to = answers
        self.takes_back = True

    def register(self, hooks: Hooks) -> Hooks:
        def take(record: Player | Guild, purse: Purse) -> object:
            record.gold += purse.gold
            answer = self.to.get(purse.wish)
            if purse.wish == "returned":
                return answer
            if answer is not None:
                raise answer
            return None

        hooks.on_letter(Player, Purse)(take)
        hooks.on_letter(Guild, Purse)(take)
        if self.takes_back:
            self.register_back(hooks)
        return hooks

    def register_back(self, hooks: Hooks) -> None:
        def back(record: Player | Guild, returned: Returned) -> None:
            purse = returned.open(Purse)
            record.gold += purse["gold"] if isinstance(purse, dict) else purse.gold
            if isinstance(record, Player):
                record.diary += f"{returned.reason} from {returned.receiver}; "

        hooks.on_letter(Player, Returned)(back)


@pytest.fixture
def answer() -> Answer:
    return Answer(no=Return("not from you"), returned=Return("nor this"), broken=KeyError("x"), later=Later("full"))


@pytest.fixture
async def post(answer: Answer) -> Any:
    async with Lab(hooks=answer.register(Hooks())) as lab:
        yield lab


async def send(lab: Lab, *letters: object, to: int = 2, expires_s: float | None = None) -> None:
    """From player 1, who pays for them."""
    if lab.keeper.session(Player, to) is None and lab.stored(Player, to) is None:
        await (await enter(lab.keeper, to)).logout()

    def run(ada: Player) -> None:
        for letter in letters:
            ada.gold -= letter.gold if isinstance(letter, Purse) else 0
            lab.keeper.tx.deliver(Player, to, letter, expires_s=expires_s)

    await lab.keeper.commit(run, lab.keeper.session(Player, 1) or await enter(lab.keeper, 1))


@pytest.mark.parametrize("wish", ["no", "returned"])
async def test_what_is_refused_is_back_with_its_sender(post: Lab, wish: str) -> None:
    await send(post, Purse(gold=1), Purse(gold=30, wish=wish), Purse(gold=2))
    assert kept(post, 1).gold == 67
    bob = await enter_and_read(post.keeper, 2)
    await post.clock.settle()
    reason = "not from you" if wish == "no" else "nor this"
    assert (kept(post, 1).gold, kept(post, 1).diary) == (97, f"{reason} from rover:2; ")
    assert (bob.record.gold, kept(post, 2).gold) == (103, 103), "what the hook had changed by then is undone"
    for key in ("rover:1:inbox", "rover:1:kept", "rover:2:inbox", "rover:2:kept"):
        assert post.store.entries(key) == []
    assert (post.keeper.degraded, post.keeper.status().letters_returned) == ((), 1)
    assert post.keeper.status().letters_kept_aside == 0


async def test_many_are_refused_and_the_others_applied_in_their_order(post: Lab) -> None:
    wishes = ["no" if number % 7 == 3 else "" for number in range(3 * LETTERS_A_COMMIT)]
    await send(post, *(Purse(gold=1, wish=wish) for wish in wishes))
    await enter_and_read(post.keeper, 2)
    await post.clock.settle()
    refused = wishes.count("no")
    assert kept(post, 1).gold == 100 - len(wishes) + refused
    assert kept(post, 2).gold == 100 + len(wishes) - refused


async def test_only_what_the_sender_said_expires(post: Lab) -> None:
    await send(post, Purse(gold=1), to=2)
    await send(post, Purse(gold=5), to=2, expires_s=3600)
    await send(post, Purse(gold=7), to=3, expires_s=3600)
    assert (await enter_and_read(post.keeper, 3)).record.gold == 107, "in time"
    await post.advance(3601)
    bob = await enter_and_read(post.keeper, 2)
    await post.clock.settle()
    assert bob.record.gold == 101
    assert (kept(post, 1).gold, kept(post, 1).diary) == (92, "expired from rover:2; ")


async def test_one_that_waits_for_later_expires_while_it_waits(post: Lab, answer: Answer) -> None:
    bob = await enter(post.keeper, 2)
    await send(post, Purse(gold=5, wish="later"), expires_s=2.5 * LATER_S)
    await post.advance(2 * LATER_S)
    assert len(post.store.entries("rover:2:kept")) == 1
    await post.advance(LATER_S + 1)
    assert (kept(post, 1).gold, bob.record.gold, post.store.entries("rover:2:kept")) == (100, 100, [])
    assert answer.to


@pytest.mark.parametrize("expires_s", [0, -1, float("nan"), float("inf"), 1e12, "soon", True])
async def test_an_expiry_out_of_range_is_refused_where_it_is_given(post: Lab, expires_s: Any) -> None:
    with pytest.raises(Misuse, match="expires in"):
        await send(post, Purse(gold=1), expires_s=expires_s)
    assert kept(post, 1).gold == 100


async def test_what_is_refused_and_has_no_sender_is_kept_and_named(post: Lab) -> None:
    await (await enter(post.keeper, 2)).logout()
    stored = [
        b'["a1",{"gold":5,"wish":"no"},"purse",1,"",0,0]',
        b'["a2",{"gold":5,"wish":"no"},"purse",1,"rover:99",0,0]',
        b'["a3",{"gold":5,"wish":"no"},"purse",1,"no key at all",0,0]',
        b'["a4",{"gold":5,"wish":""},"purse",1,"rover:99",0,1]',
    ]
    await post.line().write([Transaction([], [Append("rover:2:inbox", each) for each in stored])])
    bob = await enter_and_read(post.keeper, 2)
    assert post.store.entries("rover:2:kept") == stored
    assert "4 letters cannot be applied and are kept, first to rover:2" in post.keeper.degraded[0]
    assert bob.record.gold == 100
    assert [letter.sender for letter in await list_kept_letters(post.line())] == [
        "",
        "rover:99",
        "no key at all",
        "rover:99",
    ]


async def test_what_came_back_and_finds_no_hook_waits_for_one_and_never_goes_back(answer: Answer) -> None:
    answer.takes_back = False
    async with Lab(hooks=answer.register(Hooks())) as lab:
        await send(lab, Purse(gold=30, wish="no"))
        await enter_and_read(lab.keeper, 2)
        await lab.clock.settle()
        assert len(lab.store.entries("rover:1:kept")) == 1
        assert "first to rover:1" in lab.keeper.degraded[0]
        await retry_kept_letters(lab.line())
        await return_kept_letters(lab.line(), now_us=lab.clock.wall_us())
        await lab.advance(2)
        assert len(lab.store.entries("rover:1:kept")) == 1
        keeper = await lab.restart()
        answer.register_back(hooks_of(keeper))
        ada = await enter_and_read(keeper, 1)
        assert (ada.record.gold, lab.store.entries("rover:1:kept")) == (100, [])


async def test_a_hook_that_refuses_what_came_back_keeps_it(post: Lab) -> None:
    keeper = await post.server("lab-2")

    def refuses(_guild: Guild, _returned: Returned) -> None:
        raise Return("I do not want it")

    hooks_of(keeper).on_letter(Guild, Returned)(refuses)
    guild = await keeper.hold(Guild, 7, create=Guild)
    await (await enter(post.keeper, 2)).logout()
    await keeper.commit(lambda _: keeper.tx.deliver(Player, 2, Purse(gold=1, wish="no")), guild)
    await enter_and_read(post.keeper, 2)
    await post.advance(3)
    assert len(post.store.entries("guild:7:kept")) == 1
    assert post.store.entries("rover:2:inbox") == post.store.entries("rover:2:kept") == []


async def disband(lab: Lab, *letters: object) -> None:
    """A guild gets letters and is deleted before anybody opened them."""
    await (await lab.keeper.hold(Guild, 7, create=Guild)).release()
    ada = lab.keeper.session(Player, 1) or await enter(lab.keeper, 1)

    def pays(player: Player) -> None:
        for letter in letters:
            player.gold -= letter.gold if isinstance(letter, Purse) else 0
            lab.keeper.tx.deliver(Guild, 7, letter)

    await lab.keeper.commit(pays, ada)
    await lab.keeper.commit(lambda _: lab.keeper.tx.delete(Guild, 7), ada)


async def test_letters_to_a_record_that_is_deleted_go_back(post: Lab) -> None:
    await disband(post, *(Purse(gold=1) for _ in range(40)))
    await post.clock.settle()
    assert kept(post, 1).gold == 100
    assert kept(post, 1).diary == "no record from guild:7; " * 40
    assert post.store.entries("guild:7:inbox") == []
    assert await list_kept_letters(post.line()) == []
    assert post.keeper.status().letters_returned == 40


@pytest.mark.parametrize(
    "faults",
    [
        (cut(reaches=1),),
        (NONE, cut(reaches=1)),
        (reject(),),
        (NONE, cut(reaches=1), reject(), cut(reaches=1)),
        (delay(3),),
        (late(3),),
    ],
    ids=["reply lost", "second reply lost", "refused", "several", "slow", "late"],
)
async def test_whatever_becomes_of_the_answers_each_goes_back_once(post: Lab, faults: tuple[Fault, ...]) -> None:
    await (await post.keeper.hold(Guild, 7, create=Guild)).release()
    ada = await enter(post.keeper, 1)
    await post.keeper.commit(lambda _: [post.keeper.tx.deliver(Guild, 7, Purse(gold=1)) for _ in range(40)], ada)
    deleting = post.keeper.commit(lambda _: post.keeper.tx.delete(Guild, 7), ada)
    post.line().script("write", NONE, *faults)
    await post.finish(deleting)
    await post.advance(30)
    assert kept(post, 1).gold == 140
    assert post.store.entries("guild:7:inbox") == []


async def return_twice_at_once(lab: Lab) -> int:
    """Gold of the sender after two operators returned forty letters of one gold at once."""
    ada = await enter(lab.keeper, 1)
    stored = [b'["a%d",{"gold":1},"purse",1,"rover:1",0,0]' % number for number in range(40)]
    await lab.line().write([Transaction([], [Append("guild:7:inbox", each) for each in stored])])
    lines = (lab.line(), lab.line((await lab.server("lab-2")).name))
    now_us = lab.clock.wall_us()
    await lab.finish(asyncio.gather(*(return_kept_letters(line, now_us=now_us) for line in lines)))
    await lab.advance(5)
    assert lab.store.entries("guild:7:inbox") == []
    return ada.record.gold


async def test_two_that_return_the_same_letters_return_each_once(post: Lab) -> None:
    assert await return_twice_at_once(post) == 140


async def test_control_two_that_follow_no_revision_return_letters_twice(
    post: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def follows_nothing(
        _: object, _revision: object, effects: list[Effect], *_args: object, **_kw: object
    ) -> Transaction:
        return Transaction([], effects)

    monkeypatch.setattr(returning, "_following", follows_nothing)
    assert await return_twice_at_once(post) != 140


async def test_an_operator_returns_what_is_kept_whether_its_receiver_is_live_or_not(post: Lab) -> None:
    await send(post, Purse(gold=30, wish="broken"))
    await send(post, Purse(gold=5, wish="broken"), to=3)
    await enter_and_read(post.keeper, 2)
    await (await enter_and_read(post.keeper, 3)).logout()
    assert kept(post, 1).gold == 65
    line = post.line()
    assert await return_kept_letters(line, now_us=post.clock.wall_us(), record="rover:99") == []
    (away,) = await return_kept_letters(line, now_us=post.clock.wall_us(), record="rover:3")
    assert (away.record, away.returned, away.left, away.by_owner) == ("rover:3", 1, 0, False)
    (live,) = await return_kept_letters(line, now_us=post.clock.wall_us())
    assert (live.record, live.returned, live.by_owner) == ("rover:2", 0, True)
    await post.advance(3)
    assert (kept(post, 1).gold, kept(post, 2).gold, kept(post, 3).gold) == (100, 100, 100)
    assert kept(post, 1).diary.count("returned by an operator") == 2
    assert (await enter_and_read(post.keeper, 3)).record.gold == 100
    assert post.keeper.degraded == ()


async def test_what_cannot_go_back_stays_in_its_order(post: Lab) -> None:
    ours = [b'["a%d",{"gold":5},"purse",1,"",0,0]' % number for number in range(20)]
    await post.line().write([Transaction([], [Append("guild:7:inbox", each) for each in [*ours, b"no letter"]])])
    (found,) = await return_kept_letters(post.line(), now_us=post.clock.wall_us())
    assert (found.returned, found.left) == (0, 21)
    assert post.store.entries("guild:7:inbox") == [*ours, b"no letter"]


async def test_the_command_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "realm.db"
    storage = SqliteStorage(path)
    keeper = await Keeper.open(storage)
    try:
        Answer(broken=KeyError("x")).register(hooks_of(keeper))
        await (await enter(keeper, 2)).logout()
        ada = await enter(keeper, 1)
        await keeper.commit(lambda _: keeper.tx.deliver(Player, 2, Purse(gold=5, wish="broken")), ada)
        await enter_and_read(keeper, 2)
    finally:
        await keeper.close()
        await storage.disconnect()
    for arguments, code, said in (
        (("list",), 1, "rover:2  kept"),
        (("list",), 1, "purse 1  from rover:1"),
        (("return", "rover:3"), 0, ""),
        (("return", "rover:2"), 0, "rover:2  1 returned, 0 cannot be"),
        (("list",), 0, "0 letters"),
    ):
        assert await asyncio.to_thread(run_letters, *arguments, "--store", f"sqlite:///{path}") == code
        assert said in capsys.readouterr().out


def wealth(lab: Lab) -> int:
    """All gold: of the players and in the letters that are theirs to open, as the store has it."""
    gold = sum(player.gold for number in (1, 2) if (player := lab.stored(Player, number)) is not None)
    for key in ("rover:1:inbox", "rover:1:kept", "rover:2:inbox", "rover:2:kept"):
        for stored in lab.store.entries(key):
            letter = open_envelope(stored)
            content = letter.content
            gold += (
                content["gold"]
                if letter.kind == "purse"
                else open_envelope(content["envelope"].encode()).content["gold"]
            )
    return gold


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize(
    "fault",
    [lambda: cut(reaches=1), lambda: cut(reaches=0), reject, lambda: delay(2), lambda: late(3)],
    ids=["reply lost", "request lost", "refused", "slow", "late"],
)
async def test_a_fault_at_any_write_of_a_return_loses_and_doubles_nothing(
    post: Lab, at: int, fault: Callable[[], Fault]
) -> None:
    await enter(post.keeper, 1)
    await enter(post.keeper, 2)
    post.line().script("write", *[NONE] * at, fault())
    await post.finish(send(post, Purse(gold=30, wish="no"), Purse(gold=1)))
    await post.advance(90)
    assert (kept(post, 1).gold, kept(post, 2).gold, wealth(post)) == (99, 101, 200)


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_server_that_dies_at_any_turn_of_a_return_loses_and_doubles_nothing(post: Lab, turns: int) -> None:
    await send(post, Purse(gold=30, wish="no"), Purse(gold=1))
    await enter(post.keeper, 2)
    for _ in range(turns):
        await asyncio.sleep(0)
    await post.crash()
    assert wealth(post) == 200
    keeper = await post.restart()
    await post.finish(enter_and_read(keeper, 2))
    await post.finish(enter_and_read(keeper, 1))
    assert (kept(post, 1).gold, kept(post, 2).gold) == (99, 101)


async def lose(answer: Answer, lost: str) -> tuple[int, int, int]:
    """Gold of both players, and all of it, after a store lost some of a return."""
    async with Lab(hooks=answer.register(Hooks()), loss_window_s=1.0) as lab:
        await lab.finish(enter(lab.keeper, 1))
        bob = await lab.finish(enter(lab.keeper, 2))
        await lab.advance(10)
        await lab.finish(send(lab, Purse(gold=30, wish="no"), Purse(gold=1)))
        sent = lab.store.snapshot()
        await lab.finish(bob.open_letters())
        returned = lab.store.snapshot()
        await lab.advance(10)
        if lost != "nothing":
            lab.store.restore(sent if lost == "the return" else returned)
        await lab.advance(90)
        return kept(lab, 1).gold, kept(lab, 2).gold, wealth(lab)


@pytest.mark.parametrize("lost", ["the return", "its opening", "nothing"])
async def test_a_store_that_loses_its_last_moments_doubles_no_return(answer: Answer, lost: str) -> None:
    assert await lose(answer, lost) == (99, 101, 200)


async def test_control_a_return_that_is_not_remembered_is_doubled(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpRing, "has_letter", MagicMock(return_value=False))
    assert (await lose(answer, "the return"))[2] > 200


@pytest.mark.parametrize("opened", [False, True], ids=["on its way back", "taken back"])
async def test_a_deletion_that_the_store_loses_is_done_again_with_its_returns(answer: Answer, *, opened: bool) -> None:
    async with Lab(hooks=answer.register(Hooks()), loss_window_s=1.0) as lab:
        ada = await lab.finish(enter(lab.keeper, 1))
        await lab.finish((await lab.finish(lab.keeper.hold(Guild, 7, create=Guild))).release())

        def pays(player: Player) -> None:
            player.gold -= 30
            lab.keeper.tx.deliver(Guild, 7, Purse(gold=30))

        await lab.finish(lab.keeper.commit(pays, ada))
        await lab.advance(10)
        before = lab.store.snapshot()
        await lab.finish(lab.keeper.commit(lambda _: lab.keeper.tx.delete(Guild, 7), ada))
        if opened:
            await lab.advance(0.5)
        lab.store.restore(before)
        await lab.advance(90)
        assert (kept(lab, 1).gold, lab.stored(Guild, 7)) == (100, None)
        assert lab.store.entries("guild:7:inbox") == []


async def test_what_is_no_text_behind_a_letter_does_not_hold_up_its_return(post: Lab) -> None:
    await enter(post.keeper, 1)
    await (await enter(post.keeper, 2)).logout()
    stored = b'["a1",{"gold":5,"wish":"no"},"purse",1,"rover:1",0,0,"\xff"]'
    await post.line().write([Transaction([], [Append("rover:2:inbox", stored)])])
    await enter_and_read(post.keeper, 2)
    await post.clock.settle()
    assert (kept(post, 1).gold, post.store.entries("rover:2:inbox")) == (105, [])
