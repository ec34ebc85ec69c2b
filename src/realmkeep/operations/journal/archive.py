"""The protocol of an archive: the places of segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from realmkeep.errors import JournalDamaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.operations.journal.segments import Manifest

DIGITS: Final = 10
SEGMENT_ENDS: Final = ".jsonl.zst"
MANIFEST_ENDS: Final = ".json"


class Archive(Protocol):
    """The segments of every server's journal, and the keys of persons, under which their parts of segments are sealed."""

    async def servers(self) -> Sequence[str]:
        """The names of the servers that have segments.

        Raises:
            JournalUnavailable: The archive cannot be reached.
        """
        ...

    async def numbers(self, server: str) -> Sequence[int]:
        """The numbers of a server's complete segments, in order.

        Raises:
            JournalUnavailable: The archive cannot be reached.
        """
        ...

    async def manifest(self, server: str, number: int) -> Manifest:
        """The manifest of a segment.

        Raises:
            JournalDamaged: It is missing or cannot be read.
            JournalUnavailable: The archive cannot be reached.
        """
        ...

    async def read(self, manifest: Manifest) -> bytes:
        """The bytes of a segment.

        Raises:
            JournalDamaged: It is missing.
            JournalUnavailable: The archive cannot be reached.
        """
        ...

    async def put(self, manifest: Manifest, packed: bytes) -> None:
        """Keep a segment, then its manifest; both are durable on return. The same segment may be put again after a failure.

        Raises:
            JournalDamaged: The archive has another segment of this number.
            JournalUnavailable: It cannot be written now.
        """
        ...

    async def remove(self, manifest: Manifest) -> None:
        """Remove a segment, its manifest first.

        Raises:
            JournalUnavailable: The archive cannot be changed now.
        """
        ...

    async def person_keys(self, persons: Sequence[str]) -> dict[str, bytes]:
        """The keys of persons, by person: empty for an erased one; a person who has none is left out.

        Raises:
            JournalDamaged: A key cannot be read.
            JournalUnavailable: The archive cannot be reached.
        """
        ...

    async def add_person_key(self, person: str, key: bytes) -> bytes:
        """Keep the key of a person who has none yet; returns the key that counts, if another server was faster.

        Raises:
            JournalDamaged: The key of another server cannot be read.
            JournalUnavailable: The archive cannot be changed now.
        """
        ...

    async def erase_person(self, person: str) -> None:
        """Destroy the key of a person, and note for ever that it is erased; durable on return.

        Raises:
            JournalUnavailable: The archive cannot be changed now.
        """
        ...

    async def persons(self) -> Sequence[str]:
        """All persons that have a key, or were erased.

        Raises:
            JournalDamaged: A key cannot be read.
            JournalUnavailable: The archive cannot be reached.
        """
        ...

    async def close(self) -> None:
        """End its connections."""
        ...


def another_segment(where: str) -> JournalDamaged:
    """The error for two different segments of one number."""
    return JournalDamaged(
        f"{where} is another segment", hint="two stores share this archive: give each realm a journal.url of its own"
    )
