"""The rescue file: the writes that a shutdown could not deliver, as JSON lines that a later run can replay.

```text
{"format":1,"crc32":"5a3c01d7","line":{"what":"write","records":["player:7"],"why":"...","store":"...","letters_to":[],
  "guards":[["player:7:owner","town/5f3a9c01/1767225600000000"],["player:7:updated","1767225600000000"]],
  "effects":[["put","player:7","..."],["put","player:7:updated","1767225607000000"],["delete","player:7:owner"]]}}
```

A `write` is a whole transaction of the queue. A `state` is the last state of a record that could not be encoded: no replay
can restore it, so an operator reads it. Values are text where they are UTF-8, `{"base64": ...}` otherwise. The checksum is
that of the bytes of `line`. Every line stands by itself, so lines of a log, or of several files, are as good as the file.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec

from realmkeep import keys
from realmkeep.errors import Corrupt, InvalidKey, StorageError
from realmkeep.files import open_for_append, open_trusted
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.storage import Append, Delete, DropFirst, Extend, Guard, Put, Transaction
from realmkeep.storage.limits import check_transactions

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from realmkeep.storage import Effect

FORMAT: Final = 1
IN_LOG: Final = b"rescue line: "
SHOWN_CHARS_MAX: Final = 100_000  # of a value that JSON cannot hold


class Undelivered(NamedTuple):
    """A write that is not known to be in the store.

    Attributes:
        transaction: The write; its guards see to it that it happens once, and only over the state that it was built on.
        records: The keys of the records that it changes, makes or deletes.
        letters_to: The keys of the records to which it sends letters.
        why: The reason for which it was not delivered.
        store_id: The identity of the store that it was meant for.
    """

    transaction: Transaction
    records: tuple[str, ...]
    letters_to: tuple[str, ...]
    why: str
    store_id: str


class Unsavable(msgspec.Struct, frozen=True, tag_field="what", tag="state", forbid_unknown_fields=True):
    """The last state of a record that could not be encoded: for an operator to read.

    Attributes:
        record: Its key.
        why: The reason for which it cannot be stored.
        owner: Its owner key, as the session claimed it.
        durable_revision: The last revision that the store acknowledged.
        version: Its schema version.
        state: Its durable fields, as `readable` returns them.
        ops: Its op ring, as it is stored.
        store_id: The identity of the store that it was meant for; empty in a line of an earlier version.
    """

    record: str
    why: str
    owner: str
    durable_revision: int
    version: int
    state: msgspec.Raw
    ops: str
    store_id: str = msgspec.field(name="store", default="")


class Damaged(NamedTuple):
    """A line that cannot be read: it was cut off or changed, or is of another file."""

    why: str
    store_id: str = ""


class Line(NamedTuple):
    """A line of the file and its number, from 1."""

    number: int
    rescued: Undelivered | Unsavable | Damaged


class _Binary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    base64: bytes


_Value: TypeAlias = str | _Binary


class _Guard(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    key: str
    expected: _Value | None


class _Put(msgspec.Struct, array_like=True, tag="put", forbid_unknown_fields=True, omit_defaults=True):
    key: str
    value: _Value
    expire_s: float | None = None


class _Extend(msgspec.Struct, array_like=True, tag="extend", forbid_unknown_fields=True):
    key: str
    value: _Value


class _Append(msgspec.Struct, array_like=True, tag="append", forbid_unknown_fields=True):
    key: str
    value: _Value


class _Delete(msgspec.Struct, array_like=True, tag="delete", forbid_unknown_fields=True):
    key: str


class _DropFirst(msgspec.Struct, array_like=True, tag="drop_first", forbid_unknown_fields=True):
    key: str
    count: int


_Effect: TypeAlias = _Put | _Extend | _Append | _Delete | _DropFirst


class _Write(msgspec.Struct, tag_field="what", tag="write", forbid_unknown_fields=True):
    records: tuple[str, ...]
    why: str
    store: str
    letters_to: tuple[str, ...]
    guards: list[_Guard]
    effects: list[_Effect]


class _LogEntry(msgspec.Struct):
    event: str


class _Versioned(msgspec.Struct):
    format: int


class _Sealed(_Versioned, forbid_unknown_fields=True):
    crc32: str
    line: msgspec.Raw


_LINE = msgspec.json.Decoder(_Write | Unsavable)
_VERSIONED = msgspec.json.Decoder(_Versioned)
_SEALED = msgspec.json.Decoder(_Sealed)


def encode_line(rescued: Undelivered | Unsavable) -> bytes:
    """One line, without its end.

    A write with letters loses its needs, because later writes were built on it: it is delivered even if the receiver is gone
    by then, or its inbox full. `realmkeep letters list` shows such letters.
    """
    if isinstance(rescued, Undelivered):
        guards = [_Guard(guard.key, _shown_or_none(guard.expected)) for guard in rescued.transaction.guards]
        effects = [_as_written(effect) for effect in rescued.transaction.effects]
        body = msgspec.json.encode(
            _Write(rescued.records, rescued.why, rescued.store_id, rescued.letters_to, guards, effects)
        )
    else:
        body = msgspec.json.encode(rescued)
    return b'{"format":%d,"crc32":"%08x","line":%b}' % (FORMAT, zlib.crc32(body), body)


class NotIntact(Corrupt):
    """A line is not as it was written."""


def decode_line(line: bytes) -> Undelivered | Unsavable:
    """The inverse of `encode_line`.

    Raises:
        NotIntact: The line is damaged or cut off; or it is no line of a rescue file.
        Corrupt: The line is of another format.
    """
    try:
        format_ = _VERSIONED.decode(line).format
        if format_ != FORMAT:
            raise Corrupt(
                f"it is of format {format_}, not {FORMAT}", hint="restore it with the Realmkeep that wrote it"
            )
        sealed = _SEALED.decode(line)
        if sealed.crc32 != f"{zlib.crc32(sealed.line):08x}":
            raise NotIntact("its checksum differs", hint="it was changed or damaged")
    except UNDECODABLE as error:
        raise NotIntact(f"it cannot be read: {error}", hint="it is damaged, cut off, or of another file") from error
    return _decode_intact(sealed.line)


def _decode_intact(line: msgspec.Raw) -> Undelivered | Unsavable:
    try:
        read = _LINE.decode(line)
        if isinstance(read, Unsavable):
            return read
        transaction = Transaction(
            [Guard(guard.key, _stored_or_none(guard.expected)) for guard in read.guards],
            [_as_sent(effect) for effect in read.effects],
        )
        check_transactions([transaction])
        for key in (*read.records, *read.letters_to, *(guard.key for guard in read.guards)):
            keys.parse(key)
    except (*UNDECODABLE, InvalidKey, StorageError, ValueError) as error:
        raise Corrupt(f"it cannot be read: {error}", hint="it is damaged, cut off, or of another file") from error
    return Undelivered(transaction, read.records, read.letters_to, read.why, read.store)


def readable(fields: Mapping[str, object]) -> msgspec.Raw:
    """The fields of a record that cannot be stored, as JSON; a value that JSON cannot hold is shown as its `repr`."""
    return msgspec.Raw(msgspec.json.encode({name: _encodable(value) for name, value in fields.items()}))


def _encodable(value: object) -> object:
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=repr))
    except Exception:  # noqa: BLE001 - no value may keep the other records from their file
        return _told(value)


def _told(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - as above: a foreign repr may raise, as may deep nesting
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text[:SHOWN_CHARS_MAX].encode(errors="backslashreplace").decode()


def line_in_log(entry: bytes) -> bytes | None:
    """The rescue line in an entry of a log, which is text or JSON; None if the entry holds none."""
    if IN_LOG not in entry:
        return None
    try:
        told = msgspec.json.decode(entry, type=_LogEntry).event.encode()
    except UNDECODABLE:
        told = entry
    _, found, line = told.partition(IN_LOG)
    # A console may add to the end of a line, such as the end of a colour.
    return line[: line.rfind(b"}") + 1] if found else None


def read_lines(path: Path, *, from_log: bool = False, keep_damaged: bool = False) -> Generator[Line]:
    """The lines of a file, one at a time; it may be larger than memory.

    Args:
        path: The file.
        from_log: It is a log: only its entries that hold rescue lines count.
        keep_damaged: Yield a line that is not intact as `Damaged`, and go on.

    Raises:
        Corrupt: A line cannot be read; the error names it.
        OSError: The file cannot be read.
    """
    with open_trusted(path) as file:
        for number, read in enumerate(file, start=1):
            line = line_in_log(read) if from_log else read
            if line is None:
                continue
            try:
                yield Line(number, decode_line(line))
            except Corrupt as error:
                if keep_damaged and isinstance(error, NotIntact):
                    yield Line(number, Damaged(str(error)))
                    continue
                raise Corrupt(f"{path}, line {number}: {error.message}", hint=error.hint) from error


def append_lines(path: Path, rescued: Iterable[Undelivered | Unsavable]) -> None:
    """Add lines to a file, durably, all of them or none: half a line would spoil the next one.

    A kill may have torn the last line of the file. It is ended first, so that only this line is damaged.

    A file that this makes is readable for its owner alone.

    Raises:
        OSError: The lines cannot be written; the file is as it was.
    """
    with os.fdopen(open_for_append(path), "ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = file.read(1) not in {b"", b"\n"}
        try:
            rest = b"\n" * torn
            for each in rescued:
                rest += encode_line(each) + b"\n"
                while rest:
                    rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def _shown(value: bytes) -> _Value:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _Binary(value)


def _shown_or_none(value: bytes | None) -> _Value | None:
    return None if value is None else _shown(value)


def _stored(value: _Value) -> bytes:
    return value.encode() if isinstance(value, str) else value.base64


def _stored_or_none(value: _Value | None) -> bytes | None:
    return None if value is None else _stored(value)


def _as_written(effect: Effect) -> _Effect:
    match effect:
        case Put(key, value, expire_s):
            return _Put(key, _shown(value), expire_s)
        case Extend(key, value):
            return _Extend(key, _shown(value))
        case Append(key, value):
            return _Append(key, _shown(value))
        case Delete(key):
            return _Delete(key)
        case DropFirst(key, count):
            return _DropFirst(key, count)


def _as_sent(effect: _Effect) -> Effect:
    match effect:
        case _Put(key, value, expire_s):
            return Put(key, _stored(value), expire_s)
        case _Extend(key, value):
            return Extend(key, _stored(value))
        case _Append(key, value):
            return Append(key, _stored(value))
        case _Delete(key):
            return Delete(key)
        case _DropFirst(key, count):
            return DropFirst(key, count)
