"""The manifest of a backup: its files with their digests, and the census of their contents. It is written last."""

import datetime as dt
import hashlib
import re
from pathlib import Path
from typing import Final, Self

import msgspec

from realmkeep.errors import BackupDamaged
from realmkeep.files import create_file, read_file, replace_file
from realmkeep.operations.backup.census import Census
from realmkeep.storage.snapshots import Engine, Part

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
VERDICT: Final = "verdict.json"
NAME: Final = re.compile(r"\d{8}T\d{6}Z")
_NAME_FORMAT: Final = "%Y%m%dT%H%M%SZ"
MANIFEST_BYTES_MAX: Final = 1024 * 1024


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup.

    Attributes:
        name: Its name in the backup's directory; it ends in `.age` if it is encrypted.
        part: Its meaning; see `PinnedFile`.
        bytes_count: Its size as it is stored here.
        sha256: The digest of these bytes.
    """

    name: str
    part: Part
    bytes_count: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A complete backup.

    Attributes:
        format: The layout of this file.
        name: The name of the backup: the second of its snapshot, in UTC.
        realmkeep: The version that made it.
        engine: The kind of its files.
        version: The engine's name and version.
        taken_us: Every write acknowledged before this moment is in it; microseconds since 1970.
        files: Its files.
        recipients: The age recipients that can decrypt it; none for plain files.
        census: The contents of its snapshot.
        log_from_s: The first second, since 1970, to which it can be restored; None without append-only files.
        log_to_s: The last such second.
        log_reason: The reason why it has no append-only files.
        digest: SHA-256 of this manifest with an empty `digest`.
    """

    format: int = FORMAT
    name: str
    realmkeep: str
    engine: Engine
    version: str
    taken_us: int
    files: tuple[FileEntry, ...]
    recipients: tuple[str, ...]
    census: Census
    log_from_s: int | None = None
    log_to_s: int | None = None
    log_reason: str = ""
    digest: str = ""

    @property
    def bytes_count(self) -> int:
        """The size of all its files."""
        return sum(file.bytes_count for file in self.files)

    def sealed(self) -> Self:
        """This manifest with its digest."""
        return msgspec.structs.replace(self, digest=_digest(self))

    def encode(self) -> bytes:
        """Its JSON, indented for a reader."""
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"


class VerdictNote(msgspec.Struct, frozen=True, kw_only=True):
    """The last conclusive verification of a backup.

    Attributes:
        verdict: `good` or `bad`.
        why: The differences; empty for a good one.
        at_us: Its moment, in microseconds since 1970.
        digest: The digest of the manifest that was verified.
    """

    verdict: str
    why: str
    at_us: int
    digest: str


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(manifest, digest=""))).hexdigest()


def name_of(taken_us: int) -> str:
    """The name of a backup of this moment."""
    return f"{dt.datetime.fromtimestamp(taken_us // 1_000_000, dt.UTC):{_NAME_FORMAT}}"


def decode_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest.

    Raises:
        BackupDamaged: It is no manifest, or not as it was written.
    """
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BackupDamaged(f"the manifest {where} cannot be read: {error}", hint="use another backup") from error
    if manifest.format != FORMAT:
        raise BackupDamaged(
            f"the manifest {where} has format {manifest.format}, and this Realmkeep knows {FORMAT}",
            hint="use the Realmkeep that made the backup, or a newer one",
        )
    if manifest.digest != _digest(manifest):
        raise BackupDamaged(f"the manifest {where} is not as it was written", hint="use another backup")
    return manifest


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a backup; None if there is none, so the backup is incomplete. Blocks.

    Raises:
        BackupDamaged: It is no manifest, or not as it was written.
        OSError: It cannot be read.
    """
    try:
        content = read_file(directory / MANIFEST, bytes_max=MANIFEST_BYTES_MAX)
    except FileNotFoundError:
        return None
    return decode_manifest(content, str(directory / MANIFEST))


def create_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest, and so make the backup complete. Blocks.

    Raises:
        FileExistsError: The backup has one already.
        OSError: It cannot be written.
    """
    create_file(directory / MANIFEST, manifest.encode())


def decode_note(content: bytes, manifest: Manifest) -> VerdictNote | None:
    """The note of a verification; None if it cannot be read, or is of another manifest."""
    try:
        note = msgspec.json.decode(content, type=VerdictNote)
    except (msgspec.MsgspecError, ValueError):
        return None
    return note if note.digest == manifest.digest else None


def read_note(directory: Path, manifest: Manifest) -> VerdictNote | None:
    """The last conclusive verification of a backup; None if there was none. Blocks.

    Raises:
        OSError: It cannot be read.
    """
    try:
        return decode_note(read_file(directory / VERDICT), manifest)
    except FileNotFoundError:
        return None


def write_note(directory: Path, note: VerdictNote) -> None:
    """Replace the note of the last verification. Blocks.

    Raises:
        OSError: It cannot be written.
    """
    replace_file(directory / VERDICT, msgspec.json.encode(note) + b"\n")
