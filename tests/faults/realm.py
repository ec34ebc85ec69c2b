"""A realm of real processes: one store, some game servers, a crowd of players, and what can happen to them."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import msgspec

from faults import realm_server
from faults.realm_check import PostgresSnapshot, Snapshot, violations
from faults.realm_crowd import POLL_S, Crowd, Line
from realmkeep.config import KeeperConfig
from realmkeep.storage.embedded_process import socket_path
from realmkeep.testing.postgres_server import PostgresServer
from realmkeep.testing.servers import StoreServer

HEROES = 6
START_S_MAX = 60.0
REALM_S_MAX = 240.0  # a machine so slow is stuck
TELL_S = 1.0  # what a server writes of itself takes a few milliseconds
IMPATIENT = "?timeout_s=0.6"  # then the outcome of a write is unknown
TESTS = Path(__file__).parents[1]
CONFIG = KeeperConfig(
    flush_interval_s=1.0, checkpoint_interval_s=2.0, sweep_interval_s=2.0, heartbeat_s=0.4, lease_ttl_s=1.2, grace_s=2.0,
    tier1_rate_per_s=1000, pending_after_s=0.5, shutdown_deadline_s=20.0, strict=True,
)  # fmt: skip


class Store(Protocol):
    """The process that keeps everything."""

    @property
    def url(self) -> str: ...
    @property
    def socket_path(self) -> Path: ...
    @property
    def directory(self) -> Path: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...


class EmbeddedStore:
    """The store that a game server starts and supervises; this only finds it and hurts it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def url(self) -> str:
        return f"embedded:///{self.directory}"

    @property
    def socket_path(self) -> Path:
        return socket_path(self.directory)

    def _pid(self) -> int | None:
        """Its process, if it lives: a file of a dead one may name somebody else's."""
        try:
            pid = int((self.directory / "store.pid").read_text())
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ValueError):
            return None
        return pid if os.fsencode(self.directory / "store.conf") in command_line else None

    def _signal(self, number: signal.Signals) -> None:
        pid = self._pid()
        assert pid is not None, "the embedded store is not running"
        os.kill(pid, number)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def start(self) -> None:
        """The game server does."""

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """It outlives a server that was killed."""
        if self._pid() is not None:
            self.kill()


class PostgresStore(PostgresServer):
    """A Postgres; its files are in a directory of its own."""

    def __init__(self, _directory: Path, **settings: str) -> None:
        super().__init__(settings=settings)
        self.make()

    @property
    def socket_path(self) -> Path:
        return self.directory / ".s.PGSQL.5432"


class ServerProcess:
    """One game server, started again and again under the same name."""

    def __init__(self, store_url: str, config: KeeperConfig, directory: Path, mutant: str) -> None:
        self.name = config.name
        self._config = config
        self._directory = directory
        self._environment = {**os.environ, "PYTHONPATH": str(TESTS), realm_server.MUTANT: mutant}
        self._url = store_url
        self._starts = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What all of its incarnations wrote."""
        return self._directory / f"{self.name}.log"

    def tell(self) -> list[str]:
        """Its last words; while it runs, also what its threads and tasks are doing."""
        told = self.log.read_text().splitlines()[-25:]
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.process.send_signal(signal.SIGUSR1)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(TELL_S)
            told += self.log.read_text().rpartition("\n--- thread ")[2].splitlines()
        return [f"{self.name}: {line}" for line in told]

    def alarms(self) -> list[str]:
        """What it must never say on a store that keeps its promise."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if " CRITICAL " in line or "by a client that does not own it" in line]

    async def start(self, crowd: Crowd) -> Line:
        """Start it and connect to it; one that could not open its store is started again."""
        async with asyncio.timeout(START_S_MAX):
            while True:
                if (line := await self._try_to_start(crowd)) is not None:
                    return line

    async def _try_to_start(self, crowd: Crowd) -> Line | None:
        self._starts += 1
        socket = self._directory / f"{self.name}-{self._starts}"
        settings = realm_server.Settings(self._url, str(socket), str(self._directory / "rescue"), self._config)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, realm_server.__file__, msgspec.json.encode(settings)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=self._environment,
            )  # fmt: skip
        while self.process.poll() is None:
            try:
                reader, writer = await asyncio.open_unix_connection(socket)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(POLL_S)
            else:
                return Line(reader, writer, crowd.told)
        self.end()
        return None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process
        self.process.kill()
        self.end()

    def end(self) -> int:
        """Wait until it is gone."""
        assert self.process
        assert self.process.stdin
        code = self.process.wait(timeout=START_S_MAX)
        self.process.stdin.close()
        self.process = None
        return code

    def pause(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)


