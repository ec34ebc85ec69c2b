"""What a stranger gets over UDP, to the byte and to the message."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from echo import Message

from realm.test_wire_udp import Lines
from realmkeep.realm.wire.limits import BYTES_PER_TOKEN, MESSAGES_BURST, STRANGERS_BURST, LruMap
from realmkeep.realm.wire.syntax import decode
from realmkeep.realm.wire.udp_socket import Address


@pytest.fixture
async def udp() -> AsyncGenerator[Lines]:
    lines = Lines()
    lines.server.listen([lines.net])
    yield lines
    lines.server.close()


def hello(length: int) -> bytes:
    """A first message of so many bytes."""
    bare = len(json.dumps({"type": "hello", "pad": ""}))
    return json.dumps({"type": "hello", "pad": "." * (length - bare)}).encode()


async def test_a_welcome_is_sent_for_as_many_bytes_as_it_has_and_for_none_less(udp: Lines) -> None:
    (welcome,) = udp.raw(hello(400))
    (answer,) = udp.raw(hello(len(welcome)), Address("192.0.2.9", 5000))
    assert len(answer) == len(welcome)
    assert udp.raw(hello(len(welcome) - 1), Address("192.0.2.9", 5001)) == []


async def test_an_address_whose_player_has_left_is_a_stranger_again(udp: Lines) -> None:
    udp.log_in()
    for peer in list(udp.server.sessions.values()):
        peer.end_session()
    answered = sum(len(udp.raw(json.dumps({"type": "hello", "pad": "." * 400, "n": n}).encode())) for n in range(200))
    assert answered <= STRANGERS_BURST


@pytest.mark.parametrize("named", [False, True])
async def test_a_flood_from_the_address_of_a_session_is_not_even_read(
    udp: Lines, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    """What names no session costs the session nothing, since anybody can forge an address; what does costs its own."""
    sid = udp.log_in()
    read_so_far: list[int] = []

    def counted(data: bytes, **how: Any) -> Message:
        read_so_far.append(len(data))
        return decode(data, **how)

    with monkeypatch.context() as patch:
        patch.setattr("realmkeep.realm.wire.udp.decode", counted)
        for number in range(1_000):
            written = f':sid "{sid}"' if named else f':sid "{number:032x}"'
            udp.raw(b"(:type :ping " + written.encode() + b" :t (" + b"1 " * 2_000 + str(number).encode() + b"))")
    assert sum(read_so_far) <= (MESSAGES_BURST if named else STRANGERS_BURST) * BYTES_PER_TOKEN
    answer = udp.ask({"type": "ping", "t": 1, "sid": sid})
    assert (answer == []) if named else (answer[0]["type"] == "pong"), answer
    await udp.clock.advance(1)
    assert udp.ask({"type": "ping", "t": 2, "sid": sid})[0]["type"] == "pong"


def test_of_bounded_entries_the_one_used_least_recently_goes_first() -> None:
    made = iter(range(10))
    bounded = LruMap[str, int](lambda: next(made), entries_max=2)
    assert [bounded[key] for key in ("ada", "bob", "ada", "cid")] == [0, 1, 0, 2]
    assert bounded["ada"] == 0, "it was used since bob"
    assert bounded["bob"] == 3, "it had to go"
