"""A realm in memory with a clock that the test moves; a game's own dupe test takes ten lines."""

import asyncio
import os
from collections.abc import Awaitable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from realmkeep.config import JournalConfig, KeeperConfig, RecordsConfig
from realmkeep.keeping import Hooks, Keeper
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.lifecycle.shutdown import abandon_engine
from realmkeep.keeping.live.record_keys import keys_of, limits_of
from realmkeep.records import Record, load
from realmkeep.storage import Capability
from realmkeep.storage.cold import ColdStore
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, FaultyStorage
from realmkeep.testing.idle import when_idle

R = TypeVar("R", bound=Record)
T = TypeVar("T")

AWAITED_S_MAX: Final = 3600.0  # as `FakeClock.finish`: an event that has not come by then will not come


def abandon(keeper: Keeper) -> None:
    """End a keeper as a crash of its process would: it saves nothing, and nothing more of it is stored."""
    abandon_engine(engine_of(keeper))
    keeper.gc.stop()


def _work_of(keeper: Keeper) -> int:
    """Return a number that changes whenever a server has done work that a test may await."""
    counters = engine_of(keeper).counters
    return counters.sessions + counters.commits + counters.repeats + counters.escalations


FSYNC_LATE_S: Final = 1.0  # an fsync once a second may be this late


class _LabStorage(MemoryStorage):
    """One server's connection to the lab's store, with the promises that the lab sets."""

    def __init__(self, lab: "Lab") -> None:
        super().__init__(lab.store, clock=lab.clock)
        self._loss_window_s = lab.loss_window_s

    async def flush(self) -> None:
        """Return when earlier writes can no longer be lost: after the loss window and the delay of an fsync."""
        await super().flush()
        if self._loss_window_s:
            await self._clock.sleep(self._loss_window_s + FSYNC_LATE_S)

    @property
    def capability(self) -> Capability:
        """The capability of a store on its own disk, shared by several servers."""
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
    """One store in memory, one clock, and the servers of a realm; the first server is open at once.

    ```python
    async with Lab() as lab:
        ada = await lab.keeper.login(Player, 1, create=lambda: Player(name="Ada"))
    ```

    The store answers at once and loses nothing, unless a test disturbs a server's connection. Records that a shutdown cannot
    save are in its report only; no rescue file is written.

    Time passes in `advance`, `finish`, `server` and `restart`. It also passes by itself, from timer to timer, while the whole
    test waits for it: a player's eleventh commit within a second returns, a tenth of a second later. A test that has waited
    for an hour of this time, without any work by a server, ends with a `RuntimeError`. While the test also waits for real
    time, a thread, a socket or a process, the clock stands still.

    Args:
        name: The first server's name.
        strict: Violations raise, as in development; False: as in production.
        config: Intervals and limits of every server.
        records: Caps and codec of every server.
        hooks: The game's functions, for every keeper that opens.
        loss_window_s: The store's promise: the seconds of writes that its crash may lose; 0: none, None: all.
        journal: The limits of every server's journal; None for no journal.
        cold: The cold tier of every server; None for none.

    Attributes:
        clock: The clock of all servers.
        store: The contents, which outlive the servers; `store.snapshot()` and `store.restore(...)` go back in time.
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
        loss_window_s: float | None = 0.0,
        journal: JournalConfig | None = None,
        cold: ColdStore | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.loss_window_s = loss_window_s
        self._name = name
        self._config = msgspec.structs.replace(config or KeeperConfig(), strict=strict)
        self._records = records or RecordsConfig()
        self._hooks = hooks
        self._journal = journal
        self._cold = cold
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
        """Fire the next timer: the test can go on only if time passes.

        Raises:
            RuntimeError: An hour has passed without any work by a server.
        """
        now_s, done = self.clock.monotonic_s(), sum(_work_of(keeper) for keeper in self._keepers.values())
        if self._seen != done or now_s < self._awaited_since_s:
            self._seen, self._awaited_since_s = done, now_s
        if now_s - self._awaited_since_s > AWAITED_S_MAX or not self.clock.fire_next():
            raise RuntimeError(
                "the test waits for an event that no server of this lab will bring about: an hour has passed without any. "
                "A task that waits for a crashed server waits for ever; a connection that is down stays down until the test "
                f"restores it. The tasks: {', '.join(map(repr, asyncio.all_tasks()))}"
            )

    @property
    def keeper(self) -> Keeper:
        """The current keeper of the first server; `restart` makes another one.

        Raises:
            LookupError: The server has crashed.
        """
        return self._keepers[self._running(None)]

    def keeper_of(self, name: str) -> Keeper | None:
        """Return the keeper of a server; None if the server is not running."""
        return self._keepers.get(name)

    async def server(self, name: str) -> Keeper:
        """Open a server of this realm.

        Raises:
            NameTaken: A server of this name is running.
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
            journal=self._journal,
            cold=self._cold,
        )
        keeper = await self.finish(opening)
        self._keepers[name], self._lines[name] = keeper, line
        return keeper

    async def crash(self, name: str | None = None) -> None:
        """End a server without saving; the store keeps the durable writes. Calls that wait for the server wait for ever.

        Args:
            name: The server; by default the first.

        Raises:
            LookupError: The server is not running.
        """
        abandon(self._keepers.pop(self._running(name)))
        await self.clock.settle()

    async def restart(self, name: str | None = None) -> Keeper:
        """Crash a server if it is running, and start it again under the same name.

        Args:
            name: The server; by default the first.
        """
        if (name or self._name) in self._keepers:
            await self.crash(name)
        return await self.server(name or self._name)

    async def advance(self, by_s: float) -> None:
        """Let time pass; all due timers fire, in order."""
        await self.clock.advance(by_s)
        self._awaited_since_s = self.clock.monotonic_s()

    async def finish(self, awaitable: Awaitable[T]) -> T:
        """Let time pass until `awaitable` is done, and return its result.

        Raises:
            TimeoutError: `awaitable` is not done after an hour, or no timer is left to bring it about.
        """
        return await self.clock.finish(awaitable)

    def line(self, name: str | None = None) -> FaultyStorage:
        """Return a server's connection to the store, to disturb it: `line().down = True`, `line().script("write", ...)`."""
        return self._lines[name or self._name]

    def lose_next_reply(self, name: str | None = None) -> None:
        """Lose the reply to a server's next write, which the store applies."""
        self.line(name).script("write", LOSE_REPLY)

    def lose_next_request(self, name: str | None = None) -> None:
        """Lose a server's next write; the server cannot know that it never arrived."""
        self.line(name).script("write", LOSE_REQUEST)

    def stored(self, cls: type[R], id: int | str) -> R | None:  # noqa: A002 - the field's own name
        """Return a copy of a stored record; None if there is none.

        Raises:
            RecordError: It cannot be read.
        """
        blob = self.store.value(keys_of(cls, id).record)
        return None if blob is None else load(blob, cls, limits=limits_of(self._records)).require()

    def _running(self, name: str | None) -> str:
        if (name or self._name) not in self._keepers:
            raise LookupError(f"the server {name or self._name!r} of this lab is not running; restart() it")
        return name or self._name
