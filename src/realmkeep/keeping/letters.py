"""Letters: what one record sends to another, whoever owns it; applied exactly once.

A letter lies in the receiver's inbox from the sender's transaction on. Its owner applies it and drops it in one commit of
its own. A notice to the owner's server only makes that sooner: what it misses, the next login finds.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

from realmkeep import keys
from realmkeep.callables import deferred, discard
from realmkeep.errors import Misuse, RealmkeepError, RecordError, ShuttingDown, StorageError
from realmkeep.keeping.claims import CORRUPT_KEEP_S
from realmkeep.keeping.envelope import open_envelope
from realmkeep.keeping.lease import Owner
from realmkeep.storage import Append, DropFirst, Failed, Put, Transaction, Unknown, load_each

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from realmkeep.clock import Clock
    from realmkeep.keeping.barrier import Barrier
    from realmkeep.keeping.commit import Commits, Tx
    from realmkeep.keeping.counters import Counters
    from realmkeep.keeping.healing import Healer
    from realmkeep.keeping.hooks import Hooks
    from realmkeep.keeping.hooks import Letter as Apply
    from realmkeep.keeping.outage import Outage
    from realmkeep.keeping.safety import Safety
    from realmkeep.keeping.session import Session
    from realmkeep.keys import RecordKeys
    from realmkeep.records import Record
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0  # after the store, or the session, could not take them
LETTERS_A_COMMIT: Final = 16  # none of these commits stalls the loop
LETTERS_A_READ: Final = 256  # 16 MiB at most; all of them wait for one fsync where the store fsyncs once a second
NOTICES_A_ROUND: Final = 1000
POLL_S: Final = 1.0  # how soon the owner on another server hears of a letter
UNREAD: Final = "notices of letters were not read"


class Host(Protocol):
    """What inboxes ask of the keeper."""

    @property
    def storage(self) -> Storage:
        """The store."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock."""
        ...

    @property
    def barrier(self) -> Barrier:
        """Knows the run of the store."""
        ...

    @property
    def safety(self) -> Safety:
        """Waits until what was read is safe."""
        ...

    @property
    def healer(self) -> Healer:
        """Knows what a crash may still take."""
        ...

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of this keeper."""
        ...


class _Drain:
    """One drain of one session's inbox."""

    __slots__ = ("again", "error", "task")

    def __init__(self) -> None:
        self.again = False
        self.error: RealmkeepError | None = None
        self.task: asyncio.Task[None] | None = None


class Inboxes:
    """Drains the inboxes of one keeper's sessions."""

    def __init__(self, host: Host, commits: Commits, hooks: Hooks, counters: Counters) -> None:
        self._host = host
        self._commits = commits
        self._hooks = hooks
        self._counters = counters
        self._drains: dict[Session[Any], _Drain] = {}

    def notice(self, session: Session[Any]) -> _Drain:
        """The session's inbox may have letters: drain it in the background, one drain at a time for a session."""
        drain = self._drains.get(session)
        if drain is None:
            drain = self._drains[session] = _Drain()
            drain.task = self._host.spawn(f"letters of {session.keys.record}", self._run(session, drain))
        drain.again = True
        return drain

    async def open(self, session: Session[Any]) -> None:
        """Return when the letters that wait now are applied, durably.

        Raises:
            ShuttingDown: The keeper ended meanwhile.
            RealmkeepError: The store cannot be reached, or the session cannot be used; the letters stay.
        """
        session.require_usable()
        drain = self.notice(session)
        assert drain.task is not None
        await asyncio.wait([drain.task])
        if drain.error is not None:
            raise drain.error
        if drain.task.cancelled():
            raise ShuttingDown("the keeper ended while letters were applied", hint="the next login applies them")

    async def _run(self, session: Session[Any], drain: _Drain) -> None:
        try:
            while drain.again:
                drain.again = False
                await self._drain(session)
        except RealmkeepError as error:
            log.info("letters of %s wait: %s", session.keys.record, error)
            drain.error = error
            if not session.ended:
                self._host.clock.call_later(RETRY_S, lambda: self._retry(session))
        finally:
            del self._drains[session]

    def _retry(self, session: Session[Any]) -> None:
        if not session.ended:
            self.notice(session)

    async def _drain(self, session: Session[Any]) -> None:
        apply = self._hooks.letter(session.cls)
        if apply is None:
            if await self._host.storage.exists(session.keys.inbox):
                log.warning("%s has letters, and no hook applies them: register keeper.on_letter", session.keys.record)
            return
        while letters := await self._read(session.keys.inbox):
            for start in range(0, len(letters), LETTERS_A_COMMIT):
                await self._apply(session, apply, letters[start : start + LETTERS_A_COMMIT])

    async def _read(self, inbox: str) -> list[bytes]:
        """The first letters, once their sending is safe.

        Their sender's server may die along with the store, and then they were never sent; opened, they would be.
        """
        barrier, storage = self._host.barrier, self._host.storage
        while True:
            run = barrier.passed
            letters = await storage.load_list(inbox, count=LETTERS_A_READ)
            if not letters or (not await barrier.wait() and await self._host.safety.reached(run)):
                return letters

    async def _apply(self, session: Session[Any], apply: Apply, letters: list[bytes]) -> None:
        """Apply as many letters as go; a letter that cannot be applied is kept aside, so that the others are not held up."""
        batch = _Batch(session, apply, letters, safe_s=self._host.healer.witnesses.safe_s)
        try:
            write, _ = self._commits.run(batch, [session], ())
        except RealmkeepError as error:
            if batch.failed is None and not isinstance(error, (RecordError, Misuse)):
                raise
            log.warning("letters to %s cannot be applied: %s", session.keys.record, error)
            write = None
        except Exception:
            log.exception("a letter to %s cannot be applied", session.keys.record)
            write = None
        if write is None:
            # Without a letter that failed, it is all of them together that cannot be stored: halving finds the one.
            going = len(letters) // 2 if batch.failed is None else batch.at
            if going > 0:
                await self._apply(session, apply, letters[:going])
            else:
                await self._keep_aside(session, letters[0])
            return
        await write.wait(patient=True)
        session.ring.letters_durable(self._host.clock.monotonic_s(), batch.ids)
        for letter, result in batch.applied:
            self._hooks.run("letter_settled", session.cls, session, letter, result)

    async def _keep_aside(self, session: Session[Any], letter: bytes) -> None:
        kept_at = keys.corrupt(session.keys, "letter-" + hashlib.sha256(letter).hexdigest()[:16])

        def move(tx: Tx, _: Record) -> None:
            tx.effects.append(Put(kept_at, letter, expire_s=CORRUPT_KEEP_S))
            tx.drop_letters(session.keys, 1)

        write, _ = self._commits.run(move, [session], ())
        self._counters.letters_kept_aside += 1
        log.error("a letter to %s is kept under %s for a week", session.keys.record, kept_at)
        await write.wait(patient=True)


