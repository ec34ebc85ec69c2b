"""The snapshot of a live Valkey or Redis: BGSAVE, and its files opened in its directory.

An open descriptor keeps a file although the store replaces its name. A hard link would do the same, but a link that a
killed backup leaves behind gives the store's own file a second name, and an embedded store refuses to start on such a file.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, cast
from urllib.parse import SplitResult

from redis.exceptions import RedisError

from realmkeep.clock import Clock
from realmkeep.errors import FileRefused, StorageMisconfigured, StorageUnavailable
from realmkeep.files import open_trusted, read_file
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.storage.redis_capability import read_info
from realmkeep.storage.redis_connection import (
    BROKEN,
    RedisConnection,
    ask,
    make_connection,
    safe_cause,
    safe_storage_error,
)
from realmkeep.storage.redis_errors import is_reply
from realmkeep.storage.redis_url import RedisAddress, parse_redis_url
from realmkeep.storage.snapshot_file import snapshot_time_s
from realmkeep.storage.snapshots import Part, PinnedFile, PinnedSnapshot

SAVE_S_MAX: Final = 1800.0  # a store of 64 GB on a slow disk
POLL_S: Final = 0.02
ROOM_BYTES_MIN: Final = 64 * 1024**2  # beside the snapshot; a failed one makes the store refuse writes
PIN_ATTEMPTS: Final = 20  # a rewrite of the append-only file ends between two looks at its manifest; twenty are no race
LOG_LAG_S: Final = 3  # with everysec the store may hold commands back for two seconds before it writes them
SETTINGS: Final = ("dir", "dbfilename", "appendonly", "appenddirname", "appendfilename", "aof-timestamp-enabled")
_LINE: Final = re.compile(r"file (\S+) seq (\d+) type ([bi])\b")


class _Log(NamedTuple):
    files: tuple[PinnedFile, ...]
    from_s: int | None = None
    to_s: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Source:
    """A connected store and the directory of its files."""

    address: RedisAddress
    connection: RedisConnection
    clock: Clock
    settings: Mapping[str, str]
    undo: ExitStack

    @property
    def directory(self) -> Path:
        return Path(self.settings["dir"])

    async def save(self) -> None:
        """Have the store write its snapshot, and return when it is complete."""
        await asyncio.to_thread(self._check_room)
        before: int | None = None
        async with self.clock.timeout(SAVE_S_MAX):
            while True:
                info = await read_info(self.connection, "persistence")
                is_saving = info["rdb_bgsave_in_progress"] == "1"
                if before is None and not is_saving:
                    before = int(info["rdb_saves"])
                    await ask(self.connection, "BGSAVE", "SCHEDULE")  # it waits for a rewrite that is under way
                elif before is not None and int(info["rdb_saves"]) > before and not is_saving:
                    break
                await self.clock.sleep(POLL_S)
        if info["rdb_last_bgsave_status"] != "ok":
            raise StorageUnavailable(
                f"the store {self.address} could not write its snapshot", hint="see its log; is its disk full?"
            )

    def _check_room(self) -> None:
        snapshot = self.directory / self.settings["dbfilename"]
        size = snapshot.stat().st_size if snapshot.exists() else 0
        free = shutil.disk_usage(self.directory).free
        if free < 2 * size + ROOM_BYTES_MIN:
            raise StorageUnavailable(
                f"the disk of {self.directory} has {free:,} bytes left, too few for a snapshot",
                hint="make room; a snapshot that fails would make the store refuse writes",
            )

    def open_snapshot(self) -> PinnedFile:
        return self._open(self.directory / self.settings["dbfilename"], "snapshot.rdb", "snapshot")

    def open_log(self) -> _Log:
        """Open the append-only files of one manifest. Blocks."""
        if self.settings.get("appendonly") != "yes":
            return _Log((), reason="the store has appendonly no")
        if self.settings.get("aof-timestamp-enabled") != "yes":
            return _Log((), reason="the store has aof-timestamp-enabled no: CONFIG SET aof-timestamp-enabled yes")
        folder = self.directory / self.settings["appenddirname"]
        manifest = folder / f"{self.settings['appendfilename']}.manifest"
        for _ in range(PIN_ATTEMPTS):
            text = read_file(manifest)
            with ExitStack() as undo:
                try:
                    pinned = [
                        _open(folder / name, f"log.{number:04}.{_PARTS[kind]}", _PARTS[kind], undo)
                        for number, (name, _, kind) in enumerate(_LINE.findall(text.decode()))
                    ]
                except FileNotFoundError:  # a rewrite has just replaced it
                    continue
                if read_file(manifest) != text:
                    continue
                self.undo.push(undo.pop_all())
                from_s = snapshot_time_s(pinned[0].file) if pinned and pinned[0].part == "base" else None
                if from_s is None:
                    return _Log((), reason="its append-only file does not begin with a snapshot (aof-use-rdb-preamble)")
                return _Log(tuple(pinned), from_s)
        raise StorageUnavailable(f"{manifest} changes all the time", hint="try again")

    async def begin_log_anew(self, rewrites: int) -> bool:
        """Have the store begin a new append-only file, so that the next backup reaches back to this one.

        Returns:
            Whether this was the only rewrite that began since there were `rewrites` of them: then the files that were opened
            before end where the new one begins.
        """
        try:
            await ask(self.connection, "BGREWRITEAOF")
        except RedisError as error:
            if not is_reply(error):
                raise
            return False  # one is under way, or an ACL forbids it
        async with self.clock.timeout(SAVE_S_MAX):
            while (begun := int((await read_info(self.connection, "persistence"))["aof_rewrites"])) == rewrites:
                await self.clock.sleep(POLL_S)
        return begun == rewrites + 1

    async def second(self) -> int:
        """The present second of the store's clock."""
        return int(cast("list[bytes]", await ask(self.connection, "TIME"))[0])

    def _open(self, path: Path, name: str, part: Part) -> PinnedFile:
        try:
            return _open(path, name, part, self.undo)
        except FileRefused as error:
            raise StorageMisconfigured(
                f"the snapshot of the store {self.address} cannot be read: {error.message}",
                hint="run the backup as the user of the store",
            ) from error
        except OSError as error:
            raise StorageMisconfigured(
                f"the snapshot {path} of the store {self.address} cannot be read: {error.strerror}",
                hint="run the backup on the machine of the store, as its user",
            ) from error


