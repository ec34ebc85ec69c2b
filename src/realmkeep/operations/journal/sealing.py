"""The personal parts of a segment, each person's under a key of its own: without the key nothing can read them any more.

A part is the content of a person's record in an entry: changed fields, a snapshot, a letter to it. In the place of the part stands
its number. The parts of one person in one segment are compressed and encrypted together (ChaCha20-Poly1305, RFC 8439).
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from realmkeep.keeping.writing.journal_entries import CommitEntry, SnapshotEntry, decode_entry, encode_entry
from realmkeep.operations.journal.compression import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from realmkeep.keeping.writing.journal_entries import JournalEntry

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
ERASED: Final = {"erased": True}  # in the place of a part whose key was destroyed
_ERASED_BYTES: Final = msgspec.json.encode(ERASED)


class SealedParts(msgspec.Struct, frozen=True):
    """The parts of one person in a segment.

    Attributes:
        person: The person, such as `player:7`.
        sealed: Its parts, compressed and encrypted, in base64.
    """

    person: str
    sealed: str


class _Part(msgspec.Struct, array_like=True, frozen=True, gc=False):
    number: int
    content: msgspec.Raw


_parts_decoder: Final = msgspec.json.Decoder(list[_Part])


def new_key() -> bytes:
    """A key for a person."""
    return secrets.token_bytes(KEY_BYTES)


def person_of(key: str, kind: str) -> str | None:
    """The person to whom a record belongs: `player:7` for `player:7:bank`; None if it is of another kind."""
    found, _, rest = key.partition(":")
    return f"{kind}:{rest.partition(':')[0]}" if found == kind else None


class TakenOut:
    """Entries without their personal parts, and the parts.

    Args:
        stored: The entries as they lie in the store.
        kind: The kind of the players' records; empty: no part is personal.

    Attributes:
        entries: The entries.
        stored: Their bytes; with the parts in them if the kind is empty.
        token: Marks the places of the parts, as no entry could by itself.
        parts: Of each person its parts, each with its number.

    Raises:
        Corrupt: One is no entry of a journal.
    """

    def __init__(self, stored: Sequence[bytes], kind: str) -> None:
        self._kind = kind
        self.entries = [decode_entry(each) for each in stored]
        self.token = secrets.token_hex(8)
        self.parts: dict[str, list[tuple[int, Any]]] = {}
        self._count = 0
        if kind:
            for entry in self.entries:
                self._take_from(entry)
        self.stored = [encode_entry(entry) for entry in self.entries] if self.parts else list(stored)

    def _take_from(self, entry: JournalEntry) -> None:
        if isinstance(entry, CommitEntry):
            for change in entry.records:
                change.fields = self._taken(change.key, change.fields)
            if entry.letters:
                entry.letters = tuple((key, self._taken(key, letter)) for key, letter in entry.letters)
            if entry.created:
                entry.created = tuple((key, self._taken(key, stored)) for key, stored in entry.created)
        elif isinstance(entry, SnapshotEntry):
            entry.stored = self._taken(entry.key, entry.stored)

    def _taken(self, key: str, part: Any) -> Any:
        person = person_of(key, self._kind)
        if person is None or not part:
            return part
        self._count += 1
        self.parts.setdefault(person, []).append((self._count, part))
        return {f"sealed {self.token}": self._count}

    def sealed(self, keys: Mapping[str, bytes], segment: str) -> list[SealedParts]:
        """The parts of each person under its key; those of a person without one are left out for ever.

        Args:
            keys: The keys by person; empty for one that was erased.
            segment: Names the segment, so that parts cannot be moved into another one.
        """
        found: list[SealedParts] = []
        for person, parts in self.parts.items():
            if key := keys[person]:
                nonce = secrets.token_bytes(NONCE_BYTES)
                content = pack(msgspec.json.encode(parts))
                encrypted = ChaCha20Poly1305(key).encrypt(nonce, content, _bound(segment, person))
                found.append(SealedParts(person, base64.b64encode(nonce + encrypted).decode()))
        return found


def unsealed(
    stored: Sequence[bytes], token: str, sealed: Sequence[SealedParts], keys: Mapping[str, bytes], segment: str
) -> list[bytes]:
    """Entries with their personal parts, or with `ERASED` in the places of those that nothing can read any more.

    Args:
        stored: The entries of a segment.
        token: That of the segment.
        sealed: The parts of each person.
        keys: The keys by person; a person without one, or with an empty one, was erased.
        segment: As for `TakenOut.sealed`.
    """
    contents: dict[int, bytes] = {}
    for each in sealed:
        for part in _opened(each, keys.get(each.person, b""), segment):
            contents[part.number] = bytes(part.content)
    place = re.compile(rb'\{"sealed %s":(\d+)\}' % token.encode())
    mark = b'"sealed %s"' % token.encode()
    return [
        place.sub(lambda found: contents.get(int(found[1]), _ERASED_BYTES), each) if mark in each else each
        for each in stored
    ]


def _opened(each: SealedParts, key: bytes, segment: str) -> list[_Part]:
    if not key:
        return []
    raw = base64.b64decode(each.sealed)
    try:
        content = ChaCha20Poly1305(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound(segment, each.person))
    except InvalidTag:  # another key than it was sealed with: that one is gone
        return []
    return _parts_decoder.decode(unpack(content))


def fits(each: SealedParts, key: bytes, segment: str) -> bool:
    """Whether a key opens the parts."""
    return bool(_opened(each, key, segment))


def _bound(segment: str, person: str) -> bytes:
    return f"{segment} {person}".encode()


def erase_parts(entry: JournalEntry, gone: Collection[str]) -> None:
    """Put `ERASED` in the places of all parts of the records with these keys."""
    if isinstance(entry, CommitEntry):
        for change in entry.records:
            if change.key in gone:
                change.fields = dict(ERASED)
        entry.letters = tuple((key, ERASED if key in gone else letter) for key, letter in entry.letters)
        entry.created = tuple((key, ERASED if key in gone else stored) for key, stored in entry.created)
    elif isinstance(entry, SnapshotEntry) and entry.key in gone:
        entry.stored = ERASED
