"""Registration, login and administration, as a game sees them."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from realmkeep.accounts.account import Account, Ban
from realmkeep.accounts.accounts import Accounts, open_accounts
from realmkeep.accounts.hash_pool import HashPool
from realmkeep.accounts.login import Login
from realmkeep.accounts.passwords import Argon2Cost, Pbkdf2Cost
from realmkeep.accounts.sealed_payloads import encrypt_auth_payload
from realmkeep.accounts.server_keys import ServerKeys, init_server_encryption
from realmkeep.config import AuthConfig, RecordsConfig
from realmkeep.errors import (
    AccountError,
    AlreadyExists,
    AuthFailed,
    NoMoreIds,
    NoSuchAccount,
    OutcomeUnknown,
    Quarantined,
)
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.keys import record_keys
from realmkeep.records.fields import durable
from realmkeep.records.loading import load
from realmkeep.records.record import Record
from realmkeep.storage.memory import MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, Fault, FaultyStorage, duplicate, late, reject

PASSWORD = "four words of mine"
OTHER = "some other long words"
CHEAP = Argon2Cost(8, 1, 1)


class Hero(Record, kind="hero-of-accounts", version=1):
    name: str = durable()
    gold: int = durable(default=100)


@pytest.fixture
async def ada(accounts: Accounts) -> Login:
    return await accounts.create("Ada", PASSWORD, address="10.0.0.1", character=(7, Hero(name="Ada")))


async def reason(call: Awaitable[object]) -> str:
    with pytest.raises(AuthFailed) as caught:
        await call
    return caught.value.reason


def plant(store: MemoryStore, username: str, stored: bytes) -> None:
    held, expires = store.snapshot()
    store.restore(({**held, f"account:{username}": stored}, expires))


async def test_whoever_registered_logs_in_under_every_spelling_of_the_name(accounts: Accounts, ada: Login) -> None:
    assert ada.username == "ada"
    for name in ("ada", "ADA", "\uff21da"):
        login = await accounts.login(name, PASSWORD)
        assert (login.username, login.character_id, login.character_ids) == ("ada", 7, (7,))
    assert (await accounts.verify_credentials("ada", PASSWORD)).username == "ada"
    assert await reason(accounts.login("ada", OTHER)) == "bad_credentials"


async def test_account_and_character_are_stored_in_one_transaction(
    accounts: Accounts, ada: Login, store: MemoryStore, clock: FakeClock
) -> None:
    keys = record_keys("hero-of-accounts", 7)
    stored = store.value(keys.record)
    assert stored is not None
    assert load(stored, Hero).require().gold == 100
    assert store.value(keys.version) == b"1"
    assert store.value(keys.updated) == str(clock.wall_us()).encode()
    assert store.value(keys.owner) is None


async def test_a_character_that_exists_makes_no_account(accounts: Accounts, ada: Login) -> None:
    with pytest.raises(AlreadyExists, match="hero-of-accounts:7"):
        await accounts.create("Bea", PASSWORD, character=(7, Hero(name="Bea")))
    assert not await accounts.exists("bea")


@pytest.mark.parametrize(
    ("username", "password", "expected"),
    [
        ("ada", PASSWORD, "username_taken"),
        ("ADA", PASSWORD, "username_taken"),
        ("ad", PASSWORD, "bad_username"),
        ("a:b:c", PASSWORD, "bad_username"),
        ("bea", "too short", "weak_password"),
        ("beatrix-bea", "beatrix-bea1234", "weak_password"),
        ("bea", "realm of ash 12", "weak_password"),
    ],
)
async def test_a_registration_is_refused_with_its_reason(
    accounts: Accounts, ada: Login, store: MemoryStore, *, username: str, password: str, expected: str
) -> None:
    before = store.snapshot()
    assert await reason(accounts.create(username, password)) == expected
    assert store.snapshot() == before


async def test_of_two_concurrent_registrations_of_one_name_one_happens(accounts: Accounts) -> None:
    results = await asyncio.gather(
        *(accounts.create("ada", f"{PASSWORD} {n}", character=(n, Hero(name=str(n)))) for n in range(8)),
        return_exceptions=True,
    )
    (winner,) = [each for each in results if isinstance(each, Login)]
    losers = [each for each in results if isinstance(each, AuthFailed)]
    assert [each.reason for each in losers] == ["username_taken"] * 7
    assert await accounts.character_ids("ada") == list(winner.character_ids)
    await accounts.login("ada", f"{PASSWORD} {winner.character_id}")


async def test_every_cause_of_refusal_has_one_voice_and_one_moment(
    realm: Any, store: MemoryStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    accounts: Accounts = await realm.server(answer_time_s=0.5, throttle_account_free=100)
    caplog.set_level(logging.INFO, "realmkeep.accounts")
    for name in ("banned", "right", "mangled"):
        await accounts.create(name, PASSWORD)
    await accounts.ban("banned", "duping")
    plant(store, "v1-player", b'(:version 1 :username "v1-player" :password "four words of mine" :character-id 1)')
    mangled = await accounts.account("mangled")
    v2 = f'(:version 2 :username "mangled" :password-hash "{mangled.password_hash[:20]}" :character-id 1)'
    plant(store, "mangled", v2.encode())
    causes = {
        "nobody": "no such account",
        "no:key": "no such account",
        "right": "wrong password for right",
        "banned": "banned is banned",
        "v1-player": "register again",
        "mangled": "in no known format",
    }
    texts: set[str] = set()
    for name, cause in causes.items():
        caplog.clear()
        started_s = clock.monotonic_s()
        refusal = asyncio.create_task(accounts.login(name, OTHER if name == "right" else PASSWORD, address="10.0.0.1"))
        while not caplog.messages:
            await asyncio.sleep(0.001)
        assert not refusal.done()
        await clock.advance(0.499)
        assert not refusal.done()
        await clock.advance(0.001)
        with pytest.raises(AuthFailed) as caught:
            await refusal
        assert clock.monotonic_s() - started_s == pytest.approx(0.5)
        assert caught.value.reason == "bad_credentials"
        texts.add(str(caught.value))
        assert cause in " ".join(caplog.messages)
    assert len(texts) == 1


async def test_a_refusal_that_took_longer_comes_at_the_next_multiple(realm: Any, clock: FakeClock) -> None:
    accounts: Accounts = await realm.server(answer_time_s=0.5)
    entered = asyncio.Event()
    inside = accounts._verifier.stored_accounts.get  # pyright: ignore[reportPrivateUsage] - slow the store down

    async def slow(id: Any) -> Any:  # noqa: A002 - the method's own name
        entered.set()
        await clock.sleep(0.7)
        return await inside(id)

    accounts._verifier.stored_accounts.get = slow  # pyright: ignore[reportPrivateUsage] - as above
    started_s = clock.monotonic_s()
    refusal = asyncio.create_task(accounts.login_with_ticket("ada." + "0" * 64))
    await entered.wait()
    await clock.advance(0.999)
    assert not refusal.done()
    await clock.advance(0.001)
    assert await reason(refusal) == "bad_credentials"
    assert clock.monotonic_s() - started_s == pytest.approx(1.0)


async def test_nothing_secret_is_logged_raised_or_printed(
    accounts: Accounts, ada: Login, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def tried(call: Awaitable[object]) -> None:
        try:
            seen.append(repr(await call))
        except (AccountError, Quarantined) as error:
            seen.extend((repr(error), str(error), repr(error.__cause__), repr(error.__context__)))

    typed_into_the_wrong_field = "my secret as a name"
    login = await accounts.login("ada", PASSWORD)
    await tried(accounts.login("ada", OTHER))
    await tried(accounts.login(typed_into_the_wrong_field, OTHER))
    await tried(accounts.create(typed_into_the_wrong_field, OTHER))
    await tried(accounts.create("bea", "short secret"))
    await tried(accounts.account("ada"))
    await tried(accounts.login_with_ticket(login.ticket))
    await tried(accounts.login_with_ticket(login.ticket[:-1] + "x"))
    await tried(accounts.change_password("ada", PASSWORD, "short secret"))
    account = await accounts.account("ada")
    hashed = account.password_hash
    plant(store, "cid", f'(:version 2 :username "cid" :password-hash "{hashed}x" :character-id 1)'.encode())
    await tried(accounts.login("cid", PASSWORD))
    plant(store, "dan", f'{{"version":3,"password_hash":"{hashed}"'.encode())
    plant(store, "eve", f'(:version 2 :username "eve" :password-hash ("{hashed}") :character-id 1)'.encode())
    plant(store, "fay", f'(:version 2 :username "fay" :password-hash "{hashed}" :character-id {PASSWORD!r})'.encode())
    plant(store, "gus", f'(:version 1 :password "{PASSWORD}" :character-id (1 2))'.encode())
    plant(store, "hal", f'(:version 3 :username "hal" :password-hash "" :hash "{hashed}" :last-login-s "x")'.encode())
    for name in ("dan", "eve", "fay", "gus", "hal"):
        await tried(accounts.login(name, PASSWORD))
        await tried(accounts.account(name))
    printed = "\n".join([*seen, *caplog.messages, repr(account), str(account), repr(ada), repr(login)])
    secrets = [PASSWORD, OTHER, "short secret", typed_into_the_wrong_field, hashed, hashed.rsplit("$", 1)[1]]
    secrets += [login.ticket, login.ticket.rpartition(".")[2], account.tickets[0].digest]
    assert [secret for secret in secrets if secret in printed] == []
    assert len(caplog.messages) >= 5
    assert all(
        secret in f"{vars(login)} {PASSWORD} {OTHER}" for secret in (login.ticket, PASSWORD)
    )  # the scan can find


async def test_an_account_of_version_2_logs_in_and_is_renewed(accounts: Accounts, store: MemoryStore) -> None:
    salt = bytes(range(16))
    key = hashlib.pbkdf2_hmac("sha256", b"secret", salt, 100_000)
    plant(
        store,
        "player1",
        f'(:version 2 :username "player1" :password-hash "{salt.hex()}${key.hex()}" :character-id 12345)'.encode(),
    )
    assert await accounts.exists("player1")
    assert await accounts.character_id("player1") == 12345
    assert (await accounts.verify_credentials("player1", "secret")).password_hash.startswith("000102")
    login = await accounts.login("player1", "secret")
    assert login.character_id == 12345
    renewed = (await accounts.account("player1")).password_hash
    assert renewed.startswith("$argon2id$v=19$m=8,")
    await accounts.login("player1", "secret")
    assert (await accounts.account("player1")).password_hash == renewed
    assert await reason(accounts.login("player1", "Secret")) == "bad_credentials"


@pytest.mark.parametrize(
    ("stored", "cost", "is_renewed"),
    [
        (Argon2Cost(8, 1, 1), Argon2Cost(16, 1, 1), True),
        (Argon2Cost(16, 1, 1), Argon2Cost(8, 1, 1), False),
        (Pbkdf2Cost(1), Pbkdf2Cost(2), True),
        (Pbkdf2Cost(1), CHEAP, True),
        (CHEAP, Pbkdf2Cost(1), False),
    ],
)
async def test_a_login_renews_a_weaker_hash_and_no_other(realm: Any, stored: Any, cost: Any, is_renewed: bool) -> None:
    before: Accounts = await realm.server(cost=stored)
    await before.create("ada", PASSWORD)
    old = (await before.account("ada")).password_hash
    now: Accounts = await realm.server("town-2", cost=cost)
    await now.login("ada", PASSWORD)
    assert ((await now.account("ada")).password_hash != old) is is_renewed
    await before.login("ada", PASSWORD)


async def test_a_login_never_fails_because_the_hash_could_not_be_renewed(
    realm: Any, storage: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await realm.server(cost=Argon2Cost(8, 1, 1))).create("ada", PASSWORD)
    stronger: Accounts = await realm.server("town-2", cost=Argon2Cost(16, 1, 1))

    async def busy(*_: object) -> str:
        raise AuthFailed("busy", reason="throttled")

    with monkeypatch.context() as patch:
        patch.setattr(stronger, "_hash", busy)
        assert (await stronger.login("ada", PASSWORD)).ticket
    assert "m=8," in (await stronger.account("ada")).password_hash
    storage.script("write", reject())
    login = await stronger.login("ada", PASSWORD)
    assert login.ticket == ""
    assert "m=8," in (await stronger.account("ada")).password_hash
    await stronger.login("ada", PASSWORD)
    assert "m=16," in (await stronger.account("ada")).password_hash


async def test_logins_of_one_account_at_once_all_get_a_ticket_that_works(accounts: Accounts, ada: Login) -> None:
    logins = await asyncio.gather(*(accounts.login("ada", PASSWORD) for _ in range(4)))
    for login in logins:
        assert (await accounts.login_with_ticket(login.ticket)).username == "ada"


async def test_a_plaintext_account_can_register_again_without_its_character(
    accounts: Accounts, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    plant(store, "old-one", b'(:version 1 :username "old-one" :password "four words of mine" :character-id 12345)')
    assert not await accounts.exists("old-one")
    caplog.set_level(logging.INFO)
    assert await reason(accounts.login("old-one", PASSWORD)) == "bad_credentials"
    assert "register again" in caplog.text
    login = await accounts.create("old-one", OTHER)
    assert login.character_id is None
    account = await accounts.account("old-one")
    assert account.former_character_ids == [12345]
    assert b"four words" not in (store.value("account:old-one") or b"")
    assert await reason(accounts.create("old-one", OTHER)) == "username_taken"
    await accounts.login("old-one", OTHER)


async def test_an_operator_gives_a_plaintext_account_back_to_its_owner(accounts: Accounts, store: MemoryStore) -> None:
    plant(store, "old-one", b'(:version 1 :username "old-one" :password "x" :character-id 12345)')
    await accounts.reset_password("old-one", PASSWORD)
    assert await reason(accounts.login("old-one", PASSWORD)) == "new_password_required"
    assert await reason(accounts.change_password("old-one", PASSWORD, PASSWORD)) == "weak_password"
    assert (await accounts.change_password("old-one", PASSWORD, OTHER)).character_id == 12345
    assert (await accounts.login("old-one", OTHER)).character_id == 12345
    assert not (await accounts.account("old-one")).provisional


async def test_characters_are_listed_with_the_first_first(accounts: Accounts, ada: Login) -> None:
    await accounts.add_character_id("ada", 8)
    await accounts.add_character_id("ada", 8)
    assert await accounts.character_ids("ada") == [7, 8]
    await accounts.set_character_id("ADA", 9)
    await accounts.set_character_id("ada", 8)
    assert await accounts.character_ids("ada") == [8, 9, 7]
    assert await accounts.character_id("ada") == 8
    assert (await accounts.login("ada", PASSWORD, character_id=7)).character_id == 7
    assert await reason(accounts.login("ada", PASSWORD, character_id=1)) == "bad_credentials"
    await accounts.remove_character_id("ada", 8)
    assert await accounts.character_id("ada") == 9
    for number in range(100, 162):
        await accounts.add_character_id("ada", number)
    with pytest.raises(AccountError, match="64 characters"):
        await accounts.add_character_id("ada", 1000)
    with pytest.raises(AccountError, match="64 characters"):
        await accounts.set_character_id("ada", 1000)


async def test_an_account_without_a_character_has_none(accounts: Accounts) -> None:
    assert (await accounts.create("ada", PASSWORD)).character_id is None
    assert await accounts.character_id("ada") is None


async def test_who_does_not_exist_is_named(accounts: Accounts) -> None:
    calls: list[Awaitable[object]] = [
        accounts.account("nobody"),
        accounts.character_id("nobody"),
        accounts.set_character_id("nobody", 1),
        accounts.ban("nobody", "x"),
        accounts.delete("nobody"),
        accounts.reset_password("nobody", PASSWORD),
        accounts.logout_everywhere("no:body"),
    ]
    for call in calls:
        with pytest.raises(NoSuchAccount, match="no"):
            await call
    assert not await accounts.exists("nobody")
    assert not await accounts.exists("no:body")


async def test_a_password_change_ends_every_ticket_but_the_new_one(accounts: Accounts, ada: Login) -> None:
    elsewhere = await accounts.login("ada", PASSWORD)
    assert await reason(accounts.change_password("ada", OTHER, OTHER)) == "bad_credentials"
    assert await reason(accounts.change_password("ada", PASSWORD, "short")) == "weak_password"
    changed = await accounts.change_password("ada", PASSWORD, OTHER)
    for login in (ada, elsewhere):
        assert await reason(accounts.login_with_ticket(login.ticket)) == "bad_credentials"
    assert await reason(accounts.login("ada", PASSWORD)) == "bad_credentials"
    await accounts.login_with_ticket(changed.ticket)
    await accounts.login("ada", OTHER)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("logout_everywhere", ()),
        ("ban", ("duping",)),
        ("reset_password", (OTHER,)),
        ("delete", ()),
        ("remove_character_id", (7,)),
    ],
)
async def test_tickets_are_revoked_in_one_write(
    accounts: Accounts, ada: Login, storage: FaultyStorage, *, method: str, arguments: tuple[object, ...]
) -> None:
    login = await accounts.login("ada", PASSWORD)
    before = storage.calls["write"]
    await getattr(accounts, method)("ada", *arguments)
    assert storage.calls["write"] == before + 1
    for ticket in (ada.ticket, login.ticket):
        assert await reason(accounts.login_with_ticket(ticket)) == "bad_credentials"


async def test_a_ban_ends_by_itself_or_when_it_is_lifted(accounts: Accounts, ada: Login, clock: FakeClock) -> None:
    await accounts.ban("ada", "duping", until_s=clock.wall_us() // 1_000_000 + 60)
    assert await reason(accounts.login("ada", PASSWORD)) == "bad_credentials"
    await clock.advance(59)
    assert await reason(accounts.login("ada", PASSWORD)) == "bad_credentials"
    await clock.advance(1)
    await accounts.login("ada", PASSWORD)
    await accounts.ban("ada", "again")
    assert (await accounts.account("ada")).ban is not None
    assert await reason(accounts.login("ada", PASSWORD)) == "bad_credentials"
    await accounts.lift_ban("ada")
    await accounts.login("ada", PASSWORD)


async def test_the_last_login_is_kept(accounts: Accounts, ada: Login, clock: FakeClock) -> None:
    made_s = clock.wall_us() // 1_000_000
    await clock.advance(100)
    await accounts.login("ada", PASSWORD)
    account = await accounts.account("ada")
    assert (account.created_s, account.last_login_s) == (made_s, made_s + 100)
    await clock.advance(100)
    await accounts.login_with_ticket((await accounts.login("ada", PASSWORD)).ticket)
    assert (await accounts.account("ada")).last_login_s == made_s + 200


async def test_a_deleted_account_is_gone_and_its_name_is_free(accounts: Accounts, ada: Login) -> None:
    await accounts.delete("ada")
    assert not await accounts.exists("ada")
    assert await reason(accounts.login("ada", PASSWORD)) == "bad_credentials"
    await accounts.create("ada", OTHER)


async def test_an_unreadable_account_is_never_a_new_one(
    accounts: Accounts, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    for stored in (b"", b"garbage", b'{"version":99,"username":"ada"}', b'(:version 3 :username "ada"'):
        plant(store, "ada", stored)
        assert await reason(accounts.create("ada", PASSWORD)) == "unavailable"
        assert await reason(accounts.login("ada", PASSWORD)) == "unavailable"
        for call in (accounts.account("ada"), accounts.exists("ada"), accounts.delete("ada")):
            with pytest.raises(Quarantined, match="account:ada"):
                await call
        assert store.value("account:ada") == stored
    assert "ERROR" in {record.levelname for record in caplog.records}


async def test_nobody_is_locked_out_by_an_attacker(accounts: Accounts, ada: Login) -> None:
    for number in range(20):
        await reason(accounts.login("ada", OTHER, address=f"203.0.113.{number}"))
    assert await reason(accounts.login("ada", PASSWORD, address="198.51.100.1")) == "throttled"
    login = await accounts.login("ada", PASSWORD, address="10.0.0.1")
    await accounts.login_with_ticket(login.ticket, address="198.51.100.1")


async def test_an_attacker_at_the_same_address_cannot_close_a_ticket(accounts: Accounts, ada: Login) -> None:
    for number in range(60):
        await reason(accounts.login(f"user{number}", OTHER, address="10.0.0.1"))
        await reason(accounts.login("ada", OTHER, address="10.0.0.1"))
    assert await reason(accounts.login("bea", OTHER, address="10.0.0.1")) == "throttled"
    await accounts.login_with_ticket(ada.ticket, address="10.0.0.1")


async def test_throttled_says_when_to_come_back(accounts: Accounts, clock: FakeClock) -> None:
    for _ in range(5):
        await reason(accounts.login("nobody", OTHER))
    with pytest.raises(AuthFailed) as caught:
        await accounts.login("nobody", OTHER)
    assert (caught.value.reason, caught.value.retry_after_s) == ("throttled", 1)
    await clock.advance(1)
    assert await reason(accounts.login("nobody", OTHER)) == "bad_credentials"


async def test_a_restart_does_not_forget_failures(realm: Any, clock: FakeClock) -> None:
    first: Accounts = await realm.server("town-1", throttle_save_interval_s=30)
    for _ in range(8):
        await reason(first.login("nobody", OTHER, address="10.0.0.1"))
    await clock.advance(30)
    restarted: Accounts = await realm.server("town-1")
    other: Accounts = await realm.server("town-2")
    assert await reason(other.login("nobody", OTHER, address="10.0.0.1")) == "bad_credentials"
    for _ in range(4):
        await reason(first.login("nobody", OTHER))
    again = await reason(restarted.login("nobody", OTHER))
    assert again == "bad_credentials"  # the delay of 1 s ended while 30 s passed
    assert await reason(restarted.login("nobody", OTHER)) == "throttled"


async def test_saving_goes_on_after_the_store_was_away(
    realm: Any, storage: FaultyStorage, store: MemoryStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    accounts: Accounts = await realm.server(throttle_save_interval_s=30)
    await reason(accounts.login("nobody", OTHER, address="10.0.0.1"))
    storage.script("write", reject())
    await clock.advance(30)
    assert "could not be saved" in caplog.text
    assert store.value("server:town-1:throttle:accounts") is None
    await clock.advance(30)
    assert len(store.value("server:town-1:throttle:accounts") or b"") == 16
    written = storage.calls["write"]
    await clock.advance(300)
    assert storage.calls["write"] == written  # nothing changed


async def test_a_failed_login_after_2106_is_saved_and_ends_nothing(
    storage: FaultyStorage, store: MemoryStore, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock(wall_us=(2**32 + 5) * 1_000_000)
    config = AuthConfig(answer_time_s=0, throttle_save_interval_s=30)
    opened = await asyncio.to_thread(open_accounts, storage, config, server_name="town-1", clock=clock)
    async with opened.running():
        await reason(opened.login("nobody", OTHER, address="10.0.0.1"))
        await clock.advance(30)
        assert len(store.value("server:town-1:throttle:accounts") or b"") == 16
        await reason(opened.login("nobody", OTHER, address="10.0.0.1"))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_false_tickets_shut_no_address_out(accounts: Accounts, ada: Login, clock: FakeClock) -> None:
    for second in range(10):
        for number in range(40):
            false = f"ada.{second:032x}{number:064x}"
            assert await reason(accounts.login_with_ticket(false, address="203.0.113.9")) == "bad_credentials"
        await clock.advance(1)
    await accounts.login("ada", PASSWORD, address="203.0.113.9")
    await accounts.create("bea", PASSWORD, address="203.0.113.9")


async def test_at_a_shared_address_an_account_hears_what_an_unknown_name_hears(
    realm: Any, ada: Login, clock: FakeClock
) -> None:
    """Also after the address has failed so often that strangers have to wait there; and its owner still comes in."""
    accounts: Accounts = await realm.server("town-3")
    await accounts.create("bea", PASSWORD)
    await accounts.create("banned", PASSWORD, address="10.0.0.1")
    await accounts.ban("banned", "duping")
    for number in range(30):
        await reason(accounts.login(f"nobody-{number}", OTHER, address="10.0.0.1"))
    heard: set[tuple[str, float, str]] = set()
    for name, password in (("nobody", OTHER), ("bea", OTHER), ("ada", OTHER), ("banned", OTHER), ("banned", PASSWORD)):
        with pytest.raises(AuthFailed) as caught:
            await accounts.login(name, password, address="10.0.0.1")
        heard.add((caught.value.reason, caught.value.retry_after_s, str(caught.value)))
    assert len(heard) == 1
    assert next(iter(heard))[0] == "throttled"
    await accounts.login("ada", PASSWORD, address="10.0.0.1")


FAULTS = [reject(), LOSE_REQUEST, LOSE_REPLY, late(0.01), late(1), duplicate(0.01), duplicate(1)]


@pytest.mark.parametrize("faults", [[a] for a in FAULTS] + [[a, b] for a in FAULTS[1:] for b in FAULTS])
async def test_a_fault_at_any_point_of_a_registration_leaves_all_of_it_or_none(
    accounts: Accounts, storage: FaultyStorage, clock: FakeClock, store: MemoryStore, faults: list[Fault]
) -> None:
    storage.script("write", *faults)
    registering = asyncio.create_task(accounts.create("ada", PASSWORD, character=(7, Hero(name="Ada"))))
    while not registering.done():
        await asyncio.sleep(0.001)
        await clock.advance(0.02)
    hero = store.value("hero-of-accounts:7")
    if registering.exception() is None:
        assert hero is not None
        assert (await accounts.login_with_ticket(registering.result().ticket)).character_id == 7
        return
    error = registering.exception()
    assert isinstance(error, AuthFailed), error
    assert error.reason == "unavailable"
    assert faults[0].rejected is not None
    assert hero is None
    assert not await accounts.exists("ada")


async def test_a_store_that_is_away_is_no_alarm_for_every_login(
    accounts: Accounts, storage: FaultyStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """The keeper says once that the store is away; a thousand clients that try again must not bury that."""
    caplog.set_level(logging.INFO)
    storage.down = True
    assert await reason(accounts.login("ada", PASSWORD)) == "unavailable"
    assert await reason(accounts.create("ada", PASSWORD)) == "unavailable"
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]


async def test_an_answer_that_stays_lost_is_not_called_a_failure(
    accounts: Accounts, storage: FaultyStorage, clock: FakeClock
) -> None:
    storage.script("write", LOSE_REPLY, *[reject()] * 100)
    registering = asyncio.create_task(accounts.create("ada", PASSWORD))
    while not registering.done():
        await asyncio.sleep(0.001)
        await clock.advance(0.5)
    assert isinstance(registering.exception(), OutcomeUnknown)
    await accounts.verify_credentials("ada", PASSWORD)


async def test_a_registration_cancelled_at_any_moment_leaves_all_of_it_or_none(
    accounts: Accounts, store: MemoryStore
) -> None:
    for turns in range(40):
        task = asyncio.create_task(accounts.create(f"ada{turns}", PASSWORD, character=(turns, Hero(name="x"))))
        for _ in range(turns):
            await asyncio.sleep(0)
            if turns % 2:
                await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.wait([task])
        hero = store.value(f"hero-of-accounts:{turns}")
        assert (hero is not None) == await accounts.exists(f"ada{turns}")


async def test_an_account_from_before_its_hash_is_never_served_to_an_old_password(
    accounts: Accounts, ada: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password changes between the check and the write of a login."""
    renewed = accounts._renewed  # pyright: ignore[reportPrivateUsage] - the moment between

    async def meanwhile(*given: Any) -> str:
        monkeypatch.undo()
        await accounts.change_password("ada", PASSWORD, OTHER)
        return await renewed(*given)

    monkeypatch.setattr(accounts, "_renewed", meanwhile)
    assert await reason(accounts.login("ada", PASSWORD)) == "unavailable"
    assert len((await accounts.account("ada")).tickets) == 1
    await accounts.login("ada", OTHER)


