"""What is remembered of commits that concerned more than one record, and the transaction that heals a group of records."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from realmkeep.errors import WrongType
from realmkeep.storage import Append, Delete, DropFirst, Transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from realmkeep.keeping.writing.staging import StagedWrite
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Effect, Guard, Storage


class Joint(NamedTuple):
    """What is remembered of a write that concerned more than one record: whom it advanced, and its other effects."""

    at_s: float
    order: int
    leaves: tuple[tuple[str, int], ...]
    guards: tuple[Guard, ...]
    effects: tuple[Effect, ...]
    receivers: tuple[RecordKeys, ...]
    deleted: tuple[RecordKeys, ...]


def joint_of(write: StagedWrite, at_s: float) -> Joint:
    """What is remembered of a write that was acknowledged then, on the monotonic clock."""
    # The owner alone drops letters; the letters that came back are told by their ids.
    extra = tuple(effect for effect in write.extra if not isinstance(effect, DropFirst))
    guards = tuple(write.transaction.guards[2 * len(write.members) :])
    leaves = tuple((member.session.keys.record, member.leaves) for member in write.members)
    return Joint(at_s, write.order, leaves, guards, extra, tuple(write.receivers), tuple(write.deleted))


class Rewriting(NamedTuple):
    """What heals one group: its own guards, those of its lost commits on other records, and the effects.

    `earlier` holds what released sessions left and what lost commits did beside their records (then True), each with its
    place among all writes, for a record may have been made, released and deleted within what was lost; `effects` are those
    of the sessions that live.
    """

    guards: list[Guard]
    beside: list[Guard]
    earlier: list[tuple[int, bool, list[Effect]]]
    effects: list[Effect]

    def transaction(self, *, without: str | None = None, broken: Collection[str] = ()) -> Transaction:
        """All of it; or `without` what lost commits did to that record, and without their guards.

        Args:
            without: The key of the record.
            broken: Keys to be left alone.
        """
        effects: list[Effect] = []
        for _, is_joint, some in sorted(self.earlier, key=itemgetter(0)):
            effects += [each for each in some if not (is_joint and _concerns(each, without))]
        kept = [each for each in effects + self.effects if each.key not in broken]
        return Transaction(self.guards + (self.beside if without is None else []), kept)


def _concerns(effect: Effect, record: str | None) -> bool:
    # Letters to it stand by themselves.
    return record is not None and not isinstance(effect, Append) and f"{effect.key}:".startswith(f"{record}:")


def made_or_deleted(write: StagedWrite) -> tuple[str, ...]:
    """The keys of the records that a write made or deleted."""
    guards = write.transaction.guards[2 * len(write.members) :]
    return tuple([guard.key.removesuffix(":owner") for guard in guards if guard.key.endswith(":owner")])


async def wrongly_typed(storage: Storage, effects: Iterable[Effect]) -> dict[str, WrongType]:
    """The keys at which something of another type lies than these effects need, each with what the store says of it.

    Raises:
        StorageError: The store cannot be asked.
    """
    found: dict[str, WrongType] = {}
    is_list = {each.key: isinstance(each, (Append, DropFirst)) for each in effects if not isinstance(each, Delete)}
    for key, as_list in is_list.items():
        try:
            await (storage.load_list(key, count=1) if as_list else storage.load(key))
        except WrongType as error:
            found[key] = error
    return found
