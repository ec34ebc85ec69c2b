"""A server killed at any point of a registration leaves all of it or none."""

import signal
import subprocess
import sys
from pathlib import Path

from realmkeep.accounts.account import Account
from realmkeep.keeping.shelf import Shelf
from realmkeep.storage import open_storage

SERVER = """
import asyncio, sys
from pathlib import Path
from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.passwords import Argon2Cost
from realmkeep.accounts.server_keys import init_server_encryption
from realmkeep.config import AuthConfig
from realmkeep.keeping.shelf import Shelf
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
    accounts = Accounts(Shelf(Account, storage), storage, config=AuthConfig(), server_name="town-1", keys=keys,
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
        shelf = Shelf(Account, storage)
        heroes: list[object] = []
        names: set[str] = set()
        async for key in storage.keys("account:*"):
            found = await shelf.get(key.removeprefix("account:"))
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
