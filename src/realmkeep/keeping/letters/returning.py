"""Letters to a record that no server owns go back to their senders: after its deletion, or at an operator's command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.errors import StorageUnavailable
from realmkeep.keeping.live.envelope import open_envelope
from realmkeep.keeping.live.sealing import seal_returned, sender_of
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.keeping.writing.commit import DELETED_KEEP_S
from realmkeep.storage import Append, Committed, DropFirst, Failed, Guard, Present, Put, Transaction

if TYPE_CHECKING:
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Effect, Storage

LETTERS_A_TRANSACTION: Final = 16  # this many of the largest letters fit
TRIES: Final = 100  # each fails only because another write succeeded


class ReturnOutcome(NamedTuple):
    """The outcome of returning the letters of one list.

    Attributes:
        returned: The number of letters that went back.
        left: The number that stays, because they have no sender to which they could go.
        senders: The records to which they went.
        owned: A server owns the record, so that server has to return the letters.
    """

    returned: int
    left: int
    senders: tuple[RecordKeys, ...]
    owned: bool = False


async def is_absent(storage: Storage, record: RecordKeys) -> bool:
    """Whether the record is absent. Looks for its version key too, because the key of a list lacks its record's suffix.

    Raises:
        StorageError: The store cannot be reached.
    """
    return not (await storage.exists(record.record) or await storage.exists(record.version))


async def give_back(storage: Storage, record: RecordKeys, source: str, reason: str, now_us: int) -> ReturnOutcome:
    """Return every letter of one list of a record that no server owns; each is dropped and returned in one transaction.

    Several servers and operators may do so at once, and an answer may be lost. Every transaction is guarded by the revision
    that was read before the list, and leaves a later one, so of two transactions for the same letters one is refused.

    Args:
        storage: The store.
        record: The receiver of the letters.
        source: The key of its inbox, once the record is deleted; or of its kept letters.
        reason: The reason that the senders get.
        now_us: Wall time.

    Raises:
        StorageError: The store cannot be reached; letters that did not go back are where they were.
    """
    waiting = len(await storage.load_list(source))
    returned, left = 0, 0
    senders: dict[RecordKeys, None] = {}
    tries = 0
    while returned + left < waiting:
        owner, revision = await storage.load_many([record.owner, record.updated])
        absent = await is_absent(storage, record)
        if owner is not None or (source == record.inbox and not absent):
            return ReturnOutcome(returned, left, tuple(senders), owned=True)
        letters = await storage.load_list(source, count=min(LETTERS_A_TRANSACTION, waiting - returned - left))
        if not letters:
            break
        effects, went = await _effects(storage, record, source, letters, reason, now_us)
        (outcome,) = await storage.write(
            [_following(record, revision, [DropFirst(source, len(letters)), *effects], went, now_us, absent=absent)]
        )
        if isinstance(outcome, Committed):
            returned, left = returned + len(went), left + len(letters) - len(went)
            senders |= dict.fromkeys(went)
        elif isinstance(outcome, Failed):
            raise outcome.error
        elif (tries := tries + 1) == TRIES:
            raise StorageUnavailable(f"letters of {record.record} could not be returned", hint="try again")
    return ReturnOutcome(returned, left, tuple(senders))


def _following(
    record: RecordKeys,
    revision: bytes | None,
    effects: list[Effect],
    senders: list[RecordKeys],
    now_us: int,
    *,
    absent: bool,
) -> Transaction:
    guards = [Guard(record.owner, None), Guard(record.updated, revision)]
    if absent:  # if the record is made meanwhile, the letters belong to it
        guards += [Guard(record.record, None), Guard(record.version, None)]
    follows = int(revision) if revision is not None and revision.isdigit() else 0
    later = Put(record.updated, b"%d" % max(follows + 1, now_us), expire_s=DELETED_KEEP_S if absent else None)
    # If a sender is deleted meanwhile, the transaction is refused and the list is read again.
    needs = [Present(sender.record) for sender in dict.fromkeys(senders)]
    return Transaction(guards, [*effects, later], needs)


async def _effects(
    storage: Storage, record: RecordKeys, source: str, letters: list[bytes], reason: str, now_us: int
) -> tuple[list[Effect], list[RecordKeys]]:
    """The effects that return these letters, and their senders; a letter without a sender goes to the end of its list."""
    effects: list[Effect] = []
    went: list[RecordKeys] = []
    for stored in letters:
        try:
            letter = open_envelope(stored)
        except UNDECODABLE:
            effects.append(Append(source, stored))
            continue
        sender = await sender_of(storage, letter)
        if isinstance(sender, str):
            effects.append(Append(source, stored))
            continue
        back = seal_returned(stored, receiver=record.record, reason=reason, now_us=now_us)
        effects.append(Append(sender.inbox, back))
        went.append(sender)
    return effects, went
