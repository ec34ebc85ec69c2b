"""Recovery of the records that a former run of this server owned; an unusable one does not hold up the others."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeVar

from realmkeep.errors import AlreadyOwned, RecordError, ShuttingDown, StorageError
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.records import Record

if TYPE_CHECKING:
    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keeping.lifecycle.entering import SessionEntry
    from realmkeep.keeping.live.session import Session

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)

RECOVER_AT_ONCE: Final = 1024  # they share the wait for an fsync: two seconds on a store that fsyncs once a second


async def recover(engine: Engine, entry: SessionEntry, cls: type[R]) -> list[Session[R]]:
    """As `Keeper.recover`.

    Raises:
        ShuttingDown: The keeper is closing.
        StorageError: The store cannot be reached.
    """
    recovered: list[Session[R]] = []
    former = [id_ async for id_ in engine.claims.former_records(cls)]
    for start in range(0, len(former), RECOVER_AT_ONCE):
        some = [_recover_one(engine, entry, cls, id_) for id_ in former[start : start + RECOVER_AT_ONCE]]
        for outcome in await asyncio.gather(*some, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is not None:
                recovered.append(outcome)
    return recovered


async def _recover_one(engine: Engine, entry: SessionEntry, cls: type[R], id_: str) -> Session[R] | None:
    """The session; None if its player was faster, or if it cannot be used: then the log and `degraded` say why."""
    record = keys_of(cls, id_).record
    if record in engine.sessions:
        return None
    try:
        return await entry.enter(cls, id_, None, shared=False, away=True)
    except (AlreadyOwned, RecordError) as error:
        if record not in engine.sessions:
            log.error("%s was not recovered: %s", record, error)
            if not isinstance(error, AlreadyOwned):  # another server has it, and it is well there
                engine.unrecovered[record] = str(error)
    except (StorageError, ShuttingDown):
        raise
    except Exception as error:
        log.exception("%s was not recovered", record)
        engine.unrecovered[record] = repr(error)
    return None
