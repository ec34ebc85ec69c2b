"""Each mechanism broken on purpose: the simulation must notice every one of them."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest import mock

from realmkeep.keeping import barrier, claims, commit, flusher, healing, ops, queue, staging
from realmkeep.storage import Committed, Guard, Transaction, Unknown

Patch = AbstractContextManager[Any]


def without_fence() -> Patch:
    """Writes do not compare the owner."""
    real = staging.Stager.advance

    def advance(self: Any, member: Any, blob: bytes, now_us: int, guards: list[Guard], *rest: Any) -> Any:
        made = real(self, member, blob, now_us, guards, *rest)
        guards[-2] = guards[-1]
        return made

    return mock.patch.object(staging.Stager, "advance", advance)


def without_revision_guard() -> Patch:
    """Writes do not compare the revision."""
    real = staging.Stager.advance

    def advance(self: Any, member: Any, blob: bytes, now_us: int, guards: list[Guard], *rest: Any) -> Any:
        made = real(self, member, blob, now_us, guards, *rest)
        guards[-1] = guards[-2]
        return made

    return mock.patch.object(staging.Stager, "advance", advance)


def clean_before_acknowledged() -> Patch:
    """What was sent counts as durable, whatever the store said."""

    async def send(self: Any, batch: list[Any]) -> None:
        await self._attempt(batch)
        self._in_flight.remove(batch)
        for write in batch:
            write.settle()
        self._advance()

    return mock.patch.object(queue.WriteQueue, "_send", send)


def without_undo() -> Patch:
    """A commit whose function raises leaves what it did."""

    real = commit.Commits.run

    def run(self: Any, fn: Callable[..., Any], sessions: Any, operations: Any) -> Any:
        with ExitStack() as patches:
            for cls in {one.cls for one in sessions}:
                patches.enter_context(mock.patch.object(cls, "restore"))
            return real(self, fn, sessions, operations)

    return mock.patch.object(commit.Commits, "run", run)


def without_op_ring() -> Patch:
    """No operation is remembered."""
    return mock.patch.object(ops.OpRing, "find", return_value=None)


def without_fifo() -> Patch:
    """The newest write goes first."""
    real = queue.WriteQueue._pump

    def pump(self: Any) -> None:
        self._waiting.reverse()
        real(self)

    return mock.patch.object(queue.WriteQueue, "_pump", pump)


def without_resending() -> Patch:
    """An attempt without an answer counts as landed."""
    real = queue.WriteQueue._attempt

    async def attempt(self: Any, batch: list[Any]) -> list[Any]:
        return [queue_outcome(outcome) for outcome in await real(self, batch)]

    def queue_outcome(outcome: Any) -> Any:
        return Committed() if isinstance(outcome, Unknown) else outcome

    return mock.patch.object(queue.WriteQueue, "_attempt", attempt)


def letters_stay() -> Patch:
    """A letter that was applied is not dropped, nor remembered."""
    return _both(
        mock.patch.object(ops.OpRing, "has_letter", return_value=False), mock.patch.object(commit.Tx, "drop_letters")
    )


def never_due() -> Patch:
    """A change is marked, and nobody writes it."""
    return _both(
        mock.patch.object(flusher.Flusher, "_flush_due", _nothing),
        mock.patch.object(flusher.Flusher, "_sweep", _nothing),
    )


def claims_without_guards() -> Patch:
    """A claim does not compare what it read."""

    def transaction(_: object, effects: Any) -> Transaction:
        return Transaction([], effects)

    return mock.patch.object(claims, "Transaction", transaction)


def forgets_who_left() -> Patch:
    """What released sessions left is not kept against a loss of the store."""
    return mock.patch.object(healing.Healer, "released")


def loses_letters() -> Patch:
    """Nothing is remembered of a commit that sent a letter."""
    return mock.patch.object(healing.Healer, "remember")


def lets_in_before_all_have_looked() -> Patch:
    """A claim does not wait until every server has looked what a restart of the store lost."""
    return mock.patch.object(barrier.Barrier, "wait", return_value=False)


@contextmanager
def _both(first: Patch, second: Patch) -> Generator[None]:
    with first, second:
        yield


async def _nothing(self: Any) -> None:
    """Instead of work."""


MUTANTS: dict[str, Callable[[], Patch]] = {
    made.__name__: made
    for made in (
        without_fence,
        without_revision_guard,
        clean_before_acknowledged,
        without_undo,
        without_op_ring,
        without_fifo,
        without_resending,
        letters_stay,
        never_due,
        claims_without_guards,
        forgets_who_left,
        loses_letters,
        lets_in_before_all_have_looked,
    )
}
