"""A segment: entries of one server's journal as compressed lines, with a manifest; each names the segment before it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from realmkeep.errors import JournalDamaged, StorageMisconfigured
from realmkeep.keeping.writing.journal_entries import CommitEntry, GapEntry, SnapshotEntry, decode_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.keeping.writing.journal_entries import JournalEntry

FORMAT: Final = 1
LEVEL: Final = 3  # of zstandard: about 7:1 at 200 MB a second
SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024  # unpacked: many times what the archiver takes at once
TRY: Final = "restore it from a copy; the segments beside it can be read"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A complete segment.

    Attributes:
        format: The layout of this manifest and its segment.
        server: The server whose journal it is.
        number: Its number, from 1.
        before: SHA-256 of the segment before; empty for the first.
        sha256: That of this segment.
        bytes_count: Its size.
        entries: The number of its entries.
        last: Run and number of its last entry.
        first_us: The earliest time of its entries.
        last_us: The latest time of its entries.
        records: The keys of all records in it, sorted.
        gaps: The number of its entries that note a gap.
        returned: The store had come back with an older state before this segment: entries before it may have been undone.
    """

    format: int = FORMAT
    server: str
    number: int
    before: str
    sha256: str
    bytes_count: int
    entries: int
    last: tuple[int, int]
    first_us: int
    last_us: int
    records: tuple[str, ...]
    gaps: int = 0
    returned: bool = False

    def encode(self) -> bytes:
        """Its JSON."""
        return msgspec.json.encode(self) + b"\n"

    @classmethod
    def decode(cls, content: bytes, where: str) -> Self:
        """Read a manifest.

        Raises:
            JournalDamaged: It is no manifest, or of a newer layout.
        """
        try:
            manifest = msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, ValueError) as error:
            raise JournalDamaged(f"the manifest {where} cannot be read: {error}", hint=TRY) from error
        if manifest.format != FORMAT:
            raise JournalDamaged(
                f"the manifest {where} has format {manifest.format}", hint="use the Realmkeep that wrote it"
            )
        return manifest

    @property
    def mark(self) -> bytes:
        """Its mark in the store, set when its entries leave the list there."""
        return f"{self.number} {self.sha256}".encode()


class _Header(msgspec.Struct, frozen=True):
    segment: int
    server: str
    before: str


def number_of(mark: bytes | None) -> int:
    """The number of the segment that a mark names; 0 for none, and for no mark."""
    number = (mark or b"").partition(b" ")[0]
    return int(number) if number.isdigit() else 0


def make_segment(
    server: str, last: Manifest | None, mark: bytes | None, stored: Sequence[bytes], *, returned: bool
) -> tuple[Manifest, bytes]:
    """Pack entries as the next segment. Takes about a millisecond for 100 KiB.

    Args:
        server: The server.
        last: The segment before; None if the archive has none.
        mark: The mark in the store, which tells the number of the last segment of an archive that is gone.
        stored: The entries as they lie in the store; at least one.
        returned: As `Manifest.returned`.

    Raises:
        StorageMisconfigured: zstandard is not installed.
        Corrupt: The list holds something else.
    """
    number = number_of(mark) + 1 if last is None else last.number + 1
    before = (mark or b"").partition(b" ")[2].decode(errors="replace") if last is None else last.sha256
    entries = [decode_entry(each) for each in stored]
    header = msgspec.json.encode(_Header(number, server, before))
    packed = (
        _zstandard().ZstdCompressor(level=LEVEL, write_checksum=True).compress(b"\n".join([header, *stored]) + b"\n")
    )
    times = [entry.at for entry in entries]
    manifest = Manifest(
        server=server,
        number=number,
        before=before,
        sha256=hashlib.sha256(packed).hexdigest(),
        bytes_count=len(packed),
        entries=len(entries),
        last=(entries[-1].run, entries[-1].seq),
        first_us=min(times),
        last_us=max(times),
        records=tuple(sorted({key for entry in entries for key in records_of(entry)})),
        gaps=sum(isinstance(entry, GapEntry) for entry in entries),
        returned=returned,
    )
    return manifest, packed


def records_of(entry: JournalEntry) -> list[str]:
    """The keys of the records that an entry is about."""
    if isinstance(entry, CommitEntry):
        found = [change.key for change in entry.records]
        return [*found, *(key for key, _ in entry.created), *(key for key, _ in entry.letters), *entry.deleted]
    return [entry.key] if isinstance(entry, SnapshotEntry) else []


def read_segment(manifest: Manifest, packed: bytes) -> list[bytes]:
    """The entries of a segment, as they lay in the store.

    Raises:
        JournalDamaged: It is not as it was written.
        StorageMisconfigured: zstandard is not installed.
    """
    where = f"segment {manifest.number} of {manifest.server}"
    if hashlib.sha256(packed).hexdigest() != manifest.sha256:
        raise JournalDamaged(f"{where} is not as it was written", hint=TRY)
    zstandard = _zstandard()
    try:
        plain = zstandard.ZstdDecompressor().decompress(packed, max_output_size=SEGMENT_BYTES_MAX)
        header, *lines = plain.split(b"\n")[:-1]
        found = msgspec.json.decode(header, type=_Header)
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
        raise JournalDamaged(f"{where} cannot be read: {error}", hint=TRY) from error
    if (found.segment, found.server, found.before) != (manifest.number, manifest.server, manifest.before):
        raise JournalDamaged(f"{where} and its manifest do not belong together", hint=TRY)
    if len(lines) != manifest.entries:
        raise JournalDamaged(f"{where} has {len(lines)} entries, {manifest.entries} by its manifest", hint=TRY)
    return lines


def _zstandard() -> Any:
    try:
        import zstandard  # noqa: PLC0415 - only an archive needs it
    except ModuleNotFoundError as error:
        raise StorageMisconfigured(
            "the archive of the journal needs the package zstandard, which is not installed",
            hint="pip install 'realmkeep[journal]'",
        ) from error
    return zstandard
