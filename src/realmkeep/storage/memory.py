"""`memory://`: a dictionary, for tests, simulations and first steps. It ends with the process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import SplitResult

from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import ConfigError, StorageUnavailable
from realmkeep.storage.limits import (
    check_increment,
    check_key,
    check_keys,
    check_range,
    check_transactions,
    check_value,
    expire_ms,
)
from realmkeep.storage.patterns import compile_pattern, is_orphan
from realmkeep.storage.protocol import (
    AnyTransaction,
    Append,
    Capability,
    Delete,
    DropFirst,
    Failed,
    Put,
    Transaction,
    WriteOutcome,
)
from realmkeep.storage.transact import ABSENT, VALUE, Shape, add, apply, wrong_type

CAPABILITY: Final = Capability(
    backend="memory",
    engine="python",
    durable_on_return=False,
    survives_power_loss=False,
    loss_window_s=None,
    shared=False,
    fsync="none",
    warnings=("the store ends with this process",),
)

MemoryContents = tuple[dict[str, bytes | list[bytes]], dict[str, int]]


class MemoryStore:
    """The contents that one or several `MemoryStorage` of a process share; like a database, it outlives each of them.

    Args:
        clock: The clock for expiries. They use monotonic time, so setting the machine's clock expires no key.

    Attributes:
        runs: The number of its starts; `restore` is a restart.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._held: dict[str, bytes | list[bytes]] = {}
        self._expires_us: dict[str, int] = {}
        self.runs = 1

    def snapshot(self) -> MemoryContents:
        """Return a copy of the contents, for `restore`."""
        return {key: held if isinstance(held, bytes) else [*held] for key, held in self._held.items()}, dict(
            self._expires_us
        )

    def restore(self, contents: MemoryContents) -> None:
        """Put `contents` back, like a store that was restarted and has lost the later writes."""
        held, expires_us = contents
        self._held = {key: held if isinstance(held, bytes) else [*held] for key, held in held.items()}
        self._expires_us = dict(expires_us)
        self.runs += 1

    def live_keys(self) -> list[str]:
        """Return every key that has not expired."""
        return [key for key in tuple(self._held) if self._find(key) is not None]

    def value(self, key: str) -> bytes | None:
        """Return the value at `key`; None if it is absent.

        Raises:
            WrongType: The key holds a list.
        """
        found = self._find(key)
        if isinstance(found, list):
            raise wrong_type(key, holds="a list", wanted="a value")
        return found

    def entries(self, key: str) -> list[bytes]:
        """Return the list at `key` itself, not a copy; a new empty one if the key is absent.

        Raises:
            WrongType: The key holds a value.
        """
        found = self._find(key)
        if isinstance(found, bytes):
            raise wrong_type(key, holds="a value", wanted="a list")
        return found or []

    def exists(self, key: str) -> bool:
        """Whether `key` holds a value or a list."""
        return self._find(key) is not None

    def expiry(self, key: str) -> float | None:
        """Return the seconds after which `key` vanishes; None if it does not, or is absent."""
        if self._find(key) is None or key not in self._expires_us:
            return None
        return (self._expires_us[key] - self._now_us()) / 1_000_000

    def remove(self, key: str) -> bool:
        """Remove `key`; True if it existed."""
        existed = self.exists(key)
        self._held.pop(key, None)
        self._expires_us.pop(key, None)
        return existed

    def replace(self, key: str, value: bytes) -> None:
        """Set `key` to `value`, and keep its expiry if it has one."""
        self._held[key] = value

    def perform(self, effect: Put | Delete | Append | DropFirst) -> None:
        """Apply an effect; the type of its key has been checked."""
        key = effect.key
        if isinstance(effect, Put):
            self._held[key] = effect.value
            if effect.expire_s is None:
                self._expires_us.pop(key, None)
            else:
                self._expires_us[key] = self._now_us() + expire_ms(effect.expire_s) * 1000
        elif isinstance(effect, Delete):
            self.remove(key)
        elif isinstance(effect, Append):
            if entries := self.entries(key):
                entries.append(effect.value)
            else:
                self._held[key] = [effect.value]
        else:
            entries = self.entries(key)
            del entries[: effect.count]
            if not entries:
                self.remove(key)

    def shape(self, key: str) -> Shape:
        """Return the shape of `key`."""
        found = self._find(key)
        return ABSENT if found is None else VALUE if isinstance(found, bytes) else len(found)

    def _find(self, key: str) -> bytes | list[bytes] | None:
        expires_us = self._expires_us.get(key)
        if expires_us is not None and expires_us <= self._now_us():
            del self._held[key], self._expires_us[key]
        return self._held.get(key)

    def _now_us(self) -> int:
        return round(self._clock.monotonic_s() * 1_000_000)


