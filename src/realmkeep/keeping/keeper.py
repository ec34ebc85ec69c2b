"""The public face of keeping: open a store, log players in, commit, close."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from realmkeep.callables import name_of
from realmkeep.config import JournalConfig, KeeperConfig, RecordsConfig
from realmkeep.keeping.lifecycle import draining, shutdown
from realmkeep.keeping.lifecycle.awaitable_context import awaitable_context
from realmkeep.keeping.lifecycle.committing import CommitEntry
from realmkeep.keeping.lifecycle.degraded import degraded_reasons
from realmkeep.keeping.lifecycle.entering import SessionEntry
from realmkeep.keeping.lifecycle.reclaiming import recover
from realmkeep.keeping.lifecycle.status import status_of
from realmkeep.keeping.live.arguments import check_commit, check_drain, check_opening, check_record, check_type
from realmkeep.keeping.live.gc_policy import GcPolicy
from realmkeep.keeping.live.letter_types import check_letter_types
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keeping.opening import open_engine
from realmkeep.keeping.ownership.directory import Whereabouts, find_owner
from realmkeep.keeping.sending import LetterSender
from realmkeep.keeping.server_config import ServerConfig
from realmkeep.keeping.table import Table
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.records import Record, check_all

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from realmkeep.clock import Clock
    from realmkeep.keeping.boards.board import Board
    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keeping.live.counters import KeeperStatus
    from realmkeep.keeping.live.hooks import Hooks
    from realmkeep.keeping.live.op_ring import Op, Receipt
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.writing.commit import Tx
    from realmkeep.storage import Storage
    from realmkeep.storage.cold import ColdStore


T = TypeVar("T")
A = TypeVar("A", bound=Record)
B = TypeVar("B", bound=Record)
C = TypeVar("C", bound=Record)
D = TypeVar("D", bound=Record)
R = TypeVar("R", bound=Record)


class Keeper:
    """Keeps the records of one game server. `Keeper.open` makes it; one for a server and an event loop.

    Every live record belongs to one server, which alone may write it. Changes of live records mark themselves and are
    durable within their tier's interval; a `commit` is durable before it returns; `close` saves all that is still unsaved.

    Attributes:
        letters: Sends letters that have no record as sender, and checks whether an inbox has room.
        server_config: The configuration that all servers of the realm share.
        gc: The policy of Python's garbage collector under a large world.
    """

    def __init__(self, engine: Engine, *, owns_storage: bool, rescue_path: Path) -> None:
        self._engine = engine
        self._owns_storage = owns_storage
        self._rescue_path = rescue_path
        self._report: shutdown.CloseReport | None = None
        self._closing = asyncio.Lock()
        self.letters = LetterSender(self._open_engine)
        self.server_config = ServerConfig(engine.storage)
        self.gc = GcPolicy(engine.clock, engine.counters)
        self._entry = SessionEntry(engine)
        self._commit = CommitEntry(engine, self._entry).commit

    @classmethod
    @awaitable_context
    async def open(
        cls,
        storage: Storage | str,
        *,
        config: KeeperConfig | None = None,
        records: RecordsConfig | None = None,
        hooks: Hooks | None = None,
        clock: Clock | None = None,
        rescue_path: Path | None = None,
        journal: JournalConfig | None = None,
        cold: ColdStore | None = None,
    ) -> Self:
        """Open the store and take this server's name.

        A former incarnation of the same name that is certainly dead is replaced at once: its process is gone from this very
        machine, which only Linux can tell. One that may live is watched until its lease runs out.

        Args:
            storage: A connected or unconnected storage, or its URL.
            config: Name, intervals, limits; the defaults of `KeeperConfig` without it.
            records: Caps and codec of records.
            hooks: The game's functions; all of them are registered before this.
            clock: The system's, unless a test turns it.
            rescue_path: The file to which `close` writes the states that could not be saved; `rescue.jsonl` in the working
                directory without it, `os.devnull` for no file. The file of an earlier run is delivered first, and moved aside.
            journal: Its limits, to write a journal; None writes none. Without an archiver
                (`realmkeep.operations.journal`) it ends with a gap.
            cold: The cold tier, connected here, from which frozen records come back; None for a server without one. Without an
                archiver (`realmkeep.operations.archive`) its changes do not get there.

        Raises:
            Misuse: An argument is of another type.
            NameTaken: A live keeper has this name.
            RescueNotDelivered: The rescue file of an earlier run cannot be delivered.
            DefinitionError: A record class or a type of letters has a gap in its migrations.
            StorageError: The store cannot be opened.
        """
        check_opening(storage, config, records, hooks, clock, rescue_path)
        check_type(journal, (JournalConfig,), "Keeper.open(journal=)", "pass a JournalConfig, or None")
        check_all()
        check_letter_types()
        path = rescue_path or shutdown.RESCUE_FILE
        engine = await open_engine(storage, config, records, hooks, clock, journal, cold, path)
        return cls(engine, owns_storage=isinstance(storage, str), rescue_path=path)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Keeper {self.name} of {len(self._engine.sessions)} sessions>"

    @property
    def name(self) -> str:
        """This server's name."""
        return self._engine.config.name

    @property
    def degraded(self) -> tuple[str, ...]:
        """The reasons why the guarantees do not hold right now, one sentence each; empty while they hold.

        A sentence changes only with its reason, so that the tuple can be compared with the one before.
        """
        return tuple(reason.sentence for reason in degraded_reasons(self._engine))

    def status(self) -> KeeperStatus:
        """The figures of this keeper at this moment."""
        return status_of(self._engine)

    @overload
    async def login(
        self, cls: type[R], id: int | str, *, take_over: bool = ..., wait_s: float = ...
    ) -> Session[R] | None: ...
    @overload
    async def login(
        self, cls: type[R], id: int | str, *, create: Callable[[], R], take_over: bool = ..., wait_s: float = ...
    ) -> Session[R]: ...
    async def login(
        self,
        cls: type[R],
        id: int | str,  # noqa: A002 - the field's own name
        *,
        create: Callable[[], R] | None = None,
        take_over: bool = False,
        wait_s: float = 0.0,
    ) -> Session[R] | None:
        """Bring a record to life here: claim it, load it, repair it, apply its letters.

        A session of it that is in grace here is resumed; then `Session.resumed` is True.

        Args:
            cls: The record's class.
            id: Its id.
            create: Makes the record if it is absent; it is durable on return. Without it an absent record is None.
            take_over: Resume also a session that is connected here, because a reloaded page logs in before its old
                connection ends. The hooks of `on_disconnect` run first: close the old connection there. When that
                connection ends later, its `session.disconnect(connection)` does nothing.
            wait_s: While another server owns it, ask that server for its release, and wait for so long, in seconds. A player in
                grace there is released at once; for a connected one its `on_release_requested` decides.

        Raises:
            AlreadyOwned: A live server owns it, after `wait_s`; or a connected session of it is here, without `take_over`.
            InvalidKey: The id is malformed.
            Misuse: `create` made a record of another class.
            Quarantined: The stored record cannot be used; its bytes are kept.
            RecordError: The record made by `create` cannot be stored; or the owner key, or its owner's lease, cannot be read.
            ShuttingDown: The keeper is closing.
            StorageError: The store cannot be reached.
        """
        return await self._entry.enter_within(cls, id, create, wait_s=wait_s, take_over=take_over)

    @overload
    async def hold(self, cls: type[R], id: int | str, *, wait: bool = ...) -> Session[R] | None: ...
    @overload
    async def hold(self, cls: type[R], id: int | str, *, create: Callable[[], R], wait: bool = ...) -> Session[R]: ...
    async def hold(
        self,
        cls: type[R],
        id: int | str,  # noqa: A002 - the field's own name
        *,
        create: Callable[[], R] | None = None,
        wait: bool = False,
    ) -> Session[R] | None:
        """Own a record that many players share, a guild or a zone: no grace, no rate limit; again the same session.

        Args:
            cls: The record's class.
            id: Its id.
            create: As for `login`.
            wait: While another server owns it, or the store cannot be reached, wait without a limit: the record fails over
                to this server within a second of its release, or of the end of its server's lease. Cancel to stop waiting.

        Raises:
            AlreadyOwned: A live server owns it, without `wait`; or it has a session here that is not shared.
            RealmkeepError: As `login`.
        """
        if wait:
            return await self._entry.enter_when_free(cls, id, create)
        return await self._entry.enter(cls, id, create, shared=True)

    async def recover(self, cls: type[R]) -> list[Session[R]]:
        """Take back the records that a former incarnation of this server owned when it ended; each session starts in grace.

        An unusable record stays in the store, with its bytes kept; it is logged, and stands in `degraded`.

        Raises:
            ShuttingDown: The keeper is closing.
            StorageError: The store cannot be reached.
        """
        check_record(cls, "keeper.recover")
        return await recover(self._engine, self._entry, cls)

    @overload
    def borrow(self, cls: type[R], id: int | str) -> AbstractAsyncContextManager[Session[R] | None]: ...
    @overload
    def borrow(
        self, cls: type[R], id: int | str, *, create: Callable[[], R]
    ) -> AbstractAsyncContextManager[Session[R]]: ...
    def borrow(
        self,
        cls: type[R],
        id: int | str,  # noqa: A002 - the field's own name
        *,
        create: Callable[[], R] | None = None,
    ) -> AbstractAsyncContextManager[Session[R] | None]:
        """The live session of a record here; if no server has it live, a session for the length of the block.

        None if the record is absent and there is no `create`. Several tasks may borrow it at once; a login or a hold waits
        for them.

        Raises:
            AlreadyOwned: Another live server owns it; the error names it.
            RealmkeepError: As `login`.
        """
        return self._entry.borrow(cls, id, create)

    def session(self, cls: type[R], id: int | str) -> Session[R] | None:  # noqa: A002 - the field's own name
        """The live session of a record here; None if there is none.

        Raises:
            InvalidKey: The id is malformed.
        """
        return self._engine.sessions.get(keys_of(cls, id).record)

    def sessions(self, cls: type[R]) -> list[Session[R]]:
        """Every live session of a class here.

        Raises:
            Misuse: `cls` is no class of records.
        """
        check_record(cls, "keeper.sessions")
        return [session for session in self._engine.sessions.live() if type(session.record) is cls]

    async def note_created(self, cls: type[R], id: int | str) -> None:  # noqa: A002 - the field's own name
        """Tell the cold tier of a record that was just created beside this keeper, as `Accounts.create` makes a character.

        Without it the record reaches the cold tier with the next sweep, and holds up the changes of its player until then.
        Nothing happens without a cold tier.

        Raises:
            InvalidKey: The id is malformed.
            StorageError: The store cannot be reached.
        """
        if (feed := self._engine.changes) is not None:
            await feed.note_stored(keys_of(cls, id))

    async def whereabouts(self, cls: type[R], id: int | str) -> Whereabouts | None:  # noqa: A002 - the field's own name
        """The server that owns a record, on which its player is live; None if none does.

        It is a hint: the record may move on in the next moment. `Directory` tells the same without a keeper.

        Raises:
            InvalidKey: The id is malformed.
            Corrupt: The owner or the lease of the record cannot be read.
            StorageError: The store cannot be reached.
        """
        return await find_owner(self._engine.storage, cls, id)

    def table(self, cls: type[R]) -> Table[R]:
        """Load and save records of a class one at a time, for tools; each save claims, writes and releases.

        Raises:
            Misuse: `cls` is no class of records.
        """
        check_record(cls, "keeper.table")
        return Table(self._engine, self._entry, cls)

    def unowned(self, cls: type[R]) -> UnownedRecords[R]:
        """Small records of a class that no server owns: get, create, and replace by compare-and-set.

        Raises:
            Misuse: `cls` is no class of records.
        """
        check_record(cls, "keeper.unowned")
        return UnownedRecords(cls, self._engine.storage, records=self._engine.records, clock=self._engine.clock)

    def board(self, name: str, *, season: str = "") -> Board:
        """The board of the field with `durable(ranked=name)`; `Board.covers` says which records it ranks.

        Args:
            name: The board's name.
            season: The name of a season that has ended; empty for the one that runs.

        Raises:
            Misuse: No field is ranked on it.
            DefinitionError: Fields of two classes are.
        """
        return self._engine.board(name, season)

    @overload
    async def commit(
        self, fn: Callable[[A], T], a: Session[A], /, *, ops: tuple[Op | None] | tuple[()] = ...
    ) -> Receipt[T]: ...
    @overload
    async def commit(
        self,
        fn: Callable[[A, B], T],
        a: Session[A],
        b: Session[B],
        /,
        *,
        ops: tuple[Op | None, Op | None] | tuple[()] = ...,
    ) -> Receipt[T]: ...
    @overload
    async def commit(
        self,
        fn: Callable[[A, B, C], T],
        a: Session[A],
        b: Session[B],
        c: Session[C],
        /,
        *,
        ops: tuple[Op | None, Op | None, Op | None] | tuple[()] = ...,
    ) -> Receipt[T]: ...
    @overload
    async def commit(
        self,
        fn: Callable[[A, B, C, D], T],
        a: Session[A],
        b: Session[B],
        c: Session[C],
        d: Session[D],
        /,
        *,
        ops: tuple[Op | None, Op | None, Op | None, Op | None] | tuple[()] = ...,
    ) -> Receipt[T]: ...
    def commit(
        self, fn: Callable[..., T], /, *sessions: Session[Any], ops: Sequence[Op | None] = ()
    ) -> Coroutine[Any, Any, Receipt[T]]:
        """Run `fn(record, ...)` on live records; durable, wholly or not at all, before it returns.

        `fn` is a plain function and runs at once, so no other task can change a record while it reads. If it raises, or a
        record cannot be stored, every record is as before. Cancelling the caller cancels the wait, never the commit.

        Args:
            fn: Gets the records of the sessions, in order; bind other arguments with `functools.partial`. See also `tx`.
            sessions: One to four; `commit_all` takes a list.
            ops: One operation for each session, from the first on, or None for a session without one. A repeated
                operation is answered with its recorded result; nothing runs.

        Returns:
            The result of `fn`, or the recorded one with `repeated`.

        Raises:
            Misuse: A coroutine function, a session twice, a record for a session; a result that cannot be recorded, or in
                strict mode one of more than 256 bytes; or it was started inside the function of another commit.
            SessionEnded, SessionFrozen: A session cannot be used.
            ShuttingDown: The keeper is closing.
            RateLimited: The player of the first session starts too many commits.
            QueueFull: The store does not keep up; nothing ran.
            OpTooOld, OpReused: See `Op`.
            RecordError: A record would be invalid, too large, or cannot be stored.
            AlreadyExists, NoSuchReceiver, InboxFull, CommitRefused: It did not happen.
            CommitPending: The store has not answered for a while; the commit goes on.
            CommitUnknown: Ownership was lost before the store answered.
        """
        return self._commit(fn, sessions, ops)  # its coroutine, because each coroutine around it costs at each commit

    async def commit_all(
        self, fn: Callable[[list[R]], T], sessions: Sequence[Session[R]], *, ops: Sequence[Op | None] = ()
    ) -> Receipt[T]:
        """As `commit`, for any number of sessions: `fn(records)`. The limits of one transaction hold: about 140.

        Raises:
            Misuse: As `commit`; or no session at all, or more than one transaction takes.
            RealmkeepError: As `commit`.
        """

        def spread(*records: Any) -> T:
            return fn(list(records))

        spread.__qualname__ = name_of(fn)
        check_commit(fn, sessions, ops, self._engine.calls, arguments=1)
        return await self._commit(spread, sessions, ops)

    @property
    def tx(self) -> Tx:
        """The transaction of the running commit, inside its function or `on_letter` hook: `deliver`, `create`, `delete`.

        Raises:
            Misuse: No function of a commit of this keeper is running.
        """
        return self._engine.commits.tx

    def _open_engine(self) -> Engine:
        self._entry.check_open()
        return self._engine

    async def allocate_id(self, count: int = 1) -> int:
        """The first of `count` whole numbers that no other call in the realm gets. A lost answer skips some.

        Every number is below 2^52, so that JSON carries it exactly.

        Args:
            count: From 1 to 1,048,576.

        Raises:
            Misuse: `count` is out of range.
            NoMoreIds: The counter in the store is used up, or is no number; the hint says how to repair it.
            StorageError: The store cannot be reached.
        """
        check_type(count, (int,), "allocate_id", "pass how many numbers to take", needed=True)
        return await self._engine.ids.allocate_ids(count)

    async def drain(
        self, *, to: str = "", per_s: float | None = None, deadline_s: float | None = None
    ) -> shutdown.CloseReport:
        """Let go of every player, one after another, and close. Other servers can log in each as soon as it is released.

        The lease says `draining` first, for `Directory` and gateways. From then on a login here is `ShuttingDown`, also of a
        player in grace; commits of live sessions go on. Then each session has its hook of `on_drain` and is released: players
        first, then held records. At the end the keeper closes. `close` during a drain takes over the rest at once.

        Args:
            to: The name of the server to which players are sent: the hooks, `Directory` and the refused logins tell it. Empty:
                any other server.
            per_s: Most sessions to release in a second, so that the other servers are not flooded; None: as many as the store
                takes.
            deadline_s: Seconds for the releases and the close, without those that the pace takes; as for `close`.

        Returns:
            The report of the close, with all released sessions.

        Raises:
            Misuse: An argument is of another type, or `to` is no name of another server; `per_s` is not above 0.
        """
        check_drain(self.name, to, per_s)
        check_type(deadline_s, (int, float), "deadline_s", "pass seconds, or leave it out")
        released = 0
        if self._report is None and not self._engine.sessions.closing:
            released, deadline_s = await draining.drain_sessions(self._engine, to, per_s, deadline_s)
        report = await self.close(deadline_s=deadline_s)
        return dataclasses.replace(report, released=report.released + released)

    async def close(self, *, deadline_s: float | None = None) -> shutdown.CloseReport:
        """Accept nothing new, save everything, release every record, drop the name. Closing twice does nothing more.

        States that cannot be saved before the deadline are written to `rescue.jsonl` and named in the report. A server should
        then exit with a code other than zero, and `restore_rescued` delivers the file once the store is back.

        Args:
            deadline_s: Seconds for the whole shutdown; `keeper.shutdown_deadline_s` without it.
        """
        check_type(deadline_s, (int, float), "deadline_s", "pass seconds, or leave it out")
        async with self._closing:
            if self._report is None:
                self._report = await shutdown.close_engine(self._engine, deadline_s, self._rescue_path)
                self.gc.stop()
                if self._owns_storage:
                    await shutdown.disconnect_storage(self._engine.storage)
            return self._report


def engine_of(keeper: Keeper) -> Engine:
    """The inside of a keeper, for `realmkeep.keeping.operating` and `realmkeep.testing`; no game needs it."""
    return keeper._engine  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - its own module
