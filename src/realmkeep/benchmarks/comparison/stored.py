"""Does a changed player cost more when a million are stored; how long do starts and recovery take then?

One store for each size, all of them at the same time: the keepers take turns. The cost is processor time of game server and
store together, for a player that has changed and is saved.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from itertools import pairwise
from pathlib import Path
from time import thread_time
from typing import Final, cast

from realmkeep.benchmarks.comparison.contest import Measured, Way, compete
from realmkeep.benchmarks.comparison.logins import store_players
from realmkeep.benchmarks.comparison.results import Figure, Part
from realmkeep.benchmarks.limit import packed_mset, send_all
from realmkeep.benchmarks.live_players import (
    HEARTBEAT_S,
    ITEMS,
    log_in,
    opened_keeper,
    started_server,
    store_information,
)
from realmkeep.clock import Clock, SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Session
from realmkeep.records import encode
from realmkeep.storage.redis_chunk import CHUNK_TRANSACTIONS_MAX
from realmkeep.testing.servers import StoreServer
from realmkeep.testing.specification import SpecPlayer, specification_player

STORED: Final = (1_000, 10_000, 100_000, 1_000_000)
LIVE: Final = 1_000
FLUSHES: Final = 10  # a round
FLUSH_INTERVAL_S: Final = 0.1
POLL_S: Final = 0.002
US: Final = 1e6
LOST: Final = 5_000  # players that were live when their server died


def measure_stored(*, rounds: int, directory: Path, stored: Sequence[int] = STORED, live: int = LIVE) -> Part:
    """Measure the cost of a changed player by the number of stored ones.

    Args:
        rounds: At least 1.
        directory: The directory of the temporary files; a million players need 4 GB there, and 3 GB of memory.
        stored: Numbers of stored players, each at least `live`.
        live: Players that change.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    record = encode(specification_player(ITEMS))
    with ExitStack() as stack:
        servers = [stack.enter_context(started_server(directory, "everysec")) for _ in stored]
        for server, number in zip(servers, stored, strict=True):
            store_players(server, range(number), record)
        return asyncio.run(_measure_stored(list(zip(servers, stored, strict=True)), rounds, live))


async def _measure_stored(stores: Sequence[tuple[StoreServer, int]], rounds: int, live: int) -> Part:
    clock = SystemClock()
    config = KeeperConfig(
        name="bench", flush_interval_s=FLUSH_INTERVAL_S, heartbeat_s=HEARTBEAT_S, lease_ttl_s=2 * HEARTBEAT_S
    )
    async with AsyncExitStack() as stack:
        ways: list[Way] = []
        for server, number in stores:
            keeper, _ = await stack.enter_async_context(opened_keeper(server.url, config))
            # Spread over all that are stored, as those who play tonight are.
            crowd = await log_in(keeper, range(0, number, number // live)[:live])
            keeper.gc.warmed_up()
            ways += [_flushing(server, number, crowd, clock), _setting(server, number, crowd)]
        figures = await compete(ways, rounds)
    return Part(
        key="stored",
        title="Cost of a changed player, by stored players",
        work=f"processor time of game server and store for one of {live:,} live players that change and are saved",
        figures=figures,
    )


def _flushing(server: StoreServer, stored: int, crowd: Sequence[Session[SpecPlayer]], clock: Clock) -> Way:
    async def measure() -> Measured:
        before_s = thread_time() + await asyncio.to_thread(_cpu_s, server)
        for _ in range(FLUSHES):
            for session in crowd:
                session.record.xp += 1
            while any(session.dirty for session in (crowd[0], crowd[-1])):
                await clock.sleep(POLL_S)
        after_s = thread_time() + await asyncio.to_thread(_cpu_s, server)
        return Measured((after_s - before_s) * US / (FLUSHES * len(crowd)))

    return Way(
        f"stored-{stored}",
        f"{stored:,} players stored",
        "µs of processor",
        1,
        "one flush after the other",
        "everysec",
        measure,
    )


def _setting(server: StoreServer, stored: int, crowd: Sequence[Session[SpecPlayer]]) -> Way:
    """The store's own part: the values of the same keys, put again as they are."""

    async def measure() -> Measured:
        packed = await asyncio.to_thread(_packed, server, crowd)
        before_s = await asyncio.to_thread(_cpu_s, server)
        await asyncio.to_thread(send_all, server.socket_path, packed * FLUSHES)
        after_s = await asyncio.to_thread(_cpu_s, server)
        return Measured((after_s - before_s) * US / (FLUSHES * len(crowd)))

    return Way(
        f"mset-{stored}",
        f"limit: packed MSETs, {stored:,} players stored, the store alone",
        "µs of processor",
        1,
        f"{CHUNK_TRANSACTIONS_MAX} players each",
        "everysec",
        measure,
        is_limit=True,
    )


def _packed(server: StoreServer, crowd: Sequence[Session[SpecPlayer]]) -> list[bytes]:
    packed: list[bytes] = []
    for start in range(0, len(crowd), CHUNK_TRANSACTIONS_MAX):
        some = crowd[start : start + CHUNK_TRANSACTIONS_MAX]
        keys = [key for session in some for key in (session.keys.record, session.keys.updated)]
        values = server.ask("MGET", *keys)
        assert isinstance(values, list), values
        packed.append(packed_mset(list(zip(keys, cast("list[bytes]", values), strict=True))))
    return packed


def _cpu_s(server: StoreServer) -> float:
    """The processor time of a store since its start."""
    used = store_information(server)
    return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])


