"""The counter of ids behind the front door: a stranger moves it by being let in alone, and nothing stands still without it."""

from pathlib import Path

import pytest
from lab import Lab, lab

from realmkeep.errors import NoMoreIds
from realmkeep.keys import SERVER_ID_COUNTER
from realmkeep.storage import Put

PASSWORD = "four words of mine"


def counted(realm: Lab) -> bytes | None:
    return realm.store.value(SERVER_ID_COUNTER)


async def answer_to(realm: Lab, username: str, password: str = PASSWORD) -> str:
    """What a registration hears: its type, or why not."""
    peer = await realm.come_in({"type": "register", "username": username, "password": password})
    (answer,) = [message for message in peer.heard if message["type"] in {"auth_ok", "auth_fail", "error"}]
    return answer.get("reason", answer["type"])


async def test_an_id_is_taken_by_who_is_let_in_alone(realm: Lab) -> None:
    before = int(counted(realm) or b"0")
    assert await answer_to(realm, "ada") == "auth_ok"
    assert counted(realm) == b"%d" % (before + 1)
    for username, password, why in (
        ("ada", PASSWORD, "username_taken"),
        ("ad", PASSWORD, "bad_username"),
        ("bob", "short", "weak_password"),
        ("bob", "bob", "weak_password"),
    ):
        assert await answer_to(realm, username, password) == why
    for _ in range(60):
        await answer_to(realm, "ada")
    assert await answer_to(realm, "bob") == "throttled"
    assert counted(realm) == b"%d" % (before + 1)


@pytest.mark.parametrize("stored", [2**63 - 1, 2**53, 2**52])
async def test_a_realm_whose_counter_ran_away_starts_and_lets_its_players_in(tmp_path: Path, stored: int) -> None:
    async with lab(tmp_path) as first:
        assert await answer_to(first, "ada") == "auth_ok"
        store = first.store
    store.perform(Put(SERVER_ID_COUNTER, b"%d" % stored))
    async with lab(tmp_path, store=store) as realm:
        peer = await realm.come_in({"type": "login", "username": "ada", "password": PASSWORD})
        assert peer.heard[0]["type"] == "auth_ok"
        assert await answer_to(realm, "bob") == "unavailable"
        (why,) = realm.keeper.degraded
        assert SERVER_ID_COUNTER in why
        await realm.ticks(3)
        store.perform(Put(SERVER_ID_COUNTER, b"5000"))
        assert await answer_to(realm, "bob") == "auth_ok"
        await realm.ticks(3)
        assert not realm.realm.game.serials.low
        assert not realm.keeper.degraded


async def test_a_crowd_of_refused_strangers_does_not_move_the_counter(realm: Lab) -> None:
    before = counted(realm)
    for number in range(200):
        await answer_to(realm, f"stranger{number}", "short")
    assert counted(realm) == before


async def test_a_realm_without_serials_refuses_what_needs_one(realm: Lab) -> None:
    realm.store.perform(Put(SERVER_ID_COUNTER, b"%d" % 2**60))
    with pytest.raises(NoMoreIds):
        await realm.keeper.allocate_id()
    game = realm.realm.game
    while not game.serials.low:
        game.serials.take_serial()
    await realm.ticks(5)
    assert not game.refilling
