"""Nobody's news keep the loop, and with it the tick, for long."""

import asyncio
import itertools
import socket
from collections.abc import Generator, Mapping
from contextlib import ExitStack

import pytest
from lab import StallingClock

from realmkeep.clock import SystemClock
from realmkeep.realm.server.bounded_selector import SOCKETS_A_TURN, BoundedSelector
from realmkeep.realm.wire.bound_sockets import bind_sockets
from realmkeep.realm.wire.fair_queue import FairQueue
from realmkeep.realm.wire.peer import Answer, Peer, RequestHandler
from realmkeep.realm.wire.requests import Request
from realmkeep.realm.wire.tcp import ACCEPTED_AT_ONCE, BACKLOG, TcpServer

THREE_WORDS_S = 0.0025


class Silence(RequestHandler):
    """A game that nobody talks to."""

    def welcome(self, peer: Peer) -> Mapping[str, object]:
        raise AssertionError

    def handle_request(self, peer: Peer, request: Request, answer: Answer) -> None:
        raise AssertionError

    def peer_lost(self, peer: Peer) -> None:
        raise AssertionError


class Talker:
    """Says so many words, a millisecond each."""

    def __init__(self, name: str, words: int, said: list[str], clock: StallingClock) -> None:
        self.name = name
        self.words = words
        self.said = said
        self.clock = clock

    def process_input(self, queue: FairQueue) -> bool:
        while self.words:
            self.words -= 1
            self.said.append(self.name)
            self.clock.stall(0.001)
            if queue.turn_is_over:
                break
        return bool(self.words)


async def test_however_many_speak_at_once_the_loop_goes_on_after_a_turn() -> None:
    clock, said = StallingClock(), list[str]()
    turns = FairQueue(clock, THREE_WORDS_S)
    for number in range(50):
        turns.serve(Talker(str(number), 1, said, clock))
    heard = [len(said)]
    while len(said) < 50:
        await asyncio.sleep(0)
        heard.append(len(said))
    assert [then - before for before, then in itertools.pairwise(heard)] == [3] * 15 + [2]
    assert said == [str(number) for number in range(50)]


async def test_who_says_much_lets_everybody_else_speak_in_between() -> None:
    clock, said = StallingClock(), list[str]()
    turns = FairQueue(clock, THREE_WORDS_S)
    for name, words in (("eve", 9), ("ada", 1), ("bob", 2)):
        turns.serve(Talker(name, words, said, clock))
    for _ in range(6):
        await asyncio.sleep(0)
    assert said == ["eve"] * 3 + ["eve", "ada", "bob"] + ["eve", "bob"] + ["eve"] * 4


async def test_time_that_was_used_in_many_short_turns_is_not_owed() -> None:
    clock, said = StallingClock(), list[str]()
    turns = FairQueue(clock, THREE_WORDS_S)
    for number in range(10):
        turns.serve(Talker(str(number), 1, said, clock))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(said) == number + 1


@pytest.fixture
def pairs() -> Generator[list[tuple[socket.socket, socket.socket]]]:
    with ExitStack() as stack:
        made = [socket.socketpair() for _ in range(3 * SOCKETS_A_TURN)]
        for one, other in made:
            stack.enter_context(one)
            stack.enter_context(other)
        yield made


def test_news_of_many_sockets_are_told_in_parts_each_once(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    with BoundedSelector() as selector:
        for here, there in pairs:
            selector.register(here, 1)
            there.send(b"x")
        told = [{key.fd for key, _ in selector.select(0)} for _ in range(3)]
        assert [len(part) for part in told] == [SOCKETS_A_TURN] * 3
        assert set[int]().union(*told) == {here.fileno() for here, _ in pairs}
        assert len(selector.select(0)) == SOCKETS_A_TURN, "what nobody read is told again"


def test_what_is_not_listened_to_any_more_is_not_told(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    with BoundedSelector() as selector:
        for here, there in pairs:
            selector.register(here, 1)
            there.send(b"x")
        told = {key.fd for key, _ in selector.select(0)}
        untold = [here for here, _ in pairs if here.fileno() not in told]
        for here in untold[:10]:
            selector.unregister(here)
        for here in untold[10:20]:
            selector.unregister(here)
            selector.register(here, 1)  # another one under the same number: it has to be asked about anew
        for here in untold[20:30]:
            selector.modify(here, 2)  # written to, and not read
        later = [each for _ in range(2) for each in selector.select(0)]
        gone = {here.fileno() for here in untold[:10]}
        assert not gone & {key.fd for key, _ in later}
        assert {key.fd for key, _ in later[: len(untold) - 30]} == {here.fileno() for here in untold[30:]}


async def test_more_connect_at_once_than_are_accepted_at_once_and_nobody_is_refused() -> None:
    server = TcpServer(Silence(), SystemClock())
    doors = await bind_sockets("127.0.0.1", 0, 0)
    await server.listen(doors.tcp)
    with ExitStack() as stack:
        for _ in range(5 * ACCEPTED_AT_ONCE):
            client = stack.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(("127.0.0.1", doors.tcp_port))
            assert client.getpeername()[1] == doors.tcp_port, "connected, though nobody has accepted it yet"
        accepted = [0]
        async with asyncio.timeout(10):
            while accepted[-1] < 5 * ACCEPTED_AT_ONCE:
                await asyncio.sleep(0)
                accepted.append(len(server.peers))
        assert max(then - before for before, then in itertools.pairwise(accepted)) <= ACCEPTED_AT_ONCE
        server.close()
    doors.close()
    assert BACKLOG >= 5 * ACCEPTED_AT_ONCE
