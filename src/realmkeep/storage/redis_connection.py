"""Connections to Redis or Valkey: how one is made, and a small pool for what is not on the hot path."""

import asyncio
import math
import ssl
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

POOL_CONNECTIONS_MAX: Final = 8  # logins and operators' reads; more would only queue inside the one-threaded server
CLIENT_NAME: Final = "realmkeep"  # what CLIENT LIST shows to an operator

# What the driver and the operating system raise when a connection cannot be made, breaks, or speaks nonsense.
BROKEN: Final = (RedisError, OSError, EOFError, UnicodeError)

Reply = Any  # a reply is bytes, int, None, or a list of these; each caller knows which


class RedisConnection(Protocol):
    """What is used of the driver's connection."""

    async def connect(self) -> None: ...  # noqa: D102 - as the driver documents it
    async def disconnect(self, nowait: bool = False) -> None: ...  # noqa: D102, FBT001, FBT002 - the driver's signature
    async def send_command(self, *args: str | bytes | int) -> None: ...  # noqa: D102
    async def send_packed_command(self, command: Sequence[bytes], check_health: bool = True) -> None: ...  # noqa: D102, FBT001, FBT002
    async def read_response(self, *, timeout: float | None = None, disconnect_on_error: bool = True) -> Reply: ...  # noqa: ASYNC109, D102


class _Pool(Protocol):
    async def get_connection(self) -> RedisConnection: ...
    async def release(self, connection: RedisConnection) -> None: ...
    async def disconnect(self, inuse_connections: bool = True) -> None: ...  # noqa: FBT001, FBT002 - the driver's signature


class _Cancellable(AbstractConnection):
    """A connection whose sending ends when its caller is cancelled.

    The driver sends with `asyncio.wait_for`, which on Python 3.11 loses a cancellation that arrives with the end of the
    sending. The caller would go on to wait for the answer, for as long as an answer may take.
    """

    @override
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        task = asyncio.current_task()
        requests = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > requests:
            await self.disconnect(nowait=True)  # the answer to this command would be taken for that to the next one
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
        # The driver's default sends a command again whose answer was lost: one INCR counts twice.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # nothing here needs RESP3, and nothing can be pushed between two replies
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
            "ssl_password": address.tls_key_password or "",  # without one OpenSSL would ask on the terminal
        }
    return arguments


class _Driver(Protocol):
    async def on_connect(self) -> None: ...
    async def send_command(self, *args: str) -> None: ...
    async def read_response(self, *, disconnect_on_error: bool = True) -> Reply: ...


async def _greet(connection: _Driver) -> None:
    """What the driver does, and then the name for CLIENT LIST, which a user may not be allowed to set."""
    await connection.on_connect()
    await connection.send_command("CLIENT", "SETNAME", CLIENT_NAME)
    try:
        await connection.read_response(disconnect_on_error=False)
    except RedisError as error:
        if reply_code(error) not in {"NOPERM", "ERR"}:  # not permitted, or unknown to a proxy
            raise


def check_tls_files(address: RedisAddress) -> None:
    """Read the files that `address` names for TLS, as the driver will, so that each mistake has its own sentence. Blocks.

    Raises:
        StorageMisconfigured: One of them cannot be used.
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
    """A connection of its own, not connected yet; how long an answer may take is its user's affair.

    Nothing that it reads is known to be durable before `RunSync.begin` has returned.
    """
    arguments = _arguments(address, answer_timeout_s=None)
    made = _connection_class(address)(redis_connect_func=_greet, **cast("dict[str, Any]", arguments))
    return cast("RedisConnection", made)


async def ask(connection: RedisConnection, *command: str | bytes | int, timeout_s: float = math.inf) -> Reply:
    """Send one command on a connection that nothing else uses, and return the reply.

    Raises:
        RedisError: The reply is an error, or the connection broke; then it is closed.
    """
    await connection.send_command(*command)
    return await connection.read_response(timeout=timeout_s)


class RedisPool:
    """A few connections, made when needed, each used by one call at a time.

    Args:
        address: Where the store is.
        begin: Called with each connection before anything is read from it.
    """

    def __init__(self, address: RedisAddress, begin: Callable[[RedisConnection], Awaitable[None]]) -> None:
        self._address = address
        self._begin_with = begin
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
        except BaseException:  # also a cancelled caller: the pool would hand on an answer that is still to come
            await connection.disconnect(nowait=True)
            raise

    @asynccontextmanager
    async def connection(self, *, changes: bool, subject: str = "") -> AsyncGenerator[RedisConnection]:
        """One connection for the block; whatever the driver raises in it comes out as a `StorageError`.

        Args:
            changes: Whether the block changes something, so that a lost answer leaves the outcome unknown.
            subject: The key that it is for, named in errors.

        Raises:
            StorageError: As `redis_errors` has it.
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

    async def ask(self, *command: str | bytes | int, changes: bool = False, subject: str = "") -> Reply:
        """One command on one connection.

        Raises:
            StorageError: As `redis_errors` has it.
        """
        failure: RedisError | None = None
        async with self.connection(changes=changes, subject=subject) as connection:
            await connection.send_command(*command)
            try:
                return await connection.read_response(disconnect_on_error=False)
            except RedisError as error:
                if not is_reply(error):
                    raise
                failure = error
        raise self._translated(failure, sent=changes, subject=subject) from safe_cause(failure, self._address)

    async def close(self) -> None:
        """Close every connection, those in use included."""
        await self._pool.disconnect()

    def _translated(self, error: BaseException, *, sent: bool, subject: str) -> StorageError:
        return translated(error, self._address, sent=sent, subject=subject)


def translated(error: BaseException, address: RedisAddress, *, sent: bool, subject: str = "") -> StorageError:
    """`error` as a `StorageError` that repeats no secret; see `redis_errors.translate`."""
    if address.is_secret_in(str(error)):
        error = type(error)("the answer repeats a secret and is not shown")
    return translate(error, str(address), sent=sent, subject=subject)


def safe_cause(error: BaseException, address: RedisAddress) -> BaseException | None:
    """`error` for `raise ... from`, unless it repeats the password."""
    return None if address.is_secret_in(str(error)) else error