async def test_a_key_rotated_elsewhere_is_used_here(
    accounts: Accounts, keys: ServerKeys, key_file: Path, clock: FakeClock
) -> None:
    before = accounts.public_key
    await asyncio.to_thread(lambda: init_server_encryption(key_file, clock=clock).rotate())
    assert accounts.public_key == before
    async with asyncio.timeout(60):
        while accounts.public_key == before:  # the file is read on a thread
            await clock.advance(30)
            await asyncio.sleep(0.001)
    request = encrypt_auth_payload({"username": "ada", "password": PASSWORD}, before, clock=clock)
    credentials, _ = await accounts.open_sealed(request.payload)
    assert credentials.password == PASSWORD
    with pytest.raises(AuthFailed):
        await accounts.open_sealed(request.payload)


async def test_what_nobody_could_judge_is_no_failure(
    accounts: Accounts, ada: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object, **__: object) -> bool:
        raise AuthFailed("busy", reason="throttled", retry_after_s=1)

    with monkeypatch.context() as patch:
        patch.setattr(HashPool, "run_call", busy)
        for _ in range(50):
            assert await reason(accounts.login("ada", PASSWORD)) == "throttled"
    await accounts.login("ada", PASSWORD)


async def test_a_banned_account_is_refused_even_if_somebody_left_it_a_ticket(
    accounts: Accounts, ada: Login, storage: FaultyStorage
) -> None:
    stored_accounts = UnownedRecords(Account, storage)
    found = await stored_accounts.get("ada")
    assert found is not None
    found.record.ban = Ban(reason="by hand")
    assert await stored_accounts.replace("ada", found, found.record)
    assert await reason(accounts.login_with_ticket(ada.ticket)) == "bad_credentials"


