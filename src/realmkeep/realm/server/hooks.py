"""What the keeper tells the game: somebody comes back, stays away, gets mail, or belongs to another server now."""

from typing import Any

import structlog

from realmkeep import Keeper, Returned, Session, Tx
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
        """Whoever dropped out where it is dangerous comes back where it is safe."""
        flee(game, session.record)

    @keeper.on_evict(Player)
    def leave(session: Session[Player]) -> None:
        """Grace is over: the final snapshot is of a player in a safe place."""
        player = session.record
        flee(game, player)
        _remove(game, player)
        game.arrivals_log.say(log.info, "player stayed away", player=player.player_id, name=player.name)

    @keeper.on_lost_ownership(Player)
    def lost(session: Session[Player], reason: str) -> None:
        """Another server has the player; nothing done here counts any more."""
        _remove(game, session.record, "ownership_lost")
        log.warning("player belongs to another server", player=session.record.player_id, reason=reason)

    @keeper.on_frozen(Player)
    def frozen(session: Session[Player], error: RealmkeepError) -> None:
        """The player cannot be saved; an operator has to look."""
        game.connections.send_event(
            session.record.player_id,
            {"type": "event", "kind": "warning", "degraded": True, "detail": "your player cannot be saved"},
        )
        log.error("player cannot be saved", player=session.record.player_id, error=str(error))

    register_mail_hooks(keeper, game)


def register_mail_hooks(keeper: Keeper, game: Game) -> None:
    """Register what opens mail, and tells clients of it; call it before the first login."""

    @keeper.on_letter(Player, MailLetter)
    def mail(_: Tx, player: Player, letter: MailLetter) -> dict[str, Any]:
        """Mail arrives, in the commit that takes it out of the inbox."""
        return receive(player, game.world, letter)

    @keeper.on_letter(Player, Returned)
    def back(_: Tx, player: Player, letter: Returned) -> dict[str, Any]:
        """Mail comes back to the player that sent it."""
        return take_back(player, game.world, letter)

    @keeper.on_letter(Player)
    def plain(tx: Tx, player: Player, letter: dict[str, Any]) -> dict[str, Any]:
        """Mail that was sent before letters had types."""
        return receive_plain(tx, player, game.world, letter)

    def arrived(session: Session[Player], _letter: Any, event: Any) -> None:
        """The client hears of what arrived now that it is durable; who is away hears of it after `auth_ok`."""
        if event:
            game.connections.deliver_event(session, event)

    keeper.on_letter_settled(Player, MailLetter)(arrived)
    keeper.on_letter_settled(Player, Returned)(arrived)
    keeper.on_letter_settled(Player)(arrived)


def flee(game: Game, player: Player) -> None:
    """Put a player to safety who stands in a dangerous place."""
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
