"""All settings, each with its unit in its name, its bounds, its default and its meaning.

A new section is a class here and a field of `Config`; sources, errors, printing and docs/configuration.md follow from it.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from realmkeep.config.followers import ArchiveConfig, BackupConfig, JournalConfig
from realmkeep.config.settings import Section, mask_all, mask_url, settings_of

_STORE_URL: Final = (
    r"^(memory://|(sqlite|embedded):///[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
    r"|(rediss?(-cluster|-sentinel)?|redis\+unix|postgresql)://[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+)\Z"
)
_STORE_URL_ALLOWED: Final = (
    "memory://, sqlite:///file, embedded:///directory, redis://host:port/db, rediss://host:port/db, "
    "redis+unix:///socket, redis-cluster:// or rediss-cluster://host:port,.../realm, "
    "redis-sentinel:// or rediss-sentinel://host:port,.../primary/db, or postgresql://user@host/database"
)
_LOG_LEVEL: Final = r"[A-Za-z_][A-Za-z0-9_.-]*=(debug|info|warning|error|critical)"
_TOLD: Final = r"^[\x21-\x7e]{0,200}\Z"
_TOLD_ALLOWED: Final = "up to 200 printable characters of ASCII without blanks"
_SERVER_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z"


class StoreConfig(Section, frozen=True, kw_only=True):
    """The store of the records."""

    url: Annotated[
        str,
        Meta(
            pattern=_STORE_URL,
            description="The store. `embedded` is a Valkey that Realmkeep starts itself.",
            extra={"allowed": _STORE_URL_ALLOWED, "mask": mask_url},
        ),
    ] = "embedded:///realm-data/store"


class RecordsConfig(Section, frozen=True, kw_only=True):
    """The format of records, and the caps that hold before memory is allocated for a stored one."""

    bytes_max: Annotated[
        int, Meta(ge=1024, le=512 * 1024, description="Most bytes of one encoded record; a store's own cap is 512 KiB.")
    ] = 64 * 1024
    depth_max: Annotated[int, Meta(ge=2, le=256, description="Deepest nesting of containers in one record.")] = 64
    nodes_max: Annotated[
        int, Meta(ge=100, le=1_000_000, description="Most values, containers and map keys of one record together.")
    ] = 10_000
    codec: Annotated[
        Literal["json", "sexpr"], Meta(description="The format that records are written in; both are always read.")
    ] = "json"
    accept_unchecked: Annotated[
        bool,
        Meta(description="Accept JSON records without a checksum, for a store that another program filled."),
    ] = False


class KeeperConfig(Section, frozen=True, kw_only=True):
    """The times of keeping: intervals, leases, limits and the ends of sessions."""

    name: Annotated[
        str,
        Meta(
            pattern=_SERVER_NAME,
            description="This server's name: unique among the servers of a store, and the same after a restart.",
            extra={"allowed": "1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-', starting with a letter or digit"},
        ),
    ] = "realm-1"
    address: Annotated[
        str,
        Meta(
            pattern=_TOLD,
            description="Where clients and gateways reach this server; `keeper.whereabouts` and `Directory` tell it.",
            extra={"allowed": _TOLD_ALLOWED},
        ),
    ] = ""
    version: Annotated[
        str,
        Meta(
            pattern=_TOLD,
            description="The release of the game; told as `keeper.address` is.",
            extra={"allowed": _TOLD_ALLOWED},
        ),
    ] = ""
    flush_interval_s: Annotated[
        float, Meta(ge=0.05, le=600, description="A batched change is durable within this time.")
    ] = 30
    checkpoint_interval_s: Annotated[
        float, Meta(ge=0.05, le=600, description="A change of checkpoint fields only is durable within this time.")
    ] = 60
    sweep_interval_s: Annotated[
        float, Meta(ge=0.05, le=600, description="A change without a mark is found within this time.")
    ] = 10
    slice_ms: Annotated[
        float, Meta(ge=0.05, le=50, description="Longest slice of flushing work before the event loop gets a turn.")
    ] = 0.5
    heartbeat_s: Annotated[float, Meta(ge=0.05, le=300, description="How often the server's lease is renewed.")] = 10
    lease_ttl_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=900,
            description="How long a silent server keeps its sessions; at least twice `heartbeat_s`.",
        ),
    ] = 30
    grace_s: Annotated[
        float, Meta(ge=0, le=600, description="How long a disconnected player's session waits to be resumed.")
    ] = 30
    tier1_rate_per_s: Annotated[
        float, Meta(ge=0.1, le=10_000, description="Tier-1 operations that one player may start a second.")
    ] = 10
    tier1_queue_max: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Tier-1 operations of one player that wait for the rate; beyond it the game may kick the player.",
        ),
    ] = 32
    queue_max: Annotated[
        int,
        Meta(ge=16, le=1_000_000, description="Transactions that wait for the store; beyond it commits are refused."),
    ] = 20_000
    inbox_letters_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Letters that wait for one record, and as many that are kept; beyond it a sender is refused.",
        ),
    ] = 1000
    inbox_letters_per_sender_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Letters of one sender that `keeper.letters.check_room` lets wait for one record.",
        ),
    ] = 100
    pending_after_s: Annotated[
        float,
        Meta(ge=0.05, le=600, description="How long a caller waits for the store before it gets CommitPending."),
    ] = 5
    shutdown_deadline_s: Annotated[
        float,
        Meta(ge=0.1, le=3600, description="How long a shutdown waits for the store before it writes rescue.jsonl."),
    ] = 30
    strict: Annotated[
        bool, Meta(description="Raise if an immediate field changes outside a commit; for tests and development.")
    ] = False
    heal: Annotated[
        bool,
        Meta(description="Rewrite live sessions if a store lost data although it promised not to; else stop writing."),
    ] = False

    def conflicts(self) -> Iterable[str]:
        """Yield a lease that one late heartbeat can lose."""
        if self.lease_ttl_s < 2 * self.heartbeat_s:
            yield (
                f"lease_ttl_s = {self.lease_ttl_s} with heartbeat_s = {self.heartbeat_s}: allowed is at least twice "
                f"heartbeat_s ({2 * self.heartbeat_s}), so that one late heartbeat loses no sessions"
            )


class AuthConfig(Section, frozen=True, kw_only=True):
    """Accounts: passwords, sealed credentials, and the throttling of guesses."""

    password_length_min: Annotated[
        int, Meta(ge=8, le=64, description="Fewest characters of a new password; under 15 only with another factor.")
    ] = 15
    realm_name: Annotated[
        str,
        Meta(max_length=64, description="The name of the game; user names and passwords must not be built on it."),
    ] = "Realmkeep"
    reserved_names: Annotated[
        str,
        Meta(
            max_length=4096,
            description="User names, between blanks, that cannot be registered; lookalikes cannot either.",
        ),
    ] = "admin administrator moderator mod gamemaster operator system server support staff official root"
    hash: Annotated[
        Literal["argon2id", "pbkdf2-sha256"],
        Meta(description="The hash of new passwords; the second if the rules demand a FIPS-approved function."),
    ] = "argon2id"
    hash_threads: Annotated[
        int, Meta(ge=1, le=64, description="Passwords hashed at once; each takes a core and, with Argon2id, 19 MiB.")
    ] = 2
    hash_queue_max: Annotated[
        int, Meta(ge=1, le=100_000, description="Passwords that wait to be hashed; beyond it logins are throttled.")
    ] = 256
    answer_time_s: Annotated[
        float,
        Meta(ge=0, le=30, description="A refused login is answered this long after its arrival, whatever the reason."),
    ] = 0.5
    key_file: Annotated[
        str,
        Meta(min_length=1, description="The server's keys for sealed credentials; made readable by its owner alone."),
    ] = "realm-data/server-keys.json"
    require_encryption: Annotated[
        bool, Meta(description="Refuse passwords and tickets that are not sealed with the server's key.")
    ] = False
    throttle_account_free: Annotated[
        int, Meta(ge=1, le=1000, description="Wrong passwords for one account before the first delay.")
    ] = 5
    throttle_address_free: Annotated[
        int, Meta(ge=1, le=100_000, description="Failures from one address before its first delay.")
    ] = 20
    throttle_delay_s_max: Annotated[
        float, Meta(ge=1, le=86_400, description="Longest delay after failures; it begins at 1 s and doubles.")
    ] = 900
    throttle_save_interval_s: Annotated[
        float,
        Meta(ge=0.05, le=3600, description="How often failures are saved, so that a restart does not lose them."),
    ] = 30


class NetworkConfig(Section, frozen=True, kw_only=True):
    """The reference server's quotas for one address (IPv4, or IPv6 /64) and the network around it (/24, or /48)."""

    connections_per_address: Annotated[
        int, Meta(ge=1, le=100_000, description="TCP connections of one address at once, logged in or not.")
    ] = 128
    connections_per_network: Annotated[
        int, Meta(ge=1, le=100_000, description="TCP connections of one network at once.")
    ] = 1_024
    sessions_per_address: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Players of one address in the game at once, over TCP and UDP together."),
    ] = 64
    sessions_per_network: Annotated[
        int, Meta(ge=1, le=100_000, description="Players of one network in the game at once.")
    ] = 512
    logins_per_min_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Logins and registrations of one address in a minute, failed ones too."),
    ] = 120
    logins_per_min_per_network: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Logins and registrations of one network in a minute.")
    ] = 960
    registrations_per_hour_per_address: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Accounts that one address may register in an hour.")
    ] = 30
    registrations_per_hour_per_network: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Accounts that one network may register in an hour.")
    ] = 240
    limit_loopback: Annotated[
        bool,
        Meta(description="Count addresses of this machine too; off, because bots and proxies in front have such."),
    ] = False
    tls_cert: Annotated[
        str, Meta(description="PEM file of the certificate and its chain: TCP uses TLS. Empty: it does not.")
    ] = ""
    tls_key: Annotated[
        str, Meta(description="PEM file of the certificate's private key. Empty: it is in `tls_cert` too.")
    ] = ""
    tls_key_password: Annotated[
        str, Meta(description="The passphrase of that key, if it has one.", extra={"mask": mask_all})
    ] = ""
    tcp_silence_s: Annotated[
        float,
        Meta(ge=1, le=86_400, description="A logged-in TCP client that sends nothing for this long is disconnected."),
    ] = 300

    def conflicts(self) -> Iterable[str]:
        """Yield a key without its certificate."""
        if (self.tls_key or self.tls_key_password) and not self.tls_cert:
            yield "tls_key without tls_cert: TCP uses TLS only with both"


