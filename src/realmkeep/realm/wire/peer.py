"""One client of a transport, and the interface through which transports deliver requests."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from realmkeep.realm.wire.limits import STRANGERS_BURST, STRANGERS_PER_S, ErrorWindow, TokenBucket
from realmkeep.realm.wire.requests import Request
from realmkeep.realm.wire.syntax import Syntax, encode

Answer: TypeAlias = Callable[[Mapping[str, object]], None]
"""Sends one message in the syntax of the request that it answers."""


class Peer(ABC):
    """One client.

    Attributes:
        host: Its IP address, for the throttle of password attempts.
        address: Its IP address and port; a challenge is bound to them.
        syntax: The syntax of its latest message; events are written in it.
        logged_in: Whether it has a session.
        errors: Its latest errors.
        bucket: Its message allowance; larger once it is logged in.
    """

    def __init__(self, host: str, port: int, now_s: float) -> None:
        self.host = host
        self.address = f"{host} {port}"
        self.syntax = Syntax.JSON
        self.logged_in = False
        self.errors = ErrorWindow()
        self.bucket = TokenBucket(now_s, rate_per_s=STRANGERS_PER_S, burst=STRANGERS_BURST)

    def send(self, message: Mapping[str, object]) -> None:
        """Send an event. Never blocks and never raises; a client that reads too slowly is disconnected."""
        self.write(encode(message, self.syntax))

    @abstractmethod
    def write(self, encoded: bytes) -> None:
        """Send one encoded message."""

    @property
    @abstractmethod
    def closing(self) -> bool:
        """Whether the connection is ending: nothing more is sent or read."""

    @abstractmethod
    def begin_session(self, bucket: TokenBucket) -> str | None:
        """Begin a session; it replaces an earlier session of this peer.

        Args:
            bucket: The player's message allowance, so that another login does not raise it.

        Returns:
            The session's `sid` if the transport has no connections; None over TCP.
        """

    @abstractmethod
    def end_session(self) -> None:
        """End the session and keep the connection: the client may log in again."""

    @abstractmethod
    def close(self) -> None:
        """End the connection once everything sent has left the server."""


class RequestHandler(Protocol):
    """The game server, as the transports see it."""

    def welcome(self, peer: Peer) -> Mapping[str, object]:
        """The answer to `hello`."""
        ...

    def handle_request(self, peer: Peer, request: Request, answer: Answer) -> None:
        """Handle a well-formed request; `answer` may be called later, and more than once (`pending`, then `ack`)."""
        ...

    def peer_lost(self, peer: Peer) -> None:
        """Note that a peer with a session has disconnected."""
        ...