def measure_starts(*, stored: int, lost: int = LOST, directory: Path) -> Part:
    """Measure the starts of a store and of a game server, and the recovery of a crashed server's players. One round.

    Args:
        stored: Players in the store.
        lost: Players that were live when their server died, at most `stored`.
        directory: The directory of the temporary files.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    clock = SystemClock()
    with started_server(directory, "always") as server:
        store_players(server, range(stored), encode(specification_player(ITEMS)))
        asyncio.run(_log_in_and_die(server, range(0, stored, stored // lost)[:lost]))
        server.kill()
        start_s = clock.monotonic_s()
        server.start()
        store_s = clock.monotonic_s() - start_s
        open_s, recover_s, login_s = asyncio.run(_start_again(server, stored, lost, clock))
    return Part(
        key="starts",
        title=f"Starts with {stored:,} stored players",
        work=f"store and game server were killed, {lost:,} players were live; one round",
        figures=(
            _seconds("store", "the store loads its append-only file", store_s),
            _seconds("open", "Keeper.open", open_s),
            _seconds("recover", f"keeper.recover: {lost:,} players are live again", recover_s),
            _seconds("login", "the first login of another player", login_s),
        ),
    )


async def _log_in_and_die(server: StoreServer, players: range) -> None:
    async with opened_keeper(server.url, KeeperConfig(name="bench")) as (keeper, _):
        await log_in(keeper, players)


async def _start_again(server: StoreServer, stored: int, lost: int, clock: Clock) -> tuple[float, float, float]:
    times_s = [clock.monotonic_s()]
    async with opened_keeper(server.url, KeeperConfig(name="bench")) as (keeper, _):
        times_s.append(clock.monotonic_s())
        recovered = await keeper.recover(SpecPlayer)
        times_s.append(clock.monotonic_s())
        assert len(recovered) == lost, "a player was not recovered"
        await log_in(keeper, range(stored - 1, stored))
        times_s.append(clock.monotonic_s())
    open_s, recover_s, login_s = (after - before for before, after in pairwise(times_s))
    return open_s, recover_s, login_s


def _seconds(key: str, way: str, value_s: float) -> Figure:
    return Figure(
        key=key,
        way=way,
        value=round(value_s, 4),
        unit="s",
        rounds=(round(value_s, 4),),
        at_once=1,
        pipelining="as in play",
        fsync="always",
    )
