"""A fair share of the event loop for every connection: bounded turns, so that the tick runs in between."""

import asyncio
from collections import deque
from typing import Final, Protocol

from realmkeep.clock import Clock

PLAYERS_TURN_S: Final = 0.003
STRANGERS_TURN_S: Final = 0.002  # a turn of their own, so that a flood of strangers takes nothing from players
SLICES: Final = 10  # of a turn: a source yields after one slice, so a busy client delays the others by little


class InputSource(Protocol):
    """A connection with input to process."""

    def process_input(self, queue: "FairQueue") -> bool:
        """Process some input and stop once `queue.turn_is_over`; returns whether input is left."""
        ...


class FairQueue:
    """Serves input sources one after the other, for a bounded time in each turn of the loop.

    A source is served at once while the turn has time left. After that, sources wait for the next turn, and the loop runs its
    other callbacks in between: thousands of simultaneous sources delay each other and nothing else.

    Args:
        clock: Measures the turn.
        turn_s: Length of a turn in seconds; the last message may exceed it.
    """

    def __init__(self, clock: Clock, turn_s: float) -> None:
        self._clock = clock
        self._turn_s = turn_s
        self._spent_s = 0.0
        self._began_s = 0.0
        self._waiting = deque[InputSource]()  # served in this order
        self._next: asyncio.Handle | None = None

    @property
    def turn_is_over(self) -> bool:
        """Whether the current source must stop: the turn is used up, or its slice is and another source waits."""
        used_s = self._clock.monotonic_s() - self._began_s
        return self._spent_s + used_s >= self._turn_s or (bool(self._waiting) and used_s >= self._turn_s / SLICES)

    def serve(self, source: InputSource) -> None:
        """Serve a source now, or in one of the next turns."""
        if self._next is None:
            self._run_source(source)
        else:
            self._waiting.append(source)

    def _run_source(self, source: InputSource) -> None:
        self._began_s = self._clock.monotonic_s()
        if source.process_input(self):
            self._waiting.append(source)
        self._spent_s += self._clock.monotonic_s() - self._began_s
        if self._next is None and (self._waiting or self._spent_s >= self._turn_s):
            self._next = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._next = None
        self._spent_s = 0.0
        for _ in range(len(self._waiting)):
            if self._spent_s >= self._turn_s:
                break
            self._run_source(self._waiting.popleft())
