import json
import socket
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from echo import Echo, Message
from lab import StallingClock
from sexpr import read, write

from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.intents import OFFER_SLOTS_MAX
from realmkeep.realm.wire.limits import BYTES_PER_TOKEN, STRANGERS_BURST
from realmkeep.realm.wire.peer import Peer
from realmkeep.realm.wire.reply_cache import AGAIN_BURST
from realmkeep.realm.wire.syntax import decode
from realmkeep.realm.wire.udp import DATAGRAMS_AT_ONCE, LOST_AT_ONCE, STRANGERS_TURN_S, TURN_S, UdpServer
from realmkeep.realm.wire.udp_socket import DATAGRAM_BYTES_MAX, Address

ADA = Address("192.0.2.1", 4000)
EVE = Address("192.0.2.66", 4000)


class Net:
    """A door: where the datagrams of a server wait, and where they go."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # for the loop to watch
        self.sent: list[tuple[bytes, Address]] = []
        self.waiting: list[tuple[bytes, Address]] = []

    def receive(self) -> tuple[bytes, Address] | None:
        return self.waiting.pop(0) if self.waiting else None

    def send(self, encoded: bytes, to: Address) -> None:
        self.sent.append((encoded, to))

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()


class Lines:
    """A UDP server without a network: what goes in and what comes out."""

    def __init__(self) -> None:
        self.clock = StallingClock()
        self.echo = Echo(Challenges(self.clock), self.clock)
        self.server = UdpServer(self.echo, self.echo.challenges, self.clock)
        self.net = Net()

    def turn(self, *waiting: tuple[bytes, Address]) -> None:
        """One turn of the loop, in which these come after what waits already."""
        self.net.waiting += waiting
        self.server.receive_from(self.net)

    def raw(self, data: bytes, address: Address = ADA) -> list[bytes]:
        self.net.sent.clear()
        self.turn((data, address))
        assert all(where == address for _, where in self.net.sent)
        return [sent for sent, _ in self.net.sent]

    def ask(self, message: Message, address: Address = ADA) -> list[Message]:
        return [json.loads(answer) for answer in self.raw(json.dumps(message).encode(), address)]

    def challenge(self, address: Address = ADA) -> str:
        (welcome,) = self.ask({"type": "hello", "pad": "." * 300}, address)
        return welcome["challenge"]

    def log_in(self, address: Address = ADA) -> str:
        (answer,) = self.ask({"type": "login", "ticket": "t", "challenge": self.challenge(address)}, address)
        return answer["sid"]


@pytest.fixture
async def udp() -> AsyncGenerator[Lines]:
    lines = Lines()
    lines.server.listen([lines.net])
    yield lines
    lines.server.close()


async def test_three_hundred_characters_make_room_for_a_welcome(udp: Lines) -> None:
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
async def test_amplification_by_udp_before_login_no_answer_is_longer_than_its_request(udp: Lines, data: bytes) -> None:
    assert all(len(answer) <= len(data) for answer in udp.raw(data))


async def test_a_login_without_the_challenge_of_this_address_is_refused(udp: Lines) -> None:
    pad = "." * 60
    eves = udp.challenge(EVE)
    for challenge in ({}, {"challenge": eves}, {"challenge": "zz"}, {"challenge": ""}):
        (answer,) = udp.ask({"type": "login", "ticket": "t", "pad": pad, **challenge})
        assert answer == {"type": "auth_fail", "reason": "challenge_required"}
    assert udp.echo.handled == []


async def test_a_challenge_holds_for_thirty_seconds(udp: Lines) -> None:
    challenge = udp.challenge()
    await udp.clock.advance(29)
    (answer,) = udp.ask({"type": "login", "ticket": "t", "challenge": challenge})
    assert answer["type"] == "auth_ok"
    await udp.clock.advance(3)
    (answer,) = udp.ask({"type": "login", "ticket": "u", "challenge": challenge})
    assert answer["reason"] == "challenge_required"


async def test_before_login_nothing_is_kept_for_an_address_but_a_limiter(udp: Lines) -> None:
    for port in range(1, 50):
        udp.ask({"type": "hello", "pad": "." * 300}, Address("192.0.2.9", port))
        udp.ask({"type": "login", "username": "a", "password": "b", "pad": "." * 300}, Address("192.0.2.9", port))
    assert udp.server.sessions == {}
    assert udp.server.replies.bytes == 0


async def test_a_datagram_from_another_address_cannot_use_a_sid(udp: Lines) -> None:
    sid = udp.log_in()
    (answer,) = udp.ask({"type": "ping", "sid": sid, "t": 1, "pad": "." * 100}, EVE)
    assert answer["reason"] == "not_logged_in"
    (answer,) = udp.ask({"type": "ping", "sid": sid, "t": 2})
    assert answer["t"] == 2


async def test_another_sessions_sid_is_no_good_either(udp: Lines) -> None:
    udp.log_in()
    eves = udp.log_in(EVE)
    (answer,) = udp.ask({"type": "ping", "sid": eves, "pad": "." * 100})
    assert answer["reason"] == "not_logged_in"


async def test_an_identical_datagram_gets_the_same_answer_without_a_second_effect(udp: Lines) -> None:
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


async def test_a_login_sent_again_while_it_is_worked_on_is_one_login_and_both_get_its_answer(udp: Lines) -> None:
    login = json.dumps({"type": "login", "ticket": "slow", "challenge": udp.challenge()}).encode()
    assert udp.raw(login) == []
    assert udp.raw(login) == []
    (answer,) = udp.echo.waiting
    answer({"type": "pending", "op_id": 1})
    answer({"type": "auth_ok"})
    assert udp.raw(login) == [b'{"type":"pending","op_id":1}', b'{"type":"auth_ok"}']


async def test_thirty_seconds_of_silence_are_a_disconnect_and_any_datagram_is_none(udp: Lines) -> None:
    sid = udp.log_in()
    ping = {"type": "ping", "sid": sid}
    for _ in range(3):
        await udp.clock.advance(25)
        udp.ask(ping)
    assert udp.echo.gone == []
    await udp.clock.advance(32)
    assert [peer.address for peer in udp.echo.gone] == ["192.0.2.1 4000"]
    assert udp.server.sessions == {}


async def test_a_server_that_was_stopped_for_a_while_takes_nobody_for_silent(udp: Lines) -> None:
    sid = udp.log_in()
    udp.clock.stall(45.0)
    await udp.clock.advance(2)
    assert udp.ask({"type": "ping", "sid": sid, "t": 1})[0]["type"] == "pong"
    await udp.clock.advance(32)
    assert udp.server.sessions == {}


async def test_twenty_errors_in_ten_seconds_mute_a_strange_address_for_a_minute(udp: Lines) -> None:
    wrong = {"type": "dance", "pad": "." * 200}
    for _ in range(20):
        assert udp.ask(wrong)[0]["reason"] == "unknown_type"
    assert udp.ask(wrong) == []
    assert udp.ask({"type": "hello", "pad": "." * 300}) == []
    assert udp.ask({"type": "hello", "pad": "." * 300}, EVE) != []
    await udp.clock.advance(61)
    assert udp.ask({"type": "hello", "pad": "." * 300}) != []


async def test_errors_in_the_name_of_a_session_do_not_mute_it(udp: Lines) -> None:
    sid = udp.log_in()
    for number in range(60):
        udp.ask({"type": "dance", "t": number})  # anybody could send these
        assert udp.ask({"type": "dance", "t": number, "sid": sid})[0]["reason"] == "unknown_type"
    assert udp.ask({"type": "ping", "sid": sid, "t": 1})[0]["type"] == "pong"


async def test_a_session_that_floods_is_told_so_twenty_times_and_no_more(udp: Lines) -> None:
    sid = udp.log_in()
    answers = [answer for number in range(600) for answer in udp.ask({"type": "ping", "t": number, "sid": sid})]
    assert [answer["type"] for answer in answers] == ["pong"] * 400 + ["error"] * 19
    assert answers[-1]["reason"] == "rate_limited"


async def test_after_a_logout_the_sid_is_gone_and_the_answer_is_still_given(udp: Lines) -> None:
    sid = udp.log_in()
    logout = {"type": "logout", "sid": sid}
    assert udp.ask(logout) == [{"type": "goodbye"}]
    assert udp.ask(logout) == [{"type": "goodbye"}]
    assert udp.ask({"type": "ping", "sid": sid, "pad": "." * 100})[0]["reason"] == "not_logged_in"


async def test_what_is_remembered_of_an_address_is_bounded(udp: Lines) -> None:
    sid = udp.log_in()
    for number in range(2_000):
        udp.ask({"type": "ping", "sid": sid, "t": "x" * 250 + str(number)})
        await udp.clock.advance(0.01)
    assert 200 * 1024 < udp.server.replies.bytes <= 256 * 1024


async def test_an_address_may_have_several_players_each_with_a_sid(udp: Lines) -> None:
    ada = udp.log_in()
    (bobs,) = udp.ask({"type": "login", "ticket": "bob", "challenge": udp.challenge()})
    assert udp.ask({"type": "logout", "sid": bobs["sid"]}) == [{"type": "goodbye"}]
    assert udp.ask({"type": "ping", "sid": ada, "t": 1})[0]["type"] == "pong"
    assert {peer.sid for peer in udp.server.by_address[ADA]} == {ada}
    udp.ask({"type": "logout", "sid": ada})
    assert udp.server.by_address == {}


def lisp_of(nodes: int) -> bytes:
    return b"(:type :hello :pad (" + b"1 " * (nodes - 6) + b"))"


async def test_a_flood_of_long_datagrams_is_not_even_read(udp: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    read_so_far: list[int] = []

    def counted(data: bytes, **how: Any) -> Message:
        read_so_far.append(len(data))
        return decode(data, **how)

    monkeypatch.setattr("realmkeep.realm.wire.udp.decode", counted)
    for number in range(500):
        udp.raw(b"(" + b"a " * 4_000 + str(number).encode())
    assert sum(read_so_far) <= STRANGERS_BURST * BYTES_PER_TOKEN
    assert udp.ask({"type": "hello", "pad": "." * 300}, EVE) != [], "somebody else is heard"


async def test_datagrams_that_wait_are_taken_at_once(udp: Lines) -> None:
    sid = udp.log_in()
    ping = json.dumps({"type": "ping", "t": 1, "sid": sid}).encode()
    udp.turn(*[(b"(", EVE)] * (DATAGRAMS_AT_ONCE + 50), (ping, ADA))
    assert len(udp.net.waiting) == 50 + 1
    udp.turn()
    assert udp.net.waiting == []
    assert udp.net.sent[-1][1] == ADA, "a player's is found among the strangers'"


async def test_datagrams_are_taken_for_no_longer_than_a_turn_and_strangers_have_the_smaller_part_of_it(
    udp: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid = udp.log_in()
    read = udp.server._read

    def slowly(*of: Any) -> None:
        udp.clock.stall(STRANGERS_TURN_S / 2.5)
        read(*of)

    monkeypatch.setattr(udp.server, "_read", slowly)
    hello = json.dumps({"type": "hello", "pad": "." * 300}).encode()
    udp.net.waiting = [(hello, Address("192.0.2.1", 5000 + number)) for number in range(50)]
    udp.net.waiting += [(json.dumps({"type": "ping", "t": number, "sid": sid}).encode(), ADA) for number in range(50)]
    udp.net.sent.clear()
    udp.turn()
    heard = [where == ADA for _, where in udp.net.sent]
    turn = round(TURN_S / STRANGERS_TURN_S * 2.5 + 0.5)
    assert (heard.count(False), heard.count(True)) == (3, turn - 3)
    udp.net.sent.clear()
    udp.net.waiting.clear()
    udp.turn((hello, Address("192.0.2.7", 5000)))
    assert udp.net.sent[0][1] == Address("192.0.2.7", 5000), "in the next turn strangers are heard again"


async def test_a_stranger_cannot_make_us_read_thousands_of_values(udp: Lines) -> None:
    assert b"too many values" in udp.raw(lisp_of(60))[0]
    assert b"welcome" in udp.raw(lisp_of(40) + b" " * 300)[0]
    sid = udp.log_in()
    items = [{"slot": slot, "count": 999_999} for slot in range(OFFER_SLOTS_MAX)]
    offer = write({"type": "intent", "action": "trade_offer", "sid": sid, "items": items, "gold": 5})
    assert b":pong" in udp.raw(offer.encode())[0], "the longest message of a player is read"


# --- what strangers and players leave behind


async def test_a_login_under_an_existing_sid_ends_that_sid(udp: Lines) -> None:
    sids = [udp.log_in()]
    for number in range(200):
        await udp.clock.advance(0.2)
        (answer,) = udp.ask({"type": "login", "ticket": f"t{number}", "sid": sids[-1]})
        sids.append(answer["sid"])
    assert [*udp.server.sessions] == sids[-1:]
    assert len(udp.server.by_address[ADA]) == 1
    assert udp.ask({"type": "ping", "sid": sids[0], "t": 1, "pad": "." * 100})[0]["reason"] == "not_logged_in"
    assert udp.ask({"type": "ping", "sid": sids[-1], "t": 1})[0]["type"] == "pong"
    udp.ask({"type": "logout", "sid": sids[-1]})
    assert (udp.server.sessions, udp.server.by_address) == ({}, {})


async def test_identical_datagrams_are_answered_again_but_not_without_limit(udp: Lines) -> None:
    sid = udp.log_in()
    ping = json.dumps({"type": "ping", "sid": sid, "t": 7}).encode()
    assert sum(len(udp.raw(ping)) for _ in range(5_000)) <= AGAIN_BURST + 1
    await udp.clock.advance(1)
    assert udp.raw(ping), "a client that is patient is answered"
    login = json.dumps({"type": "login", "ticket": "t", "challenge": udp.challenge(EVE)}).encode()
    (answer,) = udp.raw(login, EVE)
    assert sum(map(len, (again for _ in range(5_000) for again in udp.raw(login, EVE)))) <= AGAIN_BURST * 2 * 1024
    assert len(answer) > 1024, "a long answer costs as much as several short ones"


async def test_what_is_remembered_of_all_addresses_is_bounded_and_the_oldest_goes_first(
    udp: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realmkeep.realm.wire.reply_cache.ALL_BYTES_MAX", 64 * 1024)
    for port in range(1, 200):
        udp.log_in(Address("192.0.2.9", port))
        assert udp.server.replies.bytes <= 64 * 1024 + 4 * 1024
    assert udp.server.replies.find_address(Address("192.0.2.9", 1)) is None
    assert udp.server.replies.find_address(Address("192.0.2.9", 199)) is not None


async def test_an_answer_that_comes_after_its_address_was_forgotten_weighs_nothing(
    udp: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realmkeep.realm.wire.reply_cache.ADDRESSES_MAX", 1)
    udp.ask({"type": "login", "ticket": "slow", "challenge": udp.challenge()})
    udp.log_in(EVE)
    weight = udp.server.replies.bytes
    udp.echo.waiting[0]({"type": "auth_ok"})
    assert udp.server.replies.bytes == weight
    await udp.clock.advance(35)
    assert udp.server.replies.bytes == 0


async def test_many_who_fall_silent_at_once_are_let_go_in_handfuls(udp: Lines) -> None:
    for port in range(1, 3 * LOST_AT_ONCE):
        udp.log_in(Address("192.0.2.9", port))
    gone = [0]
    lost = udp.echo.peer_lost

    def counted(peer: Peer) -> None:
        lost(peer)
        gone[-1] += 1

    udp.echo.peer_lost = counted
    for _ in range(35):
        gone.append(0)
        udp.clock.stall(1.0)
        udp.server._sweep()
    assert sum(gone) == 3 * LOST_AT_ONCE - 1
    assert max(gone) <= LOST_AT_ONCE


async def test_a_client_whose_port_has_changed_is_told_to_log_in_and_gets_nothing_by_its_sid_alone(udp: Lines) -> None:
    """A router has given it another port: the ticket brings it back, the sid does not, and nobody else's would."""
    sid = udp.log_in()
    moved = Address(ADA.host, ADA.port + 1)
    for ping in ({"type": "ping", "sid": sid}, {"type": "intent", "action": "look", "sid": sid}):
        assert udp.ask(ping, moved) == [{"type": "error", "reason": "not_logged_in"}]
    lisp = f'(:type :ping :sid "{sid}")'.encode()
    assert udp.raw(lisp, moved) == [b"(:type :error :reason :not-logged-in)"]
    back = udp.log_in(moved)
    assert udp.ask({"type": "ping", "sid": back, "t": 1}, moved)[0]["t"] == 1


async def test_who_asked_another_of_our_addresses_is_somebody_else(udp: Lines) -> None:
    sid = udp.log_in()
    other = Address(ADA.host, ADA.port, 0, b"another address of ours")
    (answer,) = udp.ask({"type": "ping", "sid": sid, "t": 1, "pad": "." * 100}, other)
    assert answer["reason"] == "not_logged_in"
