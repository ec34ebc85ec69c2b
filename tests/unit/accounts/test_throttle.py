import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.accounts import throttle as module
from realmkeep.accounts.throttle import (
    TABLES,
    Backoff,
    LoginAttempt,
    Throttle,
    ThrottleSettings,
    network,
    network_around,
)
from realmkeep.storage.protocol import VALUE_BYTES_MAX
from realmkeep.testing.clock import FakeClock

SETTINGS = ThrottleSettings(
    account=Backoff(free=3, first_s=1, max_s=60),
    address=Backoff(free=6, first_s=1, max_s=60),
    pair=Backoff(free=3, first_s=1, max_s=8),
    network=Backoff(free=100, first_s=1, max_s=60),
    forget_s=3600,
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def throttle(clock: FakeClock) -> Throttle:
    return Throttle(SETTINGS, clock)


def allowed(throttle: Throttle, username: str, address: str, *, known: bool = False) -> LoginAttempt:
    attempt = throttle.begin_attempt(username, address, known=known)
    assert isinstance(attempt, LoginAttempt)
    return attempt


def wait_s(throttle: Throttle, username: str, address: str, *, known: bool = False) -> float:
    wait = throttle.begin_attempt(username, address, known=known)
    assert isinstance(wait, float)
    return wait


async def test_delays_of_an_account_double_up_to_the_largest(throttle: Throttle, clock: FakeClock) -> None:
    waits: list[float] = []
    for number in range(10):
        wait = throttle.begin_attempt("ada", f"10.0.0.{number}", known=False)
        if isinstance(wait, float):
            waits.append(wait)
            await clock.advance(wait)
            allowed(throttle, "ada", f"10.0.0.{number}").failed()
    assert waits == [1, 2, 4, 8, 16, 32, 60]


async def test_refused_attempts_do_not_lengthen_the_delay(throttle: Throttle, clock: FakeClock) -> None:
    for _ in range(3):
        allowed(throttle, "ada", "10.0.0.1").failed()
    for _ in range(100):
        assert wait_s(throttle, "ada", "10.0.0.1") == 1
    await clock.advance(1)
    allowed(throttle, "ada", "10.0.0.1")


def test_parallel_guesses_count_before_they_are_judged(throttle: Throttle) -> None:
    for _ in range(3):
        allowed(throttle, "ada", "10.0.0.1")
    assert wait_s(throttle, "ada", "10.0.0.1") == 1


def test_an_attempt_that_nobody_judged_does_not_count(throttle: Throttle) -> None:
    for _ in range(50):
        allowed(throttle, "ada", "10.0.0.1").withdrawn()
    for _ in range(2):
        allowed(throttle, "ada", "10.0.0.1").failed()
    allowed(throttle, "ada", "10.0.0.1").withdrawn()
    allowed(throttle, "ada", "10.0.0.1")


def test_an_address_is_delayed_over_all_accounts_and_owning_one_does_not_help(throttle: Throttle) -> None:
    for number in range(6):
        allowed(throttle, f"victim-{number}", "10.0.0.1").failed()
        allowed(throttle, "attacker", "10.0.0.9").succeeded()
    assert wait_s(throttle, "victim-9", "10.0.0.1") == 1
    assert throttle.address_wait_s("10.0.0.1") == 1
    allowed(throttle, "victim-9", "10.0.0.2")


def test_nobody_is_locked_out_of_an_address_where_they_logged_in_before(throttle: Throttle) -> None:
    for number in range(20):
        attempt = throttle.begin_attempt("ada", f"203.0.113.{number}", known=False)
        if isinstance(attempt, LoginAttempt):
            attempt.failed()
        throttle.count_address("10.0.0.1")
    assert wait_s(throttle, "ada", "10.0.0.1") > 0
    attempt = allowed(throttle, "ada", "10.0.0.1", known=True)
    assert attempt.strangers_wait_s == wait_s(throttle, "ada", "10.0.0.1")
    attempt.succeeded()
    assert wait_s(throttle, "ada", "10.0.0.1") > 0, "what strangers did is not forgotten with it"


async def test_guessing_from_a_known_address_is_delayed_too(throttle: Throttle, clock: FakeClock) -> None:
    for _ in range(3):
        allowed(throttle, "ada", "10.0.0.1", known=True).failed()
    assert wait_s(throttle, "ada", "10.0.0.1", known=True) == 1
    tries = 0
    for _ in range(600):
        await clock.advance(1)
        attempt = throttle.begin_attempt("ada", "10.0.0.1", known=True)
        if isinstance(attempt, LoginAttempt):
            attempt.failed()
            tries += 1
    assert tries <= 600 / 8 + 600 / 60 + 10, "as often as its own delay allows, and a stranger's"


@given(st.lists(st.tuples(st.sampled_from(["try", "wait"]), st.sampled_from(["ada", "bob"])), max_size=60))
def test_an_account_that_is_known_at_an_address_hears_what_an_unknown_name_hears(turns: list[tuple[str, str]]) -> None:
    clocks = [FakeClock(), FakeClock()]
    heard: list[list[float]] = [[], []]
    for known, (clock, answers) in enumerate(zip(clocks, heard, strict=True)):
        throttle = Throttle(SETTINGS, clock)
        for what, name in turns:
            if what == "wait":
                clock._now_ns += 3_000_000_000  # pyright: ignore[reportPrivateUsage] - nothing waits
                continue
            attempt = throttle.begin_attempt(name, "10.0.0.1", known=bool(known))
            if isinstance(attempt, LoginAttempt):
                attempt.failed()
                attempt = attempt.strangers_wait_s
            answers.append(attempt)
    assert heard[0] == heard[1]


async def test_success_and_time_forget_failures(throttle: Throttle, clock: FakeClock) -> None:
    for _ in range(2):
        allowed(throttle, "ada", "10.0.0.1").failed()
    allowed(throttle, "ada", "10.0.0.1").succeeded()
    for _ in range(3):
        allowed(throttle, "ada", "10.0.0.2").failed()
    assert wait_s(throttle, "ada", "10.0.0.3") == 1
    await clock.advance(3600)
    for _ in range(3):
        allowed(throttle, "ada", "10.0.0.3").failed()


def test_a_clock_that_was_set_back_lengthens_no_delay_beyond_its_own(throttle: Throttle) -> None:
    for _ in range(3):
        allowed(throttle, "ada", "10.0.0.1").failed()
    earlier = Throttle(SETTINGS, FakeClock(wall_us=1_000_000))
    for table in TABLES:
        assert earlier.unpack(table, b"".join(throttle.pack(table)))
    assert wait_s(earlier, "ada", "10.0.0.1") == 1


def test_memory_is_bounded_and_the_least_recently_used_go(throttle: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES_MAX", 100)
    for _ in range(3):
        allowed(throttle, "ada", "10.0.0.1").failed()
    for number in range(99):
        allowed(throttle, f"user-{number}", f"10.1.0.{number}").failed()
    assert wait_s(throttle, "ada", "10.9.9.9") == 1
    for number in range(1000):
        allowed(throttle, f"more-{number}", f"10.2.{number % 250}.{number // 250}").failed()
    for table in TABLES[:2]:  # the others have one entry, and none
        assert len(b"".join(throttle.pack(table))) == 100 * 16
    allowed(throttle, "ada", "10.9.9.9")


def test_a_full_table_fits_one_stored_value() -> None:
    assert module.ENTRIES_MAX * module._ENTRY.size <= VALUE_BYTES_MAX  # pyright: ignore[reportPrivateUsage] - the arithmetic of the constant


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans(), st.booleans()), max_size=40))
def test_what_is_saved_comes_back(failures: list[tuple[str, str, bool, bool]]) -> None:
    clock = FakeClock()
    throttle = Throttle(SETTINGS, clock)
    for username, address, known, fails in failures:
        attempt = throttle.begin_attempt(username, address, known=known)
        if isinstance(attempt, LoginAttempt):
            (attempt.failed if fails else attempt.succeeded)()
    restarted = Throttle(SETTINGS, clock)
    for table in TABLES:
        assert restarted.unpack(table, b"".join(throttle.pack(table)))
    for username, address, known in itertools.product("abc", "xyz", (True, False)):
        before, after = (each.begin_attempt(username, address, known=known) for each in (throttle, restarted))
        assert isinstance(before, LoginAttempt) == isinstance(after, LoginAttempt)
        if isinstance(before, float):
            assert before == after


