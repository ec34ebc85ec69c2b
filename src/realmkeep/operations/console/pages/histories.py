"""The history of a player, from the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from realmkeep import keys
from realmkeep.errors import Corrupt
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keeping.writing.journal_entries import (
    CommitEntry,
    GapEntry,
    JournalEntry,
    SnapshotEntry,
    decode_entry,
)
from realmkeep.operations.console.templates import plain
from realmkeep.operations.journal.sealing import ERASED
from realmkeep.operations.journal.segments import records_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.console.reports import Report
    from realmkeep.operations.console.visit import Visit

SHOWN_MAX: Final = 100
PAGE_ENTRIES: Final = 250
WAITING_MAX: Final = 20 * PAGE_ENTRIES  # looked at of those that wait for the archive
VALUE_CHARS_MAX: Final = 120


class Row(NamedTuple):
    """One entry for a reader.

    Attributes:
        at_us: Its time.
        server: The server that wrote it.
        what: The name of the commit's function, or the kind of a snapshot.
        reason: The reason that the commit gave.
        changes: The changed fields: name, before, after.
        waits: It still waits for the archive.
        place: Its place among the entries of its server: the run, and the number in it.
    """

    at_us: int
    server: str
    what: str
    reason: str
    changes: tuple[tuple[str, str, str], ...]
    waits: bool
    place: tuple[int, int]


async def show_history(visit: Visit) -> Response:
    """The page: it looks at the archive in a child process, and waits for it.

    Raises:
        ActRefused: There is no such player.
        StorageError: The store cannot be reached.
    """
    desk, player = visit.desk, visit.request.path_params["id"]
    at = keys_of(desk.players.record, await desk.acts.player_id(player))  # an erased one has no history
    if desk.engine.journal.is_on:
        desk.reports.start(*_command(at.record))
    return await _shown(visit, "history.html", at.record)


async def show_entries(visit: Visit) -> Response:
    """The part of the page that waits for the archive.

    Raises:
        ActRefused: There is no such player.
        StorageError: The store cannot be reached.
    """
    player = await visit.desk.acts.player_id(visit.request.path_params["id"])
    at = keys_of(visit.desk.players.record, player)
    return await _shown(visit, "history_entries.html", at.record)


def _command(key: str) -> tuple[str, ...]:
    return ("journal", "recent", key, "--count", str(SHOWN_MAX))


async def _shown(visit: Visit, template: str, key: str) -> Response:
    desk = visit.desk
    report = desk.reports.latest(*_command(key))
    rows = [*await _waiting(visit, key), *_archived(report, key)] if desk.engine.journal.is_on else []
    seen = {(row.server, row.place): row for row in rows}  # the archive's, where the store still has it
    return visit.render(
        template,
        title=f"History of {key}",
        player=visit.request.path_params["id"],
        enabled=desk.engine.journal.is_on,
        rows=sorted(seen.values(), key=lambda row: (row.at_us, row.place), reverse=True)[:SHOWN_MAX],
        report=report,
        running=report is not None and report.running,
    )


async def _waiting(visit: Visit, key: str) -> list[Row]:
    """The entries of this server's journal that wait for the archive; a minute's at most, unless the archive is away."""
    storage, server, quoted = visit.desk.engine.storage, visit.desk.keeper.name, msgspec.json.encode(key)
    rows: list[Row] = []
    for start in range(0, WAITING_MAX, PAGE_ENTRIES):
        page = await storage.load_list(keys.server_journal(server), start=start, count=PAGE_ENTRIES)
        rows += [
            row
            for stored in page
            if quoted in stored and (row := _row(server, decode_entry(stored), key, waits=True)) is not None
        ]
        if len(page) < PAGE_ENTRIES:
            break
    return rows


def _archived(report: Report | None, key: str) -> list[Row]:
    rows: list[Row] = []
    found: list[dict[str, Any]] = [] if report is None or report.result is None else report.result
    for each in found:
        try:
            entry = decode_entry(msgspec.json.encode(each["entry"]))
        except Corrupt:
            continue  # of a newer release; `realmkeep player history` names it
        row = _row(str(each["server"]), entry, key, waits=False)
        rows += [] if row is None else [row]
    return rows


def _row(server: str, entry: JournalEntry, key: str, *, waits: bool) -> Row | None:
    if isinstance(entry, GapEntry) or key not in records_of(entry):
        return None
    place = (entry.run, entry.seq)
    if isinstance(entry, SnapshotEntry):
        return Row(entry.at, server, f"snapshot: {entry.why}", "", (), waits, place)
    own = [each.fields for each in entry.records if each.key == key and each.fields != ERASED]
    fields = {name: change for each in own for name, change in each.items()}
    changes = [(name, *_sides(change)) for name, change in fields.items()]
    return Row(entry.at, server, _named(entry, key), entry.reason, tuple(changes), waits, place)


def _named(entry: CommitEntry, key: str) -> str:
    if key in entry.deleted:
        return f"{entry.fn}: deleted"
    if any(made == key for made, _ in entry.created):
        return f"{entry.fn}: made"
    if not any(each.key == key for each in entry.records):
        return f"{entry.fn}: a letter came"
    if entry.opened:
        return "letters opened"
    return entry.fn


def _sides(change: Any) -> tuple[str, str]:
    match change:
        case [before, after]:
            return _short(before), _short(after)
        case {"removed": removed, "added": added}:
            return _short(removed), _short(added)
        case _:
            return "", "not kept: too long for an entry"


def _short(value: Any) -> str:
    text = "" if value in ([], {}) else plain(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}…"