class OperationsConfig(Section, frozen=True, kw_only=True):
    """The operator's view: the port of metrics and health, thresholds, and the log."""

    listen: Annotated[
        str,
        Meta(
            pattern=r"^(|[A-Za-z0-9.-]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5})\Z",
            description="The address of /metrics, /healthz, /readyz and /status; port 0 picks a free one. Empty: none.",
            extra={"allowed": "host:port, [IPv6]:port, or nothing"},
        ),
    ] = "127.0.0.1:9464"
    dirty_warning: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Records with unsaved changes from which an alert warns.")
    ] = 1000
    dirty_critical: Annotated[
        int, Meta(ge=1, le=10_000_000, description="As above, from which the alert is critical.")
    ] = 5000
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        Meta(description="The least grave entries that the log of `serve` has."),
    ] = "info"
    log_levels: Annotated[
        str,
        Meta(
            pattern=rf"^(|{_LOG_LEVEL}( +{_LOG_LEVEL})*)\Z",
            max_length=4096,
            description="Other levels for parts of the log, by the names that its entries show.",
            extra={"allowed": "name=level, several between blanks: realm.login=warning realmkeep.keeping=debug"},
        ),
    ] = ""

    def levels_by_name(self) -> dict[str, str]:
        """The levels of `log_levels` by the name of the log's part."""
        return dict(part.split("=") for part in self.log_levels.split())

    def conflicts(self) -> Iterable[str]:
        """Yield a warning that would come after the critical alert."""
        if self.dirty_warning > self.dirty_critical:
            yield f"dirty_warning = {self.dirty_warning} is above dirty_critical = {self.dirty_critical}"


