"""Who is in the game: a session of the keeper's, and the peer it talks through while there is one."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from realmkeep import Session
from realmkeep.accounts import FollowedLogin, fold_username
from realmkeep.quotas import Hold
from realmkeep.realm.wire.peer import Peer
from realmkeep.realm.world.player import Player

DONE_MAX: Final = 32  # as many tier-2 operations as of tier 1, which the op ring keeps
UNHEARD_MAX: Final = 32  # events for one player who is away; the state shows the rest


@dataclass(frozen=True)
class AppliedOperation:
    """A tier-2 operation that was applied.

    Attributes:
        request: What was asked for.
        added: What the action added to the answer.
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
        level_told: The level that the client knows of.
        respawn_s: When a fallen player stands up again, on the monotonic clock.
        login: What the peer came in with, followed while it is on the seat; None without a peer.
        done: The latest tier-2 operations by `op_id`. They are forgotten with what they did if the server crashes.
    """

    session: Session[Player]
    peer: Peer | None = None
    unanswered: int = 0
    repeats: int = 0
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
        """The highest operation that was applied, of either tier; 0 if there is none."""
        return max(self.session.last_op, *self.done, 0)

    def remember_operation(self, op_id: int, done: AppliedOperation) -> None:
        """Keep a tier-2 operation, so that it is not done again when it is sent again."""
        self.done[op_id] = done
        if len(self.done) > DONE_MAX:
            self.done.popitem(last=False)

    def send_event(self, message: dict[str, Any]) -> None:
        """Send an event, if anybody listens."""
        if self.peer is not None:
            self.peer.send(message)


@dataclass
class PlayerConnections:
    """All players in the game, by id and by peer."""

    by_id: dict[int, PlayerConnection] = field(default_factory=dict[int, PlayerConnection])
    by_peer: dict[Peer, PlayerConnection] = field(default_factory=dict[Peer, PlayerConnection])
    _by_name: dict[str, PlayerConnection] = field(default_factory=dict[str, PlayerConnection])
    _holds: dict[Peer, Hold] = field(default_factory=dict[Peer, Hold])
    _unheard: WeakKeyDictionary[Session[Player], deque[dict[str, Any]]] = field(
        default_factory=WeakKeyDictionary[Session[Player], deque[dict[str, Any]]]
    )

    def __iter__(self) -> Iterator[PlayerConnection]:
        return iter([*self.by_id.values()])

    def find_player(self, player: int | str) -> PlayerConnection | None:
        """The seat of a player by id, or by name as it is typed; None if there is none."""
        if isinstance(player, int):
            return self.by_id.get(player)
        return self._by_name.get(player) or self._by_name.get(fold_username(player))

    def add_player(self, connection: PlayerConnection) -> None:
        """A player is in the game; also one whose name has become known."""
        self.by_id[connection.player.player_id] = connection
        if connection.player.name:
            self._by_name[connection.player.name] = connection

    def attach_peer(self, connection: PlayerConnection, peer: Peer) -> None:
        """Put a peer onto a seat."""
        connection.peer = peer
        self.add_player(connection)
        self.by_peer[peer] = connection

    def keep_hold(self, peer: Peer, hold: Hold) -> None:
        """A peer that is on a seat has a place, until it is taken off."""
        if peer in self.by_peer:
            self._holds[peer] = hold
        else:
            hold.release()

    def detach_peer(self, connection: PlayerConnection) -> Peer | None:
        """Take the peer off a seat, which stays; returns the peer."""
        peer, connection.peer = connection.peer, None
        if connection.login is not None:
            connection.login.stop()
            connection.login = None
        if peer is not None:
            self.by_peer.pop(peer, None)
            if (hold := self._holds.pop(peer, None)) is not None:
                hold.release()
        return peer

    def remove_player(self, connection: PlayerConnection) -> Peer | None:
        """Take a player out of the game; returns the peer that was on the seat."""
        self.by_id.pop(connection.player.player_id, None)
        if self._by_name.get(connection.player.name) is connection:
            del self._by_name[connection.player.name]
        return self.detach_peer(connection)

    def send_event(self, player_id: int, message: dict[str, Any]) -> None:
        """Send an event to a player, if that player is connected."""
        connection = self.by_id.get(player_id)
        if connection is not None:
            connection.send_event(message)

    def deliver_event(self, session: Session[Player], message: dict[str, Any]) -> None:
        """Send an event to a player now, or keep it until that player has come in."""
        connection = self.by_id.get(session.record.player_id)
        if connection is not None and connection.peer is not None and connection.peer.logged_in:
            connection.send_event(message)
        else:
            self._unheard.setdefault(session, deque(maxlen=UNHEARD_MAX)).append(message)

    def send_kept_events(self, peer: Peer) -> None:
        """Send what `deliver` kept for the player who came in with a peer."""
        connection = self.by_peer.get(peer)
        if connection is not None:
            for message in self._unheard.pop(connection.session, ()):
                connection.send_event(message)
