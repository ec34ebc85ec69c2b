"""The two threads of a SQLite store: one writes, with group commit; one reads."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import apsw

from realmkeep.errors import StorageError
from realmkeep.storage.sqlite_contents import SqliteContents
from realmkeep.storage.sqlite_file import SqliteFile, meaning, meaning_of_failed_commit

GROUP_CALLS_MAX: Final = 1000  # share one fsync; beyond that the first has waited long enough

T = TypeVar("T")


@dataclass
class _Call:
    do: Callable[[], Any]
    answer: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None


class SqliteThread:
    """Does calls in the order in which they were handed in, and answers on the event loop.

    Args:
        name: Of the thread.
        do_calls: Does what has gathered since it did the last ones, and sets each one's result or error.
    """

    def __init__(self, name: str, do_calls: Callable[[list[_Call]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._do_calls = do_calls
        self._waiting: SimpleQueue[_Call | None] = SimpleQueue()
        # A daemon: a program that ends without disconnecting is a crash, and a store is made for crashes.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start it; blocks for a moment."""
        self._thread.start()

    def call(self, do: Callable[[], T]) -> "asyncio.Future[T]":
        """Hand in a call; its answer may be abandoned, but the call is done."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_Call(do, answer))
        return answer

    def stop(self) -> None:
        """Do what was handed in, then end; blocks until it has."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            calls, stopping = self._gather()
            if calls:
                self._do_calls(calls)
                self._loop.call_soon_threadsafe(_answer, calls)

    def _gather(self) -> tuple[list[_Call], bool]:
        """What has been handed in, at least one call, and whether to stop after it."""
        calls: list[_Call] = []
        call = self._waiting.get()
        while call is not None:
            calls.append(call)
            if len(calls) == GROUP_CALLS_MAX:
                return calls, False
            try:
                call = self._waiting.get_nowait()
            except Empty:
                return calls, False
        return calls, True


def write_together(file: SqliteFile, contents: SqliteContents, calls: list[_Call]) -> None:
    """Do all calls in one transaction of SQLite, so that they share one fsync (group commit).

    A call that is refused raises before its first effect, so it takes nothing back from the others. When SQLite itself
    fails, all of them are rolled back and all are told.
    """
    try:
        if file.writer.in_transaction:  # an earlier rollback failed, too
            file.writer.execute("ROLLBACK")
        file.writer.execute("BEGIN IMMEDIATE")
        for call in calls:
            _do(call)
        contents.sweep_expired()
    except apsw.Error as error:
        _roll_back(file, error)
        for call in calls:
            call.error = meaning(file.path, error)
        return
    except Exception as error:  # noqa: BLE001 - a defect of ours: whoever called learns of it, the thread lives on
        _roll_back(file, error)
        for call in calls:
            call.error = error
        return
    try:
        file.writer.execute("COMMIT")
    except apsw.Error as error:
        _roll_back(file, error)
        for call in calls:
            call.error = meaning_of_failed_commit(file.path, error)


def read_each(file: SqliteFile, calls: list[_Call]) -> None:
    """Do each call in a transaction of its own: it sees one moment, and the log can be folded back in between."""
    for call in calls:
        try:
            with file.reader:
                _do(call)
        except apsw.Error as error:
            call.error = meaning(file.path, error)
        except Exception as error:  # noqa: BLE001 - a defect of ours: whoever called learns of it, the thread lives on
            call.error = error


def _do(call: _Call) -> None:
    try:
        call.result = call.do()
    except StorageError as error:
        call.error = error


def _roll_back(file: SqliteFile, cause: BaseException) -> None:
    try:
        if file.writer.in_transaction:
            file.writer.execute("ROLLBACK")
    except apsw.Error as error:
        cause.add_note(f"and the rollback failed, which the next transaction tries again: {error}")


def _answer(calls: list[_Call]) -> None:
    for call in calls:
        if call.answer.done():  # cancelled: nobody waits any more
            continue
        if call.error is not None:
            call.answer.set_exception(call.error)
        else:
            call.answer.set_result(call.result)
