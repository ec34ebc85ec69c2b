"""`realmkeep journal verify`: the chain of every server's segments, from the first that is kept to the store's mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import JournalDamaged
from realmkeep.operations.journal.sealing import fits
from realmkeep.operations.journal.segments import number_of, read_segment

if TYPE_CHECKING:
    from realmkeep.operations.journal.archive import Archive
    from realmkeep.operations.journal.sealing import SealedParts
    from realmkeep.operations.journal.segments import Manifest
    from realmkeep.storage import Storage

NAMED_MAX: Final = 10


class ArchiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an archive.

    Attributes:
        segments: The number of segments.
        entries: The number of entries in them.
        begins: The first segment of each server; earlier ones were removed by retention.
        gaps: The number of entries that note a gap.
        returned: The segments before which the store had come back with an older state.
        faults: A sentence for each fault.
    """

    segments: int
    entries: int
    begins: dict[str, int]
    gaps: int
    returned: tuple[str, ...]
    faults: tuple[str, ...]


async def verify_archive(archive: Archive, storage: Storage) -> ArchiveReport:
    """Read every segment, and compare it with its manifest, the segment before it, and the mark in the store.

    Args:
        archive: The archive.
        storage: The store of the servers, connected.

    Raises:
        JournalUnavailable: The archive cannot be reached.
        StorageError: The store cannot be reached.
    """
    checking = _Checking(archive)
    marks = await _marks(storage)
    for server in sorted({*await archive.servers(), *marks}):
        await checking.check_server(server, marks.get(server))
    await checking.check_keys()
    return ArchiveReport(
        segments=checking.segments,
        entries=checking.entries,
        begins=checking.begins,
        gaps=checking.gaps,
        returned=tuple(checking.returned),
        faults=tuple(checking.faults),
    )


async def _marks(storage: Storage) -> dict[str, bytes]:
    found = {keys.parse(key).id: await storage.load(key) async for key in storage.keys(keys.server_journaled("*"))}
    return {server: mark for server, mark in found.items() if mark is not None}


class _Checking:
    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.segments = self.entries = self.gaps = 0
        self.begins: dict[str, int] = {}
        self.returned: list[str] = []
        self.faults: list[str] = []
        self._sealed: dict[str, tuple[SealedParts, str]] = {}

    async def check_keys(self) -> None:
        """Each person whose parts are sealed has a key that opens them, or was erased."""
        keys = await self._archive.person_keys(sorted(self._sealed))
        lost = [
            person
            for person, (sealed, segment) in self._sealed.items()
            if (key := keys.get(person)) is None or (key and not fits(sealed, key, segment))
        ]
        if lost:
            named = ", ".join(sorted(lost)[:NAMED_MAX])
            self.faults.append(f"the keys of {len(lost)} persons are missing or others: {named}")

    async def check_server(self, server: str, mark: bytes | None) -> None:
        before: Manifest | None = None
        numbers = await self._archive.numbers(server)
        if numbers:
            self.begins[server] = numbers[0]
        for number in numbers:
            if before is not None and number != before.number + 1:
                self.faults.append(f"segment {before.number + 1} of {server} is missing")
            try:
                manifest = await self._archive.manifest(server, number)
                self._check_link(manifest, before)
                before = manifest
                segment = read_segment(manifest, await self._archive.read(manifest))
                self._sealed |= {each.person: (each, manifest.name) for each in segment.sealed}
                self._count(manifest)
            except JournalDamaged as error:
                self.faults.append(error.message)
        self._check_mark(server, before, mark)

    def _check_link(self, manifest: Manifest, before: Manifest | None) -> None:
        follows = before is None or before.number != manifest.number - 1 or before.sha256 == manifest.before
        if not follows:
            self.faults.append(
                f"segment {manifest.number} of {manifest.server} follows another segment {manifest.number - 1}"
            )
        if manifest.returned:
            self.returned.append(f"{manifest.server} {manifest.number}")

    def _count(self, manifest: Manifest) -> None:
        self.segments += 1
        self.entries += manifest.entries
        self.gaps += manifest.gaps

    def _check_mark(self, server: str, last: Manifest | None, mark: bytes | None) -> None:
        """The mark names the last segment; the archive may be one ahead, after a crash before the drop."""
        if mark is None or (last is not None and last.number == number_of(mark) + 1):
            return
        if last is None or last.mark != mark:
            self.faults.append(
                f"the store's mark of {server} is segment {number_of(mark)}, which is not the archive's last"
            )
