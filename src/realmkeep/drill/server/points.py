"""Named points at which a server kills itself, so that no other process has to hit the moment."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from realmkeep.storage import AnyTransaction, Delete, Storage, Transaction, WriteOutcome

POINTS: Final = {
    "write-begins": "transactions are queued, and the store was not asked",
    "write-ends": "the store has them, and no client was answered",
    "login-reads": "a record was read for its login, and is not owned yet",
    "inbox-reads": "letters were read, and are not opened",
    "release-ends": "a record's last write and release are stored, and its client was not answered",
}


class DeathPoints:
    """Wraps a storage's calls, and kills this process at the point that was armed.

    Args:
        storage: The storage of this server.
        marker: The file that names the point that was reached.
    """

    def __init__(self, storage: Storage, marker: Path) -> None:
        self._marker = marker
        self._armed = ""
        write, load_many, load_list = storage.write, storage.load_many, storage.load_list

        async def dying_write(transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
            self._pass("write-begins")
            outcomes = await write(transactions)
            self._pass("write-ends")
            if any(_releases(transaction) for transaction in transactions):
                self._pass("release-ends")
            return outcomes

        async def dying_load_many(keys: Sequence[str]) -> list[bytes | None]:
            found = await load_many(keys)
            self._pass("login-reads")
            return found

        async def dying_load_list(key: str, **window: Any) -> list[bytes]:
            found = await load_list(key, **window)
            if found and key.endswith(":inbox"):
                self._pass("inbox-reads")
            return found

        vars(storage).update(write=dying_write, load_many=dying_load_many, load_list=dying_load_list)

    def arm(self, point: str) -> None:
        """Die when this point is passed next; an empty name disarms.

        Raises:
            ValueError: There is no such point.
        """
        if point and point not in POINTS:
            raise ValueError(f"there is no point {point!r}")
        self._armed = point

    def _pass(self, point: str) -> None:
        if self._armed == point:
            self._marker.write_text(point, encoding="ascii")
            os.kill(os.getpid(), signal.SIGKILL)


def _releases(transaction: AnyTransaction) -> bool:
    return isinstance(transaction, Transaction) and any(
        isinstance(effect, Delete) and effect.key.endswith(":owner") for effect in transaction.effects
    )
