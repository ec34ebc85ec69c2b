"""The address of a Redis store, parsed from a URL; its `repr` shows no secrets."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, unquote_to_bytes

from realmkeep.errors import ConfigError, FileRefused
from realmkeep.files import read_secret
from realmkeep.storage.limits import whole_number
from realmkeep.storage.store_fault import StoreFault
from realmkeep.storage.urls import options_of

DEFAULT_PORT: Final = 6379
TIMEOUT_S: Final = 10.0  # under `always`, a stalled disk may take seconds; a dead peer should not take a minute
CONNECT_TIMEOUT_S: Final = 5.0
TIMEOUT_S_MIN: Final = 0.01
TIMEOUT_S_MAX: Final = 3600.0
_TLS_OPTIONS: Final = ("tls_ca", "tls_cert", "tls_key", "tls_key_password")
_TIMEOUTS: Final = ("timeout_s", "connect_timeout_s")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class RedisAddress:
    """One Redis or Valkey server.

    Attributes:
        host: Name or address; empty for a unix socket.
        port: Its TCP port.
        socket_path: The unix socket; empty for TCP.
        tls: TLS is used; the certificate and its host name are always verified.
        username: The ACL user; None for the default one.
        password: Its password; None if the store has none.
        database: The number of the database.
        tls_ca: File of the authorities to trust; empty for the system's.
        tls_cert: File of the client's own certificate; empty for none.
        tls_key: File of its private key.
        tls_key_password: The passphrase of that key; None if it has none.
        timeout_s: The longest wait for an answer.
        connect_timeout_s: The longest wait for the connection and its handshake.
        prefix: Stands before every key of this realm; empty if the database is this realm's alone.
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
    tls_key_password: str | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    prefix: str = ""

    def __str__(self) -> str:
        prefix = f"prefix={self.prefix.removesuffix(':')}" if self.prefix else ""
        if self.socket_path:
            return f"redis+unix://{self.socket_path}?db={self.database}{prefix and f'&{prefix}'}"
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}{prefix and f'?{prefix}'}"

    def is_secret_in(self, text: str) -> bool:
        """Whether `text` repeats a secret: a server may echo a command that it does not know."""
        return any(secret and secret in text for secret in (self.password, self.tls_key_password))

    def exposures(self) -> Iterator[StoreFault]:
        """Yield the ways in which others can reach the store."""
        if self.socket_path:
            return
        if not self.password and not self.tls_cert:
            others = "every user of this machine" if self.is_local else "every host that reaches its port"
            yield StoreFault(
                "no-password",
                "the store asks for no password",
                f"{others} can read and change everything",
                "ACL SETUSER default >PASSWORD, in its configuration file too",
            )
        if not self.tls and not self.is_local:
            yield StoreFault(
                "not-encrypted",
                "the connection to the store is not encrypted",
                "use rediss://, or a private network",
                "tls-port, tls-cert-file and tls-key-file in its configuration file, and rediss:// in store.url",
            )

    @property
    def is_local(self) -> bool:
        """Whether the connection stays within this machine."""
        return bool(self.socket_path) or self.host in {"localhost", "::1"} or self.host.startswith("127.")


