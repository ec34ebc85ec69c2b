"""What lies in a SQLite file, as one connection sees it inside its transaction. The statements are in `sql/`."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Any, Final, Protocol

from realmkeep.clock import Clock
from realmkeep.storage.limits import expire_ms
from realmkeep.storage.protocol import Append, Delete, Effect, Put
from realmkeep.storage.transact import ABSENT, VALUE, Shape, wrong_type

SWEEP_KEYS_MAX: Final = 100  # a transaction; so that no commit waits for a great clearing out


class Rows(Protocol):
    """What a statement returned."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    @property
    def get(self) -> Any:
        """The first row, and if that has one column, that alone; None without a row."""
        ...

    def fetchone(self) -> Any:
        """The next row; None if there is none."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows; only then has a statement that returns some run to its end."""
        ...


class Connection(Protocol):
    """What is used of `apsw.Connection`, whose own types need Python 3.12 (`collections.abc.Buffer`)."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction has begun."""
        ...

    def execute(self, statements: str, bindings: Mapping[str, str | bytes | int | None] | None = None, /) -> Rows:
        """Run statements; the last one's rows are fetched as they are asked for."""
        ...

    def readonly(self, name: str, /) -> bool:
        """Whether the file cannot be written."""
        ...

    def set_busy_timeout(self, milliseconds: int, /) -> None:
        """How long to wait for another program's lock."""
        ...

    def close(self) -> None:
        """Close it."""
        ...

    def __enter__(self) -> object: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


@cache
def statement(name: str) -> str:
    """The text of `sql/{name}.sql`."""
    return files("realmkeep.storage").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


class SqliteContents:
    """Reads and changes; the caller begins and ends transactions, in the one thread that uses the connection.

    Args:
        connection: Where.
        clock: Its wall time decides what has expired, because an expiry outlives the process.
    """

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def value(self, key: str) -> bytes | None:
        """The value at `key`; None if nothing lies there.

        Raises:
            WrongType: A list lies there.
        """
        row = self._find(key)
        if row is None:
            return None
        if row[0] is None:
            raise wrong_type(key, holds="a list", wanted="a value")
        return row[0]

    def entries(self, key: str, *, start: int, count: int | None) -> list[bytes]:
        """The entries of the list at `key`; none if absent.

        Raises:
            WrongType: A value lies there.
        """
        row = self._find(key)
        if row is None:
            return []
        if row[0] is not None:
            raise wrong_type(key, holds="a value", wanted="a list")
        limit = -1 if count is None else count
        return [row[0] for row in self._run("list_entries", {"key": key, "start": start, "count": limit})]

    def shape(self, key: str) -> Shape:
        """What lies at `key`."""
        row = self._find(key)
        if row is None:
            return ABSENT
        if row[0] is not None:
            return VALUE
        (length,) = next(self._run("list_length", {"key": key}))
        return length

    def exists(self, key: str) -> bool:
        """Whether anything lies at `key`."""
        return self._find(key) is not None

    def page_of_keys(self, from_key: str, count: int) -> tuple[list[str], str | None]:
        """The keys of the next `count` rows from `from_key` on, sorted, and from where to go on; None: that was all."""
        rows: list[tuple[str, int | None]] = list(self._run("page_of_keys", {"from_key": from_key, "count": count}))
        now_us = self._clock.wall_us()
        found = [key for key, expires_us in rows if expires_us is None or expires_us > now_us]
        return found, f"{rows[-1][0]}\0" if len(rows) == count else None

    def perform(self, effect: Effect) -> None:
        """Do it; the key is known to be of the right type."""
        key = effect.key
        if isinstance(effect, Put):
            lasts = effect.expire_s
            expires_us = None if lasts is None else self._clock.wall_us() + expire_ms(lasts) * 1000
            self._run("put", {"key": key, "value": effect.value, "expires_us": expires_us})
        elif isinstance(effect, Delete):
            self.remove(key)
        elif isinstance(effect, Append):
            self._run("open_list", {"key": key})
            self._run("append", {"key": key, "value": effect.value})
        else:
            self._run("drop_first", {"key": key, "count": effect.count})
            if next(self._run("list_length", {"key": key}))[0] is None:
                self._run("remove", {"key": key})

    def replace(self, key: str, value: bytes) -> None:
        """Set `key` to `value` and keep its expiry, if it has one."""
        self._run("replace", {"key": key, "value": value})

    def remove(self, key: str) -> bool:
        """Remove `key`, value or list; True if something lay there."""
        row = self._find(key)
        self._run("remove", {"key": key})
        if row is not None and row[0] is None:
            self._run("remove_list", {"key": key})
        return row is not None

    def sweep_expired(self) -> None:
        """Clear away some of what has expired: it is absent as it is, but takes up room."""
        self._run("sweep_expired", {"now_us": self._clock.wall_us(), "count": SWEEP_KEYS_MAX})

    def _find(self, key: str) -> tuple[bytes | None, int | None] | None:
        row: tuple[bytes | None, int | None] | None = self._run("find", {"key": key}).fetchone()
        if row is None or (row[1] is not None and row[1] <= self._clock.wall_us()):
            return None
        return row

    def _run(self, name: str, bindings: dict[str, str | bytes | int | None]) -> Rows:
        return self._connection.execute(statement(name), bindings)
