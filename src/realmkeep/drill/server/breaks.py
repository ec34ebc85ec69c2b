"""Promises that a server of a control does not keep: each is one mechanism taken out, and the drill must notice."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from realmkeep.drill.server.settings import BREAK
from realmkeep.keeping import Op, Session
from realmkeep.keeping.live.flush_schedule import FlushSchedule
from realmkeep.keeping.live.op_ring import SAFE, OpRing
from realmkeep.keeping.live.pending_write import PendingWrite
from realmkeep.keeping.ownership.safe_point import SafePoint
from realmkeep.keeping.writing.commit import Commits
from realmkeep.keeping.writing.staging import Stager, WriteMember
from realmkeep.records import Record
from realmkeep.storage import OwnedKeys, Step
from realmkeep.storage.redis_sync import SyncOnNewRun


def without_fence() -> None:
    """Writes do not compare the owner."""
    advance = Stager.advance

    def advance_unfenced(self: Stager, *arguments: Any) -> WriteMember:
        member = advance(self, *arguments)
        step, of = member.step, member.step.of
        unfenced = OwnedKeys(of.record, of.updated, of.updated, of.ops, b"%d" % step.follows)
        member.step = Step(unfenced, step.follows, step.leaves, step.stored, step.line)
        return member

    Stager.advance = advance_unfenced  # pyright: ignore[reportAttributeAccessIssue] - it takes what the real one takes


def answers_early() -> None:
    """No caller waits for the store."""

    async def at_once(self: PendingWrite, *, patient: bool = False) -> None:
        return None

    PendingWrite.wait = at_once


def without_op_ring() -> None:
    """No operation is remembered."""

    def never_repeated(self: Commits, sessions: list[Session[Record]], ops: list[Op]) -> None:
        return None

    Commits.repeated = never_repeated  # pyright: ignore[reportAttributeAccessIssue] - it never finds any


def opens_what_is_not_safe() -> None:
    """Letters are opened before another server's write of them is safe."""

    async def at_once(self: SafePoint, run: str) -> bool:
        return True

    SafePoint.reached = at_once


def begins_without_a_write() -> None:
    """A reading on a new connection counts as durable at once."""

    async def do_nothing(self: SyncOnNewRun, connection: object) -> None:
        return None

    SyncOnNewRun.sync_before_reading = do_nothing


def remembers_few_letters() -> None:
    """Only as many opened letters are remembered as a ring stores."""
    add_letters = OpRing.add_letters

    def add(self: OpRing, letter_ids: Iterable[str], *, safe_s: float) -> None:
        add_letters(self, letter_ids, safe_s=safe_s)
        self.letters_durable(SAFE)
        add_letters(self, (), safe_s=safe_s)

    OpRing.add_letters = add


def never_flushes() -> None:
    """No change of tier 2 is ever due."""

    def take_none(self: FlushSchedule) -> Iterator[Session[Any]]:
        return iter(())

    FlushSchedule.take_due = take_none  # pyright: ignore[reportAttributeAccessIssue] - it yields none


BREAKS: Final[dict[str, Callable[[], None]]] = {
    "": lambda: None,
    "fence": without_fence,
    "early answer": answers_early,
    "op ring": without_op_ring,
    "first write": begins_without_a_write,
    "unsafe letters": opens_what_is_not_safe,
    "few letters": remembers_few_letters,
    "no flush": never_flushes,
}


def break_promise() -> None:
    """Break the promise that the environment names."""
    BREAKS[os.environ.get(BREAK, "")]()
