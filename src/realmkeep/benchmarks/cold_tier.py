"""`realmkeep bench cold-tier`: a cold tier behind many players: sweep, freeze, verify, thaw, reconcile, boards.

One server, its Valkey and its PostgreSQL share the machine. A game's tick runs in the server's event loop meanwhile, so its lateness
is the price that play pays. A login of a frozen player and one of a player in the hot store take turns.
"""

import asyncio
import resource
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from time import thread_time
from typing import Final, TypeVar

import msgspec

from realmkeep.benchmarks.live_players import (
    ITEMS,
    keys_of_player,
    opened_keeper,
    populate,
    started_server,
    store_information,
    store_version,
)
from realmkeep.benchmarks.slices import MS, Tick, percentile, ticking
from realmkeep.clock import Clock, SystemClock
from realmkeep.config import ArchiveConfig, KeeperConfig
from realmkeep.keeping import Board, Keeper
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.operations.archive.boards import ArchiveBoards
from realmkeep.operations.archive.freezing import DAY_S
from realmkeep.operations.archive.reconciling import Reconciler
from realmkeep.operations.archive.verifying import verify
from realmkeep.realm.world.player import Item, Player, StoredItem
from realmkeep.storage import ColdStore, Storage, open_cold_store, open_storage
from realmkeep.storage.cold import ColdBatch, ColdScore
from realmkeep.testing.postgres_server import PostgresServer
from realmkeep.testing.servers import StoreServer

S = TypeVar("S", Storage, ColdStore)

IDLE_S: Final = 10.0
PAIRS: Final = 500  # logins of each sort
QUESTIONS: Final = 200  # of each sort
FRIENDS: Final = 100
BOARD: Final = "xp"
XP_BELOW: Final = 1_000_003
SETTINGS: Final = {"shared_buffers": "512MB", "max_wal_size": "4GB"}  # of a PostgreSQL of some size
WAL_SEGMENT_MB: Final = 16
FSYNC: Final = "everysec"  # a hot login waits for no fsync, so it is as fast as it gets


class PhaseFigures(msgspec.Struct, frozen=True):
    """One part of the work.

    Attributes:
        seconds: Its duration.
        records_per_s: Players a second; 0 if it has none.
        cpu_us_a_record: Processor time of the event loop for each player, without the stores; 0 if it has none. A busy machine
            changes it little.
        tick_late_ms_p50: How late a tick of 20 Hz in the same event loop was.
        tick_late_ms_p99: Likewise.
        tick_late_ms_max: Likewise.
        memory_mib_peak: Of the process, from its start to the end of this part.
    """

    seconds: float
    records_per_s: int
    cpu_us_a_record: int
    tick_late_ms_p50: float
    tick_late_ms_p99: float
    tick_late_ms_max: float
    memory_mib_peak: int


class Times(msgspec.Struct, frozen=True):
    """Milliseconds of one call."""

    ms_p50: float
    ms_p99: float


class HotMemory(msgspec.Struct, frozen=True):
    """The memory of the hot store.

    Attributes:
        bytes_a_player: As it counts itself, less those of an empty store.
        resident_mib: As the machine counts it.
    """

    bytes_a_player: int
    resident_mib: int


class ColdTierReport(msgspec.Struct, frozen=True):
    """The figures and the parameters.

    Attributes:
        players: The number of players, each with 14 items and a full op ring.
        engines: Of the hot store and of the cold tier.
        phases: The parts of the work by name, in their order.
        hot: The memory of the hot store, by the moment.
        stub_bytes: The value of a stub.
        stub_bytes_with_key: A stub with its key, as the hot store counts it.
        logins: One login at a time, by sort: hot and cold.
        cold_to_hot_p50: Their ratio.
        boards: Questions to the board of all players and changes of it, by name.
    """

    players: int
    engines: tuple[str, str]
    phases: dict[str, PhaseFigures]
    hot: dict[str, HotMemory]
    stub_bytes: int
    stub_bytes_with_key: int
    logins: dict[str, Times]
    cold_to_hot_p50: float
    boards: dict[str, Times]


