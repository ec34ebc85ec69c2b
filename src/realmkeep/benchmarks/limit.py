"""The bare limit of a store: commands packed beforehand, over a socket, with as many in flight as on the hot path."""

import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import hiredis

from realmkeep.storage.redis_pipe import CHUNKS_IN_FLIGHT_MAX

# A snapshot or a rewrite in the background would slow down one contestant by chance.
QUIET: Final = 'save ""\nauto-aof-rewrite-percentage 0\nmaxmemory 0\n'


def packed_mset(pairs: Sequence[tuple[str, bytes]]) -> bytes:
    """One MSET as the bytes of the protocol."""
    parts = [b"MSET", *(part for key, value in pairs for part in (key.encode(), value))]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def send_all(socket_path: Path, packed: Sequence[bytes]) -> None:
    """Send MSETs and wait for all answers. Blocks: run it in a thread.

    Args:
        socket_path: The store's socket.
        packed: Commands made by `packed_mset`.

    Raises:
        AssertionError: The store did not say OK.
    """
    with _connected(socket_path) as (channel, reader):
        for number, command in enumerate([*packed, *[b""] * CHUNKS_IN_FLIGHT_MAX]):
            channel.sendall(command)
            if number >= CHUNKS_IN_FLIGHT_MAX:
                _expect_ok(channel, reader)


def round_trips_s(socket_path: Path, packed: bytes, count: int, now_s: Callable[[], float]) -> list[float]:
    """The seconds from each MSET to its answer, one after the other. Blocks: run it in a thread.

    Raises:
        AssertionError: The store did not say OK.
    """
    took_s: list[float] = []
    with _connected(socket_path) as (channel, reader):
        for _ in range(count):
            start_s = now_s()
            channel.sendall(packed)
            _expect_ok(channel, reader)
            took_s.append(now_s() - start_s)
    return took_s


@contextmanager
def _connected(socket_path: Path) -> Generator[tuple[socket.socket, hiredis.Reader]]:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(socket_path))
        yield channel, hiredis.Reader()


def _expect_ok(channel: socket.socket, reader: hiredis.Reader) -> None:
    while (reply := cast("object", reader.gets())) is False:
        reader.feed(channel.recv(65536))
    if reply != b"OK":
        raise AssertionError(f"MSET was answered with {reply!r}")
