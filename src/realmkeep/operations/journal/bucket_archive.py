"""An archive in a bucket of S3, or of a service that speaks its protocol; keys and endpoint come from the variables AWS_*."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import JournalDamaged, JournalUnavailable, StorageMisconfigured
from realmkeep.operations.journal.archive import DIGITS, MANIFEST_ENDS, SEGMENT_ENDS, another_segment
from realmkeep.operations.journal.person_keys import KEYS, decode_key, encode_key, key_name
from realmkeep.operations.journal.segments import TRY, Manifest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

RETRIES_MAX: Final = 3
RETRY_S_MAX: Final = 30
AT_ONCE: Final = 16  # requests
MANIFEST_PATH: Final = re.compile(rf"([^/]+)/(\d{{{DIGITS}}})\.json")


class BucketArchive:
    """An archive in a bucket: `{server}/{number}.jsonl.zst`, and its manifest, which is written last and only once.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`.

    Raises:
        StorageMisconfigured: obstore is not installed.
        JournalUnavailable: The URL or the variables cannot be used.
    """

    def __init__(self, url: str) -> None:
        try:
            import obstore  # noqa: PLC0415 - only such an archive needs it
            from obstore import exceptions, store  # noqa: PLC0415 - as above
        except ModuleNotFoundError as error:
            raise StorageMisconfigured(
                "an archive in a bucket needs the package obstore, which is not installed",
                hint="pip install 'realmkeep[backup]'",
            ) from error
        self._obstore: Any = obstore
        self._errors = (exceptions.BaseError,)
        self._already_there = exceptions.AlreadyExistsError
        self._url = url
        retries: Any = {"max_retries": RETRIES_MAX, "retry_timeout": timedelta(seconds=RETRY_S_MAX)}
        with self._translated():
            # With a checksum the service refuses what was changed on the way.
            self._store: Any = store.from_url(url, config={"checksum_algorithm": "SHA256"}, retry_config=retries)

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except self._errors as error:
            said = str(error).partition("\n")[0]
            raise JournalUnavailable(
                f"the archive of the journal, {self._url}: {said:.300}",
                hint="look at journal.url and the variables AWS_*",
            ) from error

    async def servers(self) -> Sequence[str]:
        """As `Archive.servers`."""
        return sorted({server for server, _ in await self._listed(None)})

    async def numbers(self, server: str) -> Sequence[int]:
        """As `Archive.numbers`."""
        return sorted(number for found, number in await self._listed(server) if found == server)

    async def manifest(self, server: str, number: int) -> Manifest:
        """As `Archive.manifest`."""
        key = f"{server}/{number:0{DIGITS}}{MANIFEST_ENDS}"
        return Manifest.decode(await self._get(key), f"{self._url}/{key}")

    async def read(self, manifest: Manifest) -> bytes:
        """As `Archive.read`."""
        return await self._get(f"{manifest.server}/{manifest.number:0{DIGITS}}{SEGMENT_ENDS}")

    async def put(self, manifest: Manifest, packed: bytes) -> None:
        """As `Archive.put`."""
        stem = f"{manifest.server}/{manifest.number:0{DIGITS}}"
        if manifest.number in await self.numbers(manifest.server):
            await self._compare(manifest, stem)
            return
        with self._translated():
            await self._obstore.put_async(self._store, f"{stem}{SEGMENT_ENDS}", packed)
            try:
                await self._obstore.put_async(self._store, f"{stem}{MANIFEST_ENDS}", manifest.encode(), mode="create")
            except self._already_there:  # the answer to an earlier attempt was lost
                await self._compare(manifest, stem)

    async def remove(self, manifest: Manifest) -> None:
        """As `Archive.remove`."""
        with self._translated():
            for ends in (MANIFEST_ENDS, SEGMENT_ENDS):
                await self._obstore.delete_async(self._store, [f"{manifest.server}/{manifest.number:0{DIGITS}}{ends}"])

    async def person_keys(self, persons: Sequence[str]) -> dict[str, bytes]:
        """As `Archive.person_keys`."""
        found: dict[str, bytes] = {}
        for at in range(0, len(persons), AT_ONCE):
            some = persons[at : at + AT_ONCE]
            keys = await asyncio.gather(*map(self._key_of, some))
            found |= {person: key for person, key in zip(some, keys, strict=True) if key is not None}
        return found

    async def add_person_key(self, person: str, key: bytes) -> bytes:
        """As `Archive.add_person_key`."""
        with self._translated():
            try:
                await self._obstore.put_async(self._store, _key_path(person), encode_key(person, key), mode="create")
            except self._already_there:
                return await self._key_of(person) or b""
        return key

    async def erase_person(self, person: str) -> None:
        """As `Archive.erase_person`."""
        with self._translated():
            await self._obstore.put_async(self._store, _key_path(person), encode_key(person, b""))

    async def persons(self) -> Sequence[str]:
        """As `Archive.persons`."""
        with self._translated():
            objects = await self._obstore.list(self._store, prefix=KEYS).collect_async()
        return [decode_key(await self._get(each["path"]), each["path"])[0] for each in objects]

    async def _key_of(self, person: str) -> bytes | None:
        path = _key_path(person)
        try:
            with self._translated():
                found = await self._obstore.get_async(self._store, path)
                return decode_key(bytes(await found.bytes_async()), f"{self._url}/{path}")[1]
        except FileNotFoundError:
            return None

    async def close(self) -> None:
        """As `Archive.close`; there is none."""

    async def _compare(self, manifest: Manifest, stem: str) -> None:
        if await self._get(f"{stem}{MANIFEST_ENDS}") != manifest.encode():
            raise another_segment(f"{self._url}/{stem}")

    async def _listed(self, server: str | None) -> list[tuple[str, int]]:
        with self._translated():
            objects = await self._obstore.list(self._store, prefix=server).collect_async()
        matches = (MANIFEST_PATH.fullmatch(each["path"]) for each in objects)
        return [(found[1], int(found[2])) for found in matches if found]

    async def _get(self, key: str) -> bytes:
        try:
            with self._translated():
                found = await self._obstore.get_async(self._store, key)
                return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            raise JournalDamaged(f"{self._url}/{key} is missing", hint=TRY) from error


def _key_path(person: str) -> str:
    return f"{KEYS}/{key_name(person)}"
