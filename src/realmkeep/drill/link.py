"""A proxy before a server or a store, which breaks the connections that pass it."""

import asyncio
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Final

from realmkeep.clock import Clock

READ_BYTES: Final = 65536
DELAY_S: Final = 0.1
REQUEST: Final = b'{"id"'  # a line that is here from its beginning
OPERATION: Final = b'"op'  # a request with the number of an operation; only those may come twice


class Weather(Enum):
    """What the network does."""

    CLEAR = "clear"
    CUT = "cut"  # connections are reset, and new ones are refused
    SILENT = "silent"  # no byte arrives, and nothing is closed
    SLOW = "slow"  # each piece arrives late
    RESETS = "resets"  # the next request arrives, and its connection is reset before the answer
    DRIPS = "drips"  # each byte arrives alone
    DOUBLES = "doubles"  # each line with an operation arrives twice


class _Pair:
    """One connection of a client, and the proxy's own to the target."""

    def __init__(self, client: asyncio.StreamWriter, target: asyncio.StreamWriter) -> None:
        self.client = client
        self.target = target
        self.doomed = False

    def abort(self) -> None:
        """Reset both."""
        self.client.transport.abort()
        self.target.transport.abort()


class Link:
    """Listens on a unix socket and forwards to another.

    Args:
        listen: The socket to make.
        clock: The clock.
    """

    def __init__(self, listen: Path, clock: Clock) -> None:
        self.listen = listen
        self.target = listen  # set before the first connection
        self.weather = Weather.CLEAR
        self.felt: Counter[Weather] = Counter()
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_unix_server(self._accept, self.listen)

    async def stop(self) -> None:
        """Close all connections and the socket."""
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()

    def cut(self) -> int:
        """Reset every connection; return their number."""
        pairs = len(self._pairs)
        for pair in self._pairs:
            pair.abort()
        self._pairs.clear()
        return pairs

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self.weather is Weather.CUT:
            self.felt[Weather.CUT] += 1
            client.transport.abort()
            return
        try:
            from_target, target = await asyncio.open_unix_connection(self.target)
        except OSError:
            client.transport.abort()
            return
        pair = _Pair(client, target)
        self._pairs.add(pair)
        for pump in (self._pump(reader, target, pair, is_request=True), self._pump(from_target, client, pair)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair, *, is_request: bool = False
    ) -> None:
        while received := await _received(reader):
            if pair.doomed and not is_request:  # the request has arrived, and this is its answer
                self.felt[Weather.RESETS] += 1
                break
            if self.weather is Weather.RESETS and is_request:
                pair.doomed, self.weather = True, Weather.CLEAR
            if await self._is_lost(received, writer, is_request=is_request):
                continue
            await self._forward(received, writer, is_request=is_request)
        pair.abort()
        self._pairs.discard(pair)

    async def _is_lost(self, received: bytes, writer: asyncio.StreamWriter, *, is_request: bool) -> bool:
        if self.weather is Weather.SILENT:
            self.felt[Weather.SILENT] += 1
            return True
        if self.weather is Weather.SLOW:
            self.felt[Weather.SLOW] += 1
            await self._clock.sleep(DELAY_S)
        return False

    async def _forward(self, received: bytes, writer: asyncio.StreamWriter, *, is_request: bool) -> None:
        if self.weather is Weather.DRIPS:
            self.felt[Weather.DRIPS] += len(received)
            for at in range(len(received)):
                writer.write(received[at : at + 1])
                await self._clock.sleep(0)
            return
        writer.write(received)
        if self.weather is Weather.DOUBLES and is_request and received.endswith(b"\n"):
            doubled = [
                line for line in received.splitlines(keepends=True) if line.startswith(REQUEST) and OPERATION in line
            ]
            self.felt[Weather.DOUBLES] += len(doubled)
            writer.write(b"".join(doubled))


async def _received(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(READ_BYTES)
    except OSError:
        return b""
