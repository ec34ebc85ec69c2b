"""The limit of a guarded script: the very calls that Realmkeep sent, sent again over a bare socket.

The store itself says which calls it got (MONITOR); no heartbeat of the keeper may be among them, see `HEARTBEAT_S`. Before they are sent again the players' keys get the values from before, so
that every guard holds; afterwards they must have the values from after.
"""

import asyncio
import re
import socket
import threading
from codecs import escape_decode
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast

from realmkeep.benchmarks.comparison.contest import Measured
from realmkeep.benchmarks.limit import packed_command, send_all
from realmkeep.clock import Clock
from realmkeep.testing.servers import StoreServer

ARGUMENT: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
SCRIPT_CALLS: Final = (b"EVALSHA", b"FCALL", b"EVAL")
KEYS_A_COMMAND: Final = 1000
RECEIVE_BYTES: Final = 1 << 20
MONITOR_S_MAX: Final = 60.0
END: Final = "realmkeep-end-of-recording"


class Replay:
    """The script calls of some work, and the keys that they change.

    Args:
        server: The store.
        keys: Every key that the work changes.
    """

    def __init__(self, server: StoreServer, keys: Sequence[str]) -> None:
        self._server = server
        self._keys = keys
        self._before: list[bytes] = []
        self._after: list[bytes] = []
        self._calls: list[bytes] = []

    async def record(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do the work once, and remember the calls and the values before and after."""
        self._before = await asyncio.to_thread(self._values)
        monitor = await asyncio.to_thread(_Monitor, self._server)
        await work()
        commands = await asyncio.to_thread(monitor.stop)
        self._calls = [packed_command(parts) for parts in commands if parts[0].upper() in SCRIPT_CALLS]
        self._after = await asyncio.to_thread(self._values)
        assert self._calls, "the store got no script call"
        assert self._before != self._after, "the work changed nothing"

    async def send_again(self, units: int, clock: Clock) -> Measured:
        """Send the calls, with as many in flight as on the hot path; `units` a second of the work they do.

        The keys have the same values afterwards as before, so that their keeper notices nothing.

        Raises:
            AssertionError: A call was refused, or the calls left other values than the work did.
        """
        kept = await asyncio.to_thread(self._values)
        await asyncio.to_thread(self._set, self._before)
        start_s = clock.monotonic_s()
        await asyncio.to_thread(send_all, self._server.socket_path, self._calls)
        elapsed_s = clock.monotonic_s() - start_s
        assert await asyncio.to_thread(self._values) == self._after, "the calls left other values than the work"
        await asyncio.to_thread(self._set, kept)
        return Measured(units / elapsed_s)

    def _set(self, values: Sequence[bytes]) -> None:
        for start in range(0, len(self._keys), KEYS_A_COMMAND):
            stop = start + KEYS_A_COMMAND
            pairs = zip(self._keys[start:stop], values[start:stop], strict=True)
            self._server.ask("MSET", *(part for pair in pairs for part in pair))

    def _values(self) -> list[bytes]:
        values: list[bytes] = []
        for start in range(0, len(self._keys), KEYS_A_COMMAND):
            answer = self._server.ask("MGET", *self._keys[start : start + KEYS_A_COMMAND])
            assert isinstance(answer, list), answer
            values += cast("list[bytes]", answer)
        assert None not in values, "a key was not there"
        return values


class _Monitor:
    """Reads in a thread which commands the store gets."""

    def __init__(self, server: StoreServer) -> None:
        self._server = server
        self._received = bytearray()
        self._channel = socket.socket(socket.AF_UNIX)
        self._channel.settimeout(MONITOR_S_MAX)
        self._channel.connect(str(server.socket_path))
        self._channel.sendall(packed_command([b"MONITOR"]))
        assert self._channel.recv(5) == b"+OK\r\n", "the store does not monitor"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        end = END.encode()
        while end not in self._received[-len(end) - 8 :]:
            chunk = self._channel.recv(RECEIVE_BYTES)
            if not chunk:
                return
            self._received += chunk

    def stop(self) -> list[list[bytes]]:
        """The commands since the start, with their arguments; those of scripts themselves are left out."""
        self._server.ask("PING", END)
        self._thread.join(MONITOR_S_MAX)
        self._channel.close()
        assert not self._thread.is_alive(), "the store did not repeat the end of the recording"
        commands: list[list[bytes]] = []
        for line in self._received.split(b"\r\n"):
            head, _, rest = line.partition(b"] ")
            if rest and not head.endswith(b" lua"):
                commands.append([escape_decode(quoted)[0] for quoted in ARGUMENT.findall(rest)])
        return commands