class MemoryStorage:
    """A `Storage` on a `MemoryStore`.

    A change happens when the call starts to run. The call then yields to the event loop once, so that tests find a caller
    that forgets that other tasks run meanwhile.

    Args:
        store: The contents; several objects on one store behave as several servers on one database. By default a new one.
        clock: The clock of the default store, and of `sweep_temp`.
    """

    def __init__(self, store: MemoryStore | None = None, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.store = store or MemoryStore(self._clock)
        self._connected = False

    def __repr__(self) -> str:
        return f"<MemoryStorage {'connected' if self._connected else 'not connected'}>"

    @property
    def capability(self) -> Capability:
        """It promises nothing."""
        self._check_connected()
        return CAPABILITY

    async def run_id(self) -> str:
        """Return the number of the store's current run."""
        self._check_connected()
        await asyncio.sleep(0)
        return str(self.store.runs)

    async def connect(self) -> None:
        """Open the storage; the contents of its store are kept."""
        self._connected = True

    async def disconnect(self) -> None:
        """Close the storage; the store keeps its contents."""
        self._connected = False

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """Apply transactions in order."""
        check_transactions(transactions)
        if not self._connected:
            return [Failed(_not_connected()) for _ in transactions]
        outcomes = [apply(self.store, transaction) for transaction in transactions]
        await asyncio.sleep(0)
        return outcomes

    async def load(self, key: str) -> bytes | None:
        """Return the value at `key`; None if the key is absent."""
        check_key(key)
        self._check_connected()
        value = self.store.value(key)
        await asyncio.sleep(0)
        return value

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values at `keys`."""
        check_keys(keys)
        self._check_connected()
        values = [self.store.value(key) for key in keys]
        await asyncio.sleep(0)
        return values

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """Return the entries of the list at `key`."""
        check_range(key, start, count)
        self._check_connected()
        entries = self.store.entries(key)[start : None if count is None else start + count]
        await asyncio.sleep(0)
        return entries

    async def expiries(self, keys: Sequence[str]) -> list[float | None]:
        """Return the seconds after which each of `keys` vanishes."""
        check_keys(keys)
        self._check_connected()
        left = [self.store.expiry(key) for key in keys]
        await asyncio.sleep(0)
        return left

    async def exists(self, key: str) -> bool:
        """Whether `key` holds a value or a list."""
        check_key(key)
        self._check_connected()
        existed = self.store.exists(key)
        await asyncio.sleep(0)
        return existed

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """Iterate over the keys that match."""
        self._check_connected()
        matches = compile_pattern(pattern).fullmatch
        for key in self.store.live_keys():
            if matches(key):
                yield key
                await asyncio.sleep(0)
                self._check_connected()

    async def increment(self, key: str, by: int = 1) -> int:
        """Add `by` to the number at `key`."""
        check_increment(key, by)
        self._check_connected()
        number = add(self.store, key, by)
        await asyncio.sleep(0)
        return number

    async def flush(self) -> None:
        """Return at once: memory never becomes more durable."""
        self._check_connected()
        await asyncio.sleep(0)

    async def snapshot(self) -> None:
        """Do nothing: there is no snapshot."""
        self._check_connected()

    async def save(self, key: str, value: bytes) -> None:
        """Replace `key`; an assignment needs no staging."""
        check_key(key)
        check_value(key, value)
        self._check_connected()
        outcome = apply(self.store, Transaction((), (Put(key, value),)))
        if isinstance(outcome, Failed):
            raise outcome.error
        await asyncio.sleep(0)

    async def delete(self, key: str) -> bool:
        """Remove `key`."""
        check_key(key)
        self._check_connected()
        existed = self.store.remove(key)
        await asyncio.sleep(0)
        return existed

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """Delete orphaned staged values."""
        self._check_connected()
        now_us = self._clock.wall_us()
        orphans = [key for key in self.store.live_keys() if is_orphan(key, now_us=now_us, older_than_s=older_than_s)]
        for key in orphans:
            self.store.remove(key)
        await asyncio.sleep(0)
        return len(orphans)

    def _check_connected(self) -> None:
        if not self._connected:
            raise _not_connected()


def _not_connected() -> StorageUnavailable:
    return StorageUnavailable("the memory store is not connected", hint="await storage.connect() first")


def open_url(url: SplitResult, clock: Clock) -> MemoryStorage:
    """Open a `memory://` URL: each has a store of its own.

    Raises:
        ConfigError: The URL has more than `memory://`.
    """
    if url.netloc or url.path.strip("/") or url.query or url.fragment:
        raise ConfigError("a memory:// URL has nothing after the slashes", hint="use memory://, or another backend")
    return MemoryStorage(clock=clock)
