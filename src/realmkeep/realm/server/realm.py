"""A realm from opening to closing."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import structlog

from realmkeep import ConfigError, Keeper, Session
from realmkeep.accounts import Accounts
from realmkeep.clock import Clock
from realmkeep.config import NetworkConfig
from realmkeep.quotas import Limit, Shares
from realmkeep.realm.actions.scene import Serials
from realmkeep.realm.server.credential_reader import CredentialReader
from realmkeep.realm.server.dispatcher import Dispatcher
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.hooks import register_hooks
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
CERTIFICATE_READ_S: Final = 10.0  # a renewed certificate is in use by then
SHUTDOWN_NOTICE_S: Final = 0.5  # time for the notice to arrive before the answers stop

log = structlog.get_logger("realm")


@dataclass(frozen=True)
class ListenAddress:
    """Where to listen; port 0 picks a free one.

    Attributes:
        connections_max: TCP connections at once, logged in or not.
    """

    host: str = "127.0.0.1"
    tcp_port: int = 0
    udp_port: int = 0
    connections_max: int = CONNECTIONS_MAX


class Realm:
    """A running realm. Make it with `open_realm`.

    Attributes:
        game: What is in it.
        entrance: Lets players in.
        reception: Takes what clients say.
        life: What happens by itself.
        tcp: Listens for TCP clients.
        udp: Listens for datagrams.
        ticker: Moves it on.
        doors: Where it listens, once it does.
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
            shares=Shares(
                Limit(network.connections_per_address, network.connections_per_network), loopback=network.limit_loopback
            ),
            silence_s=network.tcp_silence_s,
            handshakes=handshakes,
        )
        self.udp = UdpServer(self.dispatcher, challenges, game.clock)
        self.ticker = Ticker(self.simulation.run_tick, game.clock)
        self.sockets: BoundSockets | None = None

    async def listen(self, address: ListenAddress) -> None:
        """Open the doors: from here on clients are heard.

        Raises:
            ConfigError: An address cannot be listened on.
        """
        try:
            self.sockets = await bind_sockets(address.host, address.tcp_port, address.udp_port)
            await self.tcp.listen(self.sockets.tcp)
        except CannotListen as refused:
            raise _cannot_listen(refused) from refused
        except OSError as error:  # two servers may bind one TCP port; only one listens
            assert self.sockets is not None
            self.sockets.close()
            raise _cannot_listen(CannotListen("tcp", f"{address.host}:{self.sockets.tcp_port}", error)) from error
        self.udp.listen([UdpSocket(bound, number) for number, bound in enumerate(self.sockets.udp)])

    @property
    def peers(self) -> list[Peer]:
        """Everybody who is connected."""
        return [*self.tcp.peers, *self.udp.sessions.values()]

    async def stop(self) -> None:
        """Let nobody in any more and tell everybody; then close the keeper, and `hang_up`."""
        self.login_flow.accepts_logins = False
        self.tcp.stop_accepting()
        self.udp.accepting = False
        for peer in self.peers:
            peer.send({"type": "shutdown", "reason": "stopping", "in_s": SHUTDOWN_NOTICE_S})
        await self.game.clock.sleep(SHUTDOWN_NOTICE_S)

    def hang_up(self) -> None:
        """Say goodbye, because the final state of everybody is durable, and close every connection."""
        for peer in self.peers:
            peer.send({"type": "goodbye"})
        self.tcp.close()
        self.udp.close()


async def open_game(
    keeper: Keeper, accounts: Accounts, world: World, *, clock: Clock, random: Random | None = None
) -> Game:
    """Take the zones, and the players that a former run of this server left behind; these are in grace.

    Args:
        keeper: Open, with nobody logged in.
        accounts: Running, on the same store.
        world: What exists.
        clock: The keeper's.
        random: For a game that can be repeated.

    Raises:
        AlreadyOwned: Another server has this server's zones.
        KeepingError: The zones cannot be loaded.
        StorageError: The store cannot be reached.
    """
    zones = {name: await _hold_zone(keeper, name) for name in world.zones}
    places = Places(world, {name: session.record for name, session in zones.items()}, clock.wall_us())
    game = Game(keeper, accounts, world, places, zones, clock, random or Random(), Serials())  # noqa: S311 - dice, not secrets
    register_hooks(keeper, game)
    await game.refill_serials()
    for session in await keeper.recover(Player):
        game.connections.add_player(PlayerConnection(session, level_told=session.record.level))
        places.add_player(session.record)
    return game


@asynccontextmanager
async def open_realm(
    keeper: Keeper,
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

    To end it well: `await realm.stop()`, `await keeper.close()`, `realm.hang_up()`, and leave the block.

    Args:
        keeper: Open, with nobody logged in.
        accounts: Running, on the same store.
        world: What exists.
        address: Host and ports to listen on.
        clock: The keeper's.
        require_encryption: Refuse plain passwords and tickets.
        network: What one address may have of it; None: the defaults of the section `network`.
        certificate: TCP speaks TLS with it; None: TCP speaks plainly.

    Raises:
        AlreadyOwned: Another server has this server's zones.
        KeepingError: The zones or the players of a former run cannot be loaded.
        StorageError: The store cannot be reached.
        ConfigError: The address cannot be listened on.
    """
    game = await open_game(keeper, accounts, world, clock=clock)
    realm = Realm(
        game,
        require_encryption=require_encryption,
        connections_max=address.connections_max,
        network=network,
        certificate=certificate,
    )
    try:
        await realm.listen(address)
        kept = [game.background.keep("tick", realm.ticker.run)]
        if certificate is not None:
            kept.append(game.background.keep("TLS certificate", partial(follow_certificate, certificate, clock)))
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
    """Use a renewed certificate once its files are there; one that cannot be used is told, and the former one stays."""
    while True:
        await clock.sleep(CERTIFICATE_READ_S)
        try:
            if await asyncio.to_thread(certificate.reread):
                log.info("the TLS certificate was read again", path=str(certificate.path))
        except ConfigError as error:
            log.error("the new TLS certificate cannot be used; the former one stays", error=str(error))


def _cannot_listen(refused: CannotListen) -> ConfigError:
    # A name that is not known has a negative number and its own words; asyncio's words for the others name no protocol.
    kind, error = refused.kind, refused.error
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return ConfigError(
        f"cannot listen on {kind.upper()} {refused.where}: {why}",
        hint=f"end what holds it, or choose another --host or --{kind}-port; port 0 picks a free one",
    )


async def _hold_zone(keeper: Keeper, name: str) -> Session[Zone]:
    return await keeper.hold(Zone, name if keeper.name == FIRST_SERVER else f"{name}.{keeper.name}", create=Zone)
