"""The key schema: this module alone builds keys and takes them apart.

```text
player:7            the record          zone:town:objects   a record whose kind has a suffix
player:7:version    its schema version  server:config  server:id-counter  server:store-id
player:7:updated    its revision        server:town-1:lease  server:town-1:notices  server:store-runs
player:7:owner      its owner           account:ada    server:synced
player:7:ops        operations applied  corrupt:player:7:9f86d081884c7d65
player:7:inbox      letters             player:7:left    its last owner, for a short time
player:7:kept       letters that could not be applied yet    player:7:notes   notes of operators
temp:1732371000123456:c0ffee:player:7
server:town-1:throttle:accounts         server:sealed:9f86d081884c7d65
server:town-1:journal   server:town-1:journaled
server:account-notices  server:skeletons server:skeleton:9f86d081884c7d65
server:sent:9f86d081884c7d65            server:restoring
server:town-1:control                   operator:ann
server:audit    server:audit-head       server:act:9f86d081884c7d65
server:erasing:9f86d081884c7d65
```
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from realmkeep.errors import InvalidKey

RESERVED_KINDS: Final = frozenset({"account", "operator", "server", "corrupt", "temp"})
_INTERNAL_KINDS: Final = frozenset({"account", "operator", "server"})
COMPANIONS: Final = frozenset({"version", "updated", "owner", "ops", "inbox", "left", "kept", "notes"})
ID_CHARS_MAX: Final = 128  # an id is a number, a UUID or a short name; a longer one is a mistake
SERVER_CONFIG: Final = "server:config"
SERVER_ID_COUNTER: Final = "server:id-counter"
SERVER_STORE_ID: Final = "server:store-id"
SERVER_STORE_RUNS: Final = "server:store-runs"
SERVER_SYNCED: Final = "server:synced"
SERVER_ACCOUNT_NOTICES: Final = "server:account-notices"
SERVER_SKELETONS: Final = "server:skeletons"
SERVER_RESTORING: Final = "server:restoring"
SERVER_AUDIT: Final = "server:audit"
SERVER_AUDIT_HEAD: Final = "server:audit-head"

_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_BAD_IN_ID = re.compile(r"[:{}\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DIGEST = re.compile(r"([a-z]{1,16}-)?[0-9a-f]{16,64}")
_TEMP = re.compile(r"temp:(0|[1-9][0-9]{0,17}):([^:]+):(.+)", re.DOTALL)  # 18 digits: until the year 33658


def check_kind(kind: str, *, internal: bool = False) -> str:
    """Return `kind` if a record may use it.

    Args:
        kind: 1 to 32 of `a-z`, `0-9` and `-`, starting with a letter.
        internal: Allow the kinds `account`, `operator` and `server`, for Realmkeep's own records.

    Raises:
        InvalidKey: The kind is malformed or reserved.
    """
    if not _KIND.fullmatch(kind):
        raise InvalidKey(
            f"kind {kind!r} is not a valid kind",
            hint="1 to 32 of a-z, 0-9 and '-', starting with a letter",
        )
    if kind in RESERVED_KINDS and not (internal and kind in _INTERNAL_KINDS):
        raise InvalidKey(f"kind {kind!r} is reserved", hint=f"choose another than {', '.join(sorted(RESERVED_KINDS))}")
    return kind


def check_id(value: int | str, *, what: str = "id") -> str:
    """Return `value` as the text of an id in keys.

    Args:
        value: A whole number from 0, or text of 1 to 128 characters without `:`, `{`, `}`, blanks, control characters
            or lone surrogates. `7` and `"7"` are the same id.
        what: Its name in an error.

    Raises:
        InvalidKey: It is neither such a number nor such a text.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidKey(f"{what} {value!r} is neither a whole number nor text", hint="pass an int or a str")
    if isinstance(value, int):
        if not 0 <= value < 1 << 63:
            shown = value if value.bit_length() <= 64 else f"of {value.bit_length()} bits"
            raise InvalidKey(f"{what} {shown} is out of range", hint="a whole number from 0 to 2^63 - 1")
        return str(int(value))
    if not 1 <= len(value) <= ID_CHARS_MAX:
        raise InvalidKey(f"{what} has {len(value)} characters", hint=f"use 1 to {ID_CHARS_MAX} characters")
    if bad := _BAD_IN_ID.search(value):
        raise InvalidKey(
            f"{what} {value!r} has {bad.group()!r} at position {bad.start()}",
            hint="no ':', '{', '}', blanks, control characters or lone surrogates",
        )
    return str.__str__(value)  # a member of a (str, Enum) would read `Zone.TOWN` in keys


