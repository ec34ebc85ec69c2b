"""Faults of a game server's process."""

import asyncio
import errno
import resource
from pathlib import Path
from typing import Final

from realmkeep.drill.bots.client import POLL_S
from realmkeep.drill.checks import Stuck
from realmkeep.drill.faults.fault import Fault, Harm, registered
from realmkeep.drill.processes import ServerProcess, state_of
from realmkeep.drill.server.points import POINTS
from realmkeep.drill.server.server import CLOSING
from realmkeep.drill.stores.store import Trait

KILLED: Final = -9
POINT_S_MAX: Final = 30.0
PAST_THE_LEASE: Final = 1.5
TERM_TRIES: Final = 5
TERM_S_MAX: Final = 0.02
HOUR_S: Final = 3600.0
SEEN_OFF_S: Final = 3000.0  # of an hour
WINDOW_SHARE: Final = (0.5, 1.1)  # how long players only earn before every server dies, as a share of the interval


@registered
class ServerKill(Fault):
    """The server has sent its writes, and dies before it can answer."""

    name = "server-kill"
    what = "a server is killed (SIGKILL) between the store's answer and its own"
    harm = Harm.SERVER
    sudden = True

    async def begin(self) -> None:
        """Kill a server that was stopped first."""
        self._name = self.some_server()
        server = self.realm.servers[self._name]
        server.pause()
        pid = server.pid
        code = await self.realm.kill(self._name)
        if code == KILLED:
            self.saw(f"{self._name} (process {pid}) was seen dead by signal 9")

    async def end(self) -> None:
        """Start it again."""
        await self.realm.start(self._name)


@registered
class ServersKill(Fault):
    """The window of tier 2 is measured here: only changes of tier 2 precede the death."""

    name = "servers-kill"
    what = "every server is killed at once, after a while in which only tier 2 changed"
    harm = Harm.SERVER
    sudden = True

    async def begin(self) -> None:
        """Let the players earn, then kill every server."""
        realm = self.realm
        realm.crowd.only_earn = True
        await realm.clock.sleep(realm.config.flush_interval_s * realm.random.uniform(*WINDOW_SHARE))
        for name in [*realm.lines]:
            if await realm.kill(name) == KILLED:
                self.saw(f"{name} was seen dead by signal 9")
        realm.crowd.only_earn = False

    async def end(self) -> None:
        """Start all of them again."""
        await self.realm.start_all()


@registered
class ServerKillAtPoint(Fault):
    """The server kills itself, so the moment is exact."""

    name = "server-kill-at-point"
    what = "a server kills itself at a named point: " + "; ".join(POINTS)
    harm = Harm.SERVER

    async def begin(self) -> None:
        """Arm a point, and wait until the server has passed it."""
        realm = self.realm
        points = sorted(
            POINTS.keys() - ({"inbox-reads"} if realm.game.spec else set())
        )  # a studio's game has no letters
        self._name, point = self.some_server(), realm.random.choice(points)
        server = realm.servers[self._name]
        await realm.ask(self._name, "arm", point=point)
        if not await self._passes(server):
            await realm.ask(self._name, "arm", point="")  # no such thing happened there meanwhile: another try
            return
        realm.told.window.struck(self._name, realm.clock.monotonic_s())
        code = server.end()
        if code == KILLED and server.died_at() == point:
            self.saw(f"{self._name} died by signal 9 at {point}: {POINTS[point]}")
        await realm.hang_up(self._name)

    async def _passes(self, server: ServerProcess) -> bool:
        """Return whether a server kills itself within `POINT_S_MAX`."""
        self.realm.crowd.restless = True
        try:
            async with self.realm.clock.timeout(POINT_S_MAX):
                while server.process is not None and server.process.poll() is None:
                    await self.realm.clock.sleep(POLL_S)
        except TimeoutError:
            return False
        finally:
            self.realm.crowd.restless = False
        return True

    async def end(self) -> None:
        """Start it again."""
        await self.realm.start_all()


@registered
class ServerPause(Fault):
    """Past its lease another server may take its players; it wakes up and does not know."""

    name = "server-pause"
    what = "a server is stopped (SIGSTOP) past its lease; with several servers until another has its players"
    harm = Harm.SERVER

    async def begin(self) -> None:
        """Stop it."""
        realm = self.realm
        self._name = self.some_server()
        server = realm.servers[self._name]
        server.pause()
        realm.told.window.struck(self._name, realm.clock.monotonic_s())
        its_players = realm.players_of(self._name)
        if Trait.TAKEOVER in realm.traits:
            await realm.crowd.until(
                lambda: realm.players_of(self._name).isdisjoint(its_players), f"the players of {self._name} move on"
            )
            taken = f"; {len(its_players)} players were taken over"
        else:
            await realm.clock.sleep(PAST_THE_LEASE * realm.config.lease_ttl_s)
            taken = " for longer than its lease"
        if state_of(server.pid) == "T":
            self.saw(f"{self._name} was seen stopped{taken}")

    async def end(self) -> None:
        """Wake it up."""
        self.realm.servers[self._name].resume()


