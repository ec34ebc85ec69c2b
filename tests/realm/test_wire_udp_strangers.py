"""What a stranger gets over UDP, to the byte and to the message."""

import json
from collections.abc import AsyncGenerator

import pytest

from realm.test_wire_udp import Lines
from realmkeep.realm.wire.datagrams import Address
from realmkeep.realm.wire.limits import STRANGERS_BURST


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
        peer.dismiss()
    answered = sum(len(udp.raw(json.dumps({"type": "hello", "pad": "." * 400, "n": n}).encode())) for n in range(200))
    assert answered <= STRANGERS_BURST
