"""Backups off site, in a bucket of S3 or of a service that speaks its protocol.

A backup is complete in the bucket when its manifest is there, which is written last, and only if none is there yet. Keys and
endpoint come from the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from realmkeep.errors import BackupDamaged, BackupError, OffsiteUnavailable
from realmkeep.files import make_directory, open_private, read_file, replace_file
from realmkeep.operations.backup.catalogue import ListedBackup, list_backups, newest_good
from realmkeep.operations.backup.erasures import ERASURES, ERASURES_BYTES_MAX, ERASURES_KEY
from realmkeep.operations.backup.manifest import (
    MANIFEST,
    NAME,
    VERDICT,
    Manifest,
    create_manifest,
    decode_manifest,
    decode_note,
    write_note,
)
from realmkeep.operations.backup.packing import check_files
from realmkeep.operations.backup.retention import plan_removals
from realmkeep.operations.backup.workplace import locked
from realmkeep.operations.bucket import BucketClient

if TYPE_CHECKING:
    from pathlib import Path

    from realmkeep.operations.backup.retention import Removal

RETRY_S_MAX: Final = 120


class Bucket:
    """The backups in one bucket, below a prefix.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`.

    Raises:
        StorageMisconfigured: obstore is not installed.
        OffsiteUnavailable: The URL or the variables cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._bucket = BucketClient(url, needed_for="backups off site", retry_s_max=RETRY_S_MAX, fault=self._fault)

    def _fault(self, said: str) -> OffsiteUnavailable:
        return OffsiteUnavailable(
            f"the bucket {self._url}: {said}",
            hint="look at backup.offsite_url and the variables AWS_*; the next `backup create` tries again",
        )

    async def push(self, directory: Path) -> list[str]:
        """Copy every complete backup of a directory that the bucket lacks, and the erasures; return the names.

        Args:
            directory: The directory of the backups.

        Raises:
            OffsiteUnavailable: The bucket cannot be reached, or refuses.
            BackupBusy: Another process makes or prunes backups there.
            BackupDamaged: A backup of the directory is not as it was written; it is not copied.
            BackupError: The bucket has the erasures of another realm.
            OSError: A file cannot be read.
        """
        pushed: list[str] = []
        async with locked(directory):
            await self._share_erasures(directory)
            there = await self._paths()
            for each in await asyncio.to_thread(list_backups, directory):
                if each.manifest is None or each.state == "bad":
                    continue
                if f"{each.name}/{MANIFEST}" not in there:
                    await self._push_files(directory / each.name, each.manifest)
                    pushed.append(each.name)
                if each.note is not None and (each.name in pushed or f"{each.name}/{VERDICT}" not in there):
                    note = await asyncio.to_thread(read_file, directory / each.name / VERDICT)
                    await self._bucket.put(f"{each.name}/{VERDICT}", note)
        return pushed

    async def _push_files(self, path: Path, manifest: Manifest) -> None:
        await asyncio.to_thread(check_files, path, manifest)
        for entry in manifest.files:
            await self._bucket.put(f"{path.name}/{entry.name}", path / entry.name)
        await self._put_manifest(path.name, manifest)

    async def _put_manifest(self, name: str, manifest: Manifest) -> None:
        if not await self._bucket.create(f"{name}/{MANIFEST}", manifest.encode()):
            raise BackupError(
                f"the bucket {self._url} has another backup {name} already", hint="give each realm its own prefix"
            )

    async def list(self) -> list[ListedBackup]:
        """Every backup of the bucket, the oldest first.

        Raises:
            OffsiteUnavailable: The bucket cannot be reached, or refuses.
        """
        names = {path.partition("/")[0] for path in await self._paths()}
        return [*await asyncio.gather(*(self._listed(name) for name in sorted(names) if NAME.fullmatch(name)))]

    async def fetch(self, name: str | None, directory: Path) -> Manifest:
        """Bring a backup back into a directory, complete with its manifest, which comes last.

        Args:
            name: The backup; by default the newest one with a good verification.
            directory: The directory of the backups; made if absent.

        Raises:
            BackupError: The bucket has no such backup, or the directory has it already.
            BackupBusy: Another process makes or prunes backups there.
            BackupDamaged: It was changed in the bucket.
            OffsiteUnavailable: The bucket cannot be reached, or refuses.
            OSError: A file cannot be written.
        """
        chosen = newest_good(await self.list()) if name is None else await self._listed(name)
        if chosen is None or (chosen.manifest is None and not chosen.damage):
            raise BackupError(
                f"the bucket {self._url} has no such backup", hint="realmkeep backup list --offsite shows them"
            )
        if chosen.manifest is None:
            raise BackupDamaged(chosen.damage, hint="use another backup")
        directory = await asyncio.to_thread(make_directory, directory, closed=True)
        async with locked(directory):
            await self._share_erasures(directory)
            path = directory / chosen.name
            try:
                await asyncio.to_thread(path.mkdir, 0o700)
            except FileExistsError as error:
                raise BackupError(f"{path} is there already", hint="use it, or rename it") from error
            for entry in chosen.manifest.files:
                await self._download(f"{chosen.name}/{entry.name}", path / entry.name)
            await asyncio.to_thread(check_files, path, chosen.manifest)
            await asyncio.to_thread(create_manifest, path, chosen.manifest)
            if chosen.note is not None:
                await asyncio.to_thread(write_note, path, chosen.note)
        return chosen.manifest

    async def prune(
        self, *, now_us: int, hourly_days: int, daily_days: int, dry_run: bool = False
    ) -> tuple[Removal, ...]:
        """Remove the backups of the bucket that `plan_removals` names, each by its manifest first; return them.

        Args:
            now_us: As `plan_removals`.
            hourly_days: As `plan_removals`.
            daily_days: As `plan_removals`.
            dry_run: Remove none.

        Raises:
            OffsiteUnavailable: The bucket cannot be reached, or refuses.
        """
        backups = await self.list()
        removals = plan_removals(backups, now_us=now_us, hourly_days=hourly_days, daily_days=daily_days)
        paths = await self._paths()
        for removal in () if dry_run else removals:
            await self._bucket.delete([f"{removal.name}/{MANIFEST}"])
            left = [path for path in paths if path.startswith(f"{removal.name}/") and not path.endswith(MANIFEST)]
            await self._bucket.delete(left)
        return removals

    async def _paths(self) -> set[str]:
        """The path of every object, below the prefix."""
        return set(await self._bucket.paths())

    async def _listed(self, name: str) -> ListedBackup:
        content = await self._bucket.get(f"{name}/{MANIFEST}")
        if content is None:
            return ListedBackup(name, None, None)
        try:
            manifest = decode_manifest(content, f"{self._url}/{name}/{MANIFEST}")
        except BackupDamaged as error:
            return ListedBackup(name, None, None, error.message)
        note = await self._bucket.get(f"{name}/{VERDICT}")
        return ListedBackup(name, manifest, None if note is None else decode_note(note, manifest))

    async def _download(self, key: str, to: Path) -> None:
        descriptor = await asyncio.to_thread(open_private, to, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in self._bucket.stream(key):
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(file.flush)
            await asyncio.to_thread(os.fsync, descriptor)

    async def _share_erasures(self, directory: Path) -> None:
        """Give directory and bucket the erasures of both: a restore from either must know of all."""
        here = await asyncio.to_thread(_read_erasures, directory)
        there = [await self._bucket.get(name) for name in (ERASURES_KEY, ERASURES)]
        if here[0] and there[0] and here[0] != there[0]:
            raise BackupError(
                f"the erasures in the bucket {self._url} have another key than those in {directory}",
                hint="give each realm its own prefix",
            )
        key = here[0] or there[0]
        if not key:
            return
        lines = {**dict.fromkeys((there[1] or b"").splitlines()), **dict.fromkeys((here[1] or b"").splitlines())}
        merged = b"".join(line + b"\n" for line in lines)
        for name, content, mine, theirs in zip((ERASURES_KEY, ERASURES), (key, merged), here, there, strict=True):
            if content != mine:
                await asyncio.to_thread(replace_file, directory / name, content)
            if content != theirs:
                await self._bucket.put(name, content)


def _read_erasures(directory: Path) -> list[bytes | None]:
    """The key and the lines of the erasures; None for each that is absent."""
    found: list[bytes | None] = []
    for name in (ERASURES_KEY, ERASURES):
        try:
            found.append(read_file(directory / name, bytes_max=ERASURES_BYTES_MAX))
        except FileNotFoundError:
            found.append(None)
    return found
