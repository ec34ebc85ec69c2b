"""A proxy between a storage object and its Postgres that counts the messages of the protocol, and cuts at one of them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import quote

from realmkeep.testing.postgres_server import USER

SOCKET = ".s.PGSQL.5432"


class Messages:
    """Splits one direction of a connection into messages; a client's first one has no type."""

    def __init__(self, *, first_has_type: bool) -> None:
        self._type_bytes = 1 if first_has_type else 0
        self._held = b""

    def feed(self, received: bytes) -> Iterator[bytes]:
        self._held += received
        while len(self._held) >= self._type_bytes + 4:
            size = self._type_bytes + int.from_bytes(self._held[self._type_bytes : self._type_bytes + 4], "big")
            if len(self._held) < size:
                return
            message, self._held, self._type_bytes = self._held[:size], self._held[size:], 1
            yield message


class PostgresProxy:
    """Listens on a unix socket in `directory`; after `cut_at(n)` the n-th message is lost, with its connection.

    Args:
        directory: For its socket.
        server: The directory of the server's socket.
    """

    def __init__(self, directory: Path, server: Path) -> None:
        self._directory = directory
        self._server = server
        self._left = -1
        self._links: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self.cut: bytes | None = None

    @property
    def url(self) -> str:
        return f"postgresql:///postgres?host={quote(str(self._directory), safe='')}&user={USER}"

    def cut_at(self, number: int) -> None:
        """Lose the message with this number, counted from 0 and from now on, over all connections and both directions."""
        self._left, self.cut = number, None

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_unix_server(self._accept, self._directory / SOCKET)
        return self

    async def __aexit__(self, *_error: object) -> None:
        for link in self._links:
            for writer in link:
                writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self._listening
        self._listening.close()

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._server / SOCKET)
        self._links.append((to_client, to_server))
        for reader, writer, has_type in ((from_client, to_server, False), (from_server, to_client, True)):
            task = asyncio.create_task(self._pump(reader, writer, (to_client, to_server), first_has_type=has_type))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        *,
        first_has_type: bool,
    ) -> None:
        messages = Messages(first_has_type=first_has_type)
        while received := await _received(reader):
            for message in messages.feed(received):
                if self._left == 0:
                    self._left, self.cut = -1, message
                    break
                self._left -= self._left > 0
                writer.write(message)
            else:
                continue
            break
        for each in link:
            each.close()  # what was sent before still arrives


async def _received(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65536)
    except OSError:
        return b""
