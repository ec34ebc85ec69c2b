"""The proxy of the drill, and the clients that it deceives."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from realmkeep.clock import SystemClock
from realmkeep.drill.bots.client import HeroClient
from realmkeep.drill.bots.crowd import Crowd
from realmkeep.drill.bots.told import Told
from realmkeep.drill.checks.model import Model
from realmkeep.drill.checks.window import Window
from realmkeep.drill.link import HostPort, Link, Weather, open_connection


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Link]:
    """Leads from a TCP port to a server that answers every line but `bye`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line != b"bye\n":
                writer.write(line)
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    link = Link(HostPort("127.0.0.1", 0), tmp_path / "s", SystemClock())
    await link.start()
    yield link
    await link.stop()
    server.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether a connection ends without another byte; a reset may be read as an end."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def test_a_request_that_gets_no_answer_does_not_use_the_reset_up(link: Link) -> None:
    (_, first), (reader, second) = await open_connection(link.listen), await open_connection(link.listen)
    second.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    link.weather = Weather.RESETS
    first.write(b"bye\n")
    first.write_eof()
    async with asyncio.timeout(10):
        while link.connections > 1:
            await asyncio.sleep(0.001)
    second.write(b"again\n")
    async with asyncio.timeout(10):
        assert await ended(reader)
    assert (link.felt[Weather.RESETS], link.weather) == (1, Weather.CLEAR)
    for writer in (first, second):
        writer.close()


@pytest.mark.parametrize("doubles", [False, True])
async def test_that_an_operation_was_refused_is_certain_only_if_the_network_cannot_have_doubled_it(
    *, doubles: bool
) -> None:
    class Refusing:
        async def ask(self, _do: str, **_arguments: object) -> dict[str, Any]:
            crowd.doublings += doubles
            return {"no": "InvalidRecord"}

    told = Told(Model(1), Window(2.0), SystemClock())
    crowd = Crowd({"north": cast("Any", Refusing())}, told, 1, random.Random(3), HeroClient)
    (client,) = crowd.clients
    client.at = "north"
    await client.insist("deposit", who=0, amount=1, op=client.next_op())
    assert told.refused[0] == (set() if doubles else {1})
