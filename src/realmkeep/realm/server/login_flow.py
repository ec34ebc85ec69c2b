"""Logins: registration, passwords, tickets, takeovers, and returns within the grace."""

from typing import Any, Final

import structlog

from realmkeep import Session
from realmkeep.accounts import Login, fold_username
from realmkeep.errors import (
    AlreadyOwned,
    AuthFailed,
    Quarantined,
    RealmkeepError,
    RecordError,
    SealBroken,
)
from realmkeep.realm.actions.fighting import revive
from realmkeep.realm.actions.mending import is_disordered, put_in_order
from realmkeep.realm.server.credential_reader import CredentialReader, ReceivedCredentials
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.logout_flow import expel_player
from realmkeep.realm.server.network_limits import NetworkLimits
from realmkeep.realm.server.outcomes import auth_fail
from realmkeep.realm.server.player_connections import PlayerConnection
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.peer import Answer, Peer
from realmkeep.realm.wire.requests import CredentialsRequest, RegisterRequest
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import World
from realmkeep.realm.world.inventory import give
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.state import state

LOGIN_PRICE: Final = 20.0  # messages: ten logins of one player a second
HAND_OVER_S: Final = 2.0  # for another server to let the player go
PENDING_MAX: Final = 1_024  # logins under way; beyond it clients would give up before their turn

log = structlog.get_logger("realm.login")


