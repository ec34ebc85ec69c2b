"""The function of the commit that opens letters."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, NamedTuple

from realmkeep.callables import discard, is_deferred
from realmkeep.errors import Later, Misuse, Return
from realmkeep.keeping.live.envelope import PLAIN, Envelope, open_envelope
from realmkeep.keeping.live.letter_types import Letter, Returned, open_letter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realmkeep.keeping.live.hooks import LetterOpener
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.writing.commit import Commits
    from realmkeep.records import Record

EXPIRED = "expired"


class AppliedLetter(NamedTuple):
    """A letter in the form that its hook got, and the result of the hook."""

    kind: str
    letter: Any
    result: object


class LetterBatch:
    """The letters that one commit opens and drops; a callable that is given to the commit as its function.

    Args:
        session: The receiver.
        openers: The hooks that apply letters to its record, by kind of the letters.
        letters: The first letters of the list.
        source: The key of the list.
        commits: Runs the commit, and has its transaction.
        now_us: Wall time; a letter that expired before it goes back unopened.
        safe_s: No crash can lose a write that was acknowledged before this monotonic time; see `OpRing.add_letters`.

    Attributes:
        at: The place of the letter that was opened last.
        failed: The bytes of the letter that failed; None if none did.
        ids: The ids of the letters that were applied.
        applied: Those letters, with the results of their hooks.
    """

    def __init__(
        self,
        session: Session[Any],
        openers: Mapping[str, LetterOpener],
        letters: Sequence[bytes],
        source: str,
        commits: Commits,
        *,
        now_us: int,
        safe_s: float,
    ) -> None:
        self._source = source
        self._commits = commits
        self._now_us = now_us
        self._safe_s = safe_s
        self._session = session
        self._openers = openers
        self._letters = letters
        self.at = 0
        self.failed: bytes | None = None
        self.ids: list[str] = []
        self.applied: list[AppliedLetter] = []

    def __call__(self, record: Record) -> None:
        """Open all letters; raises the error of the first one that fails, and then the commit undoes the others."""
        for self.at, stored in enumerate(self._letters):  # noqa: B020 - the caller reads the place
            self.failed = stored
            letter = open_envelope(stored)
            if not self._session.ring.has_letter(letter.id):
                self.applied.append(self._apply(record, letter))
                self.ids.append(letter.id)
        self.failed = None
        self._session.ring.add_letters(self.ids, safe_s=self._safe_s)
        self._commits.tx.drop_letters(self._source, len(self._letters), self.ids, self._letters)

    def _count_opened(self, content: Any) -> None:
        """Count what a letter brings into the record; that of a returned letter is in the letter that it returns."""
        if isinstance(content, Returned):
            inner = open_envelope(content.envelope.encode())
            opener = self._openers.get(inner.kind)
            content = None if opener is None or opener.of is None else open_letter(inner, opener.of)
        if isinstance(content, Letter):
            self._commits.tx.count(content.__letter__, content, -1)

    def _apply(self, record: Record, letter: Envelope) -> AppliedLetter:
        if letter.expired(self._now_us):
            raise Return(EXPIRED)
        opener = self._openers.get(letter.kind)
        if opener is None:
            raise Misuse(
                f"no function applies letters of kind {letter.kind!r} to {type(record).__name__}"
                if letter.kind != PLAIN
                else f"no function applies letters of plain values to {type(record).__name__}",
                hint="register one with on_letter, or run the release that has it; the letter is kept",
            )
        content = letter.content if opener.of is None else open_letter(letter, opener.of)
        self._count_opened(content)
        try:
            result = opener.hook(record, content)
        except CancelledError as cancelled:  # the hook's own, since nothing awaits here: not the end of this task
            raise Misuse(
                "on_letter raised CancelledError", hint="a hook asks no cancelled task or future for its result"
            ) from cancelled
        if isinstance(result, (Later, Return)):
            raise result
        if is_deferred(result):
            discard(result)
            raise Misuse(
                f"on_letter returned a {type(result).__name__}, so nothing was applied",
                hint="make it a plain def that changes the record",
            )
        return AppliedLetter(letter.kind, content, result)
