"""Conditions on receivers of letters, checked by the store in the sending transaction: the record exists, and has room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.errors import InboxFull, NoSuchReceiver
from realmkeep.storage import Guard, Present, Refused, Shorter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realmkeep.errors import CommitRefused
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Need, WriteOutcome


class ReceiverConditions:
    """The conditions that the letters of one transaction put on their receivers.

    Args:
        letters_max: The most letters that may wait in one inbox; and the most kept letters beside it.
    """

    __slots__ = ("_counts", "_deleted", "_letters_max", "_made")

    def __init__(self, letters_max: int) -> None:
        self._letters_max = letters_max
        self._counts: dict[RecordKeys, int] = {}
        self._made: set[str] = set()
        self._deleted: set[str] = set()

    def add_created(self, record: RecordKeys) -> None:
        """The transaction creates the record, so letters to it need no record before."""
        self._made.add(record.record)
        self._deleted.discard(record.record)

    def add_deleted(self, record: RecordKeys) -> None:
        """The transaction deletes the record, so later letters to it are refused."""
        self._deleted.add(record.record)

    def add_letter(self, receiver: RecordKeys) -> None:
        """Count one more letter to this receiver.

        Raises:
            NoSuchReceiver: The transaction deletes the receiver.
            InboxFull: The transaction alone has more letters for it than an inbox takes.
        """
        if receiver.record in self._deleted:
            raise _no_such_receiver(receiver.record)
        count = self._counts.get(receiver, 0) + 1
        if count > self._letters_max:
            raise inbox_full(receiver.record)
        self._counts[receiver] = count

    def add_returned(self, sender: RecordKeys) -> None:
        """A letter goes back to this record, which only has to exist: a full inbox refuses no returned letter."""
        self._counts.setdefault(sender, 0)

    def needs(self) -> Iterator[Need]:
        """The conditions of all letters: each receiver exists, and no inbox gets longer than its limit."""
        for receiver, count in self._counts.items():
            if receiver.record not in self._made:
                yield Present(receiver.record)
            if count:
                yield Shorter(receiver.inbox, self._letters_max + 1 - count)
                yield Shorter(receiver.kept, self._letters_max)


def receiver_refusal(outcome: WriteOutcome) -> CommitRefused | None:
    """The error for a transaction that the store refused because of a letter's receiver; None for any other outcome."""
    if not isinstance(outcome, Refused) or isinstance(outcome.guard, Guard):
        return None
    need = outcome.guard
    return _no_such_receiver(need.key) if isinstance(need, Present) else inbox_full(need.key.rpartition(":")[0])


def _no_such_receiver(record: str) -> NoSuchReceiver:
    return NoSuchReceiver(
        f"nothing happened: a letter to {record}, which does not exist",
        hint="check the receiver's class and id; or create it first",
    )


def inbox_full(record: str) -> InboxFull:
    """The error for a letter to a record with a full inbox."""
    return InboxFull(
        f"nothing happened: too many letters wait for {record}",
        hint="its server opens them at its next login; try again then, or raise keeper.inbox_letters_max",
    )
