"""What stands at the edge of storage: an answer nobody foresaw, a full chunk, a file that appears, a process that is not ours."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import BusyLoadingError, ResponseError
from typing_extensions import override

from realmkeep.errors import StorageError, StorageMisconfigured, Unstorable
from realmkeep.records.limits import DEFAULT_LIMITS
from realmkeep.records.plain import plain_copy
from realmkeep.storage import embedded_process, sqlite_file
from realmkeep.storage.embedded_config import StoreSettings
from realmkeep.storage.embedded_process import SILENCE_S_MAX, StoreProcess
from realmkeep.storage.protocol import COMMITTED, Put, Transaction, Unknown
from realmkeep.storage.redis_chunk import CHUNK_OPERATIONS_MAX, CHUNK_TRANSACTIONS_MAX, ChunkPacker
from realmkeep.testing.clock import FakeClock
from unit.test_storage_redis_pipe import BATCH, ScriptedConnection, pipe_on


async def test_an_error_reply_that_nobody_foresaw_leaves_the_outcome_open() -> None:
    pipe = pipe_on(ScriptedConnection([ResponseError("ERR something that nobody foresaw")]), [])
    (outcome,) = await pipe.write(BATCH[:1])
    assert isinstance(outcome, Unknown)
    await pipe.close()


async def test_an_error_reply_concerns_the_chunk_that_it_answers() -> None:
    """Several were under way when it came."""
    pipe = pipe_on(ScriptedConnection([ResponseError("ERR something that nobody foresaw")], turns=50), [])
    outcomes = await pipe.write(BATCH)
    assert {type(outcome) for outcome in outcomes[:CHUNK_TRANSACTIONS_MAX]} == {Unknown}
    assert outcomes[CHUNK_TRANSACTIONS_MAX:] == [COMMITTED] * (len(BATCH) - CHUNK_TRANSACTIONS_MAX)
    await pipe.close()


class DeafToTeaching(ScriptedConnection):
    """Never answers SCRIPT LOAD."""

    @override
    async def send_command(self, *args: str | bytes | int) -> None:
        assert args[:2] == ("SCRIPT", "LOAD")


async def test_a_store_that_does_not_learn_the_script_in_time_is_given_up() -> None:
    clock, broken = FakeClock(), list[StorageError]()
    pipe = pipe_on(DeafToTeaching(knows_script=False), broken, clock)
    writing = asyncio.create_task(pipe.write(BATCH[:1]))
    await clock.advance(30)
    assert writing.done()
    assert broken
    await pipe.close()


def test_a_chunk_ends_before_it_has_more_operations_than_the_script_may_have_at_once() -> None:
    transactions = [Transaction([], [Put(f"{number}:{each}", b"") for each in range(1000)]) for number in range(64)]
    assert ChunkPacker().take(transactions, 0) == CHUNK_OPERATIONS_MAX // 1000


def test_the_depth_cap_of_migrations_is_the_one_that_is_written() -> None:
    def nested(depth: int) -> object:
        value: object = []
        for _ in range(depth - 1):
            value = [value]
        return value

    deepest = {"a": nested(DEFAULT_LIMITS.depth_max - 1)}
    assert plain_copy(deepest, limits=DEFAULT_LIMITS) == deepest
    with pytest.raises(Unstorable):
        plain_copy({"a": nested(DEFAULT_LIMITS.depth_max)}, limits=DEFAULT_LIMITS)


def test_a_file_of_another_program_that_appears_before_the_lock_is_had_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "realm.db"
    lock = sqlite_file._lock

    def foreign_meanwhile(of: Path) -> Any:
        with closing(sqlite3.connect(path)) as foreign, foreign:
            foreign.execute("CREATE TABLE theirs (x)")
        return lock(of)

    monkeypatch.setattr(sqlite_file, "_lock", foreign_meanwhile)
    with pytest.raises(StorageMisconfigured, match="another program"):
        sqlite_file.SqliteFile.open(path)
    with closing(sqlite3.connect(path)) as left:
        assert left.execute("PRAGMA application_id").fetchone() == (0,)
        assert left.execute("PRAGMA journal_mode").fetchone() != ("wal",)


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is no store."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.communicate(timeout=30)


async def test_a_process_that_has_the_number_of_a_dead_store_is_left_alone(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store.pid").write_text(f"{stranger.pid}\n")
    sent: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))

    monkeypatch.setattr(os, "kill", kill)
    process = StoreProcess(tmp_path, StoreSettings(str(tmp_path)), clock=FakeClock())
    await asyncio.to_thread(process._signal, signal.SIGTERM)
    assert sent == []


async def test_a_store_that_loads_for_long_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    process = StoreProcess(tmp_path, StoreSettings(str(tmp_path)), clock=clock)
    ready_s = clock.monotonic_s() + 3 * SILENCE_S_MAX

    async def ping() -> BaseException | None:
        loads = clock.monotonic_s() < ready_s
        return BusyLoadingError("LOADING Redis is loading the dataset in memory") if loads else None

    async def at_once(function: Any, *arguments: Sequence[object]) -> object:
        return function(*arguments)

    monkeypatch.setattr(process, "_ping", ping)
    monkeypatch.setattr(process, "_is_alive", lambda: True)
    monkeypatch.setattr(process, "_pid", lambda: 1)
    monkeypatch.setattr(embedded_process, "POLL_S", 5.0)
    monkeypatch.setattr(asyncio, "to_thread", at_once)  # the clock does not wait for threads
    await clock.finish(process._wait_until_it_answers())
    assert clock.monotonic_s() >= ready_s
