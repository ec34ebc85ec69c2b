"""Exactly once: the last operations applied to a record, kept beside it and written in the same transaction."""

from __future__ import annotations

import hashlib
import re
from itertools import islice
from operator import attrgetter, lt
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from realmkeep.errors import Corrupt, Misuse, OpReused, OpTooOld
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.records.checksum import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from realmkeep.keeping.live.pending_write import PendingWrite

RING_OPS: Final = 32  # a client leaves at most 32 tier-1 operations unanswered
STORED_OPS_MAX: Final = 64  # in the stored log; beyond, the ring is put anew
RING_LETTERS: Final = (
    32  # as many are stored; letters that a loss of the store may bring back are remembered, however many
)
OP_ID_MAX: Final = 2**53 - 1  # every JSON client can count to it

LETTER_ID_BYTES: Final = 256  # of a letter's id in a dictionary, with its moment, about
SAFE: Final = float("-inf")
UNSAFE: Final = float("inf")

_CRC_TAIL: Final = len(b',"crc":"00000000"}')
CRC_BYTES: Final = len(b"00000000 ")
RESTORE: Final = "restore it from a backup, or delete it to forget the last operations"
_by_id = attrgetter("id")
_LINE_ID: Final = re.compile(rb"\n[0-9a-f]{8} \[([1-9][0-9]{0,15}),")
T_co = TypeVar("T_co", covariant=True)


class Op(msgspec.Struct, frozen=True, gc=False):
    """One operation of a client: a number that the client raises with each new one, and its request.

    Attributes:
        id: 1 to 2^53 - 1.
        request: The request as it was received, or any bytes that tell it from another one; compared by digest.
    """

    id: int
    request: bytes = b""

    def __post_init__(self) -> None:
        """Refuse an operation that no client sends, where it is made.

        Raises:
            Misuse: The id is not a whole number from 1 to 2^53 - 1, or the request is not of bytes.
        """
        if type(self.id) is not int or not 1 <= self.id <= OP_ID_MAX:
            raise Misuse(
                f"op id {self.id!r:.40} is not a whole number from 1 to 2^53 - 1",
                hint="check what a client sends before it is an Op",
            )
        if type(self.request) is not bytes:
            raise Misuse(
                f"the request of op {self.id} is a {type(self.request).__name__}",
                hint="pass the bytes as they were received, or text.encode()",
            )


class Receipt(msgspec.Struct, Generic[T_co], frozen=True, eq=False):
    """The answer of a commit.

    Attributes:
        result: The result of its function; of a repeated operation the recorded result, as plain JSON values.
        repeated: The operation had been applied before; nothing ran.
    """

    result: T_co
    repeated: bool


class AppliedOp(NamedTuple):
    """An operation that was applied.

    Attributes:
        id: Its id.
        digest: Of its request.
        result: The recorded result, as JSON.
        write: The write that carries it to the store, while that is under way.
    """

    id: int
    digest: str
    result: bytes
    write: PendingWrite | None = None

    def value(self) -> Any:
        """The recorded result, as plain JSON values."""
        return msgspec.json.decode(self.result)


Opened: TypeAlias = dict[str, list[float]]  # never changed in place, but for the moment in which a letter was durable
RingState: TypeAlias = tuple[bytes, int, int, Opened, int]


def digest_of(op: Op) -> str:
    """Eight bytes of BLAKE2b of the request, in hex: it tells requests of one player apart, it is no seal."""
    return hashlib.blake2b(op.request, digest_size=8).hexdigest()


