"""A realm in memory with a clock that the test turns: so that a game's own dupe test is ten lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from realmkeep.config import KeeperConfig, RecordsConfig
from realmkeep.keeping import Keeper
from realmkeep.keeping.claims import keys_of
from realmkeep.records import Record, load
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Lab:
    """One store in memory, one clock, and the servers of a realm, the first of which is open at once.

    ```python
    async with Lab() as lab:
        ada = await lab.keeper.login(Player, 1, create=lambda: Player(name="Ada"))
    ```

    Args:
        name: The first server's name.
        strict: Violations raise, as in development; False: as in production.
        config: Intervals and limits of every server.
        setup: Called with every keeper that opens: registers the game's hooks.

    Attributes:
        clock: The clock of all servers.
        store: What outlives their crashes.
        keeper: The first server's keeper.
    """

    def __init__(
        self,
        name: str = "lab-1",
        *,
        strict: bool = True,
        config: KeeperConfig | None = None,
        records: RecordsConfig | None = None,
        setup: Callable[[Keeper], object] | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self._name = name
        self._config = msgspec.structs.replace(config or KeeperConfig(), strict=strict)
        self._records = records or RecordsConfig()
        self._setup = setup
        self._keepers: dict[str, Keeper] = {}
        self._lines: dict[str, FaultyStorage] = {}

    async def __aenter__(self) -> Self:
        await self.server(self._name)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for keeper in self._keepers.values():
            keeper.abandon()
        await self.clock.settle()

    @property
    def keeper(self) -> Keeper:
        """The first server's keeper, as it is now: another one after `restart`."""
        return self._keepers[self._name]

    async def server(self, name: str) -> Keeper:
        """Open a server of this realm by this name."""
        line = self._lines[name] = FaultyStorage(MemoryStorage(self.store, clock=self.clock), clock=self.clock)
        keeper = await self.finish(
            Keeper.open(
                line, config=msgspec.structs.replace(self._config, name=name), records=self._records, clock=self.clock
            )
        )
        if self._setup is not None:
            self._setup(keeper)
        self._keepers[name] = keeper
        return keeper

    async def crash(self, name: str | None = None) -> None:
        """A server ends without saving anything; the store keeps what was durable."""
        self._keepers.pop(name or self._name).abandon()
        await self.clock.settle()

    async def restart(self, name: str | None = None) -> Keeper:
        """Crash a server if it runs, and start it again by the same name."""
        if (name or self._name) in self._keepers:
            await self.crash(name)
        return await self.server(name or self._name)

    async def advance(self, by_s: float) -> None:
        """Let time pass; everything that comes due happens, in order."""
        await self.clock.advance(by_s)

    async def finish(self, awaitable: Awaitable[T]) -> T:
        """Let time pass until `awaitable` is done, and return its result."""
        return await self.clock.finish(awaitable)

    def line(self, name: str | None = None) -> FaultyStorage:
        """A server's connection to the store, to be disturbed."""
        return self._lines[name or self._name]

    def lose_next_reply(self, name: str | None = None) -> None:
        """The next write of a server is applied, and its answer is lost."""
        self.line(name).script("write", LOSE_REPLY)

    def stored(self, cls: type[R], id: int | str) -> R | None:  # noqa: A002 - the field's own name
        """What the store holds of a record, as a copy; None if nothing.

        Raises:
            RecordError: It cannot be read.
        """
        blob = self.store.value(keys_of(cls, id).record)
        return None if blob is None else load(blob, cls).require()

    def kept(self, key: str) -> Any:
        """The bytes at a key of the store, or None."""
        return self.store.value(key)