_PARTS: Final[Mapping[str, Part]] = {"b": "base", "i": "increment"}


def _open(path: Path, name: str, part: Part, undo: ExitStack) -> PinnedFile:
    file = undo.enter_context(open_trusted(path))
    return PinnedFile(name, part, file, os.fstat(file.fileno()).st_size)


@asynccontextmanager
async def pin(url: SplitResult, _work: Path, clock: Clock) -> AsyncGenerator[PinnedSnapshot]:
    """Take and open the snapshot of a `redis://`, `rediss://` or `redis+unix://` store; see `pin_snapshot`."""
    async with pin_address(parse_redis_url(url), clock) as pinned:
        yield pinned


@asynccontextmanager
async def pin_address(address: RedisAddress, clock: Clock) -> AsyncGenerator[PinnedSnapshot]:
    """Take and open the snapshot of the store at an address.

    Raises:
        StorageUnavailable: It cannot be reached, or has no room for a snapshot.
        StorageMisconfigured: Its files cannot be read here, or it has several databases.
    """
    if address.database:
        raise StorageMisconfigured(
            f"the store {address} is not database 0, and a snapshot holds all databases",
            hint="give the realm a store of its own",
        )
    if address.prefix:
        raise StorageMisconfigured(
            f"the store {address} may hold other realms beside this one, and a snapshot holds all of them",
            hint="use the backups of its host, or give the realm a store of its own",
        )
    connection = make_connection(address)
    with ExitStack() as undo:
        try:
            async with clock.timeout(address.connect_timeout_s):
                await connection.connect()
            pinned = await _pin(_Source(address, connection, clock, await _settings(connection, address), undo))
        except (*BROKEN, TimeoutError) as error:
            if isinstance(error, OSError) and error.filename:
                raise
            raise safe_storage_error(error, address, sent=False) from safe_cause(error, address)
        finally:
            await connection.disconnect(nowait=True)
        yield pinned


async def _pin(source: _Source) -> PinnedSnapshot:
    connection = source.connection
    seconds, micros = cast("list[bytes]", await ask(connection, "TIME"))
    store_id = cast("bytes | None", await ask(connection, "GET", SERVER_STORE_ID)) or b""
    await source.save()
    snapshot = await asyncio.to_thread(source.open_snapshot)
    log = await _pin_log(source)
    info = await read_info(connection, "server")
    name = info.get("server_name", "redis")
    return PinnedSnapshot(
        engine="valkey",
        version=f"{name} {info.get(f'{name}_version', info.get('redis_version', ''))}",
        taken_us=int(seconds) * 1_000_000 + int(micros),
        store_id=store_id.decode(errors="replace"),
        files=(snapshot, *log.files),
        log_from_s=log.from_s,
        log_to_s=log.to_s,
        log_reason=log.reason,
    )


async def _pin_log(source: _Source) -> _Log:
    before = await read_info(source.connection, "persistence")
    log = await asyncio.to_thread(source.open_log)
    if not log.files or log.from_s is None:
        return log
    to_s = await source.second() - 1
    is_free = before["aof_rewrite_in_progress"] == before["aof_rewrite_scheduled"] == "0"
    if not is_free or not await source.begin_log_anew(int(before["aof_rewrites"])):
        log = await asyncio.to_thread(source.open_log)
        to_s = await source.second() - LOG_LAG_S
    if log.from_s is None or to_s < log.from_s:
        return _Log((), reason="its append-only file was begun a moment before")
    files = tuple(each._replace(size=os.fstat(each.file.fileno()).st_size) for each in log.files)
    return _Log(files, log.from_s, to_s)


async def _settings(connection: RedisConnection, address: RedisAddress) -> dict[str, str]:
    try:
        flat = cast("list[bytes]", await ask(connection, "CONFIG", "GET", *SETTINGS))
    except RedisError as error:
        if not is_reply(error):
            raise
        raise StorageMisconfigured(
            f"the store {address} does not tell where its files are (CONFIG GET is forbidden)",
            hint="use the backups of its host, or allow the user CONFIG|GET and BGSAVE",
        ) from error
    texts = [entry.decode(errors="surrogateescape") for entry in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))
