"""Small records that no server owns, such as accounts: read, created, and replaced by compare-and-set.

Nothing is kept in memory between calls. Every change is guarded by the bytes from which it was made, so of two servers that
change one record at once, one is refused and has to read again. One case escapes the guards: a record is created, removed
within seconds, and created again by the late arrival of a request without an answer.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from realmkeep.clock import Clock, SystemClock
from realmkeep.config import RecordsConfig
from realmkeep.errors import AlreadyExists, OutcomeUnknown, Quarantined, RecordError, StorageUnavailable
from realmkeep.keeping.live.record_keys import keys_of, limits_of
from realmkeep.keys import RecordKeys, record_keys
from realmkeep.records.codecs import encode
from realmkeep.records.loading import load
from realmkeep.records.record import Record
from realmkeep.storage import Committed, Delete, Effect, Failed, Guard, Put, Refused, Storage, Transaction, Unknown

R = TypeVar("R", bound=Record)
Also: TypeAlias = Guard | Effect

RESOLVE_S: Final = 5.0  # how long a lost answer is resolved before the caller gets `OutcomeUnknown`
_FIRST_PAUSE_S: Final = 0.02

log = logging.getLogger("realmkeep.keeping")


@dataclass(frozen=True)
class FoundRecord(Generic[R]):
    """A record as it was read from the store.

    Attributes:
        record: Migrated and validated; the caller may change it.
        stored: The bytes in the store, to which `replace` and `remove` compare.
    """

    record: R
    stored: bytes


class UnownedRecords(Generic[R]):
    """The unowned records of one class; `Keeper.unowned` makes one with the keeper's configuration.

    Args:
        cls: Their class.
        storage: The store.
        records: Codec of new values, and caps on one; the defaults without it.
        clock: Paces the attempts after a lost answer.

    Attributes:
        records: As given, or the defaults.
    """

    def __init__(
        self,
        cls: type[R],
        storage: Storage,
        *,
        records: RecordsConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._cls = cls
        self._storage = storage
        self.records = records or RecordsConfig()
        self._limits = limits_of(self.records)
        self._clock = clock or SystemClock()

    def keys(self, id: int | str) -> RecordKeys:  # noqa: A002 - the field's own name
        """The keys of the record `id`.

        Raises:
            InvalidKey: The id is malformed.
        """
        return keys_of(self._cls, id)

    async def get(self, id: int | str) -> FoundRecord[R] | None:  # noqa: A002 - the field's own name
        """The record `id`; None if there is none.

        Raises:
            InvalidKey: The id is malformed.
            Quarantined: The stored record cannot be used: unreadable, newer than the code, or invalid. Its bytes stay.
            StorageUnavailable: The store cannot be reached.
        """
        key = self.keys(id).record
        stored = await self._storage.load(key)
        if stored is None:
            return None
        try:
            loaded = load(stored, self._cls, limits=self._limits, accept_unchecked=self.records.accept_unchecked)
            return FoundRecord(loaded.require(), stored)
        except RecordError as error:
            raise Quarantined(
                f"{key} cannot be used: {error.message}", hint=error.hint or "mend or restore the record"
            ) from error

    async def create(self, id: int | str, record: R, *also: Also) -> bool:  # noqa: A002 - the field's own name
        """Create the record `id`; False, and nothing happened, if it exists.

        Args:
            id: Its id.
            record: Its first value.
            also: More guards and effects for the same transaction: `new_record` makes those of another record.

        Raises:
            InvalidKey: The id is malformed.
            RecordError: The record is too large or cannot be stored.
            AlreadyExists: Another guard did not hold; nothing happened.
            StorageError: The store cannot be reached, is full, or its answer was lost (`outcome` tells which).
        """
        key = self.keys(id).record
        blob = encode(record, self.records.codec, limits=self._limits)
        return await self._write(key, None, blob, [Put(key, blob)], also)

    async def replace(self, id: int | str, old: FoundRecord[R], new: R, *also: Also) -> bool:  # noqa: A002 - the field's own name
        """Put `new` in the place of `old`; False, and nothing happened, if the record has changed since `old` was read.

        Raises:
            InvalidKey: The id is malformed.
            RecordError: The record is too large or cannot be stored.
            AlreadyExists: Another guard did not hold; nothing happened.
            StorageError: The store cannot be reached, is full, or its answer was lost (`outcome` tells which).
        """
        key = self.keys(id).record
        blob = encode(new, self.records.codec, limits=self._limits)
        return await self._write(key, old.stored, blob, [Put(key, blob)], also)

    async def remove(self, id: int | str, old: FoundRecord[R], *also: Also) -> bool:  # noqa: A002 - the field's own name
        """Remove `old`; False, and nothing happened, if the record has changed since `old` was read.

        Raises:
            InvalidKey: The id is malformed.
            AlreadyExists: Another guard did not hold; nothing happened.
            StorageError: The store cannot be reached, or its answer was lost (`outcome` tells which).
        """
        key = self.keys(id).record
        return await self._write(key, old.stored, None, [Delete(key)], also)

    def moved(self, id: int | str, old: FoundRecord[R], new_id: int | str, new: R) -> list[Also]:  # noqa: A002 - the field's own name
        """The guards and effects that remove `old` and create `new` under another id, for the transaction of another change.

        Raises:
            InvalidKey: An id is malformed.
            RecordError: The record is too large or cannot be stored.
        """
        key, new_key = self.keys(id).record, self.keys(new_id).record
        blob = encode(new, self.records.codec, limits=self._limits)
        return [Guard(key, old.stored), Guard(new_key, None), Delete(key), Put(new_key, blob)]

    async def settled(self) -> None:
        """Return when no crash of the store can lose the writes made here: at once, unless the store has a loss window.

        After such a crash a server writes its live sessions again, but no server remembers an unowned record.

        Raises:
            OutcomeUnknown: The store cannot be reached, so the writes may still be lost.
        """
        try:
            if self._storage.capability.loss_window_s != 0:
                await self._storage.flush()
        except StorageUnavailable as error:
            raise OutcomeUnknown(
                f"the last writes of {self._cls.__realmkeep__.kind} records may be lost if the store crashes",
                hint="read it again once the store is back",
            ) from error

    async def _write(
        self, key: str, old: bytes | None, new: bytes | None, effects: list[Effect], also: Sequence[Also]
    ) -> bool:
        guards = [Guard(key, old), *(each for each in also if isinstance(each, Guard))]
        # The record's own guard comes first, because the store reports the first guard that does not hold.
        transaction = Transaction(guards, [*effects, *(each for each in also if not isinstance(each, Guard))])
        deadline_s = self._clock.monotonic_s() + RESOLVE_S
        pause_s = _FIRST_PAUSE_S
        lost = False
        while True:
            (outcome,) = await self._storage.write([transaction])
            match outcome:
                case Committed():
                    return True
                case Refused(guard, found):
                    if guard.key != key:
                        raise AlreadyExists(
                            f"{guard.key} has changed, so {key} was not written",
                            hint="nothing happened; read both again",
                        )
                    return lost and found == new  # then the attempt without an answer had landed
                case Failed():
                    if not lost or not outcome.error.retryable:
                        raise self._unknown(key, outcome.error) if lost else outcome.error
                case Unknown():
                    lost = True
                    log.info("%s: the answer to a write was lost; it is sent again to learn the outcome", key)
            if self._clock.monotonic_s() >= deadline_s:
                raise self._unknown(key, outcome.error)
            await self._clock.sleep(pause_s)
            pause_s *= 2

    def _unknown(self, key: str, error: Exception) -> OutcomeUnknown:
        unknown = OutcomeUnknown(f"{key} may or may not have been written", hint="read it again before acting on it")
        unknown.__cause__ = error
        return unknown


def new_record(
    record: Record,
    id: int | str,  # noqa: A002 - the field's own name
    *,
    now_us: int,
    records: RecordsConfig | None = None,
) -> list[Also]:
    """The guards and effects that create an owned record, such as an account's character, in another's transaction.

    Args:
        record: Its first value.
        id: Its id; no such record may exist.
        now_us: Its first revision, in microseconds since the Unix epoch.
        records: Its codec, and the caps on it; the defaults without it.

    Raises:
        InvalidKey: The id is malformed.
        RecordError: The record is too large or cannot be stored.
    """
    info = type(record).__realmkeep__
    records = records or RecordsConfig()
    at = record_keys(info.kind, id, suffix=info.suffix)
    return [
        Guard(at.record, None),
        Guard(at.owner, None),
        Put(at.record, encode(record, records.codec, limits=limits_of(records))),
        Put(at.version, b"%d" % info.version),
        Put(at.updated, b"%d" % now_us),
    ]
