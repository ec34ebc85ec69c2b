"""What clients hear when the store is silent, or when its answer is lost for good: each caller one final answer or a goodbye."""

from collections.abc import Sequence

import pytest
import structlog
from lab import Lab, LabPeer, Message

FINAL = {"ack", "nack", "error"}


@pytest.fixture
async def bob(realm: Lab) -> LabPeer:
    return await realm.join(8)


async def confirming(realm: Lab, ada: LabPeer, bob: LabPeer, gold: int = 50) -> int:
    """A trade of Ada's gold, which Ada has confirmed; returns her operation."""
    await realm.done(ada, "trade_request", player=8)
    await realm.done(bob, "trade_request", player=7)
    await realm.done(ada, "trade_offer", gold=gold)
    op = realm.want(ada, "trade_confirm")
    await realm.clock.settle()
    return op


def answers(peer: LabPeer, op: int) -> list[Message]:
    return [message for message in peer.heard if message.get("op_id") == op]


def finals(peer: LabPeer, op: int) -> list[str]:
    return [message["type"] for message in answers(peer, op) if message["type"] in FINAL]


def goodbyes(peer: LabPeer) -> list[str]:
    return [message["reason"] for message in peer.heard if message["type"] == "goodbye"]


async def test_a_trade_whose_answer_was_lost_and_that_did_not_land_is_not_completed(
    realm: Lab, ada: LabPeer, bob: LabPeer
) -> None:
    adas = await confirming(realm, ada, bob)
    realm.storage.lose_the_next_answer(stolen=[7], lands=False)
    bobs = realm.want(bob, "trade_confirm")
    await realm.clock.advance(5)
    assert ada.events("trade_completed") == bob.events("trade_completed") == []
    assert [answer["reason"] for answer in answers(bob, bobs)] == ["refused"]
    assert (realm.player(bob).gold, bob.closed) == (100, False)
    assert len(bob.events("trade_cancelled")) == 1
    assert "ack" not in finals(ada, adas)
    assert (goodbyes(ada), ada.closed) == (["ownership_lost"], True)
    again = await realm.act(bob, "trade_confirm", op=bobs)
    assert again["reason"] == "not_trading", "the operation was not done, so it may be asked for again"


async def test_a_trade_whose_answer_was_lost_and_that_landed_is_told_by_the_side_that_is_still_here(
    realm: Lab, ada: LabPeer, bob: LabPeer
) -> None:
    await confirming(realm, ada, bob)
    realm.storage.lose_the_next_answer(stolen=[7], lands=True)
    bobs = realm.want(bob, "trade_confirm")
    await realm.clock.advance(5)
    assert finals(bob, bobs) == ["ack"]
    assert realm.player(bob).gold == 150
    assert len(bob.events("trade_completed")) == 1


@pytest.mark.parametrize("lands", [True, False])
async def test_where_both_players_are_gone_nobody_is_told_yes_or_no(
    realm: Lab, ada: LabPeer, bob: LabPeer, lands: bool
) -> None:
    adas = await confirming(realm, ada, bob)
    realm.storage.lose_the_next_answer(stolen=[7, 8], lands=lands)
    bobs = realm.want(bob, "trade_confirm")
    await realm.clock.advance(5)
    for peer, op in ((ada, adas), (bob, bobs)):
        assert finals(peer, op) == []
        assert peer.events("trade_completed") == peer.events("trade_cancelled") == []
        assert peer.closed
        assert len(goodbyes(peer)) == 1


@pytest.mark.parametrize("lands", [True, False])
async def test_an_operation_whose_answer_was_lost_with_its_player_is_not_answered_and_the_client_is_sent_away(
    realm: Lab, ada: LabPeer, lands: bool
) -> None:
    realm.storage.lose_the_next_answer(stolen=[7], lands=lands)
    op = realm.want(ada, "buy", item="arrow", count=1)
    await realm.clock.advance(5)
    assert finals(ada, op) == []
    assert ada.closed
    assert len(goodbyes(ada)) == 1


@pytest.mark.parametrize("lost", [(), (8,)])
async def test_while_the_store_is_silent_both_wait_and_each_hears_one_final_answer(
    realm: Lab, ada: LabPeer, bob: LabPeer, lost: Sequence[int]
) -> None:
    adas = await confirming(realm, ada, bob)
    realm.storage.cut = "away"
    bobs = realm.want(bob, "trade_confirm")
    await realm.clock.advance(6)
    for peer, op in ((ada, adas), (bob, bobs)):
        assert [answer["type"] for answer in answers(peer, op)] == ["pending"]
    realm.want(ada, "trade_confirm", op=adas)  # impatient: while it is decided, one answer is enough
    await realm.ticks(63)  # longer than a trade may be left alone
    assert ada.events("trade_cancelled") == bob.events("trade_cancelled") == []
    if lost:
        realm.drop(bob)
        assert ada.events("trade_cancelled") == [], "the store decides, not the player who leaves"
    realm.storage.cut = ""
    await realm.clock.advance(15)
    assert finals(ada, adas) == ["ack"]
    assert realm.player(ada).gold == 50
    assert realm.player_of(8).gold == 150
    assert len(ada.events("trade_completed")) == 1
    assert finals(bob, bobs) == ["ack"]


async def test_a_mistake_of_our_own_leaves_nobody_without_an_answer(
    realm: Lab, ada: LabPeer, bob: LabPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> dict[str, object]:
        raise KeyError("of the code's own making")

    adas = await confirming(realm, ada, bob)
    monkeypatch.setattr("realmkeep.realm.server.trade_handler.swap", broken)
    with structlog.testing.capture_logs() as lines:
        bobs = realm.want(bob, "trade_confirm")
        await realm.clock.settle()
    assert [line["log_level"] for line in lines] == ["error"], "it is told to the operator, too"
    assert finals(ada, adas) == finals(bob, bobs) == ["nack"]
    assert len(ada.events("trade_cancelled")) == 1
    assert (realm.player(ada).gold, realm.player(bob).gold) == (100, 100)
    monkeypatch.undo()
    await confirming(realm, ada, bob, gold=10)
    assert (await realm.act(bob, "trade_confirm"))["type"] == "ack", "nobody is left in a trade that is over"
    monkeypatch.setattr("realmkeep.realm.actions.shop.earn", broken)
    with structlog.testing.capture_logs():
        assert await realm.refused(ada, "sell", slot=0, count=1) == "refused"