@registered
class ServerStall(Fault):
    """As a pause, but the server's own threads and its sockets go on."""

    name = "server-stall"
    what = "a server's event loop is blocked for longer than its lease"
    harm = Harm.SERVER

    async def begin(self) -> None:
        """Block it, and wait until it answers."""
        realm = self.realm
        name, stall_s = self.some_server(), PAST_THE_LEASE * realm.config.lease_ttl_s
        realm.told.window.struck(name, realm.clock.monotonic_s())
        owned = realm.players_of(name)
        stalled = realm.ask(name, "stall", stall_s=stall_s)
        answer = await stalled
        if answer["stalled_s"] >= realm.config.lease_ttl_s:
            moved = len(owned - realm.players_of(name))
            self.saw(f"{name} stood still for {answer['stalled_s']:.1f} s; {moved} of its players had moved on")


@registered
class ServerTermKill(Fault):
    """A supervisor that is out of patience."""

    name = "server-term-kill"
    what = "a server is told to close (SIGTERM) and killed (SIGKILL) before it is done"
    harm = Harm.SERVER

    async def begin(self) -> None:
        """Try until it was killed while it closed."""
        for attempt in range(TERM_TRIES):
            if await self._killed_while_closing(TERM_S_MAX / (1 + attempt)):
                return
            if attempt + 1 < TERM_TRIES:
                await self.realm.start(self._name)

    async def _killed_while_closing(self, patience_s: float) -> bool:
        realm = self.realm
        self._name = self.some_server()
        server = realm.servers[self._name]
        before = server.log.stat().st_size
        server.terminate()
        await realm.crowd.until(
            lambda: (
                CLOSING in server.log.read_text(encoding="utf-8", errors="replace")[before:]
                or state_of(server.pid) in {"Z", ""}
            ),
            f"{self._name} begins to close",
        )
        await realm.clock.sleep(realm.random.uniform(0, patience_s))
        if await realm.kill(self._name) != KILLED:
            return False
        self.saw(f"{self._name} had begun to close, and was seen dead by signal 9")
        return True

    async def end(self) -> None:
        """Start it again."""
        await self.realm.start(self._name)


@registered
class ServerDrain(Fault):
    """A deploy, or a machine that is taken away in good order."""

    name = "server-drain"
    what = "a server is told to close (SIGTERM), and drains while the crowd plays on"
    harm = Harm.SERVER

    async def begin(self) -> None:
        """Tell it, and wait for its end."""
        realm, name = self.realm, self.some_server()
        self._name = name
        server = realm.servers[name]
        server.terminate()
        await realm.crowd.until(lambda: state_of(server.pid) in {"Z", ""}, f"{name} ends")
        if (code := await realm.kill(name)) == 0:
            self.saw(f"{name} ended with exit code {code}")

    async def end(self) -> None:
        """Start it again."""
        await self.realm.start(self._name)


@registered
class DescriptorsExhausted(Fault):
    """The store is killed meanwhile where that needs descriptors: its server cannot start it."""

    name = "descriptors-exhausted"
    what = "a server may open no more files or connections"
    harm = Harm.SERVER

    async def begin(self) -> None:
        """Lower the limit to what is open."""
        realm = self.realm
        self._name = self.some_server()
        self._pid = realm.servers[self._name].pid
        self._former = resource.prlimit(self._pid, resource.RLIMIT_NOFILE)
        used = max(int(each.name) for each in Path(f"/proc/{self._pid}/fd").iterdir()) + 1
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (used, self._former[1]))
        answer = await realm.ask(self._name, "descriptor")
        while not answer["errno"] and used > 3:  # numbers below the highest are free
            used -= 1
            resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (used, self._former[1]))
            answer = await realm.ask(self._name, "descriptor")
        if answer["errno"] == errno.EMFILE:
            self.saw(f"{self._name} could not open a file: too many are open")
        if Trait.PROCESS in realm.traits and Trait.SHARED not in realm.traits:
            await asyncio.to_thread(realm.store.kill)
            await realm.until_degraded(self._name)
            self.saw("its store was killed, and it said that it was cut off")

    async def end(self) -> None:
        """Give it the former limit."""
        if state_of(self._pid) in {"Z", ""}:
            raise Stuck(f"{self._name} ended for want of descriptors")
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._former)


@registered
class ServerClock(Fault):
    """Revisions, tokens and leases must not depend on it."""

    name = "server-clock"
    what = "a server's wall clock is an hour off, forward or back"
    harm = Harm.CLOCK
    lasting = True

    async def begin(self) -> None:
        """Set it off."""
        realm = self.realm
        self._name = self.some_server()
        offset_s = realm.random.choice((HOUR_S, -HOUR_S))
        answer = await realm.ask(self._name, "skew", offset_s=offset_s)
        off_s = answer["wall_us"] / 1e6 - realm.clock.wall_us() / 1e6
        if abs(off_s) > SEEN_OFF_S:
            self.saw(f"the wall clock of {self._name} was read {off_s:+.0f} s off")
        await realm.play(10)

    async def end(self) -> None:
        """Set it right, which is a jump as well."""
        if self._name in self.realm.lines:
            await self.realm.ask(self._name, "skew", offset_s=0.0)
