"""Checks of arguments that a game passes: a wrong one is refused at once with a hint, not by a failure deep inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from realmkeep import keys
from realmkeep.callables import fault_of
from realmkeep.config import KeeperConfig, RecordsConfig
from realmkeep.errors import InvalidKey, Misuse
from realmkeep.keeping.live.op_ring import Op
from realmkeep.keeping.live.session import Session
from realmkeep.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realmkeep.keeping.live.session import KeeperCalls

SHOWN_CHARS: Final = 80


def check_record(cls: object, where: str) -> None:
    """Refuse a value that is not the class of a stored record.

    Raises:
        Misuse: It is none.
    """
    if not (isinstance(cls, type) and issubclass(cls, Record) and hasattr(cls, "__realmkeep__")):
        raise Misuse(
            f"{where} got {shown(cast('object', cls))} where the class of a record belongs",
            hint='pass a class such as Player(Record, kind="player", version=1)',
        )


def check_type(value: object, kinds: tuple[type, ...], where: str, hint: str, *, needed: bool = False) -> None:
    """Refuse a value of another type; None, an argument that was left out, passes unless it is needed.

    Raises:
        Misuse: It is of another type.
    """
    if (needed or value is not None) and not isinstance(value, kinds):
        raise Misuse(f"{where} got {shown(value)}", hint=hint)


def check_opening(
    storage: object, config: object, records: object, hooks: object, clock: object, rescue_path: object
) -> None:
    """Refuse arguments with which no keeper can be opened.

    Raises:
        Misuse: An argument is of another type.
    """
    if not isinstance(storage, str) and not _has(storage, "connect", "write", "load_many"):
        raise Misuse(
            f"Keeper.open got {shown(storage)} as its storage", hint='pass a URL such as "embedded:///realm-data"'
        )
    if clock is not None and not _has(clock, "monotonic_s", "wall_us", "sleep"):
        raise Misuse(f"Keeper.open got {shown(clock)} as its clock", hint="leave it out; a test passes a FakeClock")
    if hooks is not None and not _has(hooks, "add_hook", "taken"):
        raise Misuse(f"Keeper.open got {shown(hooks)} as its hooks", hint="pass a Hooks(), or leave it out")
    for value, kind in ((config, KeeperConfig), (records, RecordsConfig), (rescue_path, Path)):
        check_type(value, (kind,), "Keeper.open", f"pass a {kind.__name__} there, or leave it out")


def _has(value: object, *methods: str) -> bool:
    """Whether it is an object with these methods, and not a class that was not called."""
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in methods)


def check_drain(name: str, to: object, per_s: object) -> None:
    """Refuse a drain to a server that cannot be, or at no pace.

    Args:
        name: The name of this server.
        to: The name of the other, or nothing.
        per_s: The pace.

    Raises:
        Misuse: `to` is no name of another server, or `per_s` no number above 0.
    """
    check_type(to, (str,), "drain(to=)", "pass the name of a server, keeper.name of its settings", needed=True)
    check_type(per_s, (int, float), "drain(per_s=)", "pass sessions a second, or leave it out")
    try:
        wrong = to == name
        if to:
            keys.server_lease(cast("str", to))
    except InvalidKey as error:
        raise Misuse(f"drain(to=) got {shown(to)}: {error.message}", hint="pass the name of a server") from error
    if wrong:
        raise Misuse(f"drain(to=) got {shown(to)}, this server's own name", hint="pass another server, or leave it out")
    if per_s is not None and not cast("float", per_s) > 0:
        raise Misuse(f"drain(per_s=) got {shown(per_s)}", hint="pass a number above 0, or leave it out")


def check_commit(
    fn: Callable[..., Any], sessions: Sequence[object], ops: Sequence[object], calls: KeeperCalls, *, arguments: int = 0
) -> None:
    """Refuse a commit that can never work.

    Args:
        fn: The function.
        sessions: The sessions on whose records it runs.
        ops: Its operations.
        calls: The keeper's: sessions of another keeper are written in another queue.
        arguments: How many `fn` gets; 0: one record for each session.

    Raises:
        Misuse: `fn` is no plain function of so many; a session stands twice, is none, or another keeper's; there is none at
            all; `ops` are not operations, or more than sessions.
    """
    if not isinstance(sessions, (list, tuple)):
        raise Misuse(f"a commit's sessions are {shown(sessions)}", hint="pass a list of sessions")
    if not sessions:
        raise Misuse("a commit got no sessions", hint="a commit concerns at least one record")
    if (fault := fault_of(fn, arguments or len(sessions))) is not None:
        raise Misuse(
            f"{fault}; a commit runs without awaiting, on the records alone",
            hint="make it a plain `def fn(record, ...)`, one record for each session (commit_all: `fn(records)`), and bind "
            "the rest with functools.partial; the transaction is keeper.tx; await what you need before the commit",
        )
    for session in sessions:
        if type(session) is not Session:
            raise Misuse(
                f"commit got a {type(session).__name__} where a session belongs",
                hint="pass what keeper.login or hold returned, not its record",
            )
        if session.calls is not calls:
            raise Misuse(
                f"commit got a session of another keeper: {session!r}", hint="commit at the keeper that logged it in"
            )
    if len(sessions) > 1 and len(set(sessions)) != len(sessions):
        raise Misuse("commit got the same session twice", hint="a player does not trade with itself")
    if ops:
        _check_ops(ops, sessions)


def _check_ops(ops: Sequence[object], sessions: Sequence[object]) -> None:
    if not isinstance(ops, (list, tuple)):
        raise Misuse(
            f"ops is {shown(ops)}", hint="pass a tuple, one place for each session: ops=(op,) or ops=(op, None)"
        )
    for op in ops:
        if type(op) is not Op:  # nearly always it is one
            check_type(op, (Op,), "ops", "pass Op(number, request bytes) in the place of its session, or None")
    if len(ops) > len(sessions):
        raise Misuse(f"commit got {len(ops)} ops for {len(sessions)} sessions", hint="ops=(op of the first, ...)")


def shown(value: object) -> str:
    """A value as it stands in a message, or its type if the value may be long."""
    return (
        f"{value!r:.{SHOWN_CHARS}}" if isinstance(value, (int, str, bytes, type(None))) else f"a {type(value).__name__}"
    )
