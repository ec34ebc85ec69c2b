"""The journal of acknowledged tier-1 operations, in a file at once: a crash drill compares the store with it."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from realmkeep.clock import Clock
from realmkeep.files import open_for_append
from realmkeep.realm.wire.syntax import Message


class Journal:
    """A file of JSON lines, in the order of the acknowledgements.

    Each line is written with one call, so that a killed crowd leaves whole lines.

    Args:
        path: The file; lines are appended, and a new file is readable by its owner alone.
        clock: Gives both times of each line.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = open_for_append(path)
        self._clock = clock
        self._writer = ThreadPoolExecutor(1, "journal")  # one thread keeps the order

    def close(self) -> None:
        """Close the file once everything is written."""
        self._writer.shutdown()
        os.close(self._file)

    async def write_acknowledged(self, player_id: int, ack: Message) -> None:
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
