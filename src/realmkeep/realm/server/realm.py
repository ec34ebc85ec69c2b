"""The realm: opening, listening, and closing."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import structlog

from realmkeep import Keeper, Session
from realmkeep.accounts import Accounts
from realmkeep.clock import Clock
from realmkeep.config import NetworkConfig
from realmkeep.errors import ConfigError
from realmkeep.quotas import Limit, PlaceQuota
from realmkeep.realm.actions.scene import Serials
from realmkeep.realm.server.credential_reader import CredentialReader
from realmkeep.realm.server.dispatcher import Dispatcher
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.hooks import GameHooks
from realmkeep.realm.server.login_flow import LoginFlow
from realmkeep.realm.server.logout_flow import LogoutFlow
from realmkeep.realm.server.network_limits import NetworkLimits
from realmkeep.realm.server.player_connections import PlayerConnection
from realmkeep.realm.server.simulation import Simulation
from realmkeep.realm.server.ticker import Ticker
from realmkeep.realm.wire.bound_sockets import BoundSockets, CannotListen, bind_sockets
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.peer import Peer
from realmkeep.realm.wire.tcp import CONNECTIONS_MAX, TcpServer
from realmkeep.realm.wire.tls import Certificate, HandshakeQueue
from realmkeep.realm.wire.udp import UdpServer
from realmkeep.realm.wire.udp_socket import UdpSocket
from realmkeep.realm.world.content import World
from realmkeep.realm.world.places import Places
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.zone import Zone

FIRST_SERVER: Final = "realm-1"  # the default name; a server of another name has zones of its own beside it
CERTIFICATE_READ_S: Final = 10.0  # a renewed certificate is used after this time at most
SHUTDOWN_NOTICE_S: Final = 0.5  # time for the notice to arrive before the answers stop

log = structlog.get_logger("realm")


@dataclass(frozen=True)
class ListenAddress:
    """The host and ports to listen on; port 0 picks a free one.

    Attributes:
        connections_max: Most TCP connections at once, with or without a session.
    """

    host: str = "127.0.0.1"
    tcp_port: int = 0
    udp_port: int = 0
    connections_max: int = CONNECTIONS_MAX


class Realm:
    """A running realm. Make it with `open_realm`.

    Attributes:
        game: The shared state.
        login_flow: Logs players in.
        dispatcher: Handles the requests of clients.
        simulation: Moves monsters, respawns items and players.
        tcp: Listens for TCP clients.
        udp: Listens for datagrams.
        ticker: Runs the simulation.
        sockets: The bound sockets; None before `listen`.
    """

    def __init__(
        self,
        game: Game,
        *,
        require_encryption: bool,
        connections_max: int = CONNECTIONS_MAX,
        network: NetworkConfig | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        network = network or NetworkConfig()
        challenges = Challenges(game.clock)
        self.game = game
        handshakes = None
        if certificate is not None:
            handshakes = HandshakeQueue(lambda: certificate.context, game.background, game.clock)
        reader = CredentialReader(game, challenges, require_encryption=require_encryption)
        self.login_flow = LoginFlow(game, reader, NetworkLimits(network, game.clock))
        self.dispatcher = Dispatcher(game, challenges, self.login_flow, LogoutFlow(game, reader), name=game.keeper.name)
        self.simulation = Simulation(game)
        self.tcp = TcpServer(
            self.dispatcher,
            game.clock,
            connections_max=connections_max,
            shares=PlaceQuota(
                Limit(network.connections_per_address, network.connections_per_network), loopback=network.limit_loopback
            ),
            silence_s=network.tcp_silence_s,
            handshakes=handshakes,
        )
        self.udp = UdpServer(self.dispatcher, challenges, game.clock)
        self.ticker = Ticker(self.simulation.run_tick, game.clock)
        self.sockets: BoundSockets | None = None

    async def listen(self, address: ListenAddress) -> None:
        """Bind the sockets and begin to serve clients.

        Raises:
            ConfigError: The server cannot listen on an address.
        """
        try:
            self.sockets = await bind_sockets(address.host, address.tcp_port, address.udp_port)
            await self.tcp.listen(self.sockets.tcp)
        except CannotListen as refused:
            raise cannot_listen(refused) from refused
        except OSError as error:  # two servers can bind the same TCP port, but only one can listen
            assert self.sockets is not None
            self.sockets.close()
            raise cannot_listen(CannotListen("tcp", f"{address.host}:{self.sockets.tcp_port}", error)) from error
        self.udp.listen([UdpSocket(bound, number) for number, bound in enumerate(self.sockets.udp)])

    @property
    def peers(self) -> list[Peer]:
        """All TCP connections and UDP sessions."""
        return [*self.tcp.peers, *self.udp.sessions.values()]

    async def stop(self) -> None:
        """Refuse further logins and announce the shutdown; afterwards close the keeper, then call `hang_up`."""
        self.login_flow.accepts_logins = False
        self.tcp.stop_accepting()
        self.udp.accepting = False
        for peer in self.peers:
            peer.send({"type": "shutdown", "reason": "stopping", "in_s": SHUTDOWN_NOTICE_S})
        await self.game.clock.sleep(SHUTDOWN_NOTICE_S)

    def hang_up(self) -> None:
        """Send `goodbye` and close every connection; call it once the final state of all players is durable."""
        for peer in self.peers:
            peer.send({"type": "goodbye"})
        self.tcp.close()
        self.udp.close()


async def open_game(
    keeper: Keeper, hooks: GameHooks, accounts: Accounts, world: World, *, clock: Clock, random: Random | None = None
) -> Game:
    """Hold the zones and recover the players of an earlier run of this server; these players are in grace.

    Args:
        keeper: Open with these hooks, without players.
        hooks: The game's functions; from here on they act on this game.
        accounts: Running, on the same store.
        world: The content.
        clock: The keeper's clock.
        random: The source of chance; a seeded one makes a game repeatable.

    Raises:
        AlreadyOwned: Another server has this server's zones.
        KeepingError: The zones cannot be loaded.
        StorageError: The store cannot be reached.
    """
    zones = {name: await _hold_zone(keeper, name) for name in world.zones}
    places = Places(world, {name: session.record for name, session in zones.items()}, clock.wall_us())
    game = Game(keeper, accounts, world, places, zones, clock, random or Random(), Serials())  # noqa: S311 - dice, not secrets
    hooks.game = game
    await game.refill_serials()
    for session in await keeper.recover(Player):
        game.connections.add_player(PlayerConnection(session, level_told=session.record.level))
        places.add_player(session.record)
    return game


@asynccontextmanager
async def open_realm(
    keeper: Keeper,
    hooks: GameHooks,
    accounts: Accounts,
    world: World,
    address: ListenAddress,
    *,
    clock: Clock,
    require_encryption: bool,
    network: NetworkConfig | None = None,
    certificate: Certificate | None = None,
) -> AsyncGenerator[Realm]:
    """A realm that listens and ticks while the block runs.

    A clean end is `await realm.stop()`, `await keeper.close()`, `realm.hang_up()`, then the end of the block.

    Args:
        keeper: Open with these hooks, without players.
        hooks: The game's functions; from here on they act on this game.
        accounts: Running, on the same store.
        world: The content.
        address: Host and ports to listen on.
        clock: The keeper's clock.
        require_encryption: Refuse plain passwords and tickets.
        network: The limits of one address and network; None: the defaults of the section `network`.
        certificate: The certificate of TLS over TCP; None: TCP without TLS.

    Raises:
        AlreadyOwned: Another server has this server's zones.
        KeepingError: The zones, or the players of an earlier run, cannot be loaded.
        StorageError: The store cannot be reached.
        ConfigError: The server cannot listen on the address.
    """
    game = await open_game(keeper, hooks, accounts, world, clock=clock)
    realm = Realm(
        game,
        require_encryption=require_encryption,
        connections_max=address.connections_max,
        network=network,
        certificate=certificate,
    )
    try:
        await realm.listen(address)
        kept = [game.background.run_forever("tick", realm.ticker.run)]
        if certificate is not None:
            kept.append(game.background.run_forever("TLS certificate", partial(follow_certificate, certificate, clock)))
        try:
            yield realm
        finally:
            for each in kept:
                each.cancel()
            await asyncio.wait(kept)
    finally:
        realm.tcp.close()
        realm.udp.close()


async def follow_certificate(certificate: Certificate, clock: Clock) -> None:
    """Use a renewed certificate once its files are there; an unusable one is logged, and the earlier one stays in use."""
    while True:
        await clock.sleep(CERTIFICATE_READ_S)
        try:
            if await asyncio.to_thread(certificate.reread):
                log.info("the TLS certificate was read again", path=str(certificate.path))
        except ConfigError as error:
            log.error("the new TLS certificate cannot be used; the earlier one stays in use", error=str(error))


def cannot_listen(refused: CannotListen) -> ConfigError:
    """The error for an address that cannot be listened on."""
    # An unknown name has a negative errno and its own text; for the other errors asyncio's text does not name the protocol.
    kind, error = refused.kind, refused.error
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return ConfigError(
        f"cannot listen on {kind.upper()} {refused.where}: {why}",
        hint=f"end the process that uses it, or choose another --host or --{kind}-port; port 0 picks a free one",
    )


async def _hold_zone(keeper: Keeper, name: str) -> Session[Zone]:
    return await keeper.hold(Zone, name if keeper.name == FIRST_SERVER else f"{name}.{keeper.name}", create=Zone)
