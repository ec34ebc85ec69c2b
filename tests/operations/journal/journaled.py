"""The records, commits and questions that the tests of the journal's archive share."""

from pathlib import Path

from realmkeep import IMMEDIATE, Record, durable
from realmkeep.config import JournalConfig, KeeperConfig
from realmkeep.keeping import Keeper
from realmkeep.keeping.writing.journal_entries import CommitEntry, JournalEntry, decode_entry
from realmkeep.operations.journal.archive import Archive
from realmkeep.operations.journal.archiver import Archiver
from realmkeep.operations.journal.archives import FileArchive
from realmkeep.operations.journal.segments import read_segment

SERVER = "town-1"


class Purse(Record, kind="purse", version=1):
    gold: int = durable(default=0, ge=0, tier=IMMEDIATE)
    note: str = durable(default="", tier=IMMEDIATE)
    steps: int = durable(default=0)


def pay(payer: Purse, payee: Purse, *, note: str) -> None:
    """One gold and a note from one to the other."""
    payer.gold -= 1
    payee.gold += 1
    payee.note = note


def config(name: str = SERVER) -> KeeperConfig:
    return KeeperConfig(name=name, tier1_rate_per_s=10_000, heartbeat_s=0.5, lease_ttl_s=1)


async def open_keeper(url: str, directory: Path, *, backlog_bytes_max: int = 1024 * 1024, name: str = SERVER) -> Keeper:
    return await Keeper.open(
        url,
        config=config(name),
        rescue_path=directory / f"{name}.rescue.jsonl",
        journal=JournalConfig(backlog_bytes_max=backlog_bytes_max),
    )


def archiver_of(keeper: Keeper, archive: Archive) -> Archiver:
    return Archiver(keeper, archive, interval_s=60, keep_days=0, players=Purse)


async def archived(archive: Archive, server: str = SERVER) -> list[JournalEntry]:
    """Every entry of the archive, in order."""
    found: list[JournalEntry] = []
    for number in await archive.numbers(server):
        manifest = await archive.manifest(server, number)
        segment = read_segment(manifest, await archive.read(manifest))
        keys = await archive.person_keys([each.person for each in segment.sealed])
        found += map(decode_entry, segment.unsealed(manifest, keys))
    return found


def notes_in(entries: list[JournalEntry]) -> list[str]:
    """The notes of all payments, in order."""
    return [
        change.fields["note"][1]
        for entry in entries
        if isinstance(entry, CommitEntry)
        for change in entry.records
        if "note" in change.fields
    ]


def files(directory: Path) -> FileArchive:
    return FileArchive(directory / "archive")