@pytest.mark.parametrize("packed", [b"x", b"x" * 17, b"x" * (16 * 32_001)])
def test_what_cannot_be_read_is_refused_whole(throttle: Throttle, packed: bytes) -> None:
    assert not throttle.unpack("accounts", packed)
    assert b"".join(throttle.pack("accounts")) == b""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("unix-socket", "unix-socket"),
        ("", ""),
    ],
)
def test_one_machine_is_one_address(address: str, expected: str) -> None:
    assert network(address) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", "10.0.0.0/24"),
        ("::ffff:10.0.0.1", "10.0.0.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("unix-socket", None),
        ("", None),
    ],
)
def test_what_a_customer_of_a_provider_has_is_one_network(address: str, expected: str | None) -> None:
    assert network_around(address) == expected


@pytest.mark.parametrize("where", ["2001:db8:1:{0:x}::1", "10.0.0.{0}"])
def test_many_addresses_of_one_network_are_delayed_together(throttle: Throttle, where: str) -> None:
    for number in range(SETTINGS.network.free):
        allowed(throttle, f"user-{number}", where.format(number % 250)).failed()
    assert wait_s(throttle, "another", where.format(251)) == 1
    assert throttle.address_wait_s(where.format(252)) == 1
    allowed(throttle, "another", "192.0.2.1")


LATER_S = [2**32 - 1, 2**32, 2**33, 2**40, 2**48 - 1, 2**48, 2**60]


@pytest.mark.parametrize("second", [-1, 0, *LATER_S])
def test_a_failure_at_any_time_is_saved_and_comes_back(second: int) -> None:
    throttle = Throttle(SETTINGS, FakeClock(wall_us=second * 1_000_000))
    for _ in range(3):
        allowed(throttle, "ada", "10.0.0.1").failed()
    restarted = Throttle(SETTINGS, FakeClock(wall_us=second * 1_000_000))
    for table in TABLES:
        assert restarted.unpack(table, b"".join(throttle.pack(table)))
    if 0 <= second < 2**48:
        assert 0 < wait_s(restarted, "ada", "10.0.0.1") <= 1


def test_what_was_saved_before_2106_was_thought_of_is_read(throttle: Throttle, clock: FakeClock) -> None:
    for _ in range(3):
        allowed(throttle, "ada", "10.0.0.1").failed()
    saved = b"".join(throttle.pack("accounts"))
    assert saved[10:12] == b"\0\0", "where nothing was stored before"
    restarted = Throttle(SETTINGS, clock)
    assert restarted.unpack("accounts", saved)
    assert wait_s(restarted, "ada", "10.0.0.1") == 1


def test_without_an_address_only_accounts_are_counted(throttle: Throttle) -> None:
    for number in range(100):
        allowed(throttle, f"user-{number}", "").failed()
    assert throttle.address_wait_s("") == 0
