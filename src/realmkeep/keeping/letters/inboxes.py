"""Letters from one record to another, on any server; each is applied exactly once.

The sender's transaction puts a letter into the receiver's inbox. The receiver's server applies the letter and drops it in one
commit of its own. A notice only makes that server look sooner: the next login finds a letter whose notice was missed.
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
from realmkeep.keeping.letters.letter_batch import LetterBatch
from realmkeep.keeping.letters.notices import send_notices
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
    from realmkeep.keeping.live.hooks import Hooks, LetterOpener
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

RETRY_S: Final = 1.0  # after an error of the store or of the session
LATER_S: Final = 60.0  # a player does not make room in a bag sooner
LETTERS_A_COMMIT: Final = 16  # applied in one turn of the event loop, so that no commit stalls it
LETTERS_A_READ: Final = 256  # 16 MiB at most; all of them wait for one fsync where the store fsyncs once a second
FOR_LATER: Final = (Later, InboxFull)  # the letter waits without an alarm
NO_RECORD: Final = "no record"
BY_OPERATOR: Final = "returned by an operator"


class _InboxDrain:
    """One drain of one session's inbox."""

    __slots__ = ("again", "error", "give_back", "kept", "task")

    def __init__(self) -> None:
        self.again = self.kept = self.give_back = False
        self.error: RealmkeepError | None = None
        self.task: asyncio.Task[None] | None = None


