"""`realmkeep bench console`: how long its pages take, and how late the ticks of a game are while operators browse.

Rounds without and with operators take turns in one process, on one store. A game of a steady number of commits a second runs beside
them, and a tick every 50 ms is timed. The operators ask the console in the same event loop, so their own work is counted as well.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from realmkeep.accounts import Argon2Cost, hash_password, open_accounts
from realmkeep.accounts.account import Account
from realmkeep.benchmarks.live_players import log_in, opened_keeper, populate, started_server
from realmkeep.benchmarks.slices import MS, percentile
from realmkeep.clock import Clock, SystemClock
from realmkeep.config import AuthConfig, BackupConfig, Config, KeeperConfig
from realmkeep.keeping import Keeper, Session
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.operations.console import Console, console
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.players import Players
from realmkeep.records import encode
from realmkeep.storage import Put, Storage, Transaction
from realmkeep.testing.specification import SpecPlayer

TICK_S: Final = 0.05
COMMITS_A_TICK: Final = 10
LOOKS_S: Final = 0.5  # between two pages of one operator: faster than a person
PASSWORD: Final = "quiet lantern over marsh"  # noqa: S105 - of operators that live for the benchmark
ACCOUNTS_A_WRITE: Final = 1000
HOST: Final = "127.0.0.1"


_Took = dict[str, list[float]]


class PageTimes(msgspec.Struct, frozen=True):
    """The times of one page, from the request to the end of the answer."""

    asked: int
    ms_p50: float
    ms_p99: float


class ConsoleReport(msgspec.Struct, frozen=True):
    """The figures and the parameters.

    Attributes:
        live: Live players.
        stored: Stored players, each with an account.
        operators: Operators who browse at once.
        commits_a_second: Of the game beside them, about.
        tick_late_ms_p99_without: The median of the rounds.
        tick_late_ms_p99_with: As above.
        memory_mib_before: Of the process, before the first page.
        memory_mib_after: After the last one.
        pages: The times of each page, by its name.
    """

    live: int
    stored: int
    operators: int
    commits_a_second: int
    tick_late_ms_p99_without: float
    tick_late_ms_p99_with: float
    memory_mib_before: float
    memory_mib_after: float
    pages: dict[str, PageTimes]


class _Operator:
    """An operator who asks an ASGI application."""

    def __init__(self, app: Console) -> None:
        self._app = app
        self._cookie = b""

    async def ask(self, path: str, form: dict[str, str] | None = None) -> int:
        """Return the status of an answer, and keep its cookie."""
        path, _, query = path.partition("?")
        body = b"" if form is None else urlencode(form).encode()
        asked = iter([{"type": "http.request", "body": body, "more_body": False}])
        answered: list[Any] = []

        async def receive() -> dict[str, Any]:
            return next(asked)

        async def send(message: Any) -> None:
            answered.append(message)

        headers = [(b"host", HOST.encode()), (b"sec-fetch-site", b"same-origin"), (b"cookie", self._cookie)]
        scope = {
            "type": "http",
            "method": "GET" if form is None else "POST",
            "scheme": "http",
            "path": path,
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
            "server": (HOST, 80),
            "client": (HOST, 1),
            "http_version": "1.1",
        }
        await self._app(scope, receive, send)
        cookies = [value for name, value in answered[0]["headers"] if name == b"set-cookie"]
        self._cookie = cookies[0].partition(b";")[0] if cookies else self._cookie
        return int(answered[0]["status"])

    async def browse(self, name: str, paths: Callable[[], dict[str, str]], clock: Clock, took: _Took) -> None:
        """Sign in, and look at one page after the other, for ever."""
        status = await self.ask("/login", {"name": name, "password": PASSWORD})
        assert status == 303, "the operator is not let in"
        while True:
            for page, path in paths().items():
                began_s = clock.monotonic_s()
                status = await self.ask(path)
                assert status == 200, f"{path} answers {status}"
                took.setdefault(page, []).append((clock.monotonic_s() - began_s) * MS)
                await clock.sleep(LOOKS_S)


def _learn(player: SpecPlayer) -> None:
    player.xp += 1


class _Game:
    """A game of steady work whose ticks are timed."""

    def __init__(self, keeper: Keeper, crowd: Sequence[Session[SpecPlayer]], clock: Clock, rng: Random) -> None:
        self._keeper = keeper
        self._crowd = crowd
        self._clock = clock
        self._rng = rng

    async def play(self, seconds: float) -> list[float]:
        """Play; returns the lateness of each tick, in milliseconds."""
        late: list[float] = []
        commits: set[asyncio.Task[Any]] = set()
        due_s = self._clock.monotonic_s()
        until_s = due_s + seconds
        while due_s < until_s:
            due_s += TICK_S
            await self._clock.sleep(max(0.0, due_s - self._clock.monotonic_s()))
            late.append((self._clock.monotonic_s() - due_s) * MS)
            for session in self._rng.sample(self._crowd, min(COMMITS_A_TICK, len(self._crowd))):
                commits.add(asyncio.ensure_future(self._keeper.commit(_learn, session)))
            commits = {each for each in commits if not each.done()}
        await asyncio.gather(*commits)
        return late


async def _add_accounts(storage: Storage, players: range) -> None:
    """An account for each player, with a name that tells its number."""
    for start in range(0, len(players), ACCOUNTS_A_WRITE):
        puts = [
            Put(f"account:{_name(number)}", encode(Account(username=_name(number), character_ids=[number])))
            for number in players[start : start + ACCOUNTS_A_WRITE]
        ]
        await storage.write([Transaction((), (put,)) for put in puts])


def _name(number: int) -> str:
    return f"hero{number:08}"


def _paths(stored: int, live: int, rng: Random) -> dict[str, str]:
    """A page of each kind, for some player."""
    number, present = rng.randrange(1, stored + 1), rng.randrange(1, live + 1)
    return {
        "overview": "/",
        "tiles": "/tiles",
        "search, whole name": f"/players?q={_name(number)}",
        "search, 100 players begin so": f"/players?q={_name(number)[:-2]}",
        "search, none begins so": f"/players?q=nobody{number}",
        "player, live": f"/players/{present}?account={_name(present)}",
        "player, stored": f"/players/{number}?account={_name(number)}",
        "accounts": f"/accounts?q={_name(number)}",
        "account": f"/accounts/{_name(number)}",
        "quarantine": "/quarantine",
        "audit": "/audit",
        "backups": "/backups",
        "economy": "/economy",
        "servers": "/servers",
        "store": "/store",
    }


def _memory_mib() -> float:
    """The resident memory of this process; 0 where the system does not tell. Blocks."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def _measure(
    url: str, directory: Path, *, live: int, stored: int, operators: int, seconds: float, rounds: int
) -> ConsoleReport:
    clock, rng = SystemClock(), Random(7)  # noqa: S311 - which players are looked at
    auth = AuthConfig(key_file=str(directory / "keys"))
    config = Config(auth=auth, backup=BackupConfig(directory=str(directory / "backups")))
    async with AsyncExitStack() as stack:
        keeper, storage = await stack.enter_async_context(
            opened_keeper(url, KeeperConfig(tier1_rate_per_s=1000), clock)
        )
        numbers = range(1, stored + 1)
        await populate(storage, numbers, full_rings=False)
        await _add_accounts(storage, numbers)
        crowd = await log_in(keeper, range(1, live + 1))
        people = UnownedRecords(Operator, storage, clock=clock)
        hashed = await asyncio.to_thread(hash_password, PASSWORD, Argon2Cost(memory_kib=1024, passes=1, lanes=1))
        for number in range(operators):
            await people.create(f"op{number}", Operator(name=f"op{number}", role="admin", password_hash=hashed))
        accounts = await asyncio.to_thread(partial(open_accounts, storage, auth, server_name=keeper.name, clock=clock))
        app = console(keeper, accounts, Players(SpecPlayer), config=config)
        game, took, before = _Game(keeper, crowd, clock, rng), _Took(), await asyncio.to_thread(_memory_mib)
        without: list[float] = []
        beside: list[float] = []
        for _ in range(rounds):
            without.append(percentile(await game.play(seconds), 0.99))
            browsing = [
                asyncio.ensure_future(
                    _Operator(app).browse(f"op{number}", partial(_paths, stored, live, rng), clock, took)
                )
                for number in range(operators)
            ]
            beside.append(percentile(await game.play(seconds), 0.99))
            for each in browsing:
                each.cancel()
            ended = await asyncio.gather(*browsing, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
        engine_of(keeper).background.cancel()
        return ConsoleReport(
            live=live,
            stored=stored,
            operators=operators,
            commits_a_second=round(min(COMMITS_A_TICK, live) / TICK_S),
            tick_late_ms_p99_without=round(median(without), 2),
            tick_late_ms_p99_with=round(median(beside), 2),
            memory_mib_before=round(before, 1),
            memory_mib_after=round(await asyncio.to_thread(_memory_mib), 1),
            pages={
                name: PageTimes(len(times), round(percentile(times, 0.5), 1), round(percentile(times, 0.99), 1))
                for name, times in took.items()
            },
        )


def bench_console(
    directory: Path, *, live: int, stored: int, operators: int, seconds: float, rounds: int
) -> ConsoleReport:
    """Measure on a Valkey of its own.

    Args:
        directory: The directory for the files of the store.
        live: Players that are live at once.
        stored: Stored players, each with an account; no fewer than `live`.
        operators: Operators who browse at once.
        seconds: The duration of each half of a round.
        rounds: The number of rounds.

    Raises:
        StorageMisconfigured: There is no Valkey to start.
    """
    with started_server(directory, "everysec") as server, TemporaryDirectory(dir=directory) as inside:
        return asyncio.run(
            _measure(
                server.url,
                Path(inside),
                live=live,
                stored=max(live, stored),
                operators=operators,
                seconds=seconds,
                rounds=rounds,
            )
        )
