"""The stored account and its versions.

1. `(:version 1 :username ... :password ... :character-id ...)`: a plaintext password. No login accepts it. Its name can be
   registered again; the new account does not get the old character.
2. `(:version 2 :username ... :password-hash "salt$hash" :character-id ...)`: the specification's.
3. Without ticket families and without an epoch.
4. Without a lock.
5. Without provisional passwords.
6. The present version.
"""

from typing import Any, Final, TypeAlias

from typing_extensions import override

from realmkeep.records.fields import durable
from realmkeep.records.record import Part, Record

CHARACTERS_MAX: Final = 64
TICKETS_MAX: Final = 8  # devices
ADDRESSES_MAX: Final = 8  # networks of the most recent logins

CharacterId: TypeAlias = int | str


class Ticket(Part):
    """The stored part of a resume ticket: hashes of its secrets.

    Attributes:
        character_id: The character that it resumes; None if the account had none.
        digest: SHA-256 of the present secret, hexadecimal.
        expires_s: End of the present secret, in seconds since the Unix epoch.
        previous: SHA-256 of the earlier secret, which works until the present one is used; empty if there is none.
        previous_expires_s: End of the earlier secret, in seconds since the Unix epoch.
        family: Identifies the chain of tickets of one login: half a SHA-256 of the family in the tickets, hexadecimal. Empty
            for a ticket of version 3 until its first use.
    """

    character_id: CharacterId | None
    digest: str
    expires_s: int
    previous: str = ""
    previous_expires_s: int = 0
    family: str = ""


class Ban(Part):
    """The reason of a ban, and its end in seconds since the Unix epoch (None: until an operator lifts it)."""

    reason: str
    until_s: int | None = None


class Account(Record, kind="account", version=6):
    """One account.

    Attributes:
        username: The folded user name; also the record's id.
        password_hash: See `passwords`; empty if the account has no usable password.
        character_ids: Its characters; the first is the specification's `character-id`.
        former_character_ids: Characters of a plaintext account that had the name before; an operator may give them back.
        created_s: Time of the registration, in seconds since the Unix epoch; 0 if unknown.
        last_login_s: Time of the last login by password or ticket; None if there was none.
        ban: The ban; None without one.
        tickets: At most 8, the newest first.
        addresses: Digests of the networks from which a login succeeded, at most 8, the newest first.
        provisional: An operator has set the password; the player chooses another one at the next login.
        locked: The reason why an operator has locked it; empty if it is not locked.
        epoch: Rises with each change that ends sessions; an earlier login stays valid while its ticket's family exists.
    """

    username: str = durable()
    password_hash: str = durable(default="")
    character_ids: list[CharacterId] = durable(default_factory=list, length_max=CHARACTERS_MAX)
    former_character_ids: list[CharacterId] = durable(default_factory=list, length_max=CHARACTERS_MAX)
    created_s: int = durable(default=0, ge=0)
    last_login_s: int | None = durable(default=None)
    ban: Ban | None = durable(default=None)
    tickets: list[Ticket] = durable(default_factory=list, length_max=TICKETS_MAX)
    addresses: list[str] = durable(default_factory=list, length_max=ADDRESSES_MAX)
    epoch: int = durable(default=0, ge=0)
    locked: str = durable(default="")
    provisional: bool = durable(default=False)

    @override
    def __repr__(self) -> str:
        return f"Account({self.username!r})"

    def is_banned(self, now_s: int) -> bool:
        """Whether a ban or a lock is in force."""
        banned = self.ban is not None and (self.ban.until_s is None or now_s < self.ban.until_s)
        return banned or bool(self.locked)


@Account.migration(1)
def _without_plaintext(plain: dict[str, Any]) -> dict[str, Any]:
    """Drop the plaintext password; without a hash, no login succeeds."""
    return {"username": plain["username"], "password_hash": "", "character_id": plain.get("character_id")}


@Account.migration(2)
def _several_characters(plain: dict[str, Any]) -> dict[str, Any]:
    character_id = plain.pop("character_id", None)
    return {**plain, "character_ids": [] if character_id is None else [character_id]}


@Account.migration(3)
def _families(plain: dict[str, Any]) -> dict[str, Any]:
    """Change nothing: an old ticket gets its family at its first use."""
    return plain


@Account.migration(4)
def _lock(plain: dict[str, Any]) -> dict[str, Any]:
    """Change nothing: an older account is not locked."""
    return plain


@Account.migration(5)
def _provisional(plain: dict[str, Any]) -> dict[str, Any]:
    """Change nothing: the password of an older account is the player's own."""
    return plain
