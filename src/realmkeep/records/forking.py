"""A copy of a record's durable state that can be put back: the undo of a commit."""

import operator
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from realmkeep.records.marking import MarkedRecord, marks_of, masked, set_mask

R = TypeVar("R")

_copied: Final = operator.methodcaller("copy")
_store: Final = msgspec.structs.force_setattr
_values: Final = msgspec.structs.astuple


class Fork(msgspec.Struct, Generic[R], eq=False):
    """The durable state of one record at one moment; opaque. It can be restored any number of times."""

    record: R
    values: tuple[Any, ...]
    contents: list[Any]
    mask: int
    takes: int


def fork_of(record: R) -> Fork[R]:
    """Return the durable state of a record, see `Record.fork`."""
    live: Any = record  # a cast would be a call, at every commit
    values = _values(live)
    marks = marks_of(live)
    return Fork(
        record, values, [*map(_copied, map(values.__getitem__, live.__blueprint__.containers))], marks.mask, marks.takes
    )


def restore(record: MarkedRecord, fork: Fork[Any]) -> None:
    """Put the state of a fork back into the record it came from; see `Record.restore`.

    Raises:
        ValueError: The fork is of another record.
    """
    if fork.record is not record:
        raise ValueError(f"this fork is not of this {type(record).__name__}; restore it into the record it was made of")
    live = cast("Any", record)
    before = _values(live)
    marks = marks_of(record)
    taken = marks.takes != fork.takes
    differing = _differing(before, fork, live.__blueprint__.containers) if taken else 0
    for name, old, value in zip(live.__blueprint__.names, before, fork.values, strict=True):
        if old is not value:
            _store(live, name, value)
    for index, contents in zip(live.__blueprint__.containers, fork.contents, strict=True):
        container = fork.values[index]
        if type(container) is list:
            container[:] = contents
        else:
            container.clear()
            container.update(contents)
    if not taken:
        if marks.mask != fork.mask:
            set_mask(record, marks, fork.mask)
        return
    urgency = marks.urgency
    set_mask(record, marks, marks.mask | differing)
    if marks.urgency < urgency and marks.observer is not None:
        (most_urgent,) = {field.tier for field in masked(record, marks.mask) if field.tier == marks.urgency}
        marks.observer.marked(record, cast("Any", most_urgent))


def _differing(before: tuple[Any, ...], fork: Fork[Any], containers: tuple[int, ...]) -> int:
    """Return the fields that restoring changes, as a mask: the write in between has stored other values for them."""
    then = list(fork.values)
    for index, contents in zip(containers, fork.contents, strict=True):
        then[index] = contents
    return sum(1 << index for index, (now, was) in enumerate(zip(before, then, strict=True)) if now != was)
