"""The connection to one server process."""

import asyncio
from contextlib import suppress
from typing import Final

import msgspec

from realmkeep.drill.bots.told import Answer, Told

ANSWER_S_MAX: Final = 0.5  # then a client asks elsewhere; the answer counts all the same when it comes


class Line:
    """A connection. An answer counts when it is read here, whether its client still waits or not.

    Args:
        server: The server's name.
        reader: The connection.
        writer: The connection.
        told: Notes every answer.
    """

    def __init__(self, server: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, told: Told) -> None:
        self.server = server
        self._reader = reader
        self._writer = writer
        self._told = told
        self._asked: dict[int, tuple[str, Answer, asyncio.Future[Answer]]] = {}
        self._next = 0
        self._heard_s = told.clock.monotonic_s()
        self._reading = asyncio.create_task(self._read())

    @property
    def is_open(self) -> bool:
        """Whether the connection still brings answers."""
        return not self._reading.done()

    @property
    def heard_s(self) -> float:
        """The time of the server's last report."""
        return self._heard_s

    @property
    def unanswered(self) -> int:
        """The number of requests without an answer."""
        return len(self._asked)

    def send(self, do: str, **arguments: object) -> asyncio.Future[Answer]:
        """Send a request; its answer, or ConnectionError if the connection ends before it."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._reading.done():
            answer.set_exception(ConnectionResetError("the server is gone"))
            return answer
        request: Answer = {"id": self._next, "do": do, "with": arguments}
        self._told.asked(do, arguments)
        self._asked[self._next] = do, arguments, answer
        self._next += 1
        self._writer.write(msgspec.json.encode(request) + b"\n")
        return answer

    async def ask(self, do: str, /, **arguments: object) -> Answer:
        """Send a request and wait for its answer, but not for long.

        Raises:
            ConnectionError: The connection ended first.
            TimeoutError: There is no answer yet.
        """
        answer = quiet(self.send(do, **arguments))
        async with self._told.clock.timeout(ANSWER_S_MAX):
            return await asyncio.shield(answer)

    async def _read(self) -> None:
        with suppress(ConnectionError):
            while line := await self._reader.readline():
                if not line.endswith(b"\n"):
                    break
                self._take(msgspec.json.decode(line))
        for _, _, waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the server is gone"))

    def _take(self, answer: Answer) -> None:
        now_s = self._told.clock.monotonic_s()
        if "clean" in answer:
            self._told.window.heard(self.server, self._heard_s, now_s)
            self._heard_s = now_s
            self._told.clean(answer["clean"])
            return
        asked = self._asked.pop(answer["id"], None)
        if asked is None:  # a request that the network had doubled: its first answer has counted
            return
        do, request, waiting = asked
        self._told.answered(do, self.server, request, answer)
        if not waiting.done():
            waiting.set_result(answer)

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        await self._reading

    async def vanish(self) -> int:
        """End the connection as a client does that loses its power; return the number of requests without an answer."""
        unanswered = self.unanswered
        self._writer.transport.abort()
        await self._reading
        return unanswered


def quiet(future: asyncio.Future[Answer]) -> asyncio.Future[Answer]:
    """Return the future; a caller that gave up waiting does not hear of its error."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
