import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from typing import Any, Self

import pytest
from echo import ADA, Echo, Message
from lab import StallingClock
from sexpr import read, write

from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.intents import OFFER_SLOTS_MAX
from realmkeep.realm.wire.limits import BYTES_PER_TOKEN, STRANGERS_BURST
from realmkeep.realm.wire.syntax import decode
from realmkeep.realm.wire.udp import (
    DATAGRAM_BYTES_MAX,
    DATAGRAMS_AT_ONCE,
    STRANGERS_TURN_S,
    TURN_S,
    UNREAD_BYTES_MAX,
    UdpServer,
)

EVE = ("192.0.2.66", 4000)


class Net(asyncio.DatagramTransport):
    """Where the datagrams of a server go."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[bytes, tuple[Any, ...]]] = []
        self.waiting: list[tuple[bytes, Any]] = []

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.sent.append((bytes(data), addr))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("192.0.2.200", 4999), "socket": self}.get(name, default)

    def dup(self) -> Self:
        return self

    def setsockopt(self, *option: int) -> None:
        assert option == (socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_BYTES_MAX)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        assert size > DATAGRAM_BYTES_MAX, "one too long has to be seen as such"
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0)


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


async def test_datagrams_that_wait_are_taken_at_once(udp: Datagrams) -> None:
    sid = udp.log_in()
    ping = json.dumps({"type": "ping", "t": 1, "sid": sid}).encode()
    udp.net.waiting = [(b"(", EVE)] * (DATAGRAMS_AT_ONCE + 50) + [(ping, ADA)]
    udp.raw(b"", EVE)
    assert len(udp.net.waiting) == 50 + 2
    udp.server.datagram_received(b"", EVE)
    assert udp.net.waiting == []
    assert udp.net.sent[-1][1] == ADA, "a player's is found among the strangers'"


async def test_datagrams_are_taken_for_no_longer_than_a_turn_and_strangers_have_the_smaller_part_of_it(
    udp: Datagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid = udp.log_in()
    read = udp.server._read

    def slowly(*of: Any) -> None:
        udp.clock.stall(STRANGERS_TURN_S / 2.5)
        read(*of)

    monkeypatch.setattr(udp.server, "_read", slowly)
    hello = json.dumps({"type": "hello", "pad": "." * 300}).encode()
    udp.net.waiting = [(hello, ("192.0.2.1", 5000 + number)) for number in range(50)]
    udp.net.waiting += [(json.dumps({"type": "ping", "t": number, "sid": sid}).encode(), ADA) for number in range(50)]
    udp.net.sent.clear()
    udp.server.datagram_received(hello, EVE)
    heard = [where == ADA for _, where in udp.net.sent]
    turn = round(TURN_S / STRANGERS_TURN_S * 2.5 + 0.5)
    assert (heard.count(False), heard.count(True)) == (3, turn - 3)
    udp.net.sent.clear()
    udp.server.datagram_received(hello, ("192.0.2.7", 5000))
    assert udp.net.sent[0][1] == ("192.0.2.7", 5000), "in the next turn strangers are heard again"


async def test_a_stranger_cannot_make_us_read_thousands_of_values(udp: Datagrams) -> None:
    assert b"too many values" in udp.raw(lisp_of(60))[0]
    assert b"welcome" in udp.raw(lisp_of(40) + b" " * 300)[0]
    sid = udp.log_in()
    items = [{"slot": slot, "count": 999_999} for slot in range(OFFER_SLOTS_MAX)]
    offer = write({"type": "intent", "action": "trade_offer", "sid": sid, "items": items, "gold": 5})
    assert b":pong" in udp.raw(offer.encode())[0], "the longest message of a player is read"
