"""Maps error replies of Redis and Valkey to Realmkeep's errors: one table."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from redis.exceptions import RedisError

from realmkeep.errors import (
    OutcomeUnknown,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
    WrongType,
)

REPLY_CHARS_MAX: Final = 200  # of a server's reply, in a message
_SOURCE: Final = re.compile(r"\s*\(_ssl\.c:\d+\)\.?")


class Meaning(NamedTuple):
    """The meaning of an error reply: the store did not execute the request, so no data changed."""

    error: type[StorageError]
    what: str
    hint: str


_WAIT: Final = "try again; the store has not changed"
_CLUSTER: Final = "name a cluster with its realm: redis-cluster://host:port/REALM"
_PERMISSIONS: Final = "check user and password of the URL, and the user's ACL rules"

# The server decides each of these before a command or script makes its first write.
REJECTED_BEFORE_EXECUTION: Final[Mapping[str, Meaning]] = {
    "LOADING": Meaning(StorageUnavailable, "is still loading its data", _WAIT),
    "READONLY": Meaning(StorageUnavailable, "is a read-only replica", "it recovers when the failover is complete"),
    "MASTERDOWN": Meaning(StorageUnavailable, "is a replica whose primary is down", _WAIT),
    "CLUSTERDOWN": Meaning(StorageUnavailable, "is part of a cluster that is down", _WAIT),
    "TRYAGAIN": Meaning(StorageUnavailable, "is moving keys between nodes", _WAIT),
    "NOREPLICAS": Meaning(StorageUnavailable, "has too few good replicas (min-replicas-to-write)", _WAIT),
    "BUSY": Meaning(StorageUnavailable, "is busy with another client's script", "SCRIPT KILL ends it"),
    "NOSCRIPT": Meaning(StorageUnavailable, "has forgotten its scripts", _WAIT),
    "EXECABORT": Meaning(StorageUnavailable, "discarded the transaction", _WAIT),
    "OOM": Meaning(StorageFull, "has reached maxmemory", "raise maxmemory, or delete unused keys"),
    "MISCONF": Meaning(StorageFull, "cannot write to its disk", "free disk space; the log of the store says more"),
    "NOAUTH": Meaning(StorageMisconfigured, "asks for a password", _PERMISSIONS),
    "WRONGPASS": Meaning(StorageMisconfigured, "refuses the user name or the password", _PERMISSIONS),
    "NOPERM": Meaning(StorageMisconfigured, "forbids this user a necessary command or key", _PERMISSIONS),
    "NOPROTO": Meaning(StorageMisconfigured, "does not speak this protocol version", "Redis or Valkey 7.0 or later"),
    "DENIED": Meaning(StorageMisconfigured, "runs in protected mode", "set a password, or bind it to this machine"),
    "MOVED": Meaning(StorageMisconfigured, "is a cluster node", _CLUSTER),
    "ASK": Meaning(StorageUnavailable, "is moving keys to another node", _WAIT),
    "CROSSSLOT": Meaning(StorageMisconfigured, "is a cluster node", _CLUSTER),
    "WRONGTYPE": Meaning(WrongType, "holds another type than the call needs", "delete it or use another key"),
}

# Replies with the code ERR, told apart by their text.
REJECTED_ERR: Final[tuple[tuple[str, Meaning], ...]] = (
    ("max number of clients", Meaning(StorageUnavailable, "has no connection left (maxclients)", _WAIT)),
    ("AUTH <password> called without any password", Meaning(StorageMisconfigured, "has no password", _PERMISSIONS)),
    ("invalid password", Meaning(StorageMisconfigured, "refuses the password", _PERMISSIONS)),
    ("DB index is out of range", Meaning(StorageMisconfigured, "has no database of this number", "use /0")),
    (
        "Script killed by user",  # only a script that has written nothing can be killed
        Meaning(StorageUnavailable, "had the script killed by an operator", _WAIT),
    ),
)

# OpenSSL's words about a certificate or the peer, and the remedy; the message repeats the words.
_TLS: Final[tuple[tuple[str, str, str], ...]] = (
    ("has expired", "shows a certificate that is refused", "renew it; or set this machine's clock"),
    ("not yet valid", "shows a certificate that is refused", "set this machine's clock, or the other's"),
    ("mismatch", "shows a certificate that is refused", "name it in the URL as its certificate does"),
    ("not valid for", "shows a certificate that is refused", "name it in the URL as its certificate does"),
    ("revoked", "shows a certificate that is refused", "get a new one"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "shows a certificate that is refused",
        "name its authority with tls_ca=FILE in the URL",
    ),
    ("WRONG_VERSION_NUMBER", "does not speak TLS", "name its TLS port, or use redis://, which is without TLS"),
    ("CERTIFICATE_REQUIRED", "asks for a client certificate", "name it with tls_cert and tls_key in the URL"),
    ("UNKNOWN_CA", "does not trust the client certificate", "name one with tls_cert that its authorities have signed"),
    ("ALERT", "ended the TLS handshake", "see its log"),
)


def reply_code(error: BaseException) -> str:
    """Return the first word of an error reply, such as `LOADING`; empty if the connection broke."""
    error = unwrapped(error)
    if not isinstance(error, RedisError):
        return ""
    if error.status_code:
        return error.status_code
    code = str(error).partition(" ")[0]
    return code if code.isascii() and code.isupper() and code.isalpha() else ""


def unwrapped(error: BaseException) -> BaseException:
    """Return the server's own error; while connecting, the driver wraps it in a ConnectionError."""
    while isinstance(error, RedisError) and isinstance(error.__cause__, RedisError):
        error = error.__cause__
    return error


