"""Servers that die, or see a store die, at one call of a cut, a freeze, a thaw or an erasure. Run as a process.

Each history is played in a process of its own, forked from one that has imported everything. A line on standard input is a
`History`; on standard output come `strike` when a store is to be killed, which is answered with a line once it is dead, then
`played` or the error, and at last `ended CODE`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from operations.archive.rig import HOOKS, OLD_S, Nomad, pay
from realmkeep.clock import SystemClock
from realmkeep.config import ArchiveConfig, KeeperConfig, OperatorsConfig
from realmkeep.errors import RealmkeepError
from realmkeep.keeping import Keeper
from realmkeep.keeping.keeper import engine_of
from realmkeep.keys import record_keys
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.operations.archive.freezing import Freezer
from realmkeep.operations.backup.holdings import Holdings, Tally
from realmkeep.operations.operators.acts import Acts
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.players import Players
from realmkeep.operations.privacy.deleting import PlayerDeletion
from realmkeep.storage import open_cold_store, open_storage, redis
from realmkeep.storage.postgres.connection import PostgresConnection

Victim = Literal["server before", "server after", "store", "archive"]

LIVE, PARTNER, OLD, FROZEN, GONE, GONE_FROZEN = range(6)  # the places of the nomads of a history
SEEDS_OF_ALL = 6000  # from this number of `--seeds` on the tests of the cold tier play everything
RECEIVERS = (FROZEN, GONE, GONE_FROZEN)
START, GIFT = 100, 15
CONFIG = KeeperConfig(name="a", tier1_rate_per_s=1000)
SCENE_S_MAX = 60.0  # a store is back within a second or two
CALLS = {"write", "load", "load_many", "load_list", "exists", "increment", "flush", "save", "delete", "expiries"}
ADMIN = Operator(name="root", role="admin")


class History(msgspec.Struct):
    """One history.

    Attributes:
        store: URL of the hot store.
        archive: URL of the cold one.
        scene: A name of `SCENES`.
        victim: What dies.
        anywhere: A store may die during a call to the other one as well.
        call: The number of the call at which it dies.
        first: The id of the first of its nomads.
    """

    store: str
    archive: str
    scene: str
    victim: Victim
    anywhere: bool
    call: int
    first: int

    def id_of(self, place: int) -> int:
        return self.first + place

    def key_of(self, place: int) -> str:
        return f"nomad:{self.id_of(place)}"


class Ahead(SystemClock):
    """A clock by which records are old enough to be frozen."""

    def wall_us(self) -> int:
        return super().wall_us() + int(OLD_S * 1_000_000)


class Strikes:
    """Counts the calls that the scene makes to both stores, and strikes at one of them.

    A store is killed while the call is under way.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._in_scene: ContextVar[bool] = ContextVar("in_scene", default=False)
        self.calls = 0

    def begin(self) -> None:
        self._in_scene.set(True)

    async def call(self, to: Victim, work: Callable[[], Awaitable[Any]]) -> Any:
        is_its_own = self._history.victim in {to, "server before", "server after"} or self._history.anywhere
        if not self._in_scene.get() or not is_its_own:
            return await work()
        self.calls += 1
        if self.calls != self._history.call:
            return await work()
        if self._history.victim == "server before":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._history.victim == "server after":
            await work()
            os.kill(os.getpid(), signal.SIGKILL)
        under_way = asyncio.ensure_future(work())
        for _ in range(3):  # turns of the loop in which the request leaves
            await asyncio.sleep(0)
        say("strike")
        read_line()
        return await under_way


