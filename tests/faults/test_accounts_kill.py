"""A server killed at any point of a registration leaves all of it or none, and what it revoked stays revoked."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.passwords import Argon2Cost
from realmkeep.accounts.server_keys import init_server_encryption
from realmkeep.config import AuthConfig
from realmkeep.errors import AuthFailed
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.storage import open_storage

SERVER = """
import asyncio, sys
from pathlib import Path
from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.passwords import Argon2Cost
from realmkeep.accounts.server_keys import init_server_encryption
from realmkeep.config import AuthConfig
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.records.fields import durable
from realmkeep.records.record import Record
from realmkeep.storage import open_storage

class Hero(Record, kind="hero-of-the-killed", version=1):
    name: str = durable()

keys = init_server_encryption(Path(sys.argv[2]))

async def register(accounts, lane):
    for n in range(10**9):
        name = f"ada-{lane}-{n}"
        await accounts.create(name, "four words of mine", character=(f"{lane}-{n}", Hero(name=name)))
        print(name, flush=True)

async def main():
    storage = open_storage(sys.argv[1])
    await storage.connect()
    accounts = Accounts(UnownedRecords(Account, storage), storage, config=AuthConfig(), server_name="town-1", keys=keys,
                        cost=Argon2Cost(8, 1, 1))
    async with accounts.running():
        await asyncio.gather(*(register(accounts, lane) for lane in range(8)))

asyncio.run(main())
"""


async def test_a_killed_server_leaves_whole_registrations_and_every_one_it_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/realm.db"
    acknowledged: set[str] = set()
    for acknowledgements in (1, 7, 40):
        with subprocess.Popen(
            [sys.executable, "-c", SERVER, url, str(tmp_path / "keys.json")], stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            acknowledged |= {server.stdout.readline().strip() for _ in range(acknowledgements)}
            server.kill()
            acknowledged |= {line.strip() for line in server.stdout if line.endswith("\n")}
        assert server.returncode == -signal.SIGKILL
        storage = open_storage(url)
        await storage.connect()
        stored_accounts = UnownedRecords(Account, storage)
        heroes: list[object] = []
        names: set[str] = set()
        async for key in storage.keys("account:*"):
            found = await stored_accounts.get(key.removeprefix("account:"))
            assert found is not None
            names.add(found.record.username)
            heroes += found.record.character_ids
            for suffix in ("", ":version", ":updated"):
                assert await storage.exists(f"hero-of-the-killed:{found.record.character_ids[0]}{suffix}")
        stored = [key async for key in storage.keys("hero-of-the-killed:*:updated")]
        await storage.disconnect()
        assert acknowledged <= names
        assert sorted(stored) == sorted(f"hero-of-the-killed:{hero}:updated" for hero in heroes)
        (tmp_path / "realm.db").replace(tmp_path / f"realm-{acknowledgements}.db")
        acknowledged.clear()


CHANGER = """
import asyncio, sys
from pathlib import Path
from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.passwords import Argon2Cost
from realmkeep.accounts.server_keys import init_server_encryption
from realmkeep.config import AuthConfig
from realmkeep.errors import StorageUnavailable
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.storage import open_storage

keys = init_server_encryption(Path(sys.argv[2]))

async def tried(act, *arguments):
    # All lanes post to the one list of notices: on a busy machine a lane may lose ten times in a row.
    while True:
        try:
            return await act(*arguments)
        except StorageUnavailable as contended:
            assert "try again" in str(contended)

async def change(accounts, lane):
    name, password = f"ada-{lane}", f"four words of mine {lane} {sys.argv[3]}"
    login = await accounts.create(name + sys.argv[3], password)
    name = login.username
    for n in range(10**9):
        print("begins", name, login.ticket, password, sep="|", flush=True)
        if n % 3 == 0:
            new = f"other words of mine {n} {sys.argv[3]}"
            following = await tried(accounts.change_password, name, password, new)
            print("changed", name, login.ticket, new, sep="|", flush=True)
            password, login = new, following
        elif n % 3 == 1:
            await tried(accounts.end_family, name, login.family)
            print("ended", name, login.ticket, password, sep="|", flush=True)
            login = await accounts.login(name, password)
        else:
            await tried(accounts.logout_everywhere, name)
            print("ended", name, login.ticket, password, sep="|", flush=True)
            login = await accounts.login(name, password)

async def main():
    storage = open_storage(sys.argv[1])
    await storage.connect()
    accounts = Accounts(UnownedRecords(Account, storage), storage, config=AuthConfig(), server_name="town-1", keys=keys,
                        cost=Argon2Cost(8, 1, 1))
    async with accounts.running():
        await asyncio.gather(*(change(accounts, lane) for lane in range(4)))

asyncio.run(main())
"""


async def test_a_killed_server_brings_no_revoked_ticket_back_and_no_old_password(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/realm.db"
    keys = await asyncio.to_thread(init_server_encryption, tmp_path / "keys.json")
    revoked: dict[str, set[str]] = {}
    passwords: dict[str, list[str]] = {}
    for turn, acknowledgements in enumerate((9, 30, 61)):
        told: list[str] = []
        command = [sys.executable, "-c", CHANGER, url, str(tmp_path / "keys.json"), f"-{turn}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            while sum(not line.startswith("begins") for line in told) < acknowledgements:
                told.append(server.stdout.readline())
                assert told[-1], "the server ended by itself"
            server.kill()
            told += [line for line in server.stdout if line.endswith("\n")]
        assert server.returncode == -signal.SIGKILL
        for kind, name, ticket, password in (line.strip().split("|") for line in told):
            passwords.setdefault(name, [password])
            if kind != "begins":
                revoked.setdefault(name, set()).add(ticket)
            if kind == "changed":
                passwords[name].append(password)
    storage = open_storage(url)
    await storage.connect()
    config = AuthConfig(answer_time_s=0, throttle_account_free=1000)
    stored_accounts = UnownedRecords(Account, storage)
    accounts = Accounts(
        stored_accounts, storage, config=config, server_name="town-2", keys=keys, cost=Argon2Cost(8, 1, 1)
    )
    for name, tickets in revoked.items():
        for ticket in tickets:
            with pytest.raises(AuthFailed):
                await accounts.login_with_ticket(ticket)
        for old in passwords[name][:-1]:
            with pytest.raises(AuthFailed):
                await accounts.login(name, old)
    assert sum(len(tickets) for tickets in revoked.values()) >= 100
    await storage.disconnect()
