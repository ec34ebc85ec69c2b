"""Exactly once: the last operations applied to a record, kept beside it and written in the same transaction."""

from __future__ import annotations

import hashlib
import zlib
from bisect import insort
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from realmkeep.errors import Corrupt, Misuse, OpReused, OpTooOld

if TYPE_CHECKING:
    from realmkeep.keeping.writes import Write

RING_OPS: Final = 32  # a client leaves at most 32 tier-1 operations unanswered
RING_LETTERS: Final = 32  # a store that lost its last seconds shows a few letters again, not many
RESULT_BYTES_MAX: Final = 256  # 32 results and their ids stay below 16 KiB a record
OP_ID_MAX: Final = 2**53 - 1  # what every JSON client can count to

_CRC_TAIL: Final = len(b',"crc":"00000000"}')
_by_id = attrgetter("id")
T_co = TypeVar("T_co", covariant=True)


class Op(msgspec.Struct, frozen=True, gc=False):
    """One operation of a client: a number that the client raises with each new one, and what it asked for.

    Attributes:
        id: 1 to 2^53 - 1.
        request: The request as it was received, or any bytes that tell it from another one; compared by digest.
    """

    id: int
    request: bytes = b""


class Receipt(Generic[T_co]):
    """What a commit answers.

    Attributes:
        result: What its function returned; of a repeated operation what was recorded, as plain JSON values.
        repeated: The operation had been applied before; nothing ran.
    """

    __slots__ = ("repeated", "result")

    def __init__(self, result: T_co, *, repeated: bool) -> None:
        self.result = result
        self.repeated = repeated

    def __repr__(self) -> str:
        return f"Receipt({self.result!r}, repeated={self.repeated})"


class Applied:
    """An operation that was applied: in the ring, and in memory also while its write is under way."""

    __slots__ = ("digest", "encoded", "id", "result", "write")

    def __init__(self, op_id: int, digest: str, result: bytes, write: Write | None) -> None:
        self.id = op_id
        self.digest = digest
        self.result = result
        self.write = write
        self.encoded = b'[%d,"%b",%b]' % (op_id, digest.encode(), result)

    def value(self) -> Any:
        """The recorded result, as plain JSON values."""
        return msgspec.json.decode(self.result)


RingState: TypeAlias = tuple[list[Applied], list[str]]


def digest_of(op: Op) -> str:
    """Eight bytes of BLAKE2b of the request, in hex: it tells requests of one player apart, it is no seal."""
    return hashlib.blake2b(op.request, digest_size=8).hexdigest()


def encode_result(result: object) -> bytes:
    """A commit's result as it is recorded.

    Raises:
        Misuse: It is not made of JSON's types, or takes more than 256 bytes.
    """
    try:
        encoded = msgspec.json.encode(result)
    except (TypeError, ValueError, OverflowError) as error:
        raise Misuse(
            f"the result of a commit cannot be recorded: {error}",
            hint="return None, numbers, text, lists or dictionaries from a commit that has ops",
        ) from error
    if len(encoded) > RESULT_BYTES_MAX:
        raise Misuse(
            f"the result of a commit takes {len(encoded)} bytes, {RESULT_BYTES_MAX} are recorded",
            hint="return what the client needs to hear, not the record",
        )
    return encoded


class OpRing:
    """The 32 operations with the highest ids, by id, and the letters applied last.

    Attributes:
        changed: Something was added that no write carries yet.
    """

    __slots__ = ("_entries", "_letters", "changed")

    def __init__(self, entries: list[Applied] | None = None, letters: list[str] | None = None) -> None:
        self._entries = entries if entries is not None else []
        self._letters = letters if letters is not None else []
        self.changed = False

    def __bool__(self) -> bool:
        return bool(self._entries or self._letters)

    def has_letter(self, letter_id: str) -> bool:
        """Whether this letter was applied lately: a store that lost data may show it again."""
        return letter_id in self._letters

    def add_letters(self, letter_ids: list[str]) -> None:
        """Record letters that a commit applies."""
        self._letters = [*self._letters, *letter_ids][-RING_LETTERS:]
        self.changed = True

    @property
    def last_id(self) -> int:
        """The highest id applied; 0 if none."""
        return self._entries[-1].id if self._entries else 0

    def find(self, op: Op) -> Applied | None:
        """The entry of `op` if it was applied before; None if it may run.

        Raises:
            OpTooOld: Its id lies below the ring.
            OpReused: The id was applied for another request.
            Misuse: The id is not a whole number from 1 to 2^53 - 1.
        """
        if type(op.id) is not int or not 1 <= op.id <= OP_ID_MAX:
            raise Misuse(f"op id {op.id!r} is not a whole number from 1 to 2^53 - 1")
        entries = self._entries
        if not entries or op.id > entries[-1].id:
            return None
        for entry in reversed(entries):
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

    def add(self, op: Op, result: bytes, write: Write | None) -> Applied:
        """Record `op`; the lowest id leaves a full ring. `find` has allowed it."""
        entry = Applied(op.id, digest_of(op), result, write)
        if not self._entries or op.id > self._entries[-1].id:
            self._entries.append(entry)
        else:
            insort(self._entries, entry, key=_by_id)
        if len(self._entries) > RING_OPS:
            del self._entries[0]
        self.changed = True
        return entry

    def snapshot(self) -> RingState:
        """What `revert` takes back."""
        return self._entries.copy(), self._letters

    def revert(self, snapshot: RingState) -> None:
        """Forget what was added since `snapshot` was taken."""
        self._entries, self._letters = snapshot
        self.changed = False

    def encode(self) -> bytes:
        """The ring as it is stored: JSON, its CRC-32 last."""
        self.changed = False
        body = b'{"ops":[%b]' % b",".join([entry.encoded for entry in self._entries])
        if self._letters:
            body += b',"letters":' + msgspec.json.encode(self._letters)
        return b'%b,"crc":"%08x"}' % (body, zlib.crc32(body))

    @classmethod
    def decode(cls, stored: bytes | None, key: str) -> OpRing:
        """The ring that `encode` wrote; empty if nothing is stored.

        Raises:
            Corrupt: The bytes are not a ring, or their checksum differs.
        """
        if stored is None:
            return cls()
        body = stored[:-_CRC_TAIL]
        if stored[-_CRC_TAIL:] != b',"crc":"%08x"}' % zlib.crc32(body):
            raise Corrupt(
                f"the checksum of {key} differs",
                hint="restore it from a backup, or delete it to forget the last operations",
            )
        try:
            plain = msgspec.json.decode(stored, type=_StoredRing)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{key} does not hold an op ring: {error}", hint="restore it from a backup") from error
        entries = [Applied(op_id, digest, bytes(result), None) for op_id, digest, result in plain.ops]
        return cls(entries, plain.letters)


class _StoredRing(msgspec.Struct):
    ops: list[tuple[int, str, msgspec.Raw]]
    crc: str
    letters: list[str] = []
