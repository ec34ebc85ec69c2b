"""The erasure of one person: tombstones first, then everything that the store has, the account last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import ActRefused, NoSuchAccount
from realmkeep.keeping.keeper import engine_of
from realmkeep.operations.archive.erasing import Intent, finish
from realmkeep.operations.backup.catalogue import list_backups
from realmkeep.operations.backup.erasures import note_erasure
from realmkeep.operations.journal.persons import check_archive_of, has_journal, waiting_about
from realmkeep.operations.operators.orders import Forget, Order, Outcome, checked_reason
from realmkeep.operations.operators.roles import check_grant
from realmkeep.operations.privacy.deleting import DELETED_KEEP_S, PlayerDeletion
from realmkeep.operations.privacy.exporting import references
from realmkeep.operations.privacy.scope import find_person, find_traces
from realmkeep.storage import Transaction

if TYPE_CHECKING:
    from pathlib import Path

    from realmkeep import Keeper
    from realmkeep.accounts.admin import Beside
    from realmkeep.config import BackupConfig
    from realmkeep.operations.backup.holdings import Holdings
    from realmkeep.operations.journal.archive import Archive
    from realmkeep.operations.operators.acts import Acts
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.operations.privacy.scope import Person

DAY_US: Final = 86_400 * 1_000_000


class HeldBackup(msgspec.Struct, frozen=True):
    """A backup from before the erasure.

    Attributes:
        name: The backup.
        until_us: `backup prune` removes it at the latest then, in microseconds since 1970, if a newer verified one exists.
    """

    name: str
    until_us: int


class ErasurePlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that an erasure will reach.

    Attributes:
        records: The keys of the person's records and account.
        beside: Keys beside them.
        copies: Copies of unusable bytes.
        references: Records of others that name the person, with the fields.
        letters_sent: Letters of the person that wait for others; they stay until they are opened.
        backups: The backups that hold the person.
    """

    records: tuple[str, ...]
    beside: tuple[str, ...]
    copies: tuple[str, ...]
    references: dict[str, tuple[str, ...]]
    letters_sent: dict[str, int]
    backups: tuple[HeldBackup, ...]


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A finished erasure.

    Attributes:
        at_us: When it ended, in microseconds since 1970.
        act_id: The id of the act; with it the erasure can be asked for again after a failure.
        erased: What was erased.
        entry: The audit entry of the last record.
        waiting: Entries of the journal about the person that are still in the store, by server; its archiver takes the person
            out of them.
    """

    at_us: int
    act_id: str
    erased: ErasurePlan
    entry: int
    waiting: dict[str, int]


class Erasing:
    """Erases persons.

    Args:
        keeper: Any keeper of the realm.
        acts: The acts of operators.
        holdings: The game's classes, and their fields that refer to players.
        backup: The place and the rule of the backups.
        directory: The directory of the backups.
        archive: The archive of the journal; None if the realm has none.
    """

    def __init__(
        self,
        keeper: Keeper,
        acts: Acts,
        holdings: Holdings,
        backup: BackupConfig,
        directory: Path,
        *,
        archive: Archive | None,
    ) -> None:
        engine = engine_of(keeper)
        self._keeper = keeper
        self._acts = acts
        self._holdings = holdings
        self._backup = backup
        self._directory = directory
        self._archive = archive
        self._storage = engine.storage
        self._clock = engine.clock
        self._cold = engine.cold
        self._deletion = PlayerDeletion(keeper, acts, holdings)

    async def plan(self, by: Operator, name: str) -> ErasurePlan:
        """All that the erasure of a person will reach. Nothing is changed.

        Raises:
            NotGranted: The role is too low.
            ActRefused: There is no such person.
            StorageError: The store cannot be reached.
            OSError: The backups cannot be listed.
        """
        check_grant(by, "erase")
        return await self._planned(await find_person(self._acts, self._acts.player_class, name))

    async def _planned(self, person: Person) -> ErasurePlan:
        traces = await find_traces(self._storage, person)
        named = await references(self._keeper, self._holdings, person)
        return ErasurePlan(
            records=person.record_keys,
            beside=tuple(sorted(traces.beside)),
            copies=tuple(sorted(traces.copies)),
            references={each.key: tuple(each.fields) for each in named},
            letters_sent=dict(sorted(traces.letters.items())),
            backups=await asyncio.to_thread(self._backups),
        )

    def _backups(self) -> tuple[HeldBackup, ...]:
        days = self._backup.daily_days
        listed = [(each.name, each.manifest) for each in list_backups(self._directory)]
        return tuple(HeldBackup(name, each.taken_us + days * DAY_US) for name, each in listed if each is not None)

    async def erase(self, by: Operator, name: str, *, reason: str, act_id: str) -> Receipt:
        """Erase a person. If it fails on the way, ask again with the same id: what was done stays done.

        The tombstones come first, so no restore after a crash brings the person back. Then the account is locked, the keys of
        the person in the journal are destroyed, the records of others forget the players, and the players go, the account last.

        Args:
            by: The operator.
            name: The account, or the id of a player.
            reason: For the audit trail.
            act_id: The id of the act.

        Raises:
            NotGranted: The role is too low.
            ActRefused: There is no such person, or no reason.
            ApprovalNeeded: A second admin has not approved it.
            OpReused: The id is that of another act.
            ActPending: A server has not let a record go; ask again.
            JournalError: The archive cannot be reached, or is that of another realm.
            StorageError: The store cannot be reached; ask again.
            OSError: The tombstones cannot be written; nothing was changed.
        """
        check_grant(by, "erase")
        checked_reason(reason)
        person = await find_person(self._acts, self._acts.player_class, name)
        plan = await self._planned(person)
        archive = self._archive if self._archive is not None and await has_journal(self._storage) else None
        if archive is not None:
            await check_archive_of(archive, self._storage)
        target = person.record_keys[0]
        order = Order(act_id=act_id, act="erase", operator=by.name, role=by.role, target=target, reason=reason)
        await self._acts.approvals.require(order, f"the erasure of {target}")
        for key in person.record_keys:
            await asyncio.to_thread(note_erasure, self._directory, key, at_us=self._clock.wall_us())
        if person.account is not None:
            await self._lock(by, person.account.username, reason, act_id)
        if archive is not None:
            for at in person.players:
                await archive.erase_person(f"{at.kind}:{at.id}")
        for key in plan.references:
            await self._forget(by, key, person, reason, act_id)
        entry = 0
        for at in person.players:
            copies = [key for key in plan.copies if keys.parse(key).id == at.id and keys.parse(key).kind == at.kind]
            done = await self._deletion.delete(by, at, copies, reason=reason, act_id=f"{act_id}:{at.record}")
            entry = done.entry
        if person.account is not None:
            entry = (await self._delete_account(by, person.account.username, reason, act_id)).entry
        if self._holdings.erase_elsewhere is not None:
            await self._holdings.erase_elsewhere(person.record_keys)
        waiting = {} if archive is None else await waiting_about(self._storage, person.record_keys)
        return Receipt(at_us=self._clock.wall_us(), act_id=act_id, erased=plan, entry=entry, waiting=waiting)

    async def _lock(self, by: Operator, username: str, reason: str, act_id: str) -> None:
        async def change(beside: Beside) -> None:
            await self._acts.accounts.lock(username, "being erased", beside=beside)

        await self._acts.on_account(by, "erase", username, {"step": "lock"}, reason, f"{act_id}:lock", change)

    async def _forget(self, by: Operator, key: str, person: Person, reason: str, act_id: str) -> None:
        """Have a record of another person forget this one, wherever it is live."""
        parsed = keys.parse(key)
        cls = next(
            cls
            for cls in self._holdings.refers
            if (cls.__realmkeep__.kind, cls.__realmkeep__.suffix) == (parsed.kind, parsed.suffix)
        )
        change = Forget(fields=tuple(self._holdings.refers[cls]), ids=tuple(sorted(person.ids)))
        await self._acts.on_record(by, "erase", cls, parsed.id, change, reason, f"{act_id}:{key}")

    async def _delete_account(self, by: Operator, username: str, reason: str, act_id: str) -> Outcome:
        async def change(beside: Beside) -> None:
            await self._acts.accounts.delete(username, beside=beside)

        at = f"{act_id}:account"
        cold, intent = (
            self._cold,
            Intent(keys.account(username), self._clock.wall_us() + int(DELETED_KEEP_S * 1_000_000)),
        )
        if cold is not None:  # an account that a crash keeps alive has its row again after the next sweep
            await self._storage.write([Transaction((), (intent.put,))])
        try:
            done = await self._acts.on_account(by, "erase", username, {"step": "account"}, reason, at, change)
        except NoSuchAccount as error:
            raise ActRefused(error.message, hint="it was deleted meanwhile") from error
        if cold is not None:
            await finish(self._storage, cold, intent)
        return done
