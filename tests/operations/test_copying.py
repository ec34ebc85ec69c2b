"""`realmkeep store copy`: between stores of different kinds, interrupted and repeated, and everything that it refuses."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from operations.traders import census_of, trading
from realmkeep import Keeper
from realmkeep.errors import CopyRefused, StorageMisconfigured, StorageUnavailable
from realmkeep.keys import SERVER_RESTORING
from realmkeep.operations.copying.copying import ENTRIES_AT_ONCE, PAGE_KEYS, CopyReport, copy_store
from realmkeep.storage import AnyTransaction, Append, Put, Storage, Transaction, WriteOutcome, open_storage
from realmkeep.storage.memory import MemoryStorage
from realmkeep.testing.replicated import LocalCluster
from realmkeep.testing.servers import StoreServer

MANY = 3 * PAGE_KEYS
HOUR_S = 3600.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[StoreServer]:
    (tmp_path / "valkey").mkdir()
    with StoreServer(tmp_path / "valkey") as server:
        yield server


@asynccontextmanager
async def opened(*urls: str) -> AsyncGenerator[list[Storage]]:
    storages = [open_storage(url) for url in urls]
    for storage in storages:
        await storage.connect()
    try:
        yield storages
    finally:
        for storage in storages:
            await storage.disconnect()


async def fill(storage: Storage) -> None:
    """Long lists, empty values, expiries, and keys of other programs, beside a realm."""
    entries = [Append("trader:1:inbox", b"%d" % number) for number in range(2 * ENTRIES_AT_ONCE + 1)]
    await storage.write([Transaction((), tuple(entries[first : first + 500])) for first in range(0, len(entries), 500)])
    puts = [Put(f"trader:{number}:version", b"2" * (number % 3)) for number in range(1000, 1000 + MANY)]
    await storage.write([Transaction((), (put,)) for put in puts])
    kept = (
        Put("server:sent:" + "c" * 32, b"1", expire_s=HOUR_S),
        Put("theirs", b"\x00\xff"),
        Append("their-list", b""),
    )
    await storage.write([Transaction((), kept)])


async def contents(storage: Storage) -> dict[str, object]:
    found: dict[str, object] = {}
    async for key in storage.keys():
        is_list = key.endswith((":inbox", ":notices", "list"))
        (end,) = await storage.expiries([key])
        left = None if end is None else round(end / 60)
        found[key] = (tuple(await storage.load_list(key)) if is_list else await storage.load(key), left)
    return found


async def copied(source: str, target: str) -> CopyReport:
    async with opened(source, target) as (one, other):
        return await copy_store(one, other)


@pytest.fixture(params=["sqlite to cluster", "cluster to sqlite", "valkey to sqlite", "embedded to postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    def url(kind: str) -> str:
        if kind == "cluster":
            server: LocalCluster = request.getfixturevalue("cluster")
            return server.url(f"realm-{tmp_path.name[-20:].strip('_')}")
        if kind == "valkey":
            return request.getfixturevalue("valkey").url
        if kind == "postgresql":
            return request.getfixturevalue("postgres_url")
        return f"{kind}:///{tmp_path}/{kind}"

    source, target = request.param.split(" to ")
    return url(source), url(target)


@pytest.mark.backend("redis-cluster")
async def test_a_copy_is_equal_also_after_an_interruption(pair: tuple[str, str]) -> None:
    source, target = pair
    async with trading(source):
        """A realm with traders and letters."""
    async with opened(source, target) as (one, other):
        await fill(one)
        before = await contents(one)
        with pytest.raises(StorageUnavailable):
            await copy_store(one, cast("Storage", Interrupted(other, after=2)))
        assert await other.exists(SERVER_RESTORING)
    with pytest.raises(StorageMisconfigured, match="not completed"):
        await Keeper.open(target, rescue_path=Path(os.devnull))
    report = await copied(source, target)
    assert report.already_there >= PAGE_KEYS
    assert report.copied >= PAGE_KEYS
    async with opened(source, target) as (one, other):
        assert await contents(one) == before
        assert await contents(other) == {key: value for key, value in before.items() if key != "server:store-runs"}
        assert report.keys == len(await contents(other))
    assert (await census_of(target)).differences(await census_of(source)) == []
    async with trading(target):
        """The realm goes on there."""
    with pytest.raises(CopyRefused, match="not empty"):
        await copied(source, target)


class Interrupted:
    """A store whose connection ends after so many calls of `write`."""

    def __init__(self, inner: Storage, *, after: int) -> None:
        self._inner = inner
        self._left = after

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        if not self._left:
            raise StorageUnavailable("cut off", hint="")
        self._left -= 1
        return await self._inner.write(transactions)


@asynccontextmanager
async def memories() -> AsyncGenerator[tuple[MemoryStorage, MemoryStorage]]:
    one, other = MemoryStorage(), MemoryStorage()
    for each in (one, other):
        await each.connect()
    await one.write([Transaction((), (Put("server:store-id", b"one"), Put("player:1", b"a")))])
    yield one, other


async def put(storage: Storage, key: str, value: bytes) -> None:
    await storage.write([Transaction((), (Put(key, value),))])


@pytest.mark.parametrize("which", [0, 1])
async def test_a_store_with_a_live_server_is_refused(which: int) -> None:
    async with memories() as stores:
        await put(stores[which], "server:north:lease", b"x")
        with pytest.raises(CopyRefused, match=f"alive on the {('source', 'target')[which]}: north"):
            await copy_store(*stores)
        assert not await stores[1].exists("player:1")


async def test_a_server_that_starts_meanwhile_is_noticed() -> None:
    async with memories() as (one, other):
        with pytest.raises(CopyRefused, match="alive on the source: late"):
            await copy_store(one, cast("Storage", Meddling(other, one, "server:late:lease")))
        assert await other.exists(SERVER_RESTORING)


async def test_a_source_that_changes_meanwhile_is_noticed_and_copied_anew() -> None:
    async with memories() as (one, other):
        with pytest.raises(CopyRefused, match="was changed while it was copied"):
            await copy_store(one, cast("Storage", Meddling(other, one, "player:1")))
        await one.delete("player:1")
        await put(one, "player:2", b"b")
        report = await copy_store(one, other)
        assert (report.keys, report.copied) == (2, 1)
        assert not await other.exists("player:1")
        assert not await other.exists(SERVER_RESTORING)


async def test_what_an_interrupted_copy_left_unequal_is_written_anew() -> None:
    async with memories() as (one, other):
        lists = (Append("list", b"1"), Append("list", b"2"), Put("passing", b"x", expire_s=HOUR_S))
        await one.write([Transaction((), lists)])
        left = (
            Put(SERVER_RESTORING, b"copy of one"),
            Put("player:1", b"older"),
            Append("list", b"1"),
            Put("passing", b"x"),
        )
        await other.write([Transaction((), left)])
        report = await copy_store(one, other)
        assert (report.copied, report.already_there, report.expiring) == (4, 0, 1)
        assert await contents(other) == await contents(one)


class Meddling(Interrupted):
    """Another program writes into the source when the target is flushed."""

    def __init__(self, inner: Storage, source: Storage, key: str) -> None:
        super().__init__(inner, after=1000)
        self._source = source
        self._key = key

    async def flush(self) -> None:
        await put(self._source, self._key, b"meddled")
        await self._inner.flush()


async def test_a_target_with_something_else_is_refused_and_left_alone() -> None:
    async with memories() as (one, other):
        await put(other, "player:9", b"theirs")
        with pytest.raises(CopyRefused, match="not empty"):
            await copy_store(one, other)
        await put(other, SERVER_RESTORING, b"copy of another")
        with pytest.raises(CopyRefused, match="half filled by something else"):
            await copy_store(one, other)
        assert await other.load("player:9") == b"theirs"
        await put(one, SERVER_RESTORING, b"1")
        with pytest.raises(CopyRefused, match="half restored"):
            await copy_store(one, MemoryStorage())


@pytest.mark.backend("valkey")
async def test_a_store_is_not_copied_into_itself(valkey: StoreServer) -> None:
    async with opened(valkey.url, valkey.url) as (one, other):
        with pytest.raises(CopyRefused, match="the same store"):
            await copy_store(one, other)
        assert not await one.exists(SERVER_RESTORING)
    async with opened(f"{valkey.url}?prefix=one") as (realm,):
        await put(realm, "player:1", b"a")
    report = await copied(f"{valkey.url}?prefix=one", f"{valkey.url}?prefix=two")
    assert report.keys == 1


@pytest.mark.backend("sqlite")
async def test_the_command_copies_and_says_what_it_did(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("one", "two")]
    async with opened(urls[0]) as (one,):
        await put(one, "player:1", b"a")
        await one.write([Transaction((), (Append("player:1:inbox", b"a list"),))])
    command = [sys.executable, "-m", "realmkeep.cli", "store", "copy", *urls]
    run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert f"{urls[1]} has the 2 keys of {urls[0]}: 2 were copied, 0 were there already; digest " in run.stdout
    again = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "is not empty" in again.stderr