class LoginFlow:
    """Logs players in.

    Args:
        game: The realm.
        reader: Reads credentials, plain or sealed.
        network_limits: Counts logins and sessions by network.

    Attributes:
        accepts_logins: False while the server shuts down: a login then fails with `unavailable`.
    """

    def __init__(self, game: Game, reader: CredentialReader, network_limits: NetworkLimits) -> None:
        self._game = game
        self._reader = reader
        self._network_limits = network_limits
        self._entering = set[Peer]()
        self.accepts_logins = True

    def begin_login(self, peer: Peer, request: CredentialsRequest, answer: Answer) -> None:
        """Begin a login or registration; the answer is `auth_ok` or `auth_fail`.

        Raises:
            BadInput: `bad_field`: the request has no credentials, or `rate_limited`: another login of this peer, or too many
                logins, are under way.
        """
        if peer in self._entering:
            raise BadInput("rate_limited", "a login is under way; wait for its answer")
        if len(self._entering) >= PENDING_MAX:
            raise BadInput("rate_limited", "too many logins are under way; try again in a moment")
        plain = (request.username is not None and request.password is not None) or request.ticket is not None
        if request.encrypted_payload is None and not plain:
            raise BadInput("bad_field", "`username` and `password`, `ticket`, or `encrypted_payload` is needed")
        self._entering.add(peer)
        self._game.spawn_task(self._enter(peer, request, answer), f"login from {peer.address}")

    async def _enter(self, peer: Peer, request: CredentialsRequest, answer: Answer) -> None:
        try:
            answer(await self._admit(peer, request))
            self._game.connections.send_kept_events(peer)
        except AuthFailed as error:
            answer(auth_fail(error.reason, error.retry_after_s))
        except SealBroken:
            answer(auth_fail("bad_credentials"))
        except AlreadyOwned as error:
            answer(auth_fail("already_owned") | {"retry_after_s": round(error.wait_s, 3)})
        except (Quarantined, RecordError) as error:
            self._game.strangers_log.say(log.error, "a player cannot be loaded", error=str(error))
            answer(auth_fail("quarantined"))
        except (RealmkeepError, ActionRefused) as error:
            self._game.strangers_log.say(log.info, "a login failed", error=str(error))
            answer(auth_fail("unavailable"))
        except Exception as error:  # noqa: BLE001 - the client waits for an answer, so a bug of ours must give one
            self._game.strangers_log.say(log.error, "a login failed on an unexpected error", exc_info=error)
            answer(auth_fail("unavailable"))
        finally:
            self._entering.discard(peer)

    async def _admit(self, peer: Peer, request: CredentialsRequest) -> dict[str, Any]:
        if not self.accepts_logins:
            raise AuthFailed("the server is shutting down", reason="unavailable")
        registers = isinstance(request, RegisterRequest)
        hold = self._network_limits.admit_login(peer.host, registers=registers)
        try:
            told = await self._let_in(peer, request)
        except BaseException:
            hold.release()
            if registers:
                self._network_limits.give_back_registration(peer.host)
            raise
        self._game.connections.keep_hold(peer, hold)
        return told

    async def _let_in(self, peer: Peer, request: CredentialsRequest) -> dict[str, Any]:
        shown = await self._reader.read_credentials(peer, request)
        login = await self._login(peer, shown, register=isinstance(request, RegisterRequest))
        self._charge(login)
        session, resumed = await self._session(login)
        connection = self.attach_peer(peer, session)
        try:
            await self._fit(connection, login.username)
            if connection.peer is not peer:
                raise AuthFailed("another login was faster", reason="unavailable")
        except BaseException:
            if connection.peer is peer:
                self._game.disconnect_player(connection)
            if peer.logged_in:  # a second login of this peer: its first session has ended
                peer.end_session()
            raise
        sid = peer.begin_session(self._game.message_allowance(connection.player.player_id))
        connection.login = self._game.accounts.follow(
            login, lambda reason: expel_player(self._game, connection, reason)
        )
        if peer.closing:  # the client left during the login; this peer's loss is not reported again
            self._game.disconnect_player(connection)
        self._game.arrivals_log.say(
            log.info,
            "player logged in",
            player=connection.player.player_id,
            name=connection.player.name,
            resumed=resumed,
        )
        return {
            "type": "auth_ok",
            "player_id": connection.player.player_id,
            **({"sid": sid} if sid is not None else {}),
            "last_op": connection.last_op,
            **shown.ticket_fields(login.ticket),
            "resumed": resumed,
            "state": state(connection.player, self._game.clock.wall_us()),
        }

    async def _login(self, peer: Peer, shown: ReceivedCredentials, *, register: bool) -> Login:
        accounts = self._game.accounts
        if not register:
            if shown.ticket:
                return await accounts.login_with_ticket(shown.ticket, address=peer.host)
            if shown.new_password:
                return await accounts.change_password(
                    shown.username, shown.password, shown.new_password, address=peer.host
                )
            return await accounts.login(shown.username, shown.password, address=peer.host)

        async def character() -> tuple[int, Player]:
            player_id = await self._game.keeper.allocate_id()
            return player_id, new_player(self._game.world, player_id, fold_username(shown.username))

        made = await accounts.create(shown.username, shown.password, address=peer.host, character=character)
        if made.character_id is not None:
            await self._game.keeper.note_created(Player, made.character_id)
        return made

    def _charge(self, login: Login) -> None:
        """Charge a login to its player's message allowance, so that repeated logins do not raise the allowance."""
        if login.character_id is None:
            raise AuthFailed("the account has no character", reason="unavailable")
        if not self._game.message_allowance(int(login.character_id)).take(self._game.clock.monotonic_s(), LOGIN_PRICE):
            raise AuthFailed("too many logins of one player", reason="throttled", retry_after_s=1.0)

    async def _session(self, login: Login) -> tuple[Session[Player], bool]:
        """The player's session, and whether it was there before."""
        keeper = self._game.keeper
        assert login.character_id is not None  # checked in _charge
        live = keeper.session(Player, login.character_id)
        if live is not None and live.connected:
            return live, True
        session = await keeper.login(Player, login.character_id, wait_s=HAND_OVER_S)
        if session is None:
            raise Quarantined(
                f"the character {login.character_id} of {login.username} does not exist",
                hint="restore it from a backup",
            )
        return session, session.resumed

    def attach_peer(self, peer: Peer, session: Session[Player]) -> PlayerConnection:
        """Connect a peer to its player; the player's earlier peer is disconnected."""
        game = self._game
        connection = game.connections.by_id.get(session.record.player_id)
        if connection is None or connection.session is not session:
            connection = PlayerConnection(session, level_told=session.record.level)
        former = game.connections.detach_peer(connection)
        if former is not None and former is not peer:
            if former.address != peer.address:  # the same address over UDP is the same client: it waits for `auth_ok`
                former.send({"type": "goodbye", "reason": "taken_over"})
            former.close()
        other = game.connections.by_peer.get(peer)
        if other is not None:
            game.disconnect_player(other)
        game.trades.player_left(session.record, "disconnected")
        game.connections.attach_peer(connection, peer)
        game.places.add_player(session.record)
        return connection

    async def _fit(self, connection: PlayerConnection, username: str) -> None:
        """Mend a record of an older release, and revive a fallen player."""
        game, player = self._game, connection.player
        if not player.name:
            player.name = username
            game.connections.add_player(connection)
        if player.dead and connection.respawn_s is None:
            revive(player, game.scene())
        if is_disordered(player, game.world):
            if game.serials.low:
                await game.refill_serials()
            await game.keeper.commit(lambda record: put_in_order(record, game.scene()), connection.session)


def new_player(world: World, player_id: int, name: str) -> Player:
    """A new player: in the safe town, in full health, with the start gold and items."""
    start = world.start
    player = Player(player_id=player_id, name=name, zone_id=start.zone, x=start.x, y=start.y)
    player.hp = player.max_hp
    player.gold = world.rules.start_gold
    for item, count in world.rules.start_items.items():
        give(player, world, item, count)
    return player
