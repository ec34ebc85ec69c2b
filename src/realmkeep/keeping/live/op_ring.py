"""Exactly once: the last operations applied to a record, kept beside it and written in the same transaction."""

from __future__ import annotations

import hashlib
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from realmkeep.errors import Corrupt, Misuse, OpReused, OpTooOld
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.records.checksum import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from realmkeep.keeping.live.pending_write import PendingWrite

RING_OPS: Final = 32  # a client leaves at most 32 tier-1 operations unanswered
RING_LETTERS: Final = (
    32  # as many are stored; letters that a loss of the store may bring back are remembered, however many
)
OP_ID_MAX: Final = 2**53 - 1  # every JSON client can count to it

LETTER_ID_BYTES: Final = 256  # of a letter's id in a dictionary, with its moment, about
SAFE: Final = float("-inf")
UNSAFE: Final = float("inf")

_CRC_TAIL: Final = len(b',"crc":"00000000"}')
_SEPARATOR: Final = b",\n"  # compact JSON has no line feed of its own
_by_id = attrgetter("id")
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


class Receipt(Generic[T_co]):
    """The answer of a commit.

    Attributes:
        result: The result of its function; of a repeated operation the recorded result, as plain JSON values.
        repeated: The operation had been applied before; nothing ran.
    """

    __slots__ = ("repeated", "result")

    def __init__(self, result: T_co, *, repeated: bool) -> None:
        self.result = result
        self.repeated = repeated

    def __repr__(self) -> str:
        return f"Receipt({self.result!r}, repeated={self.repeated})"


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
RingState: TypeAlias = tuple[bytes, int, int, Opened]


def digest_of(op: Op) -> str:
    """Eight bytes of BLAKE2b of the request, in hex: it tells requests of one player apart, it is no seal."""
    return hashlib.blake2b(op.request, digest_size=8).hexdigest()


class OpRing:
    """The 32 operations with the highest ids, by id, and the letters applied last.

    Kept as the bytes that are stored, one operation a line: a full ring takes 2 KB and not 10, and a commit cuts off the first
    line and adds one. Only a question for an operation of the past takes the lines apart.

    Attributes:
        changed: Something was added that no write carries yet.
        last_id: The highest id applied; 0 if none.
    """

    __slots__ = ("_body", "_count", "_letters", "_under_way", "changed", "last_id")

    def __init__(self, entries: Sequence[AppliedOp] = (), letters: Sequence[str] = ()) -> None:
        self._letters: Opened = {letter_id: [SAFE] for letter_id in letters}
        self._under_way: tuple[tuple[int, PendingWrite], ...] = ()  # nearly always none, or one
        self.changed = False
        self._hold(entries)

    def _hold(self, entries: Sequence[AppliedOp]) -> None:
        self._body = _SEPARATOR.join(_line(entry.id, entry.digest, entry.result) for entry in entries)
        self._count = len(entries)
        self.last_id = entries[-1].id if entries else 0

    def __bool__(self) -> bool:
        return bool(self._count or self._letters)

    @property
    def size_bytes(self) -> int:
        """The memory that it takes, about."""
        return len(self._body) + LETTER_ID_BYTES * len(self._letters)

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
        self.changed = True

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
        lines = _lines.decode(b"[%b]" % self._body)
        return [AppliedOp(op_id, digest, bytes(result), under_way.get(op_id)) for op_id, digest, result in lines]

    def add_op(self, op: Op, result: bytes) -> None:
        """Record `op`; the lowest id leaves a full ring. `find_op` has allowed it."""
        self.changed = True
        if op.id <= self.last_id:
            entries = [*self._entries(), AppliedOp(op.id, digest_of(op), result)]
            self._hold(sorted(entries, key=_by_id)[-RING_OPS:])
            return
        self.last_id = op.id
        line = _line(op.id, digest_of(op), result)
        if not self._count:
            self._body = line
        elif self._count < RING_OPS:
            self._body += _SEPARATOR + line
        else:
            self._body = b"%b,\n%b" % (self._body[self._body.index(b"\n") + 1 :], line)
            return
        self._count += 1

    def attach_write(self, op: Op, write: PendingWrite) -> None:
        """Let repeats of `op` wait for this write, until `detach_write`."""
        self._under_way += ((op.id, write),)

    def detach_write(self, write: PendingWrite) -> None:
        """Let no repeat wait for this write any more; its outcome is known."""
        if self._under_way:
            self._under_way = tuple([pair for pair in self._under_way if pair[1] is not write])

    def snapshot(self) -> RingState:
        """The state to which `revert` goes back."""
        return self._body, self._count, self.last_id, self._letters

    def revert(self, snapshot: RingState) -> None:
        """Forget every addition since the `snapshot`."""
        self._body, self._count, self.last_id, self._letters = snapshot
        self.changed = False

    def encode(self) -> bytes:
        """The ring as it is stored: JSON, its CRC-32 last."""
        self.changed = False
        body = b'{"ops":[%b]' % self._body
        if self._letters:
            body += b',"letters":' + msgspec.json.encode([*self._letters][-RING_LETTERS:])
        return b'%b,"crc":"%08x"}' % (body, crc32(body))

    @classmethod
    def decode(cls, stored: bytes | None, key: str) -> OpRing:
        """The ring that `encode` wrote; empty if nothing is stored.

        Raises:
            Corrupt: The bytes are not a ring, or their checksum differs.
        """
        if stored is None:
            return cls()
        body = stored[:-_CRC_TAIL]
        if stored[-_CRC_TAIL:] != b',"crc":"%08x"}' % crc32(body):
            raise Corrupt(
                f"the checksum of {key} differs",
                hint="restore it from a backup, or delete it to forget the last operations",
            )
        try:
            plain = _stored.decode(stored)
        except UNDECODABLE as error:
            raise Corrupt(f"{key} does not hold an op ring: {error}", hint="restore it from a backup") from error
        return cls([AppliedOp(op_id, digest, bytes(result)) for op_id, digest, result in plain.ops], plain.letters)


def _line(op_id: int, digest: str, result: bytes) -> bytes:
    return b'[%d,"%b",%b]' % (op_id, digest.encode(), result)


class _StoredRing(msgspec.Struct):
    ops: list[tuple[int, str, msgspec.Raw]]
    crc: str
    letters: list[str] = []


_lines = msgspec.json.Decoder(list[tuple[int, str, msgspec.Raw]])
_stored = msgspec.json.Decoder(_StoredRing)
