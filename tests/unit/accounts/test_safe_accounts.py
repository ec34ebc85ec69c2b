"""No crash of the store takes back an account, or a change of one, that was acknowledged: nobody would remember it."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from realmkeep.accounts.accounts import Accounts
from realmkeep.errors import AuthFailed, OutcomeUnknown
from realmkeep.storage import Capability
from realmkeep.storage.memory import MemoryStorage
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, FaultyStorage, delay

PASSWORD = "four words of mine"
OTHER = "some other long words"
FSYNC_S = 1.0
PATIENCE_S = 20.0


async def leave(accounts: Accounts) -> None:
    """A device logs out."""
    (ticket,) = (await accounts.account("ada")).tickets
    await accounts.end_family("ada", ticket.family)


CHANGES: dict[str, Callable[[Accounts], Awaitable[object]]] = {
    "create": lambda accounts: accounts.create("bob", PASSWORD),
    "change_password": lambda accounts: accounts.change_password("ada", PASSWORD, OTHER),
    "reset_password": lambda accounts: accounts.reset_password("ada", OTHER),
    "ban": lambda accounts: accounts.ban("ada", "a cheat"),
    "lift_ban": lambda accounts: accounts.lift_ban("ada"),
    "set_character_id": lambda accounts: accounts.set_character_id("ada", 9),
    "delete": lambda accounts: accounts.delete("ada"),
    "logout_everywhere": lambda accounts: accounts.logout_everywhere("ada"),
    "end_family": leave,
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_answered_when_it_is_safe(
    accounts: Accounts, storage: FaultyStorage, clock: FakeClock, change: str
) -> None:
    await accounts.create("ada", PASSWORD)
    storage.script("flush", delay(FSYNC_S))
    changing = asyncio.ensure_future(CHANGES[change](accounts))
    async with asyncio.timeout(PATIENCE_S):
        while not storage.calls["flush"] > 1:
            await asyncio.sleep(0)  # a thread hashes
    await clock.settle()
    assert not changing.done()
    await clock.advance(FSYNC_S)
    await changing


async def test_who_cannot_be_told_that_it_is_safe_is_told_so(accounts: Accounts, storage: FaultyStorage) -> None:
    storage.script("flush", LOSE_REPLY)
    with pytest.raises(OutcomeUnknown, match="may be lost"):
        await accounts.create("ada", PASSWORD)
    assert (await accounts.login("ada", PASSWORD)).username == "ada"


async def test_a_login_waits_for_nothing(accounts: Accounts, storage: FaultyStorage) -> None:
    await accounts.create("ada", PASSWORD)
    storage.calls.clear()
    ticket = (await accounts.login("ada", PASSWORD)).ticket
    await accounts.login_with_ticket(ticket)
    assert storage.calls["flush"] == 0


async def test_a_store_that_loses_nothing_is_not_asked_to(
    accounts: Accounts, storage: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def safe(storage: MemoryStorage) -> Capability:
        return msgspec.structs.replace(promises(storage), loss_window_s=0.0)

    promises = MemoryStorage.capability.__get__
    monkeypatch.setattr(MemoryStorage, "capability", property(safe))
    await accounts.create("ada", PASSWORD)
    assert storage.calls["flush"] == 0


@pytest.mark.parametrize("change", ["change_password", "reset_password", "ban", "logout_everywhere", "end_family"])
async def test_no_crash_of_the_store_brings_a_revoked_ticket_back(
    accounts: Accounts, storage: FaultyStorage, change: str
) -> None:
    """Until the change is answered, a crash of the store takes it back; afterwards none does."""
    ticket = (await accounts.create("ada", PASSWORD)).ticket
    storage.remember()
    flush = storage.flush

    async def flushed() -> None:
        await flush()
        storage.remember()  # from here on a crash takes nothing of this

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "flush", flushed)
        await CHANGES[change](accounts)
    storage.crash()
    storage.down = False
    with pytest.raises(AuthFailed) as caught:
        await accounts.login_with_ticket(ticket)
    assert caught.value.reason == "bad_credentials"


async def test_a_crash_before_the_answer_takes_a_change_back(accounts: Accounts, storage: FaultyStorage) -> None:
    """The control of the test above: without the flush the ticket is back."""
    ticket = (await accounts.create("ada", PASSWORD)).ticket
    storage.remember()
    await accounts.logout_everywhere("ada")
    storage.crash()
    storage.down = False
    assert (await accounts.login_with_ticket(ticket)).username == "ada"
