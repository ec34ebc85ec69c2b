"""What a game wants to hear: functions by record class and event, run in the order of their registration.

A function is refused where it is registered if it could not be called, or would do nothing, when its event comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar, cast

from realmkeep.callables import deferred, discard, fault_of, name_of
from realmkeep.errors import Misuse, RealmkeepError
from realmkeep.keeping.arguments import check_record
from realmkeep.keeping.commit import Tx
from realmkeep.keeping.counters import Counters
from realmkeep.keeping.session import Session
from realmkeep.records import Record

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)
H = TypeVar("H")

SessionHook: TypeAlias = Callable[[Session[R]], object]
ErrorHook: TypeAlias = Callable[[Session[R], RealmkeepError], object]
ReasonHook: TypeAlias = Callable[[Session[R], str], object]
LetterHook: TypeAlias = Callable[[Tx, R, Any], object]
SettledLetterHook: TypeAlias = Callable[[Session[R], Any, Any], object]

Event: TypeAlias = Literal["disconnect", "resume", "evict", "frozen", "lost_ownership", "letter_settled"]
Letter: TypeAlias = Callable[..., object]

ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "disconnect": ("session",),
    "resume": ("session",),
    "evict": ("session",),
    "frozen": ("session", "error"),
    "lost_ownership": ("session", "reason"),
    "letter": ("tx", "record", "letter"),
    "letter_settled": ("session", "letter", "result"),
}


class HookRegistry:
    """The decorators with which a game registers its hooks; `Hooks` and `Keeper` are such."""

    def add_hook(self, event: str, cls: type[Record], hook: object) -> None:
        """Run `hook` at every `event` of a session of `cls`.

        Raises:
            Misuse: It is no plain function of the event's arguments, `cls` is no record with a kind, or it would be the
                second that applies the letters to `cls`.
        """
        raise NotImplementedError

    def on_disconnect(self, cls: type[R]) -> Callable[[SessionHook[R]], SessionHook[R]]:
        """Run a function when a player of `cls` is gone and its grace starts: cancel trades, find a safe place."""
        return self._hook("disconnect", cls)

    def on_resume(self, cls: type[R]) -> Callable[[SessionHook[R]], SessionHook[R]]:
        """Run a function when a player is back within the grace."""
        return self._hook("resume", cls)

    def on_evict(self, cls: type[R]) -> Callable[[SessionHook[R]], SessionHook[R]]:
        """Run a function when the grace has run out, before the final snapshot is made."""
        return self._hook("evict", cls)

    def on_frozen(self, cls: type[R]) -> Callable[[ErrorHook[R]], ErrorHook[R]]:
        """Run a function when a record cannot be saved as it is; it gets the session and the error."""
        return self._hook("frozen", cls)

    def on_lost_ownership(self, cls: type[R]) -> Callable[[ReasonHook[R]], ReasonHook[R]]:
        """Run a function when another server took a record; it gets the session, which is over, and the reason."""
        return self._hook("lost_ownership", cls)

    def on_letter(self, cls: type[R]) -> Callable[[LetterHook[R]], LetterHook[R]]:
        """Apply letters with a function of the transaction, the receiver's record and the letter; one for a class.

        A second one is refused, because it would take the letters of the first. It runs inside a commit, exactly once for each letter that stays applied, and before that commit is durable. A letter
        for which it raises is kept aside for a week. What it returns is passed on to `on_letter_settled`.
        """
        return self._hook("letter", cls)

    def on_letter_settled(self, cls: type[R]) -> Callable[[SettledLetterHook[R]], SettledLetterHook[R]]:
        """Run a function once a letter's change is durable: tell the client. Never twice for a letter, and not after a crash.

        It gets the session, which may be over by then, the letter, and what the function of `on_letter` returned.
        """
        return self._hook("letter_settled", cls)

    def _hook(self, event: str, cls: type[Record]) -> Callable[[H], H]:
        def register(hook: H) -> H:
            self.add_hook(event, cls, hook)
            return hook

        return register


class Hooks(HookRegistry):
    """A game's functions, registered at module level and given to `Keeper.open(..., hooks=hooks)`.

    ```python
    hooks = Hooks()

    @hooks.on_letter(Player)
    def open_letter(tx: Tx, player: Player, letter: dict) -> None: ...
    ```

    One object may be given to several keepers. Each takes the functions as they are then, so registering one later is
    refused: it would never run.
    """

    def __init__(self) -> None:
        self._hooks: dict[tuple[str, type[Record]], list[Callable[..., object]]] = {}
        self._taken = False
        self._counters = Counters()

    def add_hook(self, event: str, cls: type[Record], hook: object) -> None:
        """As `HookRegistry.add_hook`.

        Raises:
            Misuse: As there; or a keeper was opened with these hooks already.
        """
        if self._taken:
            raise Misuse(
                f"{name_of(hook)} was registered after a keeper had been opened with these hooks",
                hint="import what registers hooks before Keeper.open, or use keeper.on_...",
            )
        check_record(cls, f"on_{event}")
        arguments = ARGUMENTS[event]
        if (fault := fault_of(hook, len(arguments))) is not None:
            raise Misuse(
                f"on_{event}({cls.__name__}): {fault}", hint=f"make it a plain `def hook({', '.join(arguments)})`"
            )
        registered = self._hooks.setdefault((event, cls), [])
        if event == "letter" and registered:
            raise Misuse(
                f"on_letter({cls.__name__}) is {name_of(registered[0])} already; {name_of(hook)} would take its letters",
                hint="apply all letters to a class in one function",
            )
        registered.append(cast("Callable[..., object]", hook))

    def taken(self, counters: Counters) -> Self:
        """A copy for one keeper, which counts there; nothing may be registered here any more."""
        self._taken = True
        own = type(self)()
        own._counters = counters  # noqa: SLF001 - its own class
        own._hooks = {key: [*hooks] for key, hooks in self._hooks.items()}  # noqa: SLF001 - its own class
        return own

    def run(self, event: Event, cls: type[Record], *args: Any) -> None:
        """Run the functions of an event. One that raises, or leaves work undone, is logged and counted; it stops nothing."""
        for hook in self._hooks.get((event, cls), ()):
            try:
                result = hook(*args)
            except Exception:
                self._counters.hook_failures += 1
                log.exception("the hook %s for %s of %s raised", name_of(hook), event, cls.__name__)
                continue
            if deferred(result):
                discard(result)
                self._counters.hook_failures += 1
                log.error(
                    "the hook %s for %s of %s returned a %s and did nothing: a hook runs without awaiting",
                    name_of(hook),
                    event,
                    cls.__name__,
                    type(result).__name__,
                )

    def letter(self, cls: type[Record]) -> Letter | None:
        """What applies letters to records of `cls`."""
        hooks = self._hooks.get(("letter", cls))
        return hooks[0] if hooks else None
