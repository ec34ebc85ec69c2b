"""Names that look alike: one of them has an account."""

import asyncio
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep import keys
from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.login import Login
from realmkeep.accounts.skeletons import confusables, skeleton
from realmkeep.accounts.usernames import fold_username
from realmkeep.errors import AlreadyExists, AuthFailed
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.storage import Guard
from realmkeep.storage.memory import MemoryStore
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, FaultyStorage

PASSWORD = "four words of mine"
ALIKE = [
    ("alvin", "alv\u0131n"),  # dotless i
    ("amanda", "\u0251manda"),  # Latin alpha
    ("alvin", "alvi\u0307n"),  # a dot over the dot
    ("cope", "\u0441\u043e\u0440\u0435"),  # all Cyrillic
    ("pace", "\u0440\u0430\u0441\u0435"),  # all Cyrillic
    ("adam", "adarn"),
    ("bob", "b0b"),
    ("paul1", "paull"),
    ("ADMIRAL", "admira1"),
    ("\u00e1da", "\u00e1\u0301da"),  # one accent over the other
    ("i\u0323nga", "i\u0323\u0307nga"),
]


@pytest.mark.parametrize(("first", "second"), ALIKE)
async def test_of_two_names_that_look_alike_the_second_is_taken(accounts: Accounts, first: str, second: str) -> None:
    for one, other in ((first, second), (second, first)):
        made = await accounts.create(one, PASSWORD)
        with pytest.raises(AuthFailed, match="looks like one that is taken") as caught:
            await accounts.create(other, PASSWORD)
        assert caught.value.reason == "username_taken"
        await accounts.login(one, PASSWORD)
        await accounts.delete(made.username)


@pytest.mark.parametrize(
    ("first", "second"), [("alvin", "alwin"), ("anna", "\u00e1nna"), ("ada_b", "ada-b"), ("bob1", "bob2")]
)
async def test_names_that_differ_are_two(accounts: Accounts, first: str, second: str) -> None:
    made = [(await accounts.create(name, PASSWORD)).username for name in (first, second)]
    assert [(await accounts.login(name, PASSWORD)).username for name in (first, second)] == made
    assert len(set(made)) == 2


async def test_of_lookalikes_that_register_at_once_one_gets_in(realm: Any) -> None:
    one, two = await realm.server("town-1"), await realm.server("town-2")
    for turn in range(5):
        names = [f"cope{turn + 2}", f"c\u006fpe{turn + 2}", f"\u0441\u043e\u0440\u0435{turn + 2}", f"c0pe{turn + 2}"]
        results = await asyncio.gather(
            *(each.create(name, PASSWORD) for each, name in zip((one, two, one, two), names, strict=True)),
            return_exceptions=True,
        )
        assert len([each for each in results if isinstance(each, Login)]) == 1
        refused = [each.reason for each in results if isinstance(each, AuthFailed)]
        assert refused == ["username_taken"] * 3


async def test_accounts_of_before_are_protected_and_a_pair_of_before_goes_on(
    realm: Any, storage: FaultyStorage, store: MemoryStore
) -> None:
    first: Accounts = await realm.server("town-1")
    for name in ("alvin", "cope"):
        await first.create(name, PASSWORD)
    stored_accounts = UnownedRecords(Account, storage)
    found = await stored_accounts.get("cope")
    assert found is not None
    found.record.username = "\u0441\u043e\u0440\u0435"
    assert await stored_accounts.create("\u0441\u043e\u0440\u0435", found.record)
    held, expires = store.snapshot()
    of_before = {key: value for key, value in held.items() if not key.startswith("server:skeleton")}
    store.restore((of_before, expires))
    later: Accounts = await realm.server("town-2")
    for name in ("alvin", "cope", "\u0441\u043e\u0440\u0435"):
        assert (await later.login(name, PASSWORD)).username == name
    for name in ("alv\u0131n", "c0pe"):
        with pytest.raises(AuthFailed, match="looks like"):
            await later.create(name, PASSWORD)
    await later.delete("cope")
    await later.delete("\u0441\u043e\u0440\u0435")
    await later.create("c0pe", PASSWORD)


async def test_every_key_is_looked_at_once_a_realm(realm: Any, storage: FaultyStorage) -> None:
    await (await realm.server("town-1")).create("ada", PASSWORD)
    before = storage.calls["keys"]
    await realm.server("town-2")
    assert storage.calls["keys"] == before


async def test_a_deleted_account_gives_its_look_free(accounts: Accounts, storage: FaultyStorage) -> None:
    await accounts.create("alvin", PASSWORD)
    with pytest.raises(AlreadyExists):
        await accounts.delete("alvin", Guard("hero:1", b"there"))
    await accounts.delete("alvin")
    await accounts.create("alv\u0131n", PASSWORD)
    await storage.delete(keys.account("alv\u0131n"))  # by hand: its look stays behind
    await accounts.create("alvin", PASSWORD)


@pytest.mark.parametrize("fault", [LOSE_REPLY, LOSE_REQUEST])
async def test_a_lost_answer_takes_no_name_from_its_owner(
    accounts: Accounts, storage: FaultyStorage, clock: Any, fault: Any
) -> None:
    storage.script("write", fault)
    registering = asyncio.ensure_future(accounts.create("alvin", PASSWORD))
    while not registering.done():
        await asyncio.sleep(0.001)
        await clock.advance(0.02)
    assert registering.result().username == "alvin"
    with pytest.raises(AuthFailed):
        await accounts.create("alv\u0131n", PASSWORD)


def test_a_skeleton_is_one_for_every_way_to_write_a_name() -> None:
    for first, second in ALIKE[:8]:
        assert skeleton(first) == skeleton(second)
    assert skeleton("\ua4ee\ua4d3\ua4df") == skeleton("ADM") == skeleton("adm"), "letters of Lisu, all of them"
    assert skeleton("\u00e1da") == skeleton("a\u0301da") != skeleton("ada")
    assert len(confusables()) > 1_500
    assert all(fold_username(char) == char for char in confusables())


@given(st.text(max_size=20))
def test_no_name_at_all_is_a_crash_and_folding_changes_no_skeleton(name: str) -> None:
    assert skeleton(name) == skeleton(fold_username(name)) == skeleton(unicodedata.normalize("NFD", name))
    keys.account_skeleton("0" * 32)


@pytest.mark.parametrize(
    "name",
    [
        "admin",
        "ADMIN",
        "adm\u0131n",
        "admi\u0307n",
        "admin1",
        "4admin",
        "a-d-m-i-n",
        "adrnin",
        "root_",
        "realm-of-ash",
        "RealmofAsh7",
    ],
)
async def test_a_reserved_name_and_what_looks_like_it_is_nobodys(accounts: Accounts, name: str) -> None:
    with pytest.raises(AuthFailed, match="reserved") as caught:
        await accounts.create(name, PASSWORD)
    assert caught.value.reason == "bad_username"


async def test_which_names_are_reserved_is_the_realms_to_say(realm: Any) -> None:
    accounts: Accounts = await realm.server(reserved_names="oracle")
    await accounts.create("admin", PASSWORD)
    with pytest.raises(AuthFailed, match="reserved"):
        await accounts.create("0racle", PASSWORD)
    accounts = await realm.server("town-2", reserved_names="")
    await accounts.create("oracle", PASSWORD)
