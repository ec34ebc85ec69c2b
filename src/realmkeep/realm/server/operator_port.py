"""The operator's port of a running realm: metrics, health and status."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import structlog

from realmkeep import Config
from realmkeep.errors import ConfigError
from realmkeep.operations.backup.schedule import is_scheduled
from realmkeep.realm.server.realm import Realm

LISTEN: Final = "operations.listen"

log = structlog.get_logger("realm.serve")


async def open_operator_port(stack: AsyncExitStack, config: Config, realm: Realm) -> str | None:
    """Serve the port until the stack ends; returns its address, None if there is none.

    A port that no setting names is left out, with a line in the log, if it is taken or its packages are not installed.

    Raises:
        ConfigError: The address of the settings cannot be used, or the packages are not installed.
    """
    if not config.operations.listen:
        return None
    try:
        await asyncio.to_thread(_import_packages)
        from realmkeep.operations.metrics import ObservedServer, operations_port  # noqa: PLC0415 - an extra

        server = ObservedServer(
            realm.game.keeper,
            config=config.operations,
            logins=realm.game.accounts.logins,
            tick_lateness_s=realm.ticker.lateness_s,
            backups=_backups(config),
            degraded=lambda: realm.game.degraded_beside_keeper,
            not_ready=lambda: () if realm.login_flow.accepts_logins else ("the realm is stopping",),
        )
        return await stack.enter_async_context(operations_port(server, config.operations.listen))
    except ConfigError as error:
        if LISTEN in config.sources:
            raise
        log.warning("there are no metrics", error=str(error))
        return None


def _backups(config: Config) -> Path | None:
    """The directory of the backups that this server, or a timer beside it, makes; None if no backups are expected."""
    expected = is_scheduled(config) or "backup.directory" in config.sources
    return Path(config.backup.directory) if expected else None


def _import_packages() -> None:
    """Import the packages of the port, which takes a quarter of a second. Blocks.

    Raises:
        ConfigError: One of them is not installed.
    """
    try:
        import realmkeep.operations.metrics  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport] - an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"metrics need the package {error.name}, which is not installed",
            hint="pip install 'realmkeep[metrics]', or set operations.listen to nothing",
        ) from error
