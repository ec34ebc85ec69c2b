"""The protocol over UDP: one message a datagram, and nothing believed of an address that has not proved itself."""

import asyncio
import hashlib
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TypeAlias, cast

from realmkeep.clock import Clock
from realmkeep.realm.wire.answered import Answered
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.limits import STRANGERS_BURST, STRANGERS_PER_S, Bounded, ErrorWindow, TokenBucket, price
from realmkeep.realm.wire.peer import Handler, Peer
from realmkeep.realm.wire.requests import Credentials, Hello, Request, read_request
from realmkeep.realm.wire.syntax import NODES_MAX, Message, decode, encode, syntax_of

DATAGRAM_BYTES_MAX: Final = 8 * 1024
SILENCE_S: Final = 30.0
MUTE_S: Final = 60.0
SWEEP_S: Final = 1.0
ADDRESSES_MAX: Final = 20_000  # of which anything is remembered; those used least recently go first
TURN_S: Final = 0.003  # datagrams are taken for so long before the loop, and with it the tick, goes on
STRANGERS_TURN_S: Final = 0.001  # of which strangers have so much: what they send beyond it is dropped unread
DATAGRAMS_AT_ONCE: Final = 1_000
UNREAD_BYTES_MAX: Final = (
    4 * 1024 * 1024
)  # the system may allow less; what does not fit is lost, strangers' and players'
STRANGERS_NODES_MAX: Final = 50  # addresses are forged for nothing, and a login has a dozen values

Address: TypeAlias = tuple[str, int]


class _Limiter:
    """All that is kept of an address without a session."""

    def __init__(self, now_s: float) -> None:
        self.bucket = TokenBucket(now_s, rate_per_s=STRANGERS_PER_S, burst=STRANGERS_BURST)
        self.errors = ErrorWindow()
        self.muted_until_s = float("-inf")


class UdpPeer(Peer):
    """One address; until `admit` it lives no longer than the datagram it was made for."""

    def __init__(self, server: "UdpServer", address: Address, now_s: float) -> None:
        super().__init__(address[0], address[1], now_s)
        self.where = address
        self.sid = ""
        self.heard_s = now_s
        self._server = server

    @property
    def closing(self) -> bool:
        """Never known: silence will tell."""
        return False

    def write(self, encoded: bytes) -> None:
        """Send one datagram."""
        self._server.send(encoded, self.where)

    def admit(self) -> str:
        """Begin a session under a fresh `sid`."""
        self.sid = secrets.token_hex(16)
        self.logged_in = True
        self.bucket = TokenBucket(self.heard_s)
        self._server.sessions[self.sid] = self
        self._server.by_address.setdefault(self.where, set()).add(self)
        return self.sid

    def dismiss(self) -> None:
        """End the session; what was answered is still answered again."""
        self.logged_in = False
        self._server.sessions.pop(self.sid, None)
        here = self._server.by_address.get(self.where, set())
        here.discard(self)
        if not here:
            self._server.by_address.pop(self.where, None)

    def close(self) -> None:
        """End the session: there is no connection to end."""
        self.dismiss()