def bench_cold_tier(*, players: int, directory: Path) -> ColdTierReport:
    """Measure on a Valkey and a PostgreSQL of its own.

    Args:
        players: The number of players.
        directory: The directory of the hot store's files; those of the PostgreSQL are in the system's temporary directory.

    Raises:
        StorageMisconfigured: There is no Valkey to start.
    """
    with (
        started_server(directory, FSYNC) as server,
        PostgresServer(settings=SETTINGS, wal_segment_mb=WAL_SEGMENT_MB) as postgres,
    ):
        bench = _Bench(server, players)
        asyncio.run(bench.measure(postgres.url))
        ((engine,),) = postgres.ask("SHOW server_version")
        with started_server(directory, FSYNC) as empty:
            asyncio.run(bench.rebuild(empty, postgres.url))
        asyncio.run(bench.ask_boards(postgres.url))
        return bench.report((store_version(server), f"postgresql {engine}"))


class _Bench:
    """One run, and what it has found."""

    def __init__(self, server: StoreServer, players: int) -> None:
        self._server = server
        self._players = players
        self._clock: Clock = SystemClock()
        self._rng = Random(7)  # noqa: S311 - which players are looked at
        self._empty_bytes = int(store_information(server)["used_memory"])
        self._phases: dict[str, PhaseFigures] = {}
        self._hot: dict[str, HotMemory] = {}
        self._logins: dict[str, list[float]] = {"hot": [], "cold": []}
        self._boards: dict[str, list[float]] = {}
        self._stub = (0, 0)

    async def measure(self, archive: str) -> None:
        """Everything but the rebuilding."""
        players = self._players
        async with (
            _connected(open_cold_store(archive)) as cold,
            opened_keeper(self._server.url, KeeperConfig(name="bench"), self._clock, cold=cold) as (keeper, storage),
        ):
            archiver = ColdArchiver(keeper, cold, ArchiveConfig())
            await populate(storage, range(1, players + 1), record_of=_player)
            await self._note_memory("filled")
            keeper.gc.warmed_up()
            async with self._phase("idle", 0):
                await self._clock.sleep(IDLE_S)
            async with self._phase("sweep of all", players):
                report = await archiver.sweeper.sweep()
            assert report.shipped == players, report
            async with self._phase("sweep, nothing changed", players):
                report = await archiver.sweeper.sweep()
            assert (report.records, report.shipped) == (players, 0), report
            async with self._phase("freeze", players):
                frozen = await archiver.freezer.freeze_inactive(DAY_S)
            assert frozen.frozen == players, frozen
            await self._note_memory("frozen")
            await self._note_stub(storage)
            async with self._phase("sweep and freeze, all frozen", players):
                await archiver.sweep_if_possible()
            assert not archiver.sweep_trouble, archiver.sweep_trouble
            async with self._phase("verify", players):
                verified = await verify(storage, cold)
            assert (verified.equal, verified.faults_count) == (players, 0), verified
            await self._log_in(keeper, storage)

    async def rebuild(self, server: StoreServer, archive: str) -> None:
        """Reconcile an empty hot store."""
        async with _connected(open_cold_store(archive)) as cold, _connected(open_storage(server.url)) as storage:
            async with self._phase("reconcile an empty store", self._players):
                report = await Reconciler(storage, cold).run()
            assert (report.stubs, report.denied) == (self._players, []), report

    async def ask_boards(self, archive: str) -> None:
        """Ask the board of all players, and change it."""
        numbers = range(1, self._players + 1)
        async with _connected(open_cold_store(archive)) as cold:
            board = Board(ArchiveBoards(cold, self._clock), BOARD)
            await self._ask("first question", board.top)
            async with self._phase("questions to the board", 0):
                for _ in range(QUESTIONS):
                    friends = self._rng.choices(numbers, k=FRIENDS)
                    await self._ask("top 100", lambda: board.top(100))
                    await self._ask("around a player", lambda id_=friends[0]: board.around(id_))
                    await self._ask("100 friends", lambda ids=friends: board.among(ids))
            for number in self._rng.choices(numbers, k=QUESTIONS):
                (row,) = await cold.rows([keys_of_player(number).record])
                assert row is not None
                risen = msgspec.structs.replace(row, revision=row.revision + 1)
                score = ColdScore(row.key, BOARD, str(number), self._rng.randrange(XP_BELOW), risen.revision)
                batch = ColdBatch([risen], scores=[score])
                await self._ask("a score written", lambda batch=batch: cold.write(batch))
            await self._ask("end of a season", lambda: board.end_season("spring"))

    def report(self, engines: tuple[str, str]) -> ColdTierReport:
        """All figures."""
        logins = {name: _times(took) for name, took in self._logins.items()}
        return ColdTierReport(
            players=self._players,
            engines=engines,
            phases=self._phases,
            hot=self._hot,
            stub_bytes=self._stub[0],
            stub_bytes_with_key=self._stub[1],
            logins=logins,
            cold_to_hot_p50=round(logins["cold"].ms_p50 / logins["hot"].ms_p50, 2),
            boards={name: _times(took) for name, took in self._boards.items()},
        )

    @asynccontextmanager
    async def _phase(self, name: str, records: int) -> AsyncGenerator[None]:
        tick, began_s, began_cpu_s = Tick(self._clock), self._clock.monotonic_s(), thread_time()
        async with ticking(tick):
            yield
            took_s, took_cpu_s = self._clock.monotonic_s() - began_s, thread_time() - began_cpu_s
        late_ms = [late_s * MS for late_s in tick.late_s]
        self._phases[name] = PhaseFigures(
            seconds=round(took_s, 2),
            records_per_s=round(records / took_s),
            cpu_us_a_record=round(took_cpu_s / records * 1e6) if records else 0,
            tick_late_ms_p50=round(percentile(late_ms, 0.5), 2),
            tick_late_ms_p99=round(percentile(late_ms, 0.99), 2),
            tick_late_ms_max=round(max(late_ms), 2),
            memory_mib_peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        )

    async def _note_memory(self, moment: str) -> None:
        info = await asyncio.to_thread(store_information, self._server)
        self._hot[moment] = HotMemory(
            bytes_a_player=(int(info["used_memory"]) - self._empty_bytes) // self._players,
            resident_mib=int(info["used_memory_rss"]) // 2**20,
        )

    async def _note_stub(self, storage: Storage) -> None:
        key = keys_of_player(self._players).record
        stored = await storage.load(key) or b""
        counted = await asyncio.to_thread(self._server.ask, "MEMORY", "USAGE", key)
        assert isinstance(counted, int), counted
        self._stub = (len(stored), counted)

    async def _log_in(self, keeper: Keeper, storage: Storage) -> None:
        """Frozen players, and players that were never frozen, in turns."""
        pairs = min(PAIRS, self._players)
        others = range(self._players + 1, self._players + 1 + pairs)
        await populate(storage, others, record_of=_player)
        frozen = self._rng.sample(range(1, self._players + 1), pairs)
        for turn, (cold, hot) in enumerate(zip(frozen, others, strict=True)):
            for sort in ("cold", "hot") if turn % 2 else ("hot", "cold"):
                await self._timed(
                    self._logins[sort], lambda number=cold if sort == "cold" else hot: keeper.login(Player, number)
                )

    async def _ask(self, name: str, question: Callable[[], Awaitable[object]]) -> None:
        await self._timed(self._boards.setdefault(name, []), question)

    async def _timed(self, took_ms: list[float], work: Callable[[], Awaitable[object]]) -> None:
        began_s = self._clock.monotonic_s()
        await work()
        took_ms.append((self._clock.monotonic_s() - began_s) * MS)


@asynccontextmanager
async def _connected(store: S) -> AsyncGenerator[S]:
    await store.connect()
    try:
        yield store
    finally:
        await store.disconnect()


def _player(number: int) -> Player:
    """A player of some experience."""
    carried = [Item(f"rune-{slot}", slot + 1, slot) for slot in range(ITEMS)]
    return Player(
        player_id=number,
        name=f"hero{number:08}",
        xp=number * 7919 % XP_BELOW,
        inventory=carried,
        bank=[StoredItem("coins", 10_000)],
        achievements=["first-blood", "level-10"],
        friends=[number + 1, number + 2],
        settings={"music_volume": 0.5, "sfx_volume": 0.8},
    )


def _times(took_ms: Sequence[float]) -> Times:
    return Times(round(percentile(took_ms, 0.5), 2), round(percentile(took_ms, 0.99), 2))
