"""A bot's connection: requests with answers, events, and sealed credentials if wanted."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from realmkeep.accounts import SealedRequest, encrypt_auth_payload
from realmkeep.clock import Clock
from realmkeep.errors import ConfigError
from realmkeep.realm.wire.syntax import Message, Syntax, decode, encode

ANSWER_S: Final = (
    90.0  # a request without an answer is lost after this time: a trade waits a minute for the other player
)
RESEND_S: Final = 1.0  # over UDP: an identical datagram gets the same answer
WELCOME_PAD: Final = "." * 300
MESSAGE_BYTES_MAX: Final = 64 * 1024


class Disconnected(Exception):
    """The server has disconnected, cannot be reached, or does not answer."""


@dataclass(frozen=True)
class RealmAddress:
    """The address of a realm, and the ways to talk to it.

    Attributes:
        host: Name or address of the server.
        tcp_port: Its TCP port.
        udp_port: Its UDP port.
        udp: Whether to use UDP instead of TCP.
        sealed: Whether to seal credentials.
        lisp: Whether to write s-expressions instead of JSON.
        tls: The TLS context for TCP; None: without TLS.
        gateway: It is the address of a gateway, which tells the server for each player.
    """

    host: str
    tcp_port: int
    udp_port: int
    udp: bool = False
    sealed: bool = False
    lisp: bool = False
    tls: ssl.SSLContext | None = None
    gateway: bool = False


def client_tls_context(authority: Path | None, own: str | None) -> ssl.SSLContext:
    """The TLS context of a client. Blocks.

    Args:
        authority: PEM file of the trusted authority; None: `own` if given, else the system's authorities.
        own: PEM file of the certificate of a server on this machine; it is trusted without a check of its name.

    Raises:
        ConfigError: The file cannot be used.
    """
    file = str(authority) if authority is not None else own
    try:
        context = ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificates in {file} cannot be used: {error.strerror or error}", hint="--tls-ca takes a PEM file"
        ) from error
    if authority is None and own is not None:
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@dataclass(frozen=True)
class LoginResult:
    """The result of a login; `refused` is the reason of a refusal, or empty."""

    answer: Message
    ticket: str = ""
    refused: str = ""
    retry_after_s: float = 0.0


class _LineProtocol(asyncio.Protocol):
    def __init__(self, heard: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._heard = heard
        self._ended = ended
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._heard(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()


class _DatagramProtocol(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._heard(data)

    def error_received(self, exc: Exception) -> None:
        """Ignore it: the server's port is closed, and the request will time out."""


