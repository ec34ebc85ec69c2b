"""The protocol over UDP: one message a datagram. An address must prove itself with a challenge before a login."""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from realmkeep.clock import Clock
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.limits import STRANGERS_BURST, STRANGERS_PER_S, ErrorWindow, LruMap, TokenBucket, message_cost
from realmkeep.realm.wire.peer import Peer, RequestHandler
from realmkeep.realm.wire.reply_cache import ReplyCache
from realmkeep.realm.wire.requests import CredentialsRequest, HelloRequest, Request, read_request
from realmkeep.realm.wire.syntax import NODES_MAX, Message, decode, encode, syntax_of
from realmkeep.realm.wire.udp_socket import DATAGRAM_BYTES_MAX, Address, DatagramSocket

SILENCE_S: Final = 30.0
MUTE_S: Final = 60.0
SWEEP_S: Final = 1.0
LOST_AT_ONCE: Final = 100  # silent sessions that end in one turn of the loop, so that the tick runs in between
ADDRESSES_MAX: Final = 20_000  # addresses with a rate limiter; the least recently used goes first
TURN_S: Final = 0.003  # datagrams are processed for so long before the loop, and with it the tick, goes on
STRANGERS_TURN_S: Final = 0.001  # the strangers' part of a turn; their further datagrams are dropped unread
DATAGRAMS_AT_ONCE: Final = 1_000
STRANGERS_NODES_MAX: Final = 50  # a login has a dozen values, and forged addresses cost an attacker nothing


class _Limiter:
    """The state of an address without a session: its limits and nothing else."""

    def __init__(self, now_s: float) -> None:
        self.bucket = TokenBucket(now_s, rate_per_s=STRANGERS_PER_S, burst=STRANGERS_BURST)
        self.errors = ErrorWindow()
        self.muted_until_s = float("-inf")


class UdpPeer(Peer):
    """One session at one address; before `begin_session` a peer lives for one datagram."""

    def __init__(self, server: "UdpServer", address: Address, now_s: float) -> None:
        super().__init__(address.host, address.port, now_s)
        self.where = address
        self.sid = ""
        self.heard_s = 0.0  # time of the latest datagram, less the time that the server was stopped
        self._server = server

    @property
    def closing(self) -> bool:
        """Always False: UDP has no connections, and a lost client is noticed by its silence."""
        return False

    def write(self, encoded: bytes) -> None:
        """Send one datagram."""
        self._server.send(encoded, self.where)

    def begin_session(self, bucket: TokenBucket) -> str:
        """Begin a session under a fresh `sid`; it replaces an earlier session of this peer."""
        self.end_session()
        self.sid = secrets.token_hex(16)
        self.logged_in = True
        self.bucket = bucket
        self._server.add_session(self)
        return self.sid

    def end_session(self) -> None:
        """End the session; repeated datagrams still get their answers again."""
        self.logged_in = False
        self._server.remove_session(self)

    def close(self) -> None:
        """End the session and tell the game; UDP has no connection to close."""
        if self.logged_in:
            self.end_session()
            self._server.handler.peer_lost(self)


