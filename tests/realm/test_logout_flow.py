"""The ends of a login, on the wire: logout, logout everywhere, change of password, ban, theft."""

import asyncio
from typing import Any

import pytest
from lab import Lab, LabPeer

from realmkeep.accounts import encrypt_auth_payload
from realmkeep.errors import OutcomeUnknown, StorageError, StorageUnavailable
from realmkeep.realm.world.player import Player

PASSWORD = "four words of mine"
OTHER = "some other long words"
Message = dict[str, Any]


async def wait(realm: Lab, peer: LabPeer, kind: str, *, since: int = 0) -> Message:
    """The next answer of a kind; hashes are made on threads, so that turning the clock alone brings none."""
    async with asyncio.timeout(20):
        while True:
            for message in peer.heard[since:]:
                if message["type"] in {kind, "auth_fail", "error"}:
                    return message
            await asyncio.sleep(0.001)
            await realm.clock.advance(0.01)


async def came_in(realm: Lab, credentials: Message, *, name: str = "somewhere") -> tuple[LabPeer, Message]:
    peer = LabPeer(name, realm.clock.monotonic_s())
    realm.say(peer, credentials)
    return peer, await wait(realm, peer, "auth_ok")


async def registered(realm: Lab) -> tuple[LabPeer, Message]:
    return await came_in(realm, {"type": "register", "username": "ada", "password": PASSWORD})


async def resumed(realm: Lab, ticket: str) -> str:
    _, answer = await came_in(realm, {"type": "login", "ticket": ticket}, name="elsewhere")
    return answer.get("reason", answer["type"])


async def asked(realm: Lab, peer: LabPeer, message: Message, kind: str) -> Message:
    since = len(peer.heard)
    realm.say(peer, message)
    return await wait(realm, peer, kind, since=since)


async def looked(realm: Lab) -> None:
    await realm.clock.finish(realm.realm.game.accounts.check_followed())
    await realm.clock.settle()


@pytest.mark.parametrize("everywhere", [None, False, True])
async def test_a_logout_ends_the_ticket_of_its_device_or_all(realm: Lab, everywhere: bool | None) -> None:
    ada, came = await registered(realm)
    _, other = await came_in(realm, {"type": "login", "username": "ada", "password": PASSWORD})
    ada, came = await came_in(realm, {"type": "login", "ticket": came["ticket"]})
    assert await asked(realm, ada, {"type": "logout", "everywhere": everywhere}, "goodbye") == {"type": "goodbye"}
    assert not ada.logged_in
    assert await resumed(realm, came["ticket"]) == "bad_credentials"
    assert await resumed(realm, other["ticket"]) == ("bad_credentials" if everywhere else "auth_ok")


async def test_a_stolen_ticket_ends_with_the_logout_of_its_owner(realm: Lab) -> None:
    _, came = await registered(realm)
    ada, again = await came_in(realm, {"type": "login", "ticket": came["ticket"]})
    stolen = again["ticket"]
    await asked(realm, ada, {"type": "logout"}, "goodbye")
    assert await resumed(realm, stolen) == "bad_credentials"
    assert await resumed(realm, came["ticket"]) == "bad_credentials"


