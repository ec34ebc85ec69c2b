import asyncio
import itertools
import json
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, Self

import pytest
from lab import StallingClock
from sexpr import read, write

from realmkeep.clock import Clock, SystemClock
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.intents import OFFER_SLOTS_MAX
from realmkeep.realm.wire.limits import BYTES_PER_TOKEN, STRANGERS_BURST
from realmkeep.realm.wire.peer import Answer, Peer
from realmkeep.realm.wire.requests import Login, Logout, Ping, Request
from realmkeep.realm.wire.syntax import decode
from realmkeep.realm.wire.tcp import CONNECTIONS_MAX, LINE_BYTES_MAX, TcpServer
from realmkeep.realm.wire.udp import DATAGRAM_BYTES_MAX, UdpServer
from realmkeep.testing.clock import FakeClock

Message = dict[str, Any]
ADA = ("192.0.2.1", 4000)
EVE = ("192.0.2.66", 4000)


class Echo:
    """A game in which everybody may come in and time is all there is."""

    def __init__(self, challenges: Challenges) -> None:
        self.challenges = challenges
        self.handled: list[Request] = []
        self.gone: list[Peer] = []
        self.waiting: list[Answer] = []
        self.somebody_went = asyncio.Event()

    def welcome(self, peer: Peer) -> Mapping[str, object]:
        return {
            "type": "welcome",
            "protocol": 1,
            "server": "a-server-with-a-name-of-the-longest-kind-there-is-which-has-63-ch",
            "auth_public_key": "ab" * 32,
            "challenge": self.challenges.make(peer.address),
        }

    def handle(self, peer: Peer, request: Request, answer: Answer) -> None:
        self.handled.append(request)
        match request:
            case Login(ticket="slow"):
                self.waiting.append(answer)
            case Login():
                answer({"type": "auth_ok", "sid": peer.admit(), "state": {"bank": "x" * 2_000}})
            case Logout():
                peer.dismiss()
                answer({"type": "goodbye"})
            case Ping(t="boom"):
                raise AssertionError
            case _:
                answer({"type": "pong", "t": getattr(request, "t", None), "tick": len(self.handled)})

    def lost(self, peer: Peer) -> None:
        self.gone.append(peer)
        self.somebody_went.set()


class Net(asyncio.DatagramTransport):
    """Where the datagrams of a server go."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[bytes, tuple[Any, ...]]] = []

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.sent.append((bytes(data), addr))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.200", 4999) if name == "sockname" else default


class Datagrams:
    """A UDP server without a network: what goes in and what comes out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = StallingClock()
        self.echo = Echo(Challenges(self.clock))
        self.server = UdpServer(self.echo, self.echo.challenges, self.clock)
        self.net = Net()

        async def endpoint(*_: Any, **__: Any) -> tuple[Net, UdpServer]:
            return self.net, self.server

        monkeypatch.setattr(asyncio.get_running_loop(), "create_datagram_endpoint", endpoint)

    def raw(self, data: bytes, address: tuple[str, int] = ADA) -> list[bytes]:
        self.net.sent.clear()
        self.server.datagram_received(data, address)
        assert all(where == address for _, where in self.net.sent)
        return [sent for sent, _ in self.net.sent]

    def ask(self, message: Message, address: tuple[str, int] = ADA) -> list[Message]:
        return [json.loads(answer) for answer in self.raw(json.dumps(message).encode(), address)]

    def challenge(self, address: tuple[str, int] = ADA) -> str:
        (welcome,) = self.ask({"type": "hello", "pad": "." * 300}, address)
        return welcome["challenge"]

    def log_in(self, address: tuple[str, int] = ADA) -> str:
        (answer,) = self.ask({"type": "login", "ticket": "t", "challenge": self.challenge(address)}, address)
        return answer["sid"]


@pytest.fixture
async def udp(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Datagrams]:
    datagrams = Datagrams(monkeypatch)
    await datagrams.server.listen("", 0)
    yield datagrams
    datagrams.server.close()


async def test_three_hundred_characters_make_room_for_a_welcome(udp: Datagrams) -> None:
    (welcome,) = udp.ask({"type": "hello", "pad": "." * 300})
    assert welcome["type"] == "welcome"
    lisp = udp.raw(b'(:type :hello :pad "' + b"." * 300 + b'")')
    assert read(lisp[0].decode())["challenge"] == welcome["challenge"]


@pytest.mark.parametrize(
    "data",
    [
        b'{"type": "hello"}',
        b"(:type :hello)",
        b"{",
        b"x",
        b'{"type": "ping"}',
        b'{"type": "login", "username": "a", "password": "b"}',
        b'{"type": "login", "ticket": "t", "challenge": "00"}',
        b'{"type": "register", "username": "a", "password": "b", "pad": "' + b"." * 100 + b'"}',
        b'{"type": "hello", "pad": "' + b"." * 60 + b'"}',
        b"{" + b"." * 60,
        b"." * (DATAGRAM_BYTES_MAX + 1),
    ],
)
async def test_amplification_by_udp_before_login_no_answer_is_longer_than_its_request(
    udp: Datagrams, data: bytes
) -> None:
    assert all(len(answer) <= len(data) for answer in udp.raw(data))


