"""A bucket of S3, or of a service that speaks its protocol; keys and endpoint come from the variables AWS_*.

Its calls block, each in a thread. The asynchronous ones of obstore answer from threads of its own. Such a thread may still be
inside Python when a command has ended, and then the interpreter aborts (SIGABRT).
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import StorageMisconfigured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Sequence
    from pathlib import Path

    from realmkeep.errors import RealmkeepError

RETRIES_MAX: Final = 3


class BucketClient:
    """The objects below a prefix.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`.
        needed_for: The feature that needs the package, as the beginning of a sentence.
        retry_s_max: Seconds for which a request is tried again.
        fault: Makes the error for a request that failed, from the words of the service.

    Raises:
        StorageMisconfigured: obstore is not installed.
        RealmkeepError: The URL or the variables cannot be used: the error of `fault`, as in every method.
    """

    def __init__(self, url: str, *, needed_for: str, retry_s_max: int, fault: Callable[[str], RealmkeepError]) -> None:
        try:
            import obstore  # noqa: PLC0415 - an extra
            from obstore import exceptions, store  # noqa: PLC0415 - as above
        except ModuleNotFoundError as error:
            raise StorageMisconfigured(
                f"{needed_for} need the package obstore, which is not installed", hint="pip install 'realmkeep[backup]'"
            ) from error
        self._obstore: Any = obstore
        self._errors = (exceptions.BaseError, FileNotFoundError)
        self._already_there = exceptions.AlreadyExistsError
        self._fault = fault
        retries: Any = {"max_retries": RETRIES_MAX, "retry_timeout": timedelta(seconds=retry_s_max)}
        with self._translated():
            # With a checksum the service refuses what was changed on the way.
            self._store: Any = store.from_url(url, config={"checksum_algorithm": "SHA256"}, retry_config=retries)

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except self._errors as error:
            raise self._fault(f"{str(error).partition(chr(10))[0]:.300}") from error

    async def put(self, key: str, content: bytes | Path) -> None:
        """Write an object: bytes, or the content of a file."""
        with self._translated():
            await asyncio.to_thread(self._obstore.put, self._store, key, content)

    async def create(self, key: str, content: bytes) -> bool:
        """Write an object if none is there; False if there is one, which may be from an attempt whose answer was lost."""
        with self._translated():
            try:
                await asyncio.to_thread(self._obstore.put, self._store, key, content, mode="create")
            except self._already_there:
                return False
        return True

    async def get(self, key: str) -> bytes | None:
        """The content of an object; None if there is none."""
        with self._translated():
            try:
                return await asyncio.to_thread(self._read, key)
            except FileNotFoundError:
                return None

    def _read(self, key: str) -> bytes:
        return bytes(self._obstore.get(self._store, key).bytes())

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """The content of an object, a piece at a time; an absent one is an error."""
        with self._translated():
            found = await asyncio.to_thread(self._obstore.get, self._store, key)
            chunks = iter(found.stream())
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield bytes(chunk)

    async def paths(self, prefix: str | None = None) -> list[str]:
        """The keys of all objects, below a further prefix."""
        with self._translated():
            listing = self._obstore.list(self._store, prefix=prefix)
            return [each["path"] for each in await asyncio.to_thread(listing.collect)]

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects."""
        with self._translated():
            await asyncio.to_thread(self._obstore.delete, self._store, list(keys))
