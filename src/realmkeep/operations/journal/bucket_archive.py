"""An archive in a bucket of S3, or of a service that speaks its protocol; keys and endpoint come from the variables AWS_*."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from realmkeep.errors import JournalDamaged, JournalUnavailable
from realmkeep.operations.bucket import BucketClient
from realmkeep.operations.journal.archive import DIGITS, MANIFEST_ENDS, SEGMENT_ENDS, another_segment
from realmkeep.operations.journal.person_keys import KEYS, decode_key, encode_key, key_name
from realmkeep.operations.journal.segments import TRY, Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self._url = url
        self._bucket = BucketClient(
            url, needed_for="archives of the journal in a bucket", retry_s_max=RETRY_S_MAX, fault=self._fault
        )

    def _fault(self, said: str) -> JournalUnavailable:
        return JournalUnavailable(
            f"the archive of the journal, {self._url}: {said}", hint="look at journal.url and the variables AWS_*"
        )

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
        await self._bucket.put(f"{stem}{SEGMENT_ENDS}", packed)
        if not await self._bucket.create(f"{stem}{MANIFEST_ENDS}", manifest.encode()):
            await self._compare(manifest, stem)  # the answer to an earlier attempt was lost

    async def remove(self, manifest: Manifest) -> None:
        """As `Archive.remove`."""
        for ends in (MANIFEST_ENDS, SEGMENT_ENDS):
            await self._bucket.delete([f"{manifest.server}/{manifest.number:0{DIGITS}}{ends}"])

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
        if not await self._bucket.create(_key_path(person), encode_key(person, key)):
            return await self._key_of(person) or b""
        return key

    async def erase_person(self, person: str) -> None:
        """As `Archive.erase_person`."""
        await self._bucket.put(_key_path(person), encode_key(person, b""))

    async def persons(self) -> Sequence[str]:
        """As `Archive.persons`."""
        return [decode_key(await self._get(path), path)[0] for path in await self._bucket.paths(KEYS)]

    async def _key_of(self, person: str) -> bytes | None:
        content = await self._bucket.get(path := _key_path(person))
        return None if content is None else decode_key(content, f"{self._url}/{path}")[1]

    async def close(self) -> None:
        """As `Archive.close`; there is none."""

    async def _compare(self, manifest: Manifest, stem: str) -> None:
        if await self._get(f"{stem}{MANIFEST_ENDS}") != manifest.encode():
            raise another_segment(f"{self._url}/{stem}")

    async def _listed(self, server: str | None) -> list[tuple[str, int]]:
        matches = map(MANIFEST_PATH.fullmatch, await self._bucket.paths(server))
        return [(found[1], int(found[2])) for found in matches if found]

    async def _get(self, key: str) -> bytes:
        content = await self._bucket.get(key)
        if content is None:
            raise JournalDamaged(f"{self._url}/{key} is missing", hint=TRY)
        return content


def _key_path(person: str) -> str:
    return f"{KEYS}/{key_name(person)}"
