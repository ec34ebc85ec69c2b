"""Two servers, each a process, thaw the same players at the same time: each player has one owner, and nothing is lost.

With `--seeds 6000` they are a thousand.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from faults.archive_actor import SEEDS_OF_ALL, Ahead
from faults.archive_thawer import Answers
from operations.archive.rig import HOOKS, Nomad
from realmkeep.config import ArchiveConfig, KeeperConfig
from realmkeep.keeping import Keeper
from realmkeep.keeping.keeper import engine_of
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.operations.archive.freezing import Freezer
from realmkeep.operations.archive.verifying import VerifyReport, verify
from realmkeep.storage import load_each, open_cold_store, open_storage
from realmkeep.testing.servers import StoreServer

pytestmark = [pytest.mark.backend("postgresql"), pytest.mark.limit(300)]

FEW, MANY = 200, 1000
GOLD, GIFT = 100, 7
NAMES = ("north", "south")


class Server:
    """A process of `archive_thawer`."""

    def __init__(self, directory: Path, name: str, *arguments: object) -> None:
        self._log = directory / f"{name}.log"
        command = [sys.executable, "-m", "faults.archive_thawer", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def say(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._log.read_text(encoding="utf-8", errors="replace")
        return line

    def ended(self) -> int:
        self._process.communicate()
        return self._process.returncode

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreServer]:
    directory = tmp_path / "store"
    directory.mkdir()
    with StoreServer(directory) as server:
        yield server


async def freeze_all(store: str, archive: str, players: int) -> None:
    """Each has a letter that waits."""
    storage, cold = open_storage(store), open_cold_store(archive)
    await cold.connect()
    config = KeeperConfig(name="maker")
    keeper = await Keeper.open(storage, config=config, hooks=HOOKS, cold=cold, rescue_path=Path(os.devnull))

    async def enter_and_leave(id_: int) -> None:
        await (await keeper.login(Nomad, id_, create=lambda: Nomad(gold=GOLD))).release()

    await asyncio.gather(*map(enter_and_leave, range(players)))
    assert await ColdArchiver(keeper, cold, ArchiveConfig()).shipper.ship()
    freezer = Freezer(engine_of(keeper).storage, cold, Ahead(), ["nomad"])
    assert (await freezer.freeze_inactive(0)).frozen == players
    await asyncio.gather(*(keeper.letters.send(Nomad, id_, GIFT) for id_ in range(players)))
    await keeper.close()
    await cold.disconnect()
    await storage.disconnect()


async def owners_of(store: str, players: int) -> dict[int, str]:
    storage = open_storage(store)
    await storage.connect()
    stored = await load_each(storage, [f"nomad:{id_}:owner" for id_ in range(players)])
    await storage.disconnect()
    return {id_: (owner or b"/").decode().split("/")[0] for id_, owner in enumerate(stored)}


async def compared(store: str, archive: str) -> VerifyReport:
    storage, cold = open_storage(store), open_cold_store(archive)
    await storage.connect()
    await cold.connect()
    report = await verify(storage, cold)
    await cold.disconnect()
    await storage.disconnect()
    return report


def test_of_two_servers_that_thaw_the_same_players_one_owns_each(
    tmp_path: Path, store: StoreServer, postgres_url: str, pytestconfig: pytest.Config
) -> None:
    players = MANY if pytestconfig.option.seeds >= SEEDS_OF_ALL else FEW
    asyncio.run(freeze_all(store.url, postgres_url, players))
    with ExitStack() as stack:
        servers = {name: Server(tmp_path, name, store.url, postgres_url, name, players) for name in NAMES}
        for server in servers.values():
            stack.callback(server.kill)
            assert server.read() == "ready\n"
        for server in servers.values():
            server.say()
        answers = {name: msgspec.json.decode(server.read(), type=Answers) for name, server in servers.items()}
        north, south = (answers[name] for name in NAMES)
        assert north.gold.keys() | south.gold.keys() == set(range(players))
        assert not north.gold.keys() & south.gold.keys()
        assert {*north.gold.values(), *south.gold.values()} == {GOLD + GIFT}
        assert north.refused == dict.fromkeys(south.gold, "south")
        assert south.refused == dict.fromkeys(north.gold, "north")
        owned = dict.fromkeys(north.gold, "north") | dict.fromkeys(south.gold, "south")
        assert asyncio.run(owners_of(store.url, players)) == owned
        for server in servers.values():
            server.say()
            assert server.ended() == 0
    report = asyncio.run(compared(store.url, postgres_url))
    assert (report.records, report.equal, report.faults_count, report.only_cold) == (players, players, 0, 0)
