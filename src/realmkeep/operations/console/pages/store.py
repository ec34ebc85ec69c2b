"""The store: its promise, its vital signs, its slow commands, and on request the sizes of its values and doctor's findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from realmkeep.errors import ActRefused
from realmkeep.operations.backup.moments import show_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {"sizes": ("store", "sizes"), "doctor": ("doctor",)}
SLOW_SHOWN: Final = 16
FACTS: Final = {
    "uptime_in_seconds": "Up",
    "connected_clients": "Clients",
    "instantaneous_ops_per_sec": "Commands a second",
    "used_memory_human": "Memory",
    "maxmemory_human": "Memory limit",
    "mem_fragmentation_ratio": "Fragmentation",
    "aof_enabled": "Append-only file",
    "aof_current_size": "Its size",
    "aof_last_write_status": "Its last write",
    "aof_last_bgrewrite_status": "Its last rewrite",
    "rdb_last_bgsave_status": "Last snapshot",
    "evicted_keys": "Evicted keys",
    "rejected_connections": "Rejected connections",
}


@runtime_checkable
class _Asked(Protocol):
    async def info(self, *sections: str) -> Mapping[str, str]: ...

    async def slow_log(self, count: int) -> list[tuple[int, int, str]]: ...


async def show_store(visit: Visit) -> Response:
    """The page.

    Raises:
        StorageError: The store cannot be reached.
    """
    storage = visit.desk.engine.storage
    info: Mapping[str, str] = {}
    slow: list[tuple[int, int, str]] = []
    if isinstance(storage, _Asked):
        info = await storage.info("server", "clients", "memory", "persistence", "stats", "keyspace")
        slow = await storage.slow_log(SLOW_SHOWN)
    return visit.render(
        "store.html",
        title="Store",
        capability=storage.capability,
        facts=[(title, _shown(name, info[name])) for name, title in FACTS.items() if name in info],
        slow=slow,
        asked=isinstance(storage, _Asked),
        **_reports(visit),
    )


def _shown(name: str, value: str) -> str:
    match name:
        case "aof_enabled":
            return "on" if value == "1" else "off"
        case "uptime_in_seconds":
            return show_duration(float(value))
        case "aof_current_size":
            return f"{int(value) / 1_000_000:,.1f} MB"
        case _:
            return value


async def show_reports(visit: Visit) -> Response:
    """The part of the page that waits for reports."""
    return visit.render("store_reports.html", **_reports(visit))


async def start_report(visit: Visit) -> Response:
    """Start one of the reports.

    Raises:
        ActRefused: There is no such report.
    """
    command = COMMANDS.get(visit.request.path_params["report"])
    if command is None:
        raise ActRefused("there is no such report", hint="choose one of the page")
    visit.desk.reports.start(*command)
    return visit.redirect("/store")


def _reports(visit: Visit) -> dict[str, Any]:
    found = {name: visit.desk.reports.latest(*command) for name, command in COMMANDS.items()}
    return {**found, "running": any(each is not None and each.running for each in found.values())}
