"""The process of a gateway: store, socket, `server.json`, signals."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from realmkeep import Config
from realmkeep.background import Background
from realmkeep.clock import Clock, SystemClock
from realmkeep.config import mask_url
from realmkeep.errors import ConfigError
from realmkeep.files import make_directory
from realmkeep.quotas import Limit, PlaceQuota
from realmkeep.realm.gateway.gateway import Gateway
from realmkeep.realm.gateway.routes import Routes
from realmkeep.realm.server.bounded_selector import loop_factory
from realmkeep.realm.server.descriptors import connections_max
from realmkeep.realm.server.realm import cannot_listen, follow_certificate
from realmkeep.realm.server.reports import LogFormat, configure_logs
from realmkeep.realm.server.serve import read_certificate
from realmkeep.realm.server.server_file import ServerFile, keep_server_file, remove_server_file
from realmkeep.realm.server.stop_signals import StopSignals, ignore_stop_signals
from realmkeep.realm.server.terminal import flush_or_discard
from realmkeep.realm.wire.bound_sockets import EVERYWHERE, BoundSockets, CannotListen, bind_sockets
from realmkeep.realm.wire.tcp import TcpServer
from realmkeep.realm.wire.tls import Certificate, HandshakeQueue
from realmkeep.storage import Storage, open_storage

LINGER_S: Final = 0.1  # for the last answers to leave

log = structlog.get_logger("realm.gateway")


@dataclass(frozen=True)
class GatewayOptions:
    """The options of `realmkeep gateway`.

    Attributes:
        config: All settings.
        directory: The directory of `server.json`.
        names: The names of the realm's servers.
        host: Where it listens.
        tcp_port: 0 picks a free port.
        log_format: None: console on a terminal, JSON otherwise.
    """

    config: Config
    directory: Path
    names: Sequence[str]
    host: str
    tcp_port: int
    log_format: LogFormat | None = None


def serve_gateway(options: GatewayOptions) -> None:
    """Send clients to their servers until SIGTERM, SIGINT or SIGHUP.

    Raises:
        ConfigError: The store belongs to one process alone, the directory or the certificate cannot be used, or the gateway
            cannot listen on its address.
        StorageError: The store cannot be opened.
        OSError: A file cannot be written.
    """
    on_terminal = sys.stderr.isatty()
    log_format = options.log_format or ("console" if on_terminal else "json")
    configure_logs(
        log_format, sys.stderr, None, options.config.operations, colours=on_terminal and not os.environ.get("NO_COLOR")
    )
    os.umask(0o077)
    make_directory(options.directory)
    certificate = read_certificate(options.config.network)
    clock = SystemClock()
    storage = open_storage(options.config.store.url, clock=clock)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_serve(options, storage, certificate, clock))
    finally:
        ignore_stop_signals()
        flush_or_discard(sys.stderr)


async def _serve(options: GatewayOptions, storage: Storage, certificate: Certificate | None, clock: Clock) -> None:
    stop = StopSignals(clock)
    stop.listen()
    background = Background("the gateway", clock)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(storage.disconnect)
        await storage.connect()
        if not storage.capability.shared:
            raise ConfigError(
                f"the store {mask_url(options.config.store.url)} belongs to one process alone",
                hint="give the gateway the store.url of its servers: redis://, redis-cluster:// or the like",
            )
        stack.push_async_callback(background.stop)
        gateway = Gateway(Routes(storage, options.names, clock), background, clock)
        tcp, sockets = await _listen(options, gateway, certificate, background, clock)
        stack.callback(tcp.close)
        if certificate is not None:
            background.run_forever("TLS certificate", lambda: follow_certificate(certificate, clock))
        told = _server_file(options, sockets, certificate)
        log.info("ready", tcp=f"{told.host}:{told.tcp}", servers=[*options.names], store=told.store_url)
        await keep_server_file(options.directory, lambda: told, clock, stop.first)
        await stop.asked()
        tcp.stop_accepting()
        await clock.sleep(LINGER_S)
    await asyncio.to_thread(remove_server_file, options.directory)
    log.info("closed")


async def _listen(
    options: GatewayOptions, gateway: Gateway, certificate: Certificate | None, background: Background, clock: Clock
) -> tuple[TcpServer, BoundSockets]:
    network = options.config.network
    handshakes = None
    if certificate is not None:
        handshakes = HandshakeQueue(lambda: certificate.context, background, clock)
    tcp = TcpServer(
        gateway,
        clock,
        connections_max=connections_max(),
        shares=PlaceQuota(
            Limit(network.connections_per_address, network.connections_per_network), loopback=network.limit_loopback
        ),
        handshakes=handshakes,
    )
    try:
        sockets = await bind_sockets(options.host, options.tcp_port, 0)
    except CannotListen as refused:
        raise cannot_listen(refused) from refused
    for each in sockets.udp:  # a client over UDP asks over TCP for the address of its server
        each.close()
    await tcp.listen(sockets.tcp)
    return tcp, sockets


def _server_file(options: GatewayOptions, sockets: BoundSockets, certificate: Certificate | None) -> ServerFile:
    return ServerFile(
        pid=os.getpid(),
        host=options.host if options.host not in EVERYWHERE else sockets.hosts[0],
        tcp=sockets.tcp_port,
        udp=0,
        auth_public_key="",
        store_url=mask_url(options.config.store.url),
        store_pid=None,
        tls_cert=str(certificate.path.absolute()) if certificate is not None else None,
        gateway=True,
    )