class HotCalls:
    """A storage whose calls are counted."""

    def __init__(self, storage: Any, strikes: Strikes) -> None:
        self._storage, self._strikes = storage, strikes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        return partial(self._called, found) if name in CALLS else found

    async def _called(self, call: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
        return await self._strikes.call("store", lambda: call(*arguments, **named))

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        async for key in self._storage.keys(pattern):
            yield key


def count_statements(strikes: Strikes) -> None:
    """Count each statement that goes to the cold store: a kill comes also in the middle of a transaction."""
    ask = PostgresConnection.ask

    async def counted(self: PostgresConnection, name: str, *parameters: object) -> Any:
        return await strikes.call("archive", lambda: ask(self, name, *parameters))

    PostgresConnection.ask = counted


class Play:
    """The server of one history."""

    def __init__(self, history: History, keeper: Keeper, cold: Any) -> None:
        self.history, self.keeper, self.cold = history, keeper, cold
        self.archiver = ColdArchiver(keeper, cold, ArchiveConfig(freeze_kinds="nomad"))
        self.freezer = Freezer(engine_of(keeper).storage, cold, Ahead(), ["nomad"])
        self.deletion = PlayerDeletion(
            keeper, Acts(keeper, Players(Nomad, name="note"), OperatorsConfig()), Holdings((Nomad,), (), count_gold)
        )

    async def set_up(self) -> None:
        """Everybody is in both tiers, two are frozen, and a trade and a letter are in the hot one alone."""
        history, keeper = self.history, self.keeper
        nomads = [
            await keeper.login(Nomad, history.id_of(place), create=lambda: Nomad(gold=START)) for place in range(6)
        ]
        for session in nomads[OLD:]:
            await session.release()
        assert await self.archiver.shipper.ship()
        assert (await self.freezer.freeze([history.key_of(FROZEN), history.key_of(GONE_FROZEN)])).frozen == 2
        await keeper.commit(pay, nomads[LIVE], nomads[PARTNER])

        def send(giver: Nomad) -> None:
            giver.gold -= GIFT * len(RECEIVERS)
            for place in RECEIVERS:
                keeper.tx.deliver(Nomad, history.id_of(place), GIFT)

        await keeper.commit(send, nomads[LIVE])

    async def cut(self) -> None:
        await self.archiver.shipper.ship()

    async def freeze(self) -> None:
        await self.freezer.freeze([self.history.key_of(OLD)])

    async def thaw(self) -> None:
        session = await self.keeper.login(Nomad, self.history.id_of(FROZEN))
        assert session is not None
        await session.open_letters()

    async def erase(self) -> None:
        await self._erase(GONE)

    async def erase_frozen(self) -> None:
        await self._erase(GONE_FROZEN)

    async def _erase(self, place: int) -> None:
        keys = record_keys("nomad", str(self.history.id_of(place)))
        await self.deletion.delete(ADMIN, keys, [], reason="asked to", act_id=keys.record)


SCENES: dict[str, Callable[[Play], Awaitable[None]]] = {
    "cut": Play.cut,
    "freeze": Play.freeze,
    "thaw": Play.thaw,
    "erase": Play.erase,
    "erase a frozen one": Play.erase_frozen,
}


def count_gold(held: Any, tally: Tally) -> None:
    """The economy of the nomads counts nothing."""


async def play(history: History) -> None:
    """Play a history; the process ends as in a crash."""
    strikes = Strikes(history)
    count_statements(strikes)
    storage: Any = HotCalls(open_storage(history.store), strikes)
    cold = open_cold_store(history.archive)
    await cold.connect()
    keeper = await Keeper.open(storage, config=CONFIG, hooks=HOOKS, cold=cold, rescue_path=Path(os.devnull))
    played = Play(history, keeper, cold)
    await played.set_up()
    strikes.begin()
    try:
        async with asyncio.timeout(SCENE_S_MAX):
            await SCENES[history.scene](played)
    except RealmkeepError as error:
        say(f"failed {type(error).__name__}: {error}".replace("\n", " "))
    else:
        say("played")
    os._exit(0)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def read_line() -> bytes:
    """A line from standard input; byte by byte, because several processes read there in turn."""
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 1)
        if not more:
            sys.exit(0)
        line += more
    return line


def main() -> None:
    """Fork a process for each history."""
    assert redis.RedisStorage  # imported here once, and not in each of them
    while True:
        history = msgspec.json.decode(read_line(), type=History)
        if (pid := os.fork()) == 0:
            try:
                asyncio.run(play(history))
            finally:
                os._exit(1)
        say(f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")


if __name__ == "__main__":
    main()
