"""The key schema, both ways: the one place that builds keys and the one that takes them apart.

```text
player:7            the record          zone:town:objects   a record whose kind has a suffix
player:7:version    its schema version  server:config  server:id-counter  server:store-id
player:7:updated    its revision        server:town-1:lease
player:7:owner      who may write it    account:ada
player:7:ops        operations applied  corrupt:player:7:9f86d081884c7d65
player:7:inbox      letters             temp:1732371000123456:c0ffee:player:7
server:town-1:throttle:accounts         server:sealed:9f86d081884c7d65
```
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from realmkeep.errors import InvalidKey

RESERVED_KINDS: Final = frozenset({"account", "server", "corrupt", "temp"})
COMPANIONS: Final = frozenset({"version", "updated", "owner", "ops", "inbox"})
ID_CHARS_MAX: Final = 128  # an id is a number, a UUID or a short name; a longer one is a mistake
SERVER_CONFIG: Final = "server:config"
SERVER_ID_COUNTER: Final = "server:id-counter"
SERVER_STORE_ID: Final = "server:store-id"

_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_BAD_IN_ID = re.compile(r"[:{}\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_kind(kind: str, *, internal: bool = False) -> str:
    """Return `kind` if a record may use it.

    Args:
        kind: 1 to 32 of `a-z`, `0-9` and `-`, starting with a letter.
        internal: Realmkeep's own records may use a reserved kind.

    Raises:
        InvalidKey: The kind is malformed or reserved.
    """
    if not _KIND.fullmatch(kind):
        raise InvalidKey(
            f"kind {kind!r} is not a valid kind",
            hint="1 to 32 of a-z, 0-9 and '-', starting with a letter",
        )
    if kind in RESERVED_KINDS and not internal:
        raise InvalidKey(f"kind {kind!r} is reserved", hint=f"not one of {', '.join(sorted(RESERVED_KINDS))}")
    return kind


def check_id(value: int | str, *, what: str = "id") -> str:
    """Return `value` as the text that stands in keys.

    Args:
        value: A whole number from 0, or text of 1 to 128 characters without `:`, `{`, `}`, blanks, control characters
            or lone surrogates. `7` and `"7"` are the same id.
        what: What to call it in an error.

    Raises:
        InvalidKey: It is neither.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidKey(f"{what} {value!r} is neither a whole number nor text", hint="pass an int or a str")
    if isinstance(value, int):
        if not 0 <= value < 1 << 63:
            raise InvalidKey(f"{what} {value} is out of range", hint="a whole number from 0 to 2^63 - 1")
        return str(value)
    if not 1 <= len(value) <= ID_CHARS_MAX:
        raise InvalidKey(f"{what} of {len(value)} characters", hint=f"use 1 to {ID_CHARS_MAX} characters")
    if bad := _BAD_IN_ID.search(value):
        raise InvalidKey(
            f"{what} {value!r} has {bad.group()!r} at position {bad.start()}",
            hint="no ':', '{', '}', blanks or control characters",
        )
    return value


@dataclass(frozen=True)
class RecordKeys:
    """The keys of one record. Build it with `record_keys`, which checks the parts."""

    kind: str
    id: str
    suffix: str = ""

    @cached_property
    def record(self) -> str:
        """Where the record's bytes lie."""
        return f"{self.kind}:{self.id}:{self.suffix}" if self.suffix else f"{self.kind}:{self.id}"

    @cached_property
    def version(self) -> str:
        """Its schema version, in decimal."""
        return f"{self.kind}:{self.id}:version"

    @cached_property
    def updated(self) -> str:
        """Its revision: microseconds since the epoch, strictly rising, in decimal."""
        return f"{self.kind}:{self.id}:updated"

    @cached_property
    def owner(self) -> str:
        """Which server may write it: name, incarnation and fencing token."""
        return f"{self.kind}:{self.id}:owner"

    @cached_property
    def ops(self) -> str:
        """The last operations applied to it and their results."""
        return f"{self.kind}:{self.id}:ops"

    @cached_property
    def inbox(self) -> str:
        """A list: letters delivered to it and not yet applied."""
        return f"{self.kind}:{self.id}:inbox"


def record_keys(kind: str, id: int | str, *, suffix: str = "", internal: bool = False) -> RecordKeys:  # noqa: A002 - the field's own name
    """The keys of the record `id` of `kind`.

    Raises:
        InvalidKey: The kind is malformed or reserved, or the id is malformed.
    """
    return RecordKeys(check_kind(kind, internal=internal), check_id(id, what=f"{kind} id"), suffix)