class _Batch:
    """The body of the commit that applies letters; remembers which one failed, and what came of the others."""

    def __init__(self, session: Session[Any], apply: Apply, letters: list[bytes], *, safe_s: float) -> None:
        self._safe_s = safe_s
        self._session = session
        self._apply = apply
        self._letters = letters
        self.at = 0
        self.failed: bytes | None = None
        self.ids: list[str] = []
        self.applied: list[tuple[Any, object]] = []

    def __call__(self, tx: Tx, record: Record) -> None:
        for self.at, stored in enumerate(self._letters):  # noqa: B020 - the place is what the caller asks for
            self.failed = stored
            letter = open_envelope(stored)
            if not self._session.ring.has_letter(letter.id):
                result = self._apply(tx, record, letter.content)
                if deferred(result):
                    discard(result)
                    raise Misuse(
                        f"on_letter returned a {type(result).__name__}, so nothing was applied",
                        hint="make it a plain def that changes the record",
                    )
                self.applied.append((letter.content, result))
                self.ids.append(letter.id)
        self.failed = None
        self._session.ring.add_letters(self.ids, safe_s=self._safe_s)
        tx.drop_letters(self._session.keys, len(self._letters))


class Notices:
    """Tells the servers of receivers that there are letters, and hears of those to its own."""

    def __init__(
        self, storage: Storage, clock: Clock, name: str, arrived: Callable[[str], None], outage: Outage
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._outage = outage
        self._name = name
        self._arrived = arrived

    async def send(self, receivers: Iterable[RecordKeys]) -> None:
        """As `send_notices`.

        Raises:
            StorageError: The store cannot be reached; some may not have been told.
        """
        await send_notices(self._storage, receivers)

    async def listen(self) -> None:
        """Look for notices, for ever."""
        key = keys.server_notices(self._name)
        while True:
            await self._clock.sleep(POLL_S)
            try:
                notices = await self._storage.load_list(key, count=NOTICES_A_ROUND)
                if notices:
                    await self._storage.write([Transaction([], [DropFirst(key, len(notices))])])
            except StorageError as error:
                self._outage.failed(UNREAD, error)
                continue
            self._outage.answered(UNREAD)
            for record_key in dict.fromkeys(notices):
                self._arrived(record_key.decode("utf-8", "replace"))


async def send_notices(storage: Storage, receivers: Iterable[RecordKeys]) -> None:
    """Tell whoever owns the receivers that there are letters.

    Raises:
        StorageError: The store cannot be reached; some may not have been told.
    """
    order = list(receivers)
    owners = await load_each(storage, [receiver.owner for receiver in order])
    notices = [
        Append(keys.server_notices(owner.server), receiver.record.encode())
        for receiver, stored in zip(order, owners, strict=True)
        if (owner := Owner.read(stored, receiver.owner)) is not None
    ]
    for outcome in await storage.write([Transaction([], [notice]) for notice in notices]):
        if isinstance(outcome, (Failed, Unknown)):
            raise outcome.error  # a notice that arrives twice does no harm
