"""Records one at a time, for tools and scripts; each save claims, writes and releases under a fencing token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from realmkeep.errors import Misuse
from realmkeep.keeping.live.op_ring import Receipt
from realmkeep.keeping.live.record_keys import keys_of, limits_of
from realmkeep.keeping.scan import scan
from realmkeep.records import Record, load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keeping.lifecycle.entering import SessionEntry
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.scan import ScannedRecord
    from realmkeep.keys import RecordKeys

R = TypeVar("R", bound=Record)


class Table(Generic[R]):
    """All records of one class, for simple tools: `players = keeper.table(Player)`."""

    def __init__(self, engine: Engine, entry: SessionEntry, cls: type[R]) -> None:
        self._engine = engine
        self._entry = entry
        self._cls = cls

    async def load(self, id: int | str) -> R | None:  # noqa: A002 - the field's own name
        """A copy of the record: of the live one if it is live here, otherwise of the stored one. None if it is absent.

        Changing the copy changes nothing; to change a record by its present values, `borrow` it and commit.

        Raises:
            InvalidKey: The id is malformed.
            Quarantined: The stored record cannot be used.
            StorageError: The store cannot be reached.
        """
        engine, record_keys = self._engine, keys_of(self._cls, id)
        live = engine.sessions.get(record_keys.record)
        if live is None:
            await engine.barrier.wait_until_passed()
        stored = engine.stager.encode(live) if live is not None else await engine.reads.load(record_keys.record)
        return None if stored is None else await engine.claims.read_record(self._cls, record_keys, stored)

    async def exists(self, id: int | str) -> bool:  # noqa: A002 - the field's own name
        """Whether there is such a record, live here or stored. The stored bytes are not read, so they may be unusable.

        Raises:
            InvalidKey: The id is malformed.
            StorageError: The store cannot be reached.
        """
        key = keys_of(self._cls, id).record
        return key in self._engine.sessions or await self._engine.storage.exists(key)

    async def scan(self) -> AsyncGenerator[ScannedRecord[R]]:
        """Every record of the class, in no order, each once: a copy as `load` gives it, or its error.

        ```python
        async for each in keeper.table(Player).scan():
            if each.error is None: ...
        ```

        Nothing is claimed and nothing is written; an unreadable record does not end the scan. A record that is created or
        deleted meanwhile may be missed or seen. At most 64 records are in memory at once; each page is read as it is needed.

        Raises:
            StorageError: The store cannot be reached; raised while iterating.
        """
        await self._engine.barrier.wait_until_passed()
        async for each in scan(self._cls, self._engine.reads, self._read):
            yield each

    def _read(self, record_keys: RecordKeys, stored: bytes | None) -> R | None:
        engine = self._engine
        live = engine.sessions.get(record_keys.record)
        blob = engine.stager.encode(live) if live is not None else stored
        if blob is None:
            return None
        limits, unchecked = limits_of(engine.records), engine.records.accept_unchecked
        return load(blob, self._cls, limits=limits, accept_unchecked=unchecked).require()

    async def save(self, id: int | str, record: R) -> None:  # noqa: A002 - the field's own name
        """Replace the record, or create it: claim, write and release; durable on return.

        Several tasks may save one record at once: each replaces it wholly, in some order.

        Raises:
            AlreadyOwned: A live server owns it.
            InvalidKey: The id is malformed.
            Misuse: It is live here; change its session's record instead.
            RecordError: The record is invalid, too large, or cannot be stored.
            StorageError: The store cannot be reached.
        """
        if type(record) is not self._cls:
            raise Misuse(
                f"a table of {self._cls.__name__} got a {type(record).__name__}", hint="use the table of its own class"
            )
        made = self._cls(**{field.name: getattr(record, field.name) for field in record.__realmkeep__.durable})
        async with self._entry.borrow(self._cls, id, lambda: made) as session:  # a copy: the caller keeps its object
            assert session is not None  # `create` makes it if it is absent
            if not session.borrowers:
                raise Misuse(
                    f"{self._cls.__name__} {id} is live on this server",
                    hint="change keeper.session(...).record in a commit",
                )
            if session.record is not made:
                await self._replace(session, made)

    async def _replace(self, session: Session[R], record: R) -> None:
        def replace(live: R) -> None:
            self._engine.commits.tx.adjust("saved by a tool")
            for field in live.__realmkeep__.durable:
                setattr(live, field.name, getattr(record, field.name))

        write, _ = self._engine.commits.run(replace, [session], ())
        self._engine.counters.commits += 1
        await self._engine.commits.wait(write, Receipt(None, repeated=False))
