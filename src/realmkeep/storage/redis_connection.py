"""Connections to Redis or Valkey, and a small pool for calls off the hot path."""

import asyncio
import copy
import math
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol, cast

from redis.asyncio.connection import (
    AbstractConnection,
    BlockingConnectionPool,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from typing_extensions import override

from realmkeep.errors import FileRefused, StorageError, StorageMisconfigured
from realmkeep.files.tls import load_authorities, load_key_pair
from realmkeep.storage.redis_errors import is_reply, reply_code, translate
from realmkeep.storage.redis_url import RedisAddress

POOL_CONNECTIONS_MAX: Final = 8  # logins and operators' reads; more would only queue in the one-threaded server
READS_AT_ONCE: Final = 64  # on one connection; those of a storm of logins are spread over several
CLIENT_NAME: Final = "realmkeep"  # an operator sees it in CLIENT LIST

# The exceptions of the driver and the operating system for a connection that fails, breaks, or receives garbage.
BROKEN: Final = (RedisError, OSError, EOFError, UnicodeError)

Reply = Any  # a reply is bytes, int, None, or a list of these; each caller knows which


class RedisConnection(Protocol):
    """The part of the driver's connection that is used."""

    async def connect(self) -> None: ...  # noqa: D102 - as the driver documents it
    async def disconnect(self, nowait: bool = False) -> None: ...  # noqa: D102, FBT001, FBT002 - the driver's signature
    async def send_command(self, *args: str | bytes | int) -> None: ...  # noqa: D102
    async def send_packed_command(self, command: Sequence[bytes], check_health: bool = True) -> None: ...  # noqa: D102, FBT001, FBT002
    async def read_response(self, *, timeout: float | None = None, disconnect_on_error: bool = True) -> Reply: ...  # noqa: ASYNC109, D102


class _Pooled(RedisConnection, Protocol):
    def pack_commands(self, commands: Iterable[Iterable[str | bytes | int]]) -> list[bytes]: ...


class _Pool(Protocol):
    async def get_connection(self) -> _Pooled: ...
    async def release(self, connection: _Pooled) -> None: ...
    async def disconnect(self, inuse_connections: bool = True) -> None: ...  # noqa: FBT001, FBT002 - the driver's signature


class _Cancellable(AbstractConnection):
    """A connection whose sending ends when its caller is cancelled.

    The driver sends with `asyncio.wait_for`. On Python 3.11 that loses a cancellation that arrives together with the end of
    the sending, and the caller would wait for the answer without limit.
    """

    @override
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        task = asyncio.current_task()
        requests = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > requests:
            await self.disconnect(nowait=True)  # the next command would read the answer to this one
            raise asyncio.CancelledError


class _OverSocket(_Cancellable, UnixDomainSocketConnection):
    pass


class _OverTls(_Cancellable, SSLConnection):
    pass


class _OverTcp(_Cancellable, Connection):
    pass


def _connection_class(address: RedisAddress) -> type[AbstractConnection]:
    if address.socket_path:
        return _OverSocket
    return _OverTls if address.tls else _OverTcp


def _arguments(address: RedisAddress, *, answer_timeout_s: float | None) -> dict[str, object]:
    arguments: dict[str, object] = {
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "driver_info": None,
        "socket_timeout": answer_timeout_s,
        "socket_connect_timeout": address.connect_timeout_s,
        # The driver's default resends a command whose answer was lost: one INCR would count twice.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # RESP3 is not needed, and with RESP2 no message is pushed between two replies
    }
    if address.socket_path:
        return arguments | {"path": address.socket_path}
    arguments |= {"host": address.host, "port": address.port}
    if address.tls:
        arguments |= {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": address.tls_ca or None,
            "ssl_certfile": address.tls_cert or None,
            "ssl_keyfile": address.tls_key or None,
            "ssl_password": address.tls_key_password or "",  # without one OpenSSL would prompt on the terminal
        }
    return arguments


class _Driver(Protocol):
    async def on_connect(self) -> None: ...
    async def send_command(self, *args: str) -> None: ...
    async def read_response(self, *, disconnect_on_error: bool = True) -> Reply: ...


async def _greet(connection: _Driver) -> None:
    """Connect as the driver does, then set the name for CLIENT LIST, which an ACL may forbid."""
    await connection.on_connect()
    await connection.send_command("CLIENT", "SETNAME", CLIENT_NAME)
    try:
        await connection.read_response(disconnect_on_error=False)
    except RedisError as error:
        if reply_code(error) not in {"NOPERM", "ERR"}:  # forbidden by an ACL, or unknown to a proxy
            raise


def check_tls_files(address: RedisAddress) -> None:
    """Read the TLS files of `address` before the driver does, so that each fault has its own message. Blocks.

    Raises:
        StorageMisconfigured: A file cannot be used.
    """
    context = ssl.create_default_context()
    try:
        if address.tls_ca:
            load_authorities(context, Path(address.tls_ca))
        if address.tls_cert:
            load_key_pair(context, Path(address.tls_cert), Path(address.tls_key), address.tls_key_password)
    except FileRefused as error:
        raise StorageMisconfigured(f"TLS to {address}: {error.message}", hint=error.hint) from error


def make_connection(address: RedisAddress) -> RedisConnection:
    """Make a connection, not connected yet, without a timeout for answers: its user sets one.

    Before `SyncOnNewRun.sync_before_reading` has returned, data read from it may not be durable.
    """
    arguments = _arguments(address, answer_timeout_s=None)
    made = _connection_class(address)(redis_connect_func=_greet, **cast("dict[str, Any]", arguments))
    return cast("RedisConnection", made)


async def ask(connection: RedisConnection, *command: str | bytes | int, timeout_s: float = math.inf) -> Reply:
    """Send one command on a connection without other users, and return the reply.

    Raises:
        RedisError: The reply is an error, or the connection broke and is closed.
    """
    await connection.send_command(*command)
    return await connection.read_response(timeout=timeout_s)


Command = tuple[str | bytes | int, ...]


class _Read:
    """A command that changes nothing, and the callers who wait for its reply."""

    __slots__ = ("answers", "subject")

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.answers: list[asyncio.Future[Reply]] = []

    def succeed(self, reply: Reply) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_result(reply)

    def fail(self, error: Exception) -> None:
        for answer in self.answers:
            if not answer.done():
                own = copy.copy(error)  # one for each, because a traceback refers to the caller's frames
                own.__cause__ = error.__cause__
                answer.set_exception(own)


class RedisPool:
    """A few connections, made on demand, each used by one call at a time.

    Args:
        address: The store's address.
        begin: Called with each new connection before its first use.
    """

    def __init__(self, address: RedisAddress, begin: Callable[[RedisConnection], Awaitable[None]]) -> None:
        self._address = address
        self._begin_with = begin
        self._unsent: deque[dict[Command, _Read]] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._pool = cast(
            "_Pool",
            BlockingConnectionPool(
                max_connections=POOL_CONNECTIONS_MAX,
                timeout=address.timeout_s,
                connection_class=_connection_class(address),
                redis_connect_func=self._begin,
                **cast("dict[str, Any]", _arguments(address, answer_timeout_s=address.timeout_s)),
            ),
        )

    async def _begin(self, connection: AbstractConnection) -> None:
        try:
            await _greet(cast("_Driver", connection))
            await self._begin_with(cast("RedisConnection", connection))
        except BaseException:  # also a cancellation: the pool's next user would read a reply meant for this call
            await connection.disconnect(nowait=True)
            raise

    @asynccontextmanager
    async def connection(self, *, changes: bool, subject: str = "") -> AsyncGenerator[_Pooled]:
        """Borrow one connection for the block; exceptions of the driver leave it as `StorageError`.

        Args:
            changes: The block changes data, so that a lost answer makes the outcome unknown.
            subject: The key concerned, for errors.

        Raises:
            StorageError: As mapped by `redis_errors`.
        """
        try:
            connection = await self._pool.get_connection()
        except BROKEN as error:
            raise self._translated(error, sent=False, subject=subject) from safe_cause(error, self._address)
        try:
            yield connection
        except BROKEN as error:
            await connection.disconnect(nowait=True)  # it may be in the middle of a WATCH or a MULTI
            raise self._translated(error, sent=changes, subject=subject) from safe_cause(error, self._address)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(connection)

    async def change(self, *command: str | bytes | int, subject: str = "") -> Reply:
        """Send one command that changes data on a connection of the pool, and return the reply.

        Raises:
            StorageError: As mapped by `redis_errors`.
        """
        failure: RedisError | None = None
        async with self.connection(changes=True, subject=subject) as connection:
            await connection.send_command(*command)
            try:
                return await connection.read_response(disconnect_on_error=False)
            except RedisError as error:
                if not is_reply(error):
                    raise
                failure = error
        raise self._translated(failure, sent=True, subject=subject) from safe_cause(failure, self._address)

    async def read(self, *command: str | bytes | int, subject: str = "") -> Reply:
        """Send one command that changes nothing, together with the others of this turn of the event loop; return its reply.

        Callers that ask the same share the reply: they must not change it.

        Raises:
            StorageError: As mapped by `redis_errors`.
        """
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if not self._unsent or len(self._unsent[-1]) >= READS_AT_ONCE:
            self._unsent.append({})
            sending = asyncio.create_task(self._send_reads())
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
        if (asked := self._unsent[-1].get(command)) is None:
            asked = self._unsent[-1][command] = _Read(subject)
        asked.answers.append(answer)
        return await answer

    async def _send_reads(self) -> None:
        """Send the oldest unsent reads on one connection. A caller that is cancelled leaves the others alone."""
        reads = self._unsent.popleft()
        try:
            async with self.connection(changes=False) as connection:
                await connection.send_packed_command(connection.pack_commands([*reads]))
                for read in reads.values():
                    try:
                        read.succeed(await connection.read_response(disconnect_on_error=False))
                    except RedisError as error:
                        if not is_reply(error):
                            raise
                        failure = self._translated(error, sent=False, subject=read.subject)
                        failure.__cause__ = safe_cause(error, self._address)
                        read.fail(failure)
        except Exception as error:  # noqa: BLE001 - callers wait for this task, so every end must reach them
            for read in reads.values():
                read.fail(error)
        except BaseException:  # the end of the event loop
            for read in reads.values():
                for answer in read.answers:
                    answer.cancel()
            raise

    async def close(self) -> None:
        """Close every connection, including those in use."""
        await self._pool.disconnect()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _translated(self, error: BaseException, *, sent: bool, subject: str) -> StorageError:
        return safe_storage_error(error, self._address, sent=sent, subject=subject)


def safe_storage_error(error: BaseException, address: RedisAddress, *, sent: bool, subject: str = "") -> StorageError:
    """Return `error` as a `StorageError` without secrets; see `redis_errors.translate`."""
    if address.is_secret_in(str(error)):
        error = type(error)("the answer repeats a secret and is not shown")
    return translate(error, str(address), sent=sent, subject=subject)


def safe_cause(error: BaseException, address: RedisAddress) -> BaseException | None:
    """Return `error` for `raise ... from`; None if it repeats the password."""
    return None if address.is_secret_in(str(error)) else error
