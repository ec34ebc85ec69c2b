"""Letters: what one record sends to another, whoever owns it; applied exactly once.

A letter lies in the receiver's inbox from the sender's transaction on. Its owner applies it and drops it in one commit of
its own. A notice to the owner's server only makes that sooner: what it misses, the next login finds.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import (
    InboxFull,
    Later,
    Misuse,
    NoSuchReceiver,
    RealmkeepError,
    RecordError,
    Return,
    ShuttingDown,
    StorageError,
)
from realmkeep.keeping.letters.notices import send_notices
from realmkeep.keeping.letters.opening_batch import Batch
from realmkeep.keeping.letters.returning import give_back
from realmkeep.keeping.live.envelope import open_envelope
from realmkeep.keeping.live.sealing import seal_returned, sender_of
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.storage import Append

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from realmkeep.background import Background
    from realmkeep.clock import Clock
    from realmkeep.errors import CommitRefused
    from realmkeep.keeping.live.counters import Counters
    from realmkeep.keeping.live.hooks import Hooks, Opener
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.ownership.loss_probe import LossProbe
    from realmkeep.keeping.ownership.restart_barrier import RestartBarrier
    from realmkeep.keeping.ownership.safe_point import SafePoint
    from realmkeep.keeping.writing.commit import Commits
    from realmkeep.keeping.writing.staging import StagedWrite
    from realmkeep.keys import RecordKeys
    from realmkeep.records import Record
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0  # after the store, or the session, could not take them
LATER_S: Final = 60.0  # a bag is not emptied sooner
LETTERS_A_COMMIT: Final = 16  # none of these commits stalls the loop
LETTERS_A_READ: Final = 256  # 16 MiB at most; all of them wait for one fsync where the store fsyncs once a second
FOR_LATER: Final = (Later, InboxFull)  # nobody is alarmed
NO_RECORD: Final = "no record"
BY_OPERATOR: Final = "returned by an operator"


class _Drain:
    """One drain of one session's inbox."""

    __slots__ = ("again", "error", "give_back", "kept", "task")

    def __init__(self) -> None:
        self.again = self.kept = self.give_back = False
        self.error: RealmkeepError | None = None
        self.task: asyncio.Task[None] | None = None