def check_suffix(suffix: str) -> str:
    """Return `suffix` if it may end a record's key: formed like a kind, and not the name of a companion key.

    Raises:
        InvalidKey: It is neither empty nor such a name.
    """
    if suffix and (suffix in COMPANIONS or not _KIND.fullmatch(suffix)):
        raise InvalidKey(
            f"suffix {suffix!r} cannot end a record's key",
            hint=f"1 to 32 of a-z, 0-9 and '-', starting with a letter; not one of {', '.join(sorted(COMPANIONS))}",
        )
    return suffix


@dataclass(frozen=True)
class RecordKeys:
    """The keys of one record. Build it with `record_keys`, which checks the parts."""

    kind: str
    id: str
    suffix: str = ""

    @cached_property
    def record(self) -> str:
        """The key of the record's bytes."""
        return f"{self.kind}:{self.id}:{self.suffix}" if self.suffix else f"{self.kind}:{self.id}"

    @cached_property
    def version(self) -> str:
        """The key of its schema version, in decimal."""
        return f"{self.kind}:{self.id}:version"

    @cached_property
    def updated(self) -> str:
        """The key of its revision: microseconds since the epoch, strictly rising, in decimal."""
        return f"{self.kind}:{self.id}:updated"

    @cached_property
    def owner(self) -> str:
        """The key of its owner: server name, incarnation and fencing token."""
        return f"{self.kind}:{self.id}:owner"

    @cached_property
    def ops(self) -> str:
        """The key of its op ring: the last operations with their results."""
        return f"{self.kind}:{self.id}:ops"

    @cached_property
    def inbox(self) -> str:
        """The key of its inbox: the list of letters that are not applied yet."""
        return f"{self.kind}:{self.id}:inbox"

    @cached_property
    def kept(self) -> str:
        """The key of its kept letters: a list of those that could not be applied, or that the game wants later."""
        return f"{self.kind}:{self.id}:kept"

    @cached_property
    def notes(self) -> str:
        """The key of a list: the notes of operators on it."""
        return f"{self.kind}:{self.id}:notes"

    @cached_property
    def left(self) -> str:
        """The key that names, for a short time, the server that released, made or deleted the record."""
        return f"{self.kind}:{self.id}:left"


def record_keys(kind: str, id: int | str, *, suffix: str = "", internal: bool = False) -> RecordKeys:  # noqa: A002 - the field's own name
    """Return the keys of the record `id` of `kind`.

    Args:
        kind: See `check_kind`.
        id: See `check_id`.
        suffix: The end of the record's own key (`objects` in `zone:town:objects`); its companion keys do not have it.
        internal: Allow Realmkeep's own records: any `account` or `operator`, and `server:config`.

    Raises:
        InvalidKey: The kind is malformed or reserved, or the id or the suffix is malformed.
    """
    keys = RecordKeys(check_kind(kind, internal=internal), check_id(id, what=f"{kind} id"), check_suffix(suffix))
    if kind in RESERVED_KINDS and (suffix or (kind == "server" and keys.record != SERVER_CONFIG)):
        raise InvalidKey(
            f"{keys.record!r} is not one of Realmkeep's own records",
            hint="use account:{username}, operator:{name} or server:config",
        )
    return keys


def account(username: str) -> str:
    """Return the key of an account; `username` is already case-folded and normalised.

    Raises:
        InvalidKey: The name is malformed.
    """
    return f"account:{check_id(username, what='username')}"


