"""Copies every key of one Valkey or Redis into another: values, lists and expiries."""

from collections.abc import Sequence
from typing import Final, cast

from realmkeep.clock import Clock
from realmkeep.storage.redis_connection import (
    BROKEN,
    RedisConnection,
    ask,
    make_connection,
    safe_cause,
    safe_storage_error,
)
from realmkeep.storage.redis_url import RedisAddress

PAGE_KEYS: Final = 200
COPY_S_MAX: Final = 4 * 3600.0


async def copy_contents(source: RedisAddress, target: RedisAddress, clock: Clock) -> int:
    """Copy every key, and return their number. Neither store may have another user; the target has none of these keys.

    Values and lists are written with commands that every version knows; another type is copied as the engine dumps it. The
    target's prefix is put before each key.

    Args:
        source: The store to read.
        target: The store to write.
        clock: The clock.

    Raises:
        StorageError: A store cannot be reached, or refused a write; the target is incomplete.
    """
    reading, writing = make_connection(source), make_connection(target)
    copied = 0
    at = source
    try:
        async with clock.timeout(COPY_S_MAX):
            await reading.connect()
            at = target
            await writing.connect()
            cursor: bytes | int = b"0"
            while True:
                at = source
                cursor, found = cast(
                    "tuple[bytes, list[bytes]]", await ask(reading, "SCAN", cursor, "COUNT", PAGE_KEYS)
                )
                commands = await _read(reading, sorted(set(found)), target.prefix.encode())
                at = target
                await _ask_all(writing, commands)
                copied += len(commands)
                if cursor == b"0":
                    return copied
    except (*BROKEN, TimeoutError) as error:
        raise safe_storage_error(error, at, sent=False) from safe_cause(error, at)
    finally:
        await reading.disconnect(nowait=True)
        await writing.disconnect(nowait=True)


async def _read(connection: RedisConnection, found: Sequence[bytes], prefix: bytes) -> list[Sequence[bytes | int]]:
    """The commands that write these keys again, with a prefix before each."""
    types = cast("list[bytes]", await _ask_all(connection, [("TYPE", key) for key in found]))
    lasts = cast("list[int]", await _ask_all(connection, [("PEXPIRETIME", key) for key in found]))
    reads = {b"string": ("GET",), b"list": ("LRANGE", 0, -1)}
    asked = [
        (reads.get(type_, ("DUMP",))[0], key, *reads.get(type_, ("DUMP",))[1:])
        for key, type_ in zip(found, types, strict=True)
    ]
    values = await _ask_all(connection, asked)
    commands: list[Sequence[bytes | int]] = []
    for key, type_, until_ms, value in zip(found, types, lasts, values, strict=True):
        if value is None or value == []:  # it expired meanwhile
            continue
        copied = prefix + key
        if type_ == b"string":
            commands.append((b"SET", copied, cast("bytes", value)))
        elif type_ == b"list":
            commands.append((b"RPUSH", copied, *cast("list[bytes]", value)))
        else:
            commands.append((b"RESTORE", copied, 0, cast("bytes", value)))
        if until_ms > 0:
            commands.append((b"PEXPIREAT", copied, until_ms))
    return commands


async def _ask_all(connection: RedisConnection, commands: Sequence[Sequence[str | bytes | int]]) -> list[object]:
    for command in commands:
        await connection.send_command(*command)
    return [await connection.read_response() for _ in commands]
