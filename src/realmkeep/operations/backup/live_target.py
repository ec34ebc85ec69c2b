"""Restoring into a store that runs by itself: the contents are copied.

Into a database in one transaction; into a Valkey or Redis behind a mark that keeps servers out.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from typing_extensions import override

from realmkeep import keys
from realmkeep.config import mask_url
from realmkeep.errors import InvalidKey, RestoreRefused
from realmkeep.keys import SERVER_RESTORING, SERVER_SYNCED
from realmkeep.storage import Committed, Guard, Put, Transaction

if TYPE_CHECKING:
    from pathlib import Path

    from realmkeep.clock import Clock
    from realmkeep.storage import Storage


@dataclass(frozen=True)
class LiveTarget:
    """A store that runs by itself."""

    url: str
    storage: Storage
    clock: Clock

    @property
    def beside(self) -> Path | None:
        """None: its files may be on another machine."""
        return None

    async def check(self) -> None:
        """As `Target.check`."""
        await self.storage.connect()
        try:
            await self.check_empty()
        finally:
            await self.storage.disconnect()

    async def check_empty(self) -> None:
        """As `check`, on the connected store.

        Raises:
            RestoreRefused: It is not empty, or live servers use it.
            StorageError: It cannot be reached.
        """
        found = [key async for key in self.storage.keys("*") if key != SERVER_SYNCED]
        if not found:
            return
        if SERVER_RESTORING in found:
            raise RestoreRefused(
                f"an earlier restore into {mask_url(self.url)} was not completed",
                hint="empty the store (FLUSHDB, if it has no other realm), and restore again",
            )
        if servers := sorted(name for key in found if (name := _server(key))):
            raise RestoreRefused(
                f"these servers use the store {mask_url(self.url)}: {', '.join(servers)}",
                hint="stop them, and restore into an empty store",
            )
        raise RestoreRefused(
            f"the store {mask_url(self.url)} is not empty ({len(found):,} keys), and a restore replaces no store",
            hint="name an empty store; keep the old one until the restore is proven",
        )

    async def fill(self, scratch: Path) -> None:
        """Mark the store, copy everything, and take the mark away: no server starts on a half-restored store."""
        await self.storage.connect()
        try:
            await self.check_empty()
            mark = Transaction([Guard(SERVER_RESTORING, None)], [Put(SERVER_RESTORING, b"1")])
            (outcome,) = await self.storage.write([mark])
            if not isinstance(outcome, Committed):
                raise RestoreRefused(f"the store {mask_url(self.url)} was not marked: {outcome}", hint="try again")
            from realmkeep.storage.embedded_process import socket_path  # noqa: PLC0415 - imports a driver
            from realmkeep.storage.redis_copy import copy_contents  # noqa: PLC0415 - as above
            from realmkeep.storage.redis_url import RedisAddress, parse_redis_url  # noqa: PLC0415 - as above

            source = RedisAddress(socket_path=str(socket_path(scratch)))
            await copy_contents(source, parse_redis_url(urlsplit(self.url)), self.clock)
            await self.storage.flush()
            await self.storage.delete(SERVER_RESTORING)
            await self.storage.snapshot()
        finally:
            await self.storage.disconnect()

    async def publish(self, scratch: Path) -> None:
        """Do nothing: the store has its contents."""


@dataclass(frozen=True)
class DatabaseTarget(LiveTarget):
    """A Postgres database."""

    @override
    async def fill(self, scratch: Path) -> None:
        """Copy everything in one transaction, which fails if the tables are not empty."""
        from realmkeep.storage.postgres.address import parse_postgres_url  # noqa: PLC0415 - imports a driver
        from realmkeep.storage.postgres.snapshot import fill_database  # noqa: PLC0415 - as above

        await self.check()  # makes the tables, too
        await asyncio.to_thread(fill_database, parse_postgres_url(urlsplit(self.url)), scratch)


def _server(key: str) -> str:
    """The server that holds a lease; empty for another key."""
    try:
        parsed = keys.parse(key)
    except InvalidKey:
        return ""
    return parsed.id if parsed.role == "lease" else ""
