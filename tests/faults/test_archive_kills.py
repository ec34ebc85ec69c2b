"""A server, its store and its PostgreSQL are killed at every call of a cut, a freeze, a thaw and an erasure: both tiers are equal
afterwards, gold is conserved, each player has one owner, and nobody who was erased comes back.

All of them are real processes. The store is a Valkey that loses nothing (`appendfsync always`). A server dies after each call, a
store during each call to it. With `--seeds 6000` a server dies before each call as well, a store during calls to the other one, and
a person is erased who is not frozen.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from faults.archive_actor import (
    CONFIG,
    FROZEN,
    GIFT,
    GONE,
    GONE_FROZEN,
    LIVE,
    OLD,
    PARTNER,
    RECEIVERS,
    SCENES,
    SEEDS_OF_ALL,
    START,
    History,
    Victim,
)
from operations.archive.rig import HOOKS, Nomad
from realmkeep.config import ArchiveConfig
from realmkeep.errors import AlreadyOwned
from realmkeep.keeping import Keeper, Session
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.operations.archive.verifying import verify
from realmkeep.records import load
from realmkeep.storage import ColdStore, Storage, open_cold_store, open_storage
from realmkeep.storage.cold import Stub
from realmkeep.testing.postgres_server import PostgresServer
from realmkeep.testing.servers import StoreServer

pytestmark = [pytest.mark.backend("postgresql"), pytest.mark.limit(300)]

GOLD = {
    LIVE: START - 10 - GIFT * len(RECEIVERS),
    PARTNER: START + 10,
    OLD: START,
    FROZEN: START + GIFT,
}  # after `Play.set_up`
ERASED = (GONE, GONE_FROZEN)


class Stage:
    """Both stores, and the process that forks the servers."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.store = stack.enter_context(StoreServer(directory))
        self.archive = stack.enter_context(PostgresServer())
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "faults.archive_actor"]
        self._log = directory / "actor.log"
        with self._log.open("wb") as log:
            self._nursery = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        stack.callback(self._end)
        self._first = count(10, 10)

    def _end(self) -> None:
        self._nursery.kill()
        self._nursery.communicate()

    def play(self, scene: str, victim: Victim, call: int, *, anywhere: bool) -> tuple[History, list[str]]:
        """Play a history, and start again what it killed; returns it, and what its process said."""
        history = History(self.store.url, self.archive.url, scene, victim, anywhere, call, next(self._first))
        said: list[str] = []
        self._send(msgspec.json.encode(history))
        while not said or not said[-1].startswith("ended"):
            said.append(self._read())
            if said[-1] == "strike":
                server = self.store if victim == "store" else self.archive
                server.kill()
                self._send(b"killed")
                server.start()
        return history, said

    def _send(self, line: bytes) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(line + b"\n")
        self._nursery.stdin.flush()

    def _read(self) -> str:
        assert self._nursery.stdout is not None
        line = self._nursery.stdout.readline()
        assert line, self._log.read_text(encoding="utf-8")
        return line.decode().strip()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path_factory.mktemp("stage"), stack)


