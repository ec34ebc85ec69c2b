"""The servers of the realm, by their leases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realmkeep import keys
from realmkeep.errors import Corrupt, InvalidKey
from realmkeep.keeping.ownership.lease import Lease
from realmkeep.operations.console.forms import asked
from realmkeep.storage import load_each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit
    from realmkeep.storage import Storage


async def show_servers(visit: Visit) -> Response:
    """Every server that lives, and the figures of this one.

    Raises:
        StorageError: The store cannot be reached.
    """
    desk, page = visit.desk, asked(visit)
    storage, own = desk.engine.storage, desk.keeper.name
    found = await desk.searches.page(("leases",), lambda: _leases(storage), page.number, anew=page.anew)
    names = sorted({own, *found.rows}) if page.number == 0 else found.rows
    report, _ = desk.history.present()
    return visit.render(
        "servers.html",
        title="Servers",
        rows=await _rows(visit, names),
        report=report,
        number=page.number,
        more=found.more,
        looking=found.looking,
    )


async def _leases(storage: Storage) -> AsyncIterator[str]:
    """The names of all servers with a lease."""
    async for key in storage.keys(keys.server_lease("*")):
        try:
            parsed = keys.parse(key)
        except InvalidKey:
            continue
        if parsed.role == "lease":
            yield parsed.id


async def _rows(visit: Visit, names: list[str]) -> list[dict[str, Any]]:
    desk, rows = visit.desk, list[dict[str, Any]]()
    now_us = desk.engine.clock.wall_us()
    at = [keys.server_lease(name) for name in names]
    for name, key, stored in zip(names, at, await load_each(desk.engine.storage, at), strict=True):
        try:
            lease = None if stored is None else Lease.decode(stored, key)
        except Corrupt as error:
            rows.append({"name": name, "lease": None, "trouble": error.message, "left_s": 0.0})
            continue
        left_s = 0.0 if lease is None else max(0.0, (lease.expires_us - now_us) / 1_000_000)
        trouble = "its lease has run out" if lease is None else ""
        rows.append({"name": name, "lease": lease, "trouble": trouble, "left_s": left_s})
    return rows
