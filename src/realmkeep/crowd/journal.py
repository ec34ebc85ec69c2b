"""Every acknowledged tier-1 operation, on disk in the moment it is acknowledged: what a crash drill compares with."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from realmkeep.clock import Clock
from realmkeep.files import append_file
from realmkeep.realm.wire.syntax import Message


class Journal:
    """A file of JSON lines, in the order of the acknowledgements.

    Each line is written whole, with one call, so that a killed crowd leaves whole lines.

    Args:
        path: Appended to; made for its owner alone.
        clock: Both times of each line.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = append_file(path)
        self._clock = clock
        self._writer = ThreadPoolExecutor(1, "journal")  # one thread: the order stays

    def close(self) -> None:
        """Close the file, once everything is written."""
        self._writer.shutdown()
        os.close(self._file)

    async def acknowledged(self, player_id: int, ack: Message) -> None:
        """Write one acknowledgement; it is in the file on return."""
        line = {
            "op_id": ack["op_id"],
            "player": player_id,
            "action": ack["action"],
            "result": ack["result"],
            "repeated": bool(ack["repeated"]),
            "monotonic_s": self._clock.monotonic_s(),
            "wall_us": self._clock.wall_us(),
        }
        encoded = msgspec.json.encode(line) + b"\n"
        await asyncio.get_running_loop().run_in_executor(self._writer, os.write, self._file, encoded)
