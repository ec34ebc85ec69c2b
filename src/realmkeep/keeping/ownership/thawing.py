"""The thaw: a frozen record comes back from the cold tier in the very transaction that claims it.

The row must have the revision and the digest of the stub. Otherwise the login is denied: no state is ever invented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.errors import Quarantined, StorageError, StorageUnavailable
from realmkeep.storage import Delete, Put

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realmkeep.background import Background
    from realmkeep.clock import Clock
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Effect
    from realmkeep.storage.cold import ColdHead, ColdRow, ColdStore, Stub


ANSWER_S: Final = 0.5  # a row is read in 1 ms
AWAY_S: Final = 10.0


class Thawed(NamedTuple):
    """A frozen record with its row.

    Attributes:
        stub: The stub as it is stored.
        updated: The value at the key of its revision; None as long as only Realmkeep writes there.
        row: The row, as the stub names it.
        revision: The revision that the record has once it is thawed.
    """

    stub: bytes
    updated: bytes | None
    row: ColdRow
    revision: int

    def effects(self, keys: RecordKeys) -> Iterator[Effect]:
        """Put everything back as it was before the record was frozen."""
        yield Put(keys.record, self.row.body or b"")
        yield Put(keys.updated, b"%d" % self.revision)
        yield Put(keys.version, b"%d" % self.row.version)
        yield Put(keys.ops, self.row.ops) if self.row.ops else Delete(keys.ops)


class LossGuard:
    """Keeps a record from being made anew that the cold tier has alive, because the hot store has lost it.

    A cold tier that does not answer soon is away: no new player waits for it until it has answered a question beside them.

    Args:
        cold: The cold tier; None if this server has none.
        clock: The clock.
        background: Runs that question.
    """

    def __init__(self, cold: ColdStore | None, clock: Clock, background: Background) -> None:
        self._cold = cold
        self._clock = clock
        self._background = background
        self._is_away = False
        self._asks_from_s = float("-inf")

    async def check(self, key: str) -> None:
        """Check a record that the hot store does not have.

        Raises:
            StorageUnavailable: The cold tier has it; nothing was changed.
        """
        if self._cold is None:
            return
        if self._is_away:
            if (now_s := self._clock.monotonic_s()) >= self._asks_from_s:
                self._asks_from_s = now_s + AWAY_S
                self._background.run("question to the archive", self._look(self._cold, key))
            return
        head = await self._head(self._cold, key)
        if head is not None and not head.is_deleted:
            raise StorageUnavailable(
                f"{key} is absent, and the archive has it: the store may have lost it",
                hint="stop the servers, then: realmkeep archive reconcile; after a deletion try again in a moment",
            )

    async def _look(self, cold: ColdStore, key: str) -> None:
        await self._head(cold, key)

    async def _head(self, cold: ColdStore, key: str) -> ColdHead | None:
        """The head of a row, and whether the cold tier is away; None if it is."""
        try:
            async with self._clock.timeout(ANSWER_S):
                (head,) = await cold.heads([key])
        except (StorageError, TimeoutError):
            self._is_away, self._asks_from_s = True, self._clock.monotonic_s() + AWAY_S
            return None
        self._is_away = False
        return head


async def thaw(cold: ColdStore | None, key: str, stub: Stub, *, is_final: bool) -> ColdRow | None:
    """The row of a frozen record; None if the hot store should be read anew, because another server may have thawed it.

    Args:
        cold: The cold tier; None if this server has none.
        key: The key of the record.
        stub: Its stub.
        is_final: The hot store was read anew, and has the same stub.

    Raises:
        Quarantined: The cold tier has no such row, or this server has no cold tier; nothing was changed.
        StorageUnavailable: The cold tier cannot be reached.
    """
    if cold is None:
        raise Quarantined(
            f"{key} is frozen, and this server has no archive to thaw it from",
            kept_at=key,
            hint="set archive.url as on the server that froze it",
        )
    try:
        (row,) = await cold.rows([key])
    except StorageError as error:
        raise StorageUnavailable(
            f"{key} is frozen, and its archive cannot be reached: {error.message}",
            hint="try again in a moment; players who were here lately can log in",
        ) from error
    if row is not None and row.body is not None and (row.revision, row.digest) == (stub.revision, stub.digest):
        return row
    if not is_final:
        return None
    if row is None:
        has = "no row of it"
    else:
        has = f"{'a tombstone' if row.body is None else 'other bytes'} of revision {row.revision}"
    raise Quarantined(
        f"{key} is frozen at revision {stub.revision}, and the archive has {has}",
        kept_at=key,
        hint="restore the archive from a newer backup, or the record from a backup; `realmkeep archive verify` lists all",
    )
