"""A segment: entries of one server's journal as compressed lines, with a manifest; each names the segment before it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec

from realmkeep.errors import JournalDamaged
from realmkeep.keeping.writing.journal_entries import CommitEntry, GapEntry, SnapshotEntry
from realmkeep.operations.journal.compression import PLAIN_BYTES_MAX, pack, unpack
from realmkeep.operations.journal.sealing import SealedParts, unsealed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realmkeep.keeping.writing.journal_entries import JournalEntry
    from realmkeep.operations.journal.sealing import TakenOut

FORMAT: Final = 2
FORMATS: Final = (1, 2)  # that can be read: the first had nothing sealed
SEGMENT_BYTES_MAX: Final = PLAIN_BYTES_MAX
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

    format: int = 1
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
        if manifest.format not in FORMATS:
            raise JournalDamaged(
                f"the manifest {where} has format {manifest.format}", hint="use the Realmkeep that wrote it"
            )
        return manifest

    @property
    def name(self) -> str:
        """Names it among all segments."""
        return f"{self.server} {self.number}"

    @property
    def mark(self) -> bytes:
        """Its mark in the store, set when its entries leave the list there."""
        return f"{self.number} {self.sha256}".encode()


class _Header(msgspec.Struct, frozen=True, omit_defaults=True):
    segment: int
    server: str
    before: str
    token: str = ""
    persons: int = 0


class Segment(NamedTuple):
    """A segment that was read.

    Attributes:
        stored: Its entries, without the parts that are sealed.
        token: Marks the places of those parts.
        sealed: The sealed parts of each person.
    """

    stored: list[bytes]
    token: str
    sealed: list[SealedParts]

    def unsealed(self, manifest: Manifest, keys: Mapping[str, bytes]) -> list[bytes]:
        """Its entries with the parts that these keys open."""
        return unsealed(self.stored, self.token, self.sealed, keys, manifest.name) if self.token else self.stored


def number_of(mark: bytes | None) -> int:
    """The number of the segment that a mark names; 0 for none, and for no mark."""
    number = (mark or b"").partition(b" ")[0]
    return int(number) if number.isdigit() else 0


def make_segment(
    server: str,
    last: Manifest | None,
    mark: bytes | None,
    taken: TakenOut,
    keys: Mapping[str, bytes],
    *,
    returned: bool,
) -> tuple[Manifest, bytes]:
    """Pack entries as the next segment. Takes about a millisecond for 100 KiB.

    Args:
        server: The server.
        last: The segment before; None if the archive has none.
        mark: The mark in the store, which tells the number of the last segment of an archive that is gone.
        taken: The entries; at least one.
        keys: The keys of all persons whose parts were taken out; empty for an erased one.
        returned: As `Manifest.returned`.

    Raises:
        StorageMisconfigured: zstandard is not installed.
    """
    number = number_of(mark) + 1 if last is None else last.number + 1
    before = (mark or b"").partition(b" ")[2].decode(errors="replace") if last is None else last.sha256
    entries = taken.entries
    sealed = taken.sealed(keys, f"{server} {number}")
    token = taken.token if taken.parts else ""
    header = msgspec.json.encode(_Header(number, server, before, token, len(sealed)))
    packed = pack(b"\n".join([header, *taken.stored, *map(msgspec.json.encode, sealed)]) + b"\n")
    times = [entry.at for entry in entries]
    manifest = Manifest(
        format=FORMAT,
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


def read_segment(manifest: Manifest, packed: bytes) -> Segment:
    """The entries of a segment, and the parts of persons.

    Raises:
        JournalDamaged: It is not as it was written.
        StorageMisconfigured: zstandard is not installed.
    """
    where = f"segment {manifest.number} of {manifest.server}"
    if hashlib.sha256(packed).hexdigest() != manifest.sha256:
        raise JournalDamaged(f"{where} is not as it was written", hint=TRY)
    try:
        first, *lines = unpack(packed).split(b"\n")[:-1]
        header = msgspec.json.decode(first, type=_Header)
        sealed = [msgspec.json.decode(each, type=SealedParts) for each in lines[len(lines) - header.persons :]]
    except (JournalDamaged, msgspec.MsgspecError, ValueError) as error:
        raise JournalDamaged(f"{where} cannot be read: {error}", hint=TRY) from error
    if (header.segment, header.server, header.before) != (manifest.number, manifest.server, manifest.before):
        raise JournalDamaged(f"{where} and its manifest do not belong together", hint=TRY)
    stored = lines[: len(lines) - header.persons]
    if len(stored) != manifest.entries:
        raise JournalDamaged(f"{where} has {len(stored)} entries, {manifest.entries} by its manifest", hint=TRY)
    return Segment(stored, header.token, sealed)
