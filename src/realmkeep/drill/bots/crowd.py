"""All players of a realm."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from realmkeep.drill.bots.client import POLL_S, Client
from realmkeep.drill.checks import Stuck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from realmkeep.clock import Clock
    from realmkeep.drill.bots.line import Line
    from realmkeep.drill.bots.told import Answer, Told


class Crowd:
    """The players.

    Args:
        lines: The servers that can be reached, by name; it changes.
        told: Notes their answers.
        bots: The number of players.
        rng: Decides what they do.
        client: The class of a client.
    """

    def __init__(
        self, lines: Mapping[str, Line], told: Told, bots: int, rng: random.Random, client: type[Client]
    ) -> None:
        self.lines = lines
        self.told = told
        self.clients = [client(number, self, random.Random(rng.random())) for number in range(bots)]  # noqa: S311 - whims
        self.over = False
        self.only_earn = False
        self.restless = False
        self.staying = False
        self.doublings = 0  # odd while the network doubles requests
        self._letters = 0
        self._playing: list[asyncio.Task[Any]] = []

    @property
    def clock(self) -> Clock:
        """The clock."""
        return self.told.clock

    def next_letter(self) -> int:
        """Return the number of the next letter."""
        self._letters += 1
        return self._letters

    def settled(self, asked: dict[str, Any], answer: Answer, *, asked_once: bool) -> None:
        """A client has its answer; that an operation was refused is certain only if it was asked for once."""
        for who, op in zip((asked["who"], asked.get("to")), asked.get("ops") or (asked["op"],), strict=False):
            assert isinstance(who, int)
            self.clients[who].heard(op)
            if "no" in answer and asked_once:
                self.told.refused[who].add(op)

    def start(self) -> None:
        """Let them play."""
        self.over = False
        self._playing = [asyncio.create_task(client.play()) for client in self.clients]

    async def stop(self) -> None:
        """Let every client hear of its last request.

        Raises:
            Stuck: A client is not answered.
        """
        self.over = True
        await self._finish("every client is answered")

    async def gather(self) -> None:
        """Let every player log in, wherever it can.

        Raises:
            Stuck: A player cannot log in.
        """
        for client in self.clients:
            client.at = None
        self._playing = [asyncio.create_task(client.find()) for client in self.clients]
        await self._finish("every player is logged in")

    async def _finish(self, what: str) -> None:
        await self.until(lambda: all(task.done() for task in self._playing), what)
        for task in self._playing:
            task.result()
        self._playing = []

    async def abandon(self) -> None:
        """Stop after a failure."""
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)

    async def until(self, condition: Callable[[], bool], what: str, *, limit_s: float = 60.0) -> None:
        """Return when a condition holds.

        Args:
            condition: The condition.
            what: Its name, for the message.
            limit_s: The longest wait.

        Raises:
            Stuck: It does not hold within the limit, or a client failed.
        """
        try:
            async with self.clock.timeout(limit_s):
                while not condition():
                    for task in self._playing:
                        if task.done() and not self.over:
                            task.result()
                    await self.clock.sleep(POLL_S)
        except TimeoutError:
            told = dict(self.told.counts.most_common())
            raise Stuck(f"not within {limit_s:g} s: {what}; answers so far: {told}") from None
