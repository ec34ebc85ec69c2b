"""A Postgres is killed, one of its processes is, and the connection is cut at each message: nothing promised is lost."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from faults.postgres_proxy import PostgresProxy
from realmkeep.clock import SystemClock
from realmkeep.errors import OutcomeUnknown, StorageUnavailable
from realmkeep.storage import (
    Append,
    Committed,
    Failed,
    Guard,
    Present,
    Put,
    Storage,
    Transaction,
    Unknown,
    open_storage,
)
from realmkeep.storage.postgres import PostgresStorage
from realmkeep.storage.postgres.address import parse_postgres_url
from realmkeep.storage.postgres.connection import open_connection
from realmkeep.storage.postgres.readers import READERS_MAX
from realmkeep.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.backend("postgresql")

PLAYERS = 16
CRASHES = 2
MESSAGES_MAX = 200
ON_DISK_LATE = {
    "synchronous_commit": "off",
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
    "bgwriter_lru_maxpages": "0",  # a page that is written takes its log along
    "autovacuum": "off",
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


class Players:
    """Players whose revisions are raised one by one; knows the last answer to each."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._prefix = secrets.token_hex(4)  # a loss must not bring another test's players back
        self.promised = [0] * PLAYERS
        self.last: list[object] = [None] * PLAYERS
        self.is_over = False

    async def start(self) -> None:
        puts = [
            Transaction((), (Put(f"{self._prefix}:{n}:updated", b"0"), Put(f"{self._prefix}:{n}", b"")))
            for n in range(PLAYERS)
        ]
        assert await self._storage.write(puts) == [Committed()] * PLAYERS

    async def play(self, number: int) -> None:
        """Until a write is not committed. Every other player takes the slow path."""
        needs = (Present(f"{self._prefix}:{number}"),) if number % 2 else ()
        while not self.is_over:
            old, new = (b"%d" % (self.promised[number] + more) for more in (0, 1))
            effects = (
                Put(f"{self._prefix}:{number}:updated", new),
                Put(f"{self._prefix}:{number}", new * 100),
                Append("log", new),
            )
            write = Transaction((Guard(f"{self._prefix}:{number}:updated", old),), effects, needs)
            (self.last[number],) = await self._storage.write([write])
            if not isinstance(self.last[number], Committed):
                return
            self.promised[number] += 1

    async def until_busy(self) -> None:
        async with asyncio.timeout(20):
            while min(self.promised) < 3:
                await asyncio.sleep(0.001)

    async def wrong(self) -> list[str]:
        """Promised and lost, torn, or reported as failed and yet there."""
        found: list[str] = []
        await until_back(self._storage)
        for number, promised in enumerate(self.promised):
            revision, record = await self._storage.load_many(
                [f"{self._prefix}:{number}:updated", f"{self._prefix}:{number}"]
            )
            held = int(revision or b"-1")
            if held < promised:
                found.append(f"player {number} was promised {promised}, the store has {held}")
            elif held > promised + isinstance(self.last[number], Unknown):
                found.append(f"player {number} has {held}, and was told {self.last[number]} after {promised}")
            elif held and record != b"%d" % held * 100:
                found.append(f"player {number} is torn: {held} {record}")
        return found


async def until_back(storage: Storage) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await storage.flush()
            except (StorageUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.01)
            else:
                return


async def crash_under_load(storage: Storage, crash: Callable[[], object]) -> Players:
    """Load, and a crash; what each player had been told by then."""
    players = Players(storage)
    await players.start()
    playing = [asyncio.create_task(players.play(number)) for number in range(PLAYERS)]
    await players.until_busy()
    await asyncio.to_thread(crash)
    players.is_over = True
    await asyncio.gather(*playing)
    return players


@pytest.fixture
async def storage(server: PostgresServer) -> AsyncIterator[PostgresStorage]:
    storage = open_storage(server.url)
    await storage.connect()
    assert isinstance(storage, PostgresStorage)
    yield storage
    await storage.disconnect()


async def test_every_committed_transaction_survives_the_server(
    server: PostgresServer, storage: PostgresStorage
) -> None:
    runs = [await storage.run_id()]
    for _ in range(CRASHES):
        players = await crash_under_load(storage, server.kill)
        await asyncio.to_thread(server.start)
        assert await players.wrong() == []
        runs.append(await storage.run_id())
    assert len(set(runs)) == CRASHES + 1


async def test_every_committed_transaction_survives_a_process_of_the_server(
    server: PostgresServer, storage: PostgresStorage
) -> None:
    """Postgres ends all connections then, and replays its log; the postmaster lives on."""
    runs = [await storage.run_id()]
    for _ in range(CRASHES):
        players = await crash_under_load(storage, lambda: server.kill_backend(newest(server)))
        assert await players.wrong() == []
        runs.append(await storage.run_id())
    assert len(set(runs)) == CRASHES + 1


