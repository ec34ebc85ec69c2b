"""The keys of persons in an archive, each in a place of its own, so that one can be destroyed alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.errors import JournalDamaged
from realmkeep.operations.journal.sealing import new_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realmkeep.operations.journal.archive import Archive

KEYS: Final = "_keys"  # no server's name begins so
KNOWN_MAX: Final = 20_000  # keys in the archiver's memory: about 4 MiB


class _PersonKey(msgspec.Struct, frozen=True):
    person: str
    key: bytes


def key_name(person: str) -> str:
    """The name of the file or object with a person's key: an id may be longer than a file's name."""
    return f"{hashlib.blake2b(person.encode(), digest_size=20).hexdigest()}.json"


def encode_key(person: str, key: bytes) -> bytes:
    """The content of that file; an empty key notes an erasure."""
    return msgspec.json.encode(_PersonKey(person, key)) + b"\n"


def decode_key(content: bytes, where: str) -> tuple[str, bytes]:
    """A person and its key.

    Raises:
        JournalDamaged: It is none.
    """
    try:
        found = msgspec.json.decode(content, type=_PersonKey)
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalDamaged(f"{where} is no key of a person: {error}", hint="restore it from a copy") from error
    return found.person, found.key


class PersonKeys:
    """The keys that an archiver seals with.

    A key that was destroyed may stay in this memory: it opens nothing, because nobody reads it from here.

    Args:
        archive: The archive.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._known: dict[str, bytes] = {}

    async def for_sealing(self, persons: Iterable[str]) -> dict[str, bytes]:
        """The key of each person, made if there is none; empty for an erased one.

        Raises:
            JournalError: The archive cannot be used now.
        """
        wanted = list(persons)
        if len(self._known) + len(wanted) > KNOWN_MAX:
            self._known.clear()
        if new := [each for each in wanted if each not in self._known]:
            self._known |= await self._archive.person_keys(new)
            for person in new:
                if person not in self._known:
                    self._known[person] = await self._archive.add_person_key(person, new_key())
        return {person: self._known[person] for person in wanted}
