"""Where a Redis store is and how to get in: a URL taken apart, and a `repr` without its secrets."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote

from realmkeep.errors import ConfigError
from realmkeep.storage.limits import whole_number
from realmkeep.storage.urls import options_of

DEFAULT_PORT: Final = 6379
TIMEOUT_S: Final = 10.0  # a disk that stalls under `always` may take seconds; a dead peer should not take a minute
CONNECT_TIMEOUT_S: Final = 5.0
TIMEOUT_S_MIN: Final = 0.01
TIMEOUT_S_MAX: Final = 3600.0
_TEXT_OPTIONS: Final = ("tls_ca", "tls_cert", "tls_key")
_TIMEOUTS: Final = ("timeout_s", "connect_timeout_s")


@dataclass(frozen=True)
class RedisAddress:
    """One Redis or Valkey server.

    Attributes:
        host: Name or address; empty for a unix socket.
        port: Its TCP port.
        socket_path: The unix socket; empty for TCP.
        tls: Whether TLS is spoken; the certificate and the name in it are always verified.
        username: The ACL user; None for the default one.
        password: Its password; None where none is asked for.
        database: The number of the database.
        tls_ca: File of the authorities to trust; empty for the system's.
        tls_cert: File of the client's own certificate; empty for none.
        tls_key: File of its private key.
        timeout_s: How long an answer may take.
        connect_timeout_s: How long connecting and the handshake may take.
    """

    host: str = ""
    port: int = DEFAULT_PORT
    socket_path: str = ""
    tls: bool = False
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    timeout_s: float = TIMEOUT_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S

    def __str__(self) -> str:
        if self.socket_path:
            return f"redis+unix://{self.socket_path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"

    def is_secret_in(self, text: str) -> bool:
        """Whether `text` repeats the password, as a server may that echoes a command it does not know."""
        return bool(self.password) and self.password in text


def parse_redis_url(url: SplitResult) -> RedisAddress:
    """The address of `redis://`, `rediss://` or `redis+unix://`.

    User and password are percent-decoded. Options: `timeout_s`, `connect_timeout_s`; with `rediss://` also `tls_ca`,
    `tls_cert` and `tls_key` (files); with `redis+unix://` also `db`.

    Raises:
        ConfigError: A part is missing, malformed or unknown; it is named, the URL is not repeated.
    """
    scheme = url.scheme
    options = options_of(url)
    username = unquote(url.username) if url.username else None
    password = unquote(url.password) if url.password else None
    if username and not password:
        raise ConfigError(f"the {scheme}:// URL has a user but no password", hint=f"{scheme}://user:password@...")
    if url.fragment:
        raise ConfigError(f"the {scheme}:// URL has a '#'", hint="percent-encode it as %23 in a password")
    if scheme == "redis+unix":
        if url.hostname or not url.path.startswith("/"):
            raise ConfigError("a redis+unix:// URL names no absolute path", hint="redis+unix:///path/to/socket")
        host, port, socket_path = "", DEFAULT_PORT, unquote(url.path)
        database = options.pop("db", "0")
    else:
        if not url.hostname:
            raise ConfigError(f"the {scheme}:// URL names no host", hint=f"{scheme}://host:{DEFAULT_PORT}/0")
        host, port, socket_path = url.hostname, _port(url), ""
        database = url.path.strip("/") or "0"
    if (number := whole_number(database.encode(errors="replace"))) is None or number < 0:
        raise ConfigError(f"the database of the {scheme}:// URL is not a whole number", hint="0 is the usual one")
    files = {name: options.pop(name, "") for name in _TEXT_OPTIONS} if scheme == "rediss" else {}
    if files.get("tls_cert") and not files.get("tls_key"):
        raise ConfigError("the rediss:// URL has tls_cert but no tls_key", hint="name the file of the private key, too")
    timeouts = {name: _seconds(name, options.pop(name)) for name in _TIMEOUTS if name in options}
    if options:
        known = [*_TIMEOUTS, *(_TEXT_OPTIONS if scheme == "rediss" else ()), *(("db",) if socket_path else ())]
        raise ConfigError(
            f"the {scheme}:// URL has the unknown option {next(iter(options))!r}", hint=f"known: {', '.join(known)}"
        )
    return RedisAddress(
        host=host,
        port=port,
        socket_path=socket_path,
        tls=scheme == "rediss",
        username=username,
        password=password,
        database=number,
        tls_ca=files.get("tls_ca", ""),
        tls_cert=files.get("tls_cert", ""),
        tls_key=files.get("tls_key", ""),
        timeout_s=timeouts.get("timeout_s", TIMEOUT_S),
        connect_timeout_s=timeouts.get("connect_timeout_s", CONNECT_TIMEOUT_S),
    )


def _port(url: SplitResult) -> int:
    try:
        return url.port or DEFAULT_PORT
    except ValueError:
        raise ConfigError(
            f"the port of the {url.scheme}:// URL is not a number from 1 to 65535",
            hint="percent-encode special characters of a password",
        ) from None


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not TIMEOUT_S_MIN <= value <= TIMEOUT_S_MAX:
        raise ConfigError(f"{name}={text!r} is out of range", hint=f"{TIMEOUT_S_MIN} to {TIMEOUT_S_MAX:,.0f} seconds")
    return value
