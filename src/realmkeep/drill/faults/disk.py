"""Faults of the store's disk and of its clock, through the shim between them."""

import asyncio
from typing import Final, cast

from realmkeep.drill.bots.client import POLL_S
from realmkeep.drill.checks.contents import NotReadable
from realmkeep.drill.disk.disk_shim import DiskShim
from realmkeep.drill.faults.fault import Fault, Harm, registered
from realmkeep.drill.faults.stores import DEAD, WAIT_S_MAX, start_store, until, until_it_runs
from realmkeep.drill.processes import state_of
from realmkeep.drill.realm import Realm
from realmkeep.drill.stores.store import Clocked, Commanded, Trait

SLOW_S: Final = 0.3
SLOW_FSYNCS: Final = 3
RECOVERS_S: Final = 3.0  # then an operator helps
POWER_TRIES: Final = 40
POWER_FSYNC_S: Final = 0.05  # so that the power goes while the store waits for an fsync
HOUR_S: Final = 3600.0
CLOCK_KEY: Final = "drill:clock"


class _Disk(Fault):
    harm = Harm.DISK
    needs = frozenset({Trait.SHIM})
    lasting = True

    @property
    def shim(self) -> DiskShim:
        assert self.realm.shim is not None, "it needs the shim"
        return self.realm.shim


@registered
class FsyncSlow(_Disk):
    """A disk that is worn or shared."""

    name = "fsync-slow"
    what = "each fsync takes 0.3 s longer"

    async def begin(self) -> None:
        """Make it slow, and wait until some fsyncs have suffered."""
        self.shim.slow(SLOW_S)
        before = self.shim.began  # these end after the delay

        async def suffered() -> bool:
            return self.shim.ended >= before + SLOW_FSYNCS

        await until(self, suffered, "fsyncs end")
        self.saw(f"{self.shim.ended - before} fsyncs took {SLOW_S:g} s longer")

    async def end(self) -> None:
        """Make it fast."""
        self.shim.slow(0)


@registered
class FsyncFail(_Disk):
    """A store that cannot sync must not acknowledge: it ends, and is started again."""

    name = "fsync-fail"
    what = "every fsync fails (EIO) for longer than a lease"

    async def begin(self) -> None:
        """Let them fail."""
        before = self.shim.failed
        self.shim.fail(failing=True)

        async def failed() -> bool:
            return self.shim.failed > before

        await until(self, failed, "an fsync fails")
        await self.realm.clock.sleep(self.realm.config.lease_ttl_s)
        self.saw(f"{self.shim.failed - before} fsyncs failed")

    async def end(self) -> None:
        """Let them succeed; a store that ended is started again."""
        self.shim.fail(failing=False)
        await revive(self)


@registered
class DiskFull(_Disk):
    """Nothing can be written to the store's files."""

    name = "disk-full"
    what = "every write to the store's files fails (ENOSPC) for longer than a lease"

    async def begin(self) -> None:
        """Fill it."""
        before = self.shim.refused
        self.shim.fill(full=True)

        async def refused() -> bool:
            return self.shim.refused > before

        await until(self, refused, "a write is refused")
        await self.realm.clock.sleep(self.realm.config.lease_ttl_s)
        self.saw(f"{self.shim.refused - before} writes were refused")

    async def end(self) -> None:
        """Make room."""
        self.shim.fill(full=False)
        await revive(self)


async def revive(fault: Fault) -> None:
    """Return when a store of the drill's own answers again and accepts writes.

    One that has ended is started, as its supervisor would. One that runs and does not recover is started again, as an operator
    would. A Postgres 18 whose fsyncs failed while it recovered stays "in recovery mode" when they succeed again. A Valkey with
    `everysec` refuses writes after a failed fsync, and tries the next one only when something is written.
    """
    realm = fault.realm
    if not {Trait.PROCESS, Trait.SHARED} <= realm.traits:
        return
    began_s = realm.clock.monotonic_s()
    while not await asyncio.to_thread(_works, realm):
        if realm.store.pid() is None:
            await start_store(fault)
        elif realm.clock.monotonic_s() - began_s > RECOVERS_S:
            await asyncio.to_thread(realm.store.kill)
        else:
            await realm.clock.sleep(POLL_S)


