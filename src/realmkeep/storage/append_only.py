"""Cuts off the end of an embedded store's append-only file that a power failure kept from the disk.

A file system may give a file its new length before its new content. Then the end of the file, which no fsync covered and
no answer acknowledged, reads as zeros or has holes of zeros. Valkey does not start on such a file (`valkey-check-aof --fix`
cuts it by hand) or, if a hole lies within a value, takes the zeros for the value.

Only the last file of the manifest is ever cut, and only if the whole rest was certainly never acknowledged:

- it ends in the middle of a command or of a transaction;
- or there are zeros at the damage: a block that was never written was never fsynced, and so nothing after it was;
- or there is no command after the damage.

Any other damage (a failing disk) is for an operator to decide.
"""

import mmap
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from realmkeep.errors import StorageMisconfigured
from realmkeep.files import create_file, open_private, read_file

FOLDER: Final = "appendonlydir"
MANIFEST: Final = f"{FOLDER}/appendonly.aof.manifest"
BLOCK_BYTES: Final = 512  # the smallest block of any file system
ZEROS: Final = bytes(BLOCK_BYTES)
UNSYNCED_BYTES_MAX: Final = 16 * 1024**2  # with `always`, the writes of one turn of the store's loop
LINE_BYTES_MAX: Final = 14  # a sign, a number and a line end
_NUMBER: Final = re.compile(rb"([*$])(\d{1,10})\r\n")
_BEGUN: Final = re.compile(rb"[*$]?\d*\r?")
_WORD: Final = re.compile(rb"[A-Za-z]+")
_TIME: Final = re.compile(rb"#TS:(\d{1,12})\r\n")
_INCREMENT: Final = re.compile(r"file ([\w.-]+) seq \d+ type i\b")


class Cut(NamedTuple):
    """A cut that was made.

    Attributes:
        file: The file that was cut.
        at: Its new length.
        bytes_count: The number of bytes cut off.
        kept_in: The file that keeps them.
    """

    file: Path
    at: int
    bytes_count: int
    kept_in: Path

    def __str__(self) -> str:
        return (
            f"the end of {self.file.name} had never reached the disk: its last {self.bytes_count:,} bytes, never"
            f" acknowledged, are in {self.kept_in}"
        )


class _Damage(Exception):
    """An unreadable command: its start, and the place where reading failed, or the file's end if it is cut short."""

    def __init__(self, begins: int, at: int) -> None:
        super().__init__(begins, at)
        self.begins = begins
        self.at = at


def cut_unsynced_end(directory: Path, *, only_zeros: bool) -> Cut | None:
    """Cut the damaged end of the last append-only file, and keep the cut bytes in a file of their own.

    Blocks. No store may run on the directory.

    Args:
        directory: The store's directory.
        only_zeros: Read the whole file only if its last 16 MiB have a block of zeros. Without this it takes seconds for
            each 100 MB.

    Returns:
        The cut; None if there was no damage.

    Raises:
        StorageMisconfigured: The damage is not at the end; the file was not changed.
        OSError: The file cannot be read or written.
    """
    path = _last_file(directory)
    if path is None or path.stat().st_size == 0:
        return None
    descriptor = open_private(path, os.O_RDWR)
    try:
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            if only_zeros and data.find(ZEROS, max(0, len(data) - UNSYNCED_BYTES_MAX)) < 0:
                return None
            end = _end_of_complete_commands(data, path)
            rest = data[end:]
        if not rest:
            return None
        kept_in = _keep_cut_bytes(directory / f"{path.name}.cut-at-{end}", rest)
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Cut(path, end, len(rest), kept_in)


def cut_after_second(path: Path, second: int) -> bool:
    """Cut an append-only file of a stopped store, so that it ends with the last command of a second.

    The cut is at the first annotation of a later second (`#TS:`, from `aof-timestamp-enabled`), and never inside a
    transaction. Without such an annotation, only an incomplete end is cut off. It reads the whole file, which takes seconds
    for each 100 MB. Blocks.

    Args:
        path: The file.
        second: The second, since 1970.

    Returns:
        Whether the file went on after that second.

    Raises:
        StorageMisconfigured: The file is damaged before that second; it was not changed.
        OSError: The file cannot be read or written.
    """
    if path.stat().st_size == 0:
        return False
    descriptor = open_private(path, os.O_RDWR)
    try:
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            end, goes_on = _end_of_second(data, path, second)
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return goes_on


