"""What a game wants to hear: functions by record class and event, run in the order of their registration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

from realmkeep.errors import RealmkeepError
from realmkeep.keeping.commit import Tx
from realmkeep.keeping.session import Session
from realmkeep.records import Record

if TYPE_CHECKING:
    from realmkeep.keeping.counters import Counters

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


class Hooks:
    """The functions of one keeper. A hook that raises is logged and counted; it stops nothing."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._hooks: dict[tuple[str, type[Record]], list[Callable[..., object]]] = {}
        self._letters: dict[type[Record], Letter] = {}

    def add(self, event: Event, cls: type[Record], hook: Callable[..., object]) -> None:
        """Run `hook` at every `event` of a session of `cls`."""
        self._hooks.setdefault((event, cls), []).append(hook)

    def run(self, event: Event, cls: type[Record], *args: Any) -> None:
        """Run the hooks of `event`."""
        for hook in self._hooks.get((event, cls), ()):
            try:
                hook(*args)
            except Exception:
                self._counters.hook_failures += 1
                log.exception("the hook %s for %s of %s raised", hook, event, cls.__name__)

    def set_letter(self, cls: type[Record], hook: Letter) -> None:
        """Apply letters to records of `cls` with `hook`, in place of one set before."""
        self._letters[cls] = hook

    def letter(self, cls: type[Record]) -> Letter | None:
        """What applies letters to records of `cls`."""
        return self._letters.get(cls)


class HookRegistry:
    """The decorators with which a game registers its hooks; `Keeper` is one."""

    def __init__(self, hooks: Hooks) -> None:
        self._registered = hooks

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

        It runs inside a commit, exactly once for each letter that stays applied, and before that commit is durable. A letter
        for which it raises is kept aside for a week. What it returns is passed on to `on_letter_settled`.
        """

        def register(hook: LetterHook[R]) -> LetterHook[R]:
            self._registered.set_letter(cls, hook)
            return hook

        return register

    def on_letter_settled(self, cls: type[R]) -> Callable[[SettledLetterHook[R]], SettledLetterHook[R]]:
        """Run a function once a letter's change is durable: tell the client. Never twice for a letter, and not after a crash.

        It gets the session, which may be over by then, the letter, and what the function of `on_letter` returned.
        """
        return self._hook("letter_settled", cls)

    def _hook(self, event: Event, cls: type[Record]) -> Callable[[H], H]:
        def register(hook: H) -> H:
            self._registered.add(event, cls, cast("Callable[..., object]", hook))
            return hook

        return register
