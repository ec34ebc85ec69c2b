"""`realmkeep bench accounts`: logins a second, the tick beside them, and the time of refusals by cause.

A login with a password hashes it; a login with a ticket does not. Both are measured on each store, and a 20 Hz tick runs beside
the passwords. A refusal must take the same time for every cause, because otherwise its time would reveal whether an account
exists.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.passwords import Argon2Cost, HashCost, Pbkdf2Cost, hash_password, verify_password
from realmkeep.accounts.server_keys import ServerKeys, init_server_encryption
from realmkeep.accounts.tickets import issue_ticket
from realmkeep.benchmarks.slices import MS, Tick, ticking
from realmkeep.clock import Clock, SystemClock
from realmkeep.config import AuthConfig
from realmkeep.errors import AuthFailed
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.keys import record_keys
from realmkeep.records.codecs import encode
from realmkeep.storage import Put, Storage, Transaction, open_storage

PASSWORD: Final = "four words of mine"  # noqa: S105 - of accounts that live as long as the measurement
PASSWORD_LOGINS: Final = 100
TICKET_LOGINS: Final = 10_000
IN_FLIGHT: Final = 100
IDLE_S: Final = 1.0
ANSWER_TIME_S: Final = 0.25
REFUSALS: Final = 12
HASHES: Final = 7


class StoreFigures(msgspec.Struct, frozen=True):
    """The figures of one store; a tick's lateness is the difference between its start and the time it was due."""

    password_logins_per_s: float
    ticket_logins_per_s: float
    passwords_10000_s: float
    tickets_10000_s: float
    tick_late_ms_p50: float
    tick_late_ms_max: float
    tick_late_idle_ms_p50: float
    tick_late_idle_ms_max: float


class AccountsReport(msgspec.Struct, frozen=True):
    """The report: one verification of each kind of hash, the figures of each store, and refusals by cause."""

    cores: int
    hash_ms: dict[str, float]
    stores: dict[str, StoreFigures]
    refusal_ms_p50: dict[str, float]


