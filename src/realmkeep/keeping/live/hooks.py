"""Hooks: the game's functions by record class and event, run in the order of their registration.

A function that could not be called at its event, or would do nothing, is refused at its registration.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias, TypeVar, cast, overload

from realmkeep.callables import discard, fault_of, is_deferred, name_of
from realmkeep.errors import Misuse, RealmkeepError
from realmkeep.keeping.live.arguments import check_record
from realmkeep.keeping.live.counters import Counters
from realmkeep.keeping.live.envelope import PLAIN
from realmkeep.keeping.live.letter_types import Letter, check_letter_type
from realmkeep.keeping.live.session import Session
from realmkeep.records import Record

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)
L = TypeVar("L", bound=Letter)
H = TypeVar("H")

SessionHook: TypeAlias = Callable[[Session[R]], object]
ErrorHook: TypeAlias = Callable[[Session[R], RealmkeepError], object]
ReasonHook: TypeAlias = Callable[[Session[R], str], object]
DrainHook: TypeAlias = Callable[[Session[R], str], object]
LetterHook: TypeAlias = Callable[[R, Any], object]
SettledLetterHook: TypeAlias = Callable[[Session[R], Any, Any], object]

TypedLetterHook: TypeAlias = Callable[[R, L], object]
TypedSettledHook: TypeAlias = Callable[[Session[R], L, Any], object]

Event: TypeAlias = Literal[
    "disconnect", "resume", "evict", "release_requested", "drain", "frozen", "lost_ownership", "letter_settled"
]

ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "disconnect": ("session",),
    "resume": ("session",),
    "evict": ("session",),
    "release_requested": ("session",),
    "drain": ("session", "to"),
    "frozen": ("session", "error"),
    "lost_ownership": ("session", "reason"),
    "letter": ("record", "letter"),
    "letter_settled": ("session", "letter", "result"),
}


OF_LETTERS: Final = ("letter", "letter_settled")  # one for each type of letters


class LetterOpener(NamedTuple):
    """Opens the letters of one type to one class of records.

    Attributes:
        of: The type; None for letters of plain values.
        hook: The function of `on_letter`.
    """

    of: type[Letter] | None
    hook: Callable[..., object]


class Hooks:
    """A game's functions, registered at module level and given to `Keeper.open(..., hooks=hooks)`.

    ```python
    hooks = Hooks()

    @hooks.on_letter(Player, Gift)
    def unwrap(player: Player, gift: Gift) -> None: ...
    ```

    One object may be given to several keepers. Each takes the functions as they are then, so registering one later is
    refused: it would never run.
    """

    def __init__(self) -> None:
        self._hooks: dict[tuple[str, type[Record]], list[Callable[..., object]]] = {}
        self._openers: dict[type[Record], dict[str, LetterOpener]] = {}
        self._settled: dict[tuple[type[Record], str], Callable[..., object]] = {}
        self._taken = False
        self._counters = Counters()

    def on_disconnect(self, cls: type[R]) -> Callable[[SessionHook[R]], SessionHook[R]]:
        """Run a function when a player of `cls` disconnects and the grace starts: cancel trades, find a safe place."""
        return self._hook("disconnect", cls)

    def on_resume(self, cls: type[R]) -> Callable[[SessionHook[R]], SessionHook[R]]:
        """Run a function when a player comes back within the grace."""
        return self._hook("resume", cls)

    def on_evict(self, cls: type[R]) -> Callable[[SessionHook[R]], SessionHook[R]]:
        """Run a function when the grace has run out, before the final snapshot is made."""
        return self._hook("evict", cls)

    def on_release_requested(self, cls: type[R]) -> Callable[[SessionHook[R]], SessionHook[R]]:
        """Run a function when another server wants the record of a connected player: tell the client, and `disconnect()`.

        Without it the player stays, and the login on the other server is refused. A player in grace is released without a
        question; only `on_evict` runs.
        """
        return self._hook("release_requested", cls)

    def on_drain(self, cls: type[R]) -> Callable[[DrainHook[R]], DrainHook[R]]:
        """Run a function when `keeper.drain` lets a record of `cls` go, before its final snapshot is made.

        It gets the session and the name of the server to which players are sent, which is empty if any will do: tell the client
        to connect there, and take the player out of the game.
        """
        return self._hook("drain", cls)

    def on_frozen(self, cls: type[R]) -> Callable[[ErrorHook[R]], ErrorHook[R]]:
        """Run a function when a record cannot be saved in its present state; it gets the session and the error."""
        return self._hook("frozen", cls)

    def on_lost_ownership(self, cls: type[R]) -> Callable[[ReasonHook[R]], ReasonHook[R]]:
        """Run a function when a record is lost to another server; it gets the session, which has ended, and the reason."""
        return self._hook("lost_ownership", cls)

    @overload
    def on_letter(self, cls: type[R]) -> Callable[[LetterHook[R]], LetterHook[R]]: ...
    @overload
    def on_letter(self, cls: type[R], letter: type[L]) -> Callable[[TypedLetterHook[R, L]], TypedLetterHook[R, L]]: ...
    def on_letter(self, cls: type[R], letter: type[Letter] | None = None) -> Callable[[Any], Any]:
        """Apply letters with a function of the receiver's record and the letter.

        There is one function for a class and a type of letters: a second is refused, because it would take the letters of the
        first. It runs inside a commit, exactly once for each letter that stays applied, and before that commit is durable.
        So it can answer with `keeper.tx.deliver`; the sender of that letter is its record. If the function raises `Later`,
        the letter waits; after `Return` it goes back to its sender; after any other error it is kept. The result of the
        function is passed on to `on_letter_settled`.

        Args:
            cls: The class of the receivers.
            letter: The type of the letters; letters of plain values without it.
        """
        return self._hook("letter", cls, letter)

    @overload
    def on_letter_settled(self, cls: type[R]) -> Callable[[SettledLetterHook[R]], SettledLetterHook[R]]: ...
    @overload
    def on_letter_settled(
        self, cls: type[R], letter: type[L]
    ) -> Callable[[TypedSettledHook[R, L]], TypedSettledHook[R, L]]: ...
    def on_letter_settled(self, cls: type[R], letter: type[Letter] | None = None) -> Callable[[Any], Any]:
        """Run a function once a letter's change is durable, to tell the client. Never twice for a letter; a crash may skip it.

        It gets the session, which may have ended by then, the letter, and the result of the function of `on_letter`. There
        is one function for a class and a type of letters.

        Args:
            cls: The class of the receivers.
            letter: The type of the letters; letters of plain values without it.
        """
        return self._hook("letter_settled", cls, letter)

    def _hook(self, event: str, cls: type[Record], letter: type[Letter] | None = None) -> Callable[[H], H]:
        check_record(cls, f"on_{event}")  # at once: `@hooks.on_evict` without a class would register nothing

        def register(hook: H) -> H:
            self.add_hook(event, cls, hook, letter)
            return hook

        return register

    def add_hook(self, event: str, cls: type[Record], hook: object, letter: type[Letter] | None = None) -> None:
        """Run `hook` at every `event` of a session of `cls`.

        Args:
            event: Its name, without `on_`.
            cls: The class of the records.
            hook: The function.
            letter: The type of its letters; None for letters of plain values, and for other events.

        Raises:
            Misuse: The function is no plain function of the event's arguments; `cls` is no record with a kind; `letter` is no
                type of letters, or is given for another event; the letters of this type to `cls` have a function already; or
                a keeper was opened with these hooks before.
            DefinitionError: The type has a gap in its migrations.
        """
        if self._taken:
            raise Misuse(
                f"{name_of(hook)} was registered after a keeper had been opened with these hooks",
                hint="import the modules that register hooks before Keeper.open",
            )
        check_record(cls, f"on_{event}")
        arguments = ARGUMENTS[event]
        if (fault := fault_of(hook, len(arguments))) is not None:
            raise Misuse(
                f"on_{event}({cls.__name__}): {fault}", hint=f"make it a plain `def hook({', '.join(arguments)})`"
            )
        if letter is not None and event not in OF_LETTERS:
            raise Misuse(f"on_{event} got {letter!r:.80}", hint="a type of letters belongs to on_letter")
        if event in OF_LETTERS:
            self._add_for_letters(event, cls, cast("Callable[..., object]", hook), letter)
        else:
            self._hooks.setdefault((event, cls), []).append(cast("Callable[..., object]", hook))

    def _add_for_letters(
        self, event: str, cls: type[Record], hook: Callable[..., object], letter: type[Letter] | None
    ) -> None:
        if letter is not None:
            check_letter_type(letter, f"on_{event}")
        kind = PLAIN if letter is None else letter.__letter__.kind
        openers = self._openers.setdefault(cls, {})
        opener = openers.get(kind)
        former = self._settled.get((cls, kind)) if event == "letter_settled" else opener and opener.hook
        if former is not None:
            of = "" if letter is None else f", {letter.__name__}"
            raise Misuse(
                f"on_{event}({cls.__name__}{of}) is {name_of(former)} already; {name_of(hook)} would take its letters",
                hint="apply all letters of a type to a class in one function",
            )
        if event == "letter_settled":
            self._settled[cls, kind] = hook
        else:
            openers[kind] = LetterOpener(letter, hook)

    def taken(self, counters: Counters) -> Self:
        """A copy for one keeper, which counts failures in `counters`; later registrations on the original are refused."""
        self._taken = True
        own = type(self)()
        own._counters = counters  # noqa: SLF001 - its own class
        own._hooks = {key: [*hooks] for key, hooks in self._hooks.items()}  # noqa: SLF001 - its own class
        own._openers = {cls: dict(openers) for cls, openers in self._openers.items()}  # noqa: SLF001 - its own class
        own._settled = dict(self._settled)  # noqa: SLF001 - its own class
        return own

    def run(self, event: Event, cls: type[Record], *args: Any) -> None:
        """Run the functions of an event. One that raises, or returns an awaitable, is logged and counted; the others still run."""
        for hook in self._hooks.get((event, cls), ()):
            self._run(hook, event, cls, *args)

    def _run(self, hook: Callable[..., object], event: Event, cls: type[Record], *args: Any) -> None:
        try:
            result = hook(*args)
        except Exception:
            self._counters.hook_failures += 1
            log.exception("the hook %s for %s of %s raised", name_of(hook), event, cls.__name__)
            return
        if is_deferred(result):
            discard(result)
            self._counters.hook_failures += 1
            log.error(
                "the hook %s for %s of %s returned a %s and did nothing: a hook runs without awaiting",
                name_of(hook),
                event,
                cls.__name__,
                type(result).__name__,
            )

    def openers(self, cls: type[Record]) -> Mapping[str, LetterOpener]:
        """The openers of letters to records of `cls`, by the kind of the letters."""
        return self._openers.get(cls, {})

    def letter_settled(self, session: Session[Any], kind: str, letter: object, result: object) -> None:
        """Run the function of `on_letter_settled` for a letter of this kind."""
        hook = self._settled.get((session.cls, kind))
        if hook is not None:
            self._run(hook, "letter_settled", session.cls, session, letter, result)