class OpRing:
    """The 32 operations with the highest ids, by id, and the letters applied last.

    Stored as a log of lines, one an operation, each with its checksum: a commit adds one line to it. The store may hold more
    operations than the ring, so every 32 operations the ring is put anew. In memory a full ring takes 2 KB, because only a
    question for an operation of the past takes its lines apart.

    Attributes:
        last_id: The highest id applied; 0 if none.
    """

    __slots__ = ("_count", "_letters", "_lines", "_stored", "_under_way", "last_id")

    def __init__(self, entries: Iterable[AppliedOp] = (), letters: Sequence[str] = (), *, stored: int = 0) -> None:
        self._letters: Opened = {letter_id: [SAFE] for letter_id in letters}
        self._under_way: tuple[tuple[int, PendingWrite], ...] = ()  # nearly always none, or one
        self._stored = stored  # operations in the store
        self._hold(sorted(entries, key=_by_id)[-RING_OPS:])

    def _hold(self, entries: Sequence[AppliedOp]) -> None:
        lines = [_sealed(b'[%d,"%b",%b]' % (e.id, e.digest.encode(), e.result)) for e in entries]
        self.take_lines(lines, entries[-1].id if entries else 0)

    def take_lines(self, lines: Sequence[bytes], last_id: int) -> None:
        """Hold these lines, ordered by id, and no others."""
        self._lines = b"".join(lines)
        self._count = len(lines)
        self.last_id = last_id

    def __bool__(self) -> bool:
        return bool(self._count or self._letters)

    @property
    def size_bytes(self) -> int:
        """The memory that it takes, about."""
        return len(self._lines) + LETTER_ID_BYTES * len(self._letters)

    def has_letter(self, letter_id: str) -> bool:
        """Whether this letter was applied lately: a store that lost data may show it again."""
        return letter_id in self._letters

    def add_letters(self, letter_ids: Iterable[str], *, safe_s: float) -> None:
        """Record letters that a commit applies.

        All that a crash of the store may bring back are remembered, and the last `RING_LETTERS` in any case; those are
        stored with the ring.

        Args:
            letter_ids: The letters.
            safe_s: No crash can lose a write that was acknowledged before this monotonic time.
        """
        letters = {**self._letters, **{letter_id: [UNSAFE] for letter_id in letter_ids}}
        beyond = len(letters) - RING_LETTERS
        for letter_id, (at_s,) in islice(self._letters.items(), max(0, beyond)):
            if at_s >= safe_s:
                break
            del letters[letter_id]
        self._letters = letters
        self._stored = STORED_OPS_MAX + 1  # letters are not added to the log, so it is put anew

    def letters_durable(self, at_s: float, letter_ids: Iterable[str] | None = None) -> None:
        """These letters, or all, were written at this moment, on the monotonic clock; a crash may take it for a while."""
        for letter_id in self._letters if letter_ids is None else letter_ids:
            if letter_id in self._letters:
                self._letters[letter_id][0] = at_s

    def remember_letters(self, other: OpRing) -> None:
        """Take over the opened letters that a former session of the record remembers."""
        self._letters = {**other._letters, **self._letters}

    def find_op(self, op: Op) -> AppliedOp | None:
        """The entry of `op` if it was applied before; None if it may run.

        Raises:
            OpTooOld: Its id lies below the ring.
            OpReused: The id was applied for another request.
            Misuse: `op` is no operation.
        """
        if not isinstance(op, Op):  # pyright: ignore[reportUnnecessaryIsInstance] - a game may not be typed
            raise Misuse(f"an operation is a {type(op).__name__}", hint="pass Op(number, request bytes)")
        if op.id > self.last_id:
            return None
        entries = self._entries()
        for entry in entries:
            if entry.id == op.id:
                if entry.digest != digest_of(op):
                    raise OpReused(
                        f"operation {op.id} was applied for another request",
                        hint="the client must raise its op id with each new operation",
                    )
                return entry
        if len(entries) >= RING_OPS and op.id < entries[0].id:
            raise OpTooOld(
                f"operation {op.id} lies below the last {RING_OPS} ({entries[0].id} to {entries[-1].id})",
                hint="read the state to see whether it was applied",
            )
        return None

    def _entries(self) -> list[AppliedOp]:
        under_way = dict(self._under_way)
        lines = [line[CRC_BYTES:] for line in self._lines.split(b"\n")[:-1]]
        told = _ops.decode(b"[%b]" % b",".join(lines))
        return [AppliedOp(op_id, digest, bytes(result), under_way.get(op_id)) for op_id, digest, result in told]

    def add_op(self, op: Op, result: bytes, line: bytes = b"") -> None:
        """Record `op`; the lowest id leaves a full ring. `find_op` has allowed it.

        Args:
            op: The operation.
            result: Its result.
            line: Their `line_of`, if it is known.
        """
        line = line or line_of(op, result)
        self._stored += 1
        if op.id <= self.last_id:
            self._hold(sorted([*self._entries(), AppliedOp(op.id, digest_of(op), result)], key=_by_id)[-RING_OPS:])
            return
        self.last_id = op.id
        if self._count < RING_OPS:
            self._lines += line
            self._count += 1
        else:
            self._lines = self._lines[self._lines.index(b"\n") + 1 :] + line

    @property
    def is_put_anew(self) -> bool:
        """The next write puts the whole ring; otherwise it adds the line of its operation to the stored log."""
        return self._stored > STORED_OPS_MAX

    def attach_write(self, op: Op, write: PendingWrite) -> None:
        """Let repeats of `op` wait for this write, until `detach_write`."""
        self._under_way += ((op.id, write),)

    def detach_write(self, write: PendingWrite) -> None:
        """Let no repeat wait for this write any more; its outcome is known."""
        if len(self._under_way) == 1 and self._under_way[0][1] is write:
            self._under_way = ()
        elif self._under_way:
            self._under_way = tuple([pair for pair in self._under_way if pair[1] is not write])

    def snapshot(self) -> RingState:
        """The state to which `revert` goes back."""
        return self._lines, self._count, self.last_id, self._letters, self._stored

    def revert(self, snapshot: RingState) -> None:
        """Forget every addition since the `snapshot`."""
        self._lines, self._count, self.last_id, self._letters, self._stored = snapshot

    def encode(self) -> bytes:
        """The whole ring as it is stored."""
        self._stored = self._count
        if not self._letters:
            return self._lines
        return _sealed(msgspec.json.encode({"letters": [*self._letters][-RING_LETTERS:]})) + self._lines

    @classmethod
    def decode(cls, stored: bytes | None, key: str) -> OpRing:
        """The ring that is stored; empty if nothing is. A ring of an earlier form is put anew at its next change.

        Raises:
            Corrupt: The bytes are not a ring, or the checksum of a line differs.
        """
        if stored is None:
            return cls()
        try:
            return _decode_former(stored) if stored.startswith(b"{") else _decode_lines(stored)
        except UNDECODABLE as error:
            raise Corrupt(f"{key} does not hold an op ring: {error}", hint=RESTORE) from error
        except _WrongChecksum as error:
            raise Corrupt(f"the checksum of {key} differs", hint=RESTORE) from error


