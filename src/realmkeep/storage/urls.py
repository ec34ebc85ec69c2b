"""Opens the store of a URL; a driver is imported only when its URL is opened."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final, cast
from urllib.parse import SplitResult, parse_qsl, urlsplit

from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import ConfigError, StorageMisconfigured
from realmkeep.storage.protocol import Storage

Opener = Callable[[SplitResult, Clock], Storage]


@dataclass(frozen=True)
class _Backend:
    module: str  # has `open_url(url, clock)`; its ConfigErrors must not repeat the URL's secrets
    extra: str | None


_REDIS: Final = _Backend("realmkeep.storage.redis", "redis")
_REPLICATED: Final = _Backend("realmkeep.storage.replicated.storage", "redis")
_BACKENDS: Final = {
    "memory": _Backend("realmkeep.storage.memory", None),
    "sqlite": _Backend("realmkeep.storage.sqlite", "sqlite"),
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+unix": _REDIS,
    "redis-cluster": _REPLICATED,
    "rediss-cluster": _REPLICATED,
    "redis-sentinel": _REPLICATED,
    "rediss-sentinel": _REPLICATED,
    "postgresql": _Backend("realmkeep.storage.postgres", "postgres"),
    "embedded": _Backend("realmkeep.storage.embedded", "embedded"),
}


def open_storage(url: str, *, clock: Clock | None = None) -> Storage:
    """Return the store for `url`, not connected yet.

    Args:
        url: `memory://`, `sqlite:///relative.db`, `sqlite:////absolute.db`, `redis://user:password@host:6379/0`,
            `rediss://...` (TLS), `redis+unix:///path/to/socket`, `redis-cluster://host:port,host:port/realm`,
            `redis-sentinel://host:port,host:port/primary/0`, `postgresql://user@host/database`, or
            `embedded:///directory`. Special characters in a part are percent-encoded. No error and no `repr` repeats the password.
        clock: The clock; by default the machine's.

    Raises:
        ConfigError: The URL has an unknown scheme or is malformed.
        StorageMisconfigured: The driver for it is not installed.
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a game may not be typed
        raise ConfigError(f"a storage URL is a {type(url).__name__}", hint='pass text such as "embedded:///realm-data"')
    try:
        parts = urlsplit(url)
    except ValueError:  # its message repeats parts of the URL
        raise ConfigError("the storage URL is malformed", hint="see open_storage for the forms") from None
    backend = _BACKENDS.get(parts.scheme)
    if backend is None:
        scheme = repr(parts.scheme) if parts.scheme else "no scheme"
        raise ConfigError(
            f"the storage URL has {scheme}", hint=f"one of {', '.join(f'{name}://' for name in _BACKENDS)}"
        )
    try:
        module = import_module(backend.module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "realmkeep":
            raise
        raise StorageMisconfigured(
            f"{parts.scheme}:// needs the package {error.name}, which is not installed",
            hint=f"pip install 'realmkeep[{backend.extra}]'",
        ) from error
    return cast("Opener", module.open_url)(parts, clock or SystemClock())


def options_of(url: SplitResult) -> dict[str, str]:
    """Return the options after a store URL's question mark, for its backend.

    Raises:
        ConfigError: The options are malformed, or one stands twice; the message repeats no value.
    """
    try:
        pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
    except ValueError:  # its message repeats the query
        raise ConfigError(f"the options of the {url.scheme}:// URL are malformed", hint="?name=value&...") from None
    options = dict(pairs)
    if len(options) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"the {url.scheme}:// URL has the option {twice!r:.40} twice", hint="remove one of them")
    return options
