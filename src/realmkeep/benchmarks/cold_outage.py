"""`realmkeep bench cold-outage`: a realm under a crowd while the PostgreSQL of its cold tier stands still or is dead, and before and after.

The server is a process of its own, on an embedded store, with its usual settings. Bots play, and strangers register at a steady
pace. The three phases are of one run, so they can be compared.
"""

import asyncio
import hashlib
import http.client
import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Final, Literal

import msgspec

from realmkeep.benchmarks.slices import MS, percentile
from realmkeep.clock import Clock, SystemClock
from realmkeep.crowd.client import BotConnection, Disconnected, RealmAddress
from realmkeep.crowd.run import CrowdPlan, CrowdReport, run_crowd
from realmkeep.crowd.tally import Tally
from realmkeep.operations.archive.verifying import VerifyReport, verify
from realmkeep.operations.status.client import fetch_report
from realmkeep.operations.status.report import Durations
from realmkeep.realm.server.server_file import ServerFile, read_server_file
from realmkeep.storage import open_cold_store, open_storage
from realmkeep.testing.postgres_server import PostgresServer

OutageFault = Literal["pause", "kill"]

SAMPLE_S: Final = 0.5
SETTLE_S: Final = 15.0  # between the last login of the crowd and the first phase: the first sweep ends
MARGIN_S: Final = 30.0  # the crowd plays so much longer than the phases should take
NEWCOMER_S: Final = 1.0  # between two strangers: each costs the server a password hash of 50 ms
LAG_S: Final = 10.0
START_S_MAX: Final = 60.0
POLL_S: Final = 0.01
MIB: Final = 1024 * 1024


