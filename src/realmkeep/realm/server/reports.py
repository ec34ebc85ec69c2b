"""What an operator sees: the banner, the logs, and one live line on a terminal."""

import logging
from typing import IO, Any, Final, Literal

import structlog

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


def banner(realm: Realm, capability: Capability, store_url: str, host: str) -> str:
    """What stands at the top of the console.

    Args:
        realm: Listening.
        capability: Of its store.
        store_url: Without secrets.
        host: Where it listens.
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
    lines += [f"warning     {warning}" for warning in capability.warnings]
    return "\n".join(lines) + "\n"


class StatusLine:
    """One line on a terminal, written again every second below the logs.

    Args:
        realm: What it tells of.
        stream: A terminal.
    """

    def __init__(self, realm: Realm, stream: IO[str]) -> None:
        self._realm = realm
        self._clock = realm.game.clock
        self._stream = stream
        self._commits = 0
        self._at_s = self._clock.monotonic_s()
        self._dirty_since_s: dict[str, float] = {}

    async def run(self) -> None:
        """Write it until cancelled."""
        while True:
            await self._clock.sleep(STATUS_INTERVAL_S)
            self._stream.write(ERASE_LINE + self.text())
            self._stream.flush()

    def text(self) -> str:
        """Players, what is dirty, commits a second, how late the tick was."""
        keeper, now_s = self._realm.game.keeper, self._clock.monotonic_s()
        commits = keeper.counters.commits
        rate = (commits - self._commits) / max(now_s - self._at_s, 1e-3)
        self._commits, self._at_s = commits, now_s
        sessions = keeper.sessions(Player)
        since_s = self._dirty_since_s
        self._dirty_since_s = {session.id: since_s.get(session.id, now_s) for session in sessions if session.dirty}
        oldest_s = now_s - min(self._dirty_since_s.values(), default=now_s)
        parts = [
            f"players {len(sessions)}",
            f"dirty {len(self._dirty_since_s)}",
            f"oldest {oldest_s:.0f} s",
            f"commits/s {rate:.0f}",
            f"tick p99 {self._realm.ticker.lateness_ms(0.99):.1f} ms late",
        ]
        if keeper.degraded:
            parts.append("DEGRADED: " + "; ".join(keeper.degraded))
        return "  ".join(parts)


def configure_logs(log_format: LogFormat, stream: IO[str], *, above_status_line: bool) -> None:
    """Send the logs of the realm and of the library to `stream`.

    Args:
        log_format: Lines for people, or JSON.
        stream: Usually standard error.
        above_status_line: Each entry first erases the status line below it.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = log_format == "console"
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([] if console else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
            if console
            else structlog.processors.JSONRenderer(),
        ],
    )
    handler = _AboveStatusLine(stream) if above_status_line else logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class _AboveStatusLine(logging.StreamHandler[IO[str]]):
    def format(self, record: logging.LogRecord) -> str:
        return ERASE_LINE + super().format(record)
