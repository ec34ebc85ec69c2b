import asyncio
import itertools
import json
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from typing import Any, Self

import pytest
from echo import ADA, Echo, Message
from sexpr import read

from realmkeep.clock import Clock, SystemClock
from realmkeep.realm.wire.bound_sockets import bind_sockets
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.fair_queue import FairQueue
from realmkeep.realm.wire.tcp import ARRIVING_BYTES_MAX, CONNECTIONS_MAX, LINE_BYTES_MAX, TcpServer
from realmkeep.testing.clock import FakeClock


class Line:
    """A TCP client that reads and writes lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self) -> Message:
        async with asyncio.timeout(10):
            return json.loads(await self.reader.readline())

    async def hang_up(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):  # the server may have been faster
            await self.writer.wait_closed()

    async def hung_up(self) -> bool:
        async with asyncio.timeout(10):
            await self.reader.read()
        return self.reader.at_eof()


class Streams:
    """A TCP server and its clients, all closed at the end."""

    def __init__(self, clock: Clock, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self.echo = Echo(Challenges(clock), clock)
        self.server = TcpServer(self.echo, clock, connections_max=connections_max)
        self.lines: list[Line] = []

    async def __aenter__(self) -> Self:
        self.doors = await bind_sockets("127.0.0.1", 0, 0)
        await self.server.listen(self.doors.tcp)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.doors.close()
        for line in self.lines:
            await line.hang_up()

    async def connect(self) -> Line:
        line = Line(*await asyncio.open_connection("127.0.0.1", self.doors.tcp_port))
        self.lines.append(line)
        return line


@pytest.fixture
async def tcp() -> AsyncGenerator[Streams]:
    async with Streams(SystemClock()) as streams:
        yield streams


async def test_lines_are_found_however_they_arrive(tcp: Streams) -> None:
    line = await tcp.connect()
    line.send(b'{"type": "hel')
    await asyncio.sleep(0)
    line.send(b'lo"}\r\n\n  \n(:TYPE :HELLO)\n{"type": "login", "ticket": "t"}\n')
    assert (await line.hear())["protocol"] == 1
    lisp = await line.reader.readline()
    assert read(lisp.decode())["type"] == "welcome"
    assert (await line.hear())["type"] == "auth_ok"


async def test_a_line_too_long_is_one_error_and_the_next_line_is_read(tcp: Streams) -> None:
    line = await tcp.connect()
    for length in (LINE_BYTES_MAX, 60 * LINE_BYTES_MAX):  # the longer one arrives in parts
        line.send(b'{"type": "hello", "pad": "' + b"." * length + b'"}\n{"type": "hello"}\n')
        assert (await line.hear())["reason"] == "too_large"
        assert (await line.hear())["type"] == "welcome"


async def test_a_line_of_exactly_16_kib_is_read(tcp: Streams) -> None:
    line = await tcp.connect()
    start = b'{"type": "hello", "pad": "'
    line.send(start + b"." * (LINE_BYTES_MAX - len(start) - 2) + b'"}\n')
    assert (await line.hear())["type"] == "welcome"


async def test_a_flood_of_errors_closes_the_connection_at_the_twentieth(tcp: Streams) -> None:
    line = await tcp.connect()
    line.send(b"{\n" * 40)
    reasons = [(await line.hear())["reason"] for _ in range(20)]
    assert reasons == ["malformed"] * 20
    assert await line.hung_up()


async def test_a_flood_of_nothing_closes_the_connection_too(tcp: Streams) -> None:
    line = await tcp.connect()
    line.send(b"\n" * 10_000)
    assert {(await line.hear())["reason"] for _ in range(20)} == {"rate_limited"}
    assert await line.hung_up()


async def test_who_says_much_at_once_is_heard_in_turn_with_everybody_else(tcp: Streams) -> None:
    line = await tcp.connect()
    line.send(b'{"type": "login", "ticket": "t"}\n')
    await line.hear()
    line.send(b"".join(b'{"type": "ping", "t": %d}\n' % number for number in range(200)))
    heard = [len(tcp.echo.handled)]
    async with asyncio.timeout(10):
        while heard[-1] < 201:
            await asyncio.sleep(0)
            heard.append(len(tcp.echo.handled))
    assert max(then - before for before, then in itertools.pairwise(heard)) <= 20
    assert [(await line.hear())["t"] for _ in range(200)] == [*range(200)]


async def test_strangers_keep_nobody_out_and_players_are_not_put_out() -> None:
    async with Streams(SystemClock(), connections_max=3) as tcp:
        player = await tcp.connect()
        player.send(b'{"type": "login", "ticket": "t"}\n')
        await player.hear()
        strangers: list[Line] = []
        for _ in range(4):
            stranger = await tcp.connect()
            strangers.append(stranger)
            stranger.send(b'{"type": "hello"}\n')
            assert (await stranger.hear())["type"] == "welcome"
        assert [await stranger.hung_up() for stranger in strangers[:2]] == [True, True]
        for stranger in strangers[2:]:
            stranger.send(b'{"type": "login", "ticket": "t"}\n')
            assert (await stranger.hear())["type"] == "auth_ok"
        assert await (await tcp.connect()).hung_up(), "all places are taken by players"
        player.send(b'{"type": "ping", "t": 1}\n')
        assert (await player.hear())["type"] == "pong"


class Pipe(asyncio.Transport):
    """A stream transport without a network."""

    def __init__(self, peername: tuple[str, int] | None, *, unread_bytes: int = 0, reset: bool = False) -> None:
        super().__init__(
            {"peername": peername, "socket": socket.socket(socket.AF_INET)}  # of which an option is set
        )
        self.unread_bytes = unread_bytes
        self.reset = reset
        self.aborted = False
        self.reading = True
        self.said = 0

    def write(self, data: Any) -> None:
        self.said += 1

    def write_eof(self) -> None:
        if self.reset:
            raise OSError(107, "Transport endpoint is not connected")

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.get_extra_info("socket").close()


def arrives(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    memoryview(protocol.get_buffer(-1))[: len(data)] = data
    protocol.buffer_updated(len(data))


@pytest.fixture
def piped() -> Generator[Callable[..., tuple[Pipe, TcpServer, asyncio.BufferedProtocol]]]:
    """A server with one connection that nobody else sees."""
    pipes: list[Pipe] = []

    def connected(
        peername: tuple[str, int] | None = ADA, **how: Any
    ) -> tuple[Pipe, TcpServer, asyncio.BufferedProtocol]:
        clock = FakeClock()
        server = TcpServer(Echo(Challenges(clock), clock), clock)
        pipes.append(pipe := Pipe(peername, **how))
        protocol = server.make_protocol()
        protocol.connection_made(pipe)
        return pipe, server, protocol

    yield connected
    for pipe in pipes:
        pipe.close()


async def test_who_is_gone_before_being_accepted_is_let_go(piped: Callable[..., Any]) -> None:
    pipe, server, protocol = piped(None)
    assert pipe.aborted
    assert server.peers == set()
    protocol.connection_lost(None)


async def test_a_connection_that_was_reset_can_be_closed(piped: Callable[..., Any]) -> None:
    pipe, server, _ = piped(reset=True)
    (peer,) = server.peers
    peer.close()
    await server.clock.advance(3)
    assert pipe.aborted


async def test_who_does_not_read_is_cut_off_a_stranger_sooner_than_a_player(piped: Callable[..., Any]) -> None:
    pipe, _, protocol = piped(unread_bytes=100 * 1024)
    arrives(protocol, b'{"type": "hello"}\n')
    assert pipe.aborted
    pipe, _, protocol = piped(unread_bytes=100 * 1024)
    arrives(protocol, b'{"type": "login", "ticket": "t"}\n{"type": "ping"}\n')
    assert not pipe.aborted
    pipe.unread_bytes = 600 * 1024
    arrives(protocol, b'{"type": "ping"}\n')
    assert pipe.aborted


async def test_a_close_is_a_disconnect_of_who_was_logged_in(tcp: Streams) -> None:
    stranger, player = await tcp.connect(), await tcp.connect()
    stranger.send(b'{"type": "hello"}\n')
    await stranger.hear()
    player.send(b'{"type": "login", "ticket": "t"}\n')
    await player.hear()
    await stranger.hang_up()
    await player.hang_up()
    async with asyncio.timeout(10):
        await tcp.echo.somebody_went.wait()
    assert len(tcp.echo.gone) == 1


async def test_a_connection_that_does_not_log_in_is_closed_after_a_minute() -> None:
    clock = FakeClock()
    async with Streams(clock) as tcp:
        idle, player = await tcp.connect(), await tcp.connect()
        for line in (idle, player):
            line.send(b'{"type": "hello"}\n')
            await line.hear()
        player.send(b'{"type": "login", "ticket": "t"}\n')
        await player.hear()
        await clock.advance(61)
        assert await idle.hung_up()
        player.send(b'{"type": "ping", "t": 1}\n')
        assert (await player.hear())["type"] == "pong"


class Chatter:
    """Never done talking."""

    def process_input(self, queue: FairQueue) -> bool:
        return True


async def test_who_waits_to_be_heard_is_not_read_on_and_holds_little(piped: Callable[..., Any]) -> None:
    pipe, server, protocol = piped()
    (peer,) = server.peers
    server.queue_of(peer).serve(Chatter())
    assert len(protocol.get_buffer(-1)) == ARRIVING_BYTES_MAX, "however much there is, no more is taken at once"
    arrives(protocol, b'{"type": "hello"}\n' * 20)
    assert (pipe.reading, pipe.said) == (False, 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (pipe.reading, pipe.said) == (True, 20)
