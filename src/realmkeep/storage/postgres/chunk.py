"""The calls of `write`, and the chunks into which they are gathered."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from realmkeep.errors import StorageError
from realmkeep.storage.postgres.arrays import bigints, byteas, texts
from realmkeep.storage.postgres.folding import NetChunk
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
    WriteOutcome,
)

CHUNK_TRANSACTIONS_MAX: Final = 128  # beyond it a statement gains little, and delays those behind it
CHUNK_PARTS_MAX: Final = (
    1400  # guards, needs, effects: two rows each at most; Aurora DSQL changes 3,000 in a transaction
)
CHUNK_BYTES_MAX: Final = 4 * 1024 * 1024

Fold = Callable[[Sequence[AnyTransaction]], NetChunk | None]


class WriteCall:
    """One `write`: its transactions, and the outcomes so far."""

    def __init__(self, transactions: Sequence[AnyTransaction]) -> None:
        self.transactions = list(transactions)
        self.outcomes: list[WriteOutcome] = [COMMITTED] * len(self.transactions)
        self.unanswered = len(self.transactions)
        self.taken = 0
        self.is_checked = False
        self.answer: asyncio.Future[list[WriteOutcome]] = asyncio.get_running_loop().create_future()

    @property
    def fills_a_chunk(self) -> bool:
        """Whether the transactions that are left fill a chunk, so that it need not wait for later calls."""
        return self.is_checked and len(self.transactions) - self.taken >= CHUNK_TRANSACTIONS_MAX

    def settle(self, start: int, outcomes: Sequence[WriteOutcome]) -> None:
        """Record the outcomes of the transactions from the position `start` on."""
        self.outcomes[start : start + len(outcomes)] = outcomes
        self.unanswered -= len(outcomes)
        if not self.unanswered:
            self.answer.set_result(self.outcomes)

    def fail(self, error: StorageError) -> None:
        """Record that no transaction happened that was not taken."""
        self.settle(self.taken, [Failed(error)] * (len(self.transactions) - self.taken))


class Chunk:
    """Stretches of calls, in order.

    Attributes:
        transactions: All of them.
        is_prepared: It has been folded.
        parameters: Those of `fast.sql`; None if the chunk depends on what the store holds.
    """

    def __init__(self) -> None:
        self.transactions: list[AnyTransaction] = []
        self.is_prepared = False
        self.parameters: tuple[object, ...] | None = None
        self._parts: list[tuple[WriteCall, int, int]] = []
        self._count = 0
        self._bytes = 0

    def take(self, call: WriteCall) -> bool:
        """Take the next transactions of `call`; False if some are left."""
        start = call.taken
        for position in range(start, len(call.transactions)):
            transaction = call.transactions[position]
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

    def prepare(self, fold: Fold) -> None:
        """Fold and pack the chunk, once; its attempts share the result."""
        net = fold(self.transactions)
        self.parameters = None if net is None else _packed(net)
        self.is_prepared = True

    def settle_all(self, outcome: WriteOutcome) -> None:
        """Give each transaction the same outcome."""
        self.settle([outcome] * len(self.transactions))

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


def _packed(net: NetChunk) -> tuple[object, ...]:
    """Return the parameters of `fast.sql`."""
    changed, extended, appended = (
        sorted(net.changed.items()),
        sorted(net.extended.items()),
        sorted(net.appended.items()),
    )
    keys = sorted({*net.expected, *net.changed, *net.extended, *net.appended})
    entries = [
        (key, back, value)
        for key, values in appended
        for back, value in zip(range(len(values), 0, -1), values, strict=True)
    ]
    return (
        texts(keys),
        texts([*net.expected]),
        byteas([*net.expected.values()]),
        texts([key for key, _ in (*changed, *extended, *appended)]),
        byteas([*(value for _, (value, _) in changed), *(value for _, value in extended), *(None for _ in appended)]),
        bigints([*(0 for _ in changed), *(-1 for _ in extended), *(len(values) for _, values in appended)]),
        bigints([*(lasts_us for _, (_, lasts_us) in changed), *(None for _ in (*extended, *appended))]),
        texts([key for key, _, _ in entries]),
        bigints([back for _, back, _ in entries]),
        byteas([value for _, _, value in entries]),
    )
