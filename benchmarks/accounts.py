"""Logins: tickets against passwords, the tick beside a storm, and whether the time of a refusal tells its cause.

`./dev bench accounts`; about 20 s.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.passwords import Argon2Cost, HashCost, Pbkdf2Cost, hash_password, verify_password
from realmkeep.accounts.server_keys import ServerKeys, init_server_encryption
from realmkeep.accounts.tickets import issue_ticket
from realmkeep.config import AuthConfig
from realmkeep.errors import AuthFailed
from realmkeep.keeping.unowned_records import Shelf
from realmkeep.records.codecs import encode
from realmkeep.storage import Put, Storage, Transaction, open_storage

PASSWORD = "four words of mine"
PASSWORD_LOGINS = 100
TICKET_LOGINS = 10_000
IN_FLIGHT = 100
TICK_S = 0.05
ANSWER_TIME_S = 0.25
REFUSALS = 12


def main(arguments: list[str]) -> None:
    if arguments:
        sys.exit("benchmarks.accounts takes no arguments")
    with tempfile.TemporaryDirectory() as directory:
        keys = init_server_encryption(Path(directory) / "keys.json")
        results: dict[str, Any] = {"cores": os.cpu_count(), "hash_ms": hash_times_ms()}
        for url in ("memory://", f"sqlite:///{directory}/realm.db", f"embedded:///{directory}/store"):
            results[url.partition(":")[0]] = asyncio.run(measured(url, keys))
    print(json.dumps(results, indent=2))


def hash_times_ms() -> dict[str, float]:
    """Of one verification, alone on one thread; the median of several."""
    costs: dict[str, HashCost] = {"argon2id": Argon2Cost(), "pbkdf2-sha256-600000": Pbkdf2Cost()}
    stored = {name: hash_password(PASSWORD, cost) for name, cost in costs.items()}
    stored["version-2"] = "00" * 16 + "$" + "00" * 32
    return {name: _median_ms(lambda each=each: verify_password(PASSWORD, each)) for name, each in stored.items()}


async def measured(url: str, keys: ServerKeys) -> dict[str, Any]:
    storage = open_storage(url)
    await storage.connect()
    config = AuthConfig(hash_queue_max=PASSWORD_LOGINS, answer_time_s=ANSWER_TIME_S)
    accounts = Accounts(Shelf(Account, storage), storage, config=config, server_name="bench", keys=keys)
    async with accounts.running():
        tickets = await populated(storage)
        names = [f"user{number}" for number in range(PASSWORD_LOGINS)]
        lateness = asyncio.create_task(tick_lateness_ms(over := asyncio.Event()))
        password_s = await _seconds(lambda name: accounts.login(name, PASSWORD), names)
        over.set()
        quiet = asyncio.create_task(tick_lateness_ms(over := asyncio.Event()))
        await asyncio.sleep(1)
        over.set()
        ticket_s = await _seconds(accounts.login_with_ticket, tickets)
        report: dict[str, Any] = {
            "password_logins_per_s": round(PASSWORD_LOGINS / password_s),
            "ticket_logins_per_s": round(TICKET_LOGINS / ticket_s),
            "10000_back_on_passwords_s": round(10_000 * password_s / PASSWORD_LOGINS),
            "10000_back_on_tickets_s": round(10_000 * ticket_s / TICKET_LOGINS, 1),
            "tick_lateness_ms_beside_the_passwords": await lateness,
            "tick_lateness_ms_alone": await quiet,
        }
        if url == "memory://":
            report["refusal_ms"] = await refusal_times_ms(accounts)
    await storage.disconnect()
    return report


async def populated(storage: Storage) -> list[str]:
    """Accounts with one ticket each, written at once: registering 10,000 would hash 10,000 passwords."""
    hashed = hash_password(PASSWORD)
    now_s = time.time_ns() // 1_000_000_000
    tickets: list[str] = []
    puts: list[Transaction] = []
    for number in range(TICKET_LOGINS):
        account = Account(username=f"user{number}", password_hash=hashed, character_ids=[number])
        issued = issue_ticket(account, number, now_s)
        account.tickets = issued.kept
        tickets.append(issued.ticket)
        puts.append(Transaction([], [Put(f"account:user{number}", encode(account))]))
    await storage.write(puts)
    return tickets


async def tick_lateness_ms(over: asyncio.Event) -> dict[str, float]:
    late: list[float] = []
    due_s = time.monotonic()
    while not over.is_set():
        due_s += TICK_S
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        late.append((time.monotonic() - due_s) * 1000)
    return {"ticks": len(late), "median": round(statistics.median(late), 2), "max": round(max(late), 2)}


async def refusal_times_ms(accounts: Accounts) -> dict[str, dict[str, float]]:
    """From the request to the refusal, for each cause; the median and the extremes."""
    await accounts.ban("user1", "bench")
    causes: dict[str, Callable[[int], Awaitable[object]]] = {
        "unknown user": lambda n: accounts.login(f"nobody{n}", PASSWORD, address=f"10.1.0.{n}"),
        "wrong password": lambda n: accounts.login(f"user{n + 10}", "wrong", address=f"10.2.0.{n}"),
        "banned": lambda n: accounts.login("user1", PASSWORD, address=f"10.3.0.{n}"),
        "no key of the schema": lambda n: accounts.login(f"no:body{n}", PASSWORD, address=f"10.4.0.{n}"),
        "wrong ticket": lambda n: accounts.login_with_ticket(f"user{n}." + "0" * 64, address=f"10.5.0.{n}"),
    }
    report: dict[str, dict[str, float]] = {}
    for cause, call in causes.items():
        took: list[float] = []
        for n in range(REFUSALS):
            started_s = time.perf_counter()
            (refusal,) = await asyncio.gather(call(n), return_exceptions=True)
            took.append((time.perf_counter() - started_s) * 1000)
            assert isinstance(refusal, AuthFailed), refusal
            assert refusal.reason == "bad_credentials", refusal
        report[cause] = {
            "min": round(min(took), 2),
            "median": round(statistics.median(took), 2),
            "max": round(max(took), 2),
        }
    return report


async def _seconds(call: Callable[[str], Awaitable[object]], arguments: list[str]) -> float:
    """For all of them, `IN_FLIGHT` at a time."""
    waiting = iter(arguments)

    async def one_after_another() -> None:
        for argument in waiting:
            await call(argument)

    started_s = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - started_s


def _median_ms(call: Callable[[], object]) -> float:
    took: list[float] = []
    for _ in range(7):
        started_s = time.perf_counter()
        call()
        took.append((time.perf_counter() - started_s) * 1000)
    return round(statistics.median(took), 1)
