"""User names and passwords from all of Unicode, through registration and login."""

import asyncio
import logging
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.password_rules import common_passwords
from realmkeep.accounts.passwords import Argon2Cost
from realmkeep.accounts.server_keys import ServerKeys, init_server_encryption
from realmkeep.accounts.usernames import fold_username
from realmkeep.config import AuthConfig
from realmkeep.errors import AuthFailed
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.storage.memory import MemoryStorage

LONG = "and then four more words"
letters = st.text(st.characters(categories=["L", "M", "N"]), min_size=1, max_size=12)
anything = st.text(st.characters(), max_size=40)


@pytest.fixture(autouse=True, scope="module")
def without_a_line_for_each_refusal() -> Iterator[None]:
    log = logging.getLogger("realmkeep.accounts")
    log.setLevel(logging.ERROR)
    yield
    log.setLevel(logging.NOTSET)


@cache
def server_keys() -> ServerKeys:
    common_passwords()
    with TemporaryDirectory() as directory:
        return init_server_encryption(Path(directory) / "keys.json")


async def registered_and_logged_in(keys: ServerKeys, username: str, password: str, other: str) -> None:
    storage = MemoryStorage()
    await storage.connect()
    accounts = Accounts(
        UnownedRecords(Account, storage),
        storage,
        config=AuthConfig(answer_time_s=0),
        server_name="town-1",
        keys=keys,
        cost=Argon2Cost(8, 1, 1),
    )
    async with accounts.running():
        try:
            made = await accounts.create(username, password)
        except AuthFailed as refusal:
            made, reason = None, refusal.reason
        else:
            reason = ""
        if made is None:
            assert reason in {"bad_username", "weak_password"}
            assert [key async for key in storage.keys("account:*")] == []
            with pytest.raises(AuthFailed, match="wrong"):
                await accounts.login(username, password)
            return
        assert made.username == fold_username(username)
        for spelling in (username, username.upper(), unicodedata.normalize("NFD", username)):
            if fold_username(spelling) == made.username:
                assert (
                    await accounts.login(spelling, unicodedata.normalize("NFD", password))
                ).username == made.username
        if unicodedata.normalize("NFC", other) != unicodedata.normalize("NFC", password):
            with pytest.raises(AuthFailed, match="wrong"):
                await accounts.login(username, other)
        await accounts.login_with_ticket(made.ticket)


@given(letters | anything, anything.map(lambda text: text + LONG) | anything, anything)
@example("ada", LONG, "\ud800" * 20)
@example("\ud800\ud800\ud800", LONG, "")
@example("ada", "\ud800" * 20, "")
@example("ada\x00", LONG, "")
@example("ada", "x" * 20 + "\x00", "x" * 20)
@settings(max_examples=60)
def test_whatever_was_registered_logs_in_and_whatever_was_refused_does_not(
    username: str, password: str, other: str
) -> None:
    asyncio.run(registered_and_logged_in(server_keys(), username, password, other))
