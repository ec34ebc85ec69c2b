"""The write queue is in one of four states, and moves between them in one place."""

import asyncio
from itertools import product

import pytest

from keeping.game import earn, enter, inside
from realmkeep.keeping.writing.write_queue import MOVES, QueueState
from realmkeep.testing.lab import Lab


@pytest.mark.parametrize(
    ("at", "to"), [pair for pair in product(QueueState, repeat=2) if pair[1] not in MOVES[pair[0]]]
)
async def test_no_other_state_follows(lab: Lab, at: QueueState, to: QueueState) -> None:
    queue = inside(lab.keeper).queue
    queue._state = at
    with pytest.raises(AssertionError, match=f"that is {at.value} cannot be {to.value}"):
        queue._move(to)
    queue._state = QueueState.FLOWING


async def test_an_outage_halts_the_queue_and_it_flows_again_when_the_store_is_back(lab: Lab) -> None:
    queue = inside(lab.keeper).queue
    ada = await enter(lab.keeper)
    seen: list[QueueState] = []
    move = queue._move

    def seen_to_move(to: QueueState) -> None:
        seen.append(to)
        move(to)

    queue._move = seen_to_move
    assert queue.state is QueueState.FLOWING
    lab.line().down = True
    paying = asyncio.ensure_future(lab.keeper.commit(earn, ada))
    await lab.advance(3)
    assert queue.state is QueueState.RESOLVING
    lab.line().down = False
    await lab.finish(paying)
    await lab.finish(lab.keeper.close())
    assert queue.state is QueueState.CLOSED
    assert [*dict.fromkeys(seen)] == [QueueState.HALTED, QueueState.RESOLVING, QueueState.FLOWING, QueueState.CLOSED]
