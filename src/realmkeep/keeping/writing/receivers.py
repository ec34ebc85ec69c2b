"""What a letter needs of its receiver, looked at by the store in the transaction that sends it: a record, and room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.errors import InboxFull, NoSuchReceiver
from realmkeep.storage import Guard, Present, Refused, Shorter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realmkeep.errors import CommitRefused
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Need, WriteOutcome


class Post:
    """The letters of one transaction, by receiver.

    Args:
        letters_max: How many may wait in one inbox, and beside it as kept.
    """

    __slots__ = ("_counts", "_deleted", "_letters_max", "_made")

    def __init__(self, letters_max: int) -> None:
        self._letters_max = letters_max
        self._counts: dict[RecordKeys, int] = {}
        self._made: set[str] = set()
        self._deleted: set[str] = set()

    def made(self, record: RecordKeys) -> None:
        """The transaction makes it: its letters need no record before."""
        self._made.add(record.record)
        self._deleted.discard(record.record)

    def deleted(self, record: RecordKeys) -> None:
        """The transaction deletes it: nothing is sent there any more."""
        self._deleted.add(record.record)

    def add(self, receiver: RecordKeys) -> None:
        """One more letter to this receiver.

        Raises:
            NoSuchReceiver: The transaction has deleted it.
            InboxFull: No inbox holds so many.
        """
        if receiver.record in self._deleted:
            raise _no_such_receiver(receiver.record)
        count = self._counts.get(receiver, 0) + 1
        if count > self._letters_max:
            raise inbox_full(receiver.record)
        self._counts[receiver] = count

    def give_back(self, sender: RecordKeys) -> None:
        """A letter goes back to this record, which need only exist: no bound holds up what comes back."""
        self._counts.setdefault(sender, 0)

    def needs(self) -> Iterator[Need]:
        """What all of them need: that no inbox gets longer than it may."""
        for receiver, count in self._counts.items():
            if receiver.record not in self._made:
                yield Present(receiver.record)
            if count:
                yield Shorter(receiver.inbox, self._letters_max + 1 - count)
                yield Shorter(receiver.kept, self._letters_max)


def unmet(outcome: WriteOutcome) -> CommitRefused | None:
    """Why the store refused a transaction with letters; None if that was not for their sake."""
    if not isinstance(outcome, Refused) or isinstance(outcome.guard, Guard):
        return None
    need = outcome.guard
    return _no_such_receiver(need.key) if isinstance(need, Present) else inbox_full(need.key.rpartition(":")[0])


def _no_such_receiver(record: str) -> NoSuchReceiver:
    return NoSuchReceiver(
        f"nothing happened: a letter to {record}, which does not exist", hint="look whom it is for; or make it first"
    )


def inbox_full(record: str) -> InboxFull:
    """The error for it."""
    return InboxFull(
        f"nothing happened: too many letters wait for {record}",
        hint="its server opens them at its next login; try again then, or raise keeper.inbox_letters_max",
    )