class Inboxes:
    """Drains the inboxes of one keeper's sessions.

    Attributes:
        failing: How many letters cannot be applied, by record, as far as this keeper has tried.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        background: Background,
        sessions: SessionRegistry,
        barrier: RestartBarrier,
        safe_point: SafePoint,
        loss_probe: LossProbe,
        commits: Commits,
        hooks: Hooks,
        counters: Counters,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._background = background
        self._sessions = sessions
        self._barrier = barrier
        self._safe_point = safe_point
        self._loss_probe = loss_probe
        self._commits = commits
        self._hooks = hooks
        self._counters = counters
        self._drains: dict[Session[Any], _Drain] = {}
        self.failing: dict[str, int] = {}

    def notice(self, session: Session[Any], *, kept: bool = False, give_back: bool = False) -> _Drain:
        """The session may have letters: apply them in the background, one drain at a time for a session.

        Args:
            session: The receiver.
            kept: Try those again, too, that could not be applied.
            give_back: Return those to their senders.
        """
        drain = self._drains.get(session)
        if drain is None:
            drain = self._drains[session] = _Drain()
            drain.task = self._background.run(f"letters of {session.keys.record}", self._run(session, drain))
        drain.again = True
        drain.kept |= kept
        drain.give_back |= give_back
        return drain

    def deleted(self, records: Iterable[RecordKeys]) -> None:
        """These records are gone: the letters that wait for them go back to their senders, in the background."""
        for record in records:
            self._background.run(f"letters to {record.record}", self._return_all(record))

    async def _return_all(self, record: RecordKeys) -> None:
        clock = self._clock
        for source in (record.kept, record.inbox):
            while True:
                try:
                    given = await give_back(self._storage, record, source, NO_RECORD, clock.wall_us())
                except StorageError as error:
                    log.info("letters to %s, which was deleted, are not returned yet: %s", record.record, error)
                    await clock.sleep(RETRY_S)
                else:
                    break
            self._counters.letters_returned += given.returned
            self.delivered(given.senders)
            if given.left:
                said = "%d letters to %s, which was deleted, cannot be returned: see `realmkeep letters list`"
                log.error(said, given.left, record.record)

    def reasons(self) -> Iterator[str]:
        """Which letters cannot be applied: one sentence, or none."""
        if self.failing:
            count, first = sum(self.failing.values()), next(iter(self.failing))
            yield f"{count} letters cannot be applied and are kept, first to {first}: see `realmkeep letters list`"

    def delivered(self, receivers: Iterable[RecordKeys]) -> None:
        """Letters to these are durable: open those to live sessions, and tell the owners of the others."""
        elsewhere: dict[RecordKeys, None] = {}
        for receiver in receivers:
            session = self._sessions.get(receiver.record)
            if session is not None:
                self.notice(session)
            else:
                elsewhere[receiver] = None
        if elsewhere:
            self._background.run("notices of letters", self._notify(elsewhere))

    async def _notify(self, receivers: Iterable[RecordKeys]) -> None:
        while True:
            try:
                await send_notices(self._storage, receivers)
            except StorageError as error:
                log.info("no notice of letters was sent yet: %s", error)
                await self._clock.sleep(RETRY_S)
            else:
                return

    async def open(self, session: Session[Any]) -> None:
        """Return when the letters that wait now are applied, durably.

        Raises:
            ShuttingDown: The keeper ended meanwhile.
            RealmkeepError: The store cannot be reached, or the session cannot be used; the letters stay.
        """
        session.require_usable()
        drain = self.notice(session, kept=True)
        assert drain.task is not None
        await asyncio.wait([drain.task])
        if drain.error is not None:
            raise drain.error
        if drain.task.cancelled():
            raise ShuttingDown("the keeper ended while letters were applied", hint="the next login applies them")

    async def _run(self, session: Session[Any], drain: _Drain) -> None:
        try:
            while drain.again:
                kept, give_back = drain.kept, drain.give_back
                drain.again = drain.kept = drain.give_back = False
                await self._drain(session, kept=kept, give_back=give_back)
        except RealmkeepError as error:
            log.info("letters of %s wait: %s", session.keys.record, error)
            drain.error = error
            self._again_after(RETRY_S, session)
        finally:
            del self._drains[session]

    def _again_after(self, delay_s: float, session: Session[Any]) -> None:
        """Look at all letters again then, the kept ones as well."""
        self._clock.call_later(delay_s, lambda: None if session.ended else self.notice(session, kept=True))

    async def _drain(self, session: Session[Any], *, kept: bool, give_back: bool) -> None:
        openers = self._hooks.openers(session.cls)
        if not openers and not give_back:
            if await self._storage.exists(session.keys.inbox):
                log.warning("%s has letters, and no hook applies them: register hooks.on_letter", session.keys.record)
            return
        if kept or give_back:
            await self._open_kept(session, openers, give_back=give_back)
        while openers and (letters := await self._read(session.keys.inbox)):
            while letters:
                letters = letters[await self._apply(session, openers, letters[:LETTERS_A_COMMIT]) :]

    async def _open_kept(self, session: Session[Any], openers: Mapping[str, Opener], *, give_back: bool) -> None:
        """Try each letter that was kept once more, or give it back; those that stay go to the end of the list, in their order."""
        record, kept = session.keys.record, session.keys.kept
        count = len(await self._storage.load_list(kept))
        self.failing.pop(record, None)
        for _ in range(count):
            (letter,) = await self._storage.load_list(kept, count=1)
            if give_back:
                error: Exception | None = Return(BY_OPERATOR)
            else:
                batch = self._batch(session, openers, [letter], kept)
                write, error = self._try(session, batch)
                if write is not None and (error := await self._settle(session, batch, write)) is None:
                    continue
            if isinstance(error, Return) and (error := await self._give_back(session, kept, letter, error)) is None:
                continue
            self._remember(session, error)
            if count > 1:
                await self._move(session, kept, letter)

    async def _read(self, inbox: str) -> list[bytes]:
        """The first letters, once their sending is safe.

        Their sender's server may die along with the store, and then they were never sent; opened, they would be.
        """
        barrier, storage = self._barrier, self._storage
        while True:
            run = barrier.passed_run
            letters = await storage.load_list(inbox, count=LETTERS_A_READ)
            if not letters or (not await barrier.wait_until_passed() and await self._safe_point.reached(run)):
                return letters

    async def _apply(self, session: Session[Any], openers: Mapping[str, Opener], letters: list[bytes]) -> int:
        """Apply as many of the first letters as go in one commit; how many have left the inbox.

        One that is refused goes back; one that cannot be applied, or not now, is kept, so that the others are not held up.
        """
        batch = self._batch(session, openers, letters, session.keys.inbox)
        write, error = self._try(session, batch)
        if write is not None:
            error = await self._settle(session, batch, write)
            if error is None:
                return len(letters)
        # Without a letter that failed, it is all of them together that cannot be stored: halving finds the one.
        going = len(letters) // 2 if batch.failed is None else batch.at
        if going > 0:
            return await self._apply(session, openers, letters[:going])
        if isinstance(error, Return):
            error = await self._give_back(session, session.keys.inbox, letters[0], error)
            if error is None:
                return 1
        if not isinstance(error, FOR_LATER):
            self._counters.letters_kept_aside += 1
            said = "a letter to %s cannot be applied; it is kept, and tried again at the next login: mend on_letter, or the record"
            log.error(said, session.keys.record, exc_info=error)
        self._remember(session, error)
        await self._move(session, session.keys.inbox, letters[0])
        return 1

    def _batch(self, session: Session[Any], openers: Mapping[str, Opener], letters: list[bytes], source: str) -> Batch:
        now_us, safe_s = self._clock.wall_us(), self._loss_probe.safe_s
        return Batch(session, openers, letters, source, self._commits, now_us=now_us, safe_s=safe_s)

    def _try(self, session: Session[Any], batch: Batch) -> tuple[StagedWrite | None, Exception | None]:
        """Run the commit; the write, or why nothing happened.

        Raises:
            RealmkeepError: It is the session that cannot be used, or the queue is full.
        """
        try:
            write, _ = self._commits.run(batch, [session], ())
        except (Later, Return) as answer:
            return None, answer
        except RealmkeepError as error:
            if batch.failed is None and not isinstance(error, (RecordError, Misuse)):
                raise
            return None, error
        except Exception as error:  # noqa: BLE001 - the game's own; it is logged where the letter is kept
            return None, error
        return write, None

    async def _settle(self, session: Session[Any], batch: Batch, write: StagedWrite) -> CommitRefused | None:
        """Wait until it is durable; or why it did not happen, if that is for the letters that it answers with."""
        try:
            await write.wait(patient=True)
        except (NoSuchReceiver, InboxFull) as error:
            return error
        session.ring.letters_durable(self._clock.monotonic_s(), batch.ids)
        for applied in batch.applied:
            self._hooks.letter_settled(session, applied.kind, applied.letter, applied.result)
        return None

    async def _give_back(self, session: Session[Any], source: str, stored: bytes, why: Return) -> RealmkeepError | None:
        """Return the first letter of a list to its sender, in the commit that takes it out; the error if it has none."""
        try:
            letter = open_envelope(stored)
        except UNDECODABLE:
            return Misuse("it is no letter", hint="look what wrote it")
        sender = await sender_of(self._storage, letter)
        if isinstance(sender, str):
            return Misuse(f"it is to go back ({why}), but {sender}", hint="apply it, or see to it by hand")
        ring, now_us = session.ring, self._clock.wall_us()
        back = seal_returned(stored, receiver=session.keys.record, reason=why.message, now_us=now_us)
        known = ring.has_letter(letter.id)

        def give_back(_: Record) -> None:
            tx = self._commits.tx
            tx.drop_letters(source, 1)
            if not known:  # a store that lost its last moments shows again what has gone back
                ring.add_letters([letter.id], safe_s=self._loss_probe.safe_s)
                tx.effects.append(Append(sender.inbox, back))
                tx.delivered.append(sender)
                tx.post.give_back(sender)

        write, _ = self._commits.run(give_back, [session], ())
        try:
            await write.wait(patient=True)
        except NoSuchReceiver as error:
            return error
        ring.letters_durable(self._clock.monotonic_s(), [letter.id])
        self._counters.letters_returned += 1
        log.info("a letter to %s went back to %s: %s", session.keys.record, sender.record, why)
        return None

    def _remember(self, session: Session[Any], error: Exception | None) -> None:
        """A letter is kept: it is tried again soon, or operators are told."""
        record = session.keys.record
        if isinstance(error, FOR_LATER):
            log.info("a letter to %s is kept for later: %s", record, error)
            self._again_after(LATER_S, session)
            return
        self.failing[record] = self.failing.get(record, 0) + 1
        log.info("a letter to %s is kept: %r", record, error)

    async def _move(self, session: Session[Any], source: str, letter: bytes) -> None:
        """From the head of one list to the end of those that are kept."""

        def move(_: Record) -> None:
            tx = self._commits.tx
            tx.drop_letters(source, 1)
            tx.effects.append(Append(session.keys.kept, letter))

        write, _ = self._commits.run(move, [session], ())
        await write.wait(patient=True)