@pytest.mark.parametrize("error", [StorageUnavailable("away"), OutcomeUnknown("lost")])
async def test_a_logout_whose_tickets_may_not_have_ended_is_not_called_done(
    realm: Lab, monkeypatch: pytest.MonkeyPatch, error: StorageError
) -> None:
    ada, _ = await registered(realm)

    async def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(realm.realm.game.accounts, "end_family", fails)
    answer = await asked(realm, ada, {"type": "logout"}, "goodbye")
    assert answer["reason"] == ("unavailable" if isinstance(error, StorageUnavailable) else "outcome_unknown")
    assert ada.closed


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_change_of_password_ends_every_other_login_and_not_this_one(realm: Lab, *, sealed: bool) -> None:
    _, first = await registered(realm)
    ada, second = await came_in(realm, {"type": "login", "username": "ada", "password": PASSWORD})
    request: Message = {"password": PASSWORD, "new_password": OTHER}
    seal = encrypt_auth_payload(request, realm.realm.game.accounts.public_key, clock=realm.clock)
    if sealed:
        request = {"encrypted_payload": seal.payload}
    answer = await asked(realm, ada, {"type": "change_password", **request}, "password_changed")
    assert answer["type"] == "password_changed"
    await looked(realm)
    assert ada.logged_in
    assert not ada.closed
    await realm.done(ada, "look")
    for old in (first["ticket"], second["ticket"]):
        assert await resumed(realm, old) == "bad_credentials"
    for password, expected in ((PASSWORD, "bad_credentials"), (OTHER, "auth_ok")):
        _, tried = await came_in(realm, {"type": "login", "username": "ada", "password": password})
        assert tried.get("reason", tried["type"]) == expected
    ticket = seal.open_ticket(answer["sealed_ticket"]) if sealed else answer["ticket"]
    assert ("ticket" in answer) is not sealed
    assert await resumed(realm, ticket) == "auth_ok"


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_password_of_an_operator_opens_nothing_but_a_change_of_it(realm: Lab, *, sealed: bool) -> None:
    _, first = await registered(realm)
    await realm.clock.finish(realm.realm.game.accounts.reset_password("ada", OTHER))
    login: Message = {"username": "ada", "password": OTHER}

    async def enters(**more: str) -> str:
        shown: Message = login | more
        if sealed:
            key = realm.realm.game.accounts.public_key
            shown = {"encrypted_payload": encrypt_auth_payload(shown, key, clock=realm.clock).payload}
        _, answer = await came_in(realm, {"type": "login", **shown})
        return answer.get("reason", answer["type"])

    assert await resumed(realm, first["ticket"]) == "bad_credentials"
    assert await enters() == "new_password_required"
    assert await enters(new_password=PASSWORD) == "auth_ok"
    assert await enters(password=PASSWORD) == "auth_ok"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"password": "wrong", "new_password": OTHER}, "bad_credentials"),
        ({"password": PASSWORD, "new_password": "short"}, "weak_password"),
        ({"password": PASSWORD}, "bad_field"),
        ({"new_password": OTHER}, "bad_field"),
        ({}, "bad_field"),
        ({"encrypted_payload": "00"}, "bad_credentials"),
        ({"password": 7, "new_password": OTHER}, "bad_field"),
    ],
)
async def test_a_change_of_password_that_is_refused_changes_nothing(realm: Lab, fields: Message, reason: str) -> None:
    ada, came = await registered(realm)
    answer = await asked(realm, ada, {"type": "change_password", **fields}, "password_changed")
    assert answer["reason"] == reason
    assert ada.logged_in
    assert await resumed(realm, came["ticket"]) == "auth_ok"


async def test_a_change_of_password_needs_a_session_and_one_at_a_time(realm: Lab) -> None:
    message = {"type": "change_password", "password": PASSWORD, "new_password": OTHER}
    stranger = LabPeer("somewhere", realm.clock.monotonic_s())
    assert (await asked(realm, stranger, message, "error"))["reason"] == "not_logged_in"
    ada, _ = await registered(realm)
    realm.say(ada, message)
    assert (await asked(realm, ada, message, "error"))["reason"] == "rate_limited"
    assert (await wait(realm, ada, "password_changed", since=len(ada.heard)))["type"] == "password_changed"


@pytest.mark.parametrize("way", ["ban", "logout_everywhere"])
async def test_a_player_whose_account_ended_is_sent_away_and_saved(realm: Lab, way: str) -> None:
    ada, came = await registered(realm)
    player_id = came["player_id"]
    realm.player(ada).hp = 42
    accounts = realm.realm.game.accounts
    await realm.clock.finish(accounts.ban("ada", "duping") if way == "ban" else accounts.logout_everywhere("ada"))
    await looked(realm)
    assert ada.heard[-1] == {"type": "goodbye", "reason": "banned" if way == "ban" else "revoked"}
    assert ada.closed
    assert player_id not in realm.realm.game.connections.by_id
    assert realm.keeper.session(Player, player_id) is None
    saved = await realm.clock.finish(realm.keeper.table(Player).load(player_id))
    assert saved is not None
    assert saved.hp == 42
    await looked(realm)
    assert [message["type"] for message in ada.heard].count("goodbye") == 1


async def test_a_superseded_ticket_sends_its_thief_away(realm: Lab) -> None:
    _, came = await registered(realm)
    thief, stolen = await came_in(realm, {"type": "login", "ticket": came["ticket"]}, name="thief")
    thief, stolen = await came_in(realm, {"type": "login", "ticket": stolen["ticket"]}, name="thief")
    assert await resumed(realm, came["ticket"]) == "bad_credentials", "the owner comes back with the old one"
    await looked(realm)
    assert thief.heard[-1] == {"type": "goodbye", "reason": "revoked"}
    assert await resumed(realm, stolen["ticket"]) == "bad_credentials"


async def test_a_server_that_insists_on_seals_refuses_a_plain_change(realm: Lab) -> None:
    ada, _ = await registered(realm)
    reader = realm.realm.login_flow._reader  # pyright: ignore[reportPrivateUsage] - as if it had been configured
    reader._require_encryption = True  # pyright: ignore[reportPrivateUsage] - as above
    message = {"type": "change_password", "password": PASSWORD, "new_password": OTHER}
    assert (await asked(realm, ada, message, "password_changed"))["reason"] == "encryption_required"


async def test_a_player_without_an_account_leaves_all_the_same(realm: Lab) -> None:
    """Its account was deleted while it played."""
    ada, _ = await registered(realm)
    await realm.clock.finish(realm.realm.game.accounts.delete("ada"))
    assert await asked(realm, ada, {"type": "logout"}, "goodbye") == {"type": "goodbye"}
