"""One bot's connection: requests that are answered, events that are heard, and a seal where it is wanted."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from realmkeep.accounts import SealedRequest, encrypt_auth_payload
from realmkeep.clock import Clock
from realmkeep.errors import ConfigError
from realmkeep.realm.wire.syntax import Message, Syntax, decode, encode

ANSWER_S: Final = 90.0  # after which a request counts as lost: a trade waits a minute for the other one
RESEND_S: Final = 1.0  # over UDP: the identical datagram gets the same answer
WELCOME_PAD: Final = "." * 300
MESSAGE_BYTES_MAX: Final = 64 * 1024


class Disconnected(Exception):
    """The server hung up, or cannot be reached, or does not answer."""


@dataclass(frozen=True)
class Server:
    """Where the realm is, and how to talk to it.

    Attributes:
        tls: For TCP; None: without.
    """

    host: str
    tcp_port: int
    udp_port: int
    udp: bool = False
    sealed: bool = False
    lisp: bool = False
    tls: ssl.SSLContext | None = None


def trusting(authority: Path | None, own: str | None) -> ssl.SSLContext:
    """What a client trusts. Blocks.

    Args:
        authority: PEM file of an authority; None: what `own` says, else the authorities of the system.
        own: The certificate of a server on this machine, which is trusted as it is, whatever name it has.

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
class Entered:
    """What a bot knows after it came in; `refused` is the reason if it did not."""

    answer: Message
    ticket: str = ""
    refused: str = ""
    retry_after_s: float = 0.0


class _Stream(asyncio.Protocol):
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


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._heard(data)

    def error_received(self, exc: Exception) -> None:
        """The server's port is closed: the answer will not come."""


class Connection:
    """One connection, from its opening to whichever end.

    Args:
        server: Where to.
        on_event: Hears what comes unasked.
        clock: For timestamps and patience.
    """

    def __init__(self, server: Server, on_event: Callable[[Message], None], clock: Clock) -> None:
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
            Disconnected: Nobody listens.
        """
        loop = asyncio.get_running_loop()
        server = self._server
        try:
            if server.udp:
                self._transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self._heard), remote_addr=(server.host, server.udp_port)
                )
            else:
                self._transport, _ = await loop.create_connection(
                    lambda: _Stream(self._heard, self._ended), server.host, server.tcp_port, ssl=server.tls
                )
        except OSError as error:
            raise Disconnected(str(error)) from error

    async def greet(self) -> Message:
        """Say hello; returns the welcome.

        Raises:
            Disconnected: No answer came.
        """
        return await self._ask({"type": "hello", "pad": WELCOME_PAD}, "welcome")

    async def enter(self, kind: str, credentials: Mapping[str, str]) -> Entered:
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
            welcome = await self.greet()
        if self._server.sealed:
            sealed = encrypt_auth_payload(credentials, welcome["auth_public_key"], clock=self._clock)
            request["encrypted_payload"] = sealed.payload
        else:
            request |= credentials
        if self._server.udp:
            request["challenge"] = welcome["challenge"]
        answer = await self._ask(request, "auth")
        if answer["type"] == "auth_fail":
            return Entered(answer, refused=answer["reason"], retry_after_s=answer.get("retry_after_s") or 0.0)
        self._sid = answer.get("sid") or ""
        ticket = answer.get("ticket") or ""
        if sealed is not None:
            ticket = sealed.open_ticket(answer["sealed_ticket"])
        return Entered(answer, ticket)

    async def act(self, intent: Message) -> Message:
        """Send an intent, which has an `op_id`; returns the final `ack`, `nack` or `error`.

        Raises:
            Disconnected: No answer came; whether it happened is known once it has been sent again.
        """
        return await self._ask({"type": "intent", **intent}, intent["op_id"])

    def throw(self, intent: Message) -> None:
        """Send an intent without waiting for what becomes of it."""
        self._write(self._encoded({"type": "intent", **intent}))

    async def logout(self) -> None:
        """Leave; everything is durable when this returns.

        Raises:
            Disconnected: No answer came, or one that promises nothing.
        """
        answer = await self._ask({"type": "logout"}, "goodbye")
        self.drop()
        if answer.get("reason"):
            raise Disconnected(f"logout: {answer['reason']}")

    def drop(self) -> None:
        """Leave without a word."""
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
        if kind in {"auth_ok", "auth_fail"}:
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
