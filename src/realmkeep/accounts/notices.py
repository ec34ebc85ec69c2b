"""Notices of account changes that end sessions: one key of the store, which every server reads once a second.

A notice only names the account; servers then read the account itself. Reading a notice twice is therefore harmless, and since
the notice is posted in the transaction of the change, no crash can separate the two.
"""

from typing import Final

import msgspec

from realmkeep.clock import Clock
from realmkeep.keys import SERVER_ACCOUNT_NOTICES
from realmkeep.storage import Guard, Put, Storage

KEEP_S: Final = 600.0  # ten minutes for a server that is paused, or cannot reach the store
NOTICES_MAX: Final = 4_000  # of 32 characters each they fill half a stored value; the oldest go first

_Stamps = dict[str, int]


class AccountNotices:
    """The notices of one realm.

    Args:
        storage: The store.
        clock: Gives the stamp of a notice, wall time; the stamps in the store rise even if a server's clock is behind.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    async def read_stamps(self) -> dict[str, int]:
        """The stamps of the recently changed accounts, by name; a new stamp means a new change.

        Raises:
            StorageError: The store cannot be reached.
        """
        return _read(await self._storage.load(SERVER_ACCOUNT_NOTICES))

    async def posting(self, username: str) -> tuple[Guard, Put]:
        """Guard and effect that post a notice in the transaction of the change; refused if another notice came first.

        Raises:
            StorageError: The store cannot be reached.
        """
        found = await self._storage.load(SERVER_ACCOUNT_NOTICES)
        stamps = _read(found)
        stamps.pop(username, None)
        stamp_us = max(self._clock.wall_us(), max(stamps.values(), default=0) + 1)
        fresh_us = stamp_us - int(KEEP_S * 1e6)
        kept = [(name, us) for name, us in stamps.items() if us > fresh_us][-(NOTICES_MAX - 1) :]
        value = msgspec.json.encode({**dict(kept), username: stamp_us})
        return Guard(SERVER_ACCOUNT_NOTICES, found), Put(SERVER_ACCOUNT_NOTICES, value, expire_s=KEEP_S)


def _read(stored: bytes | None) -> _Stamps:
    """The notices in their order; an unreadable value counts as empty, and the next notice replaces it."""
    try:
        return msgspec.json.decode(stored or b"{}", type=_Stamps)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
