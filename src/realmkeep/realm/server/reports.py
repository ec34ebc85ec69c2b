"""The operator's view: the banner, the logs, and the status line of a terminal."""

import logging
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Literal
from urllib.parse import unquote, urlsplit

import structlog

from realmkeep.config import OperationsConfig
from realmkeep.realm.server.operator_port import OperatorAddresses
from realmkeep.realm.server.realm import Realm
from realmkeep.realm.server.terminal import LiveLine, LiveLineHandler
from realmkeep.storage import Capability

log = structlog.get_logger("realm.serve")

STATUS_INTERVAL_S: Final = 1.0
_SHARED: Final[list[Any]] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
LogFormat = Literal["console", "json"]
LEVELS_OF_LIBRARIES: Final = {"uvicorn": "warning"}  # it would announce the port a second time


def located(store_url: str) -> str:
    """A store's URL with the directory of local files, because a missing slash means another, empty realm."""
    parts = urlsplit(store_url)
    if parts.scheme not in {"embedded", "sqlite"}:
        return store_url
    return f"{store_url} in {Path(unquote(parts.path)[1:]).absolute()}"


def introduction(realm: Realm, capability: Capability, store_url: str, operators: OperatorAddresses) -> dict[str, str]:
    """The facts about a started server for its operator.

    Args:
        realm: A listening realm.
        capability: The capability of its store.
        store_url: The store's URL without secrets.
        operators: The addresses for operators.
    """
    sockets = realm.sockets
    assert sockets is not None  # it listens
    keeper, accounts = realm.game.keeper, realm.game.accounts
    told = {
        "realm": f"{keeper.name}, {len(realm.game.world.zones)} zones, {len(realm.game.connections.by_id)} players in grace",
        "store": f"{located(store_url)} ({capability.engine}, fsync {capability.fsync})",
        "promise": capability.promise,
        "tcp": _listening(sockets.hosts, sockets.tcp_port),
        "udp": _listening(sockets.hosts, sockets.udp_port),
        "public_key": accounts.public_key,
    }
    if operators.metrics is not None:
        told["metrics"] = f"http://{operators.metrics}/metrics, /healthz, /readyz and /status"
    if operators.console is not None:
        told["console"] = operators.console
    if operators.first_link is not None:
        told["first_login"] = f"{operators.first_link} (works once, for an hour)"
    if capability.warnings:
        told["warning"] = "; ".join(capability.warnings)
    return told


def _listening(hosts: list[str], port: int) -> str:
    return ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts)


def banner(told: Mapping[str, str]) -> str:
    """The introduction as text, for the top of the console."""
    return "".join(f"{name.replace('_', ' '):<12}{value}\n" for name, value in told.items())


class StatusLine:
    """Shows the state of the realm in one line, once a second.

    Args:
        realm: The realm.
        line: The live line of the terminal.
    """

    def __init__(self, realm: Realm, line: LiveLine) -> None:
        self._realm = realm
        self._clock = realm.game.clock
        self._line = line
        self._commits = realm.game.keeper.status().commits
        self._at_s = self._clock.monotonic_s()

    async def run(self) -> None:
        """Update the line until cancelled, or until the terminal is gone."""
        try:
            while True:
                await self._clock.sleep(STATUS_INTERVAL_S)
                self._line.show(self.text())
        except OSError as error:
            log.warning("the status line ends with its terminal", error=str(error))
        finally:
            with suppress(OSError):
                self._line.show("")

    def text(self) -> str:
        """The reasons of a degraded realm, then players, dirty records, commits a second, tick lateness."""
        keeper, now_s = self._realm.game.keeper, self._clock.monotonic_s()
        status = keeper.status()
        commits = status.commits
        rate = (commits - self._commits) / max(now_s - self._at_s, 1e-3)
        self._commits, self._at_s = commits, now_s
        degraded = printable(" ".join("; ".join(self._realm.game.degraded).split()))
        parts = [
            *([f"DEGRADED: {degraded}"] if degraded else []),
            f"players {len(self._realm.game.connections.by_id)}",
            f"dirty {status.dirty_records}",
            f"oldest {status.oldest_dirty_s:.0f} s",
            f"commits/s {rate:.0f}",
            f"tick p99 {self._realm.ticker.lateness_ms(0.99):.1f} ms late",
        ]
        return "  ".join(parts)


def printable(text: str) -> str:
    """A text that is safe on a terminal: control characters and marks of writing direction are escaped."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def _printable_entry(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters that strangers put into names, so that they do not control the operator's terminal."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in entry.items()}


def formatter(log_format: LogFormat, *, colours: bool) -> logging.Formatter:
    """The formatter of log entries, for people or as JSON."""
    if log_format == "json":
        shown: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        console = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
        shown = [_printable_entry, console]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown]
    )


def configure_logs(
    log_format: LogFormat,
    stream: IO[str],
    line: LiveLine | None,
    operations: OperationsConfig,
    *,
    colours: bool,
) -> None:
    """Send the logs of the realm and of the library to `stream`.

    Args:
        log_format: Lines for people, or JSON.
        stream: The output, usually standard error.
        line: The live line on the same stream; None if there is none.
        operations: The levels of the entries.
        colours: Whether to colour lines for people.
    """
    handler = logging.StreamHandler(stream) if line is None else LiveLineHandler(line)
    handler.setFormatter(formatter(log_format, colours=colours))
    logging.basicConfig(handlers=[handler], level=operations.log_level.upper(), force=True)
    for name, level in (LEVELS_OF_LIBRARIES | operations.levels_by_name()).items():
        logging.getLogger(name).setLevel(level.upper())
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
