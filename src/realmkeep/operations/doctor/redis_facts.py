"""Reads all that doctor has to know of a live Valkey or Redis; it changes nothing."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from redis.exceptions import RedisError

from realmkeep.clock import Clock
from realmkeep.errors import StorageUnavailable
from realmkeep.operations.doctor.machine import Machine
from realmkeep.storage.limits import whole_number
from realmkeep.storage.redis_capability import SETTINGS, check_server, info_number, read_info, read_settings
from realmkeep.storage.redis_connection import (
    BROKEN,
    RedisConnection,
    check_tls_files,
    make_connection,
    safe_cause,
    safe_storage_error,
)
from realmkeep.storage.redis_errors import is_reply
from realmkeep.storage.redis_url import RedisAddress

SECTIONS: Final = ("server", "clients", "replication", "persistence", "memory", "cluster", "stats")
MORE_SETTINGS: Final = (  # by their names: the answer to `*` has passwords in it
    "aof-timestamp-enabled",
    "auto-aof-rewrite-percentage",
    "bind",
    "cluster-replica-validity-factor",
    "cluster-require-full-coverage",
    "dbfilename",
    "dir",
    "latency-monitor-threshold",
    "maxclients",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "port",
    "protected-mode",
    "rdbcompression",
    "save",
    "tcp-backlog",
    "tls-port",
)
# Commands that a game server never sends: each destroys data, reads files, or opens the store to others.
DESTRUCTIVE: Final = (
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "SET", "dir", "/"),
    ("ACL", "SETUSER", "x"),
    ("REPLICAOF", "NO", "ONE"),
    ("SHUTDOWN",),
)


@dataclass(frozen=True)
class RedisFacts:
    """The answers of one server.

    Attributes:
        address: Its address.
        engine: Its name and version.
        info: The answer to INFO; empty if it is forbidden.
        settings: The answer to CONFIG GET; None if it is forbidden.
        user: The name of the ACL user of this connection; empty if it is forbidden to ask.
        destructive: Commands that this user may call, and that a game server never sends.
        asks_no_password: Whether a connection without a password may do anything.
        is_here: Whether its process is one of this machine.
        directory: Its directory, if it is on this machine and this process can see it.
    """

    address: RedisAddress
    engine: str
    info: Mapping[str, str]
    settings: Mapping[str, str] | None
    user: str
    destructive: tuple[str, ...]
    asks_no_password: bool
    is_here: bool
    directory: Path | None

    def number(self, name: str) -> int | None:
        """Return a number of `INFO`; None if it is missing."""
        return info_number(self.info, name)

    @property
    def files_bytes(self) -> int:
        """The size of the append-only file and the last snapshot. Blocks."""
        size = self.number("aof_current_size") or 0
        if self.directory is not None:
            with suppress(OSError):  # no snapshot yet
                size += (self.directory / self.setting("dbfilename")).stat().st_size
        return size

    def setting(self, name: str) -> str:
        """Return a setting; empty if it is unknown."""
        return (self.settings or {}).get(name, "")

    def size(self, name: str) -> int:
        """Return a setting that is a whole number; 0 if it is unknown."""
        return whole_number(self.setting(name).encode()) or 0

    @property
    def listens(self) -> bool:
        """Whether the server has a TCP port; a server that does not tell has one if this connection uses it."""
        if self.settings is None:
            return not self.address.socket_path
        return any(self.size(name) for name in ("port", "tls-port"))


async def read_facts(
    address: RedisAddress,
    machine: Machine,
    clock: Clock,
    *,
    check: Callable[[Mapping[str, str], str], str] = check_server,
) -> RedisFacts:
    """Ask a server for all facts, within the address's time limit.

    Args:
        address: The server.
        machine: This machine.
        clock: The clock.
        check: Returns the name and version of its engine, or raises.

    Raises:
        StorageUnavailable: It does not answer, is loading, or is a read-only replica.
        StorageMisconfigured: It refuses this user, is too old, or runs in cluster mode.
        StorageError: It answered with another error.
    """
    if address.tls:
        await asyncio.to_thread(check_tls_files, address)
    connection = make_connection(address)
    try:
        async with clock.timeout(address.timeout_s):
            await connection.connect()
            return await _ask_all(connection, address, machine, check)
    except (*BROKEN, TimeoutError) as error:
        raise safe_storage_error(error, address, sent=False) from safe_cause(error, address)
    finally:
        await connection.disconnect(nowait=True)


async def _ask_all(
    connection: RedisConnection,
    address: RedisAddress,
    machine: Machine,
    check: Callable[[Mapping[str, str], str], str],
) -> RedisFacts:
    info = await read_info(connection, *SECTIONS)
    if info.get("loading") == "1":  # PING would tell, too, but after a failed snapshot a server refuses it
        raise StorageUnavailable(f"the store {address} is loading its data", hint="run doctor again when it is done")
    engine = check(info, str(address))
    settings = await read_settings(connection, *SETTINGS, *MORE_SETTINGS)
    user = await _answer(connection, "ACL", "WHOAMI")
    name = user.decode(errors="replace") if isinstance(user, bytes) else ""
    allowed = [
        command
        for command in DESTRUCTIVE
        if name and await _answer(connection, "ACL", "DRYRUN", name, *command) == b"OK"
    ]
    is_here, directory = await asyncio.to_thread(_place, address, settings or {}, info, machine)
    return RedisFacts(
        address=address,
        engine=engine,
        info=info,
        settings=settings,
        user=name,
        destructive=tuple(" ".join(command[: 2 if command[0] in {"CONFIG", "ACL"} else 1]) for command in allowed),
        asks_no_password=_is_open(await _answer(connection, "ACL", "GETUSER", "default"), address),
        is_here=is_here,
        directory=directory,
    )


async def _answer(connection: RedisConnection, *command: str) -> object:
    """Return the reply to a command that this user may not call; None if it is an error."""
    await connection.send_command(*command)
    try:
        return await connection.read_response(disconnect_on_error=False)
    except RedisError as error:
        if not is_reply(error):
            raise
        return None


def _is_open(default_user: object, address: RedisAddress) -> bool:
    """Whether the user of connections without a password needs none; if the server does not tell: whether we need none."""
    if not isinstance(default_user, list):
        return not address.password
    flat = cast("list[object]", default_user)
    flags = dict(zip(flat[::2], flat[1::2], strict=False)).get(b"flags")
    return isinstance(flags, list) and {b"on", b"nopass"} <= {*cast("list[bytes]", flags)}


def _place(
    address: RedisAddress, settings: Mapping[str, str], info: Mapping[str, str], machine: Machine
) -> tuple[bool, Path | None]:
    """Return whether a process of this machine is the server, and its directory if this user can see it.

    A server in a container has other process ids, and other directories under the same names.
    """
    program = machine.program_of(info_number(info, "process_id"))
    is_here = address.is_local and ("valkey" in program or "redis" in program)
    if not is_here or not settings.get("dir"):
        return is_here, None
    try:
        directory = Path(settings["dir"]).resolve(strict=True)
    except OSError:  # this user may not see it
        return is_here, None
    return is_here, directory
