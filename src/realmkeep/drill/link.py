"""A proxy before a server or a store, which breaks the connections that pass it."""

import asyncio
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

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
    RESETS = "resets"  # a request arrives, and its connection is reset before the answer; some requests get none
    DRIPS = "drips"  # each byte arrives alone
    DOUBLES = "doubles"  # each line with an operation arrives twice


class HostPort(NamedTuple):
    """A TCP endpoint; as one to listen on, port 0 is any that is free."""

    host: str
    port: int


Endpoint = Path | HostPort  # a path is a unix socket


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
    """Listens at one endpoint and forwards to another.

    Args:
        listen: The unix socket to make, or the address to listen on.
        target: Where it leads.
        clock: The clock.

    Attributes:
        listen: Where it listens; the port is known once it has started.
    """

    def __init__(self, listen: Endpoint, target: Endpoint, clock: Clock) -> None:
        self.listen = listen
        self.target = target
        self.weather = Weather.CLEAR
        self.felt: Counter[Weather] = Counter()
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen."""
        if isinstance(self.listen, Path):
            self._server = await asyncio.start_unix_server(self._accept, self.listen)
        else:
            self._server = await asyncio.start_server(self._accept, *self.listen)
            self.listen = HostPort(*self._server.sockets[0].getsockname()[:2])

    async def stop(self) -> None:
        """Close all connections and the socket."""
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()

    @property
    def connections(self) -> int:
        """The number of connections that pass it."""
        return len(self._pairs)

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
            from_target, target = await open_connection(self.target)
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
        while (received := await _received(reader)) and not writer.is_closing():
            if is_request:
                pair.doomed = self.weather is Weather.RESETS
            elif pair.doomed and self.weather is Weather.RESETS:  # the request has arrived, and this is its answer
                self.felt[Weather.RESETS] += 1
                self.weather = Weather.CLEAR
                break
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
                if writer.is_closing():
                    return
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


async def open_connection(target: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect.

    Raises:
        OSError: It does not listen.
    """
    if isinstance(target, Path):
        return await asyncio.open_unix_connection(target)
    return await asyncio.open_connection(*target)


async def _received(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(READ_BYTES)
    except OSError:
        return b""
