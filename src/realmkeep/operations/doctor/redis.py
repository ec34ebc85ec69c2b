"""Examines a Valkey or Redis: its durability, its memory, its files, and the users that reach it."""

import asyncio
import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult

import msgspec

from realmkeep.clock import Clock
from realmkeep.operations.doctor.disk import (
    file_system_findings,
    fsync_findings,
    fsync_median_s,
    room_findings,
)
from realmkeep.operations.doctor.findings import Examined, Finding, Grade
from realmkeep.operations.doctor.machine import Machine, memory_findings, store_findings
from realmkeep.operations.doctor.redis_facts import RedisFacts, read_facts
from realmkeep.storage.redis_capability import capability_of
from realmkeep.storage.redis_faults import set_line, store_faults
from realmkeep.storage.redis_url import RedisAddress, parse_redis_url
from realmkeep.storage.store_fault import StoreFault

MEMORY_WARNING: Final = 0.7  # the specification's thresholds
MEMORY_DANGER: Final = 0.9
FRAGMENTATION_MAX: Final = 1.5
FRAGMENTED_BYTES_MIN: Final = 100 * 1024**2  # below it the engine's own overhead decides the ratio
LATENCY_MS: Final = 100  # the specification's critical write latency
SNAPSHOTS: Final = "300 1 60 1000"  # the specification's
DEFRAGMENT: Final = ("activedefrag", "yes")
GRADES: Final[dict[str, Grade]] = {
    "append-only-off": "danger",
    "fsync-never": "danger",
    "rewrite-without-fsync": "danger",
    "eviction": "danger",
    "not-encrypted": "danger",
}
REFUSED: Final = "nothing, because Realmkeep does not use it as it is"
NARROW: Final = "~* &* +@all -@admin -@dangerous +info +config|get +bgsave +lastsave"


async def examine(url: SplitResult, machine: Machine, clock: Clock, examined: Examined) -> None:
    """Examine the live server of a URL; nothing is changed.

    Raises:
        ConfigError: The URL is malformed, or a file of a secret cannot be read.
        StorageUnavailable: The server does not answer, is loading, or is a read-only replica.
        StorageMisconfigured: It refuses this user, is too old, or runs in cluster mode.
        StorageError: It answered with another error.
    """
    await examine_address(await asyncio.to_thread(parse_redis_url, url), machine, clock, examined)


async def examine_address(address: RedisAddress, machine: Machine, clock: Clock, examined: Examined) -> None:
    """Examine the live server at an address, as `examine` does.

    Raises:
        StorageUnavailable: The server does not answer, is loading, or is a read-only replica.
        StorageMisconfigured: It refuses this user, is too old, or runs in cluster mode.
        StorageError: It answered with another error.
    """
    await examine_facts(await read_facts(address, machine, clock), machine, clock, examined)


async def examine_facts(facts: RedisFacts, machine: Machine, clock: Clock, examined: Examined) -> None:
    """Examine a server by its answers, and its machine if it is this one."""
    examined.engine = facts.engine
    examined.promise = capability_of(facts.engine, facts.settings, facts.info).promise
    for find in (_durability, _snapshots, _memory, _reach, _diagnosis):
        examined.findings += find(facts)
    await asyncio.to_thread(_machine, facts, machine, clock, examined)


def _durability(facts: RedisFacts) -> Iterator[Finding]:
    for fault in store_faults(facts.settings, facts.info):
        finding = _from_fault(fault)
        if fault.name == "fsync-every-second":
            yield msgspec.structs.replace(
                finding,
                why=f"{fault.why}; WAITAOF proves nothing there: it returns without an fsync; and a wall clock that is set back"
                " stops every fsync until it has caught up",
            )
        else:
            yield finding
    if facts.info.get("aof_last_write_status", "ok") != "ok":
        yield Finding(
            "append-only-write-failed",
            "danger",
            "the last write to the append-only file failed",
            "the store refuses writes until one succeeds",
            f"make room in {facts.setting('dir')}, and look at the store's log",
            promise="what it has acknowledged, but it accepts no writes now",
        )
    if facts.info.get("aof_last_bgrewrite_status", "ok") != "ok":
        yield Finding(
            "rewrite-failed",
            "warning",
            "the last rewrite of the append-only file failed",
            "the file grows until the disk is full",
            f"make room in {facts.setting('dir')}, look at the store's log, then BGREWRITEAOF",
        )
    if facts.setting("appendonly") == "yes" and facts.setting("auto-aof-rewrite-percentage") == "0":
        yield _settable(
            "rewrites-off", "warning", "the append-only file is never rewritten", "it grows until the disk is full",
            ("auto-aof-rewrite-percentage", "100"),
        )  # fmt: skip
    if facts.settings is not None and not facts.info.get("config_file"):
        yield Finding(
            "no-configuration-file",
            "warning",
            "the store was started without a configuration file",
            "every setting that is changed at run time is lost when it restarts",
            "realmkeep store config > valkey.conf   and start it with that file",
        )


def _snapshots(facts: RedisFacts) -> Iterator[Finding]:
    if facts.info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Finding(
            "snapshot-failed",
            "danger",
            "the last snapshot failed",
            "there is nothing new to back up, and the store refuses writes while this lasts",
            f"look at the store's log and at {facts.setting('dir')}/{facts.setting('dbfilename')}, then BGSAVE",
        )
    if facts.settings is None:
        return
    if not facts.setting("save"):
        yield _settable(
            "snapshots-off", "advice", "the store makes no snapshots of itself",
            "a copy of its directory has no snapshot to restore from", ("save", SNAPSHOTS),
        )  # fmt: skip
    if facts.setting("rdbcompression") == "no":
        yield _settable(
            "snapshots-uncompressed", "advice", "rdbcompression is no",
            "snapshots and backups take several times the room", ("rdbcompression", "yes"),
        )  # fmt: skip


