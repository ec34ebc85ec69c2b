"""The protocol over TCP: one message a line."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, cast

from realmkeep.clock import Clock, Timer
from realmkeep.quotas import Limit, PlaceQuota
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.fair_queue import PLAYERS_TURN_S, STRANGERS_TURN_S, FairQueue
from realmkeep.realm.wire.limits import TokenBucket, message_cost
from realmkeep.realm.wire.peer import Peer, RequestHandler
from realmkeep.realm.wire.requests import HelloRequest, read_request
from realmkeep.realm.wire.syntax import WHITE_SPACE, decode, encode, syntax_of
from realmkeep.realm.wire.tls import HANDSHAKE_S, HandshakeQueue

LINE_BYTES_MAX: Final = 16 * 1024
ARRIVING_BYTES_MAX: Final = 16 * 1024  # read from one connection at once
LOGIN_S: Final = 60.0  # a connection that has no session by then is closed
LINES_AT_ONCE: Final = 16  # of one client, before the tick and the other clients have their turn
UNREAD_BYTES_MAX: Final = 512 * 1024  # send buffer of a client, 60 of the longest answers; beyond it we disconnect
UNREAD_BYTES_MAX_STRANGER: Final = 16 * 1024  # 40 of the longest answers before a login; strangers may be many
SILENCE_S: Final = 300.0  # a client with a session sends something in that time, at least `ping`
DEAF_S: Final = 5.0  # a timer so late means that this process was stopped, and that input is still unread
LINGER_S: Final = 2.0  # time for a client to close its end after `goodbye`
CONNECTIONS_MAX: Final = 10_000
ACCEPTED_AT_ONCE: Final = 32  # asyncio accepts so many in one turn of the loop: it delays a tick by about 3 ms
BACKLOG: Final = 1024  # connections that the system holds until the server accepts them


class TcpPeer(Peer):
    """One TCP connection."""

    def __init__(self, server: "TcpServer", transport: asyncio.Transport) -> None:
        host, port = transport.get_extra_info("peername")[:2]
        super().__init__(host, port, server.clock.monotonic_s())
        self._server = server
        self._transport = transport
        self._encrypted = False
        self.hold = server.shares.hold(host)
        self._deadline: Timer | None = None  # for the login, or for the next message
        self._heard_s = 0.0
        self._closing = False
        self._await_login()

    @property
    def closing(self) -> bool:
        """Whether the connection is ending: nothing more is sent or read."""
        return self._closing or self._transport.is_closing()

    def write(self, encoded: bytes) -> None:
        """Send one line; a client whose send buffer is full is disconnected."""
        if self.closing:
            return
        self._transport.write(encoded + b"\n")
        unread_bytes_max = UNREAD_BYTES_MAX if self.logged_in else UNREAD_BYTES_MAX_STRANGER
        if self._transport.get_write_buffer_size() > unread_bytes_max:
            self._transport.abort()

    def begin_session(self, bucket: TokenBucket) -> None:
        """Begin a session. It has no `sid`: the connection identifies it."""
        self.logged_in = True
        self.bucket = bucket
        self._stop_waiting()
        self._heard_s = self._server.clock.monotonic_s()
        self._listen_for(self._server.silence_s)

    def end_session(self) -> None:
        """End the session; the client has a minute to log in again."""
        self.logged_in = False
        self._await_login()

    def close(self) -> None:
        """Close the connection once everything sent has left.

        Closing a socket with unread input resets the connection, and the client may lose the last messages. Therefore the
        server ends its own direction first and lets the client close the other.
        """
        if self.closing:
            return
        self._closing = True
        if not self._encrypted:
            with suppress(OSError):  # the client has reset the connection already
                self._transport.write_eof()
        else:  # TLS has no half-closed connections: it ends with a `close_notify`
            self._transport.close()
        self._server.clock.call_later(LINGER_S, self._transport.abort)

    def use_tls(self, transport: asyncio.Transport) -> None:
        """Use an encrypted transport from here on."""
        self._transport = transport
        self._encrypted = True

    def abort(self) -> None:
        """Close the connection at once, to make room for another client."""
        self._stop_waiting()
        self.hold.release()
        self._transport.abort()

    def connection_ended(self) -> None:
        """Note that the connection has ended."""
        self._stop_waiting()
        self.hold.release()
        if self.logged_in:
            self.logged_in = False
            self._server.handler.peer_lost(self)

    def take_line(self, encoded: bytes) -> None:
        """Process one line; the twentieth error within ten seconds ends the connection."""
        now_s = self._heard_s = self._server.clock.monotonic_s()
        try:
            self._process(encoded, now_s)
        except BadInput as error:
            self.send(error.message())
            if self.errors.add(now_s):
                self.close()

    def _process(self, encoded: bytes, now_s: float) -> None:
        if not self.bucket.take(now_s, message_cost(encoded) if len(encoded) <= LINE_BYTES_MAX else 1.0):
            raise BadInput("rate_limited", "too many messages; wait a little")
        if not encoded.strip(WHITE_SPACE):
            return
        self.syntax = syntax_of(encoded)
        request = read_request(decode(encoded, bytes_max=LINE_BYTES_MAX), logged_in=self.logged_in)
        syntax = self.syntax
        if isinstance(request, HelloRequest):
            self.send(self._server.handler.welcome(self))
        else:
            self._server.handler.handle_request(self, request, lambda answer: self.write(encode(answer, syntax)))

    def _await_login(self) -> None:
        self._stop_waiting()
        self._deadline = self._server.clock.call_later(LOGIN_S, self.close)
        self._server.strangers.add(self)

    def _listen_for(self, seconds: float) -> None:
        """Check after `seconds` whether the client has sent anything, and disconnect it if not.

        If this process was stopped meanwhile, the client gets more time: its messages may still be unread.
        """
        due_s = self._server.clock.monotonic_s() + seconds

        def check_silence() -> None:
            now_s = self._server.clock.monotonic_s()
            left_s = self._heard_s + self._server.silence_s - now_s
            if now_s - due_s > DEAF_S:
                left_s = max(left_s, DEAF_S)
            if left_s > 0:
                self._listen_for(left_s)
                return
            self.send({"type": "goodbye", "reason": "silent"})
            self.close()

        self._deadline = self._server.clock.call_later(seconds, check_silence)

    def _stop_waiting(self) -> None:
        self._server.strangers.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Strangers:
    """The connections without a session, the oldest first: of all networks, and of each."""

    def __init__(self) -> None:
        self._all: dict[TcpPeer, None] = {}
        self._of: dict[str, dict[TcpPeer, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, peer: TcpPeer) -> None:
        """Add a connection as the youngest."""
        self._all[peer] = None
        for network in peer.hold.networks:
            self._of.setdefault(network, {})[peer] = None

    def discard(self, peer: TcpPeer) -> None:
        """Remove a connection that has logged in or ended."""
        self._all.pop(peer, None)
        for network in peer.hold.networks:
            here = self._of.get(network, {})
            here.pop(peer, None)
            if not here:
                self._of.pop(network, None)

    def oldest(self, network: str | None = None) -> TcpPeer | None:
        """The oldest connection of a network, or of all; None if there is none."""
        return next(iter(self._all if network is None else self._of.get(network, ())), None)


class _LineProtocol(asyncio.BufferedProtocol):
    """Splits the input of one connection into lines, and processes a few of them at a time."""

    def __init__(self, server: "TcpServer") -> None:
        self._server = server
        self._peer: TcpPeer | None = None
        self._buffer = bytearray()
        self._skipping = False  # the rest of an overlong line
        self._stream: asyncio.Transport | None = None
        self._waiting = False  # for a turn of the queue; reading is paused meanwhile
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = self._stream = cast("asyncio.Transport", transport)
        peername = stream.get_extra_info("peername")  # None: the client has closed it already
        if peername is None or not self._server.makes_room(peername[0]):
            stream.abort()
            return
        connected: socket.socket = stream.get_extra_info("socket")
        with suppress(OSError):  # macOS refuses it if the client has closed already; keep-alive is optional
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._peer = TcpPeer(self._server, stream)
        self._server.peers.add(self._peer)
        if self._server.handshakes is not None:
            self._waiting = True  # bytes before the end of the handshake belong to TLS
            # Not at once: before Python 3.11.5 the loop begins to read after this call, paused or not.
            asyncio.get_running_loop().call_soon(stream.pause_reading)
            self._server.handshakes.begin(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._handshake is not None:
            self._handshake.cancel()
        if self._peer is not None:
            self._server.peers.discard(self._peer)
            self._peer.connection_ended()
            self._peer = None

    @property
    def ended(self) -> bool:
        """Whether the connection has ended or is ending."""
        return self._peer is None or self._peer.closing

    def secure(self, context: ssl.SSLContext) -> None:
        """Begin the TLS handshake."""
        assert self._server.handshakes is not None  # the handshake queue has called
        self._handshake = self._server.handshakes.tasks.run("TLS handshake", self._shake_hands(context))

    async def _shake_hands(self, context: ssl.SSLContext) -> None:
        stream, peer = self._stream, self._peer
        assert stream is not None  # the connection is made
        assert peer is not None
        try:
            async with self._server.clock.timeout(HANDSHAKE_S):
                secured = await asyncio.get_running_loop().start_tls(
                    stream, self, context, server_side=True, ssl_shutdown_timeout=LINGER_S
                )
        except (OSError, TimeoutError):  # a stranger's failed handshake is not worth a log line
            secured = None
        self._handshake = None
        if secured is None or stream.is_closing():
            stream.abort()
            self.connection_lost(None)  # asyncio does not call it for a connection without a finished handshake
            return
        self._stream = secured
        peer.use_tls(secured)
        self._waiting = False
        if self._buffer:
            self._enqueue()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The shared receive buffer: a connection itself holds one line and one read at most."""
        return self._server.arriving

    def buffer_updated(self, nbytes: int) -> None:
        self._buffer += self._server.arriving[:nbytes]
        if not self._waiting:
            self._enqueue()

    def _enqueue(self) -> None:
        if self._peer is None:
            return
        self._waiting = True
        self._server.queue_of(self._peer).serve(self)
        if self._waiting and self._stream is not None:
            self._stream.pause_reading()

    def process_input(self, queue: FairQueue) -> bool:
        """Process at most `LINES_AT_ONCE` lines; returns whether more are left."""
        start = 0
        for _ in range(LINES_AT_ONCE):
            end = self._buffer.find(b"\n", start)
            if end < 0:
                break
            if not self._skipping:
                self._take(start, end)
            self._skipping = False
            start = end + 1
            if queue.turn_is_over:
                break
        del self._buffer[:start]
        if self._peer is None or self._peer.closing:
            self._buffer.clear()
        if b"\n" in self._buffer:
            return True
        if len(self._buffer) > LINE_BYTES_MAX:
            if not self._skipping:
                self._take(0, len(self._buffer))
            self._skipping = True
            self._buffer.clear()
        self._waiting = False
        if self._stream is not None:
            self._stream.resume_reading()
        return False

    def _take(self, start: int, end: int) -> None:
        if self._peer is not None and not self._peer.closing:
            self._peer.take_line(bytes(self._buffer[start:end]))


