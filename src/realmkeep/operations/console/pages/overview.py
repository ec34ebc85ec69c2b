"""The overview: promises that do not hold, figures, charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.responses import JSONResponse

from realmkeep.operations.status.figures import Attention, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit
    from realmkeep.operations.status.report import StatusReport

WORDS: Final = {Attention.NONE: "ok", Attention.WARNING: "warning", Attention.CRITICAL: "critical"}
TITLES: Final = {
    "oldest": "Oldest unsaved change",
    "dirty": "Unsaved records",
    "frozen": "Frozen records",
    "commits": "Commits",
    "commit": "Commit duration",
    "round trip": "Store round trip",
    "flush": "Flush duration",
    "loop": "Event loop lateness",
    "tick": "Tick lateness",
    "queue": "Write queue",
    "store": "Store",
    "memory": "Store memory",
    "lease": "Lease",
}


class Tile(NamedTuple):
    """A figure of the overview: its title, its words, and a grade as word and colour."""

    title: str
    text: str
    grade: str


def tiles_of(report: StatusReport, before: StatusReport | None) -> Iterator[Tile]:
    """The tiles of a report; the grave ones first."""
    found = [
        Tile(TITLES.get(line.name, f"Live: {line.name}"), line.text.replace("<=", "≤"), WORDS[line.attention])
        for line in lines(report, before)
    ]
    yield from sorted(found, key=lambda tile: ("critical", "warning", "ok").index(tile.grade))


async def show_overview(visit: Visit) -> Response:
    """The page."""
    return visit.render("overview.html", title="Overview", **_present(visit))


async def show_tiles(visit: Visit) -> Response:
    """The part of the page that is asked for every two seconds."""
    return visit.render("tiles.html", **_present(visit))


async def send_series(visit: Visit) -> Response:
    """The figures of the charts, as JSON."""
    return JSONResponse(visit.desk.history.series())


def _present(visit: Visit) -> dict[str, Any]:
    report, before = visit.desk.history.present()
    return {"report": report, "tiles": list(tiles_of(report, before))}