class OutagePhase(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one phase.

    Attributes:
        seconds: Its duration.
        tick_late_ms_mean: How late the ticks of the realm were.
        tick_late_ms_p99: Likewise, interpolated between two edges of the server's histogram.
        commits: Acknowledged operations of tier 1.
        commit_ms_p50: From the request of a bot to the answer.
        commit_ms_p99: Likewise.
        new_players_per_s: Strangers who registered and entered.
        new_player_ms_p50: From the connection to the answer.
        new_player_ms_p99: Likewise.
        turned_away: Strangers who did not get in, by reason.
        memory_mib_max: Resident memory of the server.
        backlog_mib_max: Changes that wait for the cold tier, of that memory.
        lag_s_max: The age of the oldest change that the cold tier lacks.
    """

    seconds: float
    tick_late_ms_mean: float
    tick_late_ms_p99: float
    commits: int
    commit_ms_p50: float
    commit_ms_p99: float
    new_players_per_s: float
    new_player_ms_p50: float
    new_player_ms_p99: float
    turned_away: dict[str, int]
    memory_mib_max: float
    backlog_mib_max: float
    lag_s_max: float


class OutageReport(msgspec.Struct, frozen=True, kw_only=True):
    """The figures and the parameters.

    Attributes:
        fault: How the PostgreSQL was away.
        bots: The bots of the crowd.
        before: The phase before.
        during: The phase in which it was away.
        after: The phase from its return on.
        caught_up_s: From its return until the cold tier was less than ten seconds behind.
        problems: Property that was lost or doubled, as the crowd counts it at its end.
        tiers: Both tiers after the end of the server, without a further sweep.
    """

    fault: OutageFault
    bots: int
    before: OutagePhase
    during: OutagePhase
    after: OutagePhase
    caught_up_s: float
    problems: tuple[str, ...]
    tiers: VerifyReport


class _Realm:
    """The realm that is measured.

    Args:
        told: The file of its server.
        clock: The clock.
        tally: The counts of the crowd.
    """

    def __init__(self, told: ServerFile, clock: Clock, tally: Tally) -> None:
        self._told = told
        self._clock = clock
        self._tally = tally
        self._port = told.operations or ""
        self.entered_s: list[float] = []
        self.turned_away = Counter[str]()
        self.is_over = False
        self.lag_s = self._backlog_mib = self._memory_mib = 0.0

    @property
    def address(self) -> RealmAddress:
        """The address for clients."""
        return RealmAddress(self._told.host, self._told.tcp, self._told.udp)

    async def let_strangers_in(self) -> None:
        """Register one player after the other, at a steady pace, until `is_over`; each leaves at once."""
        name = secrets.token_hex(3)
        number = 0
        async with asyncio.TaskGroup() as group:
            while not self.is_over:
                group.create_task(self._register(f"new{name}-{number}"))
                number += 1
                await self._clock.sleep(NEWCOMER_S)

    async def _register(self, username: str) -> None:
        began_s = self._clock.monotonic_s()
        connection = BotConnection(self.address, lambda _: None, self._clock)
        try:
            await connection.open()
            password = hashlib.sha256(username.encode()).hexdigest()[:24]
            entered = await connection.log_in("register", {"username": username, "password": password})
            if entered.refused:
                raise Disconnected(entered.refused)
            self.entered_s.append(self._clock.monotonic_s() - began_s)
            await connection.logout()
        except Disconnected as error:
            self.turned_away[str(error)] += 1
        finally:
            connection.close()

    async def sample(self) -> None:
        """Look at the gauges of the server."""
        gauges = await asyncio.to_thread(_gauges, self._port)
        self.lag_s = gauges["realmkeep_archive_lag_seconds"]
        self._backlog_mib = gauges["realmkeep_archive_backlog_bytes"] / MIB
        self._memory_mib = await asyncio.to_thread(_memory_mib, self._told.pid)

    async def phase(self, seconds: float) -> OutagePhase:
        """Measure one phase."""
        tick = (await asyncio.to_thread(fetch_report, self._port)).durations["tick"]
        commits, entered, turned_away = len(self._commits), len(self.entered_s), self.turned_away.copy()
        began_s = self._clock.monotonic_s()
        lag_s, backlog, memory = [0.0], [0.0], [0.0]
        while (now_s := self._clock.monotonic_s()) < began_s + seconds:
            await self.sample()
            lag_s.append(self.lag_s)
            backlog.append(self._backlog_mib)
            memory.append(self._memory_mib)
            await self._clock.sleep(min(SAMPLE_S, max(0.0, began_s + seconds - now_s)))
        took_s = self._clock.monotonic_s() - began_s
        ticked = (await asyncio.to_thread(fetch_report, self._port)).durations["tick"].since(tick)
        committed_s, new_s = self._commits[commits:], self.entered_s[entered:]
        return OutagePhase(
            seconds=round(took_s, 1),
            tick_late_ms_mean=_rounded(ticked.total_s / max(1, ticked.count)),
            tick_late_ms_p99=_rounded(_interpolated(ticked, 0.99)),
            commits=len(committed_s),
            commit_ms_p50=_rounded(percentile(committed_s or [0.0], 0.5)),
            commit_ms_p99=_rounded(percentile(committed_s or [0.0], 0.99)),
            new_players_per_s=round(len(new_s) / took_s, 2),
            new_player_ms_p50=_rounded(percentile(new_s or [0.0], 0.5)),
            new_player_ms_p99=_rounded(percentile(new_s or [0.0], 0.99)),
            turned_away=dict(self.turned_away - turned_away),
            memory_mib_max=round(max(memory), 1),
            backlog_mib_max=round(max(backlog), 2),
            lag_s_max=round(max(lag_s), 1),
        )

    async def caught_up(self, within_s: float) -> float:
        """The seconds until the cold tier is less than `LAG_S` behind.

        Raises:
            TimeoutError: It is not within `within_s`.
        """
        began_s = self._clock.monotonic_s()
        async with self._clock.timeout(within_s):
            while True:
                await self.sample()
                if self.lag_s < LAG_S:
                    return round(self._clock.monotonic_s() - began_s, 1)
                await self._clock.sleep(POLL_S)

    @property
    def _commits(self) -> list[float]:
        return self._tally.latencies_s["tier_1"]


def _rounded(seconds: float) -> float:
    return round(seconds * MS, 2)


def _interpolated(observed: Durations, share: float) -> float:
    """The quantile at a share from 0 to 1, as if the observations lay evenly between two edges, as Prometheus has it."""
    left, below_s = share * observed.count, 0.0
    for edge_s, count in zip(observed.edges_s, observed.counts, strict=False):
        if left <= count:
            return below_s + (edge_s - below_s) * left / max(1, count)
        left, below_s = left - count, edge_s
    return below_s


def _gauges(port: str) -> dict[str, float]:
    """The metrics without labels at `host:port`, by name. Blocks."""
    connection = http.client.HTTPConnection(port, timeout=START_S_MAX)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    pairs = [line.split(" ") for line in lines if not line.startswith("#") and "{" not in line]
    return {name: float(value) for name, value, *_ in pairs}


def _memory_mib(pid: int) -> float:
    """The resident memory of a process; 0 where the system does not tell. Blocks."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def _served(directory: Path, archive: PostgresServer) -> Generator[ServerFile]:
    """A realm as a process; it ends as an operator ends it, and saves everything. Blocks."""
    settings = {"ARCHIVE__URL": archive.url, "BACKUP__INTERVAL_S": "0", "OPERATIONS__LISTEN": "127.0.0.1:0"}
    environment = {**os.environ, **{f"REALMKEEP_{name}": value for name, value in settings.items()}}
    command = [
        sys.executable,
        "-m",
        "realmkeep.cli",
        "serve",
        "--data",
        directory,
        "--tcp-port",
        "0",
        "--udp-port",
        "0",
    ]
    log = directory / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)  # noqa: S603 - our own server
    try:
        yield _started(server, directory, log)
    finally:
        server.terminate()  # it stops its store, too
        try:
            code = server.wait(START_S_MAX)
        finally:
            server.kill()
    if code:
        raise RuntimeError(f"the server ended with {code}: {log.read_text(errors='replace')[-2000:]}")