class TcpServer:
    """Listens for TCP clients.

    Attributes:
        peers: All connections, with or without a session.
        strangers: The connections without a session.
        shares: Bounds the connections of each network.
        silence_s: Longest silence of a client with a session, in seconds.
        handshakes: Makes connections begin with TLS; None: without TLS.
        arriving: The receive buffer of all connections; its bytes are valid until `buffer_updated` returns.
    """

    def __init__(
        self,
        handler: RequestHandler,
        clock: Clock,
        *,
        connections_max: int = CONNECTIONS_MAX,
        shares: PlaceQuota | None = None,
        silence_s: float = SILENCE_S,
        handshakes: HandshakeQueue | None = None,
    ) -> None:
        self.handler = handler
        self.clock = clock
        self.silence_s = silence_s
        self.handshakes = handshakes
        self.shares = shares or PlaceQuota(Limit(connections_max, connections_max))
        self.peers: set[TcpPeer] = set()
        self.strangers = Strangers()
        self._connections_max = connections_max
        self.arriving = memoryview(bytearray(ARRIVING_BYTES_MAX))
        self._player_queue = FairQueue(clock, PLAYERS_TURN_S)
        self._stranger_queue = FairQueue(clock, STRANGERS_TURN_S)
        self._servers: list[asyncio.Server] = []

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Listen on bound sockets; the server owns them from here on.

        Raises:
            OSError: Another server listens on the same port.
        """
        loop = asyncio.get_running_loop()
        for bound in sockets:
            self._servers.append(await loop.create_server(self.make_protocol, sock=bound, backlog=ACCEPTED_AT_ONCE))
            with bound.dup() as same:
                same.listen(BACKLOG)

    def queue_of(self, peer: TcpPeer) -> FairQueue:
        """The queue that serves a peer: that of the players or that of the strangers."""
        return self._player_queue if peer.logged_in else self._stranger_queue

    def make_protocol(self) -> asyncio.BufferedProtocol:
        """The protocol of one new connection."""
        return _LineProtocol(self)

    def makes_room(self, host: str) -> bool:
        """Whether one more connection is allowed; if all places are taken, the oldest stranger makes room.

        Connections that never log in, however many, therefore lock no player out. If a network has used its own places, the
        oldest stranger of this network makes room, so that other networks lose nothing.
        """
        full = self.shares.full(host)
        if full is None and len(self.peers) < self._connections_max:
            return True
        oldest = self.strangers.oldest(full)
        if oldest is None:
            return False
        oldest.abort()
        return True

    def stop_accepting(self) -> None:
        """Refuse new connections; open ones continue."""
        for server in self._servers:
            server.close()

    def close(self) -> None:
        """Stop accepting, and close every connection once everything sent has left."""
        self.stop_accepting()
        for peer in [*self.peers]:
            peer.close()
