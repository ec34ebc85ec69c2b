"""A cold store holds one row for each record, behind the hot store. Its rows are written in batches and only rise.

It is no `Storage`: it decides nothing. The hot store alone decides which records exist and which server owns them.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from realmkeep.storage.cold.boards import ColdBoards, ColdScore

DIGEST_BYTES: Final = 12  # tells states of one record apart; a stub has it in hex, and has to be small


def digest_of(body: bytes, ops: bytes) -> bytes:
    """The digest of a record's bytes and of its operations, in `DIGEST_BYTES` of BLAKE2b."""
    told = hashlib.blake2b(len(body).to_bytes(8), digest_size=DIGEST_BYTES)
    told.update(body)
    told.update(ops)
    return told.digest()


class ColdRow(msgspec.Struct, frozen=True, gc=False):
    """One record at one revision.

    Attributes:
        key: The key of the record, such as `player:7`.
        revision: Its revision, in microseconds since the epoch.
        version: Its schema version; 0 if it is deleted.
        body: Its bytes as the hot store has them; None if the record is deleted.
        ops: Its op ring as the hot store has it; empty for none.
    """

    key: str
    revision: int
    version: int
    body: bytes | None
    ops: bytes = b""

    @property
    def digest(self) -> bytes:
        """The digest of its bytes and operations; empty for a deleted record."""
        return b"" if self.body is None else digest_of(self.body, self.ops)

    @property
    def size_bytes(self) -> int:
        """The memory that it takes, about."""
        return len(self.body or b"") + len(self.ops)


class ColdHead(msgspec.Struct, frozen=True, gc=False):
    """A row without its bytes.

    Attributes:
        key: The key of the record.
        revision: Its revision.
        digest: Its digest; empty for a deleted record.
    """

    key: str
    revision: int
    digest: bytes

    @property
    def is_deleted(self) -> bool:
        """The row is a tombstone."""
        return not self.digest


class ColdLetter(msgspec.Struct, frozen=True, gc=False):
    """A letter that may be unopened.

    Attributes:
        id: Its id; no other letter has it.
        receiver: The key of the receiver's record.
        stored: The letter as it lies in the inbox.
    """

    id: str
    receiver: str
    stored: bytes


class ColdBatch(msgspec.Struct, frozen=True):
    """Rows of one moment, which are written wholly or not at all.

    Attributes:
        rows: The records; a row that the store has at the same revision, or a later one, stays as it is.
        letters: Letters that were sent. A letter that is known already, opened or not, stays as it is.
        opened: The ids of letters that were opened. It holds also for a letter that arrives later.
        marks: Numbers by name, such as the highest id that was given out; a mark only rises.
        scores: The scores of these records; one of a row that was not raised is left out. A record enters a season with another
            score than it had last.
        repairs: A row of the same revision with another digest is replaced.
    """

    rows: Sequence[ColdRow] = ()
    letters: Sequence[ColdLetter] = ()
    opened: Sequence[str] = ()
    marks: Mapping[str, int] = {}
    scores: Sequence[ColdScore] = ()
    repairs: bool = False


class ColdWritten(msgspec.Struct, frozen=True):
    """The outcome of a batch.

    Attributes:
        rows: The number of rows that it raised.
        unreadable: The keys of rows without a copy for queries, because it cannot be JSON of the database; their bytes are kept.
    """

    rows: int
    unreadable: tuple[str, ...] = ()


class ColdStore(Protocol):
    """Rows of records. Every backend keeps these invariants.

    One object belongs to one event loop; any number of its tasks may call it at the same time.

    Atomicity. A batch is written wholly or not at all, and is durable when `write` returns. After an error it may have been
    written; a second write of it changes nothing more.

    Order. The revision of a row only rises, and so does a mark. A tombstone is a row, and outranks every earlier revision.

    Failure. Each method raises `StorageError` while the store cannot be reached; the next call tries to connect again.

    Attributes:
        boards: The boards, as the batches filled them.
    """

    @property
    def boards(self) -> ColdBoards: ...  # noqa: D102 - an attribute of the class

    async def connect(self) -> None:
        """Open the store, and make its tables if it has none; returns when it answers.

        After an error it is open all the same, and each call tries to connect.

        Raises:
            StorageUnavailable: The store does not answer.
            StorageMisconfigured: It answers, but cannot serve.
        """
        ...

    async def disconnect(self) -> None:
        """Finish the calls under way, then close. A second call has no effect."""
        ...

    async def write(self, batch: ColdBatch) -> ColdWritten:
        """Write a batch.

        Raises:
            StorageError: The store cannot be reached, or refuses; the batch may have been written.
        """
        ...

    async def rows(self, keys: Sequence[str]) -> list[ColdRow | None]:
        """The rows of records; None for a record that the store does not have.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    async def heads(self, keys: Sequence[str]) -> list[ColdHead | None]:
        """As `rows`, without the bytes.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    def all_heads(self) -> AsyncIterator[list[ColdHead]]:
        """Every row in pages, ordered by key within a table.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    async def unopened(self, after: int, count: int) -> list[tuple[int, ColdLetter]]:
        """Letters that are not known to be opened, in the order in which they came, each with its place.

        Args:
            after: The place after which to begin; 0 for the first.
            count: The most letters to return.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    async def marks(self) -> dict[str, int]:
        """Every mark.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    async def erase(self, key: str, revision: int, boards: Sequence[str] = ()) -> None:
        """Replace a row by a tombstone, remove the letters to this record and its places on boards, and note the erasure.

        Args:
            key: The key of the record.
            revision: The revision of the tombstone. A row of a later revision becomes a tombstone of its own revision.
            boards: The boards of its class.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    async def tidy(self) -> None:
        """Forget letters that were opened more than a week ago; see `ColdBatch.opened`.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...
