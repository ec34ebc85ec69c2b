"""Mends findings of a live Valkey or Redis: `CONFIG SET`, then `CONFIG REWRITE` so that a restart keeps it."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from redis.exceptions import RedisError

from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import StorageUnavailable
from realmkeep.operations.doctor.findings import Finding
from realmkeep.storage.embedded import address_of
from realmkeep.storage.redis_capability import read_info
from realmkeep.storage.redis_connection import (
    BROKEN,
    RedisConnection,
    check_tls_files,
    make_connection,
    safe_cause,
    safe_storage_error,
)
from realmkeep.storage.redis_errors import is_reply
from realmkeep.storage.redis_url import parse_redis_url

REWRITE_S_MAX: Final = 600.0  # the first append-only file of 4 GB, on a slow disk
POLL_S: Final = 0.05


class Mended(msgspec.Struct, frozen=True):
    """The result for one finding.

    Attributes:
        finding: Its name.
        error: The store's reason for refusing the change; empty if it is mended.
    """

    finding: str
    error: str


class Mending(msgspec.Struct, frozen=True):
    """The result for one store.

    Attributes:
        mended: One result for each finding, in their order.
        kept: The changes hold after a restart, too.
        why_not: The reason, if they do not.
    """

    mended: tuple[Mended, ...]
    kept: bool
    why_not: str = ""


def mendable(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that `mend` can mend."""
    return [finding for finding in findings if finding.settings]


async def mend(url: str, findings: Sequence[Finding], *, clock: Clock | None = None) -> Mending:
    """Change the settings of a live store that mend findings; no key is touched.

    Each finding is mended wholly or not at all. If the append-only file is switched on, it returns when the file is
    complete, because until then the store does not keep its promise.

    Args:
        url: The URL of the store that was examined: `redis`, `rediss`, `redis+unix` or `embedded`.
        findings: Findings of that store, each with settings.
        clock: The clock; by default the machine's.

    Raises:
        ConfigError: The URL is malformed, or a file of a secret cannot be read.
        StorageUnavailable: The store does not answer, or does not complete its append-only file; some findings may be mended.
        StorageError: It answered with an error.
    """
    clock, parts = clock or SystemClock(), urlsplit(url)
    is_embedded = parts.scheme == "embedded"
    address = address_of(parts) if is_embedded else await asyncio.to_thread(parse_redis_url, parts)
    if address.tls:
        await asyncio.to_thread(check_tls_files, address)
    connection = make_connection(address)
    try:
        async with clock.timeout(REWRITE_S_MAX + address.timeout_s):
            await connection.connect()
            mended = [Mended(finding.name, await _set(connection, finding)) for finding in findings]
            await _until_appended(connection, clock)
            if is_embedded:
                return Mending(
                    tuple(mended), kept=False, why_not="the next start writes the configuration of Realmkeep"
                )
            refused = await _tried(connection, "CONFIG", "REWRITE")
            return Mending(tuple(mended), kept=not refused, why_not=refused)
    except TimeoutError as error:
        raise StorageUnavailable(
            f"the store {address} has not written its append-only file in time", hint="look at its log and its disk"
        ) from error
    except BROKEN as error:
        raise safe_storage_error(error, address, sent=True) from safe_cause(error, address)
    finally:
        await connection.disconnect(nowait=True)


async def _set(connection: RedisConnection, finding: Finding) -> str:
    return await _tried(connection, "CONFIG", "SET", *(word for setting in finding.settings for word in setting))


async def _tried(connection: RedisConnection, *command: str) -> str:
    """Send a command; return the store's reason for refusing it, empty if it did not."""
    await connection.send_command(*command)
    try:
        await connection.read_response(disconnect_on_error=False)
    except RedisError as error:
        if not is_reply(error):
            raise
        return str(error)
    return ""


async def _until_appended(connection: RedisConnection, clock: Clock) -> None:
    """Return when no rewrite of the append-only file runs or waits."""
    while True:
        info = await read_info(connection, "persistence")
        if {info.get("aof_rewrite_in_progress", "0"), info.get("aof_rewrite_scheduled", "0")} == {"0"}:
            return
        await clock.sleep(POLL_S)
