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
from realmkeep.storage.sqlite_file import SqliteFile, storage_error_for, storage_error_for_commit

GROUP_CALLS_MAX: Final = 1000  # share one fsync; with more, the first would wait too long

T = TypeVar("T")


@dataclass
class _ThreadCall:
    do: Callable[[], Any]
    answer: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None


class SqliteThread:
    """Runs calls in the order of `call`, and answers on the event loop.

    Args:
        name: The thread's name.
        do_calls: Runs a batch of calls, and sets the result or error of each.
    """

    def __init__(self, name: str, do_calls: Callable[[list[_ThreadCall]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._do_calls = do_calls
        self._waiting: SimpleQueue[_ThreadCall | None] = SimpleQueue()
        # A daemon: a program that ends without disconnecting has crashed, and the store survives crashes.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; blocks for a moment."""
        self._thread.start()

    def call(self, do: Callable[[], T]) -> "asyncio.Future[T]":
        """Queue a call; it runs even if its answer is abandoned."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_ThreadCall(do, answer))
        return answer

    def stop(self) -> None:
        """Run the queued calls, then end the thread; blocks until it has ended."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            calls, stopping = self._gather()
            if calls:
                self._do_calls(calls)
                self._loop.call_soon_threadsafe(_answer_calls, calls)

    def _gather(self) -> tuple[list[_ThreadCall], bool]:
        """Wait for at least one queued call; return all of them, and whether to stop after them."""
        calls: list[_ThreadCall] = []
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


def run_in_one_transaction(file: SqliteFile, contents: SqliteContents, calls: list[_ThreadCall]) -> None:
    """Run all calls in one transaction of SQLite, so that they share one fsync (group commit).

    A refused call raises before its first effect, so the others stand. If SQLite itself fails, all of them are rolled back
    and get the error.
    """
    try:
        if file.writer.in_transaction:  # an earlier rollback failed
            file.writer.execute("ROLLBACK")
        file.writer.execute("BEGIN IMMEDIATE")
        for call in calls:
            _run_call(call)
        contents.sweep_expired()
    except apsw.Error as error:
        _roll_back(file, error)
        for call in calls:
            call.error = storage_error_for(file.path, error)
        return
    except Exception as error:  # noqa: BLE001 - a bug in this package: the callers get it, the thread lives on
        _roll_back(file, error)
        for call in calls:
            call.error = error
        return
    try:
        file.writer.execute("COMMIT")
    except apsw.Error as error:
        _roll_back(file, error)
        for call in calls:
            call.error = storage_error_for_commit(file.path, error)


def run_each_in_its_own(file: SqliteFile, calls: list[_ThreadCall]) -> None:
    """Run each call in a transaction of its own: it sees one moment, and checkpoints can run between two calls."""
    for call in calls:
        try:
            with file.reader:
                _run_call(call)
        except apsw.Error as error:
            call.error = storage_error_for(file.path, error)
        except Exception as error:  # noqa: BLE001 - a bug in this package: the caller gets it, the thread lives on
            call.error = error


def _run_call(call: _ThreadCall) -> None:
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


def _answer_calls(calls: list[_ThreadCall]) -> None:
    for call in calls:
        if call.answer.done():  # its caller was cancelled
            continue
        if call.error is not None:
            call.answer.set_exception(call.error)
        else:
            call.answer.set_result(call.result)
