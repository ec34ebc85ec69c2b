"""One person in the journal: the parts that are about it, their erasure, and its repetition after a restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import InvalidKey, JournalDamaged
from realmkeep.keeping.writing.journal_entries import CommitEntry, GapEntry, decode_entry, encode_entry
from realmkeep.operations.journal.sealing import erase_parts
from realmkeep.operations.journal.segments import number_of, records_of
from realmkeep.storage import Append, Delete

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from realmkeep.keeping.writing.journal_entries import JournalEntry
    from realmkeep.operations.journal.archive import Archive
    from realmkeep.operations.journal.history import History
    from realmkeep.storage import Effect, Storage

PAGE_ENTRIES: Final = 250


class PersonEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of the journal, with its part about one person alone.

    Attributes:
        at_us: In microseconds since 1970.
        server: The server that wrote it.
        what: The name of the commit's function; `snapshot` for a snapshot.
        reason: The reason of the commit.
        records: The content by record: changed fields, or a whole record.
        letters: Letters to the person.
    """

    at_us: int
    server: str
    what: str
    reason: str = ""
    records: dict[str, Any] = {}
    letters: list[Any] = []


async def has_journal(storage: Storage) -> bool:
    """Whether a server of this store has ever written a journal.

    Raises:
        StorageError: The store cannot be reached.
    """
    return bool(
        await _servers(storage, keys.server_journaled("*")) or await _servers(storage, keys.server_journal("*"))
    )


async def check_archive_of(archive: Archive, storage: Storage) -> None:
    """Check that an archive is that of a store: an erasure in another one would destroy nothing.

    Raises:
        JournalDamaged: It lacks the segments that the store's marks name.
        JournalUnavailable: It cannot be reached.
        StorageError: The store cannot be reached.
    """
    for server in await _servers(storage, keys.server_journaled("*")):
        number = number_of(await storage.load(keys.server_journaled(server)))
        if number and not await archive.numbers(server):
            raise JournalDamaged(
                f"the archive has no segment of {server}, and the store's mark names its segment {number}",
                hint="name the archive of this realm: --archive URL, or journal.url",
            )


async def entries_about(history: History, records: Sequence[str]) -> list[PersonEntry]:
    """Every entry about records of one person, without the parts of others.

    Raises:
        JournalError, Corrupt: The journal cannot be read.
        StorageError: The store cannot be reached.
    """
    own, found = set(records), dict[tuple[str, int, int], PersonEntry]()
    for record in records:
        for each in await history.of_record(record):
            if not isinstance(each.entry, GapEntry):
                found[each.server, each.entry.run, each.entry.seq] = _about(each.server, each.entry, own)
    return sorted(found.values(), key=lambda entry: entry.at_us)


def _about(server: str, entry: JournalEntry, own: set[str]) -> PersonEntry:
    if not isinstance(entry, CommitEntry):
        assert not isinstance(entry, GapEntry)  # a gap is about no record
        return PersonEntry(at_us=entry.at, server=server, what="snapshot", records={entry.key: entry.stored})
    changed = {change.key: change.fields for change in entry.records if change.key in own}
    return PersonEntry(
        at_us=entry.at,
        server=server,
        what=entry.fn,
        reason=entry.reason,
        records=changed | {key: stored for key, stored in entry.created if key in own},
        letters=[letter for key, letter in entry.letters if key in own],
    )


async def waiting_about(storage: Storage, records: Collection[str]) -> dict[str, int]:
    """The number of entries about some records that still wait for the archiver, by server.

    Raises:
        Corrupt: An entry cannot be read.
        StorageError: The store cannot be reached.
    """
    found: dict[str, int] = {}
    for server in await _servers(storage, keys.server_journal("*")):
        waiting = await _waiting(storage, server)
        if count := sum(not set(records_of(entry)).isdisjoint(records) for entry in waiting):
            found[server] = count
    return found


async def forgetting_lists(storage: Storage, is_gone: Callable[[str, str], bool]) -> list[Effect]:
    """The effects that take the parts of erased persons out of the entries that wait, in a store without servers.

    Args:
        storage: Connected, and without other users.
        is_gone: Whether the person with this kind and id was erased.

    Raises:
        Corrupt: An entry cannot be read.
        StorageError: The store cannot be reached.
    """
    effects: list[Effect] = []
    for server in await _servers(storage, keys.server_journal("*")):
        waiting, changed = await _waiting(storage, server), False
        for entry in waiting:
            if gone := {key for key in records_of(entry) if is_gone(*_kind_and_id(key))}:
                erase_parts(entry, gone)
                changed = True
        if changed:
            key = keys.server_journal(server)
            effects += [Delete(key), *(Append(key, encode_entry(entry)) for entry in waiting)]
    return effects


async def repeat_erasures(archive: Archive, is_gone: Callable[[str, str], bool]) -> int:
    """Destroy the keys of erased persons again, after the archive came back from a copy; returns their number.

    Args:
        archive: The archive.
        is_gone: As for `forgetting_lists`.

    Raises:
        JournalDamaged: A key cannot be read.
        JournalUnavailable: The archive cannot be changed now.
    """
    persons = [each for each in await archive.persons() if is_gone(*_kind_and_id(each))]
    back = [person for person, key in (await archive.person_keys(persons)).items() if key]
    for person in back:
        await archive.erase_person(person)
    return len(back)


def _kind_and_id(key: str) -> tuple[str, str]:
    kind, _, rest = key.partition(":")
    return kind, rest.partition(":")[0]


async def _servers(storage: Storage, pattern: str) -> list[str]:
    found: set[str] = set()
    async for key in storage.keys(pattern):
        try:
            found.add(keys.parse(key).id)
        except InvalidKey:
            continue
    return sorted(found)


async def _waiting(storage: Storage, server: str) -> list[JournalEntry]:
    found: list[JournalEntry] = []
    while page := await storage.load_list(keys.server_journal(server), start=len(found), count=PAGE_ENTRIES):
        found += map(decode_entry, page)
    return found
