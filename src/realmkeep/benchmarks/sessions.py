"""`realmkeep bench sessions`: the cost of a live session: memory and garbage collector pauses.

`tracemalloc` counts the memory of live sessions; the memory of their records and of full op rings, which are the players' own
data, is subtracted. The pauses are measured while all players change and are written: once with Python's own collector policy,
twice after `keeper.gc.warmed_up()`. Without `warmed_up` the benchmark runs one full collection, as Python does sooner or later.

Each part has players of its own.
"""

import asyncio
import gc
import tracemalloc
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from realmkeep.benchmarks.live_players import LOGINS_AT_ONCE, log_in, opened_keeper, populate, started_server
from realmkeep.benchmarks.slices import MS
from realmkeep.clock import Clock, SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Keeper, Session
from realmkeep.keys import record_keys
from realmkeep.records import load
from realmkeep.storage import Storage
from realmkeep.testing.servers import StoreServer
from realmkeep.testing.specification import SpecPlayer

COUNTED: Final = 2000  # sessions with counted memory; few, because tracemalloc slows everything down
FLUSH_INTERVAL_S: Final = 1.0
POLL_S: Final = 0.005


class SessionFigures(msgspec.Struct, frozen=True):
    """The figures, with the engine and the parameters."""

    engine: str
    sessions: int
    record_bytes: int
    session_bytes: int
    full_ring_bytes: int
    gc_pause_ms_max: float
    gc_pause_ms_max_warmed_up: float


@contextmanager
def measured_pauses(clock: Clock) -> Generator[list[float]]:
    """The seconds of each garbage collection during the block."""
    pauses: list[float] = []
    started_s = 0.0

    def note(phase: str, _info: dict[str, int]) -> None:
        nonlocal started_s
        if phase == "start":
            started_s = clock.monotonic_s()
        else:
            pauses.append(clock.monotonic_s() - started_s)

    gc.callbacks.append(note)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(note)


async def _memory(storage: Storage, keeper: Keeper, players: range) -> tuple[int, int]:
    """The bytes of a record, and of a record with its session; the first 64 players open the connections."""
    first, counted = players[:LOGINS_AT_ONCE], players[LOGINS_AT_ONCE:]
    blobs = await storage.load_many([record_keys("player", number).record for number in counted])
    await log_in(keeper, first)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        records = [load(blob, SpecPlayer).require() for blob in blobs if blob is not None]
        of_records = tracemalloc.get_traced_memory()[0] - before
        assert len(records) == len(counted)
        del records
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        crowd = await log_in(keeper, counted)
        for session in crowd:
            await session.open_letters()  # a login looks for letters in the background
        gc.collect()
        of_sessions = tracemalloc.get_traced_memory()[0] - before
        del crowd
    finally:
        tracemalloc.stop()
    return of_records // len(counted), of_sessions // len(counted)


async def _play(crowd: Sequence[Session[SpecPlayer]], clock: Clock) -> None:
    """Change all players and wait until their changes are durable."""
    for number, session in enumerate(crowd):
        session.record.xp += 1
        if number % 500 == 0:
            await clock.sleep(0)
    while any(session.dirty for session in (crowd[0], crowd[-1])):
        await clock.sleep(POLL_S)


async def _measure(server: StoreServer, sessions: int) -> SessionFigures:
    clock = SystemClock()
    bytes_of: dict[bool, tuple[int, int]] = {}
    part = COUNTED + LOGINS_AT_ONCE
    for full_rings, first in ((False, sessions), (True, sessions + part)):
        players = range(first, first + part)
        async with opened_keeper(server.url, KeeperConfig(name=f"memory-{full_rings}")) as (keeper, storage):
            await populate(storage, players, full_rings=full_rings)
            bytes_of[full_rings] = await _memory(storage, keeper, players)
            for session in keeper.sessions(SpecPlayer):
                await session.release()
    config = KeeperConfig(name="bench", flush_interval_s=FLUSH_INTERVAL_S)
    async with opened_keeper(server.url, config) as (keeper, storage):
        engine = storage.capability.engine
        await populate(storage, range(sessions))
        crowd = await log_in(keeper, range(sessions))
        with measured_pauses(clock) as pauses:
            await _play(crowd, clock)
            gc.collect()
        keeper.gc.warmed_up()
        with measured_pauses(clock) as pauses_warm:
            await _play(crowd, clock)
            await _play(crowd, clock)
    (record_bytes, without_ring), (_, with_ring) = bytes_of[False], bytes_of[True]
    return SessionFigures(
        engine=engine,
        sessions=sessions,
        record_bytes=record_bytes,
        session_bytes=without_ring - record_bytes,
        full_ring_bytes=with_ring - without_ring,
        gc_pause_ms_max=round(max(pauses) * MS, 3),
        gc_pause_ms_max_warmed_up=round(max(pauses_warm, default=0.0) * MS, 3),
    )


def bench_sessions(*, sessions: int, directory: Path) -> SessionFigures:
    """Measure live sessions on a store that fsyncs once a second, so that the disk matters little.

    Args:
        sessions: Number of players, at least 1; each has 14 items and a full op ring.
        directory: The directory of the store's temporary files.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    with started_server(directory, "everysec") as server:
        return asyncio.run(_measure(server, sessions))
