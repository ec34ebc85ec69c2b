"""`redis://`, `rediss://`, `redis+unix://`: one Redis or Valkey, 7.0 or later."""

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, cast
from urllib.parse import SplitResult

import msgspec
from redis.exceptions import RedisError

from realmkeep import keys as schema
from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import StorageError, StorageFull, StorageUnavailable
from realmkeep.storage.limits import (
    check_increment,
    check_key,
    check_keys,
    check_range,
    check_transactions,
    check_value,
)
from realmkeep.storage.patterns import compile_pattern, is_orphan
from realmkeep.storage.protocol import AnyTransaction, Capability, Failed, WriteOutcome
from realmkeep.storage.redis_capability import (
    info_number,
    info_text,
    is_forbidden,
    parse_info,
    read_capability,
    read_info,
)
from realmkeep.storage.redis_chunk import write_script
from realmkeep.storage.redis_connection import (
    BROKEN,
    RedisConnection,
    RedisPool,
    Reply,
    ask,
    check_tls_files,
    make_connection,
    safe_cause,
    safe_storage_error,
)
from realmkeep.storage.redis_errors import reply_code
from realmkeep.storage.redis_pipe import Redirect, RedisPipe
from realmkeep.storage.redis_sync import SyncOnNewRun
from realmkeep.storage.redis_url import RedisAddress, parse_redis_url
from realmkeep.storage.transact import wrong_type

log = logging.getLogger(__name__)

MGET_KEYS_MAX: Final = 1000  # read at one moment; more would hold up the store's other clients
SCAN_COUNT: Final = 1000  # takes about a millisecond of the store's time
SCANS_REMEMBERED: Final = 8  # a table that shrinks meanwhile shows keys of its last buckets again, and no others
KEYS_SLICE: Final = 32  # keys given out in one turn of the event loop, which their reader takes apart
BACKOFF_S_MIN: Final = 0.05
BACKOFF_S_MAX: Final = 5.0  # a store that is up again is used within this time
FSYNC_INTERVAL_S: Final = 1.0  # of everysec
FSYNC_POLL_S: Final = 0.02
FSYNC_SLACK_S: Final = 0.25  # the store's own timer runs ten times a second


