"""The hot path: one connection on which the writes of all calls take effect, chunk by chunk, in their order."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeAlias, TypeVar, cast

import psycopg

from realmkeep.clock import Clock
from realmkeep.errors import StorageError, StorageMisconfigured, StorageUnavailable
from realmkeep.storage.limits import check_transactions
from realmkeep.storage.postgres.address import PostgresAddress
from realmkeep.storage.postgres.arrays import bigints, byteas, texts
from realmkeep.storage.postgres.chunk import Chunk, WriteCall
from realmkeep.storage.postgres.connection import PostgresConnection, Statement, storage_error
from realmkeep.storage.postgres.errors import ends_the_connection, is_conflict
from realmkeep.storage.postgres.folding import fold
from realmkeep.storage.postgres.rows import LockedRows, StoredRow, keys_of
from realmkeep.storage.postgres.server import not_isolated
from realmkeep.storage.protocol import (
    COMMITTED,
    AnyTransaction,
    Failed,
    Unknown,
    WriteOutcome,
)
from realmkeep.storage.transact import apply

CHECK_SLICE: Final = 128  # transactions checked before the event loop gets a turn
PACK_SLICE: Final = 16  # transactions that are packed and sent in one turn of the event loop
REPEATS_MAX: Final = 50  # of a chunk that conflicts: with two of three attempts refused, 1 in 10^9 gets here
PAUSE_S_MIN: Final = 0.001
PAUSE_S_MAX: Final = 0.1
SWEEP_INTERVAL_S: Final = 5.0
SWEEP_KEYS_MAX: Final = 1000  # in one transaction, so that no commit waits for a long sweep

T = TypeVar("T")


@dataclass
class WriterStatistics:
    """What the writer has done since the connection was made.

    Attributes:
        fast: Chunks that one statement decided.
        slow: Chunks that were decided under locks.
        repeated: Attempts that were repeated after a conflict.
    """

    fast: int = 0
    slow: int = 0
    repeated: int = 0


class _Work:
    """One call other than `write`: a change of a few keys, or a sync."""

    def __init__(self, do: Callable[[], Awaitable[Any]], *, changes: bool) -> None:
        self.do = do
        self.changes = changes
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(_consume_exception)

    def fail(self, error: StorageError) -> None:
        """Record that nothing happened."""
        self.answer.set_exception(type(error)(error.message, hint=error.hint))


_Call: TypeAlias = WriteCall | _Work


class PostgresWriter:
    """All changes of one storage object, on one connection.

    A task of the writer owns the connection, and callers only wait for futures. So a cancelled caller leaves no statement half
    sent. The calls that gather while a chunk is under way go into the next one, and share its commit.

    Args:
        connection: Prepared, and used only by this writer from now on.
        address: For errors.
        clock: The clock.
        rng: The jitter of repetitions, so that two servers do not collide again.
        role: The user, for errors.
        on_broken: Called once, with the reason, when the connection broke; not when it is closed.
        on_promise: Called with each chunk's `synchronous_commit`.
    """

    def __init__(
        self,
        connection: PostgresConnection,
        *,
        address: PostgresAddress,
        clock: Clock,
        rng: random.Random,
        role: str,
        on_broken: Callable[[StorageError], None],
        on_promise: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._address = address
        self._clock = clock
        self._rng = rng
        self._role = role
        self._on_broken = on_broken
        self._on_promise = on_promise
        self._waiting: deque[_Call] = deque()
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._prepared: Chunk | None = None
        self._broken: StorageError | None = None
        self._wakes = asyncio.Event()
        self._sweeps_at_s = clock.monotonic_s() + SWEEP_INTERVAL_S
        self._fold = fold if connection.dialect.locks_rows else _nothing_folds
        self.statistics = WriterStatistics()
        connection.listen(self._has_ended_while_idle)
        self._task = asyncio.create_task(self._run())

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """As `Storage.write`.

        Raises:
            ValueTooLarge: A key, value or transaction exceeds the limits; nothing of this call was sent.
            InvalidKey: A key is empty, has a NUL, or is not text; nothing of this call was sent.
        """
        call = WriteCall(transactions)
        if not call.transactions:
            return []
        self._waiting.append(call)  # reserve its place in the order before the check, which yields
        try:
            for start in range(0, len(call.transactions), CHECK_SLICE):
                if start:
                    await self._clock.sleep(0)
                check_transactions(call.transactions[start : start + CHECK_SLICE])
        except BaseException:
            if call in self._waiting:
                self._waiting.remove(call)
            self._wakes.set()
            raise
        call.is_checked = True
        return await self._accepted(call)

    async def change(self, do: Callable[[LockedRows], T], *keys: str) -> T:
        """Change a few keys under locks, in a transaction of its own.

        Args:
            do: Changes the rows; it may be called again after a conflict.
            keys: Every key that it touches.

        Raises:
            StorageError: It was not changed, or its outcome is unknown.
        """
        work = _Work(lambda: self._repeated(lambda: self._decide(sorted(keys), do)), changes=True)
        self._waiting.append(work)
        return cast("T", await self._accepted(work))

    async def perform(self, do: Callable[[PostgresConnection], Awaitable[T]]) -> T:
        """Use the connection when all earlier calls are answered; `do` may be called again after a conflict.

        Raises:
            StorageError: The store cannot be reached, or refuses.
        """
        work = _Work(lambda: self._repeated(lambda: do(self._connection)), changes=False)
        self._waiting.append(work)
        return cast("T", await self._accepted(work))

    async def drain(self) -> None:
        """Return when all accepted calls are answered."""
        while self._unanswered:
            await asyncio.wait(self._unanswered)

    async def close(self) -> None:
        """Close the connection; calls without an answer get one: unknown if they were sent, else failed."""
        self._break(StorageUnavailable(f"the store {self._address} was disconnected", hint="connect() first"))
        self._connection.sever()
        try:
            await asyncio.gather(self._task, return_exceptions=True)
        finally:
            await self._connection.close()

    async def _accepted(self, call: WriteCall | _Work) -> Any:
        self._unanswered.add(call.answer)
        call.answer.add_done_callback(self._unanswered.discard)
        if self._broken and not call.answer.done():
            self._waiting.remove(call)
            call.fail(self._broken)
        self._wakes.set()
        return await asyncio.shield(call.answer)

    async def _run(self) -> None:
        try:
            while not self._broken:
                if self._prepared or (self._waiting and _is_ready(self._waiting[0])):
                    await self._do_next()
                elif self._waiting:
                    await self._clock.sleep(0)  # it is being checked
                else:
                    self._wakes.clear()
                    await self._wakes.wait()
        except Exception as error:  # noqa: BLE001 - callers wait for this task, so every end must reach them
            self._fail(storage_error(error, self._address, sent=False))
        if self._prepared and self._broken:  # taken from its calls, and never sent
            self._prepared.settle_all(Failed(self._broken))

    async def _do_next(self) -> None:
        chunk, self._prepared = self._prepared, None
        if chunk is None and isinstance(first := self._waiting[0], _Work):
            self._waiting.popleft()
            await self._do_work(first)
        else:
            chunk = chunk or self._next_chunk()
            preparing = asyncio.create_task(self._prepare_full_chunk())  # while the store executes this one
            await self._do_chunk(chunk)
            await preparing
        if self._clock.monotonic_s() >= self._sweeps_at_s and not self._broken:
            await self._sweep()

    def _next_chunk(self) -> Chunk:
        chunk = Chunk()
        while self._waiting and isinstance(call := self._waiting[0], WriteCall) and call.is_checked:
            if not chunk.take(call):
                break
            self._waiting.popleft()
        return chunk

    async def _prepare(self, chunk: Chunk) -> None:
        is_large = len(chunk.transactions) > PACK_SLICE
        if is_large:
            await self._clock.sleep(0)  # taking, preparing and sending get a turn each
        chunk.prepare(self._fold)
        if is_large:
            await self._clock.sleep(0)

    async def _prepare_full_chunk(self) -> None:
        """Prepare the next chunk, unless later calls may still go into it."""
        if self._waiting and isinstance(call := self._waiting[0], WriteCall) and call.fills_a_chunk:
            self._prepared = self._next_chunk()
            await self._prepare(self._prepared)

    async def _do_work(self, work: _Work) -> None:
        try:
            result = await work.do()
        except Exception as error:  # noqa: BLE001 - the caller waits for the answer
            failure = storage_error(error, self._address, sent=work.changes)
            work.answer.set_exception(failure)
            self._look_after(error, failure)
        else:
            work.answer.set_result(result)

    async def _do_chunk(self, chunk: Chunk) -> None:
        try:
            if not chunk.is_prepared:
                await self._prepare(chunk)
            outcomes = await self._repeated(lambda: self._attempt(chunk))
        except Exception as error:  # noqa: BLE001 - the callers wait for the answers
            failure = storage_error(error, self._address, sent=True)
            chunk.settle_all(Unknown(failure) if failure.outcome == "unknown" else Failed(failure))
            self._look_after(error, failure)
        else:
            chunk.settle(outcomes)

    def _look_after(self, error: Exception, failure: StorageError) -> None:
        """Give the connection up if it has ended, or if no later call would fare better on it."""
        if isinstance(failure, StorageMisconfigured):
            self._fail(failure)
        elif self._connection.is_over or ends_the_connection(error) or _is_read_only(error):
            self._fail(StorageUnavailable(failure.message, hint=failure.hint))

    async def _attempt(self, chunk: Chunk) -> list[WriteOutcome]:
        transactions = chunk.transactions
        if chunk.parameters is not None:
            ((is_good, is_isolated, promise),) = await self._connection.ask("fast", *chunk.parameters)
            self._check_promise(promise, is_isolated=is_isolated)
            if is_good:
                self.statistics.fast += 1
                return [COMMITTED] * len(transactions)
        self.statistics.slow += 1
        return await self._decide(keys_of(transactions), lambda rows: [apply(rows, each) for each in transactions])

    async def _decide(self, keys: Sequence[str], do: Callable[[LockedRows], T]) -> T:
        stored, answer = await self._connection.begin(("lock", ([*keys],)), ("now", ()))
        ((now_us, is_isolated, promise),) = answer
        self._check_promise(promise, is_isolated=is_isolated)
        are_locked = self._connection.dialect.locks_rows
        rows = LockedRows(keys, cast("list[StoredRow]", stored), now_us, are_locked=are_locked)
        result = do(rows)
        await self._connection.commit(*_changes(rows))
        return result

    def _check_promise(self, promise: str, *, is_isolated: bool) -> None:
        if not is_isolated:
            raise not_isolated(str(self._address), "read committed", self._role)
        self._on_promise(promise)

    async def _repeated(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make attempts until one meets no conflict, for at most `timeout_s`; after a conflict nothing has happened."""
        pause_s = PAUSE_S_MIN
        last_s = self._clock.monotonic_s() + self._address.timeout_s
        for attempts in count(1):
            try:
                return await attempt()
            except BaseException as error:
                if not self._connection.is_over:
                    await self._connection.roll_back()
                if not is_conflict(error) or attempts == REPEATS_MAX or self._clock.monotonic_s() > last_s:
                    raise
            self.statistics.repeated += 1
            await self._clock.sleep(self._rng.uniform(0, pause_s))
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
        raise AssertionError("the last attempt raises")

    async def _sweep(self) -> None:
        self._sweeps_at_s = self._clock.monotonic_s() + SWEEP_INTERVAL_S
        try:
            await self._connection.ask("sweep", SWEEP_KEYS_MAX)
        except psycopg.Error as error:  # the next sweep finds the same keys
            self._look_after(error, storage_error(error, self._address, sent=False))

    def _has_ended_while_idle(self) -> None:
        self._fail(StorageUnavailable(f"the store {self._address} ended the connection", hint="it may be restarting"))

    def _fail(self, reason: StorageError) -> None:
        if not self._broken:
            self._break(reason)
            self._on_broken(reason)

    def _break(self, reason: StorageError) -> None:
        if self._broken:
            return
        self._broken = reason
        for call in [call for call in self._waiting if _is_ready(call)]:
            self._waiting.remove(call)
            call.fail(reason)
        self._wakes.set()


