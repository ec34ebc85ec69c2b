"""`redis://`, `rediss://`, `redis+unix://`: one Redis or Valkey, 7.0 or later."""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final, cast
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
from realmkeep.storage.protocol import Capability, Failed, Transaction, WriteOutcome
from realmkeep.storage.redis_capability import counted, read_capability, read_info
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
    translated,
)
from realmkeep.storage.redis_errors import reply_code
from realmkeep.storage.redis_pipe import RedisPipe
from realmkeep.storage.redis_sync import RunSync
from realmkeep.storage.redis_url import RedisAddress, parse_redis_url
from realmkeep.storage.transact import wrong_type

log = logging.getLogger(__name__)

MGET_KEYS_MAX: Final = 1000  # read at one moment; more would hold the store for its other clients
SCAN_COUNT: Final = 1000  # about a millisecond of the store's time
BACKOFF_S_MIN: Final = 0.05
BACKOFF_S_MAX: Final = 5.0  # a store that is back is used within this
FSYNC_INTERVAL_S: Final = 1.0  # of everysec
FSYNC_POLL_S: Final = 0.02
FSYNC_SLACK_S: Final = 0.25  # the store's own timer runs ten times a second


class RedisStorage:
    """A `Storage` on one Redis or Valkey.

    `write` goes through one connection of its own (`RedisPipe`), everything else through a small pool. Nothing is ever
    sent twice behind the caller's back, except what the store says it has not executed because it forgot the script.

    Args:
        address: Where it is.
        clock: Time; the machine's own without it.
        rng: Jitter of the backoff, so that a hundred servers do not come back in one instant.
    """

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
        self._sync = RunSync()
        self._pool = RedisPool(address, self._sync.begin)
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
        """Whether `connect` was called and `disconnect` was not; the connection may be broken meanwhile."""
        return self._pipe is not None or self._reconnecting is not None

    @property
    def capability(self) -> Capability:
        """What the server promised when it was connected last."""
        if not self._capability:
            raise self._not_connected()
        warnings = (*self._capability.warnings, *self._address.exposures())
        return msgspec.structs.replace(self._capability, warnings=warnings)

    async def run_id(self) -> str:
        """As the server at the other end gives it, which is not asked what it was at the last connection."""
        self._check_connected()
        async with self._pool.connection(changes=False) as connection:
            return (await read_info(connection, "server")).get("run_id", "")

    async def connect(self) -> None:
        """Connect, wait while it loads (within `connect_timeout_s`), check what it can promise, load the script."""
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
        """Wait until what was accepted is answered, then close."""
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

    async def write(self, transactions: Sequence[Transaction]) -> list[WriteOutcome]:
        """Apply transactions in order."""
        if not self._pipe:
            check_transactions(transactions)
            return [Failed(self._down) for _ in transactions]
        return await self._pipe.write(transactions)

    async def load(self, key: str) -> bytes | None:
        """The value at `key`; None if nothing lies there."""
        check_key(key)
        return cast("bytes | None", await self._ask("GET", key, subject=key))

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values at `keys`; MGET says nil for a list, so what is absent is looked at again."""
        check_keys(keys)
        found: list[bytes | None] = []
        for start in range(0, len(keys), MGET_KEYS_MAX):
            some = keys[start : start + MGET_KEYS_MAX]
            values = cast("list[bytes | None]", await self._ask("MGET", *some, subject=some[0]))
            absent = [key for key, value in zip(some, values, strict=True) if value is None]
            if absent and await self._ask("EXISTS", *absent, subject=absent[0]):
                for key in absent:
                    await self._ask("STRLEN", key, subject=key)  # raises for another type
            found += values
        return found

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """The entries of the list at `key`."""
        check_range(key, start, count)
        if count == 0:
            await self._ask("LLEN", key, subject=key)
            return []
        stop = -1 if count is None else start + count - 1
        return cast("list[bytes]", await self._ask("LRANGE", key, start, stop, subject=key))

    async def exists(self, key: str) -> bool:
        """Whether anything lies at `key`."""
        check_key(key)
        return bool(await self._ask("EXISTS", key, subject=key))

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """The keys that match, by SCAN."""
        matches = compile_pattern(pattern).fullmatch
        seen = {schema.SERVER_SYNCED.encode()}  # the connections' own, and nobody's data
        cursor = b"0"
        while True:
            cursor, batch = await self._ask("SCAN", cursor, "MATCH", _glob(pattern), "COUNT", SCAN_COUNT)
            for raw in cast("list[bytes]", batch):
                if raw in seen:
                    continue
                seen.add(raw)
                try:
                    key = raw.decode()
                except UnicodeDecodeError:  # not a key of ours: ours are text
                    continue
                if matches(key):
                    yield key
            if cursor == b"0":
                return

    async def increment(self, key: str, by: int = 1) -> int:
        """Add `by` to the number at `key`."""
        check_increment(key, by)
        try:
            return cast("int", await self._ask("INCRBY", key, by, changes=True, subject=key))
        except StorageError as error:
            said = str(error.__cause__)
            if "not an integer" in said:
                raise wrong_type(key, holds="something else", wanted="a whole number") from error
            if "would overflow" in said:
                raise wrong_type(key, holds="a number", wanted=f"one that {by} can be added to in 64 bits") from error
            raise

    async def save(self, key: str, value: bytes) -> None:
        """Stage the value and rename it over `key`, unless a list lies there."""
        check_key(key)
        check_value(key, value)
        self._check_connected()
        staged = schema.temp(key, now_us=self._clock.wall_us(), unique=secrets.token_hex(8))
        async with self._pool.connection(changes=True, subject=key) as connection:
            await _command(connection, "SET", staged, value)
            while True:
                await _command(connection, "WATCH", key)
                kind = await _command(connection, "TYPE", key)
                if kind not in (b"none", b"string"):
                    await _command(connection, "UNWATCH")
                    await _command(connection, "DEL", staged)
                    raise wrong_type(key, holds=f"a {kind.decode()}", wanted="a value")
                await _command(connection, "MULTI")
                await _command(connection, "RENAME", staged, key)
                replies = cast("list[object] | None", await _command(connection, "EXEC"))
                if replies is None:  # somebody else changed it meanwhile: look at it again
                    continue
                if isinstance(replies[0], RedisError):
                    raise replies[0]
                return

    async def delete(self, key: str) -> bool:
        """Remove `key`."""
        check_key(key)
        return bool(await self._ask("DEL", key, changes=True, subject=key))

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """Delete orphans of staging."""
        now_us = self._clock.wall_us()
        swept = 0
        async for key in self.keys("temp:*"):
            if is_orphan(key, now_us=now_us, older_than_s=older_than_s):
                swept += cast("int", await self._ask("UNLINK", key, changes=True, subject=key))
        return swept

    async def flush(self) -> None:
        """Return when everything accepted is answered and, with `everysec`, an fsync that began later has ended.

        With `always` every answer came after its fsync. `WAITAOF` is not asked: under `everysec` it returned without an
        fsync. A store that never fsyncs (`no`, `off`) makes nothing more durable on request. Calls that come while one waits
        share the next.
        """
        self._check_connected()
        if self._next_flush is None:
            self._next_flush = asyncio.create_task(self._flush_after(self._flushing))
            self._next_flush.add_done_callback(_take_notice)
        await asyncio.shield(self._next_flush)

    async def _flush_after(self, former: asyncio.Task[None] | None) -> None:
        if former is not None:
            await asyncio.wait([former])
        self._flushing, self._next_flush = self._next_flush, None  # whoever comes from now on may have written later
        if self._pipe:
            await self._pipe.drain()
        async with self._pool.connection(changes=False) as connection:
            capability = await read_capability(connection, str(self._address))
            self._capability = capability
            if capability.fsync == "everysec":
                await self._wait_for_fsync(connection)

    async def snapshot(self) -> None:
        """Start a BGSAVE, or one after the rewrite that is under way; a snapshot under way is good enough.

        Raises:
            StorageUnavailable: It cannot be reached.
        """
        try:
            await self._ask("BGSAVE", "SCHEDULE")
        except StorageError as error:
            if "already in progress" not in str(error.__cause__):
                raise

    async def _wait_for_fsync(self, connection: RedisConnection) -> None:
        """Watch what the store says of itself until an fsync of everything written so far must be over.

        It fsyncs in a thread, a second after the last one, unless one is running. So: see the buffer written and the
        thread idle; wait until it must have begun once more; see it idle again.
        """
        await self._wait_until_idle(connection)
        await self._clock.sleep(FSYNC_INTERVAL_S + FSYNC_SLACK_S)
        await self._wait_until_idle(connection)

    async def _wait_until_idle(self, connection: RedisConnection) -> None:
        while True:
            info = await read_info(connection, "persistence")
            if info.get("aof_last_write_status", "ok") != "ok":
                raise StorageFull(f"the store {self._address} cannot write to its disk", hint="its log says why")
            if not counted(info, "aof_pending_bio_fsync") and not counted(info, "aof_buffer_length"):
                return
            await self._clock.sleep(FSYNC_POLL_S)

    async def _ask(self, *command: str | bytes | int, changes: bool = False, subject: str = "") -> Reply:
        self._check_connected()
        return await self._pool.ask(*command, changes=changes, subject=subject)

    async def _revive(self) -> None:
        """What may have to be done before the store can be reached; nothing, where somebody else runs it."""

    async def _open(self) -> None:
        await self._revive()
        script = await asyncio.to_thread(write_script)
        if self._address.tls:
            await asyncio.to_thread(check_tls_files, self._address)
        connection = make_connection(self._address)
        try:
            async with self._clock.timeout(self._address.connect_timeout_s):
                await connection.connect()
                capability = await read_capability(connection, str(self._address))
                script_sha = cast("bytes", await ask(connection, "SCRIPT", "LOAD", script))
                await ask(connection, "EVALSHA", script_sha, 0, "", 0, 0, 0)  # a user may load and still not run it
                await self._sync.begin(connection)
        except (*BROKEN, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            raise translated(error, self._address, sent=False) from safe_cause(error, self._address)
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
        )

    def _on_broken(self, reason: StorageError) -> None:
        pipe, self._pipe, self._down = self._pipe, None, reason
        if pipe:
            self._reconnecting = asyncio.create_task(self._reconnect(pipe))

    async def _reconnect(self, broken: RedisPipe) -> None:
        with suppress(Exception):  # it is broken, and nobody uses it any more
            await broken.close()
        backoff_s = BACKOFF_S_MIN
        while True:
            try:
                await self._open()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and the next attempt is made
                self._down = self._still_down(error)
                await self._clock.sleep(self._rng.uniform(BACKOFF_S_MIN, backoff_s))
                backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)
            else:
                self._reconnecting = None
                return

    def _still_down(self, error: Exception) -> StorageError:
        """What callers hear until the store is back."""
        if isinstance(error, StorageError):
            return error
        log.error("the store %s cannot be connected again", self._address, exc_info=error)
        return StorageUnavailable(f"the store {self._address} cannot be connected again: {error!r}", hint="report it")

    def _check_connected(self) -> None:
        if not self._pipe:
            raise type(self._down)(self._down.message, hint=self._down.hint) from self._down

    def _not_connected(self) -> StorageUnavailable:
        return StorageUnavailable(f"the store {self._address} is not connected", hint="await storage.connect() first")


def _take_notice(flush: asyncio.Task[None]) -> None:
    if not flush.cancelled():
        flush.exception()  # those who waited have it; if they have gone, nobody needs it


async def _command(connection: RedisConnection, *command: str | bytes | int) -> Reply:
    await connection.send_command(*command)
    return await connection.read_response()


def _glob(pattern: str) -> str:
    """`pattern` for MATCH: `?` counts bytes there, so it asks for more and `compile_pattern` decides."""
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
    """The store of a `redis://`, `rediss://` or `redis+unix://` URL.

    Raises:
        ConfigError: A part of the URL is missing, malformed or unknown.
    """
    return RedisStorage(parse_redis_url(url), clock=clock)
