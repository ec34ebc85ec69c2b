"""Contests: several ways to do the same work take turns, so that a busy moment of the machine hits all of them."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Final, NamedTuple

from realmkeep.benchmarks.comparison.results import Figure, spread
from realmkeep.clock import Clock

ONE_BY_ONE: Final = "no pipelining"


class Measured(NamedTuple):
    """The value of one round, and the seconds from each call to its answer, if calls were timed."""

    value: float
    took_s: Sequence[float] = ()


class Way(NamedTuple):
    """A contestant; the attributes are those of `Figure`."""

    key: str
    name: str
    unit: str
    at_once: int
    pipelining: str
    fsync: str
    measure: Callable[[], Awaitable[Measured]]
    is_limit: bool = False


async def compete(ways: Sequence[Way], rounds: int) -> tuple[Figure, ...]:
    """Measure every way once a round; one round before does not count."""
    values: dict[str, list[float]] = {way.key: [] for way in ways}
    took_s: dict[str, list[float]] = {way.key: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways:
            gc.collect()
            gc.freeze()  # a game server has none of the objects of a contest
            measured = await way.measure()
            if number:
                values[way.key].append(round(measured.value, 4))
                took_s[way.key] += measured.took_s
    return tuple(
        Figure(
            key=way.key,
            way=way.name,
            value=round(median(values[way.key]), 4),
            unit=way.unit,
            rounds=tuple(values[way.key]),
            at_once=way.at_once,
            pipelining=way.pipelining,
            fsync=way.fsync,
            is_limit=way.is_limit,
            took=spread(took_s[way.key]) if took_s[way.key] else None,
        )
        for way in ways
    )


async def calls_for(seconds: float, at_once: int, call: Callable[[int], Awaitable[object]], clock: Clock) -> Measured:
    """Let `at_once` callers call one after the other for `seconds`; `call` gets the number of its caller.

    Returns:
        Calls a second, and the seconds that each took.
    """
    took_s: list[float] = []
    start_s = clock.monotonic_s()

    async def one_after_the_other(number: int) -> None:
        before_s = clock.monotonic_s()
        while before_s < start_s + seconds:
            await call(number)
            now_s = clock.monotonic_s()
            took_s.append(now_s - before_s)
            before_s = now_s

    await asyncio.gather(*(one_after_the_other(number) for number in range(at_once)))
    return Measured(len(took_s) / (clock.monotonic_s() - start_s), took_s)


async def blocking_calls_for(seconds: float, call: Callable[[int], object], clock: Clock, units: int = 1) -> Measured:
    """As `calls_for`, in a thread and one call after the other; a call does `units` of the work and gets its own number."""

    def one_after_the_other() -> Measured:
        took_s: list[float] = []
        start_s = before_s = clock.monotonic_s()
        while before_s < start_s + seconds:
            call(len(took_s))
            now_s = clock.monotonic_s()
            took_s.append(now_s - before_s)
            before_s = now_s
        return Measured(units * len(took_s) / (before_s - start_s), took_s)

    return await asyncio.to_thread(one_after_the_other)


async def timed(work: Callable[[], Awaitable[object]], units: int, clock: Clock) -> Measured:
    """Units a second of work that is done once."""
    start_s = clock.monotonic_s()
    await work()
    return Measured(units / (clock.monotonic_s() - start_s))