def _memory(facts: RedisFacts) -> Iterator[Finding]:
    used, limit = facts.number("used_memory") or 0, facts.number("maxmemory") or 0
    if limit and used > MEMORY_WARNING * limit:
        yield Finding(
            "memory-nearly-full",
            "danger" if used > MEMORY_DANGER * limit else "warning",
            f"the store uses {used / limit:.0%} of its maxmemory ({limit // 1024**2:,} MB)",
            "at 100% it refuses every write, and trades stop",
            set_line(("maxmemory", f"{2 * used // 1024**2 + 1}mb")) + ", if the machine has the memory",
        )
    if evicted := facts.number("evicted_keys"):
        yield Finding(
            "keys-were-evicted",
            "danger",
            f"the store has evicted {evicted:,} keys since its start",
            "each was a player's property, and is gone",
            "restore them from a backup (docs/restoring.md); set maxmemory-policy noeviction first",
        )
    ratio = (facts.number("used_memory_rss") or 0) / max(used, 1)
    allocator = facts.info.get("mem_allocator", "")
    if used > FRAGMENTED_BYTES_MIN and ratio > FRAGMENTATION_MAX and allocator.startswith("jemalloc"):
        yield Finding(
            "fragmented",
            "advice",
            f"the store takes {ratio:.1f} times the memory of its data",
            "the rest lies between the data, and the machine runs out of memory before maxmemory is reached",
            f"{set_line(DEFRAGMENT)}; a build without it: MEMORY PURGE, or start it again at a quiet hour",
            (DEFRAGMENT,),
        )


def _reach(facts: RedisFacts) -> Iterator[Finding]:
    if not facts.address.is_local and not facts.address.tls:
        yield from (_from_fault(fault) for fault in facts.address.exposures() if fault.name == "not-encrypted")
    if not facts.listens:
        return
    if facts.asks_no_password:
        yield _without_password(facts)
    elif facts.destructive:
        yield Finding(
            "acl-too-broad",
            "advice",
            f"the user {facts.user} may call {', '.join(facts.destructive)}",
            "a mistake in a console, or a stolen password, deletes every player",
            f"ACL SETUSER {facts.user} resetkeys resetchannels nocommands {NARROW}   and keep an admin beside it",
        )


def _without_password(facts: RedisFacts) -> Finding:
    port = facts.setting("tls-port") if facts.setting("port") == "0" else facts.setting("port")
    bound = [address.lstrip("-") for address in facts.setting("bind").split()] or ["*"]
    open_to_all = facts.setting("protected-mode") == "no" and not all(map(_is_loopback, bound))
    if open_to_all or (facts.settings is None and not facts.address.is_local):
        return Finding(
            "open-to-the-network",
            "danger",
            f"port {port or facts.address.port} is bound to {' '.join(bound)}, and asks for no password",
            "every host that reaches it can read and change everything",
            "bind 127.0.0.1, or a password: ACL SETUSER default >PASSWORD, in its configuration file too",
        )
    return Finding(
        "open-to-the-machine",
        "warning",
        f"port {port or facts.address.port} asks for no password",
        "every user and every program of this machine can read and change everything",
        "port 0 and a unix socket with unixsocketperm 700, or ACL SETUSER default >PASSWORD",
    )


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _diagnosis(facts: RedisFacts) -> Iterator[Finding]:
    if facts.setting("latency-monitor-threshold") == "0":
        yield _settable(
            "latency-monitor-off", "advice", "the store does not note its own slow moments",
            "after a slow moment LATENCY LATEST cannot tell whether a fork, an fsync or a command was slow",
            ("latency-monitor-threshold", str(LATENCY_MS)),
        )  # fmt: skip
    if facts.setting("appendonly") == "yes" and facts.setting("aof-timestamp-enabled") == "no":
        yield _settable(
            "no-timestamps", "advice", "the append-only file has no timestamps",
            "it cannot be restored to the second before a mistake", ("aof-timestamp-enabled", "yes"),
        )  # fmt: skip


def _machine(facts: RedisFacts, machine: Machine, clock: Clock, examined: Examined) -> None:
    """Examine the machine of the store, if it is this one. Blocks."""
    if not facts.is_here or not machine.is_linux:
        examined.unexamined.append("the machine of the store: it is not this one, or not a Linux; run doctor there")
        return
    backlog = facts.size("tcp-backlog") if facts.listens else 0
    process_id = facts.number("process_id")
    examined.findings += store_findings(machine, process_id, clients_max=facts.size("maxclients"), backlog=backlog)
    examined.findings += memory_findings(machine, facts.size("maxmemory"))
    if (directory := facts.directory) is None:
        examined.unexamined.append(f"the disk: {facts.setting('dir') or 'its directory'} cannot be seen by this user")
        return
    examined.findings += file_system_findings(machine, directory)
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        examined.unexamined.append(f"room and fsync: this user may not write in {directory}; run doctor as its owner")
        return
    examined.findings += room_findings(directory, facts.files_bytes)
    examined.findings += fsync_findings(fsync_median_s(directory, clock), directory)


def _from_fault(fault: StoreFault) -> Finding:
    return Finding(
        fault.name,
        GRADES.get(fault.name, "warning"),
        fault.what,
        fault.why,
        fault.mend,
        fault.settings,
        promise=REFUSED if fault.is_refused else "",
    )


def _settable(name: str, grade: Grade, what: str, why: str, setting: tuple[str, str]) -> Finding:
    return Finding(name, grade, what, why, set_line(setting), (setting,))
