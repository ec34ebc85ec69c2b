"""The bare limit of a store: commands that were packed beforehand, over a socket, with as many in flight as the hot path has."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import hiredis

from realmkeep.storage.redis_pipe import CHUNKS_IN_FLIGHT_MAX

# A snapshot or a rewrite in the background would hit one of the contestants by chance.
QUIET: Final = 'save ""\nauto-aof-rewrite-percentage 0\nmaxmemory 0\n'


def packed_mset(pairs: Sequence[tuple[str, bytes]]) -> bytes:
    """One MSET, ready to be sent."""
    parts = [b"MSET", *(part for key, value in pairs for part in (key.encode(), value))]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def send_all(socket_path: Path, packed: Sequence[bytes], *, in_flight: int = CHUNKS_IN_FLIGHT_MAX) -> None:
    """Send MSETs, and return when all are answered. Blocks: run it in a thread.

    Args:
        socket_path: Where the store listens.
        packed: From `packed_mset`.
        in_flight: So many are sent before the answer to the first is awaited.

    Raises:
        AssertionError: The store did not say OK.
    """
    reader = hiredis.Reader()
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(socket_path))
        for number, command in enumerate([*packed, *[b""] * in_flight]):
            channel.sendall(command)
            if number >= in_flight:
                _expect_ok(channel, reader)


def _expect_ok(channel: socket.socket, reader: hiredis.Reader) -> None:
    while (reply := cast("object", reader.gets())) is False:
        reader.feed(channel.recv(65536))
    if reply != b"OK":
        raise AssertionError(f"MSET was answered with {reply!r}")
