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
SUCCESS: Final[tuple[object, ...]] = (
    b"OK",
    None,
    [],
)  # of MSET; of Realmkeep's script, which answers with its refusals


def packed_command(parts: Sequence[bytes]) -> bytes:
    """One command as the bytes of the protocol."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def packed_mset(pairs: Sequence[tuple[str, bytes]]) -> bytes:
    """One MSET as the bytes of the protocol."""
    return packed_command([b"MSET", *(part for key, value in pairs for part in (key.encode(), value))])


def send_all(socket_path: Path, packed: Sequence[bytes]) -> None:
    """Send commands and wait for all answers. Blocks: run it in a thread.

    Args:
        socket_path: The store's socket.
        packed: MSETs, or calls of Realmkeep's script.

    Raises:
        AssertionError: The store refused one.
    """
    with _connected(socket_path) as (channel, reader):
        for number, command in enumerate([*packed, *[b""] * CHUNKS_IN_FLIGHT_MAX]):
            channel.sendall(command)
            if number >= CHUNKS_IN_FLIGHT_MAX:
                _expect_success(channel, reader)


def round_trips_s(socket_path: Path, packed: bytes, seconds: float, now_s: Callable[[], float]) -> list[float]:
    """The seconds from each MSET to its answer, one after the other, for `seconds`. Blocks: run it in a thread.

    Raises:
        AssertionError: The store refused one.
    """
    took_s: list[float] = []
    with _connected(socket_path) as (channel, reader):
        end_s = now_s() + seconds
        while (start_s := now_s()) < end_s:
            channel.sendall(packed)
            _expect_success(channel, reader)
            took_s.append(now_s() - start_s)
    return took_s


@contextmanager
def _connected(socket_path: Path) -> Generator[tuple[socket.socket, hiredis.Reader]]:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(socket_path))
        yield channel, hiredis.Reader()


def _expect_success(channel: socket.socket, reader: hiredis.Reader) -> None:
    while (reply := cast("object", reader.gets())) is False:
        reader.feed(channel.recv(65536))
    if reply not in SUCCESS:
        raise AssertionError(f"the store answered {reply!r}")
