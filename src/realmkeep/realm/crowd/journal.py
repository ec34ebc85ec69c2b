"""Every acknowledged tier-1 operation, on disk in the moment it is acknowledged: what a crash drill compares with."""

import os
from pathlib import Path

import msgspec

from realmkeep import Clock
from realmkeep.realm.wire.syntax import Message


class Journal:
    """A file of JSON lines; each is written whole, with one call, so that a killed crowd leaves whole lines.

    Args:
        path: Appended to.
        clock: Both times of each line.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._clock = clock

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def acknowledged(self, player_id: int, ack: Message) -> None:
        """Write one acknowledgement."""
        line = {
            "op_id": ack["op_id"],
            "player": player_id,
            "action": ack["action"],
            "result": ack["result"],
            "repeated": bool(ack["repeated"]),
            "monotonic_s": self._clock.monotonic_s(),
            "wall_us": self._clock.wall_us(),
        }
        os.write(self._file, msgspec.json.encode(line) + b"\n")
