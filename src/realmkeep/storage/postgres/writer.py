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
from realmkeep.storage.postgres.connection import PostgresConnection, Statement, storage_error
from realmkeep.storage.postgres.errors import ends_the_connection, is_conflict
from realmkeep.storage.postgres.folding import NetChunk, fold
from realmkeep.storage.postgres.rows import LockedRows, StoredRow, keys_of
from realmkeep.storage.postgres.server import not_isolated
from realmkeep.storage.protocol import (
    COMMITTED,
    AnyTransaction,
    Append,
    Effect,
    Extend,
    Failed,
    Guard,
    Need,
    Put,
    Unknown,
    WriteOutcome,
)
from realmkeep.storage.transact import apply

CHUNK_TRANSACTIONS_MAX: Final = 128  # beyond it a statement gains little, and delays those behind it
CHUNK_PARTS_MAX: Final = (
    1400  # guards, needs and effects, of two rows at most; Aurora DSQL changes 3,000 in a transaction
)
CHUNK_BYTES_MAX: Final = 4 * 1024 * 1024
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


class _WriteCall:
    """One `write`: its transactions, and the outcomes so far."""

    def __init__(self, transactions: Sequence[AnyTransaction]) -> None:
        self.transactions = list(transactions)
        self.outcomes: list[WriteOutcome] = [COMMITTED] * len(self.transactions)
        self.unanswered = len(self.transactions)
        self.taken = 0
        self.is_checked = False
        self.answer: asyncio.Future[list[WriteOutcome]] = asyncio.get_running_loop().create_future()

    def settle(self, start: int, outcomes: Sequence[WriteOutcome]) -> None:
        """Record the outcomes of the transactions from the position `start` on."""
        self.outcomes[start : start + len(outcomes)] = outcomes
        self.unanswered -= len(outcomes)
        if not self.unanswered:
            self.answer.set_result(self.outcomes)

    def fail(self, error: StorageError) -> None:
        """Record that no transaction happened that was not taken."""
        self.settle(self.taken, [Failed(error)] * (len(self.transactions) - self.taken))


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


_Call: TypeAlias = _WriteCall | _Work


class _Chunk:
    """Stretches of calls, in order."""

    def __init__(self) -> None:
        self.transactions: list[AnyTransaction] = []
        self._parts: list[tuple[_WriteCall, int, int]] = []
        self._count = 0
        self._bytes = 0

    def take(self, call: _WriteCall) -> bool:
        """Take the next transactions of `call`; False if some are left."""
        start = call.taken
        for transaction in call.transactions[start:]:
            parts, size = _size(transaction)
            is_full = (
                len(self.transactions) == CHUNK_TRANSACTIONS_MAX
                or self._count + parts > CHUNK_PARTS_MAX
                or self._bytes + size > CHUNK_BYTES_MAX
            )
            if self.transactions and is_full:
                break
            self._count += parts
            self._bytes += size
            self.transactions.append(transaction)
            call.taken += 1
        self._parts.append((call, start, call.taken - start))
        return call.taken == len(call.transactions)

    def settle(self, outcomes: Sequence[WriteOutcome]) -> None:
        """Give each call its outcomes."""
        taken = 0
        for call, start, length in self._parts:
            call.settle(start, outcomes[taken : taken + length])
            taken += length