class Realm:
    """All of it."""

    def __init__(
        self, store: Store, store_url: str, names: tuple[str, ...], directory: Path, *,
        seed: int, config: KeeperConfig, mutant: str,
    ) -> None:  # fmt: skip
        self.random = random.Random(seed)
        self.store = store
        self.servers = {
            name: ServerProcess(store_url, msgspec.structs.replace(config, name=name), directory, mutant)
            for name in names
        }
        self.lines: dict[str, Line] = {}
        self.crowd = Crowd(self, HEROES, self.random)

    # --- processes

    async def start(self, name: str) -> None:
        """Start a server, or start it again."""
        self.lines[name] = await self.servers[name].start(self.crowd)

    async def start_all(self) -> None:
        """Start every server."""
        async with asyncio.TaskGroup() as starting:
            for name in self.servers:
                starting.create_task(self.start(name))

    async def kill(self, name: str) -> None:
        """SIGKILL a server."""
        self.servers[name].kill()
        await self.lines.pop(name).close()

    async def close(self, name: str) -> None:
        """Shut a server down as an operator would; it must have saved everything."""
        answer = await self.lines[name].send("close")
        assert answer.get("rescued") == [], answer
        await self.lines.pop(name).close()
        assert await asyncio.to_thread(self.servers[name].end) == 0

    async def end(self) -> None:
        """Stop whatever runs."""
        await self.crowd.abandon()
        for server in self.servers.values():
            if server.process is not None:
                server.kill()
        for line in self.lines.values():
            await line.close()
        await asyncio.to_thread(self.store.close)

    def describe(self) -> str:
        """The last words of every server, for a test that failed."""
        return "\n".join(line for server in self.servers.values() for line in server.tell())

    # --- faults

    async def play_on(self, operations: int = 25) -> None:
        """Return when so many more operations of players were acknowledged, and the store has them all."""
        enough = self.crowd.told.acked + operations
        await self.crowd.until(lambda: self.crowd.told.acked >= enough, "operations are acknowledged")
        if wrong := self.wrong():
            raise AssertionError(wrong)

    async def kill_a_server(self) -> None:
        """After the store did what it was asked, before the server could answer; meanwhile others may take its players."""
        name = self.random.choice(sorted(self.servers))
        self.servers[name].pause()
        self.players_of(name)  # asked of the store after everything that the server had sent
        await self.kill(name)
        if self.random.random() < 0.5 and len(self.servers) > 1:
            await self.play_on(5)
        await self.start(name)

    async def kill_every_server(self) -> None:
        """At once; all of them start again."""
        for name in self.servers:
            await self.kill(name)
        await self.start_all()

    async def kill_the_store(self) -> None:
        """And start it again."""
        await asyncio.to_thread(self.store.kill)
        await asyncio.to_thread(self.store.start)

    async def kill_the_store_and_a_server(self) -> None:
        """What the server had not sent is gone, what it had sent may have happened."""
        name = self.random.choice(sorted(self.servers))
        await asyncio.to_thread(self.store.kill)
        await self.kill(name)
        await asyncio.to_thread(self.store.start)
        await self.start(name)

    async def pause_the_store(self) -> None:
        """Until every server says that it does not keep its promise; a server may die meanwhile."""
        await asyncio.to_thread(self.store.pause)
        for name in self.servers:
            await self._until_degraded(name)
        doomed = self.random.choice([*self.servers, None])
        if doomed is not None:
            await self.kill(doomed)
        await asyncio.to_thread(self.store.resume)
        if doomed is not None:
            await self.start(doomed)

    async def _until_degraded(self, name: str, *, expected: bool = True) -> None:
        async with asyncio.timeout(START_S_MAX):
            while bool(await self.degraded(name)) is not expected:
                await asyncio.sleep(POLL_S)

    async def degraded(self, name: str) -> list[str]:
        """Why a server does not keep its promise."""
        return (await self.lines[name].send("state"))["degraded"]

    async def pause_a_server(self) -> None:
        """Past its lease, until another server has its players; then it wakes up and does not know."""
        name = self.random.choice(sorted(self.servers))
        self.servers[name].pause()
        its_players = self.players_of(name)
        await self.crowd.until(
            lambda: self.players_of(name).isdisjoint(its_players), f"the players of {name} are elsewhere"
        )
        self.servers[name].resume()

    def players_of(self, name: str) -> set[int]:
        """Whom a server owns, as the store has it."""
        snapshot = self.snapshot()
        owners = {number: snapshot.value(f"sim-hero:{number}:owner") or b"" for number in range(HEROES)}
        return {number for number, owner in owners.items() if owner.startswith(f"{name}/".encode())}

    # --- what must hold

    def snapshot(self) -> Snapshot:
        """What the store holds now."""
        if isinstance(self.store, PostgresServer):
            return PostgresSnapshot(self.store.url, HEROES)
        return Snapshot(self.store.socket_path, HEROES)

    def wrong(self) -> list[str]:
        """What the store lacks or has too much of now. No answer is read meanwhile: all that was read must be there."""
        return violations(self.crowd.told, self.snapshot())

    async def calm_down(self, expected: str = "no alarm") -> Snapshot:
        """No more faults: every client hears of what it sent, every letter arrives, every server closes cleanly.

        Args:
            expected: The words of the one alarm that may be said.
        """
        await self.crowd.stop()
        await self.crowd.gather()
        earned = {number: hero.xp for number, hero in self.snapshot().heroes().items()}
        await self.crowd.until(
            lambda: all(self.crowd.told.xp[number] >= xp for number, xp in earned.items()),
            "all that was earned is flushed",
        )
        await self._until_no_letter_is_left()
        for name in self.servers:
            await self._until_degraded(name, expected=False)
            state = await self.lines[name].send("state")
            assert (state["forgotten"], state["violations"]) == (0, 0), state
            await self.close(name)
            assert not (said := [line for line in self.servers[name].alarms() if expected not in line]), said
        return await asyncio.to_thread(self._read_at_the_end)

    async def _until_no_letter_is_left(self) -> None:
        def empty() -> bool:
            snapshot = self.snapshot()
            return not any(snapshot.entries(f"sim-hero:{number}:inbox") for number in range(HEROES))

        await self.crowd.until(empty, "letters arrive")

    def _read_at_the_end(self) -> Snapshot:
        """Of the store that was closed, where a server closes it."""
        if isinstance(self.store, (StoreServer, PostgresServer)):
            return self.snapshot()
        with StoreServer(self.store.directory) as store:
            return Snapshot(store.socket_path, HEROES)


