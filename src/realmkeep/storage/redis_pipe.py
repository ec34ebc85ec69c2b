"""The hot path: one connection as a pipeline. New chunks are sent before the answers to earlier ones have arrived."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from redis.exceptions import InvalidResponse, MovedError, NoScriptError, RedisError

from realmkeep.clock import Clock, Timer
from realmkeep.errors import OutcomeUnknown, StorageError, StorageUnavailable
from realmkeep.storage.limits import check_transactions
from realmkeep.storage.protocol import COMMITTED, AnyTransaction, Failed, Transaction, Unknown, WriteOutcome
from realmkeep.storage.redis_chunk import PACK_SLICE, ChunkPacker, outcomes
from realmkeep.storage.redis_connection import (
    RedisConnection,
    Reply,
    ask,
    safe_cause,
    safe_storage_error,
)
from realmkeep.storage.redis_errors import is_reply
from realmkeep.storage.redis_url import RedisAddress

CHUNKS_IN_FLIGHT_MAX: Final = 3  # one is executed, one waits in the socket, one is packed or answered
CHUNK_TRANSACTIONS_ENOUGH: Final = 16  # a chunk of small calls is sent when it has this many
CHECK_SLICE: Final = 128  # transactions checked before the event loop gets a turn


Redirect = Callable[[MovedError], Awaitable[RedisConnection]]
_TAKEN: Final = Transaction((), ())


class _WriteCall:
    """One `write`: its unsent transactions, and the outcomes so far."""

    def __init__(self, transactions: Sequence[AnyTransaction]) -> None:
        self.transactions = list(transactions)
        self.outcomes: list[WriteOutcome] = [COMMITTED] * len(self.transactions)
        self.unanswered = len(self.transactions)
        self.is_checked = False
        self.packed = 0
        self.answer: asyncio.Future[list[WriteOutcome]] = asyncio.get_running_loop().create_future()

    def hand_out(self, stop: int) -> list[AnyTransaction]:
        """Hand out the next transactions, up to the position `stop`, and drop them.

        If the caller drops them too, they are freed chunk by chunk: freeing 20,000 at once takes 8 ms.
        """
        given = self.transactions[self.packed : stop]
        self.transactions[self.packed : stop] = [_TAKEN] * len(given)
        self.packed = stop
        return given

    def settle(self, start: int, results: Sequence[WriteOutcome]) -> None:
        """Record the outcomes of the transactions from the position `start` on."""
        self.outcomes[start : start + len(results)] = results
        self.unanswered -= len(results)
        if not self.unanswered:
            self.answer.set_result(self.outcomes)


class _Chunk:
    """One script call: stretches of calls, in order, each with its start and length."""

    def __init__(self, prefix: bytes) -> None:
        self.packed = b""
        self._prefix = prefix
        self._packer = ChunkPacker(prefix)
        self._parts: list[tuple[_WriteCall, int, int]] = []
        self._transactions: list[AnyTransaction] = []

    def take(self, call: _WriteCall) -> bool:
        """Add a slice of `call`; False if there was no room for it."""
        start = call.packed
        given = call.hand_out(self._packer.take(call.transactions, start))
        if given:
            self._parts.append((call, start, len(given)))
            self._transactions += given
        return bool(given)

    @property
    def is_worth_sending(self) -> bool:
        """Whether to send the chunk. Later calls go into the next, which is packed while the store executes this one."""
        return len(self._transactions) >= CHUNK_TRANSACTIONS_ENOUGH

    @property
    def is_large(self) -> bool:
        return len(self._transactions) > PACK_SLICE

    def pack(self, script_sha: bytes) -> None:
        self.packed = self._packer.pack(script_sha)
        del self._packer

    def settle(self, reply: Reply) -> None:
        if reply is None:
            self.settle_all(COMMITTED)
            return
        results = outcomes(self._transactions, reply, self._prefix)
        taken = 0
        for call, start, count in self._parts:
            call.settle(start, results[taken : taken + count])
            taken += count

    def settle_all(self, result: WriteOutcome) -> None:
        for call, start, count in self._parts:
            call.settle(start, [result] * count)


class RedisPipe:
    """Writes over one connection, in the order of the calls, several chunks in flight.

    Two tasks of the pipe own the connection, and callers only wait for futures. So a cancelled caller cannot leave half a
    request or an unread reply behind.

    Args:
        connection: Connected, and used only by this pipe from now on.
        script: `lua/write.lua`.
        script_sha: The result of `SCRIPT LOAD` on this connection.
        address: For timeouts, for errors, and for the prefix of keys.
        clock: The clock.
        on_broken: Called once, with the reason, when the connection broke; not when it is closed.
        redirect: Returns a connection to the server that a MOVED names; the chunks that it refused go there, in their order.
            None: MOVED is an error like any other.
    """

    def __init__(
        self,
        connection: RedisConnection,
        *,
        script: str,
        script_sha: bytes,
        address: RedisAddress,
        clock: Clock,
        on_broken: Callable[[StorageError], None],
        redirect: Redirect | None = None,
    ) -> None:
        self._connection = connection
        self._script = script
        self._sha = script_sha
        self._address = address
        self._prefix = address.prefix.encode()
        self._clock = clock
        self._on_broken = on_broken
        self._redirect = redirect
        self._moved: MovedError | None = None
        self._waiting: deque[_WriteCall] = deque()
        self._in_flight: deque[_Chunk] = deque()
        self._forgotten: list[
            _Chunk
        ] = []  # a store without the script or the keys refused them; until it has both, no chunk is sent
        self._ready: deque[_Chunk] = deque()  # packed chunks, in order
        self._packing: _Chunk | None = None
        self._newest: asyncio.Future[list[WriteOutcome]] | None = None
        self._broken: StorageError | None = None
        self._sender_wakes = asyncio.Event()
        self._timer: Timer | None = None
        self._tasks = [asyncio.create_task(self._run(work)) for work in (self._send, self._read)]

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """As `Storage.write`.

        Raises:
            ValueTooLarge: A key, value or transaction exceeds the limits; nothing of this call was sent.
            InvalidKey: A key is empty, has a NUL, or is not text; nothing of this call was sent.
        """
        call = _WriteCall(transactions)
        if not call.transactions:
            return []
        self._waiting.append(call)  # reserve its place in the order before the check, which yields
        try:
            for start in range(0, len(call.transactions), CHECK_SLICE):
                if start:
                    await self._clock.sleep(0)
                check_transactions(call.transactions[start : start + CHECK_SLICE])
        except BaseException:
            self._waiting.remove(call)
            self._sender_wakes.set()
            raise
        call.is_checked = True
        self._newest = call.answer
        if self._broken:
            self._waiting.remove(call)
            call.settle(0, [Failed(self._broken)] * len(call.transactions))
        self._sender_wakes.set()
        return await asyncio.shield(call.answer)

    async def drain(self) -> None:
        """Return when all accepted calls are answered."""
        if self._newest:
            await asyncio.shield(self._newest)

    async def close(self) -> None:
        """Close the connection; unanswered transactions are reported as unknown, unsent ones as failed."""
        self._break(StorageUnavailable(f"the store {self._address} was disconnected", hint="connect() first"))
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            await self._connection.disconnect(nowait=True)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - callers wait for this task, so every end must reach them
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._broken:
            reason = safe_storage_error(error, self._address, sent=False)
            reason.__cause__ = safe_cause(error, self._address)
            self._break(reason)
            self._on_broken(reason)

    def _break(self, reason: StorageError) -> None:
        if self._broken:
            return
        self._broken = reason
        self._stop_timer()
        lost = OutcomeUnknown(
            f"the connection to {self._address} ended before the answer: {reason.message}",
            hint="it happened wholly or not at all; read a guarded key before sending it again",
        )
        lost.__cause__ = reason
        for chunk in self._in_flight:
            chunk.settle_all(Unknown(lost))
        for chunk in (*self._forgotten, *self._ready, *([self._packing] if self._packing else [])):
            chunk.settle_all(Failed(reason))
        for call in [call for call in self._waiting if call.is_checked]:
            self._waiting.remove(call)
            call.settle(call.packed, [Failed(reason)] * (len(call.transactions) - call.packed))

    def _may_send(self) -> bool:
        return (
            len(self._in_flight) < CHUNKS_IN_FLIGHT_MAX
            and not self._forgotten
            and (bool(self._ready) or (bool(self._waiting) and self._waiting[0].is_checked))
        )

    async def _send(self) -> None:
        while True:
            while self._may_send():
                if not self._ready:
                    self._ready.append(await self._next_chunk())
                    if self._broken:
                        return
                    if self._forgotten:  # found meanwhile; these chunks go first
                        continue
                chunk = self._ready.popleft()
                self._in_flight.append(chunk)
                if len(self._in_flight) == 1:
                    self._expect_answer()
                await self._connection.send_packed_command([chunk.packed], check_health=False)
                await self._clock.sleep(0)  # packing the next chunk gets a turn of its own
            self._sender_wakes.clear()
            await self._sender_wakes.wait()

    async def _next_chunk(self) -> _Chunk:
        self._packing = chunk = _Chunk(self._prefix)
        while self._waiting and self._waiting[0].is_checked:
            call = self._waiting[0]
            if not chunk.take(call):
                break
            if call.packed == len(call.transactions):
                self._waiting.popleft()
                if chunk.is_worth_sending:
                    break
            else:
                await self._clock.sleep(0)  # each slice of a large call gets a turn of its own
        if chunk.is_large:  # packing and sending get a turn each
            await self._clock.sleep(0)
            chunk.pack(self._sha)
            await self._clock.sleep(0)
        else:
            chunk.pack(self._sha)
        self._packing = None
        return chunk

    def _expect_answer(self) -> None:
        """Restart the timer of `timeout_s` for the oldest chunk in flight."""
        self._stop_timer()
        if self._in_flight:
            late = TimeoutError(f"no answer for {self._address.timeout_s} s")
            self._timer = self._clock.call_later(self._address.timeout_s, lambda: self._fail(late))

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    async def _read(self) -> None:
        """Read even if no reply is expected, to notice when an idle connection ends."""
        while True:
            await self._read_one()
            self._expect_answer()
            self._sender_wakes.set()
            if self._forgotten and not self._in_flight:
                await self._reload_script()

    async def _read_one(self) -> None:
        try:
            reply = await self._connection.read_response(timeout=math.inf, disconnect_on_error=False)
            if not self._in_flight:
                raise InvalidResponse("a reply without a request")
        except NoScriptError:
            self._forgotten.append(self._in_flight.popleft())
        except RedisError as error:
            if not is_reply(error):
                raise
            if self._redirect and isinstance(error, MovedError):
                self._moved = error
                self._forgotten.append(self._in_flight.popleft())
                return
            failure = safe_storage_error(error, self._address, sent=True)
            failure.__cause__ = safe_cause(error, self._address)
            chunk = self._in_flight.popleft()
            chunk.settle_all(Unknown(failure) if failure.outcome == "unknown" else Failed(failure))
        else:
            self._in_flight[0].settle(reply)
            self._in_flight.popleft()
            if self._forgotten:
                self._fail_overtaken()

    def _fail_overtaken(self) -> None:
        """Fail the forgotten chunks: a later one was executed meanwhile, so sending them now would change the order."""
        failure = StorageUnavailable(f"the store {self._address} had forgotten its scripts, or moved", hint="try again")
        for chunk in self._forgotten:
            chunk.settle_all(Failed(failure))
        self._forgotten.clear()

    async def _reload_script(self) -> None:
        """Load the script again, after a SCRIPT FLUSH, a failover or a move; the store executed none of the forgotten chunks."""
        async with self._clock.timeout(self._address.timeout_s):
            if self._redirect and self._moved:
                former, self._connection = self._connection, await self._redirect(self._moved)
                self._moved = None
                await former.disconnect(nowait=True)
            self._sha = await ask(self._connection, "SCRIPT", "LOAD", self._script)
        self._ready.extendleft(reversed(self._forgotten))
        self._forgotten.clear()
        self._sender_wakes.set()
