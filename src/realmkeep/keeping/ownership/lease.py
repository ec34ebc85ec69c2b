"""A server's lease: its sign of life in the store, and the owner keys that it writes while it lives.

Leases with fencing after Gray and Cheriton (SOSP 1989) and Burrows' Chubby (OSDI 2006): a lease only decides when another
server may take over. The owner key protects a record, because every write compares it whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from realmkeep import keys
from realmkeep.errors import Corrupt, InvalidKey, NameTaken, RealmkeepError, StorageError, StorageUnavailable
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.keeping.ownership.server_process import ServerProcess, this_process
from realmkeep.storage import Committed, Delete, Guard, Put, Refused, Transaction, load_each

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.config import KeeperConfig
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.ownership.id_counter import IdCounter
    from realmkeep.keeping.ownership.loss_probe import LossProbe, SampledWrite
    from realmkeep.keeping.ownership.restart_barrier import RestartBarrier
    from realmkeep.keeping.ownership.store_answers import StoreAnswers
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

_OPEN_HERE: Final[set[str]] = set()  # incarnations of this process: two keepers of one name are told at once
WATCH_S: Final = 1.0  # how often a starting server looks whether the lease in its way is renewed
RETRY_S: Final = 1.0  # between attempts to renew while the store is away
RESTART_S: Final = 1.0  # how soon a restart of a store is noticed that may lose something: claims wait for that
LATE_RENEWALS_MAX: Final = 2  # of a keeper that has ended
TTL_S_MAX: Final = 900.0  # as of `keeper.lease_ttl_s`: a lease that says more is malformed
LEASES_WATCHED_MAX: Final = 1024  # servers of one realm


class Owner(NamedTuple):
    """The three parts of an owner key, such as `town-1/5f3a9c01/1767225600000000`."""

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
        try:
            if len(parts) == 3 and keys.server_lease(parts[0]):
                return cls(*parts)
        except InvalidKey:
            pass  # as below: no server has such a name
        raise Corrupt(f"{key} does not name an owner: {stored[:80]!r}", hint="delete it if no server runs")

    @classmethod
    def read(cls, stored: bytes | None, key: str) -> Owner | None:
        """The owner of a record; None if it has none, or, with a line in the log, if the key cannot be read."""
        try:
            return None if stored is None else cls.decode(stored, key)
        except Corrupt as error:
            log.error("%s", error)
            return None


class Lease(msgspec.Struct, frozen=True):
    """The value of `server:{name}:lease` while the server lives.

    Attributes:
        incarnation: Which run of the server holds it.
        beat: Rises with each renewal.
        host: The machine it runs on.
        pid: Its process there.
        expires_us: When it runs out unless it is renewed, by the server's own wall clock; 0 if an older release wrote it.
        ttl_s: Its lifetime in seconds when it was renewed; 0 if an older release wrote it.
        process: Tells its process from any other (`ServerProcess`); empty if an older release wrote it.
        address: `keeper.address`.
        version: `keeper.version`.
        state: `open`, or `draining` while the server lets go of its players and lets nobody in.
        drains_to: The server to which it sends them; empty if any will do.
    """

    incarnation: str
    beat: int
    host: str
    pid: int
    expires_us: int = 0
    ttl_s: float = 0.0
    process: str = ""
    address: str = ""
    version: str = ""
    state: Literal["open", "draining"] = "open"
    drains_to: str = ""

    @property
    def renewed_us(self) -> float:
        """When it was sent, by the server's own wall clock; infinity if an older release wrote it."""
        return self.expires_us - self.ttl_s * 1_000_000 if self.ttl_s else float("inf")

    @classmethod
    def decode(cls, stored: bytes, key: str) -> Lease:
        """Read it.

        Raises:
            Corrupt: It is not a lease.
        """
        try:
            return msgspec.json.decode(stored, type=cls)
        except UNDECODABLE as error:
            raise Corrupt(
                f"{key} does not hold a lease: {error}", hint="delete it if no server of this name runs"
            ) from error


