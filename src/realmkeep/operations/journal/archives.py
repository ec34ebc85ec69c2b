"""The archive of a URL, and the archive in files."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote, urlsplit

from realmkeep import keys
from realmkeep.config import mask_url
from realmkeep.errors import ConfigError, FileRefused, InvalidKey, JournalDamaged, JournalUnavailable
from realmkeep.files import create_file, make_directory, read_file, replace_file
from realmkeep.operations.journal.archive import DIGITS, MANIFEST_ENDS, SEGMENT_ENDS, Archive, another_segment
from realmkeep.operations.journal.person_keys import KEYS, decode_key, encode_key, key_name
from realmkeep.operations.journal.segments import SEGMENT_BYTES_MAX, TRY, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

MANIFEST_BYTES_MAX: Final = 16 * 1024 * 1024
MANIFEST_NAME: Final = re.compile(rf"(\d{{{DIGITS}}})\.json")


def open_archive(url: str) -> Archive:
    """The archive of a URL: `file:///relative`, `file:////absolute`, `s3://bucket/prefix` or `postgresql://user@host/database`.

    Raises:
        ConfigError: The URL has another form.
        StorageMisconfigured: A package of this kind of archive is not installed.
        JournalUnavailable: The URL of a bucket, or its variables, cannot be used.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError("journal.url is malformed", hint="such as file:///realm-data/journal") from None
    if parts.scheme == "file" and not parts.netloc and len(parts.path) > 1:
        return FileArchive(Path(unquote(parts.path[1:])))
    if parts.scheme == "s3":
        from realmkeep.operations.journal.bucket_archive import BucketArchive  # noqa: PLC0415 - an extra

        return BucketArchive(url)
    if parts.scheme == "postgresql":
        from realmkeep.operations.journal.postgres_archive import PostgresArchive  # noqa: PLC0415 - an extra

        return PostgresArchive(url)
    raise ConfigError(
        f"journal.url = {mask_url(url)!r:.80} names no archive", hint="such as file:///realm-data/journal"
    )


class FileArchive:
    """An archive in a directory: one directory a server, two files a segment.

    Args:
        directory: It is made when the first segment is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def servers(self) -> Sequence[str]:
        """As `Archive.servers`."""
        return await self._to_thread(lambda: sorted(_server_names(self._directory)))

    async def numbers(self, server: str) -> Sequence[int]:
        """As `Archive.numbers`."""
        return await self._to_thread(lambda: sorted(_numbers(self._directory / server)))

    async def manifest(self, server: str, number: int) -> Manifest:
        """As `Archive.manifest`."""
        path = self._path(server, number, MANIFEST_ENDS)
        return Manifest.decode(await self._read(path, MANIFEST_BYTES_MAX), str(path))

    async def read(self, manifest: Manifest) -> bytes:
        """As `Archive.read`."""
        return await self._read(self._path(manifest.server, manifest.number, SEGMENT_ENDS), SEGMENT_BYTES_MAX)

    async def put(self, manifest: Manifest, packed: bytes) -> None:
        """As `Archive.put`."""
        path = self._path(manifest.server, manifest.number, MANIFEST_ENDS)
        if await self._to_thread(path.exists):
            if await self._read(path, MANIFEST_BYTES_MAX) != manifest.encode():
                raise another_segment(str(path))
            return
        await self._to_thread(lambda: self._make_directory(manifest.server))
        await self.write_file(self._path(manifest.server, manifest.number, SEGMENT_ENDS), packed)
        await self.write_file(path, manifest.encode())

    async def write_file(self, path: Path, content: bytes) -> None:
        """Write a file beside its place, sync it, and move it there; it is on disk when this returns.

        Raises:
            JournalUnavailable: It cannot be written now.
        """
        await self._to_thread(lambda: replace_file(path, content))

    async def remove(self, manifest: Manifest) -> None:
        """As `Archive.remove`."""
        for ends in (MANIFEST_ENDS, SEGMENT_ENDS):
            path = self._path(manifest.server, manifest.number, ends)
            await self._to_thread(lambda path=path: path.unlink(missing_ok=True))

    async def person_keys(self, persons: Sequence[str]) -> dict[str, bytes]:
        """As `Archive.person_keys`."""
        return await self._to_thread(lambda: {each: key for each in persons if (key := self._key_of(each)) is not None})

    async def add_person_key(self, person: str, key: bytes) -> bytes:
        """As `Archive.add_person_key`."""
        await self._to_thread(lambda: self._make_directory(KEYS))
        path = self._key_path(person)
        try:
            await self._to_thread(lambda: create_file(path, encode_key(person, key)))
        except FileExistsError:
            return (await self.person_keys([person])).get(person, b"")
        return key

    async def erase_person(self, person: str) -> None:
        """As `Archive.erase_person`."""
        await self._to_thread(lambda: self._make_directory(KEYS))
        await self.write_file(self._key_path(person), encode_key(person, b""))

    async def persons(self) -> Sequence[str]:
        """As `Archive.persons`."""
        return await self._to_thread(
            lambda: [decode_key(each.read_bytes(), str(each))[0] for each in self._key_files()]
        )

    def _key_path(self, person: str) -> Path:
        return self._directory / KEYS / key_name(person)

    def _key_files(self) -> list[Path]:
        return sorted((self._directory / KEYS).glob(f"*{MANIFEST_ENDS}"))

    def _key_of(self, person: str) -> bytes | None:
        path = self._key_path(person)
        try:
            return decode_key(read_file(path, secret=True), str(path))[1]
        except FileNotFoundError:
            return None

    async def close(self) -> None:
        """As `Archive.close`; there is none."""

    def _make_directory(self, server: str) -> None:
        make_directory(self._directory, closed=True)
        make_directory(self._directory / server, closed=True)

    def _path(self, server: str, number: int, ends: str) -> Path:
        return self._directory / server / f"{number:0{DIGITS}}{ends}"

    async def _read(self, path: Path, bytes_max: int) -> bytes:
        try:
            return await self._to_thread(lambda: read_file(path, bytes_max=bytes_max))
        except FileNotFoundError as error:
            raise JournalDamaged(f"{path} is missing", hint=TRY) from error

    @staticmethod
    async def _to_thread(work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except (FileNotFoundError, FileExistsError, FileRefused):
            raise
        except OSError as error:
            raise JournalUnavailable(
                f"the archive of the journal: {error}", hint="make room on its disk, or name another journal.url"
            ) from error


def _server_names(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    names: list[str] = []
    for each in directory.iterdir():
        try:
            keys.server_journal(each.name)
        except InvalidKey:
            continue
        if each.name != KEYS and _numbers(each):
            names.append(each.name)
    return names


def _numbers(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    return [int(found[1]) for each in directory.iterdir() if (found := MANIFEST_NAME.fullmatch(each.name))]
