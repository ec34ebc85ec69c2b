"""The settings of a Redis or Valkey that weaken or break its promise: warned of at the connection, and told by doctor."""

from collections.abc import Iterator, Mapping
from typing import Final

from realmkeep.storage.limits import whole_number
from realmkeep.storage.store_fault import StoreFault

FSYNC_POLICIES: Final = frozenset({"always", "everysec", "no"})


def set_line(*settings: tuple[str, str]) -> str:
    """Return the line that changes settings of a live store, and keeps them after a restart."""
    words = " ".join(
        f'{name} "{value}"' if " " in value or not value else f"{name} {value}" for name, value in settings
    )
    return f"CONFIG SET {words}, then CONFIG REWRITE"


def fsync_policy(settings: Mapping[str, str], info: Mapping[str, str]) -> str:
    """Return `always`, `everysec`, `no`, `off` (no append-only file) or `unknown`.

    Args:
        settings: The answer to CONFIG GET; empty if the store forbids it.
        info: The answer to INFO; empty if the store forbids it.
    """
    is_on = settings.get("appendonly", {"1": "yes", "0": "no"}.get(info.get("aof_enabled", ""), ""))
    if is_on == "no":
        return "off"
    policy = settings.get("appendfsync", "unknown")
    return policy if policy in FSYNC_POLICIES else "unknown"


def store_faults(settings: Mapping[str, str] | None, info: Mapping[str, str]) -> Iterator[StoreFault]:
    """Yield the faults of a store, refused ones first.

    Args:
        settings: The answer to CONFIG GET; None if the store forbids it.
        info: The answer to INFO; empty if the store forbids it.
    """
    known = settings or {}
    yield from _refused(known, info)
    if settings is None:
        yield StoreFault(
            "config-forbidden",
            "the host forbids CONFIG GET",
            "its fsync setting is unknown, so nothing is promised",
            "ask the host for appendfsync always; let this user call CONFIG GET (ACL SETUSER <user> +config|get)",
        )
    if not info:
        yield StoreFault(
            "info-forbidden",
            "this user may not call INFO",
            "version, memory limit and role are unknown",
            "ACL SETUSER <user> +info",
        )
    yield from _durability(fsync_policy(known, info))
    yield from _memory(known, info)
    if known.get("stop-writes-on-bgsave-error") == "no":
        stop = ("stop-writes-on-bgsave-error", "yes")
        yield StoreFault(
            "snapshot-errors-ignored",
            "stop-writes-on-bgsave-error is no",
            "failed snapshots go unnoticed",
            set_line(stop),
            (stop,),
        )


def _refused(settings: Mapping[str, str], info: Mapping[str, str]) -> Iterator[StoreFault]:
    if settings.get("no-appendfsync-on-rewrite") == "yes" and settings.get("appendonly") == "yes":
        fsync = ("no-appendfsync-on-rewrite", "no")
        yield StoreFault(
            "rewrite-without-fsync",
            "no-appendfsync-on-rewrite yes",
            "it does not fsync while it rewrites its file",
            set_line(fsync),
            (fsync,),
            is_refused=True,
        )
    policy = settings.get("maxmemory-policy", info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction" and _maxmemory(settings, info) != 0:
        yield StoreFault(
            "eviction",
            f"maxmemory-policy {policy}",
            "it would delete players when memory is short",
            set_line(_NO_EVICTION),
            (_NO_EVICTION,),
            is_refused=True,
        )


def _durability(fsync: str) -> Iterator[StoreFault]:
    always = ("appendfsync", "always")
    if fsync == "off":
        on = ("appendonly", "yes")
        yield StoreFault(
            "append-only-off",
            "appendonly is no",
            "a crash of the store loses everything since its last snapshot",
            set_line(on, always),
            (on, always),
        )
    elif fsync == "no":
        yield StoreFault(
            "fsync-never",
            "appendfsync is no",
            "a power loss loses the writes that the system still buffers, often 30 s",
            set_line(always),
            (always,),
        )
    elif fsync == "everysec":
        yield StoreFault(
            "fsync-every-second",
            "appendfsync is everysec",
            "a crash of the store loses up to 2 s of committed writes",
            set_line(always),
            (always,),
        )


def _memory(settings: Mapping[str, str], info: Mapping[str, str]) -> Iterator[StoreFault]:
    if _maxmemory(settings, info) == 0:
        yield StoreFault(
            "no-memory-limit",
            "maxmemory is 0",
            "the store grows until the system kills it; set a limit below the machine's memory",
            set_line(("maxmemory", "4gb")),
        )
        if settings.get("maxmemory-policy", "noeviction") != "noeviction":
            yield StoreFault(
                "eviction-once-limited",
                "maxmemory-policy is not noeviction",
                "with a memory limit it would delete players",
                set_line(_NO_EVICTION),
                (_NO_EVICTION,),
            )


_NO_EVICTION: Final = ("maxmemory-policy", "noeviction")


def _maxmemory(settings: Mapping[str, str], info: Mapping[str, str]) -> int | None:
    return whole_number(settings.get("maxmemory", info.get("maxmemory", "")).encode())