class After:
    """A fresh server after a history."""

    def __init__(self, history: History, storage: Storage, cold: ColdStore) -> None:
        self.history, self._storage, self._cold = history, storage, cold

    async def wrong(self) -> list[str]:
        """What is wrong once it has swept, let everybody in, and saved them."""
        found = await self._torn()
        keeper = await self._opened("a")
        archiver = ColdArchiver(keeper, self._cold, ArchiveConfig())
        await archiver.sweeper.sweep()
        found += await self._tiers("after the sweep")
        found += [f"{key} is left" async for key in self._storage.keys("server:erasing:*")]
        found += await self._erased()
        sessions = {place: await self._enter(keeper, place) for place in GOLD}
        for place, session in sessions.items():
            await session.open_letters()
            if session.record.gold != GOLD[place]:
                found.append(f"{self.history.key_of(place)} has {session.record.gold} gold, not {GOLD[place]}")
        found += await self._two_owners()
        await keeper.close()
        if not await archiver.ship_last(30):
            found.append("the last cut was not shipped")
        found += await self._tiers("at the end")
        ours = {self.history.key_of(place) for place in GOLD}
        letters = [letter async for letter in self._unopened() if letter in ours]
        return found + [f"{each} has an unopened letter in the archive" for each in letters]

    async def _torn(self) -> list[str]:
        """Whether the archive has a part of a cut: each trade and each letter of `Play.set_up` conserves gold."""
        rows = await self._cold.rows([self.history.key_of(place) for place in GOLD])
        gold = sum([load(row.body, Nomad).require().gold for row in rows if row is not None and row.body is not None])
        receivers = {self.history.key_of(place) for place in RECEIVERS}
        gold += GIFT * len([each async for each in self._unopened() if each in receivers])
        return (
            [] if gold == len(GOLD) * START else [f"the archive has {gold} gold in records and letters: a cut is torn"]
        )

    async def _opened(self, name: str) -> Keeper:
        config = msgspec.structs.replace(CONFIG, name=name)
        return await Keeper.open(
            self._storage, config=config, hooks=HOOKS, cold=self._cold, rescue_path=Path(os.devnull)
        )

    async def _enter(self, keeper: Keeper, place: int) -> Session[Nomad]:
        return await keeper.login(Nomad, self.history.id_of(place), create=lambda: Nomad(gold=0))

    async def _tiers(self, when: str) -> list[str]:
        report = await verify(self._storage, self._cold)
        found = [f"{when}: {each.key} {each.why}" for each in report.faults]
        if (report.behind, report.only_cold) != (0, 0):
            found.append(f"{when}: {report.behind} behind, {report.only_cold} in the archive alone")
        return found

    async def _erased(self) -> list[str]:
        found: list[str] = []
        for place in ERASED:
            key = self.history.key_of(place)
            (row,) = await self._cold.rows([key])
            in_hot, in_cold = await self._storage.load(key) is not None, row is not None and row.body is not None
            if in_hot != in_cold:
                found.append(f"{key} is erased in one tier alone")
            if not in_hot and [each async for each in self._unopened() if each == key]:
                found.append(f"{key} is erased, and has a letter")
        return found

    async def _two_owners(self) -> list[str]:
        other = await self._opened("b")
        found: list[str] = []
        for place in GOLD:
            try:
                await self._enter(other, place)
            except AlreadyOwned:
                continue
            found.append(f"{self.history.key_of(place)} has two owners")
        await other.close()
        return found

    async def _unopened(self) -> AsyncIterator[str]:
        after = 0
        while page := await self._cold.unopened(after, 100):
            after = page[-1][0]
            for _, letter in page:
                yield letter.receiver


async def look(history: History, said: list[str]) -> list[str]:
    """What is wrong after a history."""
    storage, cold = open_storage(history.store), open_cold_store(history.archive)
    await storage.connect()
    await cold.connect()
    try:
        found = await After(history, storage, cold).wrong()
        if said[0] == "played":
            found += await _not_done(history, storage)
        return found
    finally:
        await cold.disconnect()
        await storage.disconnect()


async def _not_done(history: History, storage: Storage) -> list[str]:
    """What a scene without a kill has not done."""
    place = {"erase": GONE, "erase a frozen one": GONE_FROZEN}.get(history.scene)
    stored = None if place is None else await storage.load(history.key_of(place))
    return [] if stored is None else [f"{history.key_of(place or 0)} is there: {Stub.read(stored)}"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    anywhere = metafunc.config.option.seeds >= SEEDS_OF_ALL
    victims = [each for each in get_args(Victim) if anywhere or each != "server before"]
    metafunc.parametrize("scene", [scene for scene in SCENES if anywhere or scene != "erase"])
    metafunc.parametrize("victim", victims)
    metafunc.parametrize("anywhere", [anywhere], ids=[""])


def test_a_kill_at_every_call_leaves_both_tiers_equal(stage: Stage, scene: str, victim: Victim, anywhere: bool) -> None:
    for call in count(1):
        history, said = stage.play(scene, victim, call, anywhere=anywhere)
        is_over = said == ["played", "ended 0"]
        assert is_over or said == ["ended -9"] or (said[0], said[-1]) == ("strike", "ended 0"), (said, stage.log)
        assert asyncio.run(look(history, said)) == [], (call, said, stage.log)
        if is_over:
            assert call > 1
            return
