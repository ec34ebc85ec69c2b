"""The server process: settings, signals, `server.json`, and the order of start and shutdown."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
import structlog

from realmkeep import CloseReport, Config, Keeper
from realmkeep.accounts import Accounts, open_accounts
from realmkeep.clock import SystemClock
from realmkeep.config import NetworkConfig, mask_url
from realmkeep.errors import ConfigError, FileRefused, StorageError
from realmkeep.files import make_directory
from realmkeep.keeping import announce_address
from realmkeep.realm.server.archive import kept_archive, opened_cold_store, ship_last_cut
from realmkeep.realm.server.backups import scheduled_backups
from realmkeep.realm.server.bounded_selector import loop_factory
from realmkeep.realm.server.descriptors import connections_max
from realmkeep.realm.server.hooks import GameHooks
from realmkeep.realm.server.journal import archived_journal
from realmkeep.realm.server.operated_players import obey_operators
from realmkeep.realm.server.operator_port import OperatorAddresses, open_operator_ports
from realmkeep.realm.server.realm import ListenAddress, Realm, open_realm
from realmkeep.realm.server.reports import LogFormat, StatusLine, banner, configure_logs, introduction
from realmkeep.realm.server.server_file import ServerFile, keep_server_file, remove_server_file
from realmkeep.realm.server.stop_signals import StopSignals, ignore_stop_signals
from realmkeep.realm.server.terminal import LiveLine, flush_or_discard
from realmkeep.realm.wire.bound_sockets import EVERYWHERE
from realmkeep.realm.wire.server_address import ServerAddress
from realmkeep.realm.wire.tls import Certificate
from realmkeep.realm.world.content import World
from realmkeep.realm.world.world_file import shipped_world
from realmkeep.storage import Capability, ColdStore, Storage, open_storage

RESCUE_FILE: Final = "rescue.jsonl"

log = structlog.get_logger("realm.serve")


@dataclass(frozen=True)
class ServeOptions:
    """The options of `realmkeep serve`.

    Attributes:
        config: All settings, completed by `in_directory`.
        directory: The directory of `server.json` and of all files without a configured place.
        log_format: None: console on a terminal, JSON otherwise.
        certificate: The certificate of TLS over TCP; `serve` reads it if the settings name one.
    """

    config: Config
    directory: Path
    address: ListenAddress
    log_format: LogFormat | None = None
    certificate: Certificate | None = None


def in_directory(config: Config, directory: Path) -> Config:
    """The settings, with the store, the key file, the backups and the journal in `directory` unless they have a configured place."""
    placed = config
    if "store.url" not in config.sources:
        url = f"embedded:///{quote(os.fsencode(directory / 'store'))}"
        placed = msgspec.structs.replace(placed, store=msgspec.structs.replace(config.store, url=url))
    if "auth.key_file" not in config.sources:
        key_file = str(directory / "server-keys.json")
        placed = msgspec.structs.replace(placed, auth=msgspec.structs.replace(config.auth, key_file=key_file))
    if "backup.directory" not in config.sources:
        backups = str(directory / "backups")
        placed = msgspec.structs.replace(placed, backup=msgspec.structs.replace(config.backup, directory=backups))
    if "journal.url" not in config.sources:
        archive = f"file:///{quote(os.fsencode(directory / 'journal'))}"
        placed = msgspec.structs.replace(placed, journal=msgspec.structs.replace(config.journal, url=archive))
    return placed


def serve(options: ServeOptions) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP; a second one ends the process at once.

    Returns:
        The exit code: 0 if everything was saved, 1 if not.

    Raises:
        ConfigError: The world's data file has errors, the directory or the TLS certificate cannot be used, or the server
            cannot listen on an address.
        NameTaken: Another live server has this name on this store.
        StorageError: The store cannot be opened.
        BadSealingKey: The key file cannot be used.
        FileRefused: Another user could change files in the directory.
        OSError: A file cannot be written, for example because the disk is full.
    """
    on_terminal = sys.stderr.isatty()
    log_format = options.log_format or ("console" if on_terminal else "json")
    capable = on_terminal and os.environ.get("TERM", "dumb") != "dumb"  # it can erase a line and show colours
    line = LiveLine(sys.stderr) if capable and log_format == "console" else None
    configure_logs(
        log_format, sys.stderr, line, options.config.operations, colours=capable and not os.environ.get("NO_COLOR")
    )
    os.umask(0o077)  # files of this process hold players' property: for this user alone
    try:
        make_directory(options.directory)
    except FileRefused:
        raise
    except OSError as error:
        raise ConfigError(
            f"the directory {options.directory} cannot be used: {error.strerror}",
            hint="choose another directory with --data, or let this user write there",
        ) from error
    options = replace(options, address=replace(options.address, connections_max=connections_max()))
    config = options.config
    options = replace(options, certificate=read_certificate(config.network))
    clock = SystemClock()
    storage = open_storage(config.store.url, clock=clock)
    accounts = open_accounts(storage, config.auth, server_name=config.keeper.name, clock=clock, records=config.records)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            report = runner.run(_serve(options, storage, accounts, shipped_world(), log_format, line))
        if not report.clean:
            rescue_file = str(report.rescue_path) if report.rescue_path is not None else "the rescue lines in this log"
            left = [each.record for each in report.left]
            log.critical("not everything was saved", rescued=report.rescued, rescue_file=rescue_file, left_before=left)
    finally:
        ignore_stop_signals()
        flush_or_discard(sys.stderr)
    return 0 if report.clean else 1


