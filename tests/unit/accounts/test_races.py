"""Two that change one account at once, and a login whose caller has gone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from realmkeep.accounts.accounts import Accounts
from realmkeep.errors import AuthFailed

PASSWORD = "four words of mine"


def once_before_a_replace(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[object]]
) -> list[bool]:
    """Something else happens between the reading and the writing of an account, once; returns whether it has."""
    replace = accounts._stored_accounts.replace
    happened: list[bool] = []

    async def raced(*given: Any) -> bool:
        if not happened:
            happened.append(True)
            await happens()
        return await replace(*given)

    monkeypatch.setattr(accounts._stored_accounts, "replace", raced)
    return happened


async def test_a_change_that_lost_a_race_reads_the_account_anew(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.create("Ada", PASSWORD)
    happened = once_before_a_replace(accounts, monkeypatch, lambda: accounts.add_character_id("ada", 5))
    await accounts.add_character_id("ada", 9)
    assert happened
    assert await accounts.character_ids("ada") == [5, 9]


async def test_a_ban_that_comes_while_a_login_is_under_way_ends_it(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.create("Ada", PASSWORD)
    before = (await accounts.account("ada")).tickets
    happened = once_before_a_replace(accounts, monkeypatch, lambda: accounts.ban("ada", "cheats"))
    with pytest.raises(AuthFailed):
        await accounts.login("ada", PASSWORD)
    assert happened
    assert [ticket for ticket in (await accounts.account("ada")).tickets if ticket not in before] == []


async def test_logins_whose_callers_went_away_count_as_no_failures(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.create("Ada", PASSWORD)
    with monkeypatch.context() as patched:
        started = asyncio.Event()

        async def hashes_for_ever(*_: object, **__: object) -> None:
            started.set()
            await asyncio.Event().wait()

        patched.setattr(accounts._pool, "run_call", hashes_for_ever)
        for _ in range(20):
            started.clear()
            login = asyncio.ensure_future(accounts.login("ada", PASSWORD))
            hashing = asyncio.ensure_future(started.wait())
            await asyncio.wait([login, hashing], return_when=asyncio.FIRST_COMPLETED)
            assert hashing.done(), login  # a throttled login ends without a hash
            login.cancel()
            await asyncio.gather(login, return_exceptions=True)
    assert (await accounts.login("ada", PASSWORD)).username == "ada"
