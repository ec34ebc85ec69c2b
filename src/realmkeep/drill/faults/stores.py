"""Faults of the store's process and of its files."""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, cast

from realmkeep.drill.bots.client import POLL_S
from realmkeep.drill.checks import Stuck
from realmkeep.drill.faults.fault import Fault, Harm, registered
from realmkeep.drill.processes import children_of, state_of
from realmkeep.drill.stores.store import Commanded, Trait

DEAD: Final = frozenset({"Z", ""})
WAIT_S_MAX: Final = 30.0
KEY_DELAY_US: Final = 50_000  # so that a child which writes a few dozen keys lives long enough to be killed
STOPPED: Final = "writing stopped"  # in the sentences of `degraded`
LOST: Final = ("the store lost data", "writing stopped", "has lost")
AOF: Final = "appendonlydir"


async def until(fault: Fault, condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return when a condition holds.

    Raises:
        Stuck: It does not within `WAIT_S_MAX`.
    """
    try:
        async with fault.realm.clock.timeout(WAIT_S_MAX):
            while not await condition():
                await fault.realm.clock.sleep(POLL_S)
    except TimeoutError:
        raise Stuck(f"not within {WAIT_S_MAX:g} s: {what}") from None


async def kill_store(fault: Fault) -> None:
    """Kill the store, and look whether it is dead.

    Raises:
        Stuck: It did not run.
    """
    pid = await until_it_runs(fault)
    await asyncio.to_thread(fault.realm.store.kill)

    async def dead() -> bool:
        return state_of(pid) in DEAD

    await until(fault, dead, "the store's process is dead")
    fault.saw(f"the store (process {pid}) was seen dead")


async def until_it_runs(fault: Fault) -> int:
    """Return the process of the store, which a server may just be starting.

    Raises:
        Stuck: It does not run.
    """

    async def runs() -> bool:
        return fault.realm.store.pid() is not None

    await until(fault, runs, "the store runs")
    return fault.realm.store.pid() or 0


async def start_store(fault: Fault) -> None:
    """Start the store, where the drill does."""
    await asyncio.to_thread(fault.realm.store.start)


@registered
class StoreKill(Fault):
    """With a shim, fsyncs are slow meanwhile, so that it often dies between a write and its fsync."""

    name = "store-kill"
    what = "the store is killed (SIGKILL) and started again"
    harm = Harm.STORE
    needs = frozenset({Trait.PROCESS})

    async def begin(self) -> None:
        """Kill it."""
        realm = self.realm
        if realm.shim is not None:
            realm.shim.slow(0.075)
            await realm.clock.sleep(realm.random.uniform(0, 0.15))
        await kill_store(self)
        if realm.shim is not None:
            realm.shim.slow(0)

    async def end(self) -> None:
        """Start it again."""
        await start_store(self)


@registered
class StoreAndServerKill(Fault):
    """What the server had not sent is gone; what it had sent may have happened."""

    name = "store-and-server-kill"
    what = "the store and a server are killed together"
    harm = Harm.STORE
    needs = frozenset({Trait.PROCESS, Trait.LOSSLESS})

    async def begin(self) -> None:
        """Kill the store, then the server before it can notice."""
        self._name = self.some_server()
        await kill_store(self)
        code = await self.realm.kill(self._name)
        if code != -signal.SIGKILL:
            self.evidence.clear()

    async def end(self) -> None:
        """Start both again."""
        await start_store(self)
        await self.realm.start(self._name)


@registered
class StorePause(Fault):
    """Commits wait; leases run out."""

    name = "store-pause"
    what = "the store is stopped (SIGSTOP) until every server says that it is cut off"
    harm = Harm.STORE
    needs = frozenset({Trait.PROCESS})
    lasting = True

    async def begin(self) -> None:
        """Stop it."""
        pid = await until_it_runs(self)
        await asyncio.to_thread(self.realm.store.pause)
        for name in [*self.realm.lines]:
            await self.realm.until_degraded(name)
        if state_of(pid) == "T":
            self.saw(f"the store (process {pid}) was seen stopped, and every server said so")

    async def end(self) -> None:
        """Wake it up."""
        await asyncio.to_thread(self.realm.store.resume)


class _Swap(Fault):
    """The servers stand still while the store's files are changed, as no server starts it meanwhile."""

    harm = Harm.STORE
    needs = frozenset({Trait.PROCESS, Trait.FILES, Trait.LOSSLESS})
    expects = LOST

    async def with_other_files(self, change: Callable[[Path], None]) -> None:
        realm = self.realm
        pid = await until_it_runs(self)
        for server in realm.servers.values():
            server.pause()
        self.struck()
        try:
            await asyncio.to_thread(realm.store.kill)
            while state_of(pid) not in DEAD:
                await realm.clock.sleep(POLL_S)
            change(realm.store.directory)
            if realm.shim is not None:
                realm.shim.settle()
        finally:
            for server in realm.servers.values():
                server.resume()
        await start_store(self)

    async def until_noticed(self, losers: Iterable[str]) -> None:
        """Return when these servers have stopped to write, and each other one has, or has found nothing lost.

        A server without a player has nothing to compare.
        """
        noticed: set[str] = set()
        for name in [*self.realm.lines]:

            async def compared(name: str = name) -> bool:
                state = await self.realm.state(name)
                if any(STOPPED in why for why in state["degraded"]):
                    noticed.add(name)
                return name in noticed or not state["owned"] or (name not in losers and not state["degraded"])

            await until(self, compared, f"{name} stops to write")
        if noticed:
            self.saw(
                f"{', '.join(sorted(noticed))} said that the store had lost acknowledged writes, and stopped to write"
            )


@registered
class StoreEmpty(_Swap):
    """An operator started it on the wrong directory; nothing may be built on that."""

    name = "store-empty"
    what = "the store comes back empty; later its own files return"

    async def begin(self) -> None:
        """Start it without its files."""
        self._kept = self.realm.store.directory.parent / "kept"
        await self.with_other_files(self._take_away)
        await self.until_noticed([*self.realm.lines])

    async def end(self) -> None:
        """Give it its files back."""
        await self.with_other_files(self._give_back)

    def _take_away(self, directory: Path) -> None:
        self._kept.mkdir()
        for name in (AOF, "dump.rdb"):
            if (directory / name).exists():
                (directory / name).rename(self._kept / name)

    def _give_back(self, directory: Path) -> None:
        for name in (AOF, "dump.rdb"):
            if (directory / name).is_dir():
                shutil.rmtree(directory / name)
            (directory / name).unlink(missing_ok=True)
            if (self._kept / name).exists():
                (self._kept / name).rename(directory / name)
        self._kept.rmdir()


@registered
class StoreOlder(_Swap):
    """As a restored backup, or a disk that lied."""

    name = "store-older"
    what = "the store comes back with an older state; an operator lets the servers write theirs over it"

    async def begin(self) -> None:
        """Cut its log back by some operations.

        No player leaves meanwhile: who is not in the game is as the older state has it, and no server knows better.
        """
        self.realm.crowd.staying = True
        await self.realm.clock.sleep(2 * self.realm.config.grace_s)
        file = newest_log(self.realm.store.directory)
        older_bytes, before = file.stat().st_size, self.realm.told.by_server.copy()
        await self.realm.play(10)
        lost: list[int] = []

        def cut(_directory: Path) -> None:
            lost.append(file.stat().st_size - older_bytes)
            os.truncate(file, older_bytes)

        await self.with_other_files(cut)
        await self.until_noticed(self.realm.told.by_server - before)
        self.saw(f"{lost[0]} bytes were cut off the log")

    async def end(self) -> None:
        """Let every server write its live records over it."""
        for name in [*self.realm.lines]:
            await self.realm.ask(name, "heal")
        self.realm.crowd.staying = False


def newest_log(directory: Path) -> Path:
    """Return the append-only file that a Valkey writes to.

    Raises:
        Stuck: There is none.
    """
    found = [*(directory / AOF).glob("*.incr.aof")]
    if not found:
        raise Stuck(f"{directory} has no append-only file")
    return max(found, key=lambda path: int(re.findall(r"\.(\d+)\.incr", path.name)[0]))


class _Child(Fault):
    """Its child writes slowly, so that the kill meets it."""

    harm = Harm.STORE
    needs = frozenset({Trait.PROCESS, Trait.COMMANDS})
    command: str
    running: str
    status: str

    async def ask(self, *command: str) -> Any:
        return await asyncio.to_thread(cast("Commanded", self.realm.store).ask, *command)

    async def info(self, section: str) -> dict[str, str]:
        answer = await self.ask("INFO", section)
        lines = answer.decode().splitlines() if isinstance(answer, bytes) else []
        return dict(line.split(":", 1) for line in lines if ":" in line)

    async def kill_child(self) -> None:
        pid = await until_it_runs(self)
        await self.ask("CONFIG", "SET", "rdb-key-save-delay", str(KEY_DELAY_US))
        await self.idle()
        await self.ask(self.command)

        async def has_child() -> bool:
            return bool(children_of(pid))

        await until(self, has_child, "the store has a child")
        for child in children_of(pid):
            os.kill(child, signal.SIGKILL)
        await self.ask("CONFIG", "SET", "rdb-key-save-delay", "0")
        await self.idle()
        if (await self.info("persistence"))[self.status] == "err":
            self.saw(f"the child of {self.command} was killed, and the store says {self.status}:err")

    async def idle(self) -> None:
        async def idle() -> bool:
            info = await self.info("persistence")
            return info.get("rdb_bgsave_in_progress") == "0" == info.get("aof_rewrite_in_progress")

        await until(self, idle, "the store has no child")

    async def again(self) -> None:
        async def well() -> bool:
            await self.idle()
            await self.ask(self.command)
            await self.idle()
            return (await self.info("persistence"))[self.status] == "ok"

        await until(self, well, f"{self.command} succeeds")


@registered
class RewriteChildKill(_Child):
    """The log goes on in a second file until a rewrite succeeds."""

    name = "rewrite-child-kill"
    what = "the child that rewrites the append-only file is killed under load"
    command = "BGREWRITEAOF"
    status = "aof_last_bgrewrite_status"

    async def begin(self) -> None:
        """Kill it."""
        await self.kill_child()

    async def end(self) -> None:
        """Let a rewrite succeed."""
        await self.again()


@registered
class SnapshotChildKill(_Child):
    """A store that cannot snapshot refuses every write until it can."""

    name = "snapshot-child-kill"
    what = "the child that writes a snapshot is killed under load, and the store refuses writes until one succeeds"
    command = "BGSAVE"
    status = "rdb_last_bgsave_status"

    async def begin(self) -> None:
        """Kill it, and wait until a write was refused."""
        before = await self._refusals()
        await self.kill_child()
        if not self.evidence:
            return

        async def refused() -> bool:
            return await self._refusals() > before

        await until(self, refused, "the store refuses a write (MISCONF)")
        self.saw(f"the store refused {await self._refusals() - before} commands")

    async def _refusals(self) -> int:
        told = (await self.info("errorstats")).get("errorstat_MISCONF", "count=0")
        return int(told.rpartition("=")[2])

    async def end(self) -> None:
        """Let a snapshot succeed."""
        await self.again()


@registered
class MemoryFull(_Child):
    """`maxmemory` with `noeviction`: nothing is evicted, writes are refused."""

    name = "memory-full"
    what = "the store is at its maxmemory and refuses writes"
    lasting = True

    async def begin(self) -> None:
        """Lower the limit below what it uses."""
        before = await self._refusals()
        self._former = cast("list[bytes]", await self.ask("CONFIG", "GET", "maxmemory"))[1].decode()
        await self.ask("CONFIG", "SET", "maxmemory", "1")

        async def refused() -> bool:
            return await self._refusals() > before

        await until(self, refused, "the store refuses a write (OOM)")
        self.saw(f"the store refused {await self._refusals() - before} commands")

    async def _refusals(self) -> int:
        told = (await self.info("errorstats")).get("errorstat_OOM", "count=0")
        return int(told.rpartition("=")[2])

    async def end(self) -> None:
        """Raise it again; a store that was started again meanwhile has its own."""
        await until_it_runs(self)
        await self.ask("CONFIG", "SET", "maxmemory", self._former)
