"""The snapshot of an embedded store, `dump.rdb`: decides whether the store must start from it, and describes it.

Valkey with `appendonly yes` never reads a snapshot: without an append-only file it starts empty, without a warning, and its
next snapshot overwrites the one that should be restored.
"""

import datetime as dt
import struct
from pathlib import Path
from typing import BinaryIO, Final

from realmkeep.errors import StorageMisconfigured
from realmkeep.files import open_trusted
from realmkeep.storage.append_only import FOLDER, MANIFEST

SNAPSHOT: Final = "dump.rdb"
LEGACY: Final = "appendonly.aof"  # before 7.0; the store converts it itself
SAVED_WITHIN_S: Final = 600.0  # from the first byte of a snapshot to its last
_AUXILIARY: Final = 0xFA


def must_be_restored(directory: Path) -> bool:
    """Whether a directory has a snapshot and no append-only file, so that the store must start from the snapshot.

    Raises:
        StorageMisconfigured: There are append-only files without the manifest that says how they belong together.
    """
    if (directory / MANIFEST).exists() or (directory / LEGACY).exists():
        return False
    if any((directory / FOLDER).glob("appendonly.aof.*")):
        raise StorageMisconfigured(
            f"{directory / FOLDER} has append-only files but no manifest: the store would start without them",
            hint=f"restore the manifest; or, to begin with {SNAPSHOT} or with an empty store, move them away",
        )
    snapshot = directory / SNAPSHOT
    return snapshot.exists() and snapshot.stat().st_size > 0


def describe_snapshot(directory: Path) -> str:
    """Return `dump.rdb` and the time of the snapshot, if its header has it."""
    made_s = _made_s(directory / SNAPSHOT)
    return (
        SNAPSHOT
        if made_s is None
        else f"{SNAPSHOT} of {dt.datetime.fromtimestamp(made_s, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    )


def was_copied_in(directory: Path) -> bool:
    """Whether a snapshot was copied into the directory, not written by the store: an operator may expect it to be loaded."""
    snapshot = directory / SNAPSHOT
    made_s = _made_s(snapshot)
    return made_s is not None and snapshot.stat().st_mtime - made_s > SAVED_WITHIN_S


def _made_s(path: Path) -> int | None:
    try:
        with open_trusted(path) as file:
            return snapshot_time_s(file)
    except FileNotFoundError:
        return None


def snapshot_time_s(file: BinaryIO) -> int | None:
    """Return the time in a snapshot's header, in seconds since 1970, and rewind the file.

    None if it has none, or is not a snapshot; the store reports that.
    """
    try:
        if not file.read(9).startswith((b"REDIS", b"VALKEY")):
            return None
        while file.read(1) == bytes([_AUXILIARY]):
            name, value = _text(file), _text(file)
            if name == b"ctime" and value.isdigit():
                return int(value)
    except (struct.error, ValueError):
        return None
    finally:
        file.seek(0)
    return None


def _text(file: BinaryIO) -> bytes:
    """Read a string as rdb.c writes it: its length in 6, 14 or 32 bits, or a number in its place."""
    (first,) = struct.unpack("B", file.read(1))
    kind, low = first >> 6, first & 0x3F
    if kind == 0:
        return file.read(low)
    if kind == 1:
        (second,) = struct.unpack("B", file.read(1))
        return file.read(low << 8 | second)
    if kind == 2:
        (length,) = struct.unpack(">I", file.read(4))
        return file.read(min(length, 4096))
    return b"%d" % struct.unpack(("<b", "<h", "<i")[min(low, 2)], file.read((1, 2, 4)[min(low, 2)]))
