"""Mechanisms broken on purpose, most of them in part: the simulation must notice every one."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

from realmkeep.keeping.letters import inboxes
from realmkeep.keeping.live import op_ring, sealing
from realmkeep.keeping.live.envelope import open_envelope
from realmkeep.keeping.ownership import claims, restart_barrier, safe_point
from realmkeep.keeping.recovery import inbox_heads, resolver, store_loss, stored_ownership, verdict
from realmkeep.keeping.writing import commit, flusher, write_queue
from realmkeep.records import Record
from realmkeep.storage import Advance, Append, Committed, Guard, Transaction, Unknown

Patch = AbstractContextManager[Any]


def without_fence() -> Patch:
    """Writes of one record do not compare the owner; those of several do."""

    def change(guards: list[Guard]) -> None:
        if len(guards) == 2:
            guards[0] = guards[1]

    return _with_guards(change)


def without_fence_of_the_second() -> Patch:
    """A commit compares the owner of its first record alone."""

    def change(guards: list[Guard]) -> None:
        guards[2::2] = guards[3::2]

    return _with_guards(change)


def without_revision_guard() -> Patch:
    """Writes of one record do not compare the revision; those of several do."""

    def change(guards: list[Guard]) -> None:
        if len(guards) == 2:
            guards[1] = guards[0]

    return _with_guards(change)


def _with_guards(change: Callable[[list[Guard]], None]) -> Patch:
    real = Advance.guards.fget
    assert real is not None

    def guards(advance: Advance) -> list[Guard]:
        made = real(advance)
        change(made)
        return made

    return mock.patch.object(Advance, "guards", property(guards))


def clean_before_acknowledged() -> Patch:
    """What was sent counts as durable, whatever the store said."""

    async def send(self: Any, batch: list[Any]) -> None:
        await self._attempt(batch)
        self._in_flight.remove(batch)
        for write in batch:
            write.settle()
        self._advance()

    return mock.patch.object(write_queue.WriteQueue, "_send", send)


def without_undo() -> Patch:
    """A commit whose function raises leaves what it did to its last record."""
    real = commit.Commits.run

    def run(self: Any, fn: Callable[..., Any], sessions: Any, operations: Any) -> Any:
        with mock.patch.object(type(sessions[-1].record), "restore", _except_of(sessions[-1].record)):
            return real(self, fn, sessions, operations)

    return mock.patch.object(commit.Commits, "run", run)


def _except_of(spared: Any) -> Callable[[Any, Any], None]:
    real: Callable[[Any, Any], None] = Record.restore

    def restore(self: Any, fork: Any) -> None:
        if self is not spared:
            real(self, fork)

    return restore


def takes_back_the_first_only() -> Patch:
    """A commit that the store refused is undone for its first record."""
    real = resolver._Round._refuse

    def refuse(self: Any, write: Any, **why: Any) -> None:
        for member in write.members[1:]:
            member.fork = None
        real(self, write, **why)

    return mock.patch.object(resolver._Round, "_refuse", refuse)


def without_op_ring() -> Patch:
    """Operations that are still under way are remembered, those that landed are not."""
    real = op_ring.OpRing.find_op

    def find(self: Any, op: Any) -> Any:
        found = real(self, op)
        return found if found is not None and found.write is not None else None

    return mock.patch.object(op_ring.OpRing, "find_op", find)


def without_fifo() -> Patch:
    """The newest write goes first."""
    real = write_queue.WriteQueue._pump

    def pump(self: Any) -> None:
        self._waiting.reverse()
        real(self)

    return mock.patch.object(write_queue.WriteQueue, "_pump", pump)


def without_resending() -> Patch:
    """An attempt without an answer counts as landed, for writes of one record."""
    real = write_queue.WriteQueue._attempt

    async def attempt(self: Any, batch: list[Any]) -> list[Any]:
        outcomes = await real(self, batch)
        return [
            Committed() if isinstance(outcome, Unknown) and len(write.members) == 1 else outcome
            for write, outcome in zip(batch, outcomes, strict=True)
        ]

    return mock.patch.object(write_queue.WriteQueue, "_attempt", attempt)


def an_equal_revision_is_not_landed() -> Patch:
    """A write whose answer was lost counts as landed only if another followed it."""

    def decide(owner: bytes | None, revision: int | None, write: verdict.Wrote) -> verdict.Verdict:
        is_equal = owner == write.claim and revision == write.leaves
        return verdict.Verdict.MISSING if is_equal else verdict.verdict(owner, revision, write)

    return mock.patch.object(stored_ownership, "verdict", decide)


def letters_stay() -> Patch:
    """A letter that was applied is not dropped, nor remembered."""
    return _both(
        mock.patch.object(op_ring.OpRing, "has_letter", return_value=False),
        mock.patch.object(commit.Tx, "drop_letters"),
    )


def letters_are_dropped_and_not_remembered() -> Patch:
    """A store that lost the dropping shows a letter again, and it is applied again."""
    return mock.patch.object(op_ring.OpRing, "has_letter", return_value=False)


def never_due() -> Patch:
    """A change is marked, and nobody writes it."""
    return _both(
        mock.patch.object(flusher.Flusher, "_flush_due", _nothing),
        mock.patch.object(flusher.Flusher, "_sweep", _nothing),
    )


def claims_without_guards() -> Patch:
    """A claim compares who owned the record, and not what it read of it."""

    def transaction(guards: Any, effects: Any) -> Transaction:
        return Transaction([guard for guard in guards if guard.key.endswith((":owner", ":lease"))], effects)

    return mock.patch.object(claims, "Transaction", transaction)


def forgets_who_left() -> Patch:
    """What released sessions left is not kept against a loss of the store."""
    return mock.patch.object(store_loss.StoreLoss, "released")


def loses_letters() -> Patch:
    """Nothing is remembered of a commit that sent a letter."""
    return mock.patch.object(store_loss.StoreLoss, "remember")


def writes_the_tail_again_without_dropping_letters() -> Patch:
    """Letters that a loss brought back stay in their inboxes when what opened them is written again."""
    return mock.patch.object(inbox_heads.InboxHeads, "dropped", return_value=None)


def writes_live_sessions_again_before_the_queue() -> Patch:
    """A session with writes in the queue is written again from memory, which is ahead of them."""
    real = store_loss.StoreLoss._rewrite_live

    async def rewrite(self: Any, queued: Any, stored: Any) -> None:
        await real(self, tuple, stored)

    return mock.patch.object(store_loss.StoreLoss, "_rewrite_live", rewrite)


def lets_in_before_all_have_looked() -> Patch:
    """A claim does not wait until every server has looked what a restart of the store lost."""
    return mock.patch.object(restart_barrier.RestartBarrier, "wait_until_passed", return_value=False)


def opens_what_is_not_safe() -> Patch:
    """Nobody waits until what another server wrote can be lost no more."""
    return mock.patch.object(safe_point.SafePoint, "reached", return_value=True)


def remembers_as_many_letters_as_it_stores() -> Patch:
    """Of the letters that a loss of the store may bring back the last 32 are known."""
    real = op_ring.OpRing.add_letters

    def add(self: Any, letter_ids: Any, *, safe_s: float) -> None:
        self.letters_durable(op_ring.SAFE)
        real(self, letter_ids, safe_s=safe_s)
        self.letters_durable(op_ring.SAFE)
        real(self, (), safe_s=safe_s)

    return mock.patch.object(op_ring.OpRing, "add_letters", add)


def returns_in_two_steps() -> Patch:
    """A letter that goes back is appended there first, and taken out here afterwards."""

    async def give_back(self: Any, session: Any, source: str, stored: bytes, why: Exception) -> Exception | None:
        sender = await sealing.sender_of(self._storage, open_envelope(stored))
        if isinstance(sender, str):
            return why
        back = sealing.seal_returned(stored, receiver=session.keys.record, reason="", now_us=0)
        await self._storage.write([Transaction([], [Append(sender.inbox, back)])])
        self.delivered([sender])

        def take_out(_: Record) -> None:
            self._commits.tx.drop_letters(source, 1)

        write, _ = self._commits.run(take_out, [session], ())
        await write.wait(patient=True)
        return None

    return mock.patch.object(inboxes.InboxDrainer, "_give_back", give_back)


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
        without_fence_of_the_second,
        without_revision_guard,
        clean_before_acknowledged,
        without_undo,
        takes_back_the_first_only,
        without_op_ring,
        without_fifo,
        without_resending,
        an_equal_revision_is_not_landed,
        letters_stay,
        letters_are_dropped_and_not_remembered,
        never_due,
        claims_without_guards,
        forgets_who_left,
        loses_letters,
        writes_the_tail_again_without_dropping_letters,
        writes_live_sessions_again_before_the_queue,
        lets_in_before_all_have_looked,
        opens_what_is_not_safe,
        remembers_as_many_letters_as_it_stores,
        returns_in_two_steps,
    )
}
