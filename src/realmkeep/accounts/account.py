"""The account as it is kept, with the versions it had before.

1. `(:version 1 :username ... :password ... :character-id ...)`: plaintext. Nobody can log in with it; its name can be
   registered again, which does not give its character to whoever does.
2. `(:version 2 :username ... :password-hash "salt$hash" :character-id ...)`: the specification's.
3. Without families of tickets, and without an epoch.
4. Today's.
"""

from typing import Any, Final, TypeAlias

from typing_extensions import override

from realmkeep.records.fields import durable
from realmkeep.records.record import Part, Record

CHARACTERS_MAX: Final = 64
TICKETS_MAX: Final = 8  # devices
ADDRESSES_MAX: Final = 8  # where the account logged in from most recently

CharacterId: TypeAlias = int | str


class Ticket(Part):
    """What is kept of a resume ticket: hashes.

    Attributes:
        character_id: The only character it resumes; None if the account had none.
        digest: SHA-256 of the present secret, hexadecimal.
        expires_s: When it ends, in seconds since the Unix epoch.
        previous: SHA-256 of the secret before it, which works until the present one is used; empty if there is none.
        previous_expires_s: When that one ends.
        family: Tells the chain of tickets that began with one login; half a SHA-256 of what the tickets carry, hexadecimal.
            Empty for a ticket that version 3 issued, until it is used.
    """

    character_id: CharacterId | None
    digest: str
    expires_s: int
    previous: str = ""
    previous_expires_s: int = 0
    family: str = ""


class Ban(Part):
    """Why an account cannot be used, and until when (seconds since the Unix epoch; None: until it is lifted)."""

    reason: str
    until_s: int | None = None


class Account(Record, kind="account", version=4):
    """One account.

    Attributes:
        username: Case-folded; also its id.
        password_hash: See `passwords`; empty if nobody can log in with a password.
        character_ids: Its characters; the first is the specification's `character-id`.
        former_character_ids: Of an account that stood here before and could not log in; for an operator to give back.
        created_s: When it was made, in seconds since the Unix epoch; 0 if unknown.
        last_login_s: The last login by password or ticket; None if never.
        ban: None if it is not banned.
        tickets: At most 8, the newest first.
        addresses: Digests of the networks where a password was right, at most 8, the newest first.
        epoch: Rises with each change that ends sessions; a login of an earlier epoch holds while its ticket's family does.
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

    @override
    def __repr__(self) -> str:
        return f"Account({self.username!r})"

    def is_banned(self, now_s: int) -> bool:
        """Whether a ban is in force."""
        return self.ban is not None and (self.ban.until_s is None or now_s < self.ban.until_s)


@Account.migration(1)
def _without_plaintext(plain: dict[str, Any]) -> dict[str, Any]:
    """Drop the password itself: what is left lets nobody in."""
    return {"username": plain["username"], "password_hash": "", "character_id": plain.get("character_id")}


@Account.migration(2)
def _several_characters(plain: dict[str, Any]) -> dict[str, Any]:
    character_id = plain.pop("character_id", None)
    return {**plain, "character_ids": [] if character_id is None else [character_id]}


@Account.migration(3)
def _families(plain: dict[str, Any]) -> dict[str, Any]:
    """A ticket of before gets its family when it is used; there is nothing to change."""
    return plain