class UdpServer(asyncio.DatagramProtocol):
    """Listens for datagrams.

    Attributes:
        sessions: The peers that are logged in, by `sid`.
        by_address: The same, by where they are.
        port: The port it listens on.
        accepting: False: `register` and `login` are ignored.
    """

    def __init__(self, handler: Handler, challenges: Challenges, clock: Clock) -> None:
        self.sessions: dict[str, UdpPeer] = {}
        self.by_address: dict[Address, set[UdpPeer]] = {}
        self.port = 0
        self.accepting = True
        self._handler = handler
        self._challenges = challenges
        self._clock = clock
        self._transport: asyncio.DatagramTransport | None = None
        self._more: socket.socket | None = None
        self._strangers_s = 0.0  # spent on them in this turn
        self._limiters = Bounded[Address, _Limiter](lambda: _Limiter(clock.monotonic_s()), entries_max=ADDRESSES_MAX)
        self._answered = Bounded[Address, Answered](Answered, entries_max=ADDRESSES_MAX)
        self._closed = False
        self._sweep_due_s = 0.0

    @property
    def remembered_bytes(self) -> int:
        """What the answers weigh that may have to be given again."""
        return sum(answered.bytes for answered in self._answered)

    async def listen(self, host: str, port: int) -> None:
        """Start; port 0 picks a free one.

        Raises:
            OSError: The address cannot be used.
        """
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]
        more: socket.socket = transport.get_extra_info("socket").dup()
        with suppress(OSError):  # a system that gives no more serves with what it gives
            more.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_BYTES_MAX)
        self._more = more
        self._sweep_later(self._clock.monotonic_s())

    def close(self) -> None:
        """Stop listening and forget everybody."""
        self._closed = True
        self.sessions.clear()
        self.by_address.clear()
        if self._transport is not None:
            self._transport.close()
        if self._more is not None:
            self._more.close()
            self._more = None

    def send(self, encoded: bytes, address: Address) -> None:
        """Send one datagram, if there is still a socket to send it from."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(encoded, address)

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        """Take one datagram, and then those that wait: asyncio looks for one in each turn of the loop.

        A flood fills what the system keeps for us, and players' datagrams are lost with the others: so be quick to take them.
        """
        until_s = self._clock.monotonic_s() + TURN_S
        self._strangers_s = 0.0
        self._take(data, addr)
        for _ in range(DATAGRAMS_AT_ONCE - 1):
            if self._more is None or self._clock.monotonic_s() >= until_s:
                break
            try:
                data, addr = self._more.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except OSError:  # there are no more; whatever else it is, asyncio meets it at its next look
                break
            self._take(data, addr)

    def _take(self, data: bytes, addr: tuple[object, ...]) -> None:
        address = cast("Address", addr[:2])
        now_s = self._clock.monotonic_s()
        if address in self.by_address:
            self._read(data, address, now_s)
        elif self._strangers_s < STRANGERS_TURN_S:
            self._read(data, address, now_s)
            self._strangers_s += self._clock.monotonic_s() - now_s

    def _read(self, data: bytes, address: Address, now_s: float) -> None:
        answered = self._answered.get(address)
        strange = address not in self.by_address
        if strange and answered is None and not self._listens_to(address, data, now_s):
            return
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if answered is not None:
            answers = answered.answers(digest, now_s)
            if answers is not None:
                self._again(address, answers, now_s)
                return
            if strange and not self._listens_to(address, data, now_s):
                return
        peer: UdpPeer | None = None
        try:
            nodes_max = STRANGERS_NODES_MAX if strange else NODES_MAX
            message = decode(data, bytes_max=DATAGRAM_BYTES_MAX, nodes_max=nodes_max)
            peer = self._session(message, address)
            if peer is not None:
                self._message(peer, message, data, digest, now_s)
            elif strange or self._listens_to(address, data, now_s):
                self._stranger(message, data, digest, address, now_s)
        except BadInput as error:
            self._refuse(error, peer, data, address, now_s)

    def error_received(self, exc: Exception) -> None:
        """A client's port is closed: silence will tell."""

    def _again(self, address: Address, answers: list[bytes], now_s: float) -> None:
        for encoded in answers:
            self.send(encoded, address)
        for peer in self.by_address.get(address, ()):
            peer.heard_s = now_s

    def _listens_to(self, address: Address, data: bytes, now_s: float) -> bool:
        """Whether a datagram without a session is so much as read."""
        limiter = self._limiters[address]
        return now_s >= limiter.muted_until_s and limiter.bucket.take(now_s, price(data))

    def _session(self, message: Message, address: Address) -> UdpPeer | None:
        sid = message.get("sid")
        peer = self.sessions.get(sid) if isinstance(sid, str) else None
        return peer if peer is not None and peer.where == address else None

    def _message(self, peer: UdpPeer, message: Message, data: bytes, digest: bytes, now_s: float) -> None:
        peer.heard_s = now_s
        peer.syntax = syntax_of(data)
        if not peer.bucket.take(now_s, price(data)):
            raise BadInput("rate_limited", "too many messages; wait a little")
        self._handle(peer, read_request(message, logged_in=True), data, digest, now_s)

    def _stranger(self, message: Message, data: bytes, digest: bytes, address: Address, now_s: float) -> None:
        peer = UdpPeer(self, address, now_s)
        peer.syntax = syntax_of(data)
        request = read_request(message, logged_in=False)
        if isinstance(request, Hello):
            self._answer_stranger(self._handler.welcome(peer), data, address)
        elif isinstance(request, Credentials) and self.accepting:
            if request.challenge is not None and self._challenges.holds(request.challenge, peer.address):
                self._handle(peer, request, data, digest, now_s)
            else:
                refusal = {"type": "auth_fail", "reason": "challenge_required"}
                self._answer_stranger(refusal, data, address)

    def _handle(self, peer: UdpPeer, request: Request, data: bytes, digest: bytes, now_s: float) -> None:
        """Only for an address that has proved itself: from here on something is remembered of it."""
        answered = self._answered[peer.where]
        answered.began(digest, now_s)
        syntax = syntax_of(data)

        def answer(message: Mapping[str, object]) -> None:
            encoded = encode(message, syntax)
            answered.add(digest, encoded)
            self.send(encoded, peer.where)

        if isinstance(request, Hello):
            answer(self._handler.welcome(peer))
        else:
            self._handler.handle(peer, request, answer)

    def _answer_stranger(self, message: Mapping[str, object], data: bytes, address: Address) -> None:
        """Never longer than what was sent, so that nobody can aim us at somebody else."""
        encoded = encode(message, syntax_of(data))
        if len(encoded) <= len(data):
            self.send(encoded, address)

    def _refuse(self, error: BadInput, peer: UdpPeer | None, data: bytes, address: Address, now_s: float) -> None:
        """After twenty errors in ten seconds an address without a session is not heard for a minute.

        A session is told of each of its errors, but of `rate_limited` no oftener than that: its operations wait for answers.
        """
        limiter = self._limiters[address]
        if peer is not None:
            if error.reason != "rate_limited" or not peer.errors.add(now_s):
                peer.send(error.message())
            return
        if now_s < limiter.muted_until_s:
            return
        if limiter.errors.add(now_s):
            limiter.muted_until_s = now_s + MUTE_S
        self._answer_stranger(error.message(), data, address)

    def _sweep(self) -> None:
        if self._closed:
            return
        now_s = self._clock.monotonic_s()
        deaf_s = now_s - self._sweep_due_s
        for peer in [*self.sessions.values()]:
            if deaf_s > SWEEP_S:  # we were stopped, and what was said meanwhile has yet to be read
                peer.heard_s += deaf_s
            if now_s - peer.heard_s > SILENCE_S:
                peer.dismiss()
                self._handler.lost(peer)
        self._answered.drop(lambda answered: answered.expire(now_s))
        self._sweep_later(now_s)

    def _sweep_later(self, now_s: float) -> None:
        self._sweep_due_s = now_s + SWEEP_S
        self._clock.call_later(SWEEP_S, self._sweep)
