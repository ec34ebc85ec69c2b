"""A realm in memory with a clock that the test turns: so that a game's own dupe test is ten lines."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from realmkeep.callables import fault_of
from realmkeep.config import KeeperConfig, RecordsConfig
from realmkeep.errors import Misuse
from realmkeep.keeping import Hooks, Keeper
from realmkeep.keeping.live.record_keys import keys_of, limits_of
from realmkeep.records import Record, load
from realmkeep.storage import Capability
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, FaultyStorage
from realmkeep.testing.idle import when_idle

R = TypeVar("R", bound=Record)
T = TypeVar("T")

AWAITED_S_MAX: Final = 3600.0  # as `FakeClock.finish`: what has not come by then does not come


def _work_of(keeper: Keeper) -> int:
    """Changes whenever a server has done something that a test may have awaited."""
    counters = keeper.counters
    return counters.sessions + counters.commits + counters.repeats + counters.escalations


FSYNC_LATE_S: Final = 1.0  # as an fsync once a second may be


class _LabStorage(MemoryStorage):
    """One server's connection to the lab's store, which promises what the lab says."""

    def __init__(self, lab: "Lab") -> None:
        super().__init__(lab.store, clock=lab.clock)
        self._loss_window_s = lab.loss_window_s

    async def flush(self) -> None:
        """Return when nothing of before can be lost: as late as the store says, and what an fsync may be late by."""
        await super().flush()
        if self._loss_window_s:
            await self._clock.sleep(self._loss_window_s + FSYNC_LATE_S)

    @property
    def capability(self) -> Capability:
        """As of a store on a disk of its own, which other servers share."""
        safe = self._loss_window_s == 0
        return msgspec.structs.replace(
            super().capability,
            durable_on_return=safe,
            survives_power_loss=safe,
            loss_window_s=self._loss_window_s,
            shared=True,
            warnings=(),
        )


class Lab:
    """One store in memory, one clock, and the servers of a realm, the first of which is open at once.

    ```python
    async with Lab() as lab:
        ada = await lab.keeper.login(Player, 1, create=lambda: Player(name="Ada"))
    ```

    The store answers at once and loses nothing unless a test disturbs a server's line to it. What a shutdown cannot save
    is named in its report and written nowhere.

    Time passes in `advance`, `finish`, `server` and `restart`; and by itself, from timer to timer, while all that the test
    awaits waits for it: the eleventh commit of a player within a second comes back, a tenth of a second later. A test that
    has awaited for an hour what no server brings about ends with a `RuntimeError`. Where the test also waits for real time,
    a thread, a socket or a process, it waits for these alone.

    Args:
        name: The first server's name.
        strict: Violations raise, as in development; False: as in production.
        config: Intervals and limits of every server.
        records: Caps and codec of every server.
        hooks: The game's functions, for every keeper that opens.
        setup: Called with every keeper that opens: registers hooks of its own.
        loss_window_s: What the store admits that a crash of its own may lose: 0 nothing, None everything.

    Raises:
        Misuse: `setup` is no plain function of the keeper.

    Attributes:
        clock: The clock of all servers.
        store: What outlives their crashes; `store.snapshot()` and `store.restore(...)` take it back in time.
        loss_window_s: As above.
    """

    def __init__(
        self,
        name: str = "lab-1",
        *,
        strict: bool = True,
        config: KeeperConfig | None = None,
        records: RecordsConfig | None = None,
        hooks: Hooks | None = None,
        setup: Callable[[Keeper], object] | None = None,
        loss_window_s: float | None = 0.0,
    ) -> None:
        if setup is not None and (fault := fault_of(setup, 1)) is not None:
            raise Misuse(f"setup: {fault}", hint="pass a plain function of the keeper")
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.loss_window_s = loss_window_s
        self._name = name
        self._config = msgspec.structs.replace(config or KeeperConfig(), strict=strict)
        self._records = records or RecordsConfig()
        self._hooks = hooks
        self._setup = setup
        self._watch = ExitStack()
        self._awaited_since_s, self._seen = 0.0, 0
        self._keepers: dict[str, Keeper] = {}
        self._lines: dict[str, FaultyStorage] = {}

    async def __aenter__(self) -> Self:
        self._watch.enter_context(when_idle(self._let_time_pass))
        await self.server(self._name)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for name in list(self._keepers):
            await self.crash(name)
        self._watch.close()

    def _let_time_pass(self) -> None:
        """Nothing can happen any more unless time passes.

        Raises:
            RuntimeError: It has passed for an hour, and nothing came of it.
        """
        now_s, done = self.clock.monotonic_s(), sum(_work_of(keeper) for keeper in self._keepers.values())
        if self._seen != done or now_s < self._awaited_since_s:
            self._seen, self._awaited_since_s = done, now_s
        if now_s - self._awaited_since_s > AWAITED_S_MAX or not self.clock.fire_next():
            raise RuntimeError(
                "the test waits for what no server of this lab will bring about: an hour has passed, and nothing came. "
                "What waits for a server that crashed waits for ever; a line that is down stays down until the test "
                f"mends it. The tasks: {', '.join(map(repr, asyncio.all_tasks()))}"
            )

    @property
    def keeper(self) -> Keeper:
        """The first server's keeper, as it is now: another one after `restart`.

        Raises:
            LookupError: It has crashed.
        """
        return self._keepers[self._running(None)]

    def keeper_of(self, name: str) -> Keeper | None:
        """The keeper of the server of this name; None if it does not run."""
        return self._keepers.get(name)

    async def server(self, name: str) -> Keeper:
        """Open a server of this realm by this name.

        Raises:
            NameTaken: It runs.
        """
        line = FaultyStorage(_LabStorage(self), clock=self.clock, store=self.store)
        config = msgspec.structs.replace(self._config, name=name)
        opening = Keeper.open(
            line,
            config=config,
            records=self._records,
            hooks=self._hooks,
            clock=self.clock,
            rescue_path=Path(os.devnull),
        )
        keeper = await self.finish(opening)
        if self._setup is not None:
            self._setup(keeper)
        self._keepers[name], self._lines[name] = keeper, line
        return keeper

    async def crash(self, name: str | None = None) -> None:
        """A server ends without saving anything; the store keeps what was durable. What waits for the server waits for ever.

        Args:
            name: The first server without it.

        Raises:
            LookupError: It does not run.
        """
        self._keepers.pop(self._running(name)).abandon()
        await self.clock.settle()

    async def restart(self, name: str | None = None) -> Keeper:
        """Crash a server if it runs, and start it again by the same name.

        Args:
            name: The first server without it.
        """
        if (name or self._name) in self._keepers:
            await self.crash(name)
        return await self.server(name or self._name)

    async def advance(self, by_s: float) -> None:
        """Let time pass; everything that comes due happens, in order."""
        await self.clock.advance(by_s)
        self._awaited_since_s = self.clock.monotonic_s()

    async def finish(self, awaitable: Awaitable[T]) -> T:
        """Let time pass until `awaitable` is done, and return its result.

        Raises:
            TimeoutError: Nothing that could happen within an hour will bring it about.
        """
        return await self.clock.finish(awaitable)

    def line(self, name: str | None = None) -> FaultyStorage:
        """A server's connection to the store, to be disturbed: `line().down = True`, `line().script("write", ...)`."""
        return self._lines[name or self._name]

    def lose_next_reply(self, name: str | None = None) -> None:
        """The next write of a server is applied, and its answer is lost."""
        self.line(name).script("write", LOSE_REPLY)

    def lose_next_request(self, name: str | None = None) -> None:
        """The next write of a server never arrives, and the server cannot know."""
        self.line(name).script("write", LOSE_REQUEST)

    def stored(self, cls: type[R], id: int | str) -> R | None:  # noqa: A002 - the field's own name
        """What the store holds of a record, as a copy; None if nothing.

        Raises:
            RecordError: It cannot be read.
        """
        blob = self.store.value(keys_of(cls, id).record)
        return None if blob is None else load(blob, cls, limits=limits_of(self._records)).require()

    def _running(self, name: str | None) -> str:
        if (name or self._name) not in self._keepers:
            raise LookupError(f"the server {name or self._name!r} of this lab does not run; restart() it")
        return name or self._name