def bench_accounts(*, directory: Path) -> AccountsReport:
    """Measure logins on memory, SQLite and the embedded store; takes about 20 s.

    Args:
        directory: The directory of the stores' temporary files.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    with tempfile.TemporaryDirectory(dir=directory, prefix="bench-") as inside:
        keys = init_server_encryption(Path(inside) / "keys.json")
        stores: dict[str, StoreFigures] = {}
        for url in ("memory://", f"sqlite:///{inside}/realm.db", f"embedded:///{inside}/store"):
            stores[url.partition(":")[0]] = asyncio.run(_measure(url, keys))
        return AccountsReport(
            cores=os.cpu_count() or 1,
            hash_ms=_hash_times_ms(SystemClock()),
            stores=stores,
            refusal_ms_p50=asyncio.run(_refusal_times_ms(keys)),
        )


def _hash_times_ms(clock: Clock) -> dict[str, float]:
    """The times of one verification, alone on one thread; medians."""
    costs: dict[str, HashCost] = {"argon2id": Argon2Cost(), "pbkdf2-sha256-600000": Pbkdf2Cost()}
    stored = {name: hash_password(PASSWORD, cost) for name, cost in costs.items()}
    stored["version-2"] = "00" * 16 + "$" + "00" * 32
    took_ms: dict[str, float] = {}
    for name, each in stored.items():
        took: list[float] = []
        for _ in range(HASHES):
            start_s = clock.monotonic_s()
            verify_password(PASSWORD, each)
            took.append((clock.monotonic_s() - start_s) * MS)
        took_ms[name] = round(median(took), 1)
    return took_ms


@asynccontextmanager
async def _opened(url: str, keys: ServerKeys) -> AsyncGenerator[tuple[Accounts, Storage]]:
    storage = open_storage(url)
    await storage.connect()
    config = AuthConfig(hash_queue_max=PASSWORD_LOGINS, answer_time_s=ANSWER_TIME_S)
    accounts = Accounts(UnownedRecords(Account, storage), storage, config=config, server_name="bench", keys=keys)
    try:
        async with accounts.running():
            yield accounts, storage
    finally:
        await storage.disconnect()


async def _measure(url: str, keys: ServerKeys) -> StoreFigures:
    clock = SystemClock()
    async with _opened(url, keys) as (accounts, storage):
        tickets = await _populate(storage, clock)
        names = [f"user{number}" for number in range(PASSWORD_LOGINS)]
        busy, idle = Tick(clock), Tick(clock)
        async with ticking(busy):
            password_s = await _seconds(lambda name: accounts.login(name, PASSWORD), names, clock)
        async with ticking(idle):
            await clock.sleep(IDLE_S)
        ticket_s = await _seconds(accounts.login_with_ticket, tickets, clock)
    return StoreFigures(
        password_logins_per_s=round(PASSWORD_LOGINS / password_s, 1),
        ticket_logins_per_s=round(TICKET_LOGINS / ticket_s, 1),
        passwords_10000_s=round(10_000 * password_s / PASSWORD_LOGINS, 1),
        tickets_10000_s=round(10_000 * ticket_s / TICKET_LOGINS, 1),
        tick_late_ms_p50=round(median(busy.late_s) * MS, 2),
        tick_late_ms_max=round(max(busy.late_s) * MS, 2),
        tick_late_idle_ms_p50=round(median(idle.late_s) * MS, 2),
        tick_late_idle_ms_max=round(max(idle.late_s) * MS, 2),
    )


async def _populate(storage: Storage, clock: Clock) -> list[str]:
    """Store accounts with one ticket each, in one write: registering 10,000 would hash 10,000 passwords."""
    hashed = hash_password(PASSWORD)
    now_s = clock.wall_us() // 1_000_000
    tickets: list[str] = []
    puts: list[Transaction] = []
    for number in range(TICKET_LOGINS):
        account = Account(username=f"user{number}", password_hash=hashed, character_ids=[number])
        issued = issue_ticket(account, number, now_s)
        account.tickets = issued.kept
        tickets.append(issued.ticket)
        puts.append(Transaction([], [Put(_key(number), encode(account))]))
    await storage.write(puts)
    return tickets


def _key(number: int) -> str:
    return record_keys("account", f"user{number}", internal=True).record


async def _refusal_times_ms(keys: ServerKeys) -> dict[str, float]:
    """The times from request to refusal, on the memory store; the median of each cause."""
    clock = SystemClock()
    async with _opened("memory://", keys) as (accounts, storage):
        await _populate(storage, clock)
        await accounts.ban("user1", "bench")
        causes: dict[str, Callable[[int], Awaitable[object]]] = {
            "unknown user": lambda n: accounts.login(f"nobody{n}", PASSWORD, address=f"10.1.0.{n}"),
            "wrong password": lambda n: accounts.login(f"user{n + 10}", "wrong", address=f"10.2.0.{n}"),
            "banned": lambda n: accounts.login("user1", PASSWORD, address=f"10.3.0.{n}"),
            "no key of the schema": lambda n: accounts.login(f"no:body{n}", PASSWORD, address=f"10.4.0.{n}"),
            "wrong ticket": lambda n: accounts.login_with_ticket(f"user{n}." + "0" * 64, address=f"10.5.0.{n}"),
        }
        report: dict[str, float] = {}
        for cause, call in causes.items():
            took: list[float] = []
            for n in range(REFUSALS):
                start_s = clock.monotonic_s()
                (refusal,) = await asyncio.gather(call(n), return_exceptions=True)
                took.append((clock.monotonic_s() - start_s) * MS)
                assert isinstance(refusal, AuthFailed), refusal
                assert refusal.reason == "bad_credentials", refusal
            report[cause] = round(median(took), 2)
        return report


async def _seconds(call: Callable[[str], Awaitable[object]], arguments: Sequence[str], clock: Clock) -> float:
    """The seconds of all calls, `IN_FLIGHT` at a time."""
    waiting = iter(arguments)

    async def one_after_another() -> None:
        for argument in waiting:
            await call(argument)

    start_s = clock.monotonic_s()
    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
    return clock.monotonic_s() - start_s
