"""A proxy between a storage object and its store that causes network faults."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Final

READ_BYTES: Final = 65536
GARBAGE: Final = b"HTTP/1.1 400 Bad Request\r\n\r\n"


class WireFault(Enum):
    """The fault of the connection on which the trigger passes."""

    CUT_BEFORE_REPLY = auto()  # the request arrives, then the connection is reset without a reply
    HOLD_REQUEST = auto()  # the request waits in the network until `release`
    SILENCE = auto()  # no bytes arrive in either direction, and nothing is closed: a half-open connection
    GARBAGE = auto()  # the request arrives, and garbage comes back in place of its reply


@dataclass(eq=False)
class _ProxiedConnection:
    """One connection of a client, and the proxy's connection to the store."""

    from_client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    from_store: asyncio.StreamReader
    to_store: asyncio.StreamWriter
    fault: WireFault | None = None
    held: bytearray = field(default_factory=bytearray)
    late_replies: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue[bytes])

    def close(self) -> None:
        self.to_client.transport.abort()
        self.to_store.transport.abort()


class FaultyWire:
    """Listens on a unix socket and forwards to another, until `arm` gives it a fault.

    Args:
        listen: The socket to make.
        store: The socket of the store.
    """

    def __init__(self, listen: Path, store: Path) -> None:
        self._listen = listen
        self._store = store
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._lines: list[_ProxiedConnection] = []
        self._trigger: bytes | None = None
        self._fault = WireFault.SILENCE
        self.segment_bytes = READ_BYTES
        self.faults_done = 0

    @property
    def url(self) -> str:
        """The URL for `open_storage`."""
        return f"redis+unix://{self._listen}"

    async def start(self) -> None:
        """Start to listen."""
        self._server = await asyncio.start_unix_server(self._accept, self._listen)

    async def stop(self) -> None:
        """Close all connections and the socket."""
        for line in self._lines:
            line.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        if self._server:
            self._server.close()

    def arm(self, fault: WireFault, trigger: bytes) -> None:
        """Cause one `fault`, on the next connection on which `trigger` passes towards the store."""
        self._fault, self._trigger = fault, trigger

    async def release(self) -> bytes:
        """Let the held request arrive late; return the store's reply."""
        (line,) = [line for line in self._lines if line.held]
        line.to_store.write(bytes(line.held))
        line.held.clear()
        return await line.late_replies.get()

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_store, to_store = await asyncio.open_unix_connection(self._store)
        except OSError:
            to_client.transport.abort()
            return
        line = _ProxiedConnection(from_client, to_client, from_store, to_store)
        self._lines.append(line)
        for pump in (self._requests(line), self._replies(line)):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _requests(self, line: _ProxiedConnection) -> None:
        while received := await _received(line.from_client):
            if self._trigger and self._trigger in received:
                self._trigger, line.fault = None, self._fault
                self.faults_done += 1
            if line.fault is WireFault.HOLD_REQUEST:
                line.held += received
            elif line.fault is not WireFault.SILENCE:
                await self._forward(received, line.to_store)
        if line.fault is not WireFault.HOLD_REQUEST:
            line.close()

    async def _replies(self, line: _ProxiedConnection) -> None:
        while received := await _received(line.from_store):
            if line.fault is WireFault.CUT_BEFORE_REPLY:
                break
            if line.fault is WireFault.HOLD_REQUEST:
                line.late_replies.put_nowait(received)
            elif line.fault is WireFault.GARBAGE:
                await self._forward(GARBAGE, line.to_client)
            elif line.fault is None:
                await self._forward(received, line.to_client)
        line.close()

    async def _forward(self, received: bytes, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(received), self.segment_bytes):
            writer.write(received[start : start + self.segment_bytes])
            await asyncio.sleep(0)


async def _received(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(READ_BYTES)
    except OSError:
        return b""
