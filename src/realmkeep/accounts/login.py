"""The result of a login."""

from dataclasses import dataclass, field

from realmkeep.accounts.account import Account, CharacterId
from realmkeep.accounts.tickets import IssuedTicket


@dataclass(frozen=True)
class Login:
    """A successful login.

    Attributes:
        username: The account, folded.
        character_id: The character to play; None if the account has no character yet.
        character_ids: All characters of the account, in order.
        ticket: The resume ticket for the client; empty if the store could not be reached to keep it.
        family: The family of the ticket, as the account stores it; empty without a ticket.
        epoch: The account's epoch at this login.
    """

    username: str
    character_id: CharacterId | None
    character_ids: tuple[CharacterId, ...]
    ticket: str = field(repr=False)
    family: str = field(default="", repr=False)
    epoch: int = 0


def first_character(account: Account) -> CharacterId | None:
    """The account's first character; None if it has none."""
    return account.character_ids[0] if account.character_ids else None


def login_of(account: Account, issued: IssuedTicket | None, playing: CharacterId | None = None) -> Login:
    """The login of an account as it is stored now.

    Args:
        account: The account, with the ticket among its `tickets`.
        issued: The ticket for the client; None if it was not stored.
        playing: The character to play; None: the first.
    """
    return Login(
        account.username,
        first_character(account) if playing is None else playing,
        tuple(account.character_ids),
        issued.ticket if issued else "",
        issued.family if issued else "",
        account.epoch,
    )
