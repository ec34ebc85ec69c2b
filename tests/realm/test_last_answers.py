"""Every request has a last answer, and what a client can cause again and again fills no log."""

import json
from collections.abc import AsyncGenerator

import pytest
import structlog
from lab import WORLD, Lab, LabPeer

from realm.test_wire_udp import ADA, Lines
from realmkeep.rate_limited_log import LINES_BURST
from realmkeep.realm.actions.action_rules import ActionRule
from realmkeep.realm.actions.quests import entered, killed
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.world.player import QuestProgress
from realmkeep.storage import Delete, Put


@pytest.fixture
async def udp() -> AsyncGenerator[Lines]:
    lines = Lines()
    lines.server.listen([lines.net])
    yield lines
    lines.server.close()


def broken(*_: object, **__: object) -> dict[str, object]:
    raise ZeroDivisionError("of the code's own making")


async def test_an_action_at_once_that_fails_as_none_should_is_answered_and_the_client_sent_away(
    realm: Lab, ada: LabPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realmkeep.realm.server.intent_handler.check", broken)
    with structlog.testing.capture_logs() as lines:
        realm.want(ada, "look")
    assert ada.heard[-1] == {"type": "goodbye", "reason": "outcome_unknown"}
    assert ada.closed
    assert [line["event"] for line in lines] == ["a request failed on an unexpected error"]


async def test_requests_that_fail_as_none_should_fill_no_log(
    realm: Lab, ada: LabPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realmkeep.realm.server.intent_handler.check", broken)
    with structlog.testing.capture_logs() as lines:
        for _ in range(1_000):
            ada.closed = False
            realm.want(ada, "look")
    assert len(lines) == int(LINES_BURST)


@pytest.mark.parametrize("action", ["mail", "add_friend", "block"])
async def test_who_names_a_player_whose_record_cannot_be_read_hears_so_and_fills_no_log(
    realm: Lab, ada: LabPeer, action: str
) -> None:
    realm.store.perform(Put("player:55", b"garbage"))
    with structlog.testing.capture_logs() as lines:
        for _ in range(int(LINES_BURST) + 50):
            fields = {"gold": 1} if action == "mail" else {}
            assert await realm.refused(ada, action, player=55, **fields) == "unavailable"
    assert [line["event"] for line in lines] == ["a player cannot be loaded"] * int(LINES_BURST)


async def test_operations_that_fail_as_none_should_fill_no_log(
    realm: Lab, ada: LabPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> ActionRule:
        return ActionRule(broken, (), durable=True)

    monkeypatch.setattr("realmkeep.realm.server.intent_handler.action_rule", failing)
    with structlog.testing.capture_logs() as lines:
        for _ in range(int(LINES_BURST) + 50):
            ada.closed = False
            realm.want(ada, "set", name="a", value=1)
            await realm.clock.settle()
    assert len(lines) == int(LINES_BURST)


@pytest.mark.parametrize("again", [False, True])
async def test_an_operation_that_is_done_and_cannot_be_answered_sends_its_client_away(
    realm: Lab, ada: LabPeer, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    op = realm.want(ada, "set", name="a", value=1) if again else None
    await realm.clock.settle()
    monkeypatch.setattr("realmkeep.realm.server.intent_handler.state", broken)
    realm.want(ada, "set", op=op, name="a", value=1)
    await realm.clock.settle()
    assert ada.heard[-1] == {"type": "goodbye", "reason": "outcome_unknown"}
    assert ada.closed
    assert len(realm.realm.game.degraded) == 1


async def test_a_trade_that_is_done_and_cannot_be_told_leaves_nobody_waiting(
    realm: Lab, ada: LabPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = await realm.join(8)
    await realm.done(ada, "trade_request", player=8)
    await realm.done(bob, "trade_request", player=7)
    await realm.done(ada, "trade_offer", gold=10)
    realm.want(ada, "trade_confirm")
    monkeypatch.setattr(realm.realm.game.trades, "complete_trade", broken)
    realm.want(bob, "trade_confirm")
    await realm.clock.settle()
    assert [each.heard[-1] for each in (ada, bob)] == [{"type": "goodbye", "reason": "outcome_unknown"}] * 2


async def test_a_logout_that_fails_as_none_should_is_answered(
    realm: Lab, ada: LabPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> str:
        raise ZeroDivisionError("of the code's own making")

    monkeypatch.setattr("realmkeep.realm.server.logout_flow.save_final_state", fails)
    realm.say(ada, {"type": "logout"})
    await realm.clock.settle()
    assert ada.heard[-1] == {"type": "goodbye", "reason": "outcome_unknown"}
    assert ada.closed


async def test_a_quest_that_has_fewer_stages_than_a_player_came_through_ends_with_its_last(
    realm: Lab, ada: LabPeer
) -> None:
    """The world of an older release, where the quest was longer."""
    player, scene = realm.player(ada), realm.realm.game.scene()
    for name, quest in WORLD.quests.items():
        player.quest_progress = [QuestProgress(name, len(quest.stages) + 3)]
        entered(player, scene, "meadow")
        killed(player, scene, "rat")
        answer = await realm.act(ada, "advance_quest", quest=name)
        assert answer["type"] == "ack" or answer["reason"] == "not_finished", answer


async def test_a_datagram_that_could_not_be_taken_is_read_again_when_it_comes_again(
    udp: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The `error` may have been lost, and what stood against it may be over."""
    sid = udp.log_in()
    handle = udp.echo.handle_request
    ping = {"type": "ping", "t": 5, "sid": sid}

    def refuses(*_: object) -> None:
        raise BadInput("rate_limited", "not now")

    with monkeypatch.context() as patch:
        patch.setattr(udp.echo, "handle_request", refuses)
        assert [answer["reason"] for _ in range(2) for answer in udp.ask(ping)] == ["rate_limited"] * 2
    assert udp.echo.handle_request == handle
    assert [answer["type"] for answer in udp.ask(ping)] == ["pong"]
    assert udp.server.replies.find_address(ADA) is not None


async def test_what_was_not_taken_weighs_nothing(udp: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    sid = udp.log_in()
    before = udp.server.replies.bytes

    def refuses(*_: object) -> None:
        raise BadInput("bad_field", "no")

    monkeypatch.setattr(udp.echo, "handle_request", refuses)
    for number in range(100):
        udp.ask({"type": "ping", "t": number, "sid": sid})
    assert udp.server.replies.bytes == before


async def test_a_session_over_udp_that_the_server_ends_is_lost_to_the_game(udp: Lines) -> None:
    """Or its player would stay in the game with nobody behind it, and no grace would end that."""
    sid = udp.log_in()
    peer = udp.server.sessions[sid]
    peer.close()
    assert udp.echo.gone == [peer]
    peer.close()
    assert udp.echo.gone == [peer]
    assert json.loads(udp.raw(json.dumps({"type": "ping", "sid": sid, "pad": "." * 200}).encode())[0])["reason"] == (
        "not_logged_in"
    )


@pytest.mark.parametrize(
    ("on", "off", "listed"), [("add_friend", "remove_friend", "friends"), ("block", "unblock", "blocked")]
)
@pytest.mark.parametrize("gone", [b"garbage", None])
async def test_who_is_gone_for_good_can_be_taken_off_a_list(
    realm: Lab, ada: LabPeer, on: str, off: str, listed: str, gone: bytes | None
) -> None:
    bob = await realm.join(8)
    await realm.done(ada, on, player=8)
    realm.say(bob, {"type": "logout"})
    await realm.clock.settle()
    realm.store.perform(Delete("player:8") if gone is None else Put("player:8", gone))
    assert await realm.done(ada, off, player=8) == {listed: []}
    assert await realm.refused(ada, off, player=8) == "not_listed"