class OperatorsConfig(Section, frozen=True, kw_only=True):
    """Operators: the account that commands use, and the limits of roles."""

    name: Annotated[
        str, Meta(max_length=32, description="The operator that commands act as; `--as` names another.")
    ] = ""
    password: Annotated[
        str,
        Meta(
            description="Its password, for commands off a terminal; a terminal asks for it.", extra={"mask": mask_all}
        ),
    ] = ""
    support_gift_max: Annotated[
        int, Meta(ge=0, le=10**12, description="The largest gift of an operator with the role support.")
    ] = 1000
    gift_alone_max: Annotated[
        int, Meta(ge=0, le=10**12, description="The largest gift of one admin alone, once the realm has two.")
    ] = 100_000
    players: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z",
            description="The `Players` of the game: its player class, and how operators give and move.",
            extra={"allowed": "module:object"},
        ),
    ] = "realmkeep.realm.world.operated:PLAYERS"


class ConsoleConfig(Section, frozen=True, kw_only=True):
    """The console of a realm: its address, its names, and the encryption in front of it."""

    listen: Annotated[
        str,
        Meta(
            pattern=r"^(|[A-Za-z0-9.-]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5})\Z",
            description="The address of the console; port 0 picks a free one. Empty: none.",
            extra={"allowed": "host:port, [IPv6]:port, or nothing"},
        ),
    ] = ""
    hosts: Annotated[
        str,
        Meta(
            max_length=4096,
            description="Names, between blanks, by which browsers may ask for it; a loopback address has its own.",
        ),
    ] = ""
    tls_cert: Annotated[str, Meta(description="PEM file of its certificate and chain; empty: no TLS of its own.")] = ""
    tls_key: Annotated[str, Meta(description="PEM file of the key, if it is not in `console.tls_cert`.")] = ""
    behind_proxy: Annotated[
        bool, Meta(description="A proxy before it speaks TLS to browsers; allows another address than a loopback one.")
    ] = False

    def conflicts(self) -> Iterable[str]:
        """Yield a key without a certificate."""
        if self.tls_key and not self.tls_cert:
            yield "tls_key without tls_cert: the console uses TLS only with both"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, each checked; `str()` prints them as TOML with the source of each and secrets masked.

    Attributes:
        sources: The source of each setting that is not at its default, by key.
    """

    store: StoreConfig = StoreConfig()
    records: RecordsConfig = RecordsConfig()
    keeper: KeeperConfig = KeeperConfig()
    auth: AuthConfig = AuthConfig()
    network: NetworkConfig = NetworkConfig()
    operations: OperationsConfig = OperationsConfig()
    backup: BackupConfig = BackupConfig()
    operators: OperatorsConfig = OperatorsConfig()
    journal: JournalConfig = JournalConfig()
    console: ConsoleConfig = ConsoleConfig()
    archive: ArchiveConfig = ArchiveConfig()
    sources: Mapping[str, str] = {}

    @classmethod
    def defaults(cls) -> "Config":
        """Return the defaults of all settings."""
        return cls()

    def __str__(self) -> str:
        lines: list[str] = []
        for section_name, section in SECTIONS.items():
            lines += [f"[{section_name}]"]
            for setting in settings_of(section).values():
                value = getattr(getattr(self, section_name), setting.name)
                source = self.sources.get(f"{section_name}.{setting.name}", "default")
                lines.append(f"{setting.name} = {setting.show(value)}  # {source}")
            lines.append("")
        return "\n".join(lines)


SECTIONS: Final[Mapping[str, type[Section]]] = {
    name: type(section)
    for name in Config.__struct_fields__
    if isinstance(section := getattr(Config.defaults(), name), Section)
}