async def test_a_login_without_the_challenge_of_this_address_is_refused(udp: Datagrams) -> None:
    pad = "." * 60
    eves = udp.challenge(EVE)
    for challenge in ({}, {"challenge": eves}, {"challenge": "zz"}, {"challenge": ""}):
        (answer,) = udp.ask({"type": "login", "ticket": "t", "pad": pad, **challenge})
        assert answer == {"type": "auth_fail", "reason": "challenge_required"}
    assert udp.echo.handled == []


async def test_a_challenge_holds_for_thirty_seconds(udp: Datagrams) -> None:
    challenge = udp.challenge()
    await udp.clock.advance(29)
    (answer,) = udp.ask({"type": "login", "ticket": "t", "challenge": challenge})
    assert answer["type"] == "auth_ok"
    await udp.clock.advance(3)
    (answer,) = udp.ask({"type": "login", "ticket": "u", "challenge": challenge})
    assert answer["reason"] == "challenge_required"


async def test_before_login_nothing_is_kept_for_an_address_but_a_limiter(udp: Datagrams) -> None:
    for port in range(1, 50):
        udp.ask({"type": "hello", "pad": "." * 300}, ("192.0.2.9", port))
        udp.ask({"type": "login", "username": "a", "password": "b", "pad": "." * 300}, ("192.0.2.9", port))
    assert udp.server.sessions == {}
    assert udp.server.remembered_bytes == 0


async def test_a_datagram_from_another_address_cannot_use_a_sid(udp: Datagrams) -> None:
    sid = udp.log_in()
    (answer,) = udp.ask({"type": "ping", "sid": sid, "t": 1, "pad": "." * 100}, EVE)
    assert answer["reason"] == "not_logged_in"
    (answer,) = udp.ask({"type": "ping", "sid": sid, "t": 2})
    assert answer["t"] == 2


async def test_another_sessions_sid_is_no_good_either(udp: Datagrams) -> None:
    udp.log_in()
    eves = udp.log_in(EVE)
    (answer,) = udp.ask({"type": "ping", "sid": eves, "pad": "." * 100})
    assert answer["reason"] == "not_logged_in"


async def test_an_identical_datagram_gets_the_same_answer_without_a_second_effect(udp: Datagrams) -> None:
    sid = udp.log_in()
    ping = json.dumps({"type": "ping", "sid": sid, "t": 7}).encode()
    first = udp.raw(ping)
    handled = len(udp.echo.handled)
    await udp.clock.advance(20)
    assert udp.raw(ping) == first
    assert len(udp.echo.handled) == handled
    await udp.clock.advance(11)
    assert udp.raw(ping) != first
    assert len(udp.echo.handled) == handled + 1


async def test_a_login_sent_again_while_it_is_worked_on_is_one_login_and_both_get_its_answer(udp: Datagrams) -> None:
    login = json.dumps({"type": "login", "ticket": "slow", "challenge": udp.challenge()}).encode()
    assert udp.raw(login) == []
    assert udp.raw(login) == []
    (answer,) = udp.echo.waiting
    answer({"type": "pending", "op_id": 1})
    answer({"type": "auth_ok"})
    assert udp.raw(login) == [b'{"type":"pending","op_id":1}', b'{"type":"auth_ok"}']


async def test_thirty_seconds_of_silence_are_a_disconnect_and_any_datagram_is_none(udp: Datagrams) -> None:
    sid = udp.log_in()
    ping = {"type": "ping", "sid": sid}
    for _ in range(3):
        await udp.clock.advance(25)
        udp.ask(ping)
    assert udp.echo.gone == []
    await udp.clock.advance(32)
    assert [peer.address for peer in udp.echo.gone] == ["192.0.2.1 4000"]
    assert udp.server.sessions == {}


async def test_a_server_that_was_stopped_for_a_while_takes_nobody_for_silent(udp: Datagrams) -> None:
    sid = udp.log_in()
    udp.clock.stall(45.0)
    await udp.clock.advance(2)
    assert udp.ask({"type": "ping", "sid": sid, "t": 1})[0]["type"] == "pong"
    await udp.clock.advance(32)
    assert udp.server.sessions == {}


async def test_twenty_errors_in_ten_seconds_mute_a_strange_address_for_a_minute(udp: Datagrams) -> None:
    wrong = {"type": "dance", "pad": "." * 200}
    for _ in range(20):
        assert udp.ask(wrong)[0]["reason"] == "unknown_type"
    assert udp.ask(wrong) == []
    assert udp.ask({"type": "hello", "pad": "." * 300}) == []
    assert udp.ask({"type": "hello", "pad": "." * 300}, EVE) != []
    await udp.clock.advance(61)
    assert udp.ask({"type": "hello", "pad": "." * 300}) != []


