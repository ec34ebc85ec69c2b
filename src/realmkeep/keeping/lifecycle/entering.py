"""How a record comes to life: one entry at a time for each record, and no session without a caller that wants it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from realmkeep.callables import fault_of
from realmkeep.errors import AlreadyOwned, Misuse, Quarantined, RealmkeepError, ShuttingDown, StorageUnavailable
from realmkeep.keeping.letters.notices import request_release
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keeping.live.session import Session, mark_all
from realmkeep.keeping.live.session_states import SessionState
from realmkeep.records import Record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keeping.ownership.claims import Claimed
    from realmkeep.keys import RecordKeys

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)

SUCCEED_S: Final = 1.0  # how often a caller that waits for a record tries: a release is noticed within it
ASK_AGAIN_S: Final = 1.0  # after the owner has read the notices twice
RELEASED_S: Final = 0.05  # how often a login that waits for the release looks for it


class SessionEntry:
    """Makes the sessions of one keeper.

    An entry goes on when its caller is cancelled, because its claim may be in the store by then; its session is released
    afterwards.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._unwanted: set[str] = set()
        self._loop = asyncio.get_running_loop()

    def check_open(self) -> None:
        """Nothing begins while the keeper closes, or in another event loop: its write would wait for a future of that loop.

        Raises:
            Misuse: It is another loop, as in a thread of its own.
            ShuttingDown: The keeper closes.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise Misuse(
                f"the keeper {self._engine.name} was used from another event loop",
                hint="use a keeper from the loop that opened it; from a thread by asyncio.run_coroutine_threadsafe",
            )
        if self._engine.sessions.closing:
            raise ShuttingDown(f"the keeper {self._engine.name} is closing", hint="connect to another server")

    def check_admits(self) -> None:
        """As `check_open`; and no session begins or is resumed while the keeper drains.

        Raises:
            Misuse: As `check_open`.
            ShuttingDown: The keeper closes or drains.
        """
        self.check_open()
        sessions = self._engine.sessions
        if sessions.draining:
            raise ShuttingDown(
                f"the keeper {self._engine.name} is draining",
                hint=f"connect to {sessions.drains_to or 'another server'}",
            )

    async def enter(
        self,
        cls: type[R],
        id: int | str,  # noqa: A002 - the field's own name
        create: Callable[[], R] | None,
        *,
        shared: bool,
        away: bool = False,
        lent: bool = False,
        take_over: bool = False,
    ) -> Session[R] | None:
        """A session of the record; None if it is absent and `create` is None.

        Args:
            cls: The record's class.
            id: Its id.
            create: Makes it if it is absent.
            shared: For many; no grace, no rate limit.
            away: Its player is not here: it starts in grace, and a login resumes it.
            lent: For one more borrower (`Session.borrowers`), unless it is live here by itself.
            take_over: Also if its player is connected here.

        Raises:
            AlreadyOwned: A live server owns it, or it is connected here.
            Misuse: `cls` is no class of records, or `create` no plain function.
            RealmkeepError: As `Keeper.login`.
        """
        if create is not None and (fault := fault_of(create, 0)) is not None:
            raise Misuse(
                f"create: {fault}", hint="pass a plain function that makes the record, such as `lambda: Player()`"
            )
        engine, record_keys = self._engine, keys_of(cls, id)
        while True:
            self.check_open()
            live: Session[R] | None = engine.sessions.get(record_keys.record)
            if (entering := engine.sessions.entering.get(record_keys.record)) is not None:
                await asyncio.wait([entering])
            elif live is None:
                self.check_admits()
                break
            elif (taken := self._take_over(live, shared=shared, lent=lent, connected=take_over)) is not None:
                return taken
            elif live.writable and not live.borrowers:
                continue  # it was connected until a moment ago
            else:
                await engine.sessions.wait_until_gone(live)
        bringing = self._bring(cls, record_keys, create, shared=shared, away=away, lent=lent)
        entry = asyncio.get_running_loop().create_task(bringing)
        engine.sessions.entering[record_keys.record] = entry
        try:
            return await asyncio.shield(entry)
        except asyncio.CancelledError:
            if not entry.done():
                self._unwanted.add(record_keys.record)
            entry.add_done_callback(self._nobody_waits)
            raise

    async def enter_within(
        self,
        cls: type[R],
        id: int | str,  # noqa: A002 - the field's own name
        create: Callable[[], R] | None,
        *,
        wait_s: float,
        take_over: bool,
    ) -> Session[R] | None:
        """As `enter`; while another server owns the record, ask that server for its release, and wait for at most `wait_s`.

        Raises:
            RealmkeepError: As `enter`.
        """
        clock, ask_at_s = self._engine.clock, 0.0
        deadline_s = clock.monotonic_s() + wait_s
        while True:
            try:
                return await self.enter(cls, id, create, shared=False, take_over=take_over)
            except AlreadyOwned as error:
                now_s = clock.monotonic_s()
                left_s = deadline_s - now_s
                if error.server == self._engine.name or left_s <= 0:
                    raise
                if now_s >= ask_at_s:  # and again: its game may let the player go between two requests
                    ask_at_s = now_s + ASK_AGAIN_S
                    await request_release(self._engine.storage, error.server, keys_of(cls, id))
            await clock.sleep(min(RELEASED_S, left_s))

    @asynccontextmanager
    async def borrow(
        self,
        cls: type[R],
        id: int | str,  # noqa: A002 - the field's own name
        create: Callable[[], R] | None,
    ) -> AsyncGenerator[Session[R] | None]:
        """A session for the length of the block: the live one, or one that is released after its last borrower.

        Raises:
            RealmkeepError: As `enter`.
        """
        session = await self.enter(cls, id, create, shared=True, lent=True)
        if session is None or not session.borrowers:
            yield session
            return
        try:
            yield session
        finally:
            await self._give_back(session)

    async def _give_back(self, session: Session[Any]) -> None:
        session.borrowers -= 1
        try:
            if not session.borrowers and not session.ended:
                await self._engine.exit.release(session)
        finally:
            self._engine.sessions.wake_waiters(session)

    async def enter_when_free(
        self,
        cls: type[R],
        id: int | str,  # noqa: A002 - the field's own name
        create: Callable[[], R] | None,
    ) -> Session[R] | None:
        """As `enter` for a shared session, as soon as no other server owns the record and the store can be reached.

        Raises:
            AlreadyOwned: It has a session here that is not shared.
            RealmkeepError: As `enter`, except for errors that pass.
        """
        while True:
            try:
                return await self.enter(cls, id, create, shared=True)
            except AlreadyOwned as error:
                if error.server == self._engine.name:
                    raise
                wait_s = min(error.wait_s, SUCCEED_S)
            except StorageUnavailable:
                wait_s = SUCCEED_S
            await self._engine.clock.sleep(wait_s)

    def _take_over(self, live: Session[R], *, shared: bool, lent: bool, connected: bool) -> Session[R] | None:
        """The live session if it may be had; None while it is leaving or borrowed, and if its state has just changed.

        Raises:
            AlreadyOwned: It is connected.
            ShuttingDown: The keeper drains.
        """
        if live.state is SessionState.LEAVING:
            return None
        if lent:
            live.borrowers += bool(live.borrowers)
            return live
        if live.borrowers:
            return None
        if shared and live.shared:
            return live
        if live.state is SessionState.GRACE and not shared:
            self.check_admits()
            live.resumed = True
            live.connection += 1
            live.resume()
            return live
        if connected and not (shared or live.shared):
            self.check_admits()
            live.disconnect()  # its hooks close the old connection, and may do more
            return None
        raise AlreadyOwned(
            f"{live.keys.record} has a session on this server",
            server=self._engine.name,
            wait_s=0.0,
            hint="use keeper.session(...), or disconnect() it first to take it over, as login(..., take_over=True) does",
        )

    async def _bring(
        self,
        cls: type[R],
        record_keys: RecordKeys,
        create: Callable[[], R] | None,
        *,
        shared: bool,
        away: bool,
        lent: bool,
    ) -> Session[R] | None:
        engine, key = self._engine, record_keys.record
        try:
            await engine.queue.room(engine.config.queue_max)
            claimed = await self._claim(cls, record_keys, create)
            if claimed is None:
                return None
            session = self._admit(claimed, shared=shared)
            engine.counters.sessions += 1
            session.borrowers = int(lent)
            if away:
                engine.exit.disconnect(session)
            if engine.sessions.closing or engine.sessions.draining or key in self._unwanted:
                await engine.exit.release(session, patient=True)
                self.check_admits()
            else:
                engine.inboxes.notice(session, kept=True)  # in the background, so that a full inbox delays no login
            return session
        finally:
            self._unwanted.discard(key)
            del engine.sessions.entering[key]

    async def _claim(self, cls: type[R], record_keys: RecordKeys, create: Callable[[], R] | None) -> Claimed[R] | None:
        """As `Claims.claim`; counts the outcome."""
        measures, kind, outcome = self._engine.measures, record_keys.kind, "failed"
        try:
            claimed = await self._engine.claims.claim(cls, record_keys, create)
            outcome = _outcome(claimed)
            if claimed is not None and claimed.migrated_from is not None:
                measures.migrations[kind, claimed.migrated_from] += 1
        except AlreadyOwned:
            outcome = "owned_elsewhere"
            raise
        except Quarantined:
            outcome = "quarantined"
            raise
        finally:
            measures.loads[kind, outcome] += 1
        return claimed

    def _admit(self, claimed: Claimed[R], *, shared: bool) -> Session[R]:
        """Make a session of a claimed record."""
        engine, key = self._engine, claimed.keys.record
        session = Session(
            engine.calls,
            claimed.record,
            claimed.keys,
            owner=engine.lease.owner_key(claimed.token),
            token=claimed.token,
            revision=claimed.revision,
            stored_version=claimed.stored_version,
            ring=claimed.ring,
            shared=shared,
        )
        session.snapshot_due_s = engine.journal.next_snapshot_s(key, engine.clock.monotonic_s())
        engine.sessions.add(session)
        engine.economy.note(session)
        engine.unrecovered.pop(key, None)
        if (ring := engine.store_loss.tail.claimed(key)) is not None:
            session.ring.remember_letters(ring)
        if claimed.changed:
            mark_all(claimed.record)
            session.snapshot_due_s = 0.0  # the change has no other entry in the journal
            engine.sessions.escalate(session)
        else:
            engine.stager.take_as_stored(session)
        if engine.changes is not None:
            engine.changes.claimed(claimed, lambda: engine.stager.encode(session))
        return session

    def _nobody_waits(self, entry: asyncio.Task[Session[Any] | None]) -> None:
        if entry.cancelled():
            return
        if (error := entry.exception()) is not None:
            log.info("an entry whose caller was cancelled failed: %s", error)
        elif (session := entry.result()) is not None and not session.ended:
            self._engine.background.run(
                f"release of {session.keys.record}", self._let_go(session)
            )  # it had ended in the very turn in which its caller was cancelled

    async def _let_go(self, session: Session[Any]) -> None:
        try:
            if session.borrowers:  # another may have borrowed it as well by now
                await self._give_back(session)
            else:
                await self._engine.exit.release(session, patient=True)
        except RealmkeepError as error:
            log.info("%s, whose caller was cancelled, was not released: %s", session.keys.record, error)


def _outcome(claimed: Claimed[Any] | None) -> str:
    if claimed is None:
        return "absent"
    if claimed.is_new:
        return "created"
    return "mended" if claimed.changed and claimed.migrated_from is None else "loaded"
