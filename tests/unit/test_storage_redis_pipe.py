"""The pipe on a scripted connection: every order in which the answers can come."""

import asyncio
import re
from collections.abc import Sequence

import pytest
from redis.exceptions import NoScriptError

from realmkeep.clock import SystemClock
from realmkeep.errors import StorageError, StorageUnavailable
from realmkeep.storage.protocol import COMMITTED, Committed, Failed, Put, Transaction, Unknown
from realmkeep.storage.redis_chunk import CHUNK_TRANSACTIONS_MAX
from realmkeep.storage.redis_pipe import RedisPipe
from realmkeep.storage.redis_url import RedisAddress
from realmkeep.testing.clock import FakeClock

CHUNKS = 5
BATCH = [Transaction((), (Put(f"k{number}", b"1"),)) for number in range(CHUNKS * CHUNK_TRANSACTIONS_MAX)]


class ScriptedConnection:
    """Answers what it is told to, so many turns of the event loop after it was asked."""

    def __init__(
        self, answers: Sequence[object] = (), *, knows_script: bool = True, turns: int = 0, load_turns: int = 0
    ) -> None:
        self._answers = list(answers)
        self._knows_script = knows_script
        self._turns = turns
        self._load_turns = load_turns
        self._replies: asyncio.Queue[object] = asyncio.Queue()
        self.executed: list[int] = []  # the number of the first transaction of each chunk

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    async def send_command(self, *args: str | bytes | int) -> None:
        assert args[:2] == ("SCRIPT", "LOAD")
        self._knows_script = True
        self.reply_later(b"sha", self._load_turns)

    async def send_packed_command(self, command: Sequence[bytes], check_health: bool = True) -> None:
        answer = self._answers.pop(0) if self._answers else None
        if not self._knows_script:
            answer = NoScriptError("no script")
        if answer is None:
            found = re.search(rb"\r\nk(\d+)\r\n", command[0])
            assert found
            self.executed.append(int(found[1]))
        if answer != "silence":
            self.reply_later(answer, self._turns)

    async def read_response(self, *, timeout: float | None = None, disconnect_on_error: bool = True) -> object:  # noqa: ASYNC109 - the driver's signature
        reply = await self._replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def reply_later(self, reply: object, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self.reply_later, reply, turns - 1)
        else:
            self._replies.put_nowait(reply)


def pipe_on(connection: ScriptedConnection, broken: list[StorageError], clock: FakeClock | None = None) -> RedisPipe:
    return RedisPipe(
        connection,
        script="return nil",
        script_sha=b"sha",
        address=RedisAddress(host="h"),
        clock=clock or SystemClock(),
        on_broken=broken.append,
    )


@pytest.mark.parametrize("turns", range(0, 12, 2))
@pytest.mark.parametrize("load_turns", range(0, 24, 3))
async def test_forgotten_chunks_are_sent_again_before_all_later_ones(turns: int, load_turns: int) -> None:
    broken: list[StorageError] = []
    connection = ScriptedConnection(knows_script=False, turns=turns, load_turns=load_turns)
    pipe = pipe_on(connection, broken)
    assert await pipe.write(BATCH) == [COMMITTED] * len(BATCH)
    assert connection.executed == sorted(connection.executed)
    assert len(connection.executed) == CHUNKS
    await pipe.close()
    assert not broken


async def test_a_forgotten_chunk_that_was_overtaken_is_not_sent_again() -> None:
    connection = ScriptedConnection([NoScriptError("no script")], turns=50)  # the next ones are under way by then
    pipe = pipe_on(connection, [])
    outcomes = await pipe.write(BATCH)
    first, rest = outcomes[:CHUNK_TRANSACTIONS_MAX], outcomes[CHUNK_TRANSACTIONS_MAX:]
    assert all(isinstance(each, Failed) and isinstance(each.error, StorageUnavailable) for each in first)
    assert rest == [COMMITTED] * len(rest)
    assert 0 not in connection.executed
    await pipe.close()


@pytest.mark.parametrize("turns", range(30))
async def test_closing_at_any_moment_answers_every_caller(turns: int) -> None:
    connection = ScriptedConnection(turns=7)
    pipe = pipe_on(connection, [])
    calls = [asyncio.create_task(pipe.write(BATCH)) for _ in range(2)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await pipe.close()
    for outcomes in await asyncio.gather(*calls):
        assert len(outcomes) == len(BATCH)
        kinds: list[type] = [type(outcome) for outcome in outcomes]
        in_order: list[type] = [Committed, Unknown, Failed]  # what was answered, what was sent, what was not
        assert kinds == sorted(kinds, key=in_order.index)


async def test_silence_breaks_the_connection_after_its_timeout_and_not_before() -> None:
    clock = FakeClock()
    broken: list[StorageError] = []
    pipe = pipe_on(ScriptedConnection(["silence"]), broken, clock)
    writing = asyncio.create_task(pipe.write(BATCH[:1]))
    await clock.advance(9.99)
    assert not writing.done()
    assert not broken
    await clock.advance(0.02)
    (outcome,) = await writing
    assert isinstance(outcome, Unknown)
    assert "10.0 s" in broken[0].message
    (later,) = await pipe.write(BATCH[:1])
    assert isinstance(later, Failed)
    await pipe.close()


async def test_an_idle_connection_is_not_broken_by_time() -> None:
    clock = FakeClock()
    broken: list[StorageError] = []
    pipe = pipe_on(ScriptedConnection(), broken, clock)
    assert await pipe.write(BATCH[:1]) == [COMMITTED]
    await clock.advance(3600)
    assert await pipe.write(BATCH[:1]) == [COMMITTED]
    assert not broken
    await pipe.close()


async def test_an_answer_that_nobody_asked_for_breaks_the_connection() -> None:
    connection = ScriptedConnection()
    broken: list[StorageError] = []
    pipe = pipe_on(connection, broken)
    connection.reply_later(b"surprise", 0)
    while not broken:
        await asyncio.sleep(0)
    assert "without a request" in broken[0].message
    await pipe.close()