def _size(transaction: AnyTransaction) -> tuple[int, int]:
    """Return the number of parts of a transaction, and the bytes of its values."""
    parts: Sequence[Guard | Need | Effect] = (*transaction.guards, *transaction.needs, *transaction.effects)
    values = [part.value for part in parts if isinstance(part, (Put, Extend, Append))]
    expected = [part.expected for part in parts if isinstance(part, Guard) and part.expected is not None]
    return len(parts), sum(map(len, values)) + sum(map(len, expected))


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
        call = _WriteCall(transactions)
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
        await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.close()

    async def _accepted(self, call: _WriteCall | _Work) -> Any:
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
                if self._waiting and not _is_ready(self._waiting[0]):
                    await self._clock.sleep(0)
                elif self._waiting:
                    await self._do_next()
                else:
                    self._wakes.clear()
                    await self._wakes.wait()
        except Exception as error:  # noqa: BLE001 - callers wait for this task, so every end must reach them
            self._fail(storage_error(error, self._address, sent=False))

    async def _do_next(self) -> None:
        first = self._waiting[0]
        if isinstance(first, _Work):
            self._waiting.popleft()
            await self._do_work(first)
        else:
            chunk = _Chunk()
            while self._waiting and isinstance(call := self._waiting[0], _WriteCall) and call.is_checked:
                if not chunk.take(call):
                    break
                self._waiting.popleft()
            await self._do_chunk(chunk)
        if self._clock.monotonic_s() >= self._sweeps_at_s and not self._broken:
            await self._sweep()

    async def _do_work(self, work: _Work) -> None:
        try:
            result = await work.do()
        except Exception as error:  # noqa: BLE001 - the caller waits for the answer
            failure = storage_error(error, self._address, sent=work.changes)
            work.answer.set_exception(failure)
            self._look_after(error, failure)
        else:
            work.answer.set_result(result)

    async def _do_chunk(self, chunk: _Chunk) -> None:
        transactions = chunk.transactions
        try:
            outcomes = await self._repeated(lambda: self._attempt(transactions))
        except Exception as error:  # noqa: BLE001 - the callers wait for the answers
            failure = storage_error(error, self._address, sent=True)
            chunk.settle([Unknown(failure) if failure.outcome == "unknown" else Failed(failure)] * len(transactions))
            self._look_after(error, failure)
        else:
            chunk.settle(outcomes)

    def _look_after(self, error: Exception, failure: StorageError) -> None:
        """Give the connection up if it has ended, or if no later call would fare better on it."""
        if isinstance(failure, StorageMisconfigured):
            self._fail(failure)
        elif self._connection.is_over or ends_the_connection(error) or _is_read_only(error):
            self._fail(StorageUnavailable(failure.message, hint=failure.hint))

    async def _attempt(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        net = self._fold(transactions)
        if len(transactions) > PACK_SLICE:
            await self._clock.sleep(0)
        if net is not None:
            parameters = _packed(net)
            if len(transactions) > PACK_SLICE:
                await self._clock.sleep(0)  # packing and sending get a turn each
            ((is_good, is_isolated, promise),) = await self._connection.ask("fast", *parameters)
            self._check_promise(promise, is_isolated=is_isolated)
            if is_good:
                self.statistics.fast += 1
                return [COMMITTED] * len(transactions)
        self.statistics.slow += 1
        return await self._decide(keys_of(transactions), lambda rows: [apply(rows, each) for each in transactions])

    async def _decide(self, keys: Sequence[str], do: Callable[[LockedRows], T]) -> T:
        stored, answer = await self._connection.begin(("lock", (texts(keys),)), ("now", ()))
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


def _packed(net: NetChunk) -> tuple[object, ...]:
    """Return the parameters of `fast.sql`."""
    changed, appended = sorted(net.changed.items()), sorted(net.appended.items())
    keys = sorted({*net.expected, *net.changed, *net.appended})
    entries = [
        (key, back, value)
        for key, values in appended
        for back, value in zip(range(len(values), 0, -1), values, strict=True)
    ]
    return (
        texts(keys),
        texts([*net.expected]),
        byteas([*net.expected.values()]),
        texts([key for key, _ in (*changed, *appended)]),
        byteas([*(value for _, (value, _) in changed), *(None for _ in appended)]),
        bigints([*(0 for _ in changed), *(len(values) for _, values in appended)]),
        bigints([*(lasts_us for _, (_, lasts_us) in changed), *(None for _ in appended)]),
        texts([key for key, _, _ in entries]),
        bigints([back for _, back, _ in entries]),
        byteas([value for _, _, value in entries]),
    )


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
