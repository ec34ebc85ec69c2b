"""The ports of a running realm for operators: metrics, health and status; and the console."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from realmkeep import Config
from realmkeep.errors import ConfigError
from realmkeep.operations.backup.holdings import load_holdings
from realmkeep.operations.backup.schedule import is_scheduled
from realmkeep.operations.operators.players import load_players
from realmkeep.realm.server.operated_players import live_game
from realmkeep.realm.server.realm import Realm

if TYPE_CHECKING:
    from realmkeep.operations.metrics import ObservedServer

LISTEN: Final = "operations.listen"
CONSOLE_LISTEN: Final = "console.listen"

log = structlog.get_logger("realm.serve")


@dataclass(frozen=True)
class OperatorAddresses:
    """The addresses for operators.

    Attributes:
        metrics: `host:port` of metrics and health; None without them.
        console: The URL of the console; None without it.
        first_link: The URL that makes the first operator, once; None if the realm has one, or no console.
    """

    metrics: str | None = None
    console: str | None = None
    first_link: str | None = None


async def open_operator_ports(stack: AsyncExitStack, config: Config, realm: Realm) -> OperatorAddresses:
    """Serve metrics and console until the stack ends.

    A port of metrics that no setting names is left out, with a line in the log, if it is taken or its packages are not installed.

    Raises:
        ConfigError: An address of the settings cannot be used, or packages are not installed.
        StorageError: The store cannot be reached.
    """
    metrics, observed = await _open_metrics(stack, config, realm)
    if not config.console.listen:
        return OperatorAddresses(metrics)
    await asyncio.to_thread(_import_packages, "realmkeep.operations.console", "console", CONSOLE_LISTEN)
    await asyncio.to_thread(_import_packages, "realmkeep.realm.server.live_map", "console", CONSOLE_LISTEN)
    from realmkeep.operations.console import console, console_port  # noqa: PLC0415 - an extra
    from realmkeep.realm.server.live_map import LiveMap  # noqa: PLC0415 - as above

    game = realm.game
    live_map = LiveMap(game, lambda: not realm.login_flow.accepts_logins)
    opening = console_port(
        config.console,
        lambda hosts: console(
            game.keeper,
            game.accounts,
            load_players(config.operators.players),
            config=config,
            observed=observed or _observed(config, realm),
            live=live_game(game),
            records=load_holdings(config.backup.holdings).records,
            pages=live_map.pages(),
            hosts=hosts,
        ),
    )
    url, opened = await stack.enter_async_context(opening)
    first = await opened.first_link()
    return OperatorAddresses(metrics, url, None if first is None else f"{url}{first}")


async def _open_metrics(
    stack: AsyncExitStack, config: Config, realm: Realm
) -> "tuple[str | None, ObservedServer | None]":
    """The address and the server behind it; None without metrics."""
    if not config.operations.listen:
        return None, None
    try:
        await asyncio.to_thread(_import_packages, "realmkeep.operations.metrics", "metrics", LISTEN)
        from realmkeep.operations.metrics import operations_port  # noqa: PLC0415 - an extra

        observed = _observed(config, realm)
        return await stack.enter_async_context(operations_port(observed, config.operations.listen)), observed
    except ConfigError as error:
        if LISTEN in config.sources:
            raise
        log.warning("there are no metrics", error=str(error))
        return None, None


def _observed(config: Config, realm: Realm) -> "ObservedServer":
    from realmkeep.operations.metrics import ObservedServer  # noqa: PLC0415 - an extra

    return ObservedServer(
        realm.game.keeper,
        config=config.operations,
        logins=realm.game.accounts.logins,
        tick_lateness_s=realm.ticker.lateness_s,
        backups=_backups(config),
        degraded=lambda: realm.game.degraded_beside_keeper,
        not_ready=lambda: () if realm.login_flow.accepts_logins else ("the realm is stopping",),
    )


def _backups(config: Config) -> Path | None:
    """The directory of the backups that this server, or a timer beside it, makes; None if no backups are expected."""
    expected = is_scheduled(config) or "backup.directory" in config.sources
    return Path(config.backup.directory) if expected else None


def _import_packages(module: str, extra: str, setting: str) -> None:
    """Import the packages of a port, which takes a quarter of a second. Blocks.

    Raises:
        ConfigError: One of them is not installed.
    """
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{extra} {'needs' if extra == 'console' else 'need'} the package {error.name}, which is not installed",
            hint=f"pip install 'realmkeep[{extra}]', or set {setting} to nothing",
        ) from error
