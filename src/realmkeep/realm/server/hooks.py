"""The keeper's hooks: a player resumes, is evicted, gets mail, freezes, or belongs to another server."""

from typing import Any

import structlog

from realmkeep import Keeper, Returned, Session
from realmkeep.errors import RealmkeepError
from realmkeep.realm.actions.fighting import to_safety
from realmkeep.realm.actions.mail import receive, receive_plain, take_back
from realmkeep.realm.server.game import Game
from realmkeep.realm.world.mail_letter import MailLetter
from realmkeep.realm.world.player import Player

log = structlog.get_logger("realm.sessions")


def register_hooks(keeper: Keeper, game: Game) -> None:
    """Register the game's rules; call it before the first login."""

    @keeper.on_resume(Player)
    def safe_place(session: Session[Player]) -> None:
        """Move a player that resumes in a dangerous zone to safety."""
        flee(game, session.record)

    @keeper.on_evict(Player)
    def leave(session: Session[Player]) -> None:
        """Take a player whose grace is over out of the game; its final snapshot is in a safe zone."""
        player = session.record
        flee(game, player)
        _remove(game, player)
        game.arrivals_log.say(log.info, "grace of player is over", player=player.player_id, name=player.name)

    @keeper.on_lost_ownership(Player)
    def lost(session: Session[Player], reason: str) -> None:
        """Remove a player that another server owns; changes made on this server are not written any more."""
        _remove(game, session.record, "ownership_lost")
        log.warning("player belongs to another server", player=session.record.player_id, reason=reason)

    @keeper.on_frozen(Player)
    def frozen(session: Session[Player], error: RealmkeepError) -> None:
        """Warn a player, and the operator, that its record cannot be saved."""
        game.connections.send_event(
            session.record.player_id,
            {"type": "event", "kind": "warning", "degraded": True, "detail": "your player cannot be saved"},
        )
        log.error("player cannot be saved", player=session.record.player_id, error=str(error))

    register_mail_hooks(keeper, game)


def register_mail_hooks(keeper: Keeper, game: Game) -> None:
    """Register the hooks that open mail and tell clients of it; call it before the first login."""

    @keeper.on_letter(Player, MailLetter)
    def mail(player: Player, letter: MailLetter) -> dict[str, Any]:
        """Apply mail, in the commit that takes it out of the inbox."""
        return receive(player, game.world, letter)

    @keeper.on_letter(Player, Returned)
    def back(player: Player, letter: Returned) -> dict[str, Any]:
        """Give returned mail back to its sender."""
        return take_back(player, game.world, letter)

    @keeper.on_letter(Player)
    def plain(player: Player, letter: dict[str, Any]) -> dict[str, Any]:
        """Apply mail that was stored before letters had types."""
        return receive_plain(game.keeper, player, game.world, letter)

    def arrived(session: Session[Player], _letter: Any, event: Any) -> None:
        """Tell the client of durable mail; a disconnected player's client is told after its next `auth_ok`."""
        if event:
            game.connections.deliver_event(session, event)

    keeper.on_letter_settled(Player, MailLetter)(arrived)
    keeper.on_letter_settled(Player, Returned)(arrived)
    keeper.on_letter_settled(Player)(arrived)


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
