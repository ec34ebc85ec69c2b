"""Every login is answered, whatever is wrong with it, and no number of logins fills a disk."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import structlog
from lab import Lab, LabPeer
from test_login_flow import comes_in

from realmkeep.accounts import encrypt_auth_payload
from realmkeep.errors import SealBroken
from realmkeep.rate_limited_log import LINES_BURST, LINES_PER_S
from realmkeep.realm.server.login_flow import new_player


def sealed(realm: Lab, plaintext: bytes) -> dict[str, Any]:
    payload = encrypt_auth_payload(plaintext, realm.realm.game.accounts.public_key).payload
    return {"type": "login", "encrypted_payload": payload}


@pytest.mark.parametrize("digits", [1, 17, 350, 400, 3_900])
@pytest.mark.parametrize("sign", ["", "-"])
async def test_a_sealed_login_with_any_timestamp_is_answered(realm: Lab, digits: int, sign: str) -> None:
    plaintext = f'{{"username":"ada","password":"b","timestamp":{sign}{"9" * digits}}}'
    peer = LabPeer("somewhere", realm.clock.monotonic_s())
    with structlog.testing.capture_logs() as lines:
        realm.say(peer, sealed(realm, plaintext.encode()))
        await realm.clock.finish(realm.realm.game.background.wait_finished())
    assert [answer["type"] for answer in peer.heard] == ["auth_fail"]
    assert peer.heard[0]["reason"] in {"bad_credentials", "replayed"}
    assert [line for line in lines if line["log_level"] == "error"] == []


async def test_a_login_that_fails_as_none_should_is_answered_and_told(
    realm: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> object:
        raise OverflowError("of the code's own making")

    monkeypatch.setattr(realm.realm.game.accounts, "open_sealed", broken)
    peer = LabPeer("somewhere", realm.clock.monotonic_s())
    with structlog.testing.capture_logs() as lines:
        for _ in range(1_000):
            realm.say(peer, {"type": "login", "encrypted_payload": "00"})
            await realm.clock.settle()
    assert peer.heard == [{"type": "auth_fail", "reason": "unavailable"}] * 1_000
    assert [line["event"] for line in lines] == ["a login failed on an unexpected error"] * int(LINES_BURST)


@pytest.mark.parametrize("broken", [SealBroken, lambda: msgspec.ValidationError("x")])
async def test_a_second_login_is_heard_after_one_that_failed(
    realm: Lab, monkeypatch: pytest.MonkeyPatch, broken: Callable[[], Exception]
) -> None:
    async def fails(*_: object, **__: object) -> object:
        raise broken()

    with monkeypatch.context() as patch, structlog.testing.capture_logs():
        patch.setattr(realm.realm.game.accounts, "open_sealed", fails)
        peer = await realm.come_in({"type": "login", "encrypted_payload": "00"})
    realm.say(peer, {"type": "login", "ticket": "nobody." + "0" * 64})
    await realm.clock.finish(realm.realm.game.background.wait_finished())
    assert [answer["reason"] for answer in peer.heard][1:] == ["bad_credentials"]


async def test_players_who_come_and_go_fill_no_disk(realm: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realmkeep.realm.server.login_flow.LOGIN_PRICE", 0.0)
    player = new_player(realm.realm.game.world, 9, "eva")
    turns = 3 * int(LINES_BURST)
    with structlog.testing.capture_logs() as lines:
        answer = (await comes_in(realm, player)).heard[-1]
        for _ in range(turns):
            peer = LabPeer("elsewhere", realm.clock.monotonic_s())
            realm.say(peer, {"type": "login", "ticket": answer["ticket"]})
            await realm.clock.settle()
            answer = peer.heard[0]
            assert answer["type"] == "auth_ok"
    assert len(lines) <= LINES_BURST + LINES_PER_S