async def test_a_lifted_ban_brings_no_ticket_back(accounts: Accounts, ada: Login) -> None:
    await accounts.ban("ada", "duping")
    await accounts.lift_ban("ada")
    assert await reason(accounts.login_with_ticket(ada.ticket)) == "bad_credentials"


async def test_a_password_change_forgets_where_the_account_logged_in_before(accounts: Accounts, ada: Login) -> None:
    """Whoever knew the old password may have succeeded there."""
    await accounts.login("ada", PASSWORD, address="203.0.113.1")
    await accounts.change_password("ada", PASSWORD, OTHER, address="10.0.0.1")
    for number in range(20):
        await reason(accounts.login("ada", "wrong", address=f"198.51.100.{number}"))
    assert await reason(accounts.login("ada", OTHER, address="203.0.113.1")) == "throttled"
    await accounts.login("ada", OTHER, address="10.0.0.1")


async def test_accounts_and_their_characters_are_written_as_the_records_are_configured(
    storage: FaultyStorage, store: MemoryStore, key_file: Path, clock: FakeClock
) -> None:
    opened = await asyncio.to_thread(
        open_accounts, storage, AuthConfig(), server_name="town-1", records=RecordsConfig(codec="sexpr"), clock=clock
    )
    async with opened.running():
        await opened.create("bob", PASSWORD, character=(8, Hero(name="Bob")))
    for key in ("account:bob", record_keys(Hero.__realmkeep__.kind, 8).record):
        assert (store.value(key) or b"").startswith(b"(:version "), key


async def test_a_character_is_made_after_everything_else_was_checked(accounts: Accounts, ada: Login) -> None:
    made: list[int] = []

    async def character() -> tuple[int, Hero]:
        made.append(len(made) + 100)
        return made[-1], Hero(name="x")

    for username, password in (("ada", PASSWORD), ("ad", PASSWORD), ("bea", "too short")):
        await reason(accounts.create(username, password, character=character))
    assert made == []
    assert (await accounts.create("bea", PASSWORD, character=character)).character_id == 100
    assert made == [100]


async def test_what_making_a_character_raises_is_raised(accounts: Accounts) -> None:
    async def character() -> tuple[int, Hero]:
        raise NoMoreIds("none left")

    with pytest.raises(NoMoreIds):
        await accounts.create("ada", PASSWORD, character=character)
    assert not await accounts.exists("ada")
