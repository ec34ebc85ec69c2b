"""The record of erasures, in a file beside the backups: each restore erases the same records once more.

An entry holds a keyed hash of the record's key, so that the file names no person.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import BackupDamaged, InvalidKey
from realmkeep.files import create_file, make_directory, open_for_append, read_file, read_secret, sync_directory
from realmkeep.storage import Delete, load_each

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from realmkeep.storage import Effect, Storage

ERASURES: Final = "erasures.jsonl"
ERASURES_KEY: Final = "erasures.key"
ERASURES_BYTES_MAX: Final = 64 * 1024**2  # about half a million
PERSONAL: Final = frozenset({"record", "account", *keys.COMPANIONS, "corrupt"})


class Erasure(msgspec.Struct, frozen=True):
    """One erased record.

    Attributes:
        at_us: The moment of the erasure, in microseconds since 1970.
        record: The keyed hash of its kind and id.
    """

    at_us: int
    record: str


def note_erasure(directory: Path, record: str, *, at_us: int) -> None:
    """Note that a record was erased, so that no restore brings it back. On disk when this returns. Blocks.

    Args:
        directory: The directory of the backups.
        record: The key of the record, such as `player:7` or `account:ada`.
        at_us: The moment of the erasure: a backup of an earlier moment may hold the record.

    Raises:
        InvalidKey: It is no key of a record or an account.
        OSError: The file cannot be written.
    """
    parsed = keys.parse(record)
    if parsed.role not in {"record", "account"}:
        raise InvalidKey(f"{record!r:.80} is no record", hint="such as player:7 or account:ada")
    directory = make_directory(directory, closed=True)
    entry = Erasure(at_us, _hash(_secret(directory), parsed))
    descriptor = open_for_append(directory / ERASURES)
    try:
        os.write(descriptor, msgspec.json.encode(entry) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(directory)


def _secret(directory: Path) -> bytes:
    path = directory / ERASURES_KEY
    if not path.exists():
        create_file(path, secrets.token_hex(32).encode() + b"\n")
    return bytes.fromhex(read_secret(path))


def _hash(secret: bytes, parsed: keys.ParsedKey) -> str:
    return hmac.new(secret, f"{parsed.kind}:{parsed.id}".encode(), hashlib.sha256).hexdigest()


class Erasures:
    """The erasures that follow a moment.

    Args:
        directory: The directory of the backups.
        after_us: Earlier erasures are in the backup already.

    Raises:
        BackupDamaged: The file cannot be read.
        OSError: The file cannot be read.
    """

    def __init__(self, directory: Path, after_us: int) -> None:
        self._secret = b""
        self._hashes: frozenset[str] = frozenset()
        try:
            lines = read_file(directory / ERASURES, bytes_max=ERASURES_BYTES_MAX).splitlines()
        except FileNotFoundError:
            return
        try:
            found = [msgspec.json.decode(line, type=Erasure) for line in lines]
            self._secret = _secret(directory)
        except (msgspec.MsgspecError, ValueError) as error:
            raise BackupDamaged(
                f"{directory / ERASURES} cannot be read: {error}",
                hint="mend it: without it a restore brings erased persons back",
            ) from error
        self._hashes = frozenset(each.record for each in found if each.at_us >= after_us)

    def has(self, parsed: keys.ParsedKey) -> bool:
        """Whether the record of a key was erased."""
        return bool(self._hashes) and parsed.role in PERSONAL and _hash(self._secret, parsed) in self._hashes

    @property
    def any(self) -> bool:
        """Whether there are erasures after that moment."""
        return bool(self._hashes)

    def has_player(self, kind: str, id: str) -> bool:  # noqa: A002 - the field's own name
        """Whether the player with this id was erased."""
        return bool(self._hashes) and _hash(self._secret, keys.ParsedKey("record", kind, id)) in self._hashes

    async def effects(self, storage: Storage, found: Iterable[str]) -> tuple[list[Effect], int]:
        """The deletions that erase the records again, and the number of records.

        Args:
            storage: Connected.
            found: Every key of the store.

        Raises:
            StorageError: The store cannot be reached.
        """
        if not self._hashes:
            return [], 0
        effects: list[Effect] = []
        erased: set[tuple[str, str]] = set()
        skeletons: list[str] = []
        for key in found:
            try:
                parsed = keys.parse(key)
            except InvalidKey:
                continue
            if parsed.role == "skeleton":
                skeletons.append(key)
            elif self.has(parsed):
                effects.append(Delete(key))
                erased.add((parsed.kind, parsed.id))
        names = {id_.encode() for kind, id_ in erased if kind == "account"}
        owners = await load_each(storage, skeletons)
        effects += [Delete(key) for key, owner in zip(skeletons, owners, strict=True) if owner in names]
        return effects, len(erased)
