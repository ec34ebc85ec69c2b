"""Everything about one person as one JSON document, with a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from realmkeep.errors import RecordError
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.envelope import open_envelope
from realmkeep.keeping.live.record_keys import limits_of
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.keeping.scan import scan
from realmkeep.operations.journal.history import History
from realmkeep.operations.journal.persons import PersonEntry, check_archive_of, entries_about, has_journal
from realmkeep.operations.operators.roles import check_grant
from realmkeep.operations.privacy.references import forget_players
from realmkeep.operations.privacy.scope import find_person, find_traces
from realmkeep.records import load, unknown_fields

if TYPE_CHECKING:
    from realmkeep import Keeper, Record
    from realmkeep.keys import RecordKeys
    from realmkeep.operations.backup.holdings import Holdings
    from realmkeep.operations.journal.archive import Archive
    from realmkeep.operations.operators.acts import Acts
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.operations.privacy.scope import Person
    from realmkeep.storage import Storage

FORMAT: Final = 2


class ExportedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that waits for the person."""

    sender: Annotated[str, Meta(description="Key of the record that sent it; empty if none did.")]
    sent_us: Annotated[int, Meta(description="Microseconds since 1970; 0 if unknown.")]
    kind: Annotated[str, Meta(description="The type of the letter; empty for plain values.")]
    content: Any


class ExportedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the person: a character."""

    key: str
    kind: str
    error: Annotated[str, Meta(description="Why the record cannot be read; empty if it can. `raw` has its bytes then.")]
    fields: dict[str, Any]
    raw: str
    letters: list[ExportedLetter]


class ExportedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The account, without the hashes of secrets."""

    username: str
    created_s: int
    last_login_s: int | None
    devices: Annotated[int, Meta(description="The number of devices that are logged in.")]
    networks: Annotated[
        int, Meta(description="The number of networks that were known; only digests of them are stored.")
    ]
    ban: str | None
    ban_until_s: int | None
    locked: str


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A record of another person, or of no person, that names this one."""

    key: str
    fields: list[str]


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """An act of an operator on the person."""

    at_us: int
    act: str
    target: str
    reason: str
    details: dict[str, Any]


class PersonExport(msgspec.Struct, frozen=True, kw_only=True):
    """All that the realm has stored about one person. Times are in seconds or microseconds since 1970, UTC."""

    format: Annotated[int, Meta(description="The version of this schema.")]
    made_us: int
    account: ExportedAccount | None
    records: list[ExportedRecord]
    referenced_by: list[Reference]
    letters_sent: Annotated[dict[str, int], Meta(description="Letters of the person that others have not opened.")]
    copies: Annotated[list[str], Meta(description="Keys of copies of unreadable bytes.")]
    acts: Annotated[list[Act], Meta(description="Acts of operators.")]
    journal: Annotated[list[PersonEntry], Meta(description="The parts of the journal about the person, oldest first.")]


def schema() -> dict[str, Any]:
    """The JSON schema of an export (2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(PersonExport)}


async def export_person(
    keeper: Keeper, acts: Acts, holdings: Holdings, by: Operator, name: str, *, archive: Archive | None
) -> PersonExport:
    """Everything about one person. The export is no change; it stands in the audit trail all the same.

    Args:
        keeper: Any keeper of the realm.
        acts: The acts of operators.
        holdings: The game's classes, and their fields that refer to players.
        by: The operator.
        name: The account, or the id of a player.
        archive: The archive of the journal; None to leave the journal out.

    Raises:
        NotGranted: The role is too low.
        ActRefused: There is no such person.
        Quarantined: The account cannot be read.
        JournalError: The archive cannot be read, or is that of another realm.
        StorageError: The store cannot be reached.
    """
    check_grant(by, "export")
    engine = engine_of(keeper)
    person = await find_person(acts, acts.player_class, name)
    traces = await find_traces(engine.storage, person)
    targets = set(person.record_keys)
    return PersonExport(
        format=FORMAT,
        made_us=engine.clock.wall_us(),
        account=_account(person),
        records=[await _record(keeper, acts.player_class, each) for each in person.players],
        referenced_by=await references(keeper, holdings, person),
        letters_sent=dict(sorted(traces.letters.items())),
        copies=sorted(traces.copies),
        acts=[
            Act(at_us=each.at_us, act=each.act, target=each.target, reason=each.reason, details=each.details)
            async for each in acts.trail.entries()
            if each.target in targets
        ],
        journal=await _journal(engine.storage, archive, person),
    )


async def _journal(storage: Storage, archive: Archive | None, person: Person) -> list[PersonEntry]:
    if archive is None or not await has_journal(storage):
        return []
    await check_archive_of(archive, storage)
    return await entries_about(History(archive, storage), [each.record for each in person.players])


def _account(person: Person) -> ExportedAccount | None:
    account = person.account
    if account is None:
        return None
    return ExportedAccount(
        username=account.username,
        created_s=account.created_s,
        last_login_s=account.last_login_s,
        devices=len(account.tickets),
        networks=len(account.addresses),
        ban=None if account.ban is None else account.ban.reason,
        ban_until_s=None if account.ban is None else account.ban.until_s,
        locked=account.locked,
    )


async def _record(keeper: Keeper, cls: type[Record], at: RecordKeys) -> ExportedRecord:
    engine = engine_of(keeper)
    stored = await engine.reads.load(at.record) or b""
    fields: dict[str, Any] = {}
    error = ""
    try:
        loaded = load(stored, cls, limits=limits_of(engine.records), accept_unchecked=engine.records.accept_unchecked)
        record = loaded.require()
        fields = {**msgspec.to_builtins(record, str_keys=True), **unknown_fields(record)}
    except RecordError as refused:
        error = refused.message
    waiting = [*await engine.storage.load_list(at.inbox), *await engine.storage.load_list(at.kept)]
    return ExportedRecord(
        key=at.record,
        kind=at.kind,
        error=error,
        fields=fields,
        raw=stored.decode(errors="backslashreplace") if error else "",
        letters=[_letter(each) for each in waiting],
    )


def _letter(stored: bytes) -> ExportedLetter:
    try:
        letter = open_envelope(stored)
    except UNDECODABLE:
        return ExportedLetter(sender="", sent_us=0, kind="", content=stored.decode(errors="backslashreplace"))
    return ExportedLetter(sender=letter.sender, sent_us=letter.sent_us, kind=letter.kind, content=letter.content)


async def references(keeper: Keeper, holdings: Holdings, person: Person) -> list[Reference]:
    """The records that refer to a person, without its own. Scans every record of the classes that may.

    Raises:
        StorageError: The store cannot be reached.
    """
    engine, own, found = engine_of(keeper), set(person.record_keys), list[Reference]()
    for cls, fields in holdings.refers.items():

        def read(_: RecordKeys, stored: bytes | None, cls: type[Record] = cls) -> Record | None:
            records = engine.records
            if stored is None:
                return None
            loaded = load(stored, cls, limits=limits_of(records), accept_unchecked=records.accept_unchecked)
            return loaded.require()

        async for each in scan(cls, engine.reads, read):
            if each.record is None:
                continue
            named = forget_players(each.record, fields, person.ids.__contains__)
            key = f"{cls.__realmkeep__.kind}:{each.id}{f':{cls.__realmkeep__.suffix}' if cls.__realmkeep__.suffix else ''}"
            if named and key not in own:
                found.append(Reference(key=key, fields=[*named]))
    return sorted(found, key=lambda reference: reference.key)
