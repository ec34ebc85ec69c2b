"""Records one at a time, for tools and scripts: claim, write and release inside, never around the fence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from realmkeep.errors import Misuse
from realmkeep.records import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from realmkeep.keeping.live.op_ring import Receipt
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.scan import Scanned
    from realmkeep.keeping.writing.commit import Tx

R = TypeVar("R", bound=Record)


class Lender(Protocol):
    """What a table asks of its keeper."""

    def borrow(
        self,
        cls: type[R],
        id: int | str,  # noqa: A002
        *,
        create: Callable[[], R],
    ) -> AbstractAsyncContextManager[Session[R]]:
        """Own a record for a while."""
        ...

    async def commit(self, fn: Callable[[Tx, R], Any], a: Session[R], /) -> Receipt[Any]:
        """Change it, durably."""
        ...


class Reader(Protocol):
    """What a table asks of what lies beneath its keeper."""

    async def exists(self, cls: type[Record], id: int | str) -> bool:  # noqa: A002
        """Whether there is such a record."""
        ...

    def scan(self, cls: type[R]) -> AsyncIterator[Scanned[R]]:
        """Every record of the class."""
        ...

    async def copy(self, cls: type[R], id: int | str) -> R | None:  # noqa: A002
        """A copy of the record, live or stored."""
        ...


class Table(Generic[R]):
    """All records of one class, for simple tools: `players = keeper.table(Player)`."""

    def __init__(self, lender: Lender, reader: Reader, cls: type[R]) -> None:
        self._lender = lender
        self._reader = reader
        self._cls = cls

    async def load(self, id: int | str) -> R | None:  # noqa: A002 - the field's own name
        """A copy of the record: of the live one if it is live here, otherwise as it is stored. None if it is absent.

        Changing the copy changes nothing; to change a record by what it holds, `borrow` it and commit.

        Raises:
            InvalidKey: The id is malformed.
            Quarantined: What is stored cannot be used.
            StorageError: The store cannot be reached.
        """
        return await self._reader.copy(self._cls, id)

    async def exists(self, id: int | str) -> bool:  # noqa: A002 - the field's own name
        """Whether there is such a record, live here or stored; what is stored is not read, so it may be unusable.

        Raises:
            InvalidKey: The id is malformed.
            StorageError: The store cannot be reached.
        """
        return await self._reader.exists(self._cls, id)

    def scan(self) -> AsyncIterator[Scanned[R]]:
        """Every record of the class, in no order, each once: a copy as `load` gives it, or its error.

        ```python
        async for each in keeper.table(Player).scan():
            if each.error is None: ...
        ```

        Nothing is claimed and nothing is written; a record that cannot be read stops nothing. What comes or goes meanwhile
        may be seen or not. At most 64 records are in memory at once, and they are read as they come.

        Raises:
            StorageError: The store cannot be reached; raised while iterating.
        """
        return self._reader.scan(self._cls)

    async def save(self, id: int | str, record: R) -> None:  # noqa: A002 - the field's own name
        """Replace the record, or make it: claim, write and release; durable on return.

        Several may save one record at once: each replaces it wholly, in some order.

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
        async with self._lender.borrow(self._cls, id, create=lambda: made) as session:  # the caller's own stays its own
            if not session.borrowers:
                raise Misuse(
                    f"{self._cls.__name__} {id} is live on this server",
                    hint="change keeper.session(...).record in a commit",
                )
            if session.record is not made:
                await self._lender.commit(lambda _, live: _replace(live, made), session)


def _replace(live: Record, record: Record) -> None:
    for field in live.__realmkeep__.durable:
        setattr(live, field.name, getattr(record, field.name))