def is_normal(stored: bytes) -> bool:
    """Whether a stored ring, if it is one, is as `encode` makes it: at most 32 operations by their ids, and no letters.

    It takes a tenth of the time of `decode`, and looks at no checksum.
    """
    ids = [*map(int, _LINE_ID.findall(b"\n" + stored))]
    return len(ids) == stored.count(b"\n") <= RING_OPS and all(map(lt, ids, ids[1:]))


def line_of(op: Op, result: bytes) -> bytes:
    """An operation and its recorded result, as a line of the stored log."""
    return _sealed(b'[%d,"%b",%b]' % (op.id, digest_of(op).encode(), result))


def _sealed(line: bytes) -> bytes:
    return b"%08x %b\n" % (crc32(line), line)


class _WrongChecksum(Exception):
    """A part of a stored ring is not as it was written."""


def _decode_lines(stored: bytes) -> OpRing:
    *lines, rest = stored.split(b"\n")
    if rest or any(line[:CRC_BYTES] != b"%08x " % crc32(line[CRC_BYTES:]) for line in lines):
        raise _WrongChecksum
    letters: list[str] = []
    if lines and lines[0].startswith(b"{", CRC_BYTES):
        letters = _letters.decode(lines.pop(0)[CRC_BYTES:]).letters
    told = _ops.decode(b"[%b]" % b",".join([line[CRC_BYTES:] for line in lines]))
    ops = {op_id: (op_id, digest, result) for op_id, digest, result in told}
    if [*ops] == sorted(ops) and len(ops) == len(lines):  # nearly always: the lines may stay as they are
        ring = OpRing((), letters, stored=len(lines))
        ring.take_lines([line + b"\n" for line in lines[-RING_OPS:]], told[-1][0] if told else 0)
        return ring
    entries = [AppliedOp(op_id, digest, bytes(result)) for op_id, digest, result in ops.values()]
    return OpRing(entries, letters, stored=len(lines))


def _decode_former(stored: bytes) -> OpRing:
    """A ring as it was stored before lines: one JSON object with its checksum."""
    body = stored[:-_CRC_TAIL]
    if stored[-_CRC_TAIL:] != b',"crc":"%08x"}' % crc32(body):
        raise _WrongChecksum
    plain = _former.decode(stored)
    ops = [AppliedOp(op_id, digest, bytes(result)) for op_id, digest, result in plain.ops]
    return OpRing(ops, plain.letters, stored=STORED_OPS_MAX)


_OpLine: TypeAlias = tuple[int, str, msgspec.Raw]


class _FormerRing(msgspec.Struct):
    ops: list[_OpLine]
    crc: str
    letters: list[str] = []


class _Letters(msgspec.Struct, forbid_unknown_fields=True):
    letters: list[str]


_ops = msgspec.json.Decoder(list[_OpLine])
_letters = msgspec.json.Decoder(_Letters)
_former = msgspec.json.Decoder(_FormerRing)