class RedisStorage:
    """A `Storage` on one Redis or Valkey.

    `write` has a connection of its own (`RedisPipe`), all other calls share a small pool. No request is sent twice behind
    the caller's back, except one that the store did not execute because it had forgotten the script.

    Args:
        address: The store's address.
        clock: The clock; by default the machine's.
        rng: The jitter of the backoff, so that a hundred servers do not reconnect in one instant.
    """

    backoff_s_max: ClassVar[float] = BACKOFF_S_MAX

    def __init__(
        self,
        address: RedisAddress,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._address = address
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._prefix = address.prefix
        self._sync = SyncOnNewRun(address.prefix)
        self._pool = RedisPool(address, self._sync.sync_before_reading)
        self._pipe: RedisPipe | None = None
        self._capability: Capability | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._down: StorageError = self._not_connected()
        self._flushing: asyncio.Task[None] | None = None
        self._next_flush: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address} {'connected' if self._pipe else 'not connected'}>"

    @property
    def is_open(self) -> bool:
        """Whether `connect` was called and `disconnect` was not, even if the connection is broken now."""
        return self._pipe is not None or self._reconnecting is not None

    @property
    def capability(self) -> Capability:
        """The server's promises at the last connection."""
        if not self._capability:
            raise self._not_connected()
        return self._capability

    async def run_id(self) -> str:
        """Ask the server, since it may have been restarted since the last connection."""
        return info_text(await self._info("server"), "run_id")

    async def info(self, *sections: str) -> dict[str, str]:
        """Return the server's `INFO`; empty if its user may not call it.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        return parse_info(await self._info(*sections))

    async def _info(self, *sections: str) -> bytes:
        """As `info`, unread: a whole one takes longer to read than to ask for."""
        try:
            return cast("bytes", await self._ask("INFO", *sections))
        except StorageError as error:
            if is_forbidden(error.__cause__):
                return b""
            raise

    async def slow_log(self, count: int) -> list[tuple[int, int, str]]:
        """Return the server's slowest commands of late: time in s, duration in us, name. Empty if its user may not ask.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        try:
            entries = cast("list[list[Any]]", await self._ask("SLOWLOG", "GET", count))
        except StorageError as error:
            if is_forbidden(error.__cause__):
                return []
            raise
        return [(each[1], each[2], each[3][0].decode(errors="replace").upper()) for each in entries]

    async def connect(self) -> None:
        """Connect, wait while the store loads (within `connect_timeout_s`), check its promises, load the script."""
        if self.is_open:
            return
        deadline_s = self._clock.monotonic_s() + self._address.connect_timeout_s
        while True:
            try:
                await self._open()
            except StorageUnavailable as error:
                is_loading = bool(error.__cause__) and reply_code(error.__cause__) == "LOADING"
                if not is_loading or self._clock.monotonic_s() >= deadline_s:
                    raise
                await self._clock.sleep(BACKOFF_S_MIN)
            else:
                return

    async def disconnect(self) -> None:
        """Wait until all accepted calls are answered, then close."""
        await asyncio.gather(*filter(None, (self._flushing, self._next_flush)), return_exceptions=True)
        if self._reconnecting:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
            self._reconnecting = None
        pipe, self._pipe = self._pipe, None
        self._down = self._not_connected()
        try:
            if pipe:
                await pipe.drain()
                await pipe.close()
        finally:
            self._capability = None
            await self._pool.close()

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """Apply transactions in order."""
        if not self._pipe:
            check_transactions(transactions)
            return [Failed(self._down) for _ in transactions]
        return await self._pipe.write(transactions)

    async def load(self, key: str) -> bytes | None:
        """Return the value at `key`; None if the key is absent."""
        check_key(key)
        return cast("bytes | None", await self._ask("GET", self._prefix + key, subject=key))

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values at `keys`. MGET also returns nil for a list, so absent keys are checked again."""
        check_keys(keys)
        found: list[bytes | None] = []
        for start in range(0, len(keys), MGET_KEYS_MAX):
            some = keys[start : start + MGET_KEYS_MAX]
            values = cast(
                "list[bytes | None]", await self._ask("MGET", *[self._prefix + key for key in some], subject=some[0])
            )
            absent = [key for key, value in zip(some, values, strict=True) if value is None]
            if absent and await self._ask("EXISTS", *[self._prefix + key for key in absent], subject=absent[0]):
                for key in absent:
                    await self._ask("STRLEN", self._prefix + key, subject=key)  # raises for another type
            found += values
        return found

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """Return the entries of the list at `key`."""
        check_range(key, start, count)
        if count == 0:
            await self._ask("LLEN", self._prefix + key, subject=key)
            return []
        stop = -1 if count is None else start + count - 1
        return [*cast("list[bytes]", await self._ask("LRANGE", self._prefix + key, start, stop, subject=key))]

    async def expiries(self, keys: Sequence[str]) -> list[float | None]:
        """Return the seconds after which each of `keys` vanishes."""
        check_keys(keys)
        self._check_connected()
        wanted = [self._prefix + key for key in keys]
        async with self._pool.connection(changes=False, subject=keys[0] if keys else "") as connection:
            for key in wanted:
                await connection.send_command("PTTL", key)
            left_ms = [cast("int", await connection.read_response()) for _ in wanted]
        return [each / 1000 if each >= 0 else None for each in left_ms]

    async def exists(self, key: str) -> bool:
        """Whether `key` holds a value or a list."""
        check_key(key)
        return bool(await self._ask("EXISTS", self._prefix + key, subject=key))

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """Iterate over the keys that match, by SCAN.

        SCAN walks over the buckets of a table in an order that survives its growth. If the table shrinks, it begins a bucket anew
        into which the last ones were merged, so only the last answers are remembered, and not every key.
        Source: `dictScan` in dict.c of Redis, and `hashtableScan` in hashtable.c of Valkey.
        """
        matches = compile_pattern(pattern).fullmatch
        prefix = self._prefix.encode()
        synced = prefix + schema.SERVER_SYNCED.encode()  # written by SyncOnNewRun; it is not data
        recent: deque[set[bytes]] = deque(maxlen=SCANS_REMEMBERED)
        cursor = b"0"
        while True:
            cursor, batch = await self._ask("SCAN", cursor, "MATCH", self._prefix + _glob(pattern), "COUNT", SCAN_COUNT)
            seen = set(cast("list[bytes]", batch))
            fresh = seen.difference(*recent, (synced,))
            recent.append(seen)
            for position, raw in enumerate(fresh, 1):
                if position % KEYS_SLICE == 0:
                    await self._clock.sleep(0)
                try:
                    key = raw.removeprefix(prefix).decode()
                except UnicodeDecodeError:  # not a key of Realmkeep: those are text
                    continue
                if matches(key):
                    yield key
            if cursor == b"0":
                return

    async def increment(self, key: str, by: int = 1) -> int:
        """Add `by` to the number at `key`."""
        check_increment(key, by)
        try:
            return cast("int", await self._ask("INCRBY", self._prefix + key, by, changes=True, subject=key))
        except StorageError as error:
            said = str(error.__cause__)
            if "not an integer" in said:
                raise wrong_type(key, holds="something else", wanted="a whole number") from error
            if "would overflow" in said:
                raise wrong_type(
                    key, holds="a number", wanted=f"a number to which {by} can be added in 64 bits"
                ) from error
            raise

    async def save(self, key: str, value: bytes) -> None:
        """Stage the value and rename it over `key`, unless a list lies there."""
        check_key(key)
        check_value(key, value)
        self._check_connected()
        staged = schema.temp(key, now_us=self._clock.wall_us(), unique=secrets.token_hex(8))
        source, target = self._prefix + staged, self._prefix + key
        async with self._pool.connection(changes=True, subject=key) as connection:
            await _command(connection, "SET", source, value)
            while True:
                await _command(connection, "WATCH", target)
                kind = await _command(connection, "TYPE", target)
                if kind not in (b"none", b"string"):
                    await _command(connection, "UNWATCH")
                    await _command(connection, "DEL", source)
                    raise wrong_type(key, holds=f"a {kind.decode()}", wanted="a value")
                await _command(connection, "MULTI")
                await _command(connection, "RENAME", source, target)
                replies = cast("list[object] | None", await _command(connection, "EXEC"))
                if replies is None:  # another client changed the key after WATCH: check its type again
                    continue
                if isinstance(replies[0], RedisError):
                    raise replies[0]
                return

    async def delete(self, key: str) -> bool:
        """Remove `key`."""
        check_key(key)
        return bool(await self._ask("DEL", self._prefix + key, changes=True, subject=key))

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """Delete orphaned staged values."""
        now_us = self._clock.wall_us()
        swept = 0
        async for key in self.keys("temp:*"):
            if is_orphan(key, now_us=now_us, older_than_s=older_than_s):
                swept += cast("int", await self._ask("UNLINK", self._prefix + key, changes=True, subject=key))
        return swept

    async def flush(self) -> None:
        """Return when all accepted calls are answered and, with `everysec`, a later fsync has ended.

        With `always`, every answer came after its fsync. `WAITAOF` is of no use: under `everysec` it returned without an
        fsync. A store that never fsyncs (`no`, `off`) cannot be made to. Calls during a running flush share the next one.
        """
        self._check_connected()
        if self._next_flush is None:
            self._next_flush = asyncio.create_task(self._flush_after(self._flushing))
            self._next_flush.add_done_callback(_consume_exception)
        await asyncio.shield(self._next_flush)

    async def _flush_after(self, former: asyncio.Task[None] | None) -> None:
        if former is not None:
            await asyncio.wait([former])
        self._flushing, self._next_flush = self._next_flush, None  # a later caller may have written after this point
        if self._pipe:
            await self._pipe.drain()
        async with self._pool.connection(changes=False) as connection:
            capability = self._capability = await self._whole_capability(connection)
            if capability.fsync == "everysec":
                await self._wait_for_fsync(connection)

    async def snapshot(self) -> None:
        """Start a BGSAVE, or schedule it after a rewrite under way; a snapshot under way counts.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        try:
            await self._ask("BGSAVE", "SCHEDULE")
        except StorageError as error:
            if "already in progress" not in str(error.__cause__):
                raise

    async def _wait_for_fsync(self, connection: RedisConnection) -> None:
        """Poll the store's INFO until an fsync of all writes so far must be over.

        The store fsyncs in a thread, a second after the last fsync, unless one is running. So wait until its buffer is
        written and the thread idle, then for as long as the next fsync takes to begin, then until the thread is idle.
        """
        await self._wait_until_idle(connection)
        await self._clock.sleep(FSYNC_INTERVAL_S + FSYNC_SLACK_S)
        await self._wait_until_idle(connection)

    async def _wait_until_idle(self, connection: RedisConnection) -> None:
        while True:
            info = await read_info(connection, "persistence")
            if info.get("aof_last_write_status", "ok") != "ok":
                raise StorageFull(f"the store {self._address} cannot write to its disk", hint="see the store's log")
            if not info_number(info, "aof_pending_bio_fsync") and not info_number(info, "aof_buffer_length"):
                return
            await self._clock.sleep(FSYNC_POLL_S)

    async def _ask(self, *command: str | bytes | int, changes: bool = False, subject: str = "") -> Reply:
        self._check_connected()
        ask = self._pool.change if changes else self._pool.read
        return await ask(*command, subject=subject)

    async def _read_capability(self, connection: RedisConnection) -> Capability:
        """Read the promises of the server. Only a backend of several servers overrides this."""
        return await read_capability(connection, str(self._address))

    async def _whole_capability(self, connection: RedisConnection) -> Capability:
        """The promises of the server, and warnings of how others can reach it."""
        capability = await self._read_capability(connection)
        warnings = (*capability.warnings, *map(str, self._address.exposures()))
        return msgspec.structs.replace(capability, warnings=warnings)

    async def _before_opening(self) -> None:
        """Start the store if it is not running, or find it. Only a backend with more than an address overrides this."""

    async def _before_writing(self, connection: RedisConnection) -> None:
        """Prepare for the writes over a new connection. Only a backend of several servers overrides this."""

    def _redirection(self) -> Redirect | None:
        """Follows a MOVED, in a cluster."""
        return None

    async def _open(self) -> None:
        await self._before_opening()
        script = await asyncio.to_thread(write_script)
        if self._address.tls:
            await asyncio.to_thread(check_tls_files, self._address)
        connection = make_connection(self._address)
        try:
            async with self._clock.timeout(self._address.connect_timeout_s):
                await connection.connect()
                capability = await self._whole_capability(connection)
                script_sha = cast("bytes", await ask(connection, "SCRIPT", "LOAD", script))
                await ask(
                    connection, "EVALSHA", script_sha, 0, "", 0, 0, 0, 0, 0
                )  # an ACL may allow SCRIPT but not EVALSHA
                await self._sync.sync_before_reading(connection)
                await self._before_writing(connection)
        except (*BROKEN, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            raise safe_storage_error(error, self._address, sent=False) from safe_cause(error, self._address)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._capability = capability
        self._pipe = RedisPipe(
            connection,
            script=script,
            script_sha=script_sha,
            address=self._address,
            clock=self._clock,
            on_broken=self._on_broken,
            redirect=self._redirection(),
        )

    def _on_broken(self, reason: StorageError) -> None:
        pipe, self._pipe, self._down = self._pipe, None, reason
        if pipe:
            self._reconnecting = asyncio.create_task(self._reconnect(pipe))

    async def _reconnect(self, broken: RedisPipe) -> None:
        with suppress(Exception):  # a broken pipe without users may fail to close
            await broken.close()
        backoff_s = BACKOFF_S_MIN
        while True:
            try:
                await self._open()
            except Exception as error:  # noqa: BLE001 - callers get the error, and the next attempt follows
                self._down = self._down_error(error)
                await self._clock.sleep(self._rng.uniform(BACKOFF_S_MIN, backoff_s))
                backoff_s = min(2 * backoff_s, self.backoff_s_max)
            else:
                self._reconnecting = None
                return

    def _down_error(self, error: Exception) -> StorageError:
        """Return the error that callers get until the store is back."""
        if isinstance(error, StorageError):
            return error
        log.error("the store %s cannot be connected again", self._address, exc_info=error)
        return StorageUnavailable(f"the store {self._address} cannot be connected again: {error!r}", hint="report it")

    def _check_connected(self) -> None:
        if not self._pipe:
            raise type(self._down)(self._down.message, hint=self._down.hint) from self._down

    def _not_connected(self) -> StorageUnavailable:
        return StorageUnavailable(f"the store {self._address} is not connected", hint="await storage.connect() first")


def _consume_exception(flush: asyncio.Task[None]) -> None:
    if not flush.cancelled():
        flush.exception()  # callers that waited have the error; asyncio would log it if there were none


async def _command(connection: RedisConnection, *command: str | bytes | int) -> Reply:
    await connection.send_command(*command)
    return await connection.read_response()


def _glob(pattern: str) -> str:
    """Widen `pattern` for MATCH: its `?` matches one byte, so `*` is sent and `compile_pattern` decides."""
    pieces: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            pieces.append("\\" + next(characters, "\\"))
        elif character in "[]^":
            pieces.append("\\" + character)
        else:
            pieces.append("*" if character == "?" else character)
    return "".join(pieces)


def open_url(url: SplitResult, clock: Clock) -> RedisStorage:
    """Open a `redis://`, `rediss://` or `redis+unix://` URL.

    Raises:
        ConfigError: A part of the URL is missing, malformed or unknown.
    """
    return RedisStorage(parse_redis_url(url), clock=clock)
