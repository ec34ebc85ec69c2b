"""`realmkeep player history`, `realmkeep player at` and `realmkeep item trace`: questions to the journal."""

import json as plain_json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec
from cyclopts import App

from realmkeep.cli.acting import Acting, Archive, Reading, act, printable, say_json, utc
from realmkeep.cli.exit_codes import FINDINGS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from realmkeep.keeping.writing.journal_entries import CommitEntry
    from realmkeep.operations.journal.history import FieldAt, Found, History, Move, RecordState

T = TypeVar("T")
READING: Final = Reading()
SHOWN_CHARS_MAX: Final = 100
US: Final = 1_000_000  # microseconds

items = App(name="item", help="Items with a serial.")


def history(player: str, /, *, archive: Archive = None, how: Reading = READING) -> None:
    """Show what the commits changed on a player, in their order; an offline player as well as a live one.

    Exits with 1 if the journal has nothing about it.

    Args:
        player: Its id; or the key of any record, such as guild:7.
        archive: As above.
        how: The options of every such command.
    """
    found = _asked(archive, how, lambda reader, _: reader.of_record(_key(player)))
    told = [each for each in found if not _is_gap(each)]
    if how.json:
        say_json([{"server": each.server, **msgspec.to_builtins(each.entry)} for each in found])
    else:
        sys.stdout.writelines(f"{printable(line)}\n" for each in found for line in _lines(_key(player), each))
    sys.exit(0 if told else FINDINGS)


def at(player: str, time: str, /, *, archive: Archive = None, how: Reading = READING) -> None:
    """Show a player as it was at the end of a second; each field is exact, or as of an earlier moment.

    A field that changes in commits alone is exact. Any other field is as of the last snapshot, or of the last commit that changed
    it. Exits with 1 if the journal has nothing about the player before that moment.

    Args:
        player: Its id; or the key of any record, such as guild:7.
        time: Such as 2026-11-30T08:00:03Z, or seconds since 1970.
        archive: As above.
        how: The options of every such command.
    """
    from realmkeep.cli.exit_codes import exit_codes  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.operations.backup.moments import parse_second  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.history import state_at  # noqa: PLC0415 - as above

    with exit_codes():
        moment_us = (parse_second(time) + 1) * 1_000_000 - 1
    key = _key(player)

    async def ask(reader: "History", acting: Acting) -> "RecordState":
        return state_at(key, await reader.of_record(key), moment_us, _empty_state(key, acting))

    state = _asked(archive, how, ask)
    fields = state.at(moment_us)
    if how.json:
        say_json({"record": key, "at_us": moment_us, "fields": fields})
    else:
        width = max(map(len, fields), default=0)
        for name, each in fields.items():
            sys.stdout.write(f"{name:{width}}  {printable(_short(each.value))}  {_certainty(each)}\n")
        if not state.is_whole:
            sys.stdout.write("no snapshot lies before: fields that no commit changed are not known\n")
    sys.exit(0 if fields else FINDINGS)


@items.command
def trace(serial: int, /, *, archive: Archive = None, how: Reading = READING) -> None:
    """Show every commit in which the item with a serial moved, was made or was destroyed, in their order.

    Exits with 1 if the journal does not know it. It reads the whole journal.

    Args:
        serial: The item's serial.
        archive: As above.
        how: The options of every such command.
    """
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.history import moves  # noqa: PLC0415 - as above

    async def ask(reader: "History", acting: Acting) -> "list[tuple[Found, Move]]":
        fields = game_of(acting.config).serial_fields
        found = await reader.of_serial(serial, fields)
        return [(each, move) for each in found for move in moves(_commit(each), serial, fields)]

    steps = _asked(archive, how, ask)
    if how.json:
        rows = [
            {
                "at_us": each.entry.at,
                "server": each.server,
                "fn": _commit(each).fn,
                "where": move.where,
                "came": move.came,
            }
            for each, move in steps
        ]
        say_json(rows)
    else:
        for each, move in steps:
            verb = "came to" if move.came else "left"
            sys.stdout.write(
                f"{utc(each.entry.at / US)}  {printable(_commit(each).fn)}  {verb} {printable(move.where)}\n"
            )
    sys.exit(0 if steps else FINDINGS)


def _asked(archive: str | None, how: Reading, ask: "Callable[[History, Acting], Awaitable[T]]") -> T:
    async def run(acting: Acting) -> T:
        from realmkeep.keeping.keeper import engine_of  # noqa: PLC0415 - as above
        from realmkeep.operations.journal.archives import open_archive  # noqa: PLC0415 - as above
        from realmkeep.operations.journal.history import History  # noqa: PLC0415 - as above
        from realmkeep.operations.operators.roles import check_grant  # noqa: PLC0415 - as above

        check_grant(acting.by, "history")
        opened = open_archive(archive or acting.config.journal.url)
        try:
            return await ask(History(opened, engine_of(acting.keeper).storage), acting)
        finally:
            await opened.close()

    return act(how, run)


def _key(player: str) -> str:
    return player if ":" in player else f"player:{player}"


def _empty_state(key: str, acting: Acting) -> "RecordState":
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.history import RecordState, immediate_fields  # noqa: PLC0415 - as above

    game = game_of(acting.config)
    cls = game.class_of(key)
    return RecordState(frozenset()) if cls is None else RecordState(immediate_fields(cls), game.decoder(cls))


def _commit(found: "Found") -> "CommitEntry":
    from realmkeep.keeping.writing.journal_entries import CommitEntry  # noqa: PLC0415 - as above

    assert isinstance(found.entry, CommitEntry)  # only commits move items
    return found.entry


def _is_gap(found: "Found") -> bool:
    from realmkeep.keeping.writing.journal_entries import GapEntry  # noqa: PLC0415 - as above

    return isinstance(found.entry, GapEntry)


def _lines(key: str, found: "Found") -> Iterator[str]:
    from realmkeep.keeping.writing.journal_entries import GapEntry, SnapshotEntry  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.sealing import ERASED  # noqa: PLC0415 - as above

    entry = found.entry
    head = f"{utc(entry.at / US)}  {found.server}"
    if isinstance(entry, GapEntry):
        missing = (
            f"{entry.missed} entries are missing since {utc(entry.since / US)}" if entry.missed else "a gap begins"
        )
        yield f"{head}  {missing}"
    elif isinstance(entry, SnapshotEntry):
        yield f"{head}  snapshot: {entry.why}"
    else:
        yield f"{head}  {entry.fn}{f'  ({entry.reason})' if entry.reason else ''}"
        for change in entry.records:
            if change.key == key and change.fields == ERASED:
                yield "    erased"
            elif change.key == key:
                yield from (f"    {name}: {_told(each)}" for name, each in change.fields.items())
        yield from (f"    letter to {to}: {_short(letter)}" for to, letter in entry.letters)
        yield from (f"    created {made}" for made, _ in entry.created)
        yield from (f"    deleted {gone}" for gone in entry.deleted)


def _told(change: Any) -> str:
    if change is None:
        return "changed"
    if isinstance(change, list):
        before, after = cast("list[Any]", change)
        return f"{_short(before)} -> {_short(after)}"
    return " ".join(
        f"{sign}{_short(change[side])}" for side, sign in (("removed", "-"), ("added", "+")) if change[side]
    )


def _short(value: Any) -> str:
    text = plain_json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[: SHOWN_CHARS_MAX - 3]}..."


def _certainty(each: "FieldAt") -> str:
    return "exact" if each.exact else f"as of {utc(each.as_of_us / US)}"
