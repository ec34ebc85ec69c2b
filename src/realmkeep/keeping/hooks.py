"""What a game wants to hear: functions by record class and event, run in the order of their registration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from realmkeep.records import Record

log = logging.getLogger(__name__)

Event: TypeAlias = Literal["disconnect", "resume", "evict", "frozen", "lost_ownership"]
Letter: TypeAlias = Callable[..., object]


class Hooks:
    """The functions of one keeper. A hook that raises is logged and counted; it stops nothing."""

    def __init__(self) -> None:
        self._hooks: dict[tuple[str, type[Record]], list[Callable[..., object]]] = {}
        self._letters: dict[type[Record], Letter] = {}
        self.failures = 0

    def add(self, event: Event, cls: type[Record], hook: Callable[..., object]) -> None:
        """Run `hook` at every `event` of a session of `cls`."""
        self._hooks.setdefault((event, cls), []).append(hook)

    def run(self, event: Event, cls: type[Record], *args: Any) -> None:
        """Run the hooks of `event`."""
        for hook in self._hooks.get((event, cls), ()):
            try:
                hook(*args)
            except Exception:
                self.failures += 1
                log.exception("the hook %s for %s of %s raised", hook, event, cls.__name__)

    def set_letter(self, cls: type[Record], hook: Letter) -> None:
        """Apply letters to records of `cls` with `hook`, in place of one set before."""
        self._letters[cls] = hook

    def letter(self, cls: type[Record]) -> Letter | None:
        """What applies letters to records of `cls`."""
        return self._letters.get(cls)