def account(username: str) -> str:
    """Where an account lies; `username` is already case-folded and normalised.

    Raises:
        InvalidKey: The name is malformed.
    """
    return f"account:{check_id(username, what='username')}"


def server_lease(name: str) -> str:
    """Where the lease of the server `name` lies.

    Raises:
        InvalidKey: The name is malformed.
    """
    return f"server:{check_id(name, what='server name')}:lease"


def server_throttle(name: str, table: str) -> str:
    """Where one table of failed logins of the server `name` lies.

    Raises:
        InvalidKey: A name is malformed.
    """
    return f"server:{check_id(name, what='server name')}:throttle:{check_id(table, what='table')}"


def sealed(digest: str) -> str:
    """Where a sealed payload that was accepted leaves its mark for as long as it could be sent again.

    Raises:
        InvalidKey: The digest is malformed.
    """
    return f"server:sealed:{check_id(digest, what='digest')}"


def corrupt(keys: RecordKeys, digest: str) -> str:
    """Where unreadable bytes of a record are kept; the same bytes give the same key."""
    return f"corrupt:{keys.kind}:{keys.id}:{check_id(digest, what='digest')}"


def temp(key: str, *, now_us: int, unique: str) -> str:
    """Where a staged write of `key` lies; its time stands in the name, because RENAME would carry an expiry over."""
    return f"temp:{now_us}:{check_id(unique, what='unique part')}:{key}"


def temp_age_us(key: str, *, now_us: int) -> int | None:
    """How old a staged write is, in microseconds; None if `key` is not one."""
    parts = key.split(":", 3)
    if len(parts) != 4 or parts[0] != "temp" or not (parts[1].isascii() and parts[1].isdigit()):
        return None
    return now_us - int(parts[1])


@dataclass(frozen=True)
class ParsedKey:
    """A key taken apart.

    Attributes:
        role: `record`, a companion (`version`, `updated`, `owner`, `ops`, `inbox`), `account`, `lease`, `throttle`,
            `sealed`, `config`, `id-counter`, `store-id`, `corrupt` or `temp`.
        kind: The record's kind; the reserved kind for the others.
        id: The record's id, the user name, the server name, the digest of a sealed payload; for `temp` the key that it
            stages; empty for singletons.
        suffix: The suffix of a record's key (`objects`), the digest of a `corrupt` one, the table of a `throttle` one.
    """

    role: str
    kind: str
    id: str = ""
    suffix: str = ""


_SINGLETONS: Final = {SERVER_CONFIG: "config", SERVER_ID_COUNTER: "id-counter", SERVER_STORE_ID: "store-id"}


def parse(key: str) -> ParsedKey:
    """Take a key apart; the inverse of every builder in this module.

    Raises:
        InvalidKey: No builder makes this key.
    """
    if key in _SINGLETONS:
        return ParsedKey(_SINGLETONS[key], "server")
    if temp_age_us(key, now_us=0) is not None:
        _, _, unique, target = key.split(":", 3)
        check_id(unique, what="unique part")
        parse(target)
        return ParsedKey("temp", "temp", target)
    match key.split(":"):
        case ["account", name]:
            return ParsedKey("account", "account", check_id(name, what="username"))
        case ["server", *rest]:
            return _parse_server(key, rest)
        case ["corrupt", kind, id_, digest]:
            check_kind(kind, internal=True)
            return ParsedKey("corrupt", kind, check_id(id_), check_id(digest, what="digest"))
        case [kind, id_] if kind not in RESERVED_KINDS:
            return ParsedKey("record", check_kind(kind), check_id(id_))
        case [kind, id_, last] if kind not in RESERVED_KINDS and last in COMPANIONS:
            return ParsedKey(last, check_kind(kind), check_id(id_))
        case [kind, id_, suffix] if kind not in RESERVED_KINDS:
            return ParsedKey("record", check_kind(kind), check_id(id_), check_kind(suffix))
        case _:
            raise _foreign(key)


def _parse_server(key: str, rest: list[str]) -> ParsedKey:
    match rest:
        case [name, "lease"]:
            return ParsedKey("lease", "server", check_id(name, what="server name"))
        case ["sealed", digest]:
            return ParsedKey("sealed", "server", check_id(digest, what="digest"))
        case [name, "throttle", table]:
            return ParsedKey("throttle", "server", check_id(name, what="server name"), check_id(table, what="table"))
        case _:
            raise _foreign(key)


def _foreign(key: str) -> InvalidKey:
    return InvalidKey(f"{key!r} is not a key of the schema", hint="see realmkeep.keys for the schema")
