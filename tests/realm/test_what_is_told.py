"""Players hear what concerns them, operators see what strangers wrote and are not commanded by it."""

import logging
from typing import Any

import pytest
from lab import Lab, LabPeer

from realmkeep.errors import (
    CommitRefused,
    OpReused,
    OpTooOld,
    OutcomeUnknown,
    QueueFull,
    RateLimited,
    RealmkeepError,
    SessionEnded,
    SessionFrozen,
    ShuttingDown,
    StorageUnavailable,
    Unstorable,
)
from realmkeep.rate_limited_log import RateLimitedLog
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.outcomes import ActionUndecided, decided, refusal
from realmkeep.realm.server.reports import formatter, printable
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.testing.clock import FakeClock

SECRET = "redis://user:hunter2@10.1.2.3:6379"


async def test_players_are_warned_without_the_operators_words(
    realm: Lab, ada: LabPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Game, "degraded", property(lambda _: (f"{SECRET} is away: start it",)))
    await realm.ticks(1)
    monkeypatch.setattr(Game, "degraded", property(lambda _: ()))
    await realm.ticks(1)
    warnings = ada.events("warning")
    assert [warning["degraded"] for warning in warnings] == [True, False]
    assert all(warning["detail"] and "10.1.2.3" not in warning["detail"] for warning in warnings)


@pytest.mark.parametrize(
    "kind",
    [
        CommitRefused,
        OpReused,
        OpTooOld,
        QueueFull,
        RateLimited,
        SessionEnded,
        SessionFrozen,
        ShuttingDown,
        StorageUnavailable,
        Unstorable,
    ],
)
def test_a_refusal_is_in_our_words_and_not_in_the_errors(kind: type[RealmkeepError]) -> None:
    told = refusal(kind(f"player:7 at {SECRET}", hint=f"look at {SECRET}"), RateLimitedLog(FakeClock()))
    assert told.detail
    assert "10.1.2.3" not in told.detail
    assert "player:7" not in told.detail


async def test_whatever_may_have_happened_is_not_refused() -> None:
    async def ends(error: Exception) -> None:
        raise error

    lines = RateLimitedLog(FakeClock())
    with pytest.raises(ActionUndecided):
        await decided(ends(OutcomeUnknown("lost")), lines)
    with pytest.raises(ActionRefused):
        await decided(ends(StorageUnavailable("away")), lines)


def entry(log_format: Any, text: str, *args: object) -> str:
    record = logging.LogRecord("realm", logging.INFO, __file__, 1, text, args, None)
    return formatter(log_format, colours=False).format(record)


@pytest.mark.parametrize(
    "evil", ["\x1b[2J\x1b]0;owned\x07", "a\r\nfake line", "\x9b31m", "abc\u202etxt.exe", "\x00\x7f"]
)
def test_what_strangers_write_is_no_command_to_a_terminal(evil: str) -> None:
    for written in (entry("console", "login of %s", evil), entry("console", evil), entry("json", "login of %s", evil)):
        assert written.isprintable(), written
        assert "\x1b" not in written


def test_names_of_all_the_world_are_written_as_they_are() -> None:
    assert printable("Zoë, Łukasz, 李, Ольга") == "Zoë, Łukasz, 李, Ольга"
    assert "Zoë" in entry("console", "login of %s", "Zoë")


async def test_a_player_is_found_by_name_whoever_comes_and_goes(realm: Lab, ada: LabPeer) -> None:
    connections = realm.realm.game.connections
    bob = await realm.join(8)
    connection = connections.by_id[8]
    assert (
        connections.find_player("player8"),
        connections.find_player("PLAYER8"),
        connections.find_player("player9"),
    ) == (
        connection,
        connection,
        None,
    )
    realm.drop(bob)
    assert connections.find_player("player8") is connection, "in grace, and still here"
    await realm.ticks(31)
    await realm.clock.settle()
    assert connections.find_player("player8") is None
    back = await realm.join(8)
    assert connections.find_player("player8") is connections.by_peer[back]
    await realm.crash()
    await realm.start()
    assert realm.realm.game.connections.find_player("player7") is realm.realm.game.connections.by_id[7]


async def test_who_is_looked_for_by_name_is_not_looked_for_among_all(
    realm: Lab, ada: LabPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await realm.join(8)

    def everybody(_: object) -> None:
        pytest.fail("every seat was looked at")

    monkeypatch.setattr(type(realm.realm.game.connections), "__iter__", everybody)
    assert (await realm.done(ada, "trade_request", player="player8"))["opened"] is False
    assert await realm.refused(ada, "trade_request", player="nobody") == "not_here"
