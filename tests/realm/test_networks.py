"""One network has no more than its part: of connections, sessions, logins and new accounts; silence has an end."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from echo import Echo
from lab import Lab, LabPeer, Message, StallingClock, lab
from server import Server
from test_login_flow import comes_in

from realmkeep.accounts.hash_pool import HashPool
from realmkeep.config import NetworkConfig
from realmkeep.quotas import Limit, PlaceQuota
from realmkeep.realm.server.login_flow import new_player
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.tcp import DEAF_S, LOGIN_S, TcpServer

SMALL = NetworkConfig(
    sessions_per_address=3,
    sessions_per_network=5,
    logins_per_min_per_address=20,
    logins_per_min_per_network=30,
    registrations_per_hour_per_address=2,
    registrations_per_hour_per_network=4,
)


class Pipe(asyncio.Transport):
    """A connection without a network."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host
        self.heard: list[Message] = []
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": (self.host, 4000), "socket": self}.get(name, default)

    def setsockopt(self, *_: object) -> None: ...

    def write(self, data: Any) -> None:
        self.heard += [json.loads(line) for line in bytes(data).splitlines()]

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        self.closed = True


class Pipes:
    def __init__(self, **how: Any) -> None:
        self.clock = StallingClock()
        self.echo = Echo(Challenges(self.clock), self.clock)
        self.server = TcpServer(self.echo, self.clock, **how)
        self.protocols: dict[Pipe, asyncio.BufferedProtocol] = {}

    def connect(self, host: str) -> Pipe:
        pipe = Pipe(host)
        protocol = self.protocols[pipe] = self.server.make_protocol()
        protocol.connection_made(pipe)
        self.settle()
        return pipe

    def say(self, pipe: Pipe, message: Message) -> None:
        data = json.dumps(message).encode() + b"\n"
        protocol = self.protocols[pipe]
        memoryview(protocol.get_buffer(0))[: len(data)] = data
        protocol.buffer_updated(len(data))

    def settle(self) -> None:
        """What is cut off is lost in the next turn of the loop."""
        for pipe in [pipe for pipe in self.protocols if pipe.closed]:
            self.protocols.pop(pipe).connection_lost(None)


@pytest.fixture
async def tcp() -> AsyncGenerator[Pipes]:
    pipes = Pipes(shares=PlaceQuota(Limit(3, 5)), silence_s=100.0)
    yield pipes
    for pipe in pipes.protocols:
        pipe.closed = True
    pipes.settle()
    assert not pipes.server.shares._held
    assert len(pipes.server.strangers) == 0


async def test_a_network_that_takes_all_its_connections_pushes_out_its_own_and_nobody_elses(tcp: Pipes) -> None:
    elsewhere = tcp.connect("198.51.100.1")
    crowd = [tcp.connect("192.0.2.1") for _ in range(50)]
    assert [pipe.closed for pipe in crowd] == [True] * 47 + [False] * 3
    neighbours = [tcp.connect(f"192.0.2.{number}") for number in range(2, 20)]
    tcp.settle()
    assert sum(not pipe.closed for pipe in (*crowd, *neighbours)) == 5
    assert not neighbours[-1].closed, "who comes now is let in, for the one that has waited longest"
    assert not elsewhere.closed


async def test_players_are_not_pushed_out_and_their_network_gets_no_more(tcp: Pipes) -> None:
    players = [tcp.connect("192.0.2.1") for _ in range(3)]
    for pipe in players:
        tcp.say(pipe, {"type": "login", "ticket": "t"})
    assert tcp.connect("192.0.2.1").closed
    assert not any(pipe.closed for pipe in players)
    players[0].abort()
    tcp.settle()
    assert not tcp.connect("192.0.2.1").closed


async def test_a_player_who_says_nothing_for_long_is_let_go_and_whoever_says_something_is_not(tcp: Pipes) -> None:
    silent, alive = tcp.connect("192.0.2.1"), tcp.connect("192.0.2.2")
    for pipe in (silent, alive):
        tcp.say(pipe, {"type": "login", "ticket": "t"})
    for _ in range(5):
        await tcp.clock.advance(60)
        tcp.say(alive, {"type": "ping"})
    assert (silent.closed, silent.heard[-1]) == (True, {"type": "goodbye", "reason": "silent"})
    assert not alive.closed


async def test_a_server_that_was_stopped_takes_no_player_for_silent(tcp: Pipes) -> None:
    pipe = tcp.connect("192.0.2.1")
    tcp.say(pipe, {"type": "login", "ticket": "t"})
    tcp.clock.stall(400)
    await tcp.clock.advance(1)
    assert pipe.heard[-1]["type"] == "auth_ok"
    tcp.say(pipe, {"type": "ping"})
    await tcp.clock.advance(DEAF_S + 1)
    assert pipe.heard[-1]["type"] == "pong"
    await tcp.clock.advance(100 + DEAF_S)
    assert pipe.heard[-1] == {"type": "goodbye", "reason": "silent"}


async def test_a_connection_that_only_says_hello_is_closed_all_the_same(tcp: Pipes) -> None:
    pipe = tcp.connect("192.0.2.1")
    for _ in range(6):
        await tcp.clock.advance(LOGIN_S / 5)
        tcp.say(pipe, {"type": "hello"})
    await tcp.clock.advance(5)
    assert pipe.closed


# --- the entrance


