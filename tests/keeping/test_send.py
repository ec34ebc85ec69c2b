"""`keeper.letters.send`: a letter without a sender's record, durable on return, and once whatever is lost on the way."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from keeping.game import Player, enter, enter_and_read, hooks_of, kept, make, opens_letters
from realmkeep.config import KeeperConfig
from realmkeep.errors import (
    InboxFull,
    Misuse,
    NoSuchReceiver,
    OpReused,
    OutcomeUnknown,
    ShuttingDown,
    StorageUnavailable,
)
from realmkeep.keeping import Hooks, Keeper, sending
from realmkeep.keeping.ownership.safe_point import SafePoint
from realmkeep.keeping.sending import OP_ID_CHARS_MAX
from realmkeep.storage import Guard
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, Fault, late, reject
from realmkeep.testing.lab import Lab
from realmkeep.testing.servers import StoreServer

GIFT = {"gold": 5}


def inbox(lab: Lab) -> int:
    return len(lab.store.entries("rover:2:inbox"))


@pytest.fixture
async def post() -> AsyncGenerator[Lab]:
    async with Lab(hooks=opens_letters(Hooks()), config=KeeperConfig(inbox_letters_max=3, pending_after_s=5)) as lab:
        await make(lab.keeper, 2)
        yield lab


@pytest.mark.parametrize("where", ["offline", "here", "elsewhere"])
async def test_it_arrives_wherever_the_receiver_is(post: Lab, where: str) -> None:
    other = await post.server("lab-2")
    bob = await enter(other if where == "elsewhere" else post.keeper, 2) if where != "offline" else None
    await post.keeper.letters.send(Player, 2, GIFT)
    bob = bob or await enter(post.keeper, 2)
    await post.advance(3)
    assert bob.record.gold == kept(post, 2).gold == 105


@pytest.mark.parametrize("fault", [LOSE_REPLY, LOSE_REQUEST, late(2.0), late(0.1), reject()], ids=str)
async def test_it_is_sent_once_whatever_becomes_of_the_first_attempt(post: Lab, fault: Fault) -> None:
    post.line().script("write", fault)
    await post.keeper.letters.send(Player, 2, GIFT, op_id="gift")
    await post.keeper.letters.send(Player, 2, GIFT, op_id="gift")
    await post.advance(10)
    assert inbox(post) == 1


async def test_the_control_without_its_mark_it_is_sent_twice(post: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmarked(_: str, expected: bytes | None) -> Guard:
        return Guard("nothing here", expected)

    monkeypatch.setattr(sending, "Guard", unmarked)
    post.line().script("write", LOSE_REPLY)
    await post.keeper.letters.send(Player, 2, GIFT, op_id="gift")
    assert inbox(post) == 2


async def test_a_call_that_gives_up_names_the_operation_and_its_repetition_elsewhere_sends_once(post: Lab) -> None:
    other = await post.server("lab-2")
    post.line().script("write", LOSE_REPLY)
    post.line().plan = lambda method: reject() if method == "write" else Fault()
    with pytest.raises(OutcomeUnknown, match=r"may have been sent.*again with op_id='[0-9a-f]{16}'") as caught:
        await post.keeper.letters.send(Player, 2, GIFT)
    op_id = caught.value.hint.split("'")[1]
    await other.letters.send(Player, 2, GIFT, op_id=op_id)
    await other.letters.send(Player, 2, GIFT, op_id=op_id)
    assert inbox(post) == 1


async def test_a_store_that_cannot_be_reached_takes_nothing_and_says_so(post: Lab) -> None:
    post.line().down = True
    with pytest.raises(StorageUnavailable):
        await post.keeper.letters.send(Player, 2, GIFT, op_id="gift")
    post.line().down = False
    await post.keeper.letters.send(Player, 2, GIFT, op_id="gift")
    assert inbox(post) == 1


async def test_an_operation_is_known_for_a_while_and_by_what_it_sent(
    post: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SENT_KEEP_S", 100.0)  # of a week
    await post.keeper.letters.send(Player, 2, {"gold": 5, "from": "us"}, op_id="gift")
    await post.keeper.letters.send(Player, 2, {"from": "us", "gold": 5}, op_id="gift")
    await make(post.keeper, 3)
    for number, letter in ((2, {"gold": 6, "from": "us"}), (3, {"gold": 5, "from": "us"})):
        with pytest.raises(OpReused, match="'gift' sent another letter"):
            await post.keeper.letters.send(Player, number, letter, op_id="gift")
    assert inbox(post) == 1
    post.store.remove("rover:2")
    await post.keeper.letters.send(
        Player, 2, {"gold": 5, "from": "us"}, op_id="gift"
    )  # it was sent, whatever came after
    await make(post.keeper, 2)
    await post.advance(101)
    await post.keeper.letters.send(Player, 2, {"gold": 5, "from": "us"}, op_id="gift")
    assert inbox(post) == 2


async def test_nobody_and_a_full_inbox_are_refused_and_leave_no_mark(post: Lab) -> None:
    with pytest.raises(NoSuchReceiver):
        await post.keeper.letters.send(Player, 9, GIFT, op_id="gift")
    for _ in range(3):
        await post.keeper.letters.send(Player, 2, GIFT)
    with pytest.raises(InboxFull):
        await post.keeper.letters.send(Player, 2, GIFT, op_id="gift")
    await enter_and_read(post.keeper, 2)
    await post.keeper.letters.send(Player, 2, GIFT, op_id="gift")
    await post.advance(2)
    assert kept(post, 2).gold == 120


async def test_a_refusal_says_so_if_an_earlier_attempt_may_still_arrive(post: Lab) -> None:
    post.line().script("write", late(60.0))
    with pytest.raises(OutcomeUnknown, match="does not exist"):
        await post.keeper.letters.send(Player, 9, GIFT, op_id="gift")
    await make(post.keeper, 9)
    await post.keeper.letters.send(Player, 9, GIFT, op_id="gift")
    await post.advance(90)
    assert len(post.store.entries("rover:9:inbox")) == 1


async def test_what_was_acknowledged_survives_a_store_that_loses_its_last_moments() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        await make(lab.keeper, 2)
        before = lab.store.snapshot()
        sending_ = asyncio.ensure_future(lab.keeper.letters.send(Player, 2, GIFT, op_id="gift"))
        await lab.advance(0.5)
        assert (inbox(lab), sending_.done()) == (1, False)
        lab.store.restore(before)  # nobody had been told, so it may be lost; but it is sent again
        await lab.finish(sending_)
        assert inbox(lab) == 1
        await lab.finish(lab.keeper.letters.send(Player, 2, GIFT, op_id="gift"))
        assert inbox(lab) == 1


async def test_the_control_that_does_not_wait_for_the_fsync_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(self: SafePoint, run: str) -> bool:
        return True

    monkeypatch.setattr(SafePoint, "reached", at_once)
    async with Lab(loss_window_s=1.0) as lab:
        await make(lab.keeper, 2)
        before = lab.store.snapshot()
        await lab.keeper.letters.send(Player, 2, GIFT, op_id="gift")
        lab.store.restore(before)
        await lab.advance(30)
        assert inbox(lab) == 0


@pytest.mark.parametrize("op_id", ["", "x" * (OP_ID_CHARS_MAX + 1), 7, b"gift", "two\nlines", "\ud800"], ids=repr)
async def test_an_op_id_is_a_name(post: Lab, op_id: object) -> None:
    with pytest.raises(Misuse, match="does not name an operation"):
        await post.keeper.letters.send(Player, 2, GIFT, op_id=op_id)  # pyright: ignore[reportArgumentType] - what is checked here


async def test_what_cannot_be_stored_and_a_keeper_that_is_closed_send_nothing(post: Lab) -> None:
    with pytest.raises(Misuse):
        await post.keeper.letters.send(Player, 2, object())
    await post.keeper.close()
    with pytest.raises(ShuttingDown):
        await post.keeper.letters.send(Player, 2, GIFT)
    assert inbox(post) == 0


@pytest.fixture(params=[pytest.param(each, marks=pytest.mark.backend(each)) for each in ("sqlite", "valkey")])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store on a disk."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'realm.db'}"
        return
    with StoreServer(tmp_path, fsync="always") as server:
        yield server.url


async def test_it_is_sent_once_on_a_real_store(tmp_path: Path, url: str) -> None:
    async with await Keeper.open(url, config=KeeperConfig(inbox_letters_max=3), rescue_path=tmp_path / "r") as keeper:
        opens_letters(hooks_of(keeper))
        with pytest.raises(NoSuchReceiver):
            await keeper.letters.send(Player, 2, GIFT, op_id="gift")
        await make(keeper, 2)
        for _ in range(3):
            await keeper.letters.send(Player, 2, GIFT, op_id="gift")
        for number in range(2):
            await keeper.letters.send(Player, 2, GIFT, op_id=f"gift {number}")
        with pytest.raises(InboxFull):
            await keeper.letters.send(Player, 2, GIFT)
        assert (await enter_and_read(keeper, 2)).record.gold == 115
        with pytest.raises(OpReused):
            await keeper.letters.send(Player, 2, {"gold": 6}, op_id="gift")
