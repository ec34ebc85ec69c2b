"""Accounts as the game and its operators see and change them: no password is needed here, and none is looked at.

Every change is safe when it returns, on a store that may lose its last second, too: nobody remembers an account that is lost.
A change that ends sessions is noticed by every server within a second or two: the notice is part of its transaction.
"""

from collections.abc import Callable
from typing import Final

from realmkeep.accounts.account import CHARACTERS_MAX, Account, Ban, CharacterId
from realmkeep.accounts.lookalikes import Lookalikes
from realmkeep.accounts.names import fold_username
from realmkeep.accounts.notices import AccountNotices
from realmkeep.accounts.tickets import without_family
from realmkeep.clock import Clock
from realmkeep.errors import AccountError, AlreadyExists, InvalidKey, NoSuchAccount, StorageUnavailable
from realmkeep.keeping.unowned_records import Also, Shelf, Shelved

CHANGE_TURNS_MAX: Final = 10  # two servers that change one account at once are rare; ten times in a row is a fault


class AccountBook:
    """The accounts of a realm.

    Args:
        shelf: Where they are kept.
        notices: Tells other servers of changes that end sessions.
        lookalikes: Gives the look of a name free with its account.
        clock: For the ends of bans.
    """

    def __init__(self, shelf: Shelf[Account], notices: AccountNotices, lookalikes: Lookalikes, clock: Clock) -> None:
        self._shelf = shelf
        self._notices = notices
        self._lookalikes = lookalikes
        self._clock = clock

    async def exists(self, username: str) -> bool:
        """Whether the name is taken. A plaintext account of version 1 does not keep it from being registered again.

        Raises:
            Quarantined: Something unreadable lies there, so the name is not free.
            StorageUnavailable: The store cannot be reached.
        """
        found = await self._find(username)
        return found is not None and bool(found.record.password_hash)

    async def account(self, username: str) -> Account:
        """The account as it is stored now, for an operator to look at.

        Raises:
            NoSuchAccount: There is none.
            Quarantined: It cannot be read.
            StorageUnavailable: The store cannot be reached.
        """
        found = await self._find(username)
        if found is None:
            raise self._no_such(username)
        return found.record

    async def character_id(self, username: str) -> CharacterId | None:
        """The account's first character; None if it has none.

        Raises:
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageUnavailable: The store cannot be reached.
        """
        characters = (await self.account(username)).character_ids
        return characters[0] if characters else None

    async def character_ids(self, username: str) -> list[CharacterId]:
        """All its characters, the first first.

        Raises:
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageUnavailable: The store cannot be reached.
        """
        return (await self.account(username)).character_ids

    async def set_character_id(self, username: str, character_id: CharacterId, *also: Also) -> None:
        """Make a character the account's first, linking it if it is not yet.

        Args:
            username: The account.
            character_id: The character; that it exists is the caller's to know.
            also: Guards and effects of the same transaction, such as those of `new_record` for a new character.

        Raises:
            AccountError: The account has 64 characters.
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached, or its answer was lost.
        """

        def first(account: Account) -> None:
            others = [each for each in account.character_ids if each != character_id]
            if len(others) >= CHARACTERS_MAX:
                raise AccountError(f"{account.username} has {CHARACTERS_MAX} characters", hint="remove one first")
            account.character_ids = [character_id, *others]

        await self._change(username, first, *also)

    async def add_character_id(self, username: str, character_id: CharacterId, *also: Also) -> None:
        """Link another character, after those there are; linking one again changes nothing.

        Raises:
            AccountError: The account has 64 characters.
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached, or its answer was lost.
        """

        def last(account: Account) -> None:
            if character_id in account.character_ids:
                return
            if len(account.character_ids) >= CHARACTERS_MAX:
                raise AccountError(f"{account.username} has {CHARACTERS_MAX} characters", hint="remove one first")
            account.character_ids = [*account.character_ids, character_id]

        await self._change(username, last, *also)

    async def remove_character_id(self, username: str, character_id: CharacterId, *also: Also) -> None:
        """Unlink a character; its tickets end with it. The character's record is not touched unless `also` deletes it.

        Raises:
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached, or its answer was lost.
        """

        def without(account: Account) -> None:
            account.character_ids = [each for each in account.character_ids if each != character_id]
            account.tickets = [each for each in account.tickets if each.character_id != character_id]

        await self._change(username, without, *also)

    async def ban(self, username: str, reason: str, *, until_s: int | None = None) -> None:
        """Refuse logins, and end every ticket in the same write; servers end the account's sessions within two seconds.

        Args:
            username: The account.
            reason: For the operators; players are not told.
            until_s: When it ends, in seconds since the Unix epoch; None: when it is lifted.

        Raises:
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached, or its answer was lost.
        """

        def banned(account: Account) -> None:
            account.ban = Ban(reason=reason, until_s=until_s)
            account.tickets = []

        await self._change_and_tell(username, banned)

    async def lift_ban(self, username: str) -> None:
        """Allow logins again; without a ban nothing changes.

        Raises:
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached, or its answer was lost.
        """

        def free(account: Account) -> None:
            account.ban = None

        await self._change(username, free)

    async def logout_everywhere(self, username: str) -> None:
        """End every ticket in one write; servers end the account's sessions within two seconds.

        Raises:
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached, or its answer was lost.
        """

        def without_tickets(account: Account) -> None:
            account.tickets = []

        await self._change_and_tell(username, without_tickets)

    async def end_family(self, username: str, family: str, *, stolen: bool = False) -> None:
        """End the tickets of one family: of a device that logs out, or whose ticket was stolen. Harmless if it has ended.

        Args:
            username: The account.
            family: As `Login.family` has it; empty: nothing to end.
            stolen: Servers end the session that the family began, too.

        Raises:
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached, or its answer was lost.
        """

        def without(account: Account) -> None:
            account.tickets = without_family(account, family)

        found = await self.account(username)
        if family and len(without_family(found, family)) < len(found.tickets):
            await (self._change_and_tell if stolen else self._change)(username, without)

    async def delete(self, username: str, *also: Also) -> None:
        """Delete the account, and in the same transaction whatever `also` says, such as its characters.

        Raises:
            NoSuchAccount: There is no such account.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached, or its answer was lost.
        """
        for _ in range(CHANGE_TURNS_MAX):
            found = await self._find(username)
            if found is None:
                raise self._no_such(username)
            guard, put = await self._notices.posting(found.record.username)
            look = await self._lookalikes.release(found.record.username)
            try:
                if await self._shelf.remove(found.record.username, found, guard, put, *look, *also):
                    await self._shelf.settled()
                    return
            except AlreadyExists:
                unchanged = (await self._notices.posting(found.record.username))[0] == guard
                if unchanged and await self._lookalikes.release(found.record.username) == look:
                    raise  # neither was faster: it is a guard of the caller's
        raise self._contended(username)

    async def _find(self, username: str) -> Shelved[Account] | None:
        try:
            return await self._shelf.get(fold_username(username))
        except InvalidKey:
            return None

    async def _change(self, username: str, change: Callable[[Account], None], *also: Also) -> Account:
        """Read, change and replace, again if somebody else was faster."""
        for _ in range(CHANGE_TURNS_MAX):
            found = await self._find(username)
            if found is None:
                raise self._no_such(username)
            change(found.record)
            if await self._shelf.replace(found.record.username, found, found.record, *also):
                await self._shelf.settled()
                return found.record
        raise self._contended(username)

    async def _change_and_tell(self, username: str, change: Callable[[Account], None]) -> None:
        """Change what ends sessions: a new epoch, and a notice in the same transaction."""
        for _ in range(CHANGE_TURNS_MAX):
            found = await self._find(username)
            if found is None:
                raise self._no_such(username)
            change(found.record)
            if await self._replace_and_tell(found, found.record):
                await self._shelf.settled()
                return
        raise self._contended(username)

    async def _replace_and_tell(self, found: Shelved[Account], changed: Account) -> bool:
        """Replace an account and post a notice, both or neither; False if another server changed one of them first."""
        changed.epoch += 1
        guard, put = await self._notices.posting(changed.username)
        try:
            return await self._shelf.replace(changed.username, found, changed, guard, put)
        except AlreadyExists:  # another notice was faster
            return False

    def _no_such(self, username: str) -> NoSuchAccount:
        return NoSuchAccount(f"there is no account {fold_username(username)!r:.80}", hint="check the spelling")

    def _contended(self, username: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"account {fold_username(username)!r:.80} changed {CHANGE_TURNS_MAX} times while it was to be changed",
            hint="try again",
        )
