"""Writes the files of a deployment, and never over a change of an operator."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from realmkeep.errors import DeploymentChanged
from realmkeep.files import make_directory, read_file, replace_file

NOTES: Final = ".written.json"  # what was written: a file that differs from it was changed
READABLE: Final = 0o644  # there are no secrets in them, and a container reads them as another user
BEFORE: Final = ".before"

State = Literal["written", "unchanged", "overwritten"]
_Notes = dict[str, str]


class WrittenFile(msgspec.Struct, frozen=True):
    """One file.

    Attributes:
        path: Its path below the directory.
        state: `unchanged`: it was there with the same text. `overwritten`: an operator's change lies beside it now, as
            `NAME.before`.
    """

    path: str
    state: State


def write_files(directory: Path, texts: Mapping[str, str], *, force: bool = False) -> list[WrittenFile]:
    """Write files into a directory, which is made if absent. Blocks.

    A file that was changed since it was written, or that Realmkeep never wrote, is not overwritten. If there is one, no file
    is written at all.

    Args:
        directory: The directory.
        texts: The text of each file by its path below the directory.
        force: Overwrite changed files, too, and keep each as `NAME.before`.

    Raises:
        DeploymentChanged: Files were changed, and `force` is not given; nothing was written.
        FileRefused: The directory or a file cannot be used, or another user could change it.
        OSError: A file cannot be written.
    """
    root = make_directory(directory)
    notes = _read_notes(root)
    there = {path: found for path in texts if (found := _read(root / path)) is not None}
    changed = [
        path for path, found in there.items() if found != texts[path].encode() and notes.get(path) != _digest(found)
    ]
    if changed and not force:
        raise DeploymentChanged(
            f"these files in {root} were changed since they were written: {', '.join(changed)}; nothing was written",
            hint="write into another directory and compare, or add --force, which keeps each as NAME.before",
        )
    written = [_write(root, path, text, there.get(path), is_changed=path in changed) for path, text in texts.items()]
    notes |= {path: _digest(text.encode()) for path, text in texts.items()}
    replace_file(root / NOTES, msgspec.json.format(msgspec.json.encode(notes)))
    return written


def _write(root: Path, path: str, text: str, found: bytes | None, *, is_changed: bool) -> WrittenFile:
    if found == text.encode():
        return WrittenFile(path, "unchanged")
    make_directory((root / path).parent)
    if is_changed and found is not None:
        replace_file(root / f"{path}{BEFORE}", found)
    replace_file(root / path, text.encode())
    (root / path).chmod(READABLE)
    return WrittenFile(path, "overwritten" if is_changed else "written")


def _read(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except FileNotFoundError:
        return None


def _read_notes(root: Path) -> _Notes:
    """The digests of the files as they were written; without readable notes every file counts as changed."""
    found = _read(root / NOTES)
    try:
        return msgspec.json.decode(found, type=_Notes) if found else {}
    except msgspec.DecodeError:
        return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
