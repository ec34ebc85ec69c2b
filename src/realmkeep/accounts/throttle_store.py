"""The failed logins of a server in the store, so that a restart does not forget them."""

import logging
from typing import Final

from realmkeep.accounts.throttle import TABLES, Throttle
from realmkeep.clock import Clock
from realmkeep.errors import StorageError
from realmkeep.keys import server_throttle
from realmkeep.storage import Committed, Put, Refused, Storage, Transaction, load_each

log = logging.getLogger("realmkeep.accounts")

_KEEP_S: Final = 24 * 3600.0  # as long as a failure counts


class ThrottleStore:
    """Saves and loads the failed logins of one server.

    Args:
        throttle: Counts the failures.
        storage: The store.
        server_name: The server's name; each server has keys of its own.
        clock: Yields to the event loop between slices.
    """

    def __init__(self, throttle: Throttle, storage: Storage, server_name: str, clock: Clock) -> None:
        self._throttle = throttle
        self._storage = storage
        self._keys = [server_throttle(server_name, table) for table in TABLES]
        self._clock = clock
        self._saved = throttle.changes

    async def load_failures(self) -> None:
        """Load the saved failures; an unreadable table is logged and starts from zero.

        Raises:
            StorageError: The store cannot be reached.
        """
        for table, key, packed in zip(TABLES, self._keys, await load_each(self._storage, self._keys), strict=True):
            if packed is not None and not self._throttle.unpack(table, packed):
                log.error("%s cannot be read; failures of that table start from zero", key)

    async def save_failures(self) -> None:
        """Save the failures if there are new ones; if the store is unreachable, log that and leave all to the next save."""
        changes = self._throttle.changes
        if changes == self._saved:
            return
        puts: list[Put] = []
        for table, key in zip(TABLES, self._keys, strict=True):
            parts: list[bytes] = []
            for part in self._throttle.pack(table):
                parts.append(part)
                await self._clock.sleep(0)
            puts.append(Put(key, b"".join(parts), expire_s=_KEEP_S))
        try:
            (outcome,) = await self._storage.write([Transaction([], puts)])
        except StorageError as error:
            log.warning("failed logins could not be saved: %s", error)
            return
        if isinstance(outcome, Committed):
            self._saved = changes
        elif not isinstance(outcome, Refused):
            log.warning("failed logins could not be saved: %s", outcome.error)
