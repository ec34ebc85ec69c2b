"""Logins end on every server within two seconds of what ends them, and no other login does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from realmkeep.accounts import notices
from realmkeep.accounts.account_watch import POLL_S, FollowedLogin
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.login import Login
from realmkeep.accounts.notices import KEEP_S, AccountNotices
from realmkeep.errors import AlreadyExists, AuthFailed, StorageUnavailable
from realmkeep.keys import SERVER_ACCOUNT_NOTICES
from realmkeep.storage import Guard, Transaction
from realmkeep.storage.memory import MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, Fault, FaultyStorage, duplicate, late, reject

PASSWORD = "four words of mine"
OTHER = "some other long words"
WITHIN_S = 2 * POLL_S


@pytest.fixture
async def far(realm: Any) -> Accounts:
    """Another server of the realm."""
    return await realm.server("town-2")


class Player:
    """A session of an account on one server, and why it ended."""

    def __init__(self, accounts: Accounts, login: Login) -> None:
        self.ended: list[str] = []
        self.login = login
        self.followed: FollowedLogin = accounts.follow(login, self.ended.append)


async def playing(accounts: Accounts, name: str = "ada") -> Player:
    return Player(accounts, await accounts.login(name, PASSWORD))


async def steal(accounts: Accounts, player: Player) -> None:
    """Use a ticket twice, and the next one, and the first again."""
    first = player.login.ticket
    second = await accounts.login_with_ticket(first)
    await accounts.login_with_ticket(second.ticket)
    with pytest.raises(AuthFailed, match="wrong"):
        await accounts.login_with_ticket(first)


ENDS: dict[str, tuple[str, Callable[[Accounts, Player], Awaitable[object]]]] = {
    "ban": ("banned", lambda accounts, _: accounts.ban("ada", "duping")),
    "ban for a time": ("banned", lambda accounts, _: accounts.ban("ada", "duping", until_s=1 << 40)),
    "change of password": ("revoked", lambda accounts, _: accounts.change_password("ada", PASSWORD, OTHER)),
    "reset of password": ("revoked", lambda accounts, _: accounts.reset_password("ada", OTHER)),
    "logout everywhere": ("revoked", lambda accounts, _: accounts.logout_everywhere("ada")),
    "theft": ("revoked", steal),
    "delete": ("revoked", lambda accounts, _: accounts.delete("ada")),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_a_session_ends_on_whichever_server_it_lives(
    accounts: Accounts, far: Accounts, clock: FakeClock, end: str, where: str
) -> None:
    expected, happens = ENDS[end]
    await accounts.create("ada", PASSWORD)
    await accounts.create("bob", PASSWORD)
    ada, bob = await playing(accounts), await playing(accounts, "bob")
    await clock.advance(WITHIN_S)
    await happens(accounts if where == "here" else far, ada)
    await clock.advance(WITHIN_S)
    assert (ada.ended, bob.ended) == ([expected], [])
    await clock.advance(10 * WITHIN_S)
    assert (ada.ended, bob.ended) == ([expected], []), "once"


async def test_a_login_that_nothing_ended_goes_on(accounts: Accounts, far: Accounts, clock: FakeClock) -> None:
    await accounts.create("ada", PASSWORD)
    ada = await playing(accounts)
    other = await playing(far)
    await far.end_family("ada", other.login.family)  # a logout of that device
    await far.add_character_id("ada", 9)
    await far.login("ada", PASSWORD)
    await clock.advance(WITHIN_S)
    assert (ada.ended, other.ended) == ([], [])


async def test_theft_ends_the_family_and_leaves_other_devices_alone(
    accounts: Accounts, far: Accounts, clock: FakeClock
) -> None:
    await accounts.create("ada", PASSWORD)
    robbed, other = await playing(accounts), await playing(accounts)
    await steal(far, robbed)
    await clock.advance(WITHIN_S)
    assert (robbed.ended, other.ended) == (["revoked"], [])
    await accounts.login_with_ticket(other.login.ticket)


async def test_whoever_changes_the_password_plays_on_and_nobody_else(
    accounts: Accounts, far: Accounts, clock: FakeClock
) -> None:
    await accounts.create("ada", PASSWORD)
    here, there = await playing(accounts), await playing(far)
    changing = asyncio.ensure_future(accounts.change_password("ada", PASSWORD, OTHER, keep=here.followed))
    while not changing.done():  # the servers look while the change is on its way
        await asyncio.sleep(0.001)
        await clock.advance(POLL_S)
    changed = await changing
    await clock.advance(WITHIN_S)
    assert (here.ended, there.ended) == ([], ["revoked"])
    assert (await accounts.login_with_ticket(changed.ticket)).username == "ada"
    await far.logout_everywhere("ada")
    await clock.advance(WITHIN_S)
    assert here.ended == ["revoked"], "and the next change ends this one, too"


async def test_a_change_between_a_login_and_its_session_is_heard(
    accounts: Accounts, far: Accounts, clock: FakeClock
) -> None:
    """The session begins only when the player is loaded; by then the notice may have been read."""
    await accounts.create("ada", PASSWORD)
    login = await accounts.login("ada", PASSWORD)
    await far.ban("ada", "duping")
    await clock.advance(10 * WITHIN_S)
    late_comer = Player(accounts, login)
    await clock.advance(WITHIN_S)
    assert late_comer.ended == ["banned"]


async def test_a_ban_that_is_over_or_lifted_keeps_nobody_out(accounts: Accounts, clock: FakeClock) -> None:
    await accounts.create("ada", PASSWORD)
    for lift in (False, True):
        await accounts.ban("ada", "duping", until_s=clock.wall_us() // 1_000_000 + 5)
        if lift:
            await accounts.lift_ban("ada")
        else:
            await clock.advance(5)
        ada = await playing(accounts)
        await clock.advance(WITHIN_S)
        assert ada.ended == []
        ada.followed.unfollow()


async def test_one_that_left_hears_nothing(accounts: Accounts, clock: FakeClock) -> None:
    await accounts.create("ada", PASSWORD)
    ada = await playing(accounts)
    ada.followed.unfollow()
    ada.followed.unfollow()
    await accounts.ban("ada", "duping")
    await clock.advance(WITHIN_S)
    assert ada.ended == []


async def test_a_store_that_was_away_is_asked_again(
    accounts: Accounts, far: Accounts, storage: FaultyStorage, clock: FakeClock
) -> None:
    await accounts.create("ada", PASSWORD)
    ada = await playing(accounts)
    await far.ban("ada", "duping")
    storage.down = True
    await clock.advance(KEEP_S / 2)
    assert ada.ended == []
    storage.down = False
    await clock.advance(WITHIN_S)
    assert ada.ended == ["banned"]


async def test_a_look_that_fails_as_none_should_is_told_and_not_the_last(
    accounts: Accounts, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await accounts.create("ada", PASSWORD)
    ada = await playing(accounts)
    with monkeypatch.context() as patch:

        async def broken(_: object) -> dict[str, int]:
            raise ZeroDivisionError

        patch.setattr(AccountNotices, "read_stamps", broken)
        await accounts.ban("ada", "duping")
        await clock.advance(5 * POLL_S)
    assert ada.ended == []
    assert "looking for ended logins" in caplog.text
    await clock.advance(WITHIN_S)
    assert ada.ended == ["banned"]


async def test_an_account_that_cannot_be_read_ends_nothing(
    accounts: Accounts, storage: FaultyStorage, store: MemoryStore, clock: FakeClock
) -> None:
    await accounts.create("ada", PASSWORD)
    ada = await playing(accounts)
    await accounts.logout_everywhere("ada")
    held, expires = store.snapshot()
    store.restore(({**held, "account:ada": b"garbage"}, expires))
    await clock.advance(WITHIN_S)
    assert ada.ended == []


FAULTS = [reject(), LOSE_REQUEST, LOSE_REPLY, late(0.01), late(1), duplicate(0.01), duplicate(1)]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("end", ["ban", "change of password"])
async def test_a_change_and_its_notice_are_stored_both_or_neither(
    accounts: Accounts, far: Accounts, storage: FaultyStorage, clock: FakeClock, fault: Fault, end: str
) -> None:
    await accounts.create("ada", PASSWORD)
    before = await accounts.account("ada")
    ada = await playing(far)
    storage.script("write", fault)
    changing = asyncio.ensure_future(asyncio.gather(ENDS[end][1](accounts, ada), return_exceptions=True))
    while not changing.done():
        await asyncio.sleep(0.001)
        await clock.advance(0.05)
    await clock.advance(WITHIN_S + 1)
    after = await accounts.account("ada")
    happened = after.is_banned(0) or after.password_hash != before.password_hash
    assert bool(ada.ended) == (after.epoch > before.epoch) == happened


async def test_many_changes_at_once_all_happen_and_are_all_heard(
    accounts: Accounts, far: Accounts, clock: FakeClock
) -> None:
    names = [f"ada{number}" for number in range(8)]
    for name in names:
        await accounts.create(name, PASSWORD)
    players = [await playing(far, name) for name in names]
    await asyncio.gather(*(accounts.ban(name, "duping") for name in names))
    await clock.advance(WITHIN_S)
    assert [player.ended for player in players] == [["banned"]] * len(names)


async def test_notices_are_forgotten_after_a_while_and_are_never_too_many(
    storage: FaultyStorage, store: MemoryStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "NOTICES_MAX", 3)
    posted = AccountNotices(storage, clock)
    for name in ("ada", "bob", "cid", "ada", "dan"):
        await storage.write(
            [Transaction([guard := (await posted.posting(name))[0]], [(await posted.posting(name))[1]])]
        )
        assert guard.key == SERVER_ACCOUNT_NOTICES
    stamps = await posted.read_stamps()
    assert list(stamps) == ["cid", "ada", "dan"]
    assert sorted(stamps.values()) == list(stamps.values()), "stamps rise though the clock stands"
    await clock.advance(KEEP_S / 2)
    guard, put = await posted.posting("eva")
    await storage.write([Transaction([guard], [put])])
    await clock.advance(KEEP_S / 2 + 1)
    assert "dan" not in msgspec.json.decode((await posted.posting("fay"))[1].value)
    await clock.advance(KEEP_S)
    assert await posted.read_stamps() == {}
    assert store.value(SERVER_ACCOUNT_NOTICES) is None


@pytest.mark.parametrize("stored", [b"", b"garbage", b"[1]", b'{"ada":"x"}', b"[" * 5_000, b"\xff"])
async def test_notices_that_cannot_be_read_are_replaced(
    accounts: Accounts, storage: FaultyStorage, clock: FakeClock, stored: bytes
) -> None:
    await accounts.create("ada", PASSWORD)
    ada = await playing(accounts)
    await storage.save(SERVER_ACCOUNT_NOTICES, stored)
    await clock.advance(WITHIN_S)
    await accounts.ban("ada", "duping")
    await clock.advance(WITHIN_S)
    assert ada.ended == ["banned"]


async def test_a_guard_of_the_callers_that_does_not_hold_is_no_contention(
    accounts: Accounts, storage: FaultyStorage
) -> None:
    await accounts.create("ada", PASSWORD)
    with pytest.raises(AlreadyExists):
        await accounts.delete("ada", Guard("hero:1", b"there"))
    assert await accounts.exists("ada")
    storage.down = True
    with pytest.raises(StorageUnavailable):
        await accounts.ban("ada", "duping")


async def test_a_change_is_not_forgotten_if_the_account_could_not_be_read_at_once(
    accounts: Accounts, storage: FaultyStorage, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.create("ada", PASSWORD)
    ada = await playing(accounts)
    await clock.advance(WITHIN_S)
    await accounts.ban("ada", "duping")
    with monkeypatch.context() as away:

        async def cannot(_: str) -> None:
            raise StorageUnavailable("away")

        away.setattr(accounts._stored_accounts, "get", cannot)
        await clock.advance(WITHIN_S)
        assert ada.ended == []
    await clock.advance(WITHIN_S)
    assert ada.ended == ["banned"]