def _works(realm: Realm) -> bool:
    try:
        realm.store.read(realm.game.keys)
        told = cast("Commanded", realm.store).ask("INFO", "persistence") if Trait.COMMANDS in realm.traits else b""
    except (NotReadable, OSError):
        return False
    return not isinstance(told, bytes) or b"aof_last_write_status:err" not in told


@registered
class PowerCut(_Disk):
    """Everything dies at one moment, and the disk has what was synced by then."""

    name = "power-cut"
    what = "the machine loses power: every process dies, and each file is cut back to what was fsynced"
    needs = frozenset({Trait.SHIM, Trait.OWN})
    lasting = False

    async def begin(self) -> None:
        """Stop the store while it waits for an fsync, kill everything, and cut."""
        realm = self.realm
        pid = await until_it_runs(self) if Trait.PROCESS in realm.traits else None
        self.shim.slow(POWER_FSYNC_S)
        for _ in range(POWER_TRIES):
            began, ended = self.shim.began, self.shim.ended
            async with realm.clock.timeout(WAIT_S_MAX):
                while self.shim.began == began:
                    await realm.clock.sleep(0)
            await self._stop()
            if self.shim.unsynced and self.shim.began - began > self.shim.ended - ended:
                break
            await self._go_on()
        cut_s = realm.clock.monotonic_s()
        for name in [*realm.lines]:
            await realm.kill(name)
        if pid is not None:
            await asyncio.to_thread(realm.store.kill)
            while state_of(pid) not in DEAD:
                await realm.clock.sleep(0)
        self.shim.slow(0)
        cut = await asyncio.to_thread(self.shim.cut, realm.store.directory)
        realm.told.powerless(cut_s, realm.clock.monotonic_s())
        if cut > 0:
            died = f"{len(realm.servers)} servers" + (" and the store" if pid is not None else "")
            self.saw(f"{cut} bytes that were not synced are gone; {died} died")

    async def _stop(self) -> None:
        """Stop each process that writes the store's files."""
        if Trait.PROCESS in self.realm.traits:
            await asyncio.to_thread(self.realm.store.pause)
        else:
            for name in self.realm.lines:
                self.realm.servers[name].pause()

    async def _go_on(self) -> None:
        if Trait.PROCESS in self.realm.traits:
            await asyncio.to_thread(self.realm.store.resume)
        else:
            for name in self.realm.lines:
                self.realm.servers[name].resume()

    async def end(self) -> None:
        """Power is back."""
        await start_store(self)
        await self.realm.start_all()


@registered
class StoreClock(_Disk):
    """Leases are kept by the store's clock."""

    name = "store-clock"
    what = "the wall clock of the store's machine is an hour off, forward or back"
    harm = Harm.CLOCK
    needs = frozenset({Trait.SHIM, Trait.PROCESS})

    async def begin(self) -> None:
        """Set it off."""
        realm = self.realm
        await until_it_runs(self)
        self.shim.skew(realm.random.choice((HOUR_S, -HOUR_S)))
        off_s = await self._off_s()
        if abs(off_s) > HOUR_S / 2:
            self.saw(f"the store's own clock was read {off_s:+.0f} s off")
        await realm.play(10)

    async def _off_s(self) -> float:
        store = self.realm.store
        assert isinstance(store, Clocked)
        return await asyncio.to_thread(store.wall_s) - self.realm.clock.wall_us() / 1e6

    async def end(self) -> None:
        """Set it right, which is a jump as well.

        A Valkey with `everysec` goes by its wall clock: set back by an hour, it does not sync for an hour. An operator mends
        that by `always` for the length of a write.
        """
        self.shim.skew(0)
        if Trait.LOSSLESS not in self.realm.traits:
            await asyncio.to_thread(self._sync, cast("Commanded", self.realm.store))

    def _sync(self, store: Commanded) -> None:
        """Write once with each setting; the servers may be dead."""
        for fsync in ("always", "everysec"):
            store.ask("CONFIG", "SET", "appendfsync", fsync)
            store.ask("SET", CLOCK_KEY, "")
        store.ask("DEL", CLOCK_KEY)