def _is_ready(call: _Call) -> bool:
    return isinstance(call, _Work) or call.is_checked


def _is_read_only(error: Exception) -> bool:
    """Whether the server has become a standby: a new connection may find the primary."""
    return isinstance(error, psycopg.errors.ReadOnlySqlTransaction)


def _consume_exception(answer: "asyncio.Future[Any]") -> None:
    if not answer.cancelled():
        answer.exception()  # the caller has it, unless it is gone


def _nothing_folds(_transactions: Sequence[AnyTransaction]) -> None:
    """Take the slow path: the store locks no rows."""


def _changes(rows: LockedRows) -> list[Statement]:
    """Return the statements that write changed rows."""
    statements: list[Statement] = []
    if changed := rows.changed():
        columns = (
            texts([key for key, _ in changed]),
            byteas([row.value for _, row in changed]),
            bigints([row.first for _, row in changed]),
            bigints([row.next for _, row in changed]),
            bigints([row.expires_us for _, row in changed]),
        )
        statements.append(("put_rows", columns))
    if dropped := rows.dropped():
        statements.append(
            ("drop_entries", (texts([key for key, _ in dropped]), bigints([first for _, first in dropped])))
        )
    if added := [*rows.added()]:
        columns = (
            texts([key for key, _, _ in added]),
            bigints([position for _, position, _ in added]),
            byteas([value for _, _, value in added]),
        )
        statements.append(("add_entries", columns))
    return statements
