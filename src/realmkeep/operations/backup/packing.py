"""The files of a backup, written once and read back: digests, and encryption with age."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from realmkeep.errors import BackupDamaged, ConfigError, MissingIdentity, StorageMisconfigured
from realmkeep.files import open_private, open_trusted, read_file
from realmkeep.operations.backup.manifest import FileEntry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from realmkeep.operations.backup.manifest import Manifest
    from realmkeep.storage.snapshots import PinnedFile

CHUNK_BYTES: Final = 1024 * 1024
ENCRYPTED: Final = ".age"


class _Bounded:
    """The first bytes of a file that may grow."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class _Hashing:
    """A file that is written and hashed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def _age() -> Any:
    try:
        import pyrage  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs] - only encrypted backups need it
    except ModuleNotFoundError as error:
        raise StorageMisconfigured(
            "encrypted backups need the package pyrage, which is not installed", hint="pip install 'realmkeep[backup]'"
        ) from error
    return pyrage


def parse_recipients(text: str) -> tuple[str, ...]:
    """The age recipients of a setting, between blanks.

    Raises:
        ConfigError: One is no public key of age.
        StorageMisconfigured: pyrage is not installed.
    """
    for each in text.split():
        try:
            _age().x25519.Recipient.from_str(each)
        except _age().RecipientError as error:
            raise ConfigError(
                f"backup.recipients: {each[:80]!r} is no age recipient: {error}",
                hint="a public key such as age1..., from age-keygen; never the secret key",
            ) from error
    return tuple(text.split())


def read_identities(path: Path) -> tuple[Any, ...]:
    """The secret keys of an identity file as `age-keygen` writes it. Blocks.

    Raises:
        ConfigError: It has no secret key of age.
        StorageMisconfigured: pyrage is not installed.
        FileRefused: Others may read or write it.
        OSError: It cannot be read.
    """
    lines = read_file(path, secret=True).decode(errors="replace").splitlines()
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    try:
        found = tuple(_age().x25519.Identity.from_str(key) for key in keys)
    except _age().IdentityError:  # its message might repeat the key
        raise ConfigError(f"{path} is no identity file of age", hint="age-keygen -o FILE makes one") from None
    if not found:
        raise ConfigError(f"{path} has no identity", hint="age-keygen -o FILE makes one")
    return found


def new_identity() -> Any:
    """A secret key of age that lives in this process only."""
    return _age().x25519.Identity.generate()


def pack(pinned: PinnedFile, directory: Path, recipients: Sequence[str], own: Any | None) -> FileEntry:
    """Write one file of a backup, encrypted if there are recipients, and sync it. Blocks.

    Args:
        pinned: The file of the store.
        directory: The backup's directory.
        recipients: Public keys; none for a plain file.
        own: A secret key of this process that can decrypt the file too; None without recipients.

    Raises:
        OSError: It cannot be read or written.
    """
    name = f"{pinned.name}{ENCRYPTED}" if recipients else pinned.name
    source = _Bounded(pinned.file, pinned.size)
    pinned.file.seek(0)
    with os.fdopen(open_private(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        target = _Hashing(file)
        if recipients:
            age = _age()
            public = [age.x25519.Recipient.from_str(each) for each in recipients]
            try:
                age.encrypt_io(source, target, [*public, own.to_public()] if own is not None else public)
            except age.EncryptError as error:  # the system's error is in its text
                raise OSError(f"{directory / name} cannot be written: {error}") from error
        else:
            while data := source.read(CHUNK_BYTES):
                target.write(data)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(name=name, part=pinned.part, bytes_count=target.size, sha256=target.sha256.hexdigest())


def check_files(directory: Path, manifest: Manifest) -> None:
    """Compare every file of a backup with its digest. Blocks.

    Raises:
        BackupDamaged: A file is missing, or not as it was written.
        OSError: A file cannot be read.
    """
    for entry in manifest.files:
        digest, size = hashlib.sha256(), 0
        try:
            with open_trusted(directory / entry.name) as file:
                while data := file.read(CHUNK_BYTES):
                    digest.update(data)
                    size += len(data)
        except FileNotFoundError as error:
            raise BackupDamaged(f"{directory / entry.name} is missing", hint="use another backup") from error
        if (size, digest.hexdigest()) != (entry.bytes_count, entry.sha256):
            raise BackupDamaged(
                f"{directory / entry.name} is not as it was written ({size:,} bytes, {entry.bytes_count:,} expected)",
                hint="use another backup",
            )


def unpack(directory: Path, entry: FileEntry, to: Path, identities: Sequence[Any]) -> None:
    """Write the plain contents of one file of a backup; its digest has been compared. Blocks.

    Raises:
        MissingIdentity: It is encrypted for other keys.
        BackupDamaged: It cannot be decrypted.
        OSError: It cannot be read or written.
    """
    with (
        open_trusted(directory / entry.name) as source,
        os.fdopen(open_private(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as target,
    ):
        if entry.name.endswith(ENCRYPTED):
            _decrypt(source, target, entry.name, identities)
        else:
            while data := source.read(CHUNK_BYTES):
                target.write(data)


def _decrypt(source: BinaryIO, target: BinaryIO, name: str, identities: Sequence[Any]) -> None:
    if not identities:
        raise MissingIdentity(
            f"{name} is encrypted, and this machine has no secret key for it", hint="give --identity FILE"
        )
    age = _age()
    try:
        age.decrypt_io(source, target, list(identities))
    except age.DecryptError as error:
        if "No matching keys" in str(error):
            raise MissingIdentity(f"{name} is encrypted for other keys", hint="give another --identity FILE") from error
        raise BackupDamaged(f"{name} cannot be decrypted: {error}", hint="use another backup") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise BackupDamaged(f"{name} cannot be decrypted: {error}", hint="use another backup") from error
