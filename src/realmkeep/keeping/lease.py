"""A server's lease: who is alive under which name, and who owns what.

Leases with fencing after Gray and Cheriton (SOSP 1989) and Burrows' Chubby (OSDI 2006): a lease only decides when another
server may take over; what protects a record is its owner key, compared whole in every write.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from realmkeep import keys
from realmkeep.errors import Corrupt, NameTaken, StorageError, StorageUnavailable
from realmkeep.storage import Committed, Delete, Guard, Put, Refused, Transaction

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.config import KeeperConfig
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

_OPEN_HERE: Final[set[str]] = set()  # incarnations of this process: two keepers of one name are told at once
WATCH_S: Final = 1.0  # how often a starting server looks whether the lease in its way is renewed
RETRY_S: Final = 1.0  # between attempts to renew while the store is away


class Owner(NamedTuple):
    """What an owner key says: `town-1/5f3a9c01/1767225600000000`."""

    server: str
    incarnation: str
    token: str

    def encode(self) -> bytes:
        """As it is stored."""
        return "/".join(self).encode()

    @classmethod
    def decode(cls, stored: bytes, key: str) -> Owner:
        """Take it apart.

        Raises:
            Corrupt: It does not have three parts.
        """
        parts = stored.decode("utf-8", "replace").split("/")
        if len(parts) != 3:
            raise Corrupt(f"{key} does not name an owner: {stored[:80]!r}", hint="delete it if no server runs")
        return cls(*parts)


class Lease(msgspec.Struct, frozen=True):
    """What `server:{name}:lease` holds while the server lives."""

    incarnation: str
    beat: int
    host: str
    pid: int

    @classmethod
    def decode(cls, stored: bytes, key: str) -> Lease:
        """Read it.

        Raises:
            Corrupt: It is not a lease.
        """
        try:
            return msgspec.json.decode(stored, type=cls)
        except msgspec.DecodeError as error:
            raise Corrupt(
                f"{key} does not hold a lease: {error}", hint="delete it if no server of this name runs"
            ) from error


class LeaseEvents(Protocol):
    """Who is told what happens to the lease."""

    def replaced(self, by: str) -> None:
        """Another keeper took the name: nothing of this one will be stored."""
        ...

    def store_went_backwards(self) -> None:
        """The store holds an older beat than it acknowledged."""
        ...


class LeaseHolder:
    """Takes, renews and drops the lease of one keeper."""

    def __init__(self, storage: Storage, clock: Clock, config: KeeperConfig, events: LeaseEvents) -> None:
        self._storage = storage
        self._clock = clock
        self._config = config
        self._events = events
        self._key = keys.server_lease(config.name)
        self._value: bytes | None = None
        self._beat = 0
        self.name = config.name
        self.incarnation = secrets.token_hex(4)
        self.renewed_s = float("-inf")
        self.replaced = False
        self._dropped = False

    @property
    def ttl_s(self) -> float:
        """How long a silent server keeps what it owns."""
        return self._config.lease_ttl_s

    @property
    def lapsed(self) -> bool:
        """It could not be renewed in time: other servers may take over what this one owns."""
        return self._clock.monotonic_s() - self.renewed_s > self._config.lease_ttl_s

    def owner(self, token: int) -> bytes:
        """An owner key of this server."""
        return Owner(self.name, self.incarnation, str(token)).encode()

    async def take(self) -> None:
        """Take the name: at once from a dead former incarnation, else when its lease has run out.

        Raises:
            NameTaken: A live keeper has it.
            StorageError: The store cannot be reached.
        """
        watched: bytes | None = None
        while True:
            found = await self._storage.load(self._key)
            if found is not None:
                former = Lease.decode(found, self._key)
                if watched is not None and found != watched:
                    self._refuse(former)
                if not self._certainly_dead(former):
                    if watched is None:
                        log.warning(
                            "the lease of %s is held by pid %d on %s; watching whether it lives",
                            self.name,
                            former.pid,
                            former.host,
                        )
                    watched = found
                    await self._clock.sleep(WATCH_S)
                    continue
            if await self._put(found):
                _OPEN_HERE.add(self.incarnation)
                return
            watched = watched or found

    def _refuse(self, other: Lease) -> None:
        raise NameTaken(
            f"a keeper named {self.name!r} is alive: pid {other.pid} on {other.host}",
            hint="give every server of a realm a name of its own (keeper.name)",
        )

    def _certainly_dead(self, former: Lease) -> bool:
        if former.incarnation in _OPEN_HERE:
            self._refuse(former)
        if former.host != socket.gethostname():
            return False
        return former.pid == os.getpid() or not _pid_may_live(former.pid)

    async def _put(self, found: bytes | None) -> bool:
        value = msgspec.json.encode(Lease(self.incarnation, self._beat + 1, socket.gethostname(), os.getpid()))
        effects = [Put(self._key, value, expire_s=self._config.lease_ttl_s)]
        started_s = self._clock.monotonic_s()
        (outcome,) = await self._storage.write([Transaction([Guard(self._key, found)], effects)])
        if isinstance(outcome, Committed):
            self._beat += 1
            self._value = value
            self.renewed_s = started_s
            return True
        if isinstance(outcome, Refused):
            return False
        raise outcome.error

    async def keep(self) -> None:
        """Renew it, for ever, or until another keeper took the name."""
        wait_s = self._config.heartbeat_s
        while not self.replaced:
            await self._clock.sleep(wait_s)
            if self._dropped:
                return
            try:
                async with self._clock.timeout(self._config.heartbeat_s):
                    await self._renew()
                wait_s = self._config.heartbeat_s
            except (StorageError, TimeoutError) as error:
                wait_s = min(RETRY_S, self._config.heartbeat_s)
                log.warning("the lease of %s was not renewed: %s", self.name, str(error) or "no answer in time")

    async def _renew(self) -> None:
        found = await self._storage.load(self._key)
        if found is not None and found != self._value:
            other = Lease.decode(found, self._key)
            if other.incarnation != self.incarnation:
                self.replaced = True
                self._events.replaced(f"pid {other.pid} on {other.host}")
                return
            if other.beat < self._beat:
                self._events.store_went_backwards()
        if not await self._put(found):
            raise StorageUnavailable(f"the lease of {self.name} changed while it was renewed", hint="it is tried again")

    async def drop(self) -> None:
        """Give up the name, if it is still ours.

        Raises:
            StorageError: The store cannot be reached; the lease runs out by itself.
        """
        self.forget()
        self._dropped = True  # a renewal under way must not put it back
        if self._value is not None and not self.replaced:
            (outcome,) = await self._storage.write([Transaction([Guard(self._key, self._value)], [Delete(self._key)])])
            if not isinstance(outcome, (Committed, Refused)):
                raise outcome.error

    def forget(self) -> None:
        """This process has no such keeper any more."""
        _OPEN_HERE.discard(self.incarnation)


def _pid_may_live(pid: int) -> bool:
    if os.name != "posix":
        return True  # os.kill ends processes on Windows; the lease's own end tells
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
