"""A cold store in the memory of one process, for tests and for the laboratory."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from realmkeep.errors import StorageUnavailable
from realmkeep.storage.cold.protocol import ColdBatch, ColdHead, ColdLetter, ColdRow, ColdWritten

PAGE_ROWS: Final = 500


class MemoryColdStore:
    """A `ColdStore` in memory; it survives `disconnect`, and dies with its process.

    Attributes:
        is_down: It answers every call with `StorageUnavailable`, for tests of an outage.
    """

    def __init__(self) -> None:
        self._rows: dict[str, ColdRow] = {}
        self._letters: dict[str, tuple[int, ColdLetter | None]] = {}
        self._marks: dict[str, int] = {}
        self._erased: dict[str, int] = {}
        self._places = 0
        self.is_down = False

    def __repr__(self) -> str:
        return f"<MemoryColdStore of {len(self._rows)} rows>"

    async def connect(self) -> None:
        """As `ColdStore.connect`."""
        self._check()

    async def disconnect(self) -> None:
        """As `ColdStore.disconnect`."""

    async def write(self, batch: ColdBatch) -> ColdWritten:
        """As `ColdStore.write`."""
        self._check()
        raised = 0
        for row in batch.rows:
            known = self._rows.get(row.key)
            is_newer = known is None or known.revision < row.revision
            repairs = (
                batch.repairs and known is not None and known.revision == row.revision and known.digest != row.digest
            )
            if is_newer or repairs:
                self._rows[row.key] = row
                raised += 1
        for letter in batch.letters:
            self._places += 1
            self._letters.setdefault(letter.id, (self._places, letter))
        for id_ in batch.opened:
            self._letters[id_] = (0, None)
        for name, value in batch.marks.items():
            self._marks[name] = max(value, self._marks.get(name, value))
        return ColdWritten(raised)

    async def rows(self, keys: Sequence[str]) -> list[ColdRow | None]:
        """As `ColdStore.rows`."""
        self._check()
        return [self._rows.get(key) for key in keys]

    async def heads(self, keys: Sequence[str]) -> list[ColdHead | None]:
        """As `ColdStore.heads`."""
        return [None if row is None else _head(row) for row in await self.rows(keys)]

    async def all_heads(self) -> AsyncIterator[list[ColdHead]]:
        """As `ColdStore.all_heads`."""
        self._check()
        found = [_head(row) for _, row in sorted(self._rows.items())]
        for start in range(0, len(found), PAGE_ROWS):
            yield found[start : start + PAGE_ROWS]

    async def unopened(self, after: int, count: int) -> list[tuple[int, ColdLetter]]:
        """As `ColdStore.unopened`."""
        self._check()
        found = [(place, letter) for place, letter in self._letters.values() if letter is not None and place > after]
        return sorted(found, key=lambda pair: pair[0])[:count]

    async def marks(self) -> dict[str, int]:
        """As `ColdStore.marks`."""
        self._check()
        return dict(self._marks)

    async def erase(self, key: str, revision: int) -> None:
        """As `ColdStore.erase`."""
        self._check()
        known = self._rows.get(key)
        at = revision if known is None else max(revision, known.revision)
        self._rows[key] = ColdRow(key, at, 0, None)
        self._letters = {
            id_: (place, None if letter is not None and letter.receiver == key else letter)
            for id_, (place, letter) in self._letters.items()
        }
        self._erased[key] = at

    async def tidy(self) -> None:
        """As `ColdStore.tidy`; the memory of a test is short."""
        self._check()

    def _check(self) -> None:
        if self.is_down:
            raise StorageUnavailable("the cold store is down", hint="try again")


def _head(row: ColdRow) -> ColdHead:
    return ColdHead(row.key, row.revision, row.digest)