class BotConnection:
    """One connection to the realm.

    Args:
        server: The realm's address.
        on_event: Called with each message that answers no request.
        clock: The clock, for timestamps and timeouts.
    """

    def __init__(self, server: RealmAddress, on_event: Callable[[Message], None], clock: Clock) -> None:
        self._server = server
        self._on_event = on_event
        self._clock = clock
        self._syntax = Syntax.SEXPR if server.lisp else Syntax.JSON
        self._transport: Any = None
        self._sid = ""
        self._waiting: dict[object, asyncio.Future[Message]] = {}
        self.ended = False

    async def open(self) -> None:
        """Connect.

        Raises:
            Disconnected: No server listens there.
        """
        loop = asyncio.get_running_loop()
        server = self._server
        try:
            if server.udp:
                self._transport, _ = await loop.create_datagram_endpoint(
                    lambda: _DatagramProtocol(self._heard), remote_addr=(server.host, server.udp_port)
                )
            else:
                self._transport, _ = await loop.create_connection(
                    lambda: _LineProtocol(self._heard, self._ended), server.host, server.tcp_port, ssl=server.tls
                )
        except OSError as error:
            raise Disconnected(str(error)) from error

    async def say_hello(self) -> Message:
        """Send `hello`; returns the `welcome`.

        Raises:
            Disconnected: No answer came.
        """
        return await self._ask({"type": "hello", "pad": WELCOME_PAD}, "welcome")

    async def log_in(self, kind: str, credentials: Mapping[str, str]) -> LoginResult:
        """Register or log in.

        Args:
            kind: `register` or `login`.
            credentials: `username` and `password`, or `ticket`.

        Raises:
            Disconnected: No answer came.
        """
        request: Message = {"type": kind}
        sealed: SealedRequest | None = None
        welcome: Message = {}
        if self._server.udp or self._server.sealed:
            welcome = await self.say_hello()
        if self._server.sealed:
            sealed = encrypt_auth_payload(credentials, welcome["auth_public_key"], clock=self._clock)
            request["encrypted_payload"] = sealed.payload
        else:
            request |= credentials
        if self._server.udp:
            request["challenge"] = welcome["challenge"]
        answer = await self._ask(request, "auth")
        if answer["type"] == "auth_fail":
            return LoginResult(answer, refused=answer["reason"], retry_after_s=answer.get("retry_after_s") or 0.0)
        self._sid = answer.get("sid") or ""
        ticket = answer.get("ticket") or ""
        if sealed is not None:
            ticket = sealed.open_ticket(answer["sealed_ticket"])
        return LoginResult(answer, ticket)

    async def ask_route(self, username: str, wish: str) -> Message:
        """Ask a gateway for the server of a player; returns `redirect` or `auth_fail`.

        Args:
            username: The player's.
            wish: The server to which the player wants to go; empty for the one that has it.

        Raises:
            Disconnected: No answer came.
        """
        return await self._ask({"type": "login", "username": username, **({"server": wish} if wish else {})}, "auth")

    async def act(self, intent: Message) -> Message:
        """Send an intent with an `op_id`; returns the final `ack`, `nack` or `error`.

        Raises:
            Disconnected: No answer came; the outcome is known after a repetition.
        """
        return await self._ask({"type": "intent", **intent}, intent["op_id"])

    def send_unanswered(self, intent: Message) -> None:
        """Send an intent without waiting for its answer."""
        self._write(self._encoded({"type": "intent", **intent}))

    async def logout(self) -> None:
        """Log out; the player's state is durable when this returns.

        Raises:
            Disconnected: No answer came, or a `goodbye` with a reason, which promises nothing.
        """
        answer = await self._ask({"type": "logout"}, "goodbye")
        self.close()
        if answer.get("reason"):
            raise Disconnected(f"logout: {answer['reason']}")

    def close(self) -> None:
        """Close the connection without a logout."""
        if self._transport is not None:
            self._transport.close()
        self._ended()

    async def _ask(self, message: Message, key: object) -> Message:
        encoded = self._encoded(message)
        future = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        try:
            for _ in range(int(ANSWER_S / RESEND_S)):
                if self.ended:
                    break
                self._write(encoded)
                patience_s = RESEND_S if self._server.udp else ANSWER_S
                with suppress(TimeoutError):
                    async with self._clock.timeout(patience_s):
                        return await asyncio.shield(future)
        finally:
            self._waiting.pop(key, None)
        raise Disconnected(f"no answer to {message.get('action') or message['type']}")

    def _encoded(self, message: Message) -> bytes:
        return encode({**message, "sid": self._sid} if self._sid else message, self._syntax)

    def _write(self, encoded: bytes) -> None:
        if self._server.udp:
            self._transport.sendto(encoded)
        else:
            self._transport.write(encoded + b"\n")

    def _heard(self, encoded: bytes) -> None:
        message = decode(encoded, bytes_max=MESSAGE_BYTES_MAX)
        kind = message["type"]
        key: object = kind
        if kind in {"auth_ok", "auth_fail", "redirect"}:
            key = "auth"
        elif kind in {"ack", "nack", "error"} and message.get("op_id") is not None:
            key = message["op_id"]
        future = self._waiting.get(key)
        if future is not None and not future.done():
            future.set_result(message)
        elif kind in {"event", "shutdown", "goodbye", "error"}:
            self._on_event(message)

    def _ended(self) -> None:
        self.ended = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Disconnected("the server hung up"))


async def find_server(gateway: RealmAddress, username: str, wish: str, clock: Clock) -> tuple[str, RealmAddress]:
    """The name and address of the server for a player, as a gateway tells them.

    Args:
        gateway: The gateway; it is asked over TCP.
        username: The player's.
        wish: As for `BotConnection.ask_route`.
        clock: The clock.

    Raises:
        Disconnected: The gateway does not answer, or no server lets players in.
    """
    connection = BotConnection(replace(gateway, udp=False), lambda _: None, clock)
    try:
        await connection.open()
        answer = await connection.ask_route(username, wish)
    finally:
        connection.close()
    if answer["type"] != "redirect":
        raise Disconnected(f"the gateway: {answer.get('reason')}")
    place = {"host": answer["host"], "tcp_port": answer["tcp"], "udp_port": answer["udp"]}
    return answer["server"], replace(gateway, gateway=False, **place)