async def test_errors_in_the_name_of_a_session_do_not_mute_it(udp: Datagrams) -> None:
    sid = udp.log_in()
    for number in range(60):
        udp.ask({"type": "dance", "t": number})  # anybody could send these
        assert udp.ask({"type": "dance", "t": number, "sid": sid})[0]["reason"] == "unknown_type"
    assert udp.ask({"type": "ping", "sid": sid, "t": 1})[0]["type"] == "pong"


async def test_a_session_that_floods_is_told_so_twenty_times_and_no_more(udp: Datagrams) -> None:
    sid = udp.log_in()
    answers = [answer for number in range(600) for answer in udp.ask({"type": "ping", "t": number, "sid": sid})]
    assert [answer["type"] for answer in answers] == ["pong"] * 400 + ["error"] * 19
    assert answers[-1]["reason"] == "rate_limited"


async def test_after_a_logout_the_sid_is_gone_and_the_answer_is_still_given(udp: Datagrams) -> None:
    sid = udp.log_in()
    logout = {"type": "logout", "sid": sid}
    assert udp.ask(logout) == [{"type": "goodbye"}]
    assert udp.ask(logout) == [{"type": "goodbye"}]
    assert udp.ask({"type": "ping", "sid": sid, "pad": "." * 100})[0]["reason"] == "not_logged_in"


async def test_what_is_remembered_of_an_address_is_bounded(udp: Datagrams) -> None:
    sid = udp.log_in()
    for number in range(2_000):
        udp.ask({"type": "ping", "sid": sid, "t": "x" * 250 + str(number)})
        await udp.clock.advance(0.01)
    assert 200 * 1024 < udp.server.remembered_bytes <= 256 * 1024


async def test_an_address_may_have_several_players_each_with_a_sid(udp: Datagrams) -> None:
    ada = udp.log_in()
    (bobs,) = udp.ask({"type": "login", "ticket": "bob", "challenge": udp.challenge()})
    assert udp.ask({"type": "logout", "sid": bobs["sid"]}) == [{"type": "goodbye"}]
    assert udp.ask({"type": "ping", "sid": ada, "t": 1})[0]["type"] == "pong"
    assert {peer.sid for peer in udp.server.by_address[ADA]} == {ada}
    udp.ask({"type": "logout", "sid": ada})
    assert udp.server.by_address == {}


def lisp_of(nodes: int) -> bytes:
    return b"(:type :hello :pad (" + b"1 " * (nodes - 6) + b"))"


async def test_a_flood_of_long_datagrams_is_not_even_read(udp: Datagrams, monkeypatch: pytest.MonkeyPatch) -> None:
    read_so_far: list[int] = []

    def counted(data: bytes, **how: Any) -> Message:
        read_so_far.append(len(data))
        return decode(data, **how)

    monkeypatch.setattr("realmkeep.realm.wire.udp.decode", counted)
    for number in range(500):
        udp.raw(b"(" + b"a " * 4_000 + str(number).encode())
    assert sum(read_so_far) <= STRANGERS_BURST * BYTES_PER_TOKEN
    assert udp.ask({"type": "hello", "pad": "." * 300}, EVE) != [], "somebody else is heard"


async def test_a_stranger_cannot_make_us_read_thousands_of_values(udp: Datagrams) -> None:
    assert b"too many values" in udp.raw(lisp_of(60))[0]
    assert b"welcome" in udp.raw(lisp_of(40) + b" " * 300)[0]
    sid = udp.log_in()
    items = [{"slot": slot, "count": 999_999} for slot in range(OFFER_SLOTS_MAX)]
    offer = write({"type": "intent", "action": "trade_offer", "sid": sid, "items": items, "gold": 5})
    assert b":pong" in udp.raw(offer.encode())[0], "the longest message of a player is read"


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
        self.echo = Echo(Challenges(clock))
        self.server = TcpServer(self.echo, clock, connections_max=connections_max)
        self.lines: list[Line] = []

    async def __aenter__(self) -> Self:
        await self.server.listen("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for line in self.lines:
            await line.hang_up()

    async def connect(self) -> Line:
        line = Line(*await asyncio.open_connection("127.0.0.1", self.server.port))
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

    def write(self, data: Any) -> None:
        pass

    def write_eof(self) -> None:
        if self.reset:
            raise OSError(107, "Transport endpoint is not connected")

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def resume_reading(self) -> None:
        pass

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
        server = TcpServer(Echo(Challenges(clock)), clock)
        pipes.append(pipe := Pipe(peername, **how))
        protocol = server.accepted()
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
