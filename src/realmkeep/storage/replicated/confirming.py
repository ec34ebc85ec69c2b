"""Waits until every replica of a primary has what the primary has: then its loss takes nothing of it.

WAIT holds up the connection on which it is sent, and tells of the last write of that connection alone. So it has a
connection of its own, on which each round begins with a small write. That write follows everything that was answered
before; a replica that has it has all of that. One round serves every call that waits when it begins.

A read writes nothing if the replicas have everything anyway, as INFO tells. They say so once a second and in each round.

While a slot is moved key by key, the key of that write may be gone already, and the rest is still here. Then a round
compares the offsets that ROLE tells: the replicas send theirs once a second.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple, cast

from redis.exceptions import AskError, MovedError, RedisError

from realmkeep.clock import Clock
from realmkeep.errors import StorageError, StorageUnavailable
from realmkeep.storage.redis_capability import read_info
from realmkeep.storage.redis_connection import (
    BROKEN,
    RedisConnection,
    Reply,
    make_connection,
    safe_cause,
    safe_storage_error,
)
from realmkeep.storage.redis_errors import is_reply, reply_code
from realmkeep.storage.redis_sync import SYNCED_KEEP_MS
from realmkeep.storage.redis_url import RedisAddress

ROUND_MS: Final = 100  # then the replicas are counted anew: one of them may be gone
TOLD_S_MAX: Final = 1  # replicas tell their offset once a second; one that was cut off does not any more
PAUSE_S: Final = 0.02  # before a question that was refused is asked again
_NUMBERED: Final = re.compile(r"slave\d+")
_REPLICA: Final = re.compile(r"state=online,offset=(\d+),lag=(\d+)")
_LATER: Final = frozenset({"NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MISCONF", "LOADING"})


class _Round(NamedTuple):
    """The answers of one round: the replicas that are online, how many of them have everything, and where the primary is."""

    online: int
    have_it: int
    offset: int


class Confirmer:
    """Confirms that replicas have what was answered.

    Args:
        clock: The clock.
        key: The key of the small write.
        replicas_min: The fewest replicas that must have it.
        follow: Follows a MOVED, and calls `use` with the new server.
        on_broken: Called with the reason when the connection broke, or the server is no primary any more.

    Attributes:
        reign: Changes whenever another server may have taken the place of the primary, without its last writes.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        key: str,
        replicas_min: int,
        follow: Callable[[MovedError], Awaitable[None]],
        on_broken: Callable[[StorageError], None],
    ) -> None:
        self._clock = clock
        self._key = key
        self._replicas_min = replicas_min
        self._follow = follow
        self._on_broken = on_broken
        self.reign = 0
        self._connection: RedisConnection | None = None
        self._address: RedisAddress | None = None
        self._wanted = replicas_min
        self._waiting: list[asyncio.Future[None]] = []
        self._wrote = False
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def use(self, address: RedisAddress, *, is_heir: bool = False) -> None:
        """Ask the primary at an address from now on.

        Args:
            address: Its address.
            is_heir: It has everything that the former one had: the slot was moved. Otherwise calls that wait fail, because
                its answer would tell nothing of what the former one did.

        Raises:
            RedisError: The connection failed.
            OSError: Likewise.
        """
        connection = make_connection(address)
        await connection.connect()
        former, self._connection, self._address = self._connection, connection, address
        if not is_heir:
            self.reign += 1
            _fail(self._waiting, _another_reign())
        if former is not None:
            await former.disconnect(nowait=True)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def confirm(self, reign: int, *, wrote: bool) -> None:
        """Return when all replicas that are online, and not too few, have everything that the primary has answered so far.

        Args:
            reign: The reign as it was before the request was sent.
            wrote: The answer was one to a write, so the replicas cannot have told yet that they have it.

        Raises:
            StorageError: They do not, within the store's timeout; or the connection broke.
        """
        if reign != self.reign:
            raise _another_reign()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._wrote |= wrote
        self._awake.set()
        await answer

    async def close(self) -> None:
        """End; calls that wait fail."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._disconnect()
        _fail(self._waiting, _not_connected())

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _run(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            waiting, self._waiting = self._waiting, []
            wrote, self._wrote = self._wrote, False
            reign = self.reign
            try:
                if wrote or not await self._are_level():
                    await self._confirm(reign)
            except StorageError as error:
                _fail(waiting, error)
            except asyncio.CancelledError:
                _fail(waiting, _not_connected())
                raise
            except Exception as error:  # noqa: BLE001 - callers wait for this task, so every end must reach them
                _fail(waiting, self._lost(error))
            else:
                for each in waiting:
                    if not each.done():  # its caller may be cancelled
                        each.set_result(None)
            if self._waiting:
                self._awake.set()

    async def _confirm(self, reign: int) -> None:
        address = self._address
        assert address is not None, "use() first"
        deadline_s = self._clock.monotonic_s() + address.timeout_s
        why = "it has too few replicas"
        offset: int | None = None  # that the replicas must have reached, while the small write is not possible
        while self._clock.monotonic_s() < deadline_s:
            if reign != self.reign:
                raise _another_reign()
            try:
                counted = await self._ask_once(offset)
            except RedisError as error:
                if isinstance(error, MovedError):
                    await self._moved(error)
                    offset = None
                    continue
                if reply_code(error) not in _LATER:
                    raise self._lost(error) from error
                why = str(error)
                await self._clock.sleep(PAUSE_S)
                continue
            if counted.online >= self._replicas_min and counted.have_it >= counted.online:
                return
            offset = offset or counted.offset or None
            await self._clock.sleep(PAUSE_S)
            why = f"{counted.have_it} of {counted.online} replicas have everything"
        raise StorageUnavailable(
            f"the replicas of {address} do not confirm: {why}",
            hint="INFO replication on it; a running server tries again by itself",
        )

    async def _are_level(self) -> bool:
        """Whether all replicas have told within the last moments that they have everything.

        Raises:
            StorageUnavailable: The connection broke, or the server is no primary any more.
        """
        connection, address = self._connection, self._address
        if connection is None or address is None:
            raise _not_connected()
        try:
            async with self._clock.timeout(address.timeout_s):
                info = await read_info(connection, "replication")
        except (*BROKEN, TimeoutError) as error:
            if connection is not self._connection:  # it was closed, because another server is asked now
                return False
            raise self._lost(error) from safe_cause(error, address)
        if info.get("role", "master") != "master":
            raise self._lost(RedisError("it is a replica now"))
        told = [_REPLICA.search(line) for name, line in info.items() if _NUMBERED.fullmatch(name)]
        online = [each for each in told if each is not None]
        return (
            len(online) == len(told) >= self._replicas_min
            and bool(told)
            and all(each[1] == info.get("master_repl_offset") and int(each[2]) <= TOLD_S_MAX for each in online)
        )

    async def _ask_once(self, offset: int | None) -> _Round:
        """Ask once, and wait for at most `ROUND_MS`.

        Args:
            offset: The offset that counts while the small write is not possible.

        Raises:
            RedisError: The server refused the write.
            StorageUnavailable: The connection broke, or the server is no primary any more.
        """
        connection, address = self._connection, self._address
        if connection is None or address is None:
            raise _not_connected()
        try:
            async with self._clock.timeout(address.timeout_s):
                touched, role, have_it = await self._exchange(connection)
        except (*BROKEN, TimeoutError) as error:
            if connection is not self._connection:  # it was closed, because another server is asked now
                return _Round(0, 0, 0)
            raise self._lost(error) from safe_cause(error, address)
        if isinstance(role, RedisError):
            raise role
        if role[0] != b"master":
            raise self._lost(RedisError("it is a replica now"))
        replicas = cast("list[list[bytes]]", role[2])
        self._wanted = max(len(replicas), self._replicas_min)
        if isinstance(touched, AskError) and not isinstance(touched, MovedError):
            reached = [each for each in replicas if offset and int(each[2]) >= offset]
            return _Round(len(replicas), len(reached), cast("int", role[1]))
        for reply in (touched, have_it):
            if isinstance(reply, RedisError):
                raise reply
        return _Round(len(replicas), have_it, 0)

    async def _exchange(self, connection: RedisConnection) -> tuple[Reply, Reply, Reply]:
        """The answers to the small write, ROLE and WAIT; each may be an error."""
        for command in (("PEXPIRE", self._key, SYNCED_KEEP_MS), ("ROLE",), ("WAIT", self._wanted, ROUND_MS)):
            await connection.send_command(*command)
        touched, role, have_it = [await _read(connection) for _ in range(3)]
        if touched == 0:  # another program has deleted it, so nothing was written
            await connection.send_command("SET", self._key, b"1", "PX", SYNCED_KEEP_MS)
            touched, have_it = await _read(connection), 0
        return touched, role, have_it

    async def _moved(self, error: MovedError) -> None:
        address = self._address
        assert address is not None
        try:
            async with self._clock.timeout(address.connect_timeout_s):
                await self._follow(error)
        except (*BROKEN, TimeoutError) as failure:
            raise self._lost(failure) from safe_cause(failure, address)

    def _lost(self, error: BaseException) -> StorageError:
        assert self._address is not None
        reason = safe_storage_error(error, self._address, sent=False)
        reason.__cause__ = safe_cause(error, self._address)
        self._on_broken(reason)
        return reason


def _another_reign() -> StorageUnavailable:
    return StorageUnavailable(
        "another server may have taken the place of the primary, without its last writes",
        hint="read a guarded key before sending it again",
    )


def _not_connected() -> StorageUnavailable:
    return StorageUnavailable("the store was disconnected", hint="connect() first; a running server does so by itself")


async def _read(connection: RedisConnection) -> Reply:
    """The next reply; an error is returned, so that the replies behind it are read, too."""
    try:
        return await connection.read_response(disconnect_on_error=False)
    except RedisError as error:
        if not is_reply(error):
            raise
        return error


def _fail(waiting: list[asyncio.Future[None]], error: StorageError) -> None:
    for each in waiting:
        if not each.done():
            each.set_exception(error)
    waiting.clear()
