"""The drill: a crowd plays on real processes that are killed, and whose disks fail; what was acknowledged, lost and doubled.

    python tests/faults/drill.py                         # every backend and fsync mode, some 20 s each, a JSON line for each
    python tests/faults/drill.py embedded --seed 7 --rounds 20

The players, their checker and the processes are those of the other fault tests (`realm.py`). Beside them a shim stands between
the store and its disk (`disk_shim.c`, where gcc is): it says of each acknowledgement whether a power failure at that moment
would have taken it, and for how long.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.disk_shim import DiskShim
from faults.history import Contents, incremental_file
from faults.realm import CONFIG, HEROES, IMPATIENT, EmbeddedStore, Realm, Store, open_realm
from faults.realm_check import Snapshot, violations
from faults.realm_crowd import POLL_S, Answer
from realmkeep.clock import SystemClock
from realmkeep.records import load
from realmkeep.storage import open_storage
from realmkeep.testing.servers import StoreServer
from simulation.game import Hero
from suite.engines import is_there

FLUSH_S: Final = 2.0
DRILL: Final = msgspec.structs.replace(CONFIG, flush_interval_s=FLUSH_S, checkpoint_interval_s=2 * FLUSH_S)
ROUNDS: Final = 12
ROUND_OPERATIONS: Final = 40
FAILING_S: Final = 1.5  # a lease's time and more
SLOW_S: Final = 0.015  # an fsync of a disk that is worth its name
now_s = SystemClock().monotonic_s


class SqliteStore:
    """A file; its process is the server."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o700)
        self.directory = directory
        self.socket_path = directory / "none"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.directory / 'realm.db'}"

    def kill(self) -> None: ...
    def start(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...


class FileSnapshot(Snapshot):
    """Everything in a SQLite file, read from a copy: while its server is dead, or has closed it."""

    def __init__(self, directory: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="rk-") as private:
            copy = Path(private)
            for path in directory.glob("realm.db*"):
                shutil.copy(path, copy)
            asyncio.run(self._read(f"sqlite:///{copy / 'realm.db'}"))

    async def _read(self, url: str) -> None:
        storage = open_storage(url)
        await storage.connect()
        values = [f"sim-hero:{number}{part}" for number in range(HEROES) for part in ("", ":updated", ":owner", ":ops")]
        values += ["sim-chest:0", "sim-chest:0:updated"]
        self._values = {key: await storage.load(key) for key in values}
        inboxes = [f"sim-hero:{number}:{which}" for number in range(HEROES) for which in ("inbox", "kept")]
        self._lists = {key: await storage.load_list(key) for key in inboxes}
        await storage.disconnect()


@dataclass(frozen=True)
class Mode:
    """One backend as it is configured."""

    make_store: Callable[[Path], Store]
    names: tuple[str, ...]
    files: str
    options: str = ""


MODES: Final = {
    "embedded": Mode(EmbeddedStore, ("solo",), "appendonlydir"),
    "redis-always": Mode(StoreServer, ("north", "south"), "appendonlydir", IMPATIENT),
    "redis-everysec": Mode(partial(StoreServer, fsync="everysec"), ("north", "south"), "appendonlydir", IMPATIENT),
    "sqlite": Mode(SqliteStore, ("solo",), "realm.db"),
}


@dataclass
class Figures:
    """What a drill found.

    Attributes:
        lost: What the checker says of acknowledged operations, letters, deaths and deposits that are not in the store.
        doubled: Operations, letters and things that are there twice, and gold that came from nowhere or went there.
        tier2_window_s: How old the oldest change was that a killed server took with it; its interval is `FLUSH_S`.
        not_on_disk: Acknowledgements that a power failure would have taken; None without the shim.
        exposed_s: For how long at most.
    """

    mode: str
    faults: dict[str, int] = field(default_factory=dict[str, int])
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    tier2_window_s: float = 0.0
    not_on_disk: int | None = None
    exposed_s: float | None = None


class Drill:
    """One mode's crowd, its faults, and what is noted of both."""

    def __init__(self, realm: Realm, mode: str, shim: DiskShim | None) -> None:
        self.figures = Figures(mode)
        self._realm = realm
        self._shim = shim
        self._earned: dict[int, list[tuple[float, int]]] = {number: [] for number in range(HEROES)}
        self._acked: dict[tuple[int, int], float] = {}
        self._synced: list[tuple[float, int]] = []
        told = realm.crowd.told
        answered = told.answered

        def noting(do: str, asked: Answer, answer: Answer) -> None:
            answered(do, asked, answer)
            if do == "earn" and "xp" in answer:
                self._earned[asked["who"]].append((now_s(), answer["xp"]))
            if do in {"trade", "deposit", "mail"}:
                self._note_synced()
                for who, ops in told.model.acked.items():
                    for op in ops - {op for number, op in self._acked if number == who}:
                        self._acked[who, op] = now_s()

        told.answered = noting  # pyright: ignore[reportAttributeAccessIssue] - of this crowd alone

    # --- what is watched

    def _note_synced(self) -> None:
        if self._shim is not None and not isinstance(self._realm.store, SqliteStore):
            with suppress(ValueError):  # the store has not made its file yet
                self._synced.append((now_s(), self._shim.durable_bytes(incremental_file(self._realm.store.directory))))

    async def watch(self) -> None:
        """Look at what is synced, all the time."""
        while True:
            self._note_synced()
            await asyncio.sleep(POLL_S)

    async def _snapshot(self) -> Snapshot:
        store = self._realm.store
        if isinstance(store, SqliteStore):
            return await asyncio.to_thread(FileSnapshot, store.directory)
        return Snapshot(store.socket_path, HEROES)

    async def _note_window(self, killed_s: float) -> None:
        """A server has died: of each hero, the first change that the store does not have."""
        heroes = (await self._snapshot()).heroes()
        for number, earned in self._earned.items():
            stored = heroes[number].xp if number in heroes else 0
            lost = [at_s for at_s, xp in earned if xp > stored]
            if lost:
                self.figures.tier2_window_s = max(self.figures.tier2_window_s, killed_s - min(lost))
            self._earned[number] = []

    # --- what happens

    async def play(self) -> None:
        """Return after some more acknowledgements."""
        enough = self._realm.crowd.told.acked + ROUND_OPERATIONS
        await self._realm.crowd.until(lambda: self._realm.crowd.told.acked >= enough, "operations are acknowledged")

    async def kill_a_server(self) -> None:
        """And start it again."""
        name = self._realm.random.choice(sorted(self._realm.servers))
        await self._realm.kill(name)
        await self._realm.start(name)

    async def _only_earn(self) -> None:
        """Until some changes of tier 2 are as old as they may become; a commit would take them with it."""
        crowd = self._realm.crowd
        await crowd.stop()
        end_s = now_s() + FLUSH_S * self._realm.random.uniform(1, 2)
        while now_s() < end_s:
            for client in crowd.clients:
                crowd.told.xp_asked[client.number] += 1
                await (await client.find()).ask("earn", who=client.number, xp=1)
        crowd.start()

    async def kill_every_server(self) -> None:
        """At once."""
        await self._only_earn()
        for name in [*self._realm.lines]:
            await self._realm.kill(name)
        await self._note_window(now_s())
        await self._realm.start_all()

    async def kill_the_store_while_it_syncs(self) -> None:
        """Fsyncs are slow, so it dies between a write and its fsync."""
        if self._shim is not None:
            self._shim.slow(5 * SLOW_S)
            await asyncio.sleep(self._realm.random.uniform(0, 10 * SLOW_S))
        await self._realm.kill_the_store()
        if self._shim is not None:
            self._shim.slow(SLOW_S)

    async def fsyncs_fail(self) -> None:
        """Every one of them, for a while. A store of `always` ends, and whoever runs it starts it again."""
        assert self._shim is not None
        store = self._realm.store
        self._shim.fail(failing=True)
        end_s = now_s() + FAILING_S
        while now_s() < end_s:
            await asyncio.sleep(POLL_S)
            if isinstance(store, StoreServer) and store.process is not None and store.process.poll() is not None:
                with suppress(TimeoutError):
                    await asyncio.to_thread(store.start)
        self._shim.fail(failing=False)
        if isinstance(store, StoreServer) and store.process is not None and store.process.poll() is not None:
            await asyncio.to_thread(store.start)

    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        """All that this mode has."""
        faults: list[Callable[[], Awaitable[None]]] = [self.kill_every_server, self.kill_a_server]
        if self._shim is not None:
            faults.insert(0, self.fsyncs_fail)
        if not isinstance(self._realm.store, SqliteStore):
            faults.insert(0, self.kill_the_store_while_it_syncs)
            faults.append(self._realm.pause_the_store)
            if self.figures.mode != "redis-everysec":  # which says that it loses a second or two there, and alarms
                faults.append(self._realm.kill_the_store_and_a_server)
        return faults

    async def run(self, rounds: int) -> Figures:
        """Each fault in turn, over and over; then what is in the store against what was told."""
        figures, realm = self.figures, self._realm
        realm.crowd.start()
        await self.play()
        faults = self.faults()
        for number in range(rounds):
            fault = faults[number % len(faults)]
            await fault()
            figures.faults[fault.__name__] = figures.faults.get(fault.__name__, 0) + 1
            await self.play()
        if isinstance(realm.store, SqliteStore):
            await realm.crowd.stop()
            for name in [*realm.lines]:
                await realm.close(name)
            wrong = violations(realm.crowd.told, await self._snapshot())
        else:
            wrong = violations(realm.crowd.told, await realm.calm_down(), settled=True)
        figures.acknowledged = realm.crowd.told.acked
        figures.lost = [each for each in wrong if any(word in each for word in ("lost", "lacks", "not stored"))]
        figures.doubled = [each for each in wrong if each not in figures.lost]
        if self._synced:
            self._note_power()
        return figures

    def _note_power(self) -> None:
        """Hold each acknowledgement against what was synced by then."""
        written = dict(_written_at(incremental_file(self._realm.store.directory).read_bytes()))
        exposed_s = [0.0]
        for operation, at_s in self._acked.items():
            if operation not in written:  # lost with the store's own memory; the checker has said so
                continue
            on_disk_s = next((then_s for then_s, length in self._synced if length >= written[operation]), now_s())
            if on_disk_s > at_s:
                exposed_s.append(on_disk_s - at_s)
        self.figures.not_on_disk = len(exposed_s) - 1
        self.figures.exposed_s = round(max(exposed_s), 3)


def _written_at(file: bytes) -> Iterator[tuple[tuple[int, int], int]]:
    """Each operation of each hero, and how long the append-only file was when it was in it wholly."""
    at, contents, open_group = 0, Contents(), False
    seen = set[tuple[int, int]]()
    while at < len(file):
        if file.startswith(b"#TS:", at):  # a store notes the seconds between its commands
            at = file.index(b"\r\n", at) + 2
            continue
        command, at = _command_at(file, at)
        name = command[0].upper()
        if name in {b"MULTI", b"EXEC"}:
            open_group = name == b"MULTI"
        elif name != b"SELECT":
            contents.apply(command)
        for number in range(HEROES) if not open_group else ():
            if (blob := contents.value(f"sim-hero:{number}")) is not None:
                new = {(number, op) for op in load(blob, Hero).require().applied} - seen
                yield from ((operation, at) for operation in new)
                seen |= new


def _command_at(file: bytes, at: int) -> tuple[list[bytes], int]:
    """The command that begins there, and where the next one does."""
    end = file.index(b"\r\n", at)
    parts: list[bytes] = []
    count, at = int(file[at + 1 : end]), end + 2
    for _ in range(count):
        end = file.index(b"\r\n", at)
        start, size = end + 2, int(file[at + 1 : end])
        parts.append(file[start : start + size])
        at = start + size + 2
    return parts, at


@asynccontextmanager
async def _opened(directory: Path, name: str, seed: int, mutant: str) -> AsyncGenerator[Drill]:
    mode = MODES[name]
    shim = DiskShim(directory / "shim", files=mode.files) if is_there("gcc") else None
    environment = dict(os.environ)
    if shim is not None:
        shim.slow(SLOW_S)
        os.environ.update(shim.environment)
    try:
        async with open_realm(
            directory, seed=seed, names=mode.names, config=DRILL, store_options=mode.options, mutant=mutant,
            make_store=mode.make_store,
        ) as realm:  # fmt: skip
            drill = Drill(realm, name, shim)
            watching = asyncio.ensure_future(drill.watch())
            yield drill
            watching.cancel()
    finally:
        os.environ.clear()
        os.environ.update(environment)


async def drill(name: str, directory: Path, *, seed: int, rounds: int = ROUNDS, mutant: str = "") -> Figures:
    """Run one mode.

    Args:
        name: One of `MODES`.
        directory: Empty.
        seed: Decides what the players do.
        rounds: How many faults.
        mutant: See `realm_server.BREAKS`.
    """
    async with _opened(directory, name, seed, mutant) as opened:
        return await opened.run(rounds)


def main() -> None:
    """Run some modes and print a line for each."""
    parser = argparse.ArgumentParser(description="Kill servers and stores, let disks fail, and count.")
    parser.add_argument("modes", nargs="*", choices=[*MODES, []], help="all of them without it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--mutant", default="", help="a promise that the servers do not keep: `first write`, `op ring`")
    wanted = parser.parse_args()
    if not is_there("gcc"):
        sys.stderr.write("NOT RUN, for want of gcc: slow and failing fsyncs, and what a power failure would take\n")
    for name in wanted.modes or MODES:
        with tempfile.TemporaryDirectory(prefix="rk-drill-") as directory:
            how: dict[str, Any] = {"seed": wanted.seed, "rounds": wanted.rounds, "mutant": wanted.mutant}
            figures = asyncio.run(drill(name, Path(directory), **how))
        sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