@pytest.fixture
async def small(tmp_path: Path) -> AsyncGenerator[Lab]:
    async with lab(tmp_path, network=SMALL) as opened:
        yield opened


async def entering(realm: Lab, host: str, message: Message) -> tuple[LabPeer, Message]:
    peer = LabPeer(host, realm.clock.monotonic_s(), port=next(realm.ports))
    with mock.patch.object(HashPool, "run_call", at_once):  # no time passes while a thread hashes
        realm.say(peer, message)
        await realm.clock.finish(realm.realm.game.background.wait_finished())
    return peer, peer.heard[0]


async def at_once(_: HashPool, call: Callable[[], object], *, source: str) -> object:
    """Hash without a thread."""
    return call()


async def test_the_players_of_a_network_are_counted_and_a_place_that_is_free_is_given_again(small: Lab) -> None:
    game = small.realm.game
    tickets: list[str] = []
    for number in range(8):
        peer = await comes_in(small, new_player(game.world, 90 + number, f"eva{number}"))
        tickets.append(peer.heard[0]["ticket"])
        small.drop(peer)
    inside = [await entering(small, f"192.0.2.{1 + n // 3}", {"type": "login", "ticket": tickets[n]}) for n in range(6)]
    assert [answer["type"] for _, answer in inside] == ["auth_ok"] * 5 + ["auth_fail"], (
        "three of an address, five of a network"
    )
    assert inside[-1][1]["reason"] == "throttled"
    assert inside[-1][1]["retry_after_s"] > 0
    other = await entering(small, "198.51.100.1", {"type": "login", "ticket": tickets[5]})
    assert other[1]["type"] == "auth_ok"
    small.drop(inside[0][0])
    again, answer = await entering(small, "192.0.2.9", {"type": "login", "ticket": tickets[6]})
    assert answer["type"] == "auth_ok"
    small.say(again, {"type": "logout"})
    await small.clock.finish(game.background.wait_finished())
    _, answer = await entering(small, "192.0.2.9", {"type": "login", "ticket": tickets[7]})
    assert answer["type"] == "auth_ok", "who leaves gives the place back"


async def test_one_peer_that_logs_in_again_and_again_holds_one_place(small: Lab) -> None:
    ticket = (await comes_in(small, new_player(small.realm.game.world, 9, "eva"))).heard[0]["ticket"]
    peer = LabPeer("192.0.2.1", small.clock.monotonic_s())
    for _ in range(10):
        small.say(peer, {"type": "login", "ticket": ticket})
        await small.clock.settle()
        ticket = peer.heard[-1]["ticket"]
    assert len(small.realm.game.connections._holds) == 1


async def test_logins_of_a_network_are_counted_before_anything_is_done_for_them(tmp_path: Path) -> None:
    roomy = msgspec.structs.replace(SMALL, sessions_per_address=100, sessions_per_network=100)
    async with lab(tmp_path, network=roomy) as small:
        await _logins_are_counted(small)


async def _logins_are_counted(small: Lab) -> None:
    peers = [LabPeer("192.0.2.1", small.clock.monotonic_s(), port=port) for port in range(25)]
    for peer in peers:
        small.say(peer, {"type": "login", "ticket": "t"})
    await small.clock.finish(small.realm.game.background.wait_finished())
    answers = [peer.heard[0] for peer in peers]
    reasons = [answer["reason"] for answer in answers]
    assert reasons == ["bad_credentials"] * 20 + ["throttled"] * 5
    assert (await entering(small, "198.51.100.1", {"type": "login", "ticket": "t"}))[1]["reason"] == "bad_credentials"
    await small.clock.advance(answers[-1]["retry_after_s"])
    assert (await entering(small, "192.0.2.1", {"type": "login", "ticket": "t"}))[1]["reason"] == "bad_credentials"


async def test_new_accounts_of_a_network_are_counted_and_those_that_were_refused_are_not(small: Lab) -> None:
    def register(name: str, password: str = "correct-horse-battery") -> Message:
        return {"type": "register", "username": name, "password": password}

    for n in range(5):
        assert (await entering(small, "192.0.2.1", register(f"eva{n}", "short")))[1]["reason"] == "weak_password"
    for n in range(2):
        peer, answer = await entering(small, "192.0.2.1", register(f"eva{n}"))
        assert answer["type"] == "auth_ok"
        small.drop(peer)
    _, answer = await entering(small, "192.0.2.1", register("eva2"))
    assert (answer["reason"], answer["retry_after_s"] > 60) == ("throttled", True)


def test_bots_on_this_machine_are_not_counted_unless_that_is_asked_for() -> None:
    assert not NetworkConfig().limit_loopback


async def test_a_server_that_counts_its_own_machine_lets_one_address_have_its_part(
    start: Callable[..., Server],
) -> None:
    server = start(
        NETWORK__LIMIT_LOOPBACK="true", NETWORK__SESSIONS_PER_ADDRESS="2", NETWORK__CONNECTIONS_PER_ADDRESS="4"
    )
    for name in ("ada", "bob"):
        await server.player(name)
    eve = await server.client().connect()
    assert (await eve.register("eve"))["reason"] == "throttled"
    crowd = [await server.client().connect() for _ in range(6)]
    await crowd[-1].hello()
    assert sum(client.ended for client in (eve, *crowd)) >= 5
    assert (await server.clients[0].act("look"))["type"] == "ack"
