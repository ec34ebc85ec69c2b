"""One client at the other end of a transport, and what the server does with what it says."""

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
        address: Its IP address and port, which a challenge is bound to.
        syntax: Of its latest message; events are written in it.
        logged_in: Whether it has a session.
        errors: Its latest errors.
        bucket: What it may still say; more once it is logged in.
    """

    def __init__(self, host: str, port: int, now_s: float) -> None:
        self.host = host
        self.address = f"{host} {port}"
        self.syntax = Syntax.JSON
        self.logged_in = False
        self.errors = ErrorWindow()
        self.bucket = TokenBucket(now_s, rate_per_s=STRANGERS_PER_S, burst=STRANGERS_BURST)

    def send(self, message: Mapping[str, object]) -> None:
        """Send an event. Never blocks, never raises: a client that is gone or reads too slowly is disconnected."""
        self.write(encode(message, self.syntax))

    @abstractmethod
    def write(self, encoded: bytes) -> None:
        """Send one encoded message."""

    @property
    @abstractmethod
    def closing(self) -> bool:
        """Whether nothing more is sent or heard."""

    @abstractmethod
    def begin_session(self, bucket: TokenBucket) -> str | None:
        """Begin a session in place of the one before, if there was one.

        Args:
            bucket: What may be said in it: the player's, so that logging in again brings nobody more.

        Returns:
            Its `sid` where the transport has no identity of its own.
        """

    @abstractmethod
    def end_session(self) -> None:
        """End the session and stay in touch: the client may log in again."""

    @abstractmethod
    def close(self) -> None:
        """End the connection once everything sent has left."""


class RequestHandler(Protocol):
    """What the transports deliver to: the game server."""

    def welcome(self, peer: Peer) -> Mapping[str, object]:
        """The answer to `hello`."""
        ...

    def handle_request(self, peer: Peer, request: Request, answer: Answer) -> None:
        """Take a request that is well-formed and allowed at this point; `answer` may be called later, and twice."""
        ...

    def peer_lost(self, peer: Peer) -> None:
        """A peer that was logged in is gone."""
        ...
