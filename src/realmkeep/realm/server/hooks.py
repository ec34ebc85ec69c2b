"""The keeper's hooks: a player resumes, is evicted, gets mail, freezes, or belongs to another server."""

from typing import Any

import structlog

from realmkeep import Hooks, Returned, Session
from realmkeep.errors import RealmkeepError
from realmkeep.realm.actions.fighting import to_safety
from realmkeep.realm.actions.mail import receive, receive_plain, take_back
from realmkeep.realm.server.game import Game
from realmkeep.realm.world.mail_letter import MailLetter
from realmkeep.realm.world.player import Player

log = structlog.get_logger("realm.sessions")


class GameHooks:
    """The game's functions for `Keeper.open(hooks=...)`; they run once `game` is set, which is before the first login.

    Attributes:
        hooks: The registered functions.
        game: The game that they act on.
    """

    game: Game

    def __init__(self) -> None:
        self.hooks = hooks = Hooks()
        hooks.on_resume(Player)(self._resume)
        hooks.on_evict(Player)(self._evict)
        hooks.on_release_requested(Player)(self._hand_over)
        hooks.on_lost_ownership(Player)(self._lose)
        hooks.on_frozen(Player)(self._warn)
        hooks.on_letter(Player, MailLetter)(self._open_mail)
        hooks.on_letter(Player, Returned)(self._take_back)
        hooks.on_letter(Player)(self._open_plain)
        hooks.on_letter_settled(Player, MailLetter)(self._tell_client)
        hooks.on_letter_settled(Player, Returned)(self._tell_client)
        hooks.on_letter_settled(Player)(self._tell_client)

    def _resume(self, session: Session[Player]) -> None:
        """Move a player that resumes in a dangerous zone to safety."""
        flee(self.game, session.record)

    def _hand_over(self, session: Session[Player]) -> None:
        """Let a player go who has logged in at another server, as a second login here takes over from the first."""
        connection = self.game.connections.by_id.get(session.record.player_id)
        if connection is None or connection.session is not session:
            session.disconnect()
            return
        peer = connection.peer
        self.game.disconnect_player(connection)
        if peer is not None:
            peer.send({"type": "goodbye", "reason": "taken_over"})
            peer.close()

    def _evict(self, session: Session[Player]) -> None:
        """Take a player whose grace is over out of the game; its final snapshot is in a safe zone."""
        game, player = self.game, session.record
        flee(game, player)
        _remove(game, player)
        game.arrivals_log.say(log.info, "grace of player is over", player=player.player_id, name=player.name)

    def _lose(self, session: Session[Player], reason: str) -> None:
        """Remove a player that another server owns; changes made on this server are not written any more."""
        _remove(self.game, session.record, "ownership_lost")
        log.warning("player belongs to another server", player=session.record.player_id, reason=reason)

    def _warn(self, session: Session[Player], error: RealmkeepError) -> None:
        """Warn a player, and the operator, that its record cannot be saved."""
        self.game.connections.send_event(
            session.record.player_id,
            {"type": "event", "kind": "warning", "degraded": True, "detail": "your player cannot be saved"},
        )
        log.error("player cannot be saved", player=session.record.player_id, error=str(error))

    def _open_mail(self, player: Player, letter: MailLetter) -> dict[str, Any]:
        """Apply mail, in the commit that takes it out of the inbox."""
        return receive(player, self.game.world, letter)

    def _take_back(self, player: Player, letter: Returned) -> dict[str, Any]:
        """Give returned mail back to its sender."""
        if not isinstance(letter.open(MailLetter), MailLetter):
            self.game.keeper.tx.adjust("a letter of an older release")
        return take_back(player, self.game.world, letter)

    def _open_plain(self, player: Player, letter: dict[str, Any]) -> dict[str, Any]:
        """Apply mail that was stored before letters had types."""
        return receive_plain(self.game.keeper, player, self.game.world, letter)

    def _tell_client(self, session: Session[Player], _letter: Any, event: Any) -> None:
        """Tell the client of durable mail; a disconnected player's client is told after its next `auth_ok`."""
        if event:
            self.game.connections.deliver_event(session, event)


def flee(game: Game, player: Player) -> None:
    """Move a player in a dangerous zone to safety."""
    zone = game.world.zones.get(player.zone_id)
    if zone is None or not zone.safe:
        to_safety(player, game.scene())


def _remove(game: Game, player: Player, reason: str | None = None) -> None:
    game.trades.player_left(player, "disconnected")
    game.places.remove_player(player)
    connection = game.connections.by_id.get(player.player_id)
    if connection is None:
        return
    peer = game.connections.remove_player(connection)
    if peer is not None:
        peer.send({"type": "goodbye", "reason": reason})
        peer.close()
