"""Who is heard next, and for how long before the loop, and with it the tick, goes on."""

import asyncio
from collections import deque
from typing import Final, Protocol

from realmkeep.clock import Clock

PLAYERS_TURN_S: Final = 0.003
STRANGERS_TURN_S: Final = (
    0.002  # a turn of its own: a crowd of strangers takes nothing from the players, nor they from it
)
SLICES: Final = 10  # of a turn: who has had one lets the next speak, so that one who says much delays nobody by much


class InputSource(Protocol):
    """Who has something to say."""

    def process_input(self, turns: "FairQueue") -> bool:
        """Say a little, and no more once `turns.over`; returns whether there is more to say."""
        ...


class FairQueue:
    """Hears speakers one after the other, for a bounded time in each turn of the loop.

    Whoever speaks while there is time is heard at once. When the time is up, all others wait, and the loop comes by between
    two turns: so thousands who speak at the same moment delay each other, and nothing else.

    Args:
        clock: Measures the turn.
        turn_s: How long one may last; the last speaker's message may exceed it.
    """

    def __init__(self, clock: Clock, turn_s: float) -> None:
        self._clock = clock
        self._turn_s = turn_s
        self._spent_s = 0.0
        self._began_s = 0.0
        self._waiting = deque[InputSource]()
        self._next: asyncio.Handle | None = None

    @property
    def turn_is_over(self) -> bool:
        """Whether the time of this turn is up, or it is somebody else's; for whoever is speaking."""
        spoken_s = self._clock.monotonic_s() - self._began_s
        return self._spent_s + spoken_s >= self._turn_s or (bool(self._waiting) and spoken_s >= self._turn_s / SLICES)

    def serve(self, speaker: InputSource) -> None:
        """Hear a speaker now, or when the turn comes."""
        if self._next is None:
            self._let_speak(speaker)
        else:
            self._waiting.append(speaker)

    def _let_speak(self, speaker: InputSource) -> None:
        self._began_s = self._clock.monotonic_s()
        if speaker.process_input(self):
            self._waiting.append(speaker)
        self._spent_s += self._clock.monotonic_s() - self._began_s
        if self._next is None and (self._waiting or self._spent_s >= self._turn_s):
            self._next = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._next = None
        self._spent_s = 0.0
        for _ in range(len(self._waiting)):
            if self._spent_s >= self._turn_s:
                break
            self._let_speak(self._waiting.popleft())