@asynccontextmanager
async def open_realm(
    directory: Path,
    *,
    seed: int,
    names: tuple[str, ...] = ("north", "south"),
    config: KeeperConfig = CONFIG,
    store_options: str = IMPATIENT,
    mutant: str = "",
    make_store: Callable[[Path], Store] = StoreServer,
) -> AsyncGenerator[Realm]:
    """A realm with its servers up; every process is ended, whatever happens.

    Args:
        directory: For the store.
        seed: Decides what the players do, and who is hurt.
        names: The servers.
        config: Of every server, but its name.
        store_options: What follows the URL of the store.
        mutant: See `realm_server.BREAKS`.
        make_store: Makes the store of a directory.
    """
    with tempfile.TemporaryDirectory(prefix="rk-") as private:  # a socket's name must be short
        store_directory = directory / "store"
        store_directory.mkdir()
        store = await asyncio.to_thread(make_store, store_directory)
        url = store.url + store_options
        realm = Realm(store, url, names, Path(private), seed=seed, config=config, mutant=mutant)
        try:
            await asyncio.to_thread(store.start)
            await realm.start_all()
            async with asyncio.timeout(REALM_S_MAX):
                yield realm
        except BaseException:
            sys.stderr.write(realm.describe())
            raise
        finally:
            await realm.end()