def read_certificate(network: NetworkConfig) -> Certificate | None:
    """The certificate of TLS over TCP in the settings; None if they name none.

    Raises:
        ConfigError: The certificate cannot be used.
    """
    if not network.tls_cert:
        return None
    certificate = Certificate(
        Path(network.tls_cert), Path(network.tls_key or network.tls_cert), network.tls_key_password
    )
    if (since := certificate.expired_since(SystemClock())) is not None:
        log.warning("the TLS certificate has expired; no client will trust it", path=network.tls_cert, since=str(since))
    return certificate


async def _serve(
    options: ServeOptions,
    storage: Storage,
    accounts: Accounts,
    world: World,
    log_format: LogFormat,
    line: LiveLine | None,
) -> CloseReport:
    """Serve until a stop signal; returns the keeper's close report. A failure after the close is logged and not raised."""
    stop = StopSignals(SystemClock())
    stop.listen()
    report: CloseReport | None = None
    try:
        async with AsyncExitStack() as stack:
            cold = await opened_cold_store(stack, options.config, SystemClock())
            keeper, realm = await _open(stack, options, storage, accounts, world, cold)
            obey_operators(realm.game, options.config)
            keeper.gc.warmed_up()
            operators = await open_operator_ports(stack, options.config, realm)
            told = introduction(realm, storage.capability, mask_url(options.config.store.url), operators)
            if log_format == "console":
                sys.stderr.write(f"\n{banner(told)}\n")
            else:
                log.info("ready", **told)
            await _announce_address(keeper, options, realm)
            async with _status_line(realm, line), _beside(realm, options.config, cold):
                await keep_server_file(
                    options.directory,
                    lambda: _server_file(options, realm, storage.capability, operators),
                    SystemClock(),
                    stop.first,
                )
                await stop.asked()
            late_ms = round(realm.ticker.lateness_ms(0.99), 2)
            log.info("shutting down", players=len(realm.game.connections.by_id), tick_late_ms_p99=late_ms)
            try:
                await realm.stop()
            except Exception as error:
                log.error("the shutdown could not be announced to every player", exc_info=error)
            report = await keeper.drain()
            await ship_last_cut(realm.game)
            realm.hang_up()
        await asyncio.to_thread(remove_server_file, options.directory)
    except Exception as error:
        if report is None:
            raise
        log.error("closed, but the cleanup failed", error=str(error), exc_info=not isinstance(error, OSError))
    log.info("closed", released=report.released)
    return report


async def _announce_address(keeper: Keeper, options: ServeOptions, realm: Realm) -> None:
    """Tell gateways where this server listens, unless the settings do, or it listens on every address of the machine."""
    host, sockets = options.address.host, realm.sockets
    assert sockets is not None  # it listens
    if options.config.keeper.address or host in EVERYWHERE:
        return
    try:
        await announce_address(keeper, str(ServerAddress(host, sockets.tcp_port, sockets.udp_port)))
    except (StorageError, TimeoutError) as error:
        log.warning("gateways do not know the address of this server yet", error=str(error))


@asynccontextmanager
async def _beside(realm: Realm, config: Config, cold: ColdStore | None) -> AsyncGenerator[None]:
    """The work beside the game, for the block: backups, the archive of the journal, and the cold tier."""
    async with (
        kept_archive(realm.game, cold, config),
        archived_journal(realm.game, config),
        scheduled_backups(realm.game, config),
    ):
        yield


async def _open(
    stack: AsyncExitStack,
    options: ServeOptions,
    storage: Storage,
    accounts: Accounts,
    world: World,
    cold: ColdStore | None,
) -> tuple[Keeper, Realm]:
    config, directory = options.config, options.directory
    stack.push_async_callback(storage.disconnect)
    hooks = GameHooks()
    keeper = await Keeper.open(
        storage,
        hooks=hooks.hooks,
        config=config.keeper,
        records=config.records,
        clock=SystemClock(),
        rescue_path=directory / RESCUE_FILE,
        journal=config.journal if config.journal.enabled else None,
        cold=cold,
    )
    stack.push_async_callback(keeper.close)
    await asyncio.to_thread(remove_server_file, directory)  # left by a killed run; waiting programs need the new one
    await stack.enter_async_context(accounts.running())
    realm = await stack.enter_async_context(
        open_realm(
            keeper,
            hooks,
            accounts,
            world,
            options.address,
            clock=SystemClock(),
            require_encryption=config.auth.require_encryption,
            network=config.network,
            certificate=options.certificate,
        )
    )
    return keeper, realm


@asynccontextmanager
async def _status_line(realm: Realm, line: LiveLine | None) -> AsyncGenerator[None]:
    if line is None:
        yield
        return
    writing = realm.game.background.run_forever("status line", StatusLine(realm, line).run)
    try:
        yield
    finally:
        writing.cancel()
        await asyncio.wait([writing])


def _server_file(
    options: ServeOptions, realm: Realm, capability: Capability, operators: OperatorAddresses
) -> ServerFile:
    url, sockets = options.config.store.url, realm.sockets
    assert sockets is not None  # it listens
    return ServerFile(
        pid=os.getpid(),
        host=options.address.host if options.address.host not in EVERYWHERE else sockets.hosts[0],
        tcp=sockets.tcp_port,
        udp=sockets.udp_port,
        tls_cert=str(options.certificate.path.absolute()) if options.certificate is not None else None,
        auth_public_key=realm.game.accounts.public_key,
        store_url=mask_url(url),
        store_pid=capability.process_id if capability.backend == "embedded" else None,
        operations=operators.metrics,
        console=operators.console,
    )