def _end_of_second(data: mmap.mmap, path: Path, second: int) -> tuple[int, bool]:
    """Return the offset after the last command of a second, and whether a later second follows."""
    at = whole = 0
    in_transaction = is_over = False
    try:
        while at < len(data):
            begins = at
            at, name = _command(data, begins)
            if not name and (noted := _TIME.fullmatch(data[begins:at])):
                is_over = is_over or int(noted[1]) > second
            if name in (b"MULTI", b"EXEC"):
                in_transaction = name == b"MULTI"
            if is_over and not in_transaction:  # a transaction belongs to the second of its beginning
                return (at if name == b"EXEC" else begins), True
            if not in_transaction:
                whole = at
    except _Damage as damage:
        if damage.at < len(data):
            raise StorageMisconfigured(
                f"{path} is damaged at byte {damage.at:,} of {len(data):,}", hint="restore another backup"
            ) from damage
    return whole, False


def sync_append_only_files(directory: Path) -> None:
    """Fsync all append-only files of a store that is not running: its last writes may be only in the system's memory.

    A store that starts might rewrite its files at once. It then syncs the old one little by little, in the background, so
    that no later write proves that the sync is done.

    Raises:
        OSError: The disk refuses the fsync.
    """
    for path in sorted((directory / FOLDER).glob("*")):
        descriptor = open_private(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _last_file(directory: Path) -> Path | None:
    try:
        manifest = read_file(directory / MANIFEST).decode(errors="replace")
    except FileNotFoundError:
        return None
    names = _INCREMENT.findall(manifest)
    path = directory / FOLDER / names[-1] if names else None
    return path if path is not None and path.exists() else None


def _keep_cut_bytes(path: Path, content: bytes) -> Path:
    number = 0
    while True:
        name = path.with_name(f"{path.name}-{number}") if number else path
        try:
            create_file(name, content)
        except FileExistsError:
            number += 1
        else:
            return name


def _end_of_complete_commands(data: mmap.mmap, path: Path) -> int:
    """Return the offset up to which every command and every transaction is complete."""
    at = whole = 0
    in_transaction = False
    try:
        while at < len(data):
            begins = at
            at, name = _command(data, begins)
            if name in (b"MULTI", b"EXEC"):
                if in_transaction == (name == b"MULTI"):
                    raise _Damage(begins, at)
                in_transaction = not in_transaction
            if not in_transaction:
                whole = at
    except _Damage as damage:
        if not _was_never_synced(data, whole, damage):
            raise StorageMisconfigured(
                f"{path} is damaged at byte {damage.at:,} of {len(data):,}, and not only at its end; it was not changed",
                hint="look at the disk, keep a copy, and restore a snapshot, or cut it there with valkey-check-aof --fix",
            ) from damage
    return whole


def _command(data: mmap.mmap, begins: int) -> tuple[int, bytes]:
    """Return the end of the command at an offset, and its name; an annotation has none."""
    if data[begins] == ord("#"):
        end = data.find(b"\r\n", begins)
        if end < 0:
            raise _Damage(begins, len(data))
        return end + 2, b""
    at, count = _number(data, begins, begins, b"*")
    name = b""
    torn_at = -1
    for index in range(count):
        start, size = _number(data, begins, at, b"$")
        at = start + size + 2
        if at > len(data):
            raise _Damage(begins, len(data))
        if data[at - 2 : at] != b"\r\n":
            raise _Damage(begins, at)
        if index == 0:
            name = data[start : at - 2]
        elif size > BLOCK_BYTES and data[start] == ord("{"):  # JSON has no NUL byte: it writes an escape
            torn_at = max(torn_at, data.find(ZEROS, start, at))
    if not _WORD.fullmatch(name):
        raise _Damage(begins, at)
    if torn_at >= 0:
        raise _Damage(begins, torn_at)
    return at, name


def _number(data: mmap.mmap, begins: int, at: int, sign: bytes) -> tuple[int, int]:
    """Return the end of the number at an offset, and the number."""
    line = data[at : at + LINE_BYTES_MAX]
    found = _NUMBER.match(line)
    if found is None or found[1] != sign:
        is_cut_short = len(line) < LINE_BYTES_MAX and _BEGUN.fullmatch(line)
        raise _Damage(begins, len(data) if is_cut_short else at)
    return at + found.end(), int(found[2])


def _was_never_synced(data: mmap.mmap, whole: int, damage: _Damage) -> bool:
    length = len(data)
    if length - whole > UNSYNCED_BYTES_MAX:
        return False
    if data.find(ZEROS, whole, min(length, damage.at + 2 * BLOCK_BYTES)) >= 0:
        return True
    return not _is_a_command_after(data, damage.begins)


def _is_a_command_after(data: mmap.mmap, at: int) -> bool:
    while (at := data.find(b"\r\n*", at + 1)) >= 0:
        with suppress(_Damage):
            _command(data, at + 2)
            return True
    return False
