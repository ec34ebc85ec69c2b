"""Looks for players, and at one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from realmkeep import keys
from realmkeep.accounts.account import Account
from realmkeep.accounts.usernames import fold_username
from realmkeep.errors import NoSuchAccount, RealmkeepError, RecordError
from realmkeep.keeping.live.record_keys import keys_of, limits_of
from realmkeep.keeping.ownership.lease import Owner
from realmkeep.keeping.ownership.revisions import stored_number
from realmkeep.keeping.scan import scan
from realmkeep.records import load
from realmkeep.storage import load_each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realmkeep import Record
    from realmkeep.accounts.admin import AccountAdmin
    from realmkeep.config import RecordsConfig
    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keys import RecordKeys
    from realmkeep.operations.operators.players import Players
    from realmkeep.storage import Storage


class FoundPlayer(msgspec.Struct, frozen=True):
    """A player that a search found; `error` if its record cannot be read."""

    id: str
    name: str
    error: str = ""


class FieldView(msgspec.Struct, frozen=True):
    """One field of a record: its tier, type and bounds in words, and its value as JSON."""

    name: str
    tier: str
    type: str
    bounds: str
    value: Any


class PlayerView(msgspec.Struct, frozen=True, kw_only=True):
    """One player as the store has it.

    Attributes:
        id: Its id.
        key: The key of its record.
        server: The server that owns it; empty if none does. The fields of an owned player may be up to a minute old.
        version: The schema version in the store; 0 if unknown.
        revision_us: The time of its last write, in microseconds since the Unix epoch; 0 if unknown.
        error: Why the record cannot be read; empty if it can.
        fields: Its stored fields.
        letters: Letters that wait in its inbox.
        kept: Letters that could not be applied.
        account: The name of its account; empty if none was found.
        ban: The reason of the account's ban; empty without one.
        ban_until_s: The end of the ban, in seconds since the Unix epoch; None for one without an end, or no ban.
    """

    id: str
    key: str
    server: str
    version: int
    revision_us: int
    error: str = ""
    fields: tuple[FieldView, ...] = ()
    letters: int = 0
    kept: int = 0
    account: str = ""
    ban: str = ""
    ban_until_s: int | None = None


async def find_players(
    storage: Storage, players: Players, records: RecordsConfig, accounts: AccountAdmin, text: str
) -> AsyncIterator[FoundPlayer]:
    """The players of `Acts.find`; 64 records are in memory at once.

    Raises:
        StorageError: The store cannot be reached.
    """
    folded, limits = fold_username(text), limits_of(records)
    of_account = await _characters(accounts, text)

    def read(_: RecordKeys, stored: bytes | None) -> Record | None:
        if stored is None:
            return None
        return load(stored, players.record, limits=limits, accept_unchecked=records.accept_unchecked).require()

    async for each in scan(players.record, storage, read):
        name = "" if each.record is None else str(getattr(each.record, players.name, ""))
        if each.id in {text, *of_account} or (folded and folded in fold_username(name)):
            yield FoundPlayer(each.id, name, "" if each.error is None else each.error.message)


async def _characters(accounts: AccountAdmin, name: str) -> set[str]:
    try:
        return {str(each) for each in await accounts.character_ids(name)}
    except (NoSuchAccount, RealmkeepError) as error:
        if error.retryable:
            raise
        return set()


async def look_at(
    engine: Engine, players: Players, accounts: AccountAdmin, id_: int | str, *, account: str | None = None
) -> PlayerView:
    """The player of `Acts.show`, which exists.

    Args:
        engine: The engine of any keeper of the realm.
        players: The game's word.
        accounts: The accounts.
        id_: The id of the player.
        account: The name of an account that may have the player: then only this account and the one with the player's name are
            looked at. None: otherwise every account is read.

    Raises:
        StorageError: The store cannot be reached.
    """
    at = keys_of(players.record, id_)
    stored, owned, version, updated = await load_each(engine.reads, [at.record, at.owner, at.version, at.updated])
    owner = Owner.read(owned, at.owner)
    record, error = _loaded(engine, players.record, stored)
    name = getattr(record, players.name, "")
    found = await _account_of(accounts, id_, *([name] if not account else [account, name]))
    if found is None and account is None:
        found = await _account_by_scan(engine.storage, id_)
    return PlayerView(
        id=at.id,
        key=at.record,
        server="" if owner is None else owner.server,
        version=stored_number(version) or 0,
        revision_us=stored_number(updated) or 0,
        error=error,
        fields=() if record is None else fields_of(record),
        letters=len(await engine.storage.load_list(at.inbox)),
        kept=len(await engine.storage.load_list(at.kept)),
        account="" if found is None else found.username,
        ban="" if found is None or found.ban is None else found.ban.reason,
        ban_until_s=None if found is None or found.ban is None else found.ban.until_s,
    )


def _loaded(engine: Engine, cls: type[Record], stored: bytes | None) -> tuple[Record | None, str]:
    if stored is None:
        return None, "it is absent"
    records = engine.records
    try:
        loaded = load(stored, cls, limits=limits_of(records), accept_unchecked=records.accept_unchecked)
        return loaded.require(), ""
    except RecordError as error:
        return None, error.message


def fields_of(record: Record) -> tuple[FieldView, ...]:
    """The stored fields of a record, as they are now."""
    rows = {row.field: row for row in type(record).schema().rows}
    return tuple(
        FieldView(
            field.name,
            rows[field.name].tier,
            rows[field.name].type,
            rows[field.name].bounds,
            msgspec.to_builtins(getattr(record, field.name), str_keys=True),
        )
        for field in record.__realmkeep__.durable
    )


async def _account_of(accounts: AccountAdmin, id_: int | str, *names: str) -> Account | None:
    """The account of one of these names that has this character. In most games it has the name of the character."""
    for name in names:
        try:
            found = await accounts.account(name)
        except (NoSuchAccount, RealmkeepError) as error:
            if error.retryable:
                raise
            continue
        if str(id_) in map(str, found.character_ids):
            return found
    return None


async def accounts_with(storage: Storage, id_: int | str) -> AsyncIterator[str]:
    """The names of the accounts that have this character. Reads every account, and decodes those that have its id in their bytes.

    Raises:
        StorageError: The store cannot be reached.
    """
    sought = str(id_).encode()

    def read(_: RecordKeys, stored: bytes | None) -> Account | None:
        return None if stored is None or sought not in stored else load(stored, Account).require()

    async for each in scan(Account, storage, read):
        if each.record is not None and str(id_) in map(str, each.record.character_ids):
            yield each.record.username


async def _account_by_scan(storage: Storage, id_: int | str) -> Account | None:
    async for name in accounts_with(storage, id_):
        stored = await storage.load(keys.account(name))
        return None if stored is None else load(stored, Account).require()
    return None