def parse_redis_url(url: SplitResult) -> RedisAddress:
    """Parse a `redis://`, `rediss://` or `redis+unix://` URL. Blocks if the URL names files of secrets.

    User and password are percent-decoded. Options: `timeout_s`, `connect_timeout_s`, `password_file`, `prefix`; with `rediss://` also
    `tls_ca`, `tls_cert`, `tls_key` (files), `tls_key_password` and `tls_key_password_file`; with `redis+unix://` also `db`.

    Raises:
        ConfigError: A part is missing, malformed or unknown, or a file of a secret cannot be read. The message names the
            part and does not repeat the URL.
    """
    scheme = url.scheme
    _check_encoded(url)
    options = options_of(url)
    username = unquote(url.username) if url.username else None
    password = _secret(options, "password", unquote(url.password) if url.password else None)
    if username and not password:
        raise ConfigError(f"the {scheme}:// URL has a user but no password", hint=f"{scheme}://user:password@...")
    if scheme == "redis+unix":
        if url.hostname or not url.path.startswith("/"):
            raise ConfigError("a redis+unix:// URL names no absolute path", hint="redis+unix:///path/to/socket")
        host, port, socket_path = "", DEFAULT_PORT, os.fsdecode(unquote_to_bytes(url.path))
        database = options.pop("db", "0")
    else:
        if not url.hostname:
            raise ConfigError(f"the {scheme}:// URL names no host", hint=f"{scheme}://host:{DEFAULT_PORT}/0")
        host, port, socket_path = unquote(url.hostname), _port(url), ""  # %25 is the % of a zone: [fe80::1%25eth0]
        database = url.path.strip("/") or "0"
    if any(ord(character) < 32 for character in f"{host}{socket_path}"):
        raise ConfigError(f"the {scheme}:// URL has a control character in its host or path", hint="remove it")
    if (number := whole_number(database.encode(errors="replace"))) is None or number < 0:
        raise ConfigError(f"the database of the {scheme}:// URL is not a whole number", hint="0 is the usual one")
    is_tls = scheme.startswith("rediss")
    tls = _tls(options) if is_tls else {}
    timeouts = {name: _seconds(name, options.pop(name)) for name in _TIMEOUTS if name in options}
    prefix = _prefix(options, scheme)
    if options:
        known = [*_TIMEOUTS, "password_file", "prefix", *(("db",) if socket_path else ())]
        known += [*_TLS_OPTIONS, "tls_key_password_file"] if is_tls else []
        raise ConfigError(
            f"the {scheme}:// URL has the unknown option {next(iter(options))!r}", hint=f"known: {', '.join(known)}"
        )
    return RedisAddress(
        host=host,
        port=port,
        socket_path=socket_path,
        tls=is_tls,
        username=username,
        password=password,
        database=number,
        tls_ca=tls.get("tls_ca") or "",
        tls_cert=tls.get("tls_cert") or "",
        tls_key=tls.get("tls_key") or "",
        tls_key_password=tls.get("tls_key_password"),
        timeout_s=timeouts.get("timeout_s", TIMEOUT_S),
        connect_timeout_s=timeouts.get("connect_timeout_s", CONNECT_TIMEOUT_S),
        prefix=prefix,
    )


def _prefix(options: dict[str, str], scheme: str) -> str:
    if "prefix" not in options:
        return ""
    if not NAME.fullmatch(name := options.pop("prefix")):
        raise ConfigError(
            f"the prefix of the {scheme}:// URL is not a name",
            hint="1 to 64 letters, digits, '.', '_' and '-', starting with a letter or a digit",
        )
    return f"{name}:"


def _check_encoded(url: SplitResult) -> None:
    """Refuse an unencoded `/`, `?` or `#` in a password: it ends the part of the URL with user and password."""
    if url.fragment or ("@" in f"{url.path}{url.query}" and "@" not in url.netloc):
        raise ConfigError(
            f"the {url.scheme}:// URL has a special character in its password, or a '#' after its path",
            hint="percent-encode in a password: / as %2F, ? as %3F, # as %23, @ as %40, % as %25; or use password_file",
        )


def _tls(options: dict[str, str]) -> dict[str, str | None]:
    password = _secret(options, "tls_key_password", options.pop("tls_key_password", None))
    tls: dict[str, str | None] = {name: options.pop(name, "") for name in _TLS_OPTIONS if name != "tls_key_password"}
    if bool(tls["tls_cert"]) != bool(tls["tls_key"]):
        missing, there = ("tls_key", "tls_cert") if tls["tls_cert"] else ("tls_cert", "tls_key")
        raise ConfigError(f"the rediss:// URL has {there} but no {missing}", hint="name the files of both")
    return tls | {"tls_key_password": password}


def _secret(options: dict[str, str], name: str, given: str | None) -> str | None:
    """Return a secret from the URL, or from the file that the URL names instead."""
    path = options.pop(f"{name}_file", "")
    if not path:
        return given
    if given:
        raise ConfigError(f"the URL has both a {name} and a {name}_file", hint="leave one of them out")
    try:
        return read_secret(Path(path))
    except FileRefused as error:
        raise ConfigError(f"{name}_file: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise ConfigError(f"{name}_file {path} cannot be read: {error.strerror}", hint="correct its path") from error


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
