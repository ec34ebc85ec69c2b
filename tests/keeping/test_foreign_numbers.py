"""A number that something else wrote into the store is bounded before it is converted: everybody gets an answer."""

import pytest

from keeping.game import Player, enter
from realmkeep import keys
from realmkeep.errors import RealmkeepError
from realmkeep.testing.lab import Lab

MANY_DIGITS = b"9" * 100_000  # Python's int() refuses more than 4,300
NUMBERS = [MANY_DIGITS, b"-1", b"", b" 7", b"7.0", b"1e9", b"\xc2\xb2", b"\xd9\xa1", b"9" * 19, b"18446744073709551616"]
KEYS = keys.record_keys("rover", 1)


async def hint_of_a_refusal(lab: Lab) -> str | None:
    """A login that is answered: with a session, which is given back, or with an error that says what to do."""
    try:
        session = await lab.finish(lab.keeper.login(Player, 1))
    except RealmkeepError as refused:
        return refused.hint
    assert session is not None
    await session.logout()
    return None


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: str(number[:20]))
@pytest.mark.parametrize("key", [KEYS.version, KEYS.updated, KEYS.owner, KEYS.ops, keys.SERVER_ID_COUNTER])
async def test_a_login_is_answered_whatever_stands_where_a_number_belongs(lab: Lab, key: str, number: bytes) -> None:
    await (await enter(lab.keeper)).logout()
    lab.store.replace(key, number)
    assert await hint_of_a_refusal(lab) != ""


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: str(number[:20]))
async def test_an_owner_key_with_a_foreign_token_is_answered(lab: Lab, number: bytes) -> None:
    await (await enter(lab.keeper)).logout()
    lab.store.replace(KEYS.owner, b"elsewhere/incarnation/" + number)
    assert await hint_of_a_refusal(lab) != ""
