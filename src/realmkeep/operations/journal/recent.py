"""The newest entries about a record in an archive, without reading the rest of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from realmkeep.keeping.writing.journal_entries import decode_entry
from realmkeep.operations.journal.history import Found, unsealed_lines
from realmkeep.operations.journal.segments import records_of

if TYPE_CHECKING:
    from realmkeep.operations.journal.archive import Archive


async def recent_entries(archive: Archive, key: str, count: int) -> list[Found]:
    """The newest entries about a record that an archive has, the last one first.

    Segments are looked at from the newest one of each server backwards, by their manifests; the others are not read.

    Args:
        archive: The archive.
        key: The key of the record.
        count: How many.

    Raises:
        JournalDamaged: A segment is missing or was changed.
        JournalUnavailable: The archive cannot be reached.
        Corrupt: An entry cannot be read.
    """
    quoted = msgspec.json.encode(key)
    found: list[Found] = []
    for server in await archive.servers():
        of_server: list[Found] = []
        for number in reversed(await archive.numbers(server)):
            manifest = await archive.manifest(server, number)
            if key not in manifest.records:
                continue
            lines = await unsealed_lines(archive, manifest)
            stored = [each for each in lines if quoted in each]
            entries = [entry for each in stored if key in records_of(entry := decode_entry(each))]
            of_server += [Found(server, entry) for entry in entries]
            if len(of_server) >= count:
                break
        found += of_server
    return sorted(found, key=lambda each: each.at, reverse=True)[:count]
