"""The common parts of the keeping benchmarks: a keeper on a store of its own, with many live players."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from realmkeep.benchmarks.limit import QUIET
from realmkeep.clock import Clock
from realmkeep.config import JournalConfig, KeeperConfig
from realmkeep.keeping import Keeper, Op, Session
from realmkeep.keeping.live.op_ring import RING_OPS, OpRing
from realmkeep.keeping.writing.commit_results import encode_result
from realmkeep.keys import RecordKeys, record_keys
from realmkeep.records import Record, encode
from realmkeep.storage import ColdStore, Committed, Put, Storage, Transaction, open_storage
from realmkeep.storage.embedded_config import Fsync
from realmkeep.testing.lab import abandon
from realmkeep.testing.servers import StoreServer
from realmkeep.testing.specification import SpecPlayer, specification_player

ITEMS: Final = 14  # the inventory of a player of some experience
LOGINS_AT_ONCE: Final = 64
PLAYERS_A_WRITE: Final = 1000
HEARTBEAT_S: Final = 300.0  # none is among the recorded calls of a replay, or counted
OTHER_PLAYERS: Final = 10_000_000  # from this number on they are no keeper's: of the other ways of a contest
FIRST_REVISION_US: Final = 1_732_371_000_000_000
REQUEST: Final = b'{"op":"trade","with":12346,"give":[3],"take":[]}'
RESULT: Final = {"ok": True, "item": "rune-13", "slot": 13}


@contextmanager
def started_server(directory: Path, fsync: Fsync, *, binary: Path | None = None) -> Generator[StoreServer]:
    """Start a store in a temporary directory inside `directory`. Blocks: start it before the event loop.

    Args:
        directory: The benchmark measures its disk.
        fsync: See `StoreSettings`.
        binary: The server program; by default the one of the embedded store.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    with (
        tempfile.TemporaryDirectory(dir=directory, prefix="bench-") as inside,
        StoreServer(Path(inside), binary=binary, fsync=fsync, extra=QUIET) as server,
    ):
        yield server


def store_information(server: StoreServer) -> dict[str, str]:
    """The answer to INFO, by name. Blocks."""
    answer = server.ask("INFO")
    assert isinstance(answer, bytes), answer
    return dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)


def store_version(server: StoreServer) -> str:
    """Engine and version of a store. Blocks."""
    info = store_information(server)
    return f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {info['redis_version']}"


@asynccontextmanager
async def opened_keeper(
    url: str,
    config: KeeperConfig,
    clock: Clock | None = None,
    journal: JournalConfig | None = None,
    cold: ColdStore | None = None,
) -> AsyncGenerator[tuple[Keeper, Storage]]:
    """A keeper on the store at `url`; it ends as in a crash, because the benchmarks do not measure a shutdown."""
    storage = open_storage(url, clock=clock)
    await storage.connect()
    keeper = await Keeper.open(storage, config=config, clock=clock, journal=journal, cold=cold)
    try:
        yield keeper, storage
    finally:
        abandon(keeper)
        await storage.disconnect()


def specification_player_of(number: int) -> SpecPlayer:
    """The specification's player, with this number."""
    player = specification_player(ITEMS)
    player.player_id = number
    return player


async def populate(
    storage: Storage,
    players: range,
    *,
    full_rings: bool = True,
    record_of: Callable[[int], Record] = specification_player_of,
) -> None:
    """Store players without an owner, with their op rings full.

    Args:
        storage: The store.
        players: The numbers of the players.
        full_rings: Whether to store full op rings; otherwise none.
        record_of: Makes the record of a player from its number.
    """
    ring = full_ring() if full_rings else None
    for start in range(0, len(players), PLAYERS_A_WRITE):
        batch = [_stored(number, record_of(number), ring) for number in players[start : start + PLAYERS_A_WRITE]]
        outcomes = await storage.write(batch)
        assert all(isinstance(outcome, Committed) for outcome in outcomes), "the store refused a player"


async def populate_store(url: str, players: range) -> None:
    """Connect to the store at `url`, and `populate` it."""
    storage = open_storage(url)
    await storage.connect()
    await populate(storage, players)
    await storage.disconnect()


def full_ring() -> bytes:
    """The stored op ring of a player after 32 trades."""
    ring = OpRing()
    for number in range(1, RING_OPS + 1):
        ring.add_op(Op(number, REQUEST), encode_result(RESULT))
    return ring.encode()


def keys_of_player(number: int) -> RecordKeys:
    """The keys of a player."""
    return record_keys("player", number)


def _stored(number: int, player: Record, ring: bytes | None) -> Transaction:
    keys = keys_of_player(number)
    puts = [
        Put(keys.record, encode(player)),
        Put(keys.version, b"%d" % player.__realmkeep__.version),
        Put(keys.updated, b"%d" % (FIRST_REVISION_US + number)),
    ]
    if ring is not None:
        puts.append(Put(keys.ops, ring))
    return Transaction((), puts)


async def log_in(keeper: Keeper, players: range, *, at_once: int = LOGINS_AT_ONCE) -> list[Session[SpecPlayer]]:
    """Log players in, `at_once` at a time; returns their sessions in the order of their numbers."""
    sessions: dict[int, Session[SpecPlayer]] = {}
    numbers = iter(players)

    async def some() -> None:
        for number in numbers:
            session = await keeper.login(SpecPlayer, number)
            assert session is not None, "a player was not there"
            sessions[number] = session

    await asyncio.gather(*(some() for _ in range(at_once)))
    return [sessions[number] for number in players]
