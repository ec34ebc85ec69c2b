"""Letters of records that nobody owns go back to their senders: of one that was deleted, or at an operator's word."""

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

LETTERS_A_TRANSACTION: Final = 16  # as large as letters get, they fit
TRIES: Final = 100  # each that fails is another's success


class GivenBack(NamedTuple):
    """What became of the letters of one list.

    Attributes:
        returned: How many went back.
        left: How many stay, for they have no sender to go to.
        senders: To whom they went.
        owned: A server owns the record: the letters are its own to return.
    """

    returned: int
    left: int
    senders: tuple[RecordKeys, ...]
    owned: bool = False


async def is_absent(storage: Storage, record: RecordKeys) -> bool:
    """Whether there is no such record. The key of a list does not say with which suffix its record is stored.

    Raises:
        StorageError: The store cannot be reached.
    """
    return not (await storage.exists(record.record) or await storage.exists(record.version))


async def give_back(storage: Storage, record: RecordKeys, source: str, reason: str, now_us: int) -> GivenBack:
    """Return every letter that lies in a list of a record that nobody owns, each in the transaction that takes it out.

    Several may do so at once, and an answer may be lost: every transaction follows the revision that was read before the
    list, and leaves a later one, so that of two that saw the same letters one is refused.

    Args:
        storage: The store.
        record: Whose letters.
        source: Its inbox, which belongs to nobody once the record is deleted; or its kept letters.
        reason: What the senders are told.
        now_us: Wall time.

    Raises:
        StorageError: The store cannot be reached; the letters that did not go back are where they were.
    """
    waiting = len(await storage.load_list(source))
    returned, left = 0, 0
    senders: dict[RecordKeys, None] = {}
    tries = 0
    while returned + left < waiting:
        owner, revision = await storage.load_many([record.owner, record.updated])
        absent = await is_absent(storage, record)
        if owner is not None or (source == record.inbox and not absent):
            return GivenBack(returned, left, tuple(senders), owned=True)
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
    return GivenBack(returned, left, tuple(senders))


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
    if absent:  # nobody makes it meanwhile, to whom its letters would belong
        guards += [Guard(record.record, None), Guard(record.version, None)]
    follows = int(revision) if revision is not None and revision.isdigit() else 0
    later = Put(record.updated, b"%d" % max(follows + 1, now_us), expire_s=DELETED_KEEP_S if absent else None)
    needs = [
        Present(sender.record) for sender in dict.fromkeys(senders)
    ]  # one that is deleted meanwhile has the list read anew
    return Transaction(guards, [*effects, later], needs)


async def _effects(
    storage: Storage, record: RecordKeys, source: str, letters: list[bytes], reason: str, now_us: int
) -> tuple[list[Effect], list[RecordKeys]]:
    """What sends these letters back, and to whom; one that cannot go back goes to the end of its list."""
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