class LeaseWatch:
    """Tells by this server's monotonic clock, which is never set, how long a lease has stood still.

    A store drops a lease by its own wall clock. If that clock is set back by an hour, a dead server's lease lasts an hour more.
    But a live lease changes with every beat. A lease that has not changed for its whole lifetime belongs to a server that has
    given up, or will give up as soon as it goes on. The server that takes over guards on the very bytes that stood still.

    Args:
        clock: The clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[bytes, float]] = {}

    def left_s(self, key: str, stored: bytes, ttl_s: float) -> float:
        """For how many seconds more a lease holds if it stays as it is; 0: it has stood still for `ttl_s`."""
        now_s = self._clock.monotonic_s()
        before, since_s = self._seen.get(key, (b"", 0.0))
        if before != stored:
            since_s = now_s
            self._seen.pop(key, None)
            self._seen[key] = stored, since_s
            if len(self._seen) > LEASES_WATCHED_MAX:
                del self._seen[next(iter(self._seen))]
        return max(0.0, since_s + min(max(ttl_s, 0.0), TTL_S_MAX) - now_s)


class LeaseState(Enum):
    """The state of the lease of one keeper."""

    FREE = "free"
    """The name is not taken yet."""
    HELD = "held"
    """Renewed in time: no other server may take over a record."""
    LAPSED = "lapsed"
    """Not renewed in time: other servers may take over records, until the next renewal."""
    REPLACED = "replaced"
    """Another keeper took the name: nothing of this one is stored any more."""
    DROPPED = "dropped"
    """The name is given back, at the shutdown."""


class LeaseHolder:
    """Takes, renews and drops the lease of one keeper.

    Attributes:
        name: The server's name.
        address: Where clients and gateways reach it.
        incarnation: Which run of the server this is.
        renewed_s: When the renewal was sent that the store took last, on the monotonic clock.
        look_back_due: Set when the store may have lost an acknowledged write, or the lease had run out before it was renewed.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        config: KeeperConfig,
        sessions: SessionRegistry,
        answers: StoreAnswers,
        loss_probe: LossProbe,
        barrier: RestartBarrier,
        ids: IdCounter,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._barrier = barrier
        self._ids = ids
        self._answers = answers
        self._loss_probe = loss_probe
        self._config = config
        self._sessions = sessions
        self._key = keys.server_lease(config.name)
        self._question = f"the lease of {config.name} was not renewed"
        self._value: bytes | None = None
        self._beat = 0
        self.name = config.name
        self.address = config.address
        self.incarnation = secrets.token_hex(4)
        self.renewed_s = float("-inf")
        self.look_back_due = asyncio.Event()
        self._state = LeaseState.FREE
        self._interrupted = False
        self._taken_us = 0
        self._former = ""
        self._foreign: dict[str, int] = {}
        self.watch = LeaseWatch(clock)
        self._run = ""
        self._renewing = asyncio.Lock()

    @property
    def ttl_s(self) -> float:
        """Seconds for which a silent server keeps its records."""
        return self._config.lease_ttl_s

    @property
    def state(self) -> LeaseState:
        """The state of the lease now; a held one lapses by time alone."""
        overdue = self._clock.monotonic_s() - self.renewed_s > self._config.lease_ttl_s
        return LeaseState.LAPSED if overdue and self._state is LeaseState.HELD else self._state

    @property
    def left_s(self) -> float:
        """Seconds until other servers may take over, unless the lease is renewed; 0 if they may now."""
        if self._state is not LeaseState.HELD:
            return 0.0
        return max(0.0, self.renewed_s + self._config.lease_ttl_s - self._clock.monotonic_s())

    @property
    def _guard(self) -> Guard:
        return Guard(self._key, self._value)

    @property
    def identity(self) -> bytes:
        """The first part of every owner key of this run of the server."""
        return f"{self.name}/{self.incarnation}/".encode()

    def owner_key(self, token: int) -> bytes:
        """An owner key of this server."""
        return Owner(self.name, self.incarnation, str(token)).encode()

    async def take_name(self) -> None:
        """Take the name: at once from a dead former incarnation, else when its lease has run out.

        Raises:
            NameTaken: A live keeper has it.
            StorageError: The store cannot be reached.
        """
        watched: bytes | None = None
        run = self._run = await self._barrier.current_run()
        while True:
            found = await self._storage.load(self._key)
            former = None if found is None else Lease.decode(found, self._key)
            if former is not None and watched is not None and found != watched:
                self._refuse(former)
            if former is None or await self._is_dead(former, found or b""):
                self._taken_us = self._clock.wall_us()
                self._former = "" if former is None else former.incarnation
                if await self._put(found):
                    # Nothing is missing, because no write was acknowledged to this incarnation yet.
                    await self._barrier.confirm_run(run, self._guard)
                    _OPEN_HERE.add(self.incarnation)
                    self._state = LeaseState.HELD
                    self._answers.note_answer(self._question)
                    return
                watched = watched or found
                continue
            if watched is None:
                log.warning(
                    "the lease of %s is held by pid %d on %s; watching for %.0f s whether it lives",
                    self.name,
                    former.pid,
                    former.host,
                    former.ttl_s or self.ttl_s,
                )
            watched = found
            await self._clock.sleep(WATCH_S)

    def _refuse(self, other: Lease) -> None:
        raise NameTaken(
            f"a keeper named {self.name!r} is alive: pid {other.pid} on {other.host}",
            hint="give every server of a realm a name of its own (keeper.name)",
        )

    async def _is_dead(self, former: Lease, stored: bytes) -> bool:
        """Whether its process is proved to be gone, or its lease has stood still for its whole lifetime."""
        if former.incarnation in _OPEN_HERE:
            self._refuse(former)
        if self.watch.left_s(self._key, stored, former.ttl_s or self.ttl_s) == 0:
            return True
        process = ServerProcess.decode(former.process)
        return former.host == socket.gethostname() and await process.has_certainly_ended(former.pid)

    async def _put(self, found: bytes | None) -> bool:
        ttl_s = self._config.lease_ttl_s
        expires_us = self._clock.wall_us() + round(ttl_s * 1_000_000)
        process = this_process().encode()
        lease = Lease(
            self.incarnation, self._beat + 1, socket.gethostname(), os.getpid(), expires_us, ttl_s, process,
            self.address, self._config.version, "draining" if self._sessions.draining else "open", self._sessions.drains_to,
        )  # fmt: skip
        value = msgspec.json.encode(lease)
        effects = [Put(self._key, value, expire_s=ttl_s)]
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

    async def keep_renewing(self) -> None:
        """Renew it, for ever, or until another keeper took the name."""
        wait_s = max(0.0, self.renewed_s + self._config.heartbeat_s - self._clock.monotonic_s())
        while True:
            await self._pause(wait_s)
            if self._state is not LeaseState.HELD:
                return
            try:
                async with self._clock.timeout(self._config.heartbeat_s), self._renewing:
                    await self._renew()
                self._answers.note_answer(self._question)
                wait_s = self._config.heartbeat_s
            except (RealmkeepError, TimeoutError) as error:
                wait_s = min(RETRY_S, self._config.heartbeat_s)
                self._answers.note_failure(self._question, error)

    async def announce(self) -> None:
        """Renew the lease now, so that the store has its state and address.

        Raises:
            StorageError: The store cannot be reached; the next beat says it.
            TimeoutError: It did not answer within a beat.
        """
        async with self._clock.timeout(self._config.heartbeat_s), self._renewing:
            await self._renew()

    async def _pause(self, wait_s: float) -> None:
        """Wait for the next beat, which follows a restart of the store soon."""
        left_s = wait_s
        while left_s > 0 and self._state is LeaseState.HELD:
            step_s = min(left_s, RESTART_S) if self._barrier.needed else left_s
            await self._clock.sleep(step_s)
            left_s -= step_s
            try:
                if await self._barrier.current_run() != self._barrier.confirmed_run:
                    return
            except StorageError:
                return  # the beat says so

    async def _renew(self) -> None:
        run = await self._barrier.current_run()
        if run != self._run:
            self._run, self._interrupted = run, True
            self._loss_probe.suspect_loss()
        found = await self._look()
        if found is not None and found != self._value:
            other = Lease.decode(found, self._key)
            if other.incarnation != self.incarnation and self._lives(other):
                self._state = LeaseState.REPLACED
                taken = f"another keeper took the name {self.name}: pid {other.pid} on {other.host}"
                log.critical("%s; every session here is over", taken)
                self._sessions.lose_all(taken)
                return
            # A renewal that a former incarnation sent may arrive late, after this lease has run out.
            self._interrupted |= other.incarnation != self.incarnation or other.beat < self._beat
        # Other servers may have taken over, though the store still had the lease.
        self._interrupted |= self.state is LeaseState.LAPSED
        if self._interrupted:
            await self._ids.catch_up()
        if self._state is not LeaseState.HELD:
            return  # the name was dropped meanwhile, and is not taken again
        if not await self._put(found):
            raise StorageUnavailable(f"the lease of {self.name} changed while it was renewed", hint="it is tried again")
        if self._interrupted:  # only now, because no other server takes over while the lease is there
            self._interrupted = False
            self.look_back_due.set()
        if not self._loss_probe.loss_suspected:
            await self._barrier.confirm_run(run, self._guard)

    def _lives(self, other: Lease) -> bool:
        """Whether the keeper of a lease in our place lives; a late renewal of a dead one may lie there too.

        A late renewal was sent before we began, by the clocks of both servers; but clocks are set. It comes once, or twice
        if the attempt was repeated. A live keeper renews again and again.
        """
        if other.incarnation == self._former:
            return False
        self._foreign[other.incarnation] = self._foreign.get(other.incarnation, 0) + 1
        return other.renewed_us >= self._taken_us or self._foreign[other.incarnation] > LATE_RENEWALS_MAX

    async def _look(self) -> bytes | None:
        """The lease in the store; the same read checks the newest acknowledged writes.

        Most losses of a store are younger than the last beat.
        """
        seen = self._loss_probe.take_samples()
        found, *stored = await load_each(self._storage, [self._key, *(each.key for each in seen)])
        self._interrupted |= not self._loss_probe.check(seen, stored)
        self._interrupted |= found is None
        return found

    @property
    def newest_write(self) -> SampledWrite | None:
        """The newest acknowledged write of the loss probe, for a reader that must not build on an older state."""
        return self._loss_probe.newest

    @property
    def store_id(self) -> bytes:
        """The identity of the store, as `LossProbe.store_id`."""
        return self._loss_probe.store_id

    @property
    def loss_suspected(self) -> bool:
        """Whether the store may lack an acknowledged write, and the look back is not done."""
        return self._loss_probe.loss_suspected

    def suspect_loss(self) -> None:
        """Look back now: the store lacks an acknowledged write."""
        self._loss_probe.suspect_loss()
        self.look_back_due.set()

    def record_claim(self, key: str, revision: int) -> None:
        """Add a record that was made along with its claim to the loss probe."""
        self._loss_probe.add_sample(key, revision)

    async def drop_name(self) -> None:
        """Give up the name, if it is still ours.

        Raises:
            StorageError: The store cannot be reached; the lease runs out by itself.
        """
        self.forget_name()
        if self._state is LeaseState.HELD:
            self._state = LeaseState.DROPPED
            (outcome,) = await self._storage.write([Transaction([self._guard], [Delete(self._key)])])
            if not isinstance(outcome, (Committed, Refused)):
                raise outcome.error

    def forget_name(self) -> None:
        """Remove the keeper from the open ones of this process, so that its name is free here."""
        _OPEN_HERE.discard(self.incarnation)
