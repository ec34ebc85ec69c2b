"""The ends of logins: a logout, a change of password, a banned or revoked account."""

from typing import Any

import structlog

from realmkeep.accounts import FollowedLogin
from realmkeep.errors import AuthFailed, NoSuchAccount, Quarantined, RealmkeepError, SealBroken, StorageError
from realmkeep.realm.server.credential_reader import CredentialReader
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.outcomes import ActionUndecided, auth_fail, decided
from realmkeep.realm.server.player_connections import PlayerConnection
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.peer import Answer, Peer
from realmkeep.realm.wire.requests import ChangePasswordRequest, LogoutRequest
from realmkeep.realm.world.action_refused import ActionRefused

log = structlog.get_logger("realm")


class LogoutFlow:
    """Handles logouts and changes of passwords.

    Args:
        game: The realm.
        reader: Reads passwords, plain or sealed.
    """

    def __init__(self, game: Game, reader: CredentialReader) -> None:
        self._game = game
        self._reader = reader
        self._changing = set[Peer]()

    def begin_logout(self, connection: PlayerConnection, peer: Peer, request: LogoutRequest, answer: Answer) -> None:
        """Begin a logout; the answer is `goodbye` once the player's state and the end of its tickets are durable."""
        login = connection.login
        self._game.remove_player(connection)

        def failed() -> None:
            answer({"type": "goodbye", "reason": "outcome_unknown"})
            peer.close()

        leaving = self._log_out(connection, peer, request, login, answer)
        self._game.spawn_task(leaving, f"logout of {connection.player.name}", failed=failed)

    def begin_password_change(
        self, connection: PlayerConnection, peer: Peer, request: ChangePasswordRequest, answer: Answer
    ) -> None:
        """Begin a change of password; the answer is `password_changed` or `auth_fail`.

        Raises:
            BadInput: `bad_field`: a password is missing, or `rate_limited`: another change is under way.
        """
        if peer in self._changing:
            raise BadInput("rate_limited", "a change of password is under way; wait for its answer")
        if request.encrypted_payload is None and (request.password is None or request.new_password is None):
            raise BadInput("bad_field", "`password` and `new_password`, or `encrypted_payload` is needed")
        self._changing.add(peer)
        self._game.spawn_task(
            self._change_password(connection, peer, request, answer), f"new password for {connection.player.name}"
        )

    async def _change_password(
        self, connection: PlayerConnection, peer: Peer, request: ChangePasswordRequest, answer: Answer
    ) -> None:
        try:
            answer(await self._changed(connection, peer, request))
        except AuthFailed as error:
            answer(auth_fail(error.reason, error.retry_after_s))
        except SealBroken:
            answer(auth_fail("bad_credentials"))
        except RealmkeepError as error:
            self._game.strangers_log.say(log.info, "a change of password failed", error=str(error))
            answer(auth_fail("unavailable"))
        except Exception as error:  # noqa: BLE001 - the client waits for an answer, so a bug of ours must give one
            self._game.strangers_log.say(
                log.error, "a change of password failed on an unexpected error", exc_info=error
            )
            answer(auth_fail("unavailable"))
        finally:
            self._changing.discard(peer)

    async def _changed(
        self, connection: PlayerConnection, peer: Peer, request: ChangePasswordRequest
    ) -> dict[str, Any]:
        shown = await self._reader.read_credentials(peer, request)
        login = connection.login
        if login is None:
            raise AuthFailed("the session has ended", reason="unavailable")
        changed = await self._game.accounts.change_password(
            login.login.username, shown.password, shown.new_password, address=peer.host, keep=login
        )
        return {"type": "password_changed", **shown.ticket_fields(changed.ticket)}

    async def _log_out(
        self,
        connection: PlayerConnection,
        peer: Peer,
        request: LogoutRequest,
        login: FollowedLogin | None,
        answer: Answer,
    ) -> None:
        reason = await save_final_state(self._game, connection)
        reason = await self._tickets_ended(login, everywhere=bool(request.everywhere)) or reason
        if reason:
            answer({"type": "goodbye", "reason": reason})
            peer.close()
            return
        answer({"type": "goodbye"})
        peer.end_session()
        self._game.arrivals_log.say(
            log.info, "player logged out", player=connection.player.player_id, name=connection.player.name
        )

    async def _tickets_ended(self, login: FollowedLogin | None, *, everywhere: bool) -> str:
        """End the tickets of this device, or all; returns the protocol's reason if they may not have ended, or nothing."""
        if login is None:
            return ""
        accounts, ended = self._game.accounts, login.login
        try:
            if everywhere:
                await accounts.logout_everywhere(ended.username)
            else:
                await accounts.end_family(ended.username, ended.family)
        except NoSuchAccount:  # deleted, with its tickets
            return ""
        except (Quarantined, StorageError) as error:
            self._game.strangers_log.say(log.warning, "the tickets of a logout may not have ended", error=str(error))
            return "outcome_unknown" if error.outcome == "unknown" else "unavailable"
        return ""


def expel_player(game: Game, connection: PlayerConnection, reason: str) -> None:
    """Disconnect a player whose account was banned, or whose login was revoked, and save it.

    Args:
        game: The realm.
        connection: The player's connection.
        reason: `banned` or `revoked`; the client is told.
    """
    peer = connection.peer
    game.remove_player(connection)
    if peer is not None:
        peer.send({"type": "goodbye", "reason": reason})
        peer.close()
    game.arrivals_log.say(log.info, "player was expelled", player=connection.player.player_id, reason=reason)
    game.spawn_task(_save_expelled(game, connection), f"last state of {connection.player.name}")


async def _save_expelled(game: Game, connection: PlayerConnection) -> None:
    await save_final_state(game, connection)


async def save_final_state(game: Game, connection: PlayerConnection) -> str:
    """Save a removed player; returns the protocol's reason if the save may not have happened, or nothing."""
    try:
        await decided(connection.session.logout(), game.strangers_log)
    except (ActionRefused, ActionUndecided) as ended:
        reason = ended.reason if isinstance(ended, ActionRefused) else "outcome_unknown"
        if reason != "session_ended":  # otherwise the shutdown has ended the session, and saves it
            game.arrivals_log.say(
                log.error,
                "a player's final state is not in the store",
                player=connection.player.player_id,
                error=str(ended),
            )
        return reason
    return ""
