"""The players in the game: for each its session of the keeper, and its peer while it is connected."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from realmkeep import Session
from realmkeep.accounts import FollowedLogin, fold_username
from realmkeep.quotas import TakenPlace
from realmkeep.realm.wire.peer import Peer
from realmkeep.realm.world.player import Player

DONE_MAX: Final = 32  # tier-2 operations of a player in memory; the op ring keeps as many of tier 1
UNHEARD_MAX: Final = 32  # events kept for a disconnected player; its state shows the effects of older ones


@dataclass(frozen=True)
class AppliedOperation:
    """A tier-2 operation that was applied.

    Attributes:
        request: The encoded intent.
        added: The fields that the action added to the answer.
    """

    request: bytes
    added: dict[str, Any]


@dataclass(eq=False)
class PlayerConnection:
    """One player in the game.

    Attributes:
        peer: None while the player is disconnected and in grace.
        unanswered: Tier-1 operations that wait for the store.
        repeats: Operations sent again whose answer waits for the store.
        listed_name: The name under which other players find it; empty if it is not listed.
        level_told: The last level that the client was told of.
        respawn_s: Monotonic time at which a fallen player respawns.
        login: The login of the peer, followed while the peer is attached; None without a peer.
        done: The latest tier-2 operations by `op_id`; a crash of the server loses them together with their effects.
    """

    session: Session[Player]
    peer: Peer | None = None
    unanswered: int = 0
    repeats: int = 0
    listed_name: str = ""
    level_told: int = 1
    respawn_s: float | None = None
    login: FollowedLogin | None = None
    done: OrderedDict[int, AppliedOperation] = field(default_factory=OrderedDict[int, AppliedOperation])

    @property
    def player(self) -> Player:
        """The live record."""
        return self.session.record

    @property
    def last_op(self) -> int:
        """The id of the highest applied operation, of either tier; 0 if there is none."""
        return max(self.session.last_op, *self.done, 0)

    def remember_operation(self, op_id: int, done: AppliedOperation) -> None:
        """Keep a tier-2 operation, so that its repetition is answered and not run."""
        self.done[op_id] = done
        if len(self.done) > DONE_MAX:
            self.done.popitem(last=False)

    def send_event(self, message: dict[str, Any]) -> None:
        """Send an event, if the player is connected."""
        if self.peer is not None:
            self.peer.send(message)


@dataclass
class PlayerConnections:
    """All players in the game, by id and by peer."""

    by_id: dict[int, PlayerConnection] = field(default_factory=dict[int, PlayerConnection])
    by_peer: dict[Peer, PlayerConnection] = field(default_factory=dict[Peer, PlayerConnection])
    _by_name: dict[str, PlayerConnection] = field(default_factory=dict[str, PlayerConnection])
    _holds: dict[Peer, TakenPlace] = field(default_factory=dict[Peer, TakenPlace])
    _unheard: WeakKeyDictionary[Session[Player], deque[dict[str, Any]]] = field(
        default_factory=WeakKeyDictionary[Session[Player], deque[dict[str, Any]]]
    )

    def __iter__(self) -> Iterator[PlayerConnection]:
        return iter([*self.by_id.values()])

    def find_player(self, player: int | str) -> PlayerConnection | None:
        """A player in the game by id, or by name as typed; None if there is none."""
        if isinstance(player, int):
            return self.by_id.get(player)
        return self._by_name.get(player) or self._by_name.get(fold_username(player))

    def add_player(self, connection: PlayerConnection) -> None:
        """Add a player to the game; also call it when the player's name becomes known."""
        self.by_id[connection.player.player_id] = connection
        self._unlist_name(connection)  # an operator may have renamed it
        if connection.player.name:
            connection.listed_name = connection.player.name
            self._by_name[connection.listed_name] = connection

    def _unlist_name(self, connection: PlayerConnection) -> None:
        if self._by_name.get(connection.listed_name) is connection:
            del self._by_name[connection.listed_name]

    def attach_peer(self, connection: PlayerConnection, peer: Peer) -> None:
        """Attach a peer to a player."""
        connection.peer = peer
        self.add_player(connection)
        self.by_peer[peer] = connection

    def keep_hold(self, peer: Peer, hold: TakenPlace) -> None:
        """Keep the network's place of an attached peer until it is detached; without an attached peer, release it."""
        if peer in self.by_peer:
            self._holds[peer] = hold
        else:
            hold.release()

    def detach_peer(self, connection: PlayerConnection) -> Peer | None:
        """Detach the peer of a player, who stays in the game; returns the peer."""
        peer, connection.peer = connection.peer, None
        if connection.login is not None:
            connection.login.unfollow()
            connection.login = None
        if peer is not None:
            self.by_peer.pop(peer, None)
            if (hold := self._holds.pop(peer, None)) is not None:
                hold.release()
        return peer

    def remove_player(self, connection: PlayerConnection) -> Peer | None:
        """Take a player out of the game; returns its peer."""
        self.by_id.pop(connection.player.player_id, None)
        self._unlist_name(connection)
        return self.detach_peer(connection)

    def send_event(self, player_id: int, message: dict[str, Any]) -> None:
        """Send an event to a player, if that player is connected."""
        connection = self.by_id.get(player_id)
        if connection is not None:
            connection.send_event(message)

    def deliver_event(self, session: Session[Player], message: dict[str, Any]) -> None:
        """Send an event to a player now, or keep it until the player's next login."""
        connection = self.by_id.get(session.record.player_id)
        if connection is not None and connection.peer is not None and connection.peer.logged_in:
            connection.send_event(message)
        else:
            self._unheard.setdefault(session, deque(maxlen=UNHEARD_MAX)).append(message)

    def send_kept_events(self, peer: Peer) -> None:
        """Send the events that `deliver_event` kept for the player of a peer."""
        connection = self.by_peer.get(peer)
        if connection is not None:
            for message in self._unheard.pop(connection.session, ()):
                connection.send_event(message)
