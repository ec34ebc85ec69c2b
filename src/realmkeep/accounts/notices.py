"""Which accounts were changed lately in a way that ends sessions: one key of the store, which every server looks at each second.

A notice says only which account to look at; the account says what became of it. So a notice that is read twice does no harm,
and one posted in the same transaction as the change cannot be lost by a crash between the two.
"""

from typing import Final

import msgspec

from realmkeep.clock import Clock
from realmkeep.keys import SERVER_ACCOUNT_NOTICES
from realmkeep.storage import Guard, Put, Storage

KEEP_S: Final = 600.0  # ten minutes for a server that is paused, or has lost the store
NOTICES_MAX: Final = 4_000  # of 32 characters each they fit one stored value twice over; the oldest go first

_Stamps = dict[str, int]


class AccountNotices:
    """The notices of one realm.

    Args:
        storage: Where they lie.
        clock: Its wall time is the stamp of a notice; the stamps in the store only rise, whatever a server's clock says.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    async def read(self) -> dict[str, int]:
        """The accounts that were changed lately, by name; another number than before says that it was changed again.

        Raises:
            StorageError: The store cannot be reached.
        """
        return _read(await self._storage.load(SERVER_ACCOUNT_NOTICES))

    async def posting(self, username: str) -> tuple[Guard, Put]:
        """What posts a notice about an account, in the transaction that changes it; refused if another came in between.

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
    """The notices in their order; what cannot be read holds none, and the next notice replaces it."""
    try:
        return msgspec.json.decode(stored or b"{}", type=_Stamps)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