def newest(server: PostgresServer) -> int:
    """The process of the writer's connection."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'realmkeep' ORDER BY query_start DESC LIMIT 1"
    ((pid,),) = server.ask(query)
    return int(pid)


async def test_control_without_synchronous_commits_the_end_is_lost_and_the_capability_says_so(
    server: PostgresServer, storage: PostgresStorage
) -> None:
    assert storage.capability.durable_on_return
    await asyncio.to_thread(lambda: server.set(**ON_DISK_LATE))
    async with asyncio.timeout(20):
        while storage.capability.durable_on_return:  # each write brings the server's setting
            await storage.write([Transaction((), (Put("noticed", b"1"),))])
    assert storage.capability.fsync == "off"
    assert not storage.capability.survives_power_loss
    assert any("synchronous_commit is off" in warning for warning in storage.capability.warnings)
    players = await crash_under_load(storage, server.kill)
    await asyncio.to_thread(server.start)
    assert len(await players.wrong()) > 0
    assert storage.capability.loss_window_s is None  # three rounds of 10 s are more than a keeper looks back

    players = Players(storage)
    await players.start()
    await storage.flush()
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    assert await players.wrong() == []
    await asyncio.to_thread(lambda: server.set(synchronous_commit="on", wal_writer_delay="200ms"))


FAST = Transaction((Guard("rev", b"1"),), (Put("rev", b"2"), Put("twin", b"2")))
SLOW = Transaction((Guard("rev", b"1"),), (Put("rev", b"2"), Put("twin", b"2"), Append("log", b"x")), (Present("rev"),))


@pytest.mark.parametrize("change", [FAST, SLOW], ids=["fast", "slow"])
async def test_a_cut_at_any_message_loses_tears_and_denies_nothing(
    postgres: PostgresServer, change: Transaction
) -> None:
    fates: set[tuple[str, bool]] = set()
    with tempfile.TemporaryDirectory(prefix="rk-") as directory:
        async with PostgresProxy(Path(directory), postgres.directory) as proxy:
            storage, direct = open_storage(proxy.url), open_storage(postgres.url)
            await storage.connect()
            await direct.connect()
            for number in range(MESSAGES_MAX):
                await direct.write([Transaction((), (Put("rev", b"1"), Put("twin", b"1")))])
                proxy.cut_at(number)
                (outcome,) = await storage.write([change])
                if proxy.cut is None:
                    assert isinstance(outcome, Committed)
                    break
                await until_back(storage)  # the server has read the end of the connection, too
                rev, twin = await direct.load_many(["rev", "twin"])
                assert rev == twin, "torn"
                fates.add((type(outcome).__name__, rev == b"2"))
                (again,) = await storage.write([change])
                assert isinstance(again, Committed) == (rev == b"1")
            await storage.disconnect()
            await direct.delete("log")
            await direct.disconnect()
    assert len(fates) > 1
    assert {("Unknown", True), ("Unknown", False)} <= fates
    assert ("Failed", True) not in fates
    assert ("Committed", False) not in fates


async def test_counting_is_never_repeated_behind_the_callers_back(postgres: PostgresServer) -> None:
    told: list[int | None] = []
    with tempfile.TemporaryDirectory(prefix="rk-") as directory:
        async with PostgresProxy(Path(directory), postgres.directory) as proxy:
            storage = open_storage(proxy.url)
            await storage.connect()
            for number in range(MESSAGES_MAX):
                proxy.cut_at(number)
                try:
                    told.append(await storage.increment("count"))
                except OutcomeUnknown:
                    told.append(None)
                    await until_back(storage)
                if proxy.cut is None:
                    break
            proxy.cut_at(-1)
            counts = [number for number in told if number is not None]
            assert None in told
            assert counts == sorted(set(counts))
            assert counts[-1] <= len(told), "counted twice for one call"
            await storage.delete("count")
            await storage.disconnect()


async def test_a_read_that_is_cut_is_unavailable_and_can_be_tried_again(postgres: PostgresServer) -> None:
    with tempfile.TemporaryDirectory(prefix="rk-") as directory:
        async with PostgresProxy(Path(directory), postgres.directory) as proxy:
            storage = open_storage(proxy.url)
            await storage.connect()
            await storage.save("key", b"value")
            proxy.cut_at(0)  # of a connection that is made for it
            with pytest.raises(StorageUnavailable):
                await storage.load("key")
            assert await storage.load("key") == b"value"
            proxy.cut_at(0)  # of one that lay idle: another one is made
            assert await storage.load("key") == b"value"
            assert proxy.cut is not None
            await storage.delete("key")
            await storage.disconnect()


async def test_a_server_that_says_nothing_is_given_up(server: PostgresServer) -> None:
    storage = open_storage(f"{server.url}&timeout_s=0.3&connect_timeout=1")
    await storage.connect()
    await storage.write([Transaction((), (Put("rev", b"1"), Put("twin", b"1")))])
    await asyncio.to_thread(server.pause)
    late = asyncio.create_task(storage.write([FAST]))
    reading = asyncio.create_task(storage.load("rev"))
    (outcome,) = await late
    with pytest.raises(StorageUnavailable):
        await reading
    assert isinstance(outcome, Unknown)
    assert "no answer for 0.3 s" in str(outcome.error)
    (next_outcome,) = await storage.write([FAST])
    assert isinstance(next_outcome, Failed)
    await asyncio.to_thread(server.resume)
    await until_back(storage)
    assert await storage.load("rev") in {b"1", b"2"}
    await storage.disconnect()


async def test_a_server_that_stands_still_in_a_transaction_does_not_hold_its_locks(server: PostgresServer) -> None:
    storage = open_storage(server.url)
    await storage.connect()
    await storage.write([Transaction((), (Put("rev", b"1"), Put("twin", b"1")))])
    clock = SystemClock()
    paused = await open_connection(parse_postgres_url(urlsplit(server.url)), clock)
    await paused.run_script("session")
    await paused.begin(("lock", (["rev", "twin"],)), ("now", ()))
    (outcome,) = await storage.write([FAST])
    assert isinstance(outcome, Committed), outcome
    with pytest.raises(psycopg.OperationalError):
        await paused.commit()
    await paused.close()
    await storage.disconnect()


async def test_a_server_that_stands_still_between_its_statements_does_not_hold_its_locks(
    server: PostgresServer,
) -> None:
    """Statements that are sent one by one in a pipeline: the clock of an idle transaction does not run between them."""
    storage = open_storage(server.url)
    await storage.connect()
    await storage.write([Transaction((), (Put("rev", b"1"), Put("twin", b"1")))])
    paused = await open_connection(parse_postgres_url(urlsplit(server.url)), SystemClock())
    await paused.run_script("session")
    driver: psycopg.AsyncConnection[Any] = vars(paused)["_driver"]
    settings = await (await driver.execute("SHOW transaction_timeout")).fetchone()
    assert settings == ("5s",)
    await driver.execute("SET transaction_timeout = '0.3s'")  # a shorter test
    await paused.begin(("lock", (["rev", "twin"],)), ("now", ()))

    async def stand_still() -> None:
        async with driver.pipeline():
            await driver.execute("UPDATE realmkeep_entry SET value = '' WHERE key = 'rev'")
            (outcome,) = await storage.write([FAST])
            assert isinstance(outcome, Committed), outcome
            await driver.execute("COMMIT")

    with pytest.raises(psycopg.OperationalError):
        await stand_still()
    await paused.close()
    await storage.disconnect()


async def test_reads_whose_callers_have_given_up_do_not_queue_up_at_a_silent_server(server: PostgresServer) -> None:
    """They would be answered one after the other, each at the end of its own limit, and `disconnect` would wait for all."""
    storage = open_storage(f"{server.url}&timeout_s=0.3&connect_timeout=1")
    await storage.connect()
    assert isinstance(storage, PostgresStorage)
    await asyncio.to_thread(server.pause)
    reads = [asyncio.create_task(storage.load("rev")) for _ in range(50)]
    await asyncio.sleep(0)  # each has started
    for read in reads:
        read.cancel()
    assert all(
        isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*reads, return_exceptions=True)
    )
    assert storage._readers
    assert len(storage._readers._reads) <= READERS_MAX
    await asyncio.to_thread(server.resume)
    await until_back(storage)
    assert await storage.load("nobody") is None
    await storage.disconnect()


async def test_the_end_of_an_idle_connection_is_noticed_at_once(server: PostgresServer) -> None:
    """So the first write after a restart is not unknown."""
    storage = open_storage(server.url)
    await storage.connect()
    await storage.write([Transaction((), (Put("rev", b"1"),))])
    await asyncio.to_thread(server.kill)
    async with asyncio.timeout(10):
        while "not connected" not in repr(storage):
            await asyncio.sleep(0.001)
    (outcome,) = await storage.write([FAST])
    assert isinstance(outcome, Failed)
    await asyncio.to_thread(server.start)
    await until_back(storage)
    assert await storage.write([FAST]) == [Committed()]
    await storage.disconnect()
