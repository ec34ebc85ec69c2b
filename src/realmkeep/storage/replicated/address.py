"""The address of a store with replicas: some of its servers, and the name of the realm or of the primary."""

from binascii import crc_hqx
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from realmkeep.errors import ConfigError
from realmkeep.storage.limits import whole_number
from realmkeep.storage.redis_url import NAME, RedisAddress, parse_redis_url
from realmkeep.storage.urls import options_of

SLOTS: Final = 16384
SENTINEL_PORT: Final = 26379
REPLICAS_MIN: Final = 1
REPLICAS_MAX: Final = 16
Kind = Literal["cluster", "sentinel"]
_READS_ELSEWHERE: Final = frozenset({"readonly", "read_from_replicas", "readFrom", "read_preference"})


@dataclass(frozen=True)
class NodeAddress(RedisAddress):
    """One server of a store with replicas; its text is the URL of the store, as this server would be asked for it."""

    shown: str = ""

    def __str__(self) -> str:
        return self.shown


@dataclass(frozen=True)
class ReplicatedAddress:
    """A store with replicas.

    Attributes:
        kind: `cluster`: the servers tell which of them has the realm. `sentinel`: sentinels tell which is the primary.
        seeds: Host and port of servers to ask, at least one.
        name: The realm in a cluster; the name of the primary that the sentinels watch.
        login: User, password, TLS, timeouts, database and prefix of each server; its host is of no account.
        sentinel_login: The same for the sentinels.
        replicas_min: The fewest replicas that must have a write before it is committed. 0: a primary without replicas serves.
    """

    kind: Kind
    seeds: tuple[tuple[str, int], ...]
    name: str
    login: RedisAddress
    sentinel_login: RedisAddress
    replicas_min: int = REPLICAS_MIN

    @property
    def slot(self) -> int:
        """The slot of the realm in a cluster; all its keys begin with its name in braces."""
        return crc_hqx(self.name.encode(), 0) % SLOTS

    def node(self, host: str, port: int) -> NodeAddress:
        """Return the address of one server of the store."""
        return _node(self.login, host, port, self._shown(((host, port),)))

    def sentinel(self, host: str, port: int) -> NodeAddress:
        """Return the address of one sentinel."""
        return _node(self.sentinel_login, host, port, f"sentinel {_host(host)}:{port}")

    def __str__(self) -> str:
        return self._shown(self.seeds)

    def _shown(self, servers: tuple[tuple[str, int], ...]) -> str:
        hosts = ",".join(f"{_host(host)}:{port}" for host, port in servers)
        database = f"/{self.login.database}" if self.kind == "sentinel" else ""
        prefix = (
            f"?prefix={self.login.prefix.removesuffix(':')}" if self.kind == "sentinel" and self.login.prefix else ""
        )
        return f"redis{'s' if self.login.tls else ''}-{self.kind}://{hosts}/{self.name}{database}{prefix}"


def _node(login: RedisAddress, host: str, port: int, shown: str) -> NodeAddress:
    parts: dict[str, Any] = {each.name: getattr(login, each.name) for each in fields(login)}
    parts |= {"host": host, "port": port, "shown": shown}
    return NodeAddress(**parts)


def _host(host: str) -> str:
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def parse_replicated_url(url: SplitResult) -> ReplicatedAddress:
    """Parse `redis-cluster://host:port,.../realm` or `redis-sentinel://host:port,.../primary/database`, or the TLS forms `rediss-...`.

    Blocks if the URL names files of secrets. Options: those of `redis://`, and `replicas_min`; with sentinels also
    `sentinel_password_file`, because a sentinel has a password of its own.

    Raises:
        ConfigError: A part is missing, malformed or unknown, or a file of a secret cannot be read. The message names the
            part and does not repeat the URL.
    """
    scheme = url.scheme
    kind: Kind = "cluster" if scheme.endswith("-cluster") else "sentinel"
    options = options_of(url)
    if elsewhere := _READS_ELSEWHERE & options.keys():
        raise ConfigError(
            f"the {scheme}:// URL has the option {next(iter(elsewhere))!r}",
            hint="remove it: reads go to the primary alone, because a replica may be behind",
        )
    replicas_min = _replicas_min(options.pop("replicas_min", str(REPLICAS_MIN)))
    password_file = options.pop("sentinel_password_file", "") if kind == "sentinel" else ""
    user, at, hosts = url.netloc.rpartition("@")
    name, database = _names(url, kind)
    if kind == "cluster" and "prefix" in options:
        raise ConfigError(
            f"the {scheme}:// URL has a prefix", hint="the name of the realm stands before its keys; remove it"
        )
    plain = url._replace(netloc=f"{user}{at}{hosts.partition(',')[0]}", path=f"/{database}", query=urlencode(options))
    login = parse_redis_url(plain)
    seeds = tuple(_seed(url, host, SENTINEL_PORT if kind == "sentinel" else login.port) for host in hosts.split(","))
    if kind == "cluster":
        login = replace(login, prefix=f"{{{name}}}:")
    return ReplicatedAddress(kind, seeds, name, login, _sentinel_login(login, plain, password_file), replicas_min)


def _names(url: SplitResult, kind: Kind) -> tuple[str, str]:
    """The name in the path, and the database."""
    name, _, database = url.path.strip("/").partition("/")
    if not NAME.fullmatch(name) or (kind == "cluster" and database):
        what, form = (
            ("realm", "host:port,host:port/realm")
            if kind == "cluster"
            else ("primary", "host:port,host:port/primary/0")
        )
        raise ConfigError(
            f"the path of the {url.scheme}:// URL is not the name of a {what}",
            hint=f"{url.scheme}://{form}; 1 to 64 letters, digits, '.', '_' and '-'",
        )
    return name, database


def _seed(url: SplitResult, host: str, port: int) -> tuple[str, int]:
    each = parse_redis_url(urlsplit(f"{url.scheme.partition('-')[0]}://{host}"))
    given = host.rpartition("]")[2] if host.startswith("[") else host
    return each.host, each.port if ":" in given else port


def _sentinel_login(login: RedisAddress, url: SplitResult, password_file: str) -> RedisAddress:
    options = {name: value for name, value in parse_qsl(url.query) if name.startswith("tls_")}
    if password_file:
        options["password_file"] = password_file
    parsed = parse_redis_url(url._replace(netloc=url.netloc.rpartition("@")[2], path="/0", query=urlencode(options)))
    return replace(parsed, timeout_s=login.timeout_s, connect_timeout_s=login.connect_timeout_s)


def _replicas_min(text: str) -> int:
    number = whole_number(text.encode(errors="replace"))
    if number is None or not 0 <= number <= REPLICAS_MAX:
        raise ConfigError(f"replicas_min={text!r} is out of range", hint=f"a whole number from 0 to {REPLICAS_MAX}")
    return number
