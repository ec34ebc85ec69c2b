"""Acts on accounts: ban, lock, sign out, a new password."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.accounts import Argon2Cost, Pbkdf2Cost, fold_username, hash_password
from realmkeep.accounts.password_rules import PasswordRules
from realmkeep.errors import ActRefused, NoSuchAccount
from realmkeep.operations.operators.bans import banning, check_ban, unbanning
from realmkeep.operations.operators.roles import check_grant

if TYPE_CHECKING:
    from realmkeep.accounts.admin import Beside
    from realmkeep.config import AuthConfig
    from realmkeep.operations.operators.acts import Acts
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.operations.operators.orders import Outcome

SYLLABLES: Final = 12  # of 6.7 bits each: 80 bits, to be read out and typed once
_CONSONANTS: Final = "bcdfghjklmnpqrstvwxyz"
_VOWELS: Final = "aeiou"


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """One account as operators see it: without hashes and secrets.

    Attributes:
        username: Its name.
        character_ids: Its characters.
        former_character_ids: Characters of a plaintext account that had the name before.
        created_s: In seconds since the Unix epoch; 0 if unknown.
        last_login_s: In seconds since the Unix epoch; None if there was none.
        devices: The number of tickets.
        usable: It has a password.
        provisional: An operator has set it, and the player has not chosen another one yet.
        ban: The reason of a ban; empty without one.
        ban_until_s: Its end; None for one without an end, or no ban.
        locked: The reason of a lock; empty without one.
    """

    username: str
    character_ids: tuple[Any, ...]
    former_character_ids: tuple[Any, ...]
    created_s: int
    last_login_s: int | None
    devices: int
    usable: bool
    provisional: bool
    ban: str
    ban_until_s: int | None
    locked: str


class AccountActs:
    """The acts of operators on accounts, which no server owns.

    Args:
        acts: Runs them, with their entries in the audit trail.
        auth: Hashing, and the length of a password.
    """

    def __init__(self, acts: Acts, auth: AuthConfig) -> None:
        self._acts = acts
        self._accounts = acts.accounts
        self._rules = PasswordRules(auth.password_length_min, auth.realm_name)
        self._cost = Argon2Cost() if auth.hash == "argon2id" else Pbkdf2Cost()

    async def show(self, by: Operator, username: str) -> AccountView:
        """One account.

        Raises:
            NotGranted: The role is too low.
            ActRefused: There is no such account.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "show")
        try:
            account = await self._accounts.account(username)
        except NoSuchAccount as error:
            raise ActRefused(error.message, hint=error.hint) from error
        return AccountView(
            username=account.username,
            character_ids=tuple(account.character_ids),
            former_character_ids=tuple(account.former_character_ids),
            created_s=account.created_s,
            last_login_s=account.last_login_s,
            devices=len(account.tickets),
            usable=bool(account.password_hash),
            provisional=account.provisional,
            ban="" if account.ban is None else account.ban.reason,
            ban_until_s=None if account.ban is None else account.ban.until_s,
            locked=account.locked,
        )

    async def ban(
        self, by: Operator, username: str, *, reason: str, lasts_s: float | None = None, act_id: str = ""
    ) -> Outcome:
        """Ban an account, as `Acts.ban` that of a player.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: As all acts; also if there is no such account.
            StorageError: The store cannot be reached.
        """
        check_ban(by, lasts_s)
        change = banning(self._accounts, username, reason, self._acts.until_s(lasts_s))
        name = fold_username(username)
        return await self._acts.on_account(by, "ban", name, {"lasts_s": lasts_s}, reason, act_id, change)

    async def unban(self, by: Operator, username: str, *, reason: str, act_id: str = "") -> Outcome:
        """Lift the ban of an account; without a ban nothing changes.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: As all acts; also if there is no such account.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "unban")
        change = unbanning(self._accounts, username)
        return await self._acts.on_account(by, "unban", fold_username(username), {}, reason, act_id, change)

    async def lock(self, by: Operator, username: str, *, reason: str, act_id: str = "") -> Outcome:
        """Lock an account that may be in foreign hands: its sessions end, and no login succeeds until `unlock`.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: As all acts; also if there is no such account.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "lock")

        async def change(beside: Beside) -> None:
            await self._accounts.lock(username, reason, beside=beside)

        return await self._acts.on_account(by, "lock", fold_username(username), {}, reason, act_id, change)

    async def unlock(self, by: Operator, username: str, *, reason: str, act_id: str = "") -> Outcome:
        """End the lock of an account.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: As all acts; also if there is no such account.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "unlock")

        async def change(beside: Beside) -> None:
            await self._accounts.unlock(username, beside=beside)

        return await self._acts.on_account(by, "unlock", fold_username(username), {}, reason, act_id, change)

    async def sign_out(self, by: Operator, username: str, *, reason: str, act_id: str = "") -> Outcome:
        """End every session and every ticket of an account; its password stays.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: As all acts; also if there is no such account.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "sign-out")

        async def change(beside: Beside) -> None:
            await self._accounts.logout_everywhere(username, beside=beside)

        return await self._acts.on_account(by, "sign-out", fold_username(username), {}, reason, act_id, change)

    async def reset_password(
        self, by: Operator, username: str, password: str, *, reason: str, act_id: str = ""
    ) -> Outcome:
        """Set a new password; sessions and tickets end. The player chooses another one at the next login.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: As all acts; also if there is no such account.
            AuthFailed: `weak_password`.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "reset-password")
        hashed = await asyncio.to_thread(self._hash, fold_username(username), password)

        async def change(beside: Beside) -> None:
            await self._accounts.set_password_hash(username, hashed, beside=beside)

        return await self._acts.on_account(by, "reset-password", fold_username(username), {}, reason, act_id, change)

    def _hash(self, name: str, password: str) -> str:
        """The hash of a password under the rules. Blocks: it reads the list of common passwords."""
        self._rules.check_password(password, username=name)
        return hash_password(password, self._cost)


def new_password() -> str:
    """A random password of 80 bits that can be read out: `bozi-kepa-...`."""
    spoken = [secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(SYLLABLES)]
    return "-".join("".join(spoken[at : at + 2]) for at in range(0, SYLLABLES, 2))