def is_reply(error: BaseException) -> bool:
    """Whether `error` is a reply of the server, so that the connection is still usable."""
    return bool(reply_code(error))


def meaning_of(error: BaseException) -> Meaning | None:
    """Return the meaning of an error reply; None if it leaves open whether the request was executed."""
    code = reply_code(error)
    if code in REJECTED_BEFORE_EXECUTION:
        return REJECTED_BEFORE_EXECUTION[code]
    text = str(unwrapped(error))
    return next((meaning for start, meaning in REJECTED_ERR if code == "ERR" and start in text), None)


def _meaning_of_tls(error: BaseException) -> Meaning | None:
    text = str(error)  # the driver keeps only the text
    row = next((row for row in _TLS if row[0] in text), None) if "[SSL" in text else None
    return Meaning(StorageMisconfigured, *row[1:]) if row else None


def translate(error: BaseException, store: str, *, sent: bool, subject: str = "") -> StorageError:
    """Return the `StorageError` for a driver's exception or an error reply.

    Args:
        error: The driver's exception.
        store: The address, without secrets.
        sent: A request that changes data may have reached the store.
        subject: The key concerned.
    """
    error = unwrapped(error)
    about = f" (asked for {subject!r})" if subject else ""
    if meaning := meaning_of(error) or (None if sent else _meaning_of_tls(error)):
        if meaning.error is WrongType and subject:
            return WrongType(f"{subject!r} {meaning.what}; it was not touched", hint=meaning.hint)
        said = _words_of(error)  # the server's words name the command, key or date
        return meaning.error(f"the store {store} {meaning.what}{about}{said and f': {said}'}", hint=meaning.hint)
    if is_reply(error):
        said = str(error)[:REPLY_CHARS_MAX]
        kind = OutcomeUnknown if sent else StorageError
        return kind(f"the store {store} answered {said!r}{about}", hint="see its log")
    detail = str(error)[:REPLY_CHARS_MAX] or type(error).__name__
    if sent:
        return OutcomeUnknown(
            f"the connection to {store} broke before the answer{about}: {detail}",
            hint="it happened wholly or not at all; read a guarded key before trying again",
        )
    return StorageUnavailable(
        f"the store {store} cannot be reached{about}: {detail}",
        hint="check that it runs and that store.url names it; a running server tries again by itself",
    )


def _words_of(error: BaseException) -> str:
    """Return the words of the peer or of OpenSSL, printable and bounded."""
    said = _SOURCE.sub("", str(error))
    if "[SSL" in said:
        said = said[said.index("[SSL") :].partition("]")[2]
    said = said.strip().removeprefix("certificate verify failed: ")
    return "".join(character if character.isprintable() else " " for character in said)[:REPLY_CHARS_MAX].rstrip(". ")
