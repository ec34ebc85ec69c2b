"""What a login gives, and whether it still holds."""

from dataclasses import dataclass, field

from realmkeep.accounts.account import Account, CharacterId
from realmkeep.accounts.tickets import IssuedTicket


@dataclass(frozen=True)
class Login:
    """A player that may come in.

    Attributes:
        username: The account, folded.
        character_id: The character to play; None if the account has no character yet.
        character_ids: All characters of the account, the first first.
        ticket: The resume ticket to hand out; empty if the store was away when it was to be kept.
        family: The family of that ticket, as the account keeps it; empty without a ticket.
        epoch: The account's at this login.
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
        account: With the ticket among its `tickets`.
        issued: The ticket to hand out; None if it was not stored.
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