class InboxDrainer:
    """Drains the inboxes of one keeper's sessions.

    Attributes:
        failing: The number of letters that this keeper tried and could not apply, by record.
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
        self._drains: dict[Session[Any], _InboxDrain] = {}
        self.failing: dict[str, int] = {}

    def notice(self, session: Session[Any], *, kept: bool = False, give_back: bool = False) -> _InboxDrain:
        """Apply the letters of a session in the background, if there are any; one drain at a time for a session.

        Args:
            session: The receiver.
            kept: Try also the kept letters again.
            give_back: Return the kept letters to their senders.
        """
        drain = self._drains.get(session)
        if drain is None:
            drain = self._drains[session] = _InboxDrain()
            drain.task = self._background.run(f"letters of {session.keys.record}", self._run(session, drain))
        drain.again = True
        drain.kept |= kept
        drain.give_back |= give_back
        return drain

    def deleted(self, records: Iterable[RecordKeys]) -> None:
        """Return the letters that wait for deleted records to their senders, in the background."""
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
                message = "%d letters to %s, which was deleted, cannot be returned: see `realmkeep letters list`"
                log.error(message, given.left, record.record)

    def reasons(self) -> Iterator[str]:
        """One sentence on the letters that cannot be applied; none if all can."""
        if self.failing:
            count, first = sum(self.failing.values()), next(iter(self.failing))
            yield f"{count} letters cannot be applied and are kept, first to {first}: see `realmkeep letters list`"

    def delivered(self, receivers: Iterable[RecordKeys]) -> None:
        """Letters to these records are durable: open those to live sessions, and notify the owners of the others."""
        not_here: dict[RecordKeys, None] = {}
        for receiver in receivers:
            session = self._sessions.get(receiver.record)
            if session is not None:
                self.notice(session)
            else:
                not_here[receiver] = None
        if not_here:
            self._background.run("notices of letters", self._notify(not_here))

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
        """Return when the letters that wait now are applied, and the commits of that are durable.

        Raises:
            ShuttingDown: The keeper was closed meanwhile.
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

    async def _run(self, session: Session[Any], drain: _InboxDrain) -> None:
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
        """Drain the inbox again after the delay, the kept letters as well."""
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

    async def _open_kept(self, session: Session[Any], openers: Mapping[str, LetterOpener], *, give_back: bool) -> None:
        """Try each kept letter once more, or return it; those that stay go to the end of the list, in their order."""
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
        """The first letters, once the writes that sent them are safe.

        If the store and the sender's server crash together, a write that is not safe is lost, and with it the sending; but an
        applied letter would stay applied.
        """
        barrier, storage = self._barrier, self._storage
        while True:
            run = barrier.passed_run
            letters = await storage.load_list(inbox, count=LETTERS_A_READ)
            if not letters or (not await barrier.wait_until_passed() and await self._safe_point.reached(run)):
                return letters

    async def _apply(self, session: Session[Any], openers: Mapping[str, LetterOpener], letters: list[bytes]) -> int:
        """Apply as many of the first letters as fit in one commit; the number of letters that have left the inbox.

        A refused letter goes back to its sender. A letter that cannot be applied now is kept, so that it does not hold up the
        letters behind it.
        """
        batch = self._batch(session, openers, letters, session.keys.inbox)
        write, error = self._try(session, batch)
        if write is not None:
            error = await self._settle(session, batch, write)
            if error is None:
                return len(letters)
        # If no single letter failed, their changes cannot be stored together: halve, down to the letter at fault.
        going = len(letters) // 2 if batch.failed is None else batch.at
        if going > 0:
            return await self._apply(session, openers, letters[:going])
        if isinstance(error, Return):
            error = await self._give_back(session, session.keys.inbox, letters[0], error)
            if error is None:
                return 1
        if not isinstance(error, FOR_LATER):
            self._counters.letters_kept_aside += 1
            message = "a letter to %s cannot be applied; it is kept, and tried again at the next login: mend on_letter, or the record"
            log.error(message, session.keys.record, exc_info=error)
        self._remember(session, error)
        await self._move(session, session.keys.inbox, letters[0])
        return 1

    def _batch(
        self, session: Session[Any], openers: Mapping[str, LetterOpener], letters: list[bytes], source: str
    ) -> LetterBatch:
        now_us, safe_s = self._clock.wall_us(), self._loss_probe.safe_s
        return LetterBatch(session, openers, letters, source, self._commits, now_us=now_us, safe_s=safe_s)

    def _try(self, session: Session[Any], batch: LetterBatch) -> tuple[StagedWrite | None, Exception | None]:
        """Run the commit; the write, or the error of the letter for which nothing happened.

        Raises:
            RealmkeepError: The session cannot be used, or the queue is full: no letter is at fault.
        """
        try:
            write, _ = self._commits.run(batch, [session], ())
        except (Later, Return) as answer:
            return None, answer
        except RealmkeepError as error:
            if batch.failed is None and not isinstance(error, (RecordError, Misuse)):
                raise
            return None, error
        except Exception as error:  # noqa: BLE001 - of the game's hook; it is logged when the letter is kept
            return None, error
        return write, None

    async def _settle(self, session: Session[Any], batch: LetterBatch, write: StagedWrite) -> CommitRefused | None:
        """Wait until the write is durable; the error if the store refused it for a letter that a hook sent in answer."""
        try:
            await write.wait(patient=True)
        except (NoSuchReceiver, InboxFull) as error:
            return error
        session.ring.letters_durable(self._clock.monotonic_s(), batch.ids)
        self._counters.letters_opened += len(batch.applied)
        for applied in batch.applied:
            self._hooks.letter_settled(session, applied.kind, applied.letter, applied.result)
        return None

    async def _give_back(self, session: Session[Any], source: str, stored: bytes, why: Return) -> RealmkeepError | None:
        """Return the first letter of a list to its sender, in the commit that drops it; the error if it has no sender."""
        try:
            letter = open_envelope(stored)
        except UNDECODABLE:
            return Misuse("it is no letter", hint="find the program that wrote it")
        sender = await sender_of(self._storage, letter)
        if isinstance(sender, str):
            return Misuse(f"it is to go back ({why}), but {sender}", hint="apply it in on_letter, or settle it by hand")
        ring, now_us = session.ring, self._clock.wall_us()
        back = seal_returned(stored, receiver=session.keys.record, reason=why.message, now_us=now_us)
        known = ring.has_letter(letter.id)

        def give_back(_: Record) -> None:
            tx = self._commits.tx
            tx.drop_letters(source, 1, spent=(stored,))
            if not known:  # known: it went back before, and a store that lost its last writes shows it again
                ring.add_letters([letter.id], safe_s=self._loss_probe.safe_s)
                tx.effects.append(Append(sender.inbox, back))
                tx.delivered.append(sender)
                tx.receivers.add_returned(sender)

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
        """After a letter is kept: try it again soon, or report it in `degraded`."""
        record = session.keys.record
        if isinstance(error, FOR_LATER):
            log.info("a letter to %s is kept for later: %s", record, error)
            self._again_after(LATER_S, session)
            return
        self.failing[record] = self.failing.get(record, 0) + 1
        log.info("a letter to %s is kept: %r", record, error)

    async def _move(self, session: Session[Any], source: str, letter: bytes) -> None:
        """Move the first letter of a list to the end of the kept letters."""

        def move(_: Record) -> None:
            tx = self._commits.tx
            tx.drop_letters(source, 1)
            tx.effects.append(Append(session.keys.kept, letter))

        write, _ = self._commits.run(move, [session], ())
        await write.wait(patient=True)
