"""The server that the drill breaks: a keeper, and a game's operations over one JSON line a request.

It listens on a unix socket; requests run side by side. It ends when its standard input does, so that a drill that dies leaves
no server behind.
"""

import asyncio
import os
import select
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from realmkeep.background import Background
from realmkeep.clock import SystemClock
from realmkeep.config import ArchiveConfig
from realmkeep.drill.server.points import DeathPoints
from realmkeep.errors import AlreadyOwned, CommitPending, InvalidRecord, RealmkeepError, StorageError
from realmkeep.keeping import CloseReport, Hooks, Keeper, Session, heal
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.ownership.revisions import token_of
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.records import Record
from realmkeep.storage import Storage
from realmkeep.testing.drill import GameRefused

REPORT_S: Final = 0.05
ARCHIVE: Final = ArchiveConfig(interval_s=0.2, sweep_interval_s=2.0)
LAST_CUT_S: Final = 2.0
CLOSING: Final = "closing on SIGTERM"
CALLER: Final[ContextVar[asyncio.StreamWriter]] = ContextVar("CALLER")


class Absent(Exception):
    """The player is not here."""


class Apart(Exception):
    """The other player of a trade is not here, and the trade has not happened."""


class SkewedClock(SystemClock):
    """The machine's clock, with an offset of its wall time."""

    def __init__(self) -> None:
        self.offset_us = 0

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch, and the offset."""
        return super().wall_us() + self.offset_us


class DrillServer:
    """The wire and the life of a server; a subclass has the game.

    Args:
        player: The record class of a player.
        hooks: The game's hooks.
    """

    keeper: Keeper  # this and the next two are there before the first connection
    storage: Storage
    points: DeathPoints

    def __init__(self, player: type[Record], hooks: Hooks) -> None:
        self.player = player
        self.hooks = hooks
        self.clock = SkewedClock()
        self.closed = asyncio.Event()
        self.background = Background("the server of the drill", self.clock)
        self._archiver: ColdArchiver | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._callers: dict[int, asyncio.StreamWriter] = {}

    # --- the game

    def stamp(self, session: Session[Any]) -> None:
        """Mark a record with the claim under which it is written, if the game has a place for it."""

    def xp_of(self, record: Any) -> int:
        """Return the progress of tier 2 of a player."""
        raise NotImplementedError

    def new_player(self, number: int) -> Record:
        """Return the record of a player that logs in for the first time."""
        raise NotImplementedError

    # --- the wire

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; the players that came over it are disconnected when it ends."""
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                if not line.endswith(b"\n"):
                    break
                self.background.run("a request", self._answer(msgspec.json.decode(line), writer))
        except ConnectionError:
            pass  # as at its end
        self._writers.discard(writer)
        for number in [number for number, caller in self._callers.items() if caller is writer]:
            del self._callers[number]
            session = self.keeper.session(self.player, number)
            if session is not None and session.connected:
                session.disconnect()
        writer.close()

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        CALLER.set(writer)
        try:
            answer = await getattr(self, "do_" + request["do"])(**request["with"])
        except (Absent, Apart, InvalidRecord, GameRefused) as error:  # the last two: a player has less than that
            answer = {"no": type(error).__name__}
        except AlreadyOwned as error:
            answer = {"no": "AlreadyOwned", "server": error.server}
        except RealmkeepError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        except Exception:  # noqa: BLE001 - reported to the drill, which fails
            answer = {"error": "a defect", "defect": traceback.format_exc()}
        writer.write(msgspec.json.encode({"id": request["id"], **answer}) + b"\n")

    async def report(self) -> None:
        """Report the progress of every player that is not dirty, again and again: that is a promise, too."""
        while True:
            await self.clock.sleep(REPORT_S)
            clean = {s.id: self.xp_of(s.record) for s in self.keeper.sessions(self.player) if not s.dirty}
            for writer in self._writers:
                writer.write(msgspec.json.encode({"clean": clean}) + b"\n")

    def keep_archive(self) -> list[asyncio.Task[None]]:
        """Keep the cold tier up, if the keeper has one; the tasks that do."""
        cold = engine_of(self.keeper).cold
        if cold is None:
            return []
        self._archiver = ColdArchiver(self.keeper, cold, ARCHIVE)
        return [asyncio.create_task(each) for each in (self._archiver.run(), self._archiver.run_sweeps())]

    # --- players come and go

    async def recover(self) -> None:
        """Recover what a former run owned, as soon as the store answers."""
        while True:
            try:
                recovered = await self.keeper.recover(self.player)
            except StorageError:
                await self.clock.sleep(REPORT_S)
                continue
            for session in recovered:
                self.stamp(session)
            return

    def here(self, number: int) -> Session[Any]:
        """Return the session of a connected player.

        Raises:
            Absent: The player is not here.
        """
        session = self.keeper.session(self.player, number)
        if session is None or not session.connected:
            raise Absent
        self.stamp(session)
        return session

    async def do_login(self, who: int) -> dict[str, Any]:
        """Log a player in; one that is connected already is taken over. The answer names the claim of the session."""
        live = self.keeper.session(self.player, who)
        if live is None or not live.connected:
            self.stamp(await self.keeper.login(self.player, who, create=lambda: self.new_player(who)))
        self._callers[who] = CALLER.get()
        session = self.here(who)
        return {"xp": self.xp_of(session.record), "claim": token_of(session.claim)}

    async def do_logout(self, who: int) -> dict[str, Any]:
        """Log a player out."""
        try:
            await self.here(who).logout()
        except CommitPending as pending:
            await pending.wait()
        return {}

    async def do_disconnect(self, who: int) -> dict[str, Any]:
        """Lose a player's connection."""
        self.here(who).disconnect()
        return {}

    # --- the server itself

    async def do_state(self) -> dict[str, Any]:
        """Return what is wrong with the keeper, and the players that it has."""
        status = self.keeper.status()
        return {
            "degraded": self.keeper.degraded,
            "forgotten": status.forgotten_marks,
            "violations": status.tier_violations,
            "owned": [session.id for session in self.keeper.sessions(self.player)],
            "engine": self.storage.capability.engine,
            "lossless": self.storage.capability.survives_power_loss,
            "dirty": status.dirty_records,
            "wall_us": self.clock.wall_us(),
        }

    async def do_heal(self) -> dict[str, Any]:
        """Write the live sessions over an older store, as an operator orders."""
        heal(self.keeper)
        return {}

    async def do_arm(self, point: str) -> dict[str, Any]:
        """Die at a named point."""
        self.points.arm(point)
        return {}

    async def do_stall(self, stall_s: float) -> dict[str, Any]:
        """Block the event loop, as a long computation or a swapped-out process does."""
        began_s = self.clock.monotonic_s()
        select.select([], [], [], stall_s)
        return {"stalled_s": self.clock.monotonic_s() - began_s}

    async def do_skew(self, offset_s: float) -> dict[str, Any]:
        """Set the wall clock off."""
        self.clock.offset_us = round(offset_s * 1_000_000)
        return {"wall_us": self.clock.wall_us()}

    async def do_descriptor(self) -> dict[str, Any]:
        """Try to open a file; return the system's error, if there is one."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            return {"errno": error.errno}
        return {"errno": 0}

    async def do_close(self) -> dict[str, Any]:
        """Save everything and end."""
        return await self._end(self.keeper.close)

    async def _end(self, close: Callable[[], Awaitable[CloseReport]]) -> dict[str, Any]:
        for session in self.keeper.sessions(self.player):
            self.stamp(session)
        report = await close()
        if self._archiver is not None:
            await self._archiver.ship_last(LAST_CUT_S)
        await self.storage.disconnect()
        self.closed.set()
        return {"rescued": report.rescued}

    async def close_on_signal(self) -> None:
        """Drain and close, as on SIGTERM; the log says so."""
        sys.stderr.write(f"{CLOSING}\n")
        await self._end(self.keeper.drain)
