"""Accounts as the game and its operators use them; no method needs or checks a password.

Every change is safe when it returns, also on a store that may lose its last second, because no server could restore a lost
account. A change that ends sessions reaches every server within two seconds: its notice is part of the same transaction.

Every change raises `NoSuchAccount`, `Quarantined` if the account cannot be read, and `StorageError` if the store cannot be reached
or its answer was lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from realmkeep.accounts.account import CHARACTERS_MAX, Account, Ban, CharacterId
from realmkeep.accounts.lookalikes import Lookalikes
from realmkeep.accounts.notices import AccountNotices
from realmkeep.accounts.skeletons import confusables
from realmkeep.accounts.tickets import without_family
from realmkeep.accounts.usernames import check_username, fold_username
from realmkeep.clock import Clock
from realmkeep.errors import AccountError, AlreadyExists, InvalidKey, NoSuchAccount, StorageUnavailable
from realmkeep.keeping.unowned_records import Also, FoundRecord, UnownedRecords

Beside: TypeAlias = Callable[[], Awaitable[Sequence[Also]]]
"""Makes more guards and effects of the same transaction, anew for each attempt: an audit entry, for example."""

CHANGE_TURNS_MAX: Final = 10  # concurrent changes of one account are rare; ten in a row are a fault


class AccountAdmin:
    """Reads and changes the accounts of a realm.

    Args:
        stored_accounts: The stored accounts.
        notices: Tells other servers of changes that end sessions.
        lookalikes: Releases the skeleton of a deleted account's name.
        clock: The clock, for the ends of bans.
    """

    def __init__(
        self, stored_accounts: UnownedRecords[Account], notices: AccountNotices, lookalikes: Lookalikes, clock: Clock
    ) -> None:
        self._stored_accounts = stored_accounts
        self._notices = notices
        self._lookalikes = lookalikes
        self._clock = clock

    async def exists(self, username: str) -> bool:
        """Whether the name is taken; a plaintext account of version 1 does not take it.

        Raises:
            Quarantined: The stored account cannot be read, so the name is not free.
            StorageUnavailable: The store cannot be reached.
        """
        found = await self._find(username)
        return found is not None and bool(found.record.password_hash)

    async def account(self, username: str) -> Account:
        """The account as it is stored now.

        Raises:
            NoSuchAccount: There is no such account.
            Quarantined: The account cannot be read.
            StorageUnavailable: The store cannot be reached.
        """
        found = await self._find(username)
        if found is None:
            raise self._no_such(username)
        return found.record

    async def character_id(self, username: str) -> CharacterId | None:
        """The account's first character; None if it has none.

        Raises:
            NoSuchAccount, Quarantined, StorageUnavailable: As `account`.
        """
        characters = (await self.account(username)).character_ids
        return characters[0] if characters else None

    async def character_ids(self, username: str) -> list[CharacterId]:
        """All characters of the account, in order.

        Raises:
            NoSuchAccount, Quarantined, StorageUnavailable: As `account`.
        """
        return (await self.account(username)).character_ids

    async def set_character_id(self, username: str, character_id: CharacterId, *also: Also) -> None:
        """Make a character the account's first; a character that is not linked yet is linked.

        Args:
            username: The account.
            character_id: The character; the caller knows that it exists.
            also: Guards and effects of the same transaction, such as those of `new_record` for a new character.

        Raises:
            AccountError: The account has 64 characters.
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def first(account: Account) -> None:
            others = [each for each in account.character_ids if each != character_id]
            if len(others) >= CHARACTERS_MAX:
                raise AccountError(f"{account.username} has {CHARACTERS_MAX} characters", hint="remove one first")
            account.character_ids = [character_id, *others]

        await self._change(username, first, *also)

    async def add_character_id(self, username: str, character_id: CharacterId, *also: Also) -> None:
        """Link another character, behind the others; a linked character is left as it is.

        Raises:
            AccountError: The account has 64 characters.
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def last(account: Account) -> None:
            if character_id in account.character_ids:
                return
            if len(account.character_ids) >= CHARACTERS_MAX:
                raise AccountError(f"{account.username} has {CHARACTERS_MAX} characters", hint="remove one first")
            account.character_ids = [*account.character_ids, character_id]

        await self._change(username, last, *also)

    async def remove_character_id(self, username: str, character_id: CharacterId, *also: Also) -> None:
        """Unlink a character and end its tickets. The character's record stays unless `also` deletes it.

        Raises:
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def without(account: Account) -> None:
            account.character_ids = [each for each in account.character_ids if each != character_id]
            account.tickets = [each for each in account.tickets if each.character_id != character_id]

        await self._change(username, without, *also)

    async def ban(
        self, username: str, reason: str, *, until_s: int | None = None, beside: Beside | None = None
    ) -> None:
        """Refuse logins, and end every ticket in the same write; servers end the account's sessions within two seconds.

        Args:
            username: The account.
            reason: For the operators; players are not told.
            until_s: End of the ban, in seconds since the Unix epoch; None: until `lift_ban`.
            beside: More of the same transaction; its errors are raised.

        Raises:
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def banned(account: Account) -> None:
            account.ban = Ban(reason=reason, until_s=until_s)
            account.tickets = []

        await self._change_and_tell(username, banned, beside)

    async def lift_ban(self, username: str, *, beside: Beside | None = None) -> None:
        """Allow logins again; without a ban nothing changes.

        Args:
            username: The account.
            beside: As of `ban`.

        Raises:
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def free(account: Account) -> None:
            account.ban = None

        await self._change(username, free, beside=beside)

    async def lock(self, username: str, reason: str, *, beside: Beside | None = None) -> None:
        """Refuse logins until `unlock`, for an account that may be in foreign hands; its sessions end as after a ban.

        Args:
            username: The account.
            reason: For the operators.
            beside: As of `ban`.

        Raises:
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def locked(account: Account) -> None:
            account.locked = reason
            account.tickets = []

        await self._change_and_tell(username, locked, beside)

    async def unlock(self, username: str, *, beside: Beside | None = None) -> None:
        """Allow logins again; a ban stays. Without a lock nothing changes.

        Args:
            username: The account.
            beside: As of `ban`.

        Raises:
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def free(account: Account) -> None:
            account.locked = ""

        await self._change(username, free, beside=beside)

    async def set_password_hash(self, username: str, password_hash: str, *, beside: Beside | None = None) -> None:
        """Replace the hash of the password, for an operator: the player chooses another one at the next login.

        The same write ends all tickets and forgets the known addresses.

        Args:
            username: The account.
            password_hash: As of `hash_password`.
            beside: As of `ban`.

        Raises:
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def renewed(account: Account) -> None:
            account.password_hash, account.provisional = password_hash, True
            account.tickets, account.addresses = [], []

        await self._change_and_tell(username, renewed, beside)

    async def renaming(self, username: str, new_name: str) -> tuple[str, list[Also]]:
        """The folded new name of an account, and the guards and effects that rename it and end its sessions.

        They hold for the account as it is now; if one of them is refused, ask again.

        Args:
            username: The account.
            new_name: As typed.

        Raises:
            NoSuchAccount: There is no such account.
            AccountError: The new name is malformed, or taken, or looks like one that is taken.
            Quarantined: The account cannot be read.
            StorageError: The store cannot be reached.
        """
        await asyncio.to_thread(confusables)  # a file, read once: not on the event loop
        found, name = await self._find(username), check_username(new_name)
        if found is None:
            raise self._no_such(username)
        old = found.record.username
        if name == old:
            return name, []
        look = await self._lookalikes.claim_name(name)
        if look is None or await self._find(name) is not None:
            raise AccountError(f"the name {name!r} is taken, or looks like one that is", hint="choose another name")
        renamed = found.record
        renamed.username, renamed.tickets, renamed.addresses = name, [], []
        renamed.epoch += 1
        guard, put = await self._notices.posting(old)
        accounts = self._stored_accounts
        return name, [
            *accounts.moved(old, found, name, renamed),
            *look,
            *await self._lookalikes.release_name(old),
            guard,
            put,
        ]

    async def logout_everywhere(self, username: str, *, beside: Beside | None = None) -> None:
        """End every ticket in one write; servers end the account's sessions within two seconds.

        Args:
            username: The account.
            beside: As of `ban`.

        Raises:
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def without_tickets(account: Account) -> None:
            account.tickets = []

        await self._change_and_tell(username, without_tickets, beside)

    async def end_family(self, username: str, family: str, *, stolen: bool = False) -> None:
        """End the tickets of one family, after a logout or the theft of a ticket; harmless if the family has ended.

        Args:
            username: The account.
            family: The family, as in `Login.family`; empty: nothing to end.
            stolen: Also end the session of the family, on every server.

        Raises:
            NoSuchAccount, Quarantined, StorageError: As every change.
        """

        def without(account: Account) -> None:
            account.tickets = without_family(account, family)

        found = await self.account(username)
        if family and len(without_family(found, family)) < len(found.tickets):
            await (self._change_and_tell if stolen else self._change)(username, without)

    async def delete(self, username: str, *also: Also, beside: Beside | None = None) -> None:
        """Delete the account; `also` may delete its characters in the same transaction.

        Args:
            username: The account.
            also: Guards and effects of the same transaction.
            beside: More of it, made anew for each attempt; its errors are raised.

        Raises:
            NoSuchAccount, Quarantined, StorageError: As every change.
        """
        await asyncio.to_thread(confusables)  # a file, read once: not on the event loop
        for _ in range(CHANGE_TURNS_MAX):
            found = await self._find(username)
            if found is None:
                raise self._no_such(username)
            guard, put = await self._notices.posting(found.record.username)
            look = await self._lookalikes.release_name(found.record.username)
            more = () if beside is None else await beside()
            try:
                if await self._stored_accounts.remove(found.record.username, found, guard, put, *look, *also, *more):
                    await self._stored_accounts.settled()
                    return
            except AlreadyExists:
                unchanged = (await self._notices.posting(found.record.username))[0] == guard
                if beside is None and unchanged and await self._lookalikes.release_name(found.record.username) == look:
                    raise  # neither notices nor skeleton changed, so a guard of the caller has failed
        raise self._contended(username)

    async def _find(self, username: str) -> FoundRecord[Account] | None:
        try:
            return await self._stored_accounts.get(fold_username(username))
        except InvalidKey:
            return None

    async def _change(
        self, username: str, change: Callable[[Account], None], *also: Also, beside: Beside | None = None
    ) -> Account:
        """Read, change and replace an account; repeat if another server changed it, or something beside it, meanwhile."""
        for _ in range(CHANGE_TURNS_MAX):
            found = await self._find(username)
            if found is None:
                raise self._no_such(username)
            change(found.record)
            more = () if beside is None else await beside()
            try:
                replaced = await self._stored_accounts.replace(found.record.username, found, found.record, *also, *more)
            except AlreadyExists:
                if beside is None:
                    raise
                continue
            if replaced:
                await self._stored_accounts.settled()
                return found.record
        raise self._contended(username)

    async def _change_and_tell(
        self, username: str, change: Callable[[Account], None], beside: Beside | None = None
    ) -> None:
        """Make a change that ends sessions: with a new epoch, and a notice in the same transaction."""
        for _ in range(CHANGE_TURNS_MAX):
            found = await self._find(username)
            if found is None:
                raise self._no_such(username)
            change(found.record)
            if await self._replace_and_tell(found, found.record, *(() if beside is None else await beside())):
                await self._stored_accounts.settled()
                return
        raise self._contended(username)

    async def _replace_and_tell(self, found: FoundRecord[Account], changed: Account, *also: Also) -> bool:
        """Replace an account and post a notice, both or neither; False if another server changed one of them first."""
        changed.epoch += 1
        guard, put = await self._notices.posting(changed.username)
        try:
            return await self._stored_accounts.replace(changed.username, found, changed, guard, put, *also)
        except AlreadyExists:  # another server has posted a notice, or changed something beside it, meanwhile
            return False

    def _no_such(self, username: str) -> NoSuchAccount:
        return NoSuchAccount(f"there is no account {fold_username(username)!r:.80}", hint="check the spelling")

    def _contended(self, username: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"other servers changed account {fold_username(username)!r:.80} {CHANGE_TURNS_MAX} times during this change",
            hint="try again",
        )
