"""The entries of a journal, as they lie in the store and in its archive: JSON, one entry a line.

```text
{"type":"commit","run":7,"seq":41,"at":1796040000000000,"fn":"pay","records":[
  {"key":"player:1","rev":1796040000000001,"op":12,"fields":{"gold":[50,40],"bag":{"at":3,"removed":["sword"],"added":[]}}}]}
```

A field has its value before and after; of a list, dictionary or set it has the difference alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec

from realmkeep.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Sequence

RELEASE: Final = "release"
INTERVAL: Final = "interval"
CREATED: Final = "created"
MENDED: Final = "mended"


class RecordChange(msgspec.Struct, omit_defaults=True, gc=False):
    """The part of one record in a commit.

    Attributes:
        key: The record's key.
        rev: The revision that the commit left: microseconds since the epoch, strictly rising for a record.
        op: The id of the client's operation; 0 for none.
        fields: The changed fields: `[before, after]`, or the difference of a container (`difference`).
    """

    key: str
    rev: int
    op: int = 0
    fields: dict[str, Any] = {}


class CommitEntry(msgspec.Struct, tag="commit", omit_defaults=True, gc=False):
    """A commit.

    Attributes:
        run: The run of the server that wrote it: a number that rises from run to run.
        seq: Its number in this run, from 1. A commit that the store refused leaves a gap.
        at: Microseconds since the epoch, by the server's clock.
        fn: The name of the commit's function.
        records: The records of journaled classes.
        reason: The reason that the function gave with `keeper.tx.explain`.
        letters: The letters that it sent: the key of the receiver, and the letter as it lies in the inbox.
        opened: The ids of the letters that it opened.
        created: The records that it created: key and stored bytes.
        deleted: The keys of the records that it deleted.
        minted: What it declared to make or destroy (negative): name, amount, reason, and the serial of an item or 0.
        unbalanced: What it made or destroyed without a declaration, by name.
        doubled: Serials that exist twice after it.
        cut: The values of its fields, its letters and created records were too long for an entry and are left out.
    """

    run: int
    seq: int
    at: int
    fn: str
    records: tuple[RecordChange, ...]
    reason: str = ""
    letters: tuple[tuple[str, Any], ...] = ()
    opened: tuple[str, ...] = ()
    created: tuple[tuple[str, Any], ...] = ()
    deleted: tuple[str, ...] = ()
    minted: tuple[tuple[str, int, str, int], ...] = ()
    unbalanced: dict[str, int] = {}
    doubled: tuple[int, ...] = ()
    cut: bool = False


class SnapshotEntry(msgspec.Struct, tag="snapshot", omit_defaults=True, gc=False):
    """A record as a whole.

    Attributes:
        run: As in `CommitEntry`, as are `seq` and `at`.
        key: The record's key.
        rev: The revision of this state.
        why: `release`, `interval`, `created` or `mended`.
        stored: The record as it is stored: a JSON object, or the text of an s-expression.
        minted: Of a new record: what it holds, as in `CommitEntry`, for the reason `created`.
    """

    run: int
    seq: int
    at: int
    key: str
    rev: int
    why: str
    stored: Any
    minted: tuple[tuple[str, int, str, int], ...] = ()


class GapEntry(msgspec.Struct, tag="gap", omit_defaults=True, gc=False):
    """Commits that are not in the journal, because too much waited for its archive.

    Attributes:
        run: As in `CommitEntry`, as are `seq` and `at`.
        since: When the gap began, in microseconds since the epoch.
        missed: The number of entries that are missing; 0 in the entry that opens the gap.
    """

    run: int
    seq: int
    at: int
    since: int
    missed: int = 0


JournalEntry: TypeAlias = CommitEntry | SnapshotEntry | GapEntry

_decoder: Final = msgspec.json.Decoder(JournalEntry)
_encoder: Final = msgspec.json.Encoder()
encode_entry: Final = _encoder.encode


def decode_entry(stored: bytes) -> JournalEntry:
    """Read an entry.

    Raises:
        Corrupt: It is no entry of a journal.
    """
    try:
        return _decoder.decode(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt(f"an entry of a journal cannot be read: {error}", hint="it was changed by hand") from error


def as_json(stored: bytes) -> Any:
    """Stored bytes as a value inside an entry: JSON as it is, any other notation as text."""
    return msgspec.Raw(stored) if stored[:1] in b"{[" else stored.decode(errors="replace")


def difference(before: object, after: object) -> Any:
    """The change of a field: `[before, after]`, or of two equal containers their difference.

    That of a list is its changed stretch: the position of its beginning, the entries removed and those added. That of a dictionary
    has the entries removed and those added, a changed one in both; that of a set likewise.
    """
    of_kind = _DIFFERENCES.get(type(after)) if type(before) is type(after) else None
    return (before, after) if of_kind is None else of_kind(before, after)


def _of_lists(before: list[Any], after: list[Any]) -> dict[str, Any]:
    at, end = 0, min(len(before), len(after))
    if before[:end] == after[:end]:  # nearly always: lists grow and shrink at their end
        return {"at": end, "removed": before[end:], "added": after[end:]}
    while at < end and before[at] == after[at]:
        at += 1
    behind = 0
    while behind < end - at and before[-1 - behind] == after[-1 - behind]:
        behind += 1
    return {"at": at, "removed": before[at : len(before) - behind], "added": after[at : len(after) - behind]}


def _of_dicts(before: dict[Any, Any], after: dict[Any, Any]) -> dict[str, Any]:
    return {
        "removed": {key: value for key, value in before.items() if key not in after or after[key] != value},
        "added": {key: value for key, value in after.items() if key not in before or before[key] != value},
    }


def _of_sets(before: set[Any], after: set[Any]) -> dict[str, Any]:
    return {"removed": list(before - after), "added": list(after - before)}


_DIFFERENCES: Final[dict[type[object], Any]] = {list: _of_lists, dict: _of_dicts, set: _of_sets}


def applied(value: Any, change: Any) -> Any:
    """The value of a field after a change, as JSON values.

    Args:
        value: Its value before, as JSON values.
        change: The change, as it was read from an entry.

    Raises:
        Corrupt: The change was not made from this value.
    """
    if isinstance(change, list):
        before, after = cast("list[Any]", change)
        _check(before == value)
        return after
    removed, added = change["removed"], change["added"]
    if isinstance(removed, dict):
        _check(isinstance(value, dict))
        held = cast("dict[str, Any]", value)
        _check(all(key in held and held[key] == was for key, was in cast("dict[str, Any]", removed).items()))
        return {key: each for key, each in held.items() if key not in removed} | added
    _check(isinstance(value, list))
    entries = cast("Sequence[Any]", value)
    if "at" in change:
        at = change["at"]
        _check(entries[at : at + len(removed)] == removed)
        return [*entries[:at], *added, *entries[at + len(removed) :]]
    _check(all(each in entries for each in removed))
    return [each for each in entries if each not in removed] + added


def _check(fits: bool) -> None:  # noqa: FBT001 - an assertion
    if not fits:
        raise Corrupt(
            "a change does not fit the state before it", hint="something changed the record beside its commits"
        )