def server_notices(name: str) -> str:
    """Return the key of a list: records of the server `name` that have new letters.

    Raises:
        InvalidKey: The name is malformed.
    """
    return f"server:{check_id(name, what='server name')}:notices"


def server_control(name: str) -> str:
    """Return the key of a list: acts of operators that the server `name` runs on records that it owns.

    Raises:
        InvalidKey: The name is malformed.
    """
    return f"server:{check_id(name, what='server name')}:control"


def server_lease(name: str) -> str:
    """Return the key of the lease of the server `name`.

    Raises:
        InvalidKey: The name is malformed.
    """
    return f"server:{check_id(name, what='server name')}:lease"


def server_journal(name: str) -> str:
    """Return the key of a list: the journal of the server `name`, as far as it is not archived.

    Raises:
        InvalidKey: The name is malformed.
    """
    return f"server:{check_id(name, what='server name')}:journal"


def server_journaled(name: str) -> str:
    """Return the key of the digest of the last segment that the archive of that journal has, once its entries are dropped.

    Raises:
        InvalidKey: The name is malformed.
    """
    return f"server:{check_id(name, what='server name')}:journaled"


def server_throttle(name: str, table: str) -> str:
    """Return the key of a table of failed logins of the server `name`.

    Raises:
        InvalidKey: A name is malformed.
    """
    return f"server:{check_id(name, what='server name')}:throttle:{check_kind(table)}"


def sealed(digest: str) -> str:
    """Return the key that marks a sealed payload as accepted, for as long as it could be sent again.

    Raises:
        InvalidKey: The digest is malformed.
    """
    return f"server:sealed:{_check_digest(digest)}"


def sent(digest: str) -> str:
    """Return the key that marks a letter of `keeper.send` as sent, for as long as the call may be repeated.

    Raises:
        InvalidKey: The digest is malformed.
    """
    return f"server:sent:{_check_digest(digest)}"


def act(digest: str) -> str:
    """Return the key that holds the outcome of an operator's act, for as long as the act may be asked for again.

    Raises:
        InvalidKey: The digest is malformed.
    """
    return f"server:act:{_check_digest(digest)}"


def erasing(digest: str) -> str:
    """Return the key of an erasure that the cold tier may lack.

    Raises:
        InvalidKey: The digest is malformed.
    """
    return f"server:erasing:{_check_digest(digest)}"


def account_skeleton(digest: str) -> str:
    """Return the key that names the account with a given skeleton of user names.

    Raises:
        InvalidKey: The digest is malformed.
    """
    return f"server:skeleton:{_check_digest(digest)}"


def corrupt(keys: RecordKeys, digest: str) -> str:
    """Return the key of unreadable bytes of a record; the same bytes have the same key.

    Args:
        keys: The record's keys.
        digest: The digest of the bytes, 16 to 64 lower-case hexadecimal digits; before it a word and `-` if they are not
            the record's own bytes (`letter-9f86d081884c7d65`).

    Raises:
        InvalidKey: The digest is malformed.
    """
    return f"corrupt:{keys.kind}:{keys.id}:{_check_digest(digest)}"


def _check_digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise InvalidKey(
            f"digest {digest!r:.80} is malformed",
            hint="16 to 64 lower-case hexadecimal digits, perhaps after a word and '-'",
        )
    return digest


def temp(key: str, *, now_us: int, unique: str) -> str:
    """Return the key of a staged write of `key`. The time is in its name, because RENAME would carry an expiry over.

    Args:
        key: Any key, of this schema or not.
        now_us: Microseconds since the epoch, of at most 18 digits.
        unique: Distinguishes writes staged in the same microsecond; formed like an id.

    Raises:
        InvalidKey: A part is malformed, so that `temp_age_us` could not read the key.
    """
    staged = f"temp:{now_us}:{check_id(unique, what='unique part')}:{key}"
    if not _TEMP.fullmatch(staged):
        raise InvalidKey(f"{staged!r:.200} cannot stage a write", hint="a time from 0 and a key that is not empty")
    return staged


