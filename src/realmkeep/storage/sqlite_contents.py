"""The contents of a SQLite file, as one connection sees them inside its transaction. The statements are in `sql/`."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Any, Final, Protocol

from realmkeep.clock import Clock
from realmkeep.storage.limits import expire_ms
from realmkeep.storage.protocol import Append, Delete, DropFirst, Put
from realmkeep.storage.transact import ABSENT, VALUE, Shape, wrong_type

SWEEP_KEYS_MAX: Final = 100  # in one transaction, so that no commit waits for a long sweep


class Rows(Protocol):
    """The result of a statement."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    @property
    def get(self) -> Any:
        """The first row, or its only column if it has one; None without a row."""
        ...

    def fetchone(self) -> Any:
        """Return the next row; None if there is none."""
        ...

    def fetchall(self) -> list[Any]:
        """Return all rows. A statement with rows has run to its end only after this."""
        ...


class Connection(Protocol):
    """The part of `apsw.Connection` that is used; its own types need Python 3.12 (`collections.abc.Buffer`)."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction has begun."""
        ...

    def execute(self, statements: str, bindings: Mapping[str, str | bytes | int | None] | None = None, /) -> Rows:
        """Run statements; the rows of the last one are fetched on demand."""
        ...

    def readonly(self, name: str, /) -> bool:
        """Whether the file cannot be written."""
        ...

    def set_busy_timeout(self, milliseconds: int, /) -> None:
        """Set the longest wait for another program's lock."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...

    def __enter__(self) -> object: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


@cache
def statement(name: str) -> str:
    """Return the text of `sql/{name}.sql`."""
    return files("realmkeep.storage").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


class SqliteContents:
    """Reads and changes keys. The caller begins and ends transactions, in the one thread that uses the connection.

    Args:
        connection: The connection.
        clock: The clock; expiries use its wall time, because they outlive the process.
    """

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def value(self, key: str) -> bytes | None:
        """Return the value at `key`; None if the key is absent.

        Raises:
            WrongType: The key holds a list.
        """
        row = self._find(key)
        if row is None:
            return None
        if row[0] is None:
            raise wrong_type(key, holds="a list", wanted="a value")
        return row[0]

    def entries(self, key: str, *, start: int, count: int | None) -> list[bytes]:
        """Return the entries of the list at `key`; [] if the key is absent.

        Raises:
            WrongType: The key holds a value.
        """
        row = self._find(key)
        if row is None:
            return []
        if row[0] is not None:
            raise wrong_type(key, holds="a value", wanted="a list")
        limit = -1 if count is None else count
        return [row[0] for row in self._run("list_entries", {"key": key, "start": start, "count": limit})]

    def shape(self, key: str) -> Shape:
        """Return the shape of `key`."""
        row = self._find(key)
        if row is None:
            return ABSENT
        if row[0] is not None:
            return VALUE
        (length,) = next(self._run("list_length", {"key": key}))
        return length

    def exists(self, key: str) -> bool:
        """Whether `key` holds a value or a list."""
        return self._find(key) is not None

    def expiry(self, key: str) -> float | None:
        """Return the seconds after which `key` vanishes; None if it does not, or is absent."""
        row = self._find(key)
        return None if row is None or row[1] is None else (row[1] - self._clock.wall_us()) / 1_000_000

    def page_of_keys(self, from_key: str, count: int) -> tuple[list[str], str | None]:
        """Return the keys of the next `count` rows from `from_key` on, sorted, and the key of the next page, if any."""
        rows: list[tuple[str, int | None]] = list(self._run("page_of_keys", {"from_key": from_key, "count": count}))
        now_us = self._clock.wall_us()
        found = [key for key, expires_us in rows if expires_us is None or expires_us > now_us]
        return found, f"{rows[-1][0]}\0" if len(rows) == count else None

    def perform(self, effect: Put | Delete | Append | DropFirst) -> None:
        """Apply an effect; the type of its key has been checked."""
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
        """Remove `key` and its value or list; True if it existed."""
        row = self._find(key)
        self._run("remove", {"key": key})
        if row is not None and row[0] is None:
            self._run("remove_list", {"key": key})
        return row is not None

    def sweep_expired(self) -> None:
        """Delete some expired keys: they count as absent already, but take up room."""
        self._run("sweep_expired", {"now_us": self._clock.wall_us(), "count": SWEEP_KEYS_MAX})

    def _find(self, key: str) -> tuple[bytes | None, int | None] | None:
        row: tuple[bytes | None, int | None] | None = self._run("find", {"key": key}).fetchone()
        if row is None or (row[1] is not None and row[1] <= self._clock.wall_us()):
            return None
        return row

    def _run(self, name: str, bindings: dict[str, str | bytes | int | None]) -> Rows:
        return self._connection.execute(statement(name), bindings)
