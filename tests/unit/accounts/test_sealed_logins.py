"""Sealed credentials come in once, and only while they are fresh."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from realmkeep.accounts.credentials import Credentials, read_credentials
from realmkeep.accounts.sealed_logins import MARK_S, SealedLogins
from realmkeep.accounts.sealed_payloads import encrypt_auth_payload
from realmkeep.accounts.server_keys import ServerKeys, init_server_encryption
from realmkeep.errors import AuthFailed, SealBroken
from realmkeep.keys import parse
from realmkeep.rate_limited_log import LINES_BURST, LINES_PER_S, RateLimitedLog
from realmkeep.storage import Storage
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, FaultyStorage, duplicate, late, reject

LOGIN = {"type": "login", "username": "player1", "password": "secret"}


@pytest.fixture
def logins(keys: ServerKeys, storage: Storage, clock: FakeClock) -> SealedLogins:
    return SealedLogins(keys, storage, clock, RateLimitedLog(clock))


@pytest.fixture
def sealed(keys: ServerKeys, clock: FakeClock) -> Callable[..., str]:
    def seal(**fields: object) -> str:
        return encrypt_auth_payload({**LOGIN, **fields}, keys.public_key, clock=clock).payload

    return seal


async def replayed(
    logins: SealedLogins, payload: str, challenge_holds: Callable[[str], bool] = lambda _: False
) -> bool:
    (result,) = await asyncio.gather(
        logins.open_payload(payload, challenge_holds=challenge_holds), return_exceptions=True
    )
    assert isinstance(result, tuple) or (isinstance(result, AuthFailed) and result.reason == "replayed"), result
    return not isinstance(result, tuple)


def seconds(clock: FakeClock) -> int:
    return clock.wall_us() // 1_000_000


async def test_fresh_credentials_come_in_with_a_seal_for_the_ticket(
    logins: SealedLogins, keys: ServerKeys, clock: FakeClock
) -> None:
    request = encrypt_auth_payload(LOGIN, keys.public_key, clock=clock)
    credentials, opened = await logins.open_payload(request.payload)
    assert (credentials.username, credentials.password) == ("player1", "secret")
    assert request.open_ticket(opened.seal_ticket("player1.beef")) == "player1.beef"


async def test_the_same_payload_comes_in_once_on_every_server_and_after_every_restart(
    logins: SealedLogins, sealed: Callable[..., str], keys: ServerKeys, store: MemoryStore, clock: FakeClock
) -> None:
    payload = sealed()
    assert not await replayed(logins, payload)
    assert await replayed(logins, payload)
    assert await replayed(logins, payload.upper())
    other_server = MemoryStorage(store)
    await other_server.connect()
    assert await replayed(SealedLogins(keys, other_server, clock, RateLimitedLog(clock)), payload)
    assert not await replayed(logins, sealed())


async def test_of_two_servers_that_get_it_at_once_one_accepts(logins: SealedLogins, sealed: Callable[..., str]) -> None:
    payload = sealed()
    assert sorted(await asyncio.gather(*(replayed(logins, payload) for _ in range(5)))) == [
        False,
        True,
        True,
        True,
        True,
    ]


async def test_it_is_refused_as_long_as_it_is_fresh_and_its_mark_vanishes_after(
    logins: SealedLogins, sealed: Callable[..., str], clock: FakeClock, store: MemoryStore
) -> None:
    payload = sealed(timestamp=seconds(clock) + 60)
    assert not await replayed(logins, payload)
    (mark,) = store.live_keys()
    assert parse(mark).role == "sealed"
    for _ in range(12):
        await clock.advance(10)
        assert await replayed(logins, payload)
    assert store.live_keys() == [mark]
    await clock.advance(MARK_S)
    assert store.live_keys() == []
    assert await replayed(logins, payload)


@pytest.mark.parametrize(("offset_s", "is_fresh"), [(-61, False), (-60, True), (0, True), (60, True), (61, False)])
async def test_a_timestamp_holds_for_a_minute_either_way(
    logins: SealedLogins,
    sealed: Callable[..., str],
    clock: FakeClock,
    store: MemoryStore,
    *,
    offset_s: int,
    is_fresh: bool,
) -> None:
    payload = sealed(timestamp=seconds(clock) + offset_s)
    assert await replayed(logins, payload) is not is_fresh
    assert len(store.live_keys()) == is_fresh


async def test_without_a_timestamp_the_challenge_has_to_hold(logins: SealedLogins, sealed: Callable[..., str]) -> None:
    assert await replayed(logins, sealed(challenge="c1"))
    assert await replayed(logins, sealed(challenge="c1"), lambda challenge: challenge == "c2")
    payload = sealed(challenge="c1")
    assert not await replayed(logins, payload, lambda challenge: challenge == "c1")
    assert await replayed(logins, payload, lambda challenge: challenge == "c1")
    assert await replayed(logins, sealed(challenge="", timestamp=None), lambda _: True)


async def test_a_timestamp_is_believed_before_a_challenge(logins: SealedLogins, sealed: Callable[..., str]) -> None:
    assert await replayed(logins, sealed(challenge="c1", timestamp=1), lambda _: True)


@pytest.mark.parametrize("timestamp", [float("1e308"), -1, 2**63])
async def test_an_absurd_timestamp_is_refused(
    logins: SealedLogins, sealed: Callable[..., str], timestamp: float
) -> None:
    assert await replayed(logins, sealed(timestamp=timestamp))


async def test_a_store_that_cannot_tell_lets_nobody_in(
    logins: SealedLogins, sealed: Callable[..., str], storage: FaultyStorage
) -> None:
    for fault in (reject(), LOSE_REQUEST, LOSE_REPLY, late(1), duplicate(1)):
        storage.script("write", fault)
        with pytest.raises(AuthFailed) as caught:
            await logins.open_payload(sealed())
        assert caught.value.reason == "unavailable"


async def test_a_payload_for_another_server_leaves_no_mark(
    logins: SealedLogins, store: MemoryStore, tmp_path: Path, clock: FakeClock
) -> None:
    other = await asyncio.to_thread(init_server_encryption, tmp_path / "other")
    with pytest.raises(SealBroken):
        await logins.open_payload(encrypt_auth_payload(LOGIN, other.public_key, clock=clock).payload)
    assert store.live_keys() == []


@pytest.mark.parametrize(
    "message",
    [
        b'{"type":"login","username":"ada","password":"secret","timestamp":5,"other":[1]}',
        b' {"username":"ada","password":"secret","timestamp":5.0,"ticket":null}',
        b'(:type :login :username "ada" :password "secret" :timestamp 5)',
        b'(:TYPE :LOGIN :USERNAME "ada" :PASSWORD "secret" :TIMESTAMP 5.0d0 :TICKET NIL)',
        b' \n(:username "ada" :username "bea" :password "secret" :timestamp 5)',
    ],
)
def test_both_syntaxes_say_the_same(message: bytes) -> None:
    assert read_credentials(message) == Credentials("ada", "secret", "", 5.0, "")


def test_a_ticket_needs_no_name() -> None:
    assert read_credentials(b'(:ticket "ada.beef" :challenge "c")') == Credentials(ticket="ada.beef", challenge="c")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"()",
        b"(",
        b"\xff",
        b'{"username":"ada"}',
        b'{"username":"ada","password":""}',
        b'{"password":"secret"}',
        b'{"username":["ada"],"password":"secret"}',
        b'{"username":"ada","password":5}',
        b'{"username":"ada","password":"secret","timestamp":"now"}',
        b'{"username":"ada","password":"secret","timestamp":true}',
        b'(:username ada :password "secret")',
        b'(:username "ada" :password :secret)',
        b'(:username "ada" :password)',
        b'("username" "ada")',
        b'(:username "ada" :password #.(quit))',
        b"(" * 100,
        b'{"a":' * 100_000,
    ],
)
def test_what_holds_no_credentials_is_refused_in_the_words_of_a_broken_seal(message: bytes) -> None:
    with pytest.raises(SealBroken) as caught:
        read_credentials(message)
    assert str(caught.value) == str(SealBroken())
    assert caught.value.__cause__ is None


def test_nothing_secret_is_printed() -> None:
    printed = repr(read_credentials(b'{"username":"ada","password":"s3cret","ticket":"t1cket"}'))
    assert "ada" in printed
    assert "s3cret" not in printed
    assert "t1cket" not in printed


OUT_OF_BOUNDS = ["9" * 350, "9" * 400, "-" + "9" * 350, "9" * 4_000, "-1", str(2**53 + 1), "1.7e308", "1e400", "true"]


@pytest.mark.parametrize("number", OUT_OF_BOUNDS)
@pytest.mark.parametrize("message", ['{"username":"a","password":"b","timestamp":%s}', '(:ticket "t" :timestamp %s)'])
async def test_a_timestamp_of_any_length_is_bounded_before_it_is_used(
    logins: SealedLogins, keys: ServerKeys, message: str, number: str
) -> None:
    payload = encrypt_auth_payload((message % number).encode(), keys.public_key).payload
    (result,) = await asyncio.gather(logins.open_payload(payload), return_exceptions=True)
    assert isinstance(result, (AuthFailed, SealBroken)), "never another error"


@pytest.mark.parametrize("field", ["username", "password", "ticket", "challenge"])
def test_a_sealed_text_is_as_long_as_a_plain_one_may_be(field: str) -> None:
    fields = {"username": "a", "password": "b", "ticket": "c", "challenge": "d"}
    whole = "x" * 1024
    assert getattr(read_credentials(msgspec.json.encode({**fields, field: whole})), field) == whole
    with pytest.raises(SealBroken):
        read_credentials(msgspec.json.encode({**fields, field: whole + "x"}))


@pytest.mark.parametrize("message", [b'{"ticket":"t"}', b'(:ticket "t")'])
def test_a_byte_order_mark_before_what_is_sealed_is_nothing(message: bytes) -> None:
    assert read_credentials(b"\xef\xbb\xbf" + message) == Credentials(ticket="t")


async def test_stale_seals_fill_no_disk(
    logins: SealedLogins, sealed: Callable[..., str], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    stale = sealed()
    await clock.advance(1_000)
    for _ in range(30):
        await clock.advance(1)
        for _ in range(100):
            assert await replayed(logins, stale)
    assert len(caplog.records) <= 2 * (LINES_BURST + 30 * LINES_PER_S)
