"""A login storm: players enter 64 at a time, and their records are of an older schema version.

A login reads record, owner, revision and op ring, claims the record with a guarded write, checks its sum, migrates and
validates it. The other way reads the same bytes with redis-py and parses them with `json.loads`: no owner, no checks.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from realmkeep.benchmarks.comparison.contest import Measured, Way, compete, timed
from realmkeep.benchmarks.comparison.redis_ways import RedisPyWays
from realmkeep.benchmarks.comparison.results import Part
from realmkeep.benchmarks.limit import packed_mset, send_all
from realmkeep.benchmarks.live_players import (
    FIRST_REVISION_US,
    HEARTBEAT_S,
    ITEMS,
    full_ring,
    keys_of_player,
    log_in,
    opened_keeper,
    started_server,
)
from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Keeper
from realmkeep.records import encode
from realmkeep.records.json_codec import with_crc
from realmkeep.storage.embedded_config import Fsync
from realmkeep.testing.servers import StoreServer
from realmkeep.testing.specification import specification_player

AT_ONCE: Final = 64
PLAYERS_A_COMMAND: Final = 500
UNIT: Final = "logins/s"


def measure_logins(*, players: int, rounds: int, fsync: Fsync, directory: Path) -> Part:
    """Measure logins.

    Args:
        players: The players that enter in each round, at least 1.
        rounds: At least 1.
        fsync: The mode of the store.
        directory: The directory of the temporary files; the contest measures its disk.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    with started_server(directory, fsync) as server:
        store_players(server, range(players * (rounds + 1)))
        return asyncio.run(_measure(server, players, rounds, fsync))


async def _measure(server: StoreServer, players: int, rounds: int, fsync: Fsync) -> Part:
    config = KeeperConfig(name="bench", heartbeat_s=HEARTBEAT_S, lease_ttl_s=2 * HEARTBEAT_S)
    redis = RedisPyWays(server, AT_ONCE)
    async with opened_keeper(server.url, config) as (keeper, _):
        entering, reading = (_Crowds(players), _Crowds(players))
        ways = [
            Way(
                "realmkeep",
                "Realmkeep: login",
                UNIT,
                AT_ONCE,
                "reads of callers are joined",
                fsync,
                entering.way(_login(keeper)),
            ),
            Way(
                "read",
                "redis-py: GET and json.loads",
                UNIT,
                AT_ONCE,
                "a connection each",
                "none",
                reading.way(_read(redis)),
            ),
        ]
        figures = await compete(ways, rounds)
    await redis.close()
    return Part(
        key=f"logins-{fsync}",
        title=f"Login storm, appendfsync {fsync}",
        work=f"{players:,} players a round, records of {len(former_record())} bytes in the schema before the present one",
        figures=figures,
    )


class _Crowds:
    """Each round has players of its own, the same for every way: a session stays live."""

    def __init__(self, players: int) -> None:
        self._clock = SystemClock()
        self._players = players
        self._next = 0

    def way(self, enter: Callable[[range], Awaitable[object]]) -> Callable[[], Awaitable[Measured]]:
        async def measure() -> Measured:
            crowd = range(self._next, self._next + self._players)
            self._next += self._players
            return await timed(lambda: enter(crowd), self._players, self._clock)

        return measure


def _login(keeper: Keeper) -> Callable[[range], Awaitable[object]]:
    return lambda crowd: log_in(keeper, crowd, at_once=AT_ONCE)


def _read(redis: RedisPyWays) -> Callable[[range], Awaitable[object]]:
    async def read(crowd: range) -> None:
        numbers = iter(crowd)

        async def one_after_the_other() -> None:
            for number in numbers:
                await redis.read(keys_of_player(number))

        await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))

    return read


def former_record() -> bytes:
    """The specification's player as version 1 of the schema stored it, with its checksum."""
    plain: dict[str, Any] = msgspec.json.decode(encode(specification_player(ITEMS)))
    del plain["lifetime_xp"], plain["crc"]
    return with_crc(msgspec.json.encode(plain | {"version": 1}))


def store_players(server: StoreServer, players: range, record: bytes | None = None) -> None:
    """Store players without an owner, with full op rings, as packed MSETs. Blocks.

    Args:
        server: The store.
        players: Their numbers.
        record: Their record; by default `former_record`.
    """
    record, ring = record or former_record(), full_ring()
    for start in range(0, len(players), PLAYERS_A_COMMAND):
        pairs: list[tuple[str, bytes]] = []
        for number in players[start : start + PLAYERS_A_COMMAND]:
            keys = keys_of_player(number)
            revision = b"%d" % (FIRST_REVISION_US + number)
            pairs += [(keys.record, record), (keys.version, b"1"), (keys.updated, revision), (keys.ops, ring)]
        send_all(server.socket_path, [packed_mset(pairs)])