def _started(server: "subprocess.Popen[bytes]", directory: Path, log: Path) -> ServerFile:
    clock = SystemClock()
    give_up_s = clock.monotonic_s() + START_S_MAX
    while server.poll() is None and clock.monotonic_s() < give_up_s:
        if (told := read_server_file(directory)) is not None:
            return told
        Event().wait(POLL_S)
    raise RuntimeError(f"the server does not start: {log.read_text(errors='replace')[-2000:]}")


class _Figures(msgspec.Struct):
    """What `_measure` found."""

    phases: list[OutagePhase]
    caught_up_s: float
    crowd: CrowdReport


async def _measure(
    told: ServerFile, archive: PostgresServer, fault: OutageFault, *, bots: int, seconds: float, beside_s: float
) -> _Figures:
    clock, plays = SystemClock(), asyncio.Event()
    tallies: list[Tally] = []

    def progress(phase: str, _share: float, tally: Tally) -> None:
        if phase == "playing" and not tallies:
            tallies.append(tally)
            plays.set()

    address = RealmAddress(told.host, told.tcp, told.udp)
    plan = CrowdPlan(bots, SETTLE_S + beside_s + seconds + beside_s + MARGIN_S)
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(run_crowd(address, plan, clock, progress))
        await plays.wait()
        realm = _Realm(told, clock, tallies[0])
        group.create_task(realm.let_strangers_in())
        await clock.sleep(SETTLE_S)
        phases = [await realm.phase(beside_s)]
        begin, end = (archive.pause, archive.resume) if fault == "pause" else (archive.kill, archive.start)
        await asyncio.to_thread(begin)
        phases.append(await realm.phase(seconds))
        await asyncio.to_thread(end)
        returned = group.create_task(realm.caught_up(max(beside_s, START_S_MAX)))
        phases.append(await realm.phase(beside_s))
        caught_up_s = await returned
        realm.is_over = True
    return _Figures(phases, caught_up_s, playing.result())


async def _compared(directory: Path, archive: PostgresServer) -> VerifyReport:
    storage, cold = open_storage(f"embedded:///{directory / 'store'}"), open_cold_store(archive.url)
    await storage.connect()
    await cold.connect()
    try:
        return await verify(storage, cold)
    finally:
        await cold.disconnect()
        await storage.disconnect()


def bench_cold_outage(
    directory: Path, *, fault: OutageFault, bots: int, seconds: float, beside_s: float
) -> OutageReport:
    """Measure a realm of its own.

    Args:
        directory: The directory for its files.
        fault: `pause`: every process of the PostgreSQL is stopped (SIGSTOP); `kill`: it is killed (SIGKILL), and started again.
        bots: The bots of the crowd.
        seconds: How long it is away.
        beside_s: The duration of the phase before and of the one after.

    Raises:
        TimeoutError: The cold tier does not catch up.
        RuntimeError: The server does not start, or does not save everything at its end.
    """
    with TemporaryDirectory(dir=directory, prefix="bench-") as inside, PostgresServer() as archive:
        data = Path(inside).absolute()
        try:
            with _served(data, archive) as told:
                figures = asyncio.run(_measure(told, archive, fault, bots=bots, seconds=seconds, beside_s=beside_s))
        finally:
            if fault == "pause":
                archive.resume()
        tiers = asyncio.run(_compared(data, archive))
    before, during, after = figures.phases
    return OutageReport(
        fault=fault,
        bots=bots,
        before=before,
        during=during,
        after=after,
        caught_up_s=figures.caught_up_s,
        problems=tuple(figures.crowd.problems),
        tiers=tiers,
    )
