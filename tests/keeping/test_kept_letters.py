"""A letter that cannot be applied is kept for as long as it takes; the others are not held up, and none is lost or doubled."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keeping.game import Guild, Player, enter, enter_and_read, hooks_of, kept, make
from realmkeep.cli import letters
from realmkeep.errors import Later
from realmkeep.keeping import Hooks, Keeper
from realmkeep.keeping.letters.inboxes import LATER_S, LETTERS_A_COMMIT
from realmkeep.keeping.letters.kept_letters import list_kept_letters, retry_kept_letters, return_kept_letters
from realmkeep.storage import Append, Effect, Put, Transaction
from realmkeep.storage.sqlite import SqliteStorage
from realmkeep.testing.lab import Lab

A_WEEK_S = 8 * 24 * 3600.0


class Rules:
    """What the game says of the letters of the day; may change while it runs, as with a new release."""

    def __init__(self) -> None:
        self.broken = {"sword"}
        self.bag_is_full = False

    def register(self, hooks: Hooks) -> Hooks:
        @hooks.on_letter(Player)
        def _(player: Player, letter: dict[str, Any]) -> None:
            player.diary += f"{letter['what']} "
            player.gold += letter.get("gold", 0)
            if letter["what"] in self.broken:
                raise asyncio.CancelledError if letter["what"] == "cancelled" else KeyError(letter["what"])
            if letter["what"] == "shield" and self.bag_is_full:
                raise Later("the bag is full")

        return hooks


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
async def post(rules: Rules) -> AsyncGenerator[Lab]:
    async with Lab(hooks=rules.register(Hooks())) as lab:
        await make(lab.keeper, 2)
        yield lab


async def send(lab: Lab, *letters: str, to: int = 2) -> None:
    ada = lab.keeper.session(Player, 1) or await enter(lab.keeper, 1)
    await lab.keeper.commit(lambda _: [lab.keeper.tx.deliver(Player, to, {"what": each}) for each in letters], ada)


@pytest.mark.parametrize("at", [0, 4, LETTERS_A_COMMIT - 1, LETTERS_A_COMMIT, 2 * LETTERS_A_COMMIT + 3])
async def test_one_of_many_that_cannot_be_applied_takes_none_of_the_others_with_it(post: Lab, at: int) -> None:
    sent = [f"l{number}" for number in range(3 * LETTERS_A_COMMIT)]
    sent[at] = "sword"
    await send(post, *sent)
    bob = await enter_and_read(post.keeper, 2)
    assert bob.record.diary.split() == [each for each in sent if each != "sword"]
    assert len(post.store.entries("rover:2:kept")) == 1
    assert post.store.entries("rover:2:inbox") == []


async def test_it_is_kept_however_long_it_takes_named_and_applied_once_the_game_is_mended(
    post: Lab, rules: Rules
) -> None:
    await send(post, "rope", "sword")
    bob = await enter_and_read(post.keeper, 2)
    assert bob.record.diary == "rope "
    (said,) = post.keeper.degraded
    assert said == "1 letters cannot be applied and are kept, first to rover:2: see `realmkeep letters list`"
    await bob.logout()
    (letter,) = await list_kept_letters(post.line())
    assert (letter.record, letter.why, letter.content) == ("rover:2", "kept", {"what": "sword"})
    await post.crash()
    await post.advance(A_WEEK_S)
    rules.broken.clear()
    bob = await enter_and_read(await post.restart(), 2)
    assert bob.record.diary == kept(post, 2).diary == "rope sword "
    assert post.store.entries("rover:2:kept") == []
    assert post.keeper.degraded == ()
    assert await list_kept_letters(post.line()) == []


async def test_a_hook_that_asks_a_cancelled_task_has_its_letter_kept_and_the_others_opened(
    post: Lab, rules: Rules
) -> None:
    rules.broken = {"cancelled"}
    await send(post, "cancelled", "rope")
    bob = await enter_and_read(post.keeper, 2)
    assert bob.record.diary == "rope "
    assert len(post.store.entries("rover:2:kept")) == 1
    assert post.keeper.degraded != ()
    rules.broken.clear()
    await bob.logout()
    assert (await enter_and_read(post.keeper, 2)).record.diary == "rope cancelled "


async def test_a_letter_for_later_stays_and_is_tried_again_by_itself(post: Lab, rules: Rules) -> None:
    rules.bag_is_full = True
    bob = await enter(post.keeper, 2)
    await send(post, "shield", "rope")
    await post.clock.settle()
    assert bob.record.diary == "rope "
    assert (post.keeper.degraded, post.keeper.status().letters_kept_aside) == ((), 0)
    await post.advance(3 * LATER_S)
    assert len(post.store.entries("rover:2:kept")) == 1
    rules.bag_is_full = False
    await post.advance(LATER_S + 1)
    assert bob.record.diary == kept(post, 2).diary == "rope shield "
    assert post.store.entries("rover:2:kept") == []


async def test_those_that_are_kept_hold_up_none_of_each_other_and_keep_their_order(post: Lab, rules: Rules) -> None:
    rules.broken |= {"axe", "bow"}
    await send(post, "sword", "axe", "bow")
    bob = await enter_and_read(post.keeper, 2)
    rules.broken -= {"axe"}
    await bob.open_letters()
    assert bob.record.diary == "axe "
    left = [msgspec.json.decode(letter)[1]["what"] for letter in post.store.entries("rover:2:kept")]
    assert left == ["sword", "bow"]


async def test_an_operator_has_them_tried_again_where_their_receiver_is(post: Lab, rules: Rules) -> None:
    other = await post.server("lab-2")
    await send(post, "sword")
    await make(post.keeper, 3)
    await send(post, "sword", to=3)
    bob = await enter_and_read(other, 2)
    await (await enter_and_read(other, 3)).logout()
    rules.broken.clear()
    assert await retry_kept_letters(post.line()) == (("rover:2",), ("rover:3",))
    await post.advance(2)
    assert bob.record.diary == "sword "
    assert (await enter_and_read(other, 3)).record.diary == "sword "


async def test_what_was_kept_and_applied_in_what_the_store_loses_is_not_applied_again(rules: Rules) -> None:
    async with Lab(hooks=rules.register(Hooks()), loss_window_s=1.0) as lab:
        await make(lab.keeper, 2)
        await send(lab, "sword", "axe")
        bob = await enter(lab.keeper, 2)
        await lab.finish(bob.open_letters())
        await lab.advance(40)
        before = lab.store.snapshot()
        rules.broken.clear()
        await lab.finish(bob.open_letters())
        await bob.logout()
        lab.store.restore(before)
        await lab.advance(40)
        bob = await lab.finish(enter(lab.keeper, 2))
        await lab.finish(bob.open_letters())
        assert bob.record.diary == "axe sword "
        assert lab.store.entries("rover:2:kept") == []


async def test_letters_to_a_record_that_is_deleted_stay_to_be_seen(post: Lab) -> None:
    ada = await enter(post.keeper, 1)
    await (await post.keeper.hold(Guild, 7, create=Guild)).release()
    await post.keeper.commit(lambda _: post.keeper.tx.deliver(Guild, 7, {"dues": 5}), ada)
    await post.keeper.commit(lambda _: post.keeper.tx.delete(Guild, 7), ada)
    (letter,) = await list_kept_letters(post.line())
    assert (letter.record, letter.why, letter.content) == ("guild:7", "no record", {"dues": 5})


async def test_one_key_that_holds_something_else_hides_no_other_letter(post: Lab) -> None:
    effects: list[Effect] = [Put("guild:2:kept", b"x"), Put("guild:3:inbox", b"x")]
    effects += [Append("guild:5:inbox", b'["\xff",1]'), Append("guild:7:inbox", b'["a",{"dues":5}]')]
    effects += [Append("guild:4:kept", b'["a",' + b"[" * 60_000), Append("guild:4:owner", b"a list")]
    await post.line().write([Transaction((), effects)])
    found = {(letter.record, letter.why) for letter in await list_kept_letters(post.line())}
    assert {("guild:7", "no record"), ("guild:2", "no list"), ("guild:3", "no list")} <= found
    assert {record for record, _ in found} == {f"guild:{number}" for number in (2, 3, 4, 5, 7)}
    assert await retry_kept_letters(post.line()) == ((), ("guild:2", "guild:4"))
    assert "guild:7" in {each.record for each in await return_kept_letters(post.line(), now_us=0)}


async def test_the_commands_list_and_redeliver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "realm.db"
    storage = SqliteStorage(path)
    keeper = await Keeper.open(storage)
    try:
        Rules().register(hooks_of(keeper))
        ada = await enter(keeper, 1)
        await make(keeper, 2)
        await keeper.commit(lambda _: keeper.tx.deliver(Player, 2, {"what": "sword"}), ada)
        await enter_and_read(keeper, 2)
        await storage.write([Transaction((), [Append("guild:7:inbox", b'["\\u001b[2J\\nfake",1]')])])
    finally:
        await keeper.close()
        await storage.disconnect()
    for arguments, code, said in (
        (("list",), 1, "rover:2  kept"),
        (("list",), 1, r"\x1b[2J\nfake"),
        (("list", "--json"), 1, '"content":{"what":"sword"}'),
        (("redeliver",), 0, "is tried again at its next login"),
    ):
        assert await asyncio.to_thread(run_letters, *arguments, "--store", f"sqlite:///{path}") == code
        assert said in capsys.readouterr().out


def run_letters(*arguments: str) -> int:
    """Run a command on a thread, where it has a loop of its own; returns its exit code."""
    try:
        letters.app(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
