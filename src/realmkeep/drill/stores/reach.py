"""Where the connections to a store at a URL lead, and the URL with a proxy between."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from realmkeep.drill.link import Endpoint, HostPort
from realmkeep.storage.redis_url import parse_redis_url

POSTGRES_PORT: Final = 5432


class Reach(NamedTuple):
    """A store that one proxy can stand before.

    Attributes:
        endpoint: Where it listens.
        url_behind: Returns its URL behind a proxy that listens elsewhere.
    """

    endpoint: Endpoint
    url_behind: Callable[[Endpoint], str]


def reach_of(url: str) -> Reach | None:
    """Return where a store listens.

    Returns:
        None if no proxy can stand before it: it has several hosts, or TLS that verifies the host of a Redis, which a proxy does
        not have; or its URL leaves the host to the environment.

    Raises:
        ConfigError: The URL is malformed.
    """
    parts = urlsplit(url)
    if parts.scheme in {"redis", "redis+unix"}:
        return _redis(parts)
    return _postgres(parts) if parts.scheme == "postgresql" else None


def _redis(parts: SplitResult) -> Reach:
    address = parse_redis_url(parts)
    user, at, _ = parts.netloc.rpartition("@")

    def behind(listen: Endpoint) -> str:
        if isinstance(listen, Path):
            return _url(parts._replace(path=quote(str(listen))))
        return _url(parts._replace(netloc=f"{user}{at}{listen.host}:{listen.port}"))

    return Reach(Path(address.socket_path) if address.socket_path else HostPort(address.host, address.port), behind)


def _postgres(parts: SplitResult) -> Reach | None:
    from realmkeep.storage.postgres.address import parse_postgres_url  # noqa: PLC0415 - an extra

    known = parse_postgres_url(parts).parameters
    host, port = known.get("hostaddr") or known.get("host", ""), known.get("port", str(POSTGRES_PORT))
    if not host or "service" in known or "," in f"{host}{known.get('host', '')}{port}" or host.startswith("@"):
        return None
    is_socket = host.startswith("/")

    def behind(listen: Endpoint) -> str:
        """The name of the host stays: TLS verifies it, and the proxy passes everything on as it is."""
        if isinstance(listen, Path):
            other = {"host": str(listen.parent)}
        else:
            other = {"hostaddr": listen.host, "port": str(listen.port)}
        options = [(name, value) for name, value in parse_qsl(parts.query) if name not in other]
        return _url(parts._replace(query=urlencode([*options, *other.items()], quote_via=quote)))

    return Reach(Path(host) / f".s.PGSQL.{port}" if is_socket else HostPort(host, int(port)), behind)


def _url(parts: SplitResult) -> str:
    """Return a URL: the library leaves the slashes out before an empty host, and these URLs need them."""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{parts.query and '?'}{parts.query}"
