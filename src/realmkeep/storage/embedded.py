"""`embedded:///directory`: a real Valkey that Realmkeep starts, supervises, adopts after a crash, and stops."""

import os
import random
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote_to_bytes

import msgspec

from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import ConfigError
from realmkeep.storage.embedded_config import (
    MAXMEMORY_BYTES,
    MAXMEMORY_BYTES_MIN,
    StoreSettings,
)
from realmkeep.storage.embedded_process import StoreProcess, socket_path
from realmkeep.storage.limits import whole_number
from realmkeep.storage.protocol import Capability
from realmkeep.storage.redis import RedisStorage
from realmkeep.storage.redis_url import RedisAddress
from realmkeep.storage.urls import options_of

MIB: Final = 1024**2
MAXMEMORY_MB_MAX: Final = 1024**2  # a terabyte
PORT_MAX: Final = 65535
OPEN_PORT: Final = (
    "the TCP port of the store asks for no password: every user of this machine can read and change everything; tools can"
    " use its socket"
)


class EmbeddedStorage(RedisStorage):
    """A `Storage` on a Valkey of its own, in one directory.

    If this process crashes, the store lives on, and the next process adopts it. If the store dies, it is started again, with
    backoff, and calls fail with `StorageUnavailable` until it answers. `disconnect` stops it.

    Args:
        directory: The directory of its files; made if absent.
        maxmemory_bytes: The size from which the store refuses writes.
        port: A TCP port on this machine, for tools; 0 for none.
        clock: The clock; by default the machine's.
        rng: The jitter of the backoff.
    """

    def __init__(
        self,
        directory: Path,
        *,
        maxmemory_bytes: int = MAXMEMORY_BYTES,
        port: int = 0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._has_port = bool(port)
        settings = StoreSettings(str(directory), port=port, maxmemory_bytes=maxmemory_bytes)
        clock = clock or SystemClock()
        self._process = StoreProcess(directory.absolute(), settings, clock=clock)
        super().__init__(RedisAddress(socket_path=str(self._process.socket_path)), clock=clock, rng=rng)

    @property
    def directory(self) -> Path:
        """The directory of its files, as an absolute path."""
        return self._process.directory

    @property
    def capability(self) -> Capability:
        """The promises of the store, which no other server can use."""
        told = super().capability
        return msgspec.structs.replace(
            told,
            backend="embedded",
            shared=False,
            warnings=(*told.warnings, *self._process.notices, *([OPEN_PORT] if self._has_port else [])),
        )

    async def connect(self) -> None:
        """Lock the directory, start the store or adopt a live one, and wait until it answers.

        Raises:
            StorageLocked: Another server uses the directory.
            StorageMisconfigured: There is no binary, or the store does not start.
            StorageUnavailable: The store lives but does not answer; a second one was not started.
        """
        if self.is_open:
            return
        await self._process.lock()
        try:
            await super().connect()
        except BaseException:
            self._process.unlock()
            raise

    async def disconnect(self) -> None:
        """Wait until all accepted calls are answered, stop the store, and release the directory."""
        was_open = self.is_open
        try:
            await super().disconnect()
        finally:
            if was_open:
                await self._process.stop()
                self._process.unlock()

    async def _before_opening(self) -> None:
        await self._process.ensure_running()


def open_url(url: SplitResult, clock: Clock) -> EmbeddedStorage:
    """Open an `embedded:///directory` URL; `embedded:////absolute/directory` is absolute, as with `sqlite:///`.

    Options: `maxmemory_mb`, and `port` for TCP on this machine.

    Raises:
        ConfigError: A part of the URL is missing, malformed or unknown.
    """
    directory = directory_of(url)
    options = options_of(url)
    port = _number(options.pop("port", "0"), "port", least=0, most=PORT_MAX)
    maxmemory_mb = _number(
        options.pop("maxmemory_mb", str(MAXMEMORY_BYTES // MIB)),
        "maxmemory_mb",
        least=MAXMEMORY_BYTES_MIN // MIB,
        most=MAXMEMORY_MB_MAX,
    )
    if options:
        raise ConfigError(
            f"the embedded:// URL has the unknown option {next(iter(options))!r}", hint="known: maxmemory_mb, port"
        )
    return EmbeddedStorage(directory, maxmemory_bytes=maxmemory_mb * MIB, port=port, clock=clock)


def directory_of(url: SplitResult) -> Path:
    """Return the directory of an `embedded://` URL.

    Raises:
        ConfigError: It names none, or a host.
    """
    directory = os.fsdecode(unquote_to_bytes(url.path))[1:]  # a directory name may have no valid encoding
    if url.netloc or url.fragment or not directory:
        raise ConfigError("an embedded:// URL names a directory and no host", hint="embedded:///realm-data")
    return Path(directory)


def address_of(url: SplitResult) -> RedisAddress:
    """Return the address of the store of an `embedded://` URL, for tools beside its server.

    Raises:
        ConfigError: The URL names no directory, or a host.
    """
    return RedisAddress(socket_path=str(socket_path(directory_of(url).absolute())))


def _number(text: str, name: str, *, least: int, most: int) -> int:
    number = whole_number(text.encode(errors="replace"))
    if number is None or not least <= number <= most:
        raise ConfigError(f"{name}={text!r} is out of range", hint=f"a whole number from {least:,} to {most:,}")
    return number
