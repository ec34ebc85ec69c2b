"""The crowd itself: nothing keeps a player at it who is told to stop."""

import asyncio
from typing import cast

import pytest

from realmkeep.clock import SystemClock
from realmkeep.drill.bots.line import Line
from realmkeep.drill.bots.told import Told
from realmkeep.drill.checks.model import Model
from realmkeep.drill.checks.window import Window


class Nowhere:
    """A writer to a server that reads nothing."""

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    async def wait_closed(self) -> None:
        pass


@pytest.mark.parametrize("turns", range(8))
async def test_a_player_that_is_cancelled_as_its_answer_comes_stops(turns: int) -> None:
    """`asyncio.wait_for` of Python 3.11 gave it the answer instead, and it played on without servers."""
    reader = asyncio.StreamReader()
    told = Told(Model(1), Window(1.0), SystemClock())
    line = Line("north", reader, cast("asyncio.StreamWriter", Nowhere()), told)
    asking = asyncio.create_task(line.ask("earn", who=0))
    await asyncio.sleep(0)
    reader.feed_data(b'{"id":0,"xp":1}\n')
    for _ in range(turns):
        await asyncio.sleep(0)
    heard = asking.cancel()  # False: it has its answer and is over
    await asyncio.wait([asking])
    assert asking.cancelled() == heard
    reader.feed_eof()
    await line.close()