def temp_age_us(key: str, *, now_us: int) -> int | None:
    """Return the age of a staged write in microseconds (negative if the clock went back); None if `key` is not one."""
    staged = _TEMP.fullmatch(key)
    return now_us - int(staged[1]) if staged else None


@dataclass(frozen=True)
class ParsedKey:
    """A key taken apart.

    Attributes:
        role: `record`, a companion (`version`, `updated`, `owner`, `ops`, `inbox`, `left`, `kept`, `notes`), `account`, `operator`, `lease`,
            `notices`, `control`, `throttle`, `sealed`, `journal`, `journaled`, `config`, `id-counter`, `store-id`, `store-runs`, `synced`,
            `account-notices`, `skeletons`, `skeleton`, `sent`, `act`, `erasing`, `audit`, `audit-head`, `restoring`, `corrupt` or `temp`.
        kind: The record's kind; the reserved kind for the others.
        id: The record's id, the user name, the operator's or the server's name, the digest of a `sealed`, `skeleton`, `sent`,
            `act` or `erasing` key; for `temp` the key that it stages; empty for singletons.
        suffix: The suffix of a record's key (`objects`), the digest of a `corrupt` one, the table of a `throttle` one, the
            unique part of a `temp` one.
        staged_us: The time when a `temp` key was staged, in microseconds since the epoch; None for the others.
    """

    role: str
    kind: str
    id: str = ""
    suffix: str = ""
    staged_us: int | None = None


_SINGLETONS: Final = {
    SERVER_CONFIG: "config",
    SERVER_ID_COUNTER: "id-counter",
    SERVER_STORE_ID: "store-id",
    SERVER_STORE_RUNS: "store-runs",
    SERVER_SYNCED: "synced",
    SERVER_ACCOUNT_NOTICES: "account-notices",
    SERVER_SKELETONS: "skeletons",
    SERVER_RESTORING: "restoring",
    SERVER_AUDIT: "audit",
    SERVER_AUDIT_HEAD: "audit-head",
}


def parse(key: str) -> ParsedKey:
    """Take a key apart; the inverse of every function here that builds one.

    Raises:
        InvalidKey: No function here builds such a key, or it stages a key of another schema.
    """
    if key in _SINGLETONS:
        return ParsedKey(_SINGLETONS[key], "server")
    if staged := _TEMP.fullmatch(key):
        time_us, unique, target = staged.groups()
        if not target.startswith("temp:"):
            parse(target)
            return ParsedKey("temp", "temp", target, check_id(unique, what="unique part"), int(time_us))
    match key.split(":"):
        case [("account" | "operator") as kind, name]:
            return ParsedKey(kind, kind, check_id(name, what="username"))
        case ["server", *parts] if parsed := _parse_server(parts):
            return parsed
        case ["corrupt", kind, id_, digest]:
            keys = record_keys(kind, id_, internal=True)
            return ParsedKey("corrupt", keys.kind, keys.id, _check_digest(digest))
        case [kind, id_] if kind not in RESERVED_KINDS:
            return ParsedKey("record", check_kind(kind), check_id(id_))
        case [kind, id_, last] if last in COMPANIONS:
            keys = record_keys(kind, id_, internal=True)
            return ParsedKey(last, keys.kind, keys.id)
        case [kind, id_, suffix] if suffix:
            keys = record_keys(kind, id_, suffix=suffix)
            return ParsedKey("record", keys.kind, keys.id, keys.suffix)
        case _:
            raise InvalidKey(f"{key!r:.200} is not a key of the schema", hint="realmkeep.keys has the schema")


def _parse_server(parts: list[str]) -> ParsedKey | None:
    """Parse the keys beside the server's records, from the parts after `server:`; None if they form another key."""
    match parts:
        case [name, ("lease" | "notices" | "control" | "journal" | "journaled") as role]:
            return ParsedKey(role, "server", check_id(name, what="server name"))
        case [("sealed" | "skeleton" | "sent" | "act" | "erasing") as role, digest]:
            return ParsedKey(role, "server", _check_digest(digest))
        case [name, "throttle", table]:
            return ParsedKey("throttle", "server", check_id(name, what="server name"), check_kind(table))
        case _:
            return None