class UdpServer:
    """Listens for datagrams.

    Attributes:
        sessions: The peers with a session, by `sid`; the longest silent first.
        by_address: The same peers by address.
        accepting: Whether `register` and `login` are handled; otherwise they are ignored.
        handler: The game server.
        replies: The answers that a repeated datagram gets again.
    """

    def __init__(self, handler: RequestHandler, challenges: Challenges, clock: Clock) -> None:
        self.sessions: OrderedDict[str, UdpPeer] = OrderedDict()
        self.by_address: dict[Address, set[UdpPeer]] = {}
        self.accepting = True
        self.replies = ReplyCache()
        self.handler = handler
        self._challenges = challenges
        self._clock = clock
        self._sockets: list[DatagramSocket] = []
        self._strangers_s = 0.0  # time spent on strangers in this turn
        self._limiters = LruMap[Address, _Limiter](lambda: _Limiter(clock.monotonic_s()), entries_max=ADDRESSES_MAX)
        self._deaf_s = 0.0  # time for which this process was stopped so far: clients were not silent, but unread
        self._sweep_due_s = 0.0

    def listen(self, sockets: Sequence[DatagramSocket]) -> None:
        """Listen on these sockets, in the order of their `socket_index`; the server owns them from here on.

        The running loop must support `add_reader`.
        """
        self._sockets += sockets
        for udp_socket in sockets:
            asyncio.get_running_loop().add_reader(udp_socket.fileno(), self.receive_from, udp_socket)
        self._sweep_later(SWEEP_S)

    def close(self) -> None:
        """Stop listening and forget all sessions."""
        self.sessions.clear()
        self.by_address.clear()
        sockets, self._sockets = self._sockets, []
        for udp_socket in sockets:
            asyncio.get_running_loop().remove_reader(udp_socket.fileno())
            udp_socket.close()

    def send(self, encoded: bytes, address: Address) -> None:
        """Send one datagram, unless the server has been closed."""
        if address.socket_index < len(self._sockets):
            self._sockets[address.socket_index].send(encoded, address)

    def add_session(self, peer: UdpPeer) -> None:
        """Add a session that begins."""
        self.sessions[peer.sid] = peer
        self.by_address.setdefault(peer.where, set()).add(peer)
        self._heard(peer, self._clock.monotonic_s())

    def remove_session(self, peer: UdpPeer) -> None:
        """Remove a session that ends; harmless without one."""
        self.sessions.pop(peer.sid, None)
        here = self.by_address.get(peer.where, set())
        here.discard(peer)
        if not here:
            self.by_address.pop(peer.where, None)

    def receive_from(self, udp_socket: DatagramSocket) -> None:
        """Process the waiting datagrams, for `TURN_S` at most.

        During a flood the system's receive buffer fills up and drops players' datagrams with the others. Therefore each turn
        reads as many as it can instead of one.
        """
        until_s = self._clock.monotonic_s() + TURN_S
        self._strangers_s = 0.0
        for _ in range(DATAGRAMS_AT_ONCE):
            if (received := udp_socket.receive()) is None:
                break
            self.take_datagram(*received)
            if self._clock.monotonic_s() >= until_s:
                break

    def take_datagram(self, data: bytes, address: Address) -> None:
        """Process one datagram; a stranger's is dropped unread once strangers have used their part of the turn."""
        now_s = self._clock.monotonic_s()
        if address in self.by_address:
            self._read(data, address, now_s)
        elif self._strangers_s < STRANGERS_TURN_S:
            self._read(data, address, now_s)
            self._strangers_s += self._clock.monotonic_s() - now_s

    def _read(self, data: bytes, address: Address, now_s: float) -> None:
        answered = self.replies.find_address(address)
        peer = self._named(data, address)
        if peer is None and answered is None and not self._may_be_read(address, data, now_s):
            return
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if answered is not None:
            answers = answered.find_answers(digest, now_s)
            if answers is not None:
                if answered.may_repeat(answers, now_s):
                    self._again(address, answers, now_s)
                return
            if peer is None and not self._may_be_read(address, data, now_s):
                return
        try:
            if peer is not None:
                self._charge(peer, data, now_s)
            nodes_max = STRANGERS_NODES_MAX if peer is None else NODES_MAX
            message = decode(data, bytes_max=DATAGRAM_BYTES_MAX, nodes_max=nodes_max)
            session = self._session(message, address)
            if session is not None:
                self._handle(session, read_request(message, logged_in=True), data, digest, now_s)
            else:
                self._stranger(message, data, digest, address, now_s)
        except BadInput as error:
            self._refuse(error, peer, data, address, now_s)

    def _again(self, address: Address, answers: list[bytes], now_s: float) -> None:
        for encoded in answers:
            self.send(encoded, address)
        for peer in self.by_address.get(address, ()):
            self._heard(peer, now_s)

    def _may_be_read(self, address: Address, data: bytes, now_s: float) -> bool:
        """Whether the limits of its address allow reading a datagram without a session."""
        limiter = self._limiters[address]
        return now_s >= limiter.muted_until_s and limiter.bucket.take(now_s, message_cost(data))

    def _named(self, data: bytes, address: Address) -> UdpPeer | None:
        """The session that pays for reading a datagram: its `sid` stands in the bytes. None: a stranger's datagram."""
        return next((peer for peer in self.by_address.get(address, ()) if peer.sid.encode() in data), None)

    def _session(self, message: Message, address: Address) -> UdpPeer | None:
        sid = message.get("sid")
        peer = self.sessions.get(sid) if isinstance(sid, str) else None
        return peer if peer is not None and peer.where == address else None

    def _heard(self, peer: UdpPeer, now_s: float) -> None:
        peer.heard_s = now_s - self._deaf_s
        self.sessions.move_to_end(peer.sid)

    def _charge(self, peer: UdpPeer, data: bytes, now_s: float) -> None:
        self._heard(peer, now_s)
        peer.syntax = syntax_of(data)
        if not peer.bucket.take(now_s, message_cost(data)):
            raise BadInput("rate_limited", "too many messages; wait a little")

    def _stranger(self, message: Message, data: bytes, digest: bytes, address: Address, now_s: float) -> None:
        peer = UdpPeer(self, address, now_s)
        peer.syntax = syntax_of(data)
        request = read_request(message, logged_in=False)
        if isinstance(request, HelloRequest):
            self._answer_stranger(self.handler.welcome(peer), data, address)
        elif isinstance(request, CredentialsRequest) and self.accepting:
            if request.challenge is not None and self._challenges.holds(request.challenge, peer.address):
                self._handle(peer, request, data, digest, now_s)
            else:
                refusal = {"type": "auth_fail", "reason": "challenge_required"}
                self._answer_stranger(refusal, data, address)

    def _handle(self, peer: UdpPeer, request: Request, data: bytes, digest: bytes, now_s: float) -> None:
        """Handle a request of an address that has proved itself; only such an address has its replies kept."""
        answered = self.replies.begin_datagram(peer.where, digest, now_s)
        syntax = syntax_of(data)

        def answer(message: Mapping[str, object]) -> None:
            encoded = encode(message, syntax)
            answered.keep_answer(digest, encoded)
            self.send(encoded, peer.where)

        if isinstance(request, HelloRequest):
            answer(self.handler.welcome(peer))
        else:
            try:
                self.handler.handle_request(peer, request, answer)
            except BadInput:
                answered.forget_datagram(digest)
                raise

    def _answer_stranger(self, message: Mapping[str, object], data: bytes, address: Address) -> None:
        """Answer if the answer, perhaps without its `detail`, is no longer than the request.

        A longer answer would let a forged address use this server to amplify a flood against another host.
        """
        for shorter in (message, {name: value for name, value in message.items() if name != "detail"}):
            encoded = encode(shorter, syntax_of(data))
            if len(encoded) <= len(data):
                self.send(encoded, address)
                return

    def _refuse(self, error: BadInput, peer: UdpPeer | None, data: bytes, address: Address, now_s: float) -> None:
        """Answer an error; after twenty errors in ten seconds ignore an address without a session for a minute.

        A session gets an answer to every error, because its operations wait for answers; only `rate_limited` falls silent at
        that rate.
        """
        if peer is not None:
            if error.reason != "rate_limited" or not peer.errors.add(now_s):
                peer.send(error.message())
            return
        limiter = self._limiters[address]
        if now_s < limiter.muted_until_s:
            return
        if limiter.errors.add(now_s):
            limiter.muted_until_s = now_s + MUTE_S
        self._answer_stranger(error.message(), data, address)

    def _sweep(self) -> None:
        if not self._sockets:
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._sweep_due_s > SWEEP_S:  # this process was stopped, and datagrams of that time are still unread
            self._deaf_s += now_s - self._sweep_due_s
        silent = 0
        while self.sessions and silent < LOST_AT_ONCE:
            peer = next(iter(self.sessions.values()))
            if now_s - self._deaf_s - peer.heard_s <= SILENCE_S:
                break
            silent += 1
            peer.end_session()
            self.handler.peer_lost(peer)
        self.replies.expire_addresses(now_s)
        self._sweep_later(0.0 if silent == LOST_AT_ONCE else SWEEP_S)

    def _sweep_later(self, delay_s: float) -> None:
        self._sweep_due_s = self._clock.monotonic_s() + delay_s
        self._clock.call_later(delay_s, self._sweep)
