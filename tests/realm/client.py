"""A client of the realm, written from the wire protocol's page alone; it shares no code with the server."""

import asyncio
import hashlib
import json
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sexpr import read, write

Message = dict[str, Any]
PATIENCE_S = 60.0  # a bound for a test that would hang, never an expectation
UDP_RESEND_S = 0.5


class Wire(Protocol):
    """A transport: sends one message, and is rude when it closes."""

    def send(self, encoded: bytes) -> None: ...

    def close(self) -> None: ...


class TcpWire(asyncio.Protocol):
    def __init__(self, heard: Callable[[bytes], None], ended: Callable[["TcpWire"], None]) -> None:
        self.heard = heard
        self.ended = ended
        self.rest = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.heard(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended(self)

    def send(self, encoded: bytes) -> None:
        self.transport.write(encoded + b"\n")

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class UdpWire(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self.heard = heard
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.heard(data)

    def send(self, encoded: bytes) -> None:
        self.transport.sendto(encoded)

    def close(self) -> None:
        self.transport.abort()


class Seal:
    """One sealed request: X25519 with the server's key, SHA-256, AES-256-GCM."""

    def __init__(self, server_public_key: str) -> None:
        ephemeral = X25519PrivateKey.generate()
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(server_public_key)))
        self.public = ephemeral.public_key().public_bytes_raw()
        self.key = hashlib.sha256(shared).digest()

    def seal(self, plaintext: bytes) -> str:
        nonce = secrets.token_bytes(12)
        return (self.public + nonce + AESGCM(self.key).encrypt(nonce, plaintext, None)).hex()

    def open(self, sealed: str) -> str:
        raw = bytes.fromhex(sealed)
        return AESGCM(self.key).decrypt(raw[:12], raw[12:], None).decode()


@dataclass
class Client:
    """One player's program.

    Attributes:
        state: The player's state as the server last told it.
        ticket: For the next login.
        heard: Every message that came, in order.
    """

    host: str
    tcp: int
    udp: int
    over_udp: bool = False
    lisp: bool = False
    sealed: bool = False
    upper: bool = False
    state: Message = field(default_factory=dict[str, Any])
    ticket: str = ""
    sid: str = ""
    op_id: int = 0
    heard: list[Message] = field(default_factory=list[Message])
    ended: bool = False
    wire: Any = None
    tls: ssl.SSLContext | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def connect(self) -> "Client":
        loop = asyncio.get_running_loop()
        self.heard, self.sid, self.ended, self.wire = [], "", False, None
        if self.over_udp:
            made = loop.create_datagram_endpoint(lambda: UdpWire(self._hear), remote_addr=(self.host, self.udp))
            _, self.wire = await made
        else:
            made_tcp = loop.create_connection(lambda: TcpWire(self._hear, self._end), self.host, self.tcp, ssl=self.tls)
            _, self.wire = await made_tcp
        return self

    def encode(self, message: Mapping[str, Any]) -> bytes:
        full = {**message, "sid": self.sid} if self.sid else dict(message)
        return write(full, upper=self.upper).encode() if self.lisp else json.dumps(full).encode()

    def decode(self, encoded: bytes) -> Message:
        return read(encoded.decode()) if self.lisp else json.loads(encoded)

    def _hear(self, encoded: bytes) -> None:
        message = self.decode(encoded)
        self.heard.append(message)
        if message["type"] == "ack" and message["action"] != "look":
            result: Message = message["result"] or {}
            self.state |= {name: value for name, value in result.items() if name in self.state}
        self._news.set()

    def _end(self, wire: object) -> None:
        if wire is self.wire:
            self.ended = True
            self._news.set()

    def send(self, message: Mapping[str, Any]) -> None:
        self.wire.send(self.encode(message))

    async def wait(self, wanted: Callable[[Message], bool], *, since: int = 0) -> Message:
        """The first message after `since` that is wanted; it stays in `heard`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for message in self.heard[since:]:
                    if wanted(message):
                        return message
                if self.ended:
                    raise ConnectionError(f"the server hung up; heard {self.heard[-5:]}")
                self._news.clear()
                await self._news.wait()

    async def ask(self, message: Mapping[str, Any], wanted: Callable[[Message], bool]) -> Message:
        """Send, and over UDP send the identical datagram again until an answer comes."""
        since = len(self.heard)
        self.send(message)
        answer = asyncio.ensure_future(self.wait(wanted, since=since))
        while self.over_udp and not answer.done():
            await asyncio.wait([answer], timeout=UDP_RESEND_S)
            if not answer.done():
                self.send(message)
        return await answer

    async def event(self, kind: str, *, since: int = 0) -> Message:
        return await self.wait(lambda m: m["type"] == "event" and m["kind"] == kind, since=since)

    async def hello(self) -> Message:
        pad = {"pad": "." * 300} if self.over_udp else {}
        return await self.ask({"type": "hello", **pad}, lambda m: m["type"] == "welcome")

    async def enter(self, kind: str, credentials: Message) -> Message:
        """Register or log in; returns `auth_ok` or `auth_fail`."""
        request: Message = {"type": kind}
        seal: Seal | None = None
        welcome = await self.hello() if self.over_udp or self.sealed else {}
        if self.sealed:
            seal = Seal(welcome["auth_public_key"])
            plaintext = json.dumps({**credentials, "timestamp": int(time.time())}).encode()
            request["encrypted_payload"] = seal.seal(plaintext)
        else:
            request |= credentials
        if self.over_udp:
            request["challenge"] = welcome["challenge"]
        answer = await self.ask(request, lambda m: m["type"] in {"auth_ok", "auth_fail"})
        if answer["type"] == "auth_ok":
            sealed_ticket = answer.get("sealed_ticket")
            self.ticket = seal.open(sealed_ticket) if seal and sealed_ticket else answer["ticket"]
            self.sid = answer.get("sid") or ""
            self.state = answer["state"]
            self.op_id = max(self.op_id, answer["last_op"])
        return answer

    async def register(self, username: str, password: str = "correct-horse-battery") -> Message:
        return await self.enter("register", {"username": username, "password": password})

    async def login(self, username: str, password: str = "correct-horse-battery") -> Message:
        return await self.enter("login", {"username": username, "password": password})

    async def resume(self) -> Message:
        return await self.enter("login", {"ticket": self.ticket})

    async def act(self, action: str, *, op: int | None = None, **fields: Any) -> Message:
        """An intent under a fresh op_id, or under `op`; returns the final `ack`, `nack` or `error`."""
        if op is None:
            self.op_id += 1
            op = self.op_id
        if action == "trade_confirm" and "terms" not in fields:
            fields["terms"] = next((message["terms"] for message in reversed(self.heard) if "terms" in message), "none")
        message = {"type": "intent", "action": action, "op_id": op, **fields}
        return await self.ask(message, lambda m: m["type"] in {"ack", "nack", "error"} and m.get("op_id") == op)

    async def done(self, action: str, **fields: Any) -> Message:
        """An intent that must succeed; returns its result."""
        answer = await self.act(action, **fields)
        assert answer["type"] == "ack", answer
        return answer["result"]

    async def refused(self, action: str, **fields: Any) -> str:
        """An intent that must fail; returns the reason."""
        answer = await self.act(action, **fields)
        assert answer["type"] in {"nack", "error"}, answer
        return answer["reason"]

    async def logout(self) -> None:
        await self.ask({"type": "logout"}, lambda m: m["type"] == "goodbye")

    def drop(self) -> None:
        """Leave without a word."""
        if self.wire is not None:
            self.wire.close()
