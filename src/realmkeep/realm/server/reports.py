"""What an operator sees: the banner, the logs, and one live line on a terminal."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Final, Literal

import structlog

from realmkeep import Clock, Keeper, Session
from realmkeep.realm.server.realm import Realm
from realmkeep.realm.world.player import Player
from realmkeep.storage import Capability

STATUS_INTERVAL_S: Final = 1.0
ERASE_LINE: Final = "\r\x1b[2K"
LogFormat = Literal["console", "json"]


def promise(capability: Capability) -> str:
    """What a store promises of an acknowledged tier-1 operation, in one clause."""
    if not capability.durable_on_return:
        return "nothing is kept beyond this process"
    if capability.survives_power_loss:
        return "what is acknowledged survives a loss of power"
    window_s = capability.loss_window_s
    return "a crash of the store may lose " + ("everything" if window_s is None else f"the last {window_s:g} s")


def banner(realm: Realm, capability: Capability, store_url: str, host: str, *, admin: str = "") -> str:
    """What stands at the top of the console.

    Args:
        realm: Listening.
        capability: Of its store.
        store_url: Without secrets.
        host: Where it listens.
        admin: The address of the admin server; empty if there is none.
    """
    keeper, accounts = realm.game.keeper, realm.game.accounts
    lines = [
        f"realm       {keeper.name}, {len(realm.game.world.zones)} zones, {len(realm.game.seats.by_id)} players in grace",
        f"store       {store_url} ({capability.engine}, fsync {capability.fsync})",
        f"promise     {promise(capability)}",
        f"tcp         {host}:{realm.tcp.port}",
        f"udp         {host}:{realm.udp.port}",
        f"public key  {accounts.public_key}",
    ]
    if admin:
        lines.append(f"admin       {admin}")
    lines += [f"warning     {warning}" for warning in capability.warnings]
    return "\n".join(lines) + "\n"


@dataclass
class StatusLine:
    """One line on a terminal, written again every second below the logs."""

    realm: Realm
    clock: Clock
    stream: IO[str]
    _commits: int = 0
    _at_s: float = 0.0

    async def run(self) -> None:
        """Write it until cancelled."""
        self._at_s = self.clock.monotonic_s()
        while True:
            await self.clock.sleep(STATUS_INTERVAL_S)
            self.stream.write(ERASE_LINE + self.text())
            self.stream.flush()

    def text(self) -> str:
        """Players, what is dirty, commits a second, how late the tick was."""
        keeper, now_s = self.realm.game.keeper, self.clock.monotonic_s()
        commits = keeper.counters.commits
        rate = (commits - self._commits) / max(now_s - self._at_s, 1e-3)
        self._commits, self._at_s = commits, now_s
        sessions = keeper.sessions(Player)
        dirty = [session for session in sessions if session.dirty]
        parts = [
            f"players {len(sessions)}",
            f"dirty {len(dirty)}",
            f"oldest {_oldest_s(keeper, dirty):.0f} s",
            f"commits/s {rate:.0f}",
            f"tick p99 {self.realm.ticker.lateness_ms(0.99):.1f} ms late",
        ]
        if keeper.degraded:
            parts.append("DEGRADED: " + "; ".join(keeper.degraded))
        return "  ".join(parts)


def configure_logs(log_format: LogFormat, stream: IO[str], *, erase: bool) -> None:
    """Send the logs of the realm and of the library to `stream`.

    Args:
        log_format: Lines for people, or JSON.
        stream: Usually standard error.
        erase: There is a status line on it: begin each entry by erasing that.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: Any = structlog.processors.JSONRenderer()
    if log_format == "console":
        last = structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([structlog.processors.format_exc_info] if log_format == "json" else []),
            last,
        ],
    )
