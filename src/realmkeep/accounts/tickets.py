"""Resume tickets: the way back after a crash, without a password and without the price of hashing one.

A ticket is the user name and 256 random bits; the account keeps SHA-256 of the bits. Each use gives a new ticket. The one
before it goes on working until the new one is used, because the answer that carried the new one may have been lost.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from realmkeep.accounts.account import TICKETS_MAX, Account, CharacterId, Ticket

TICKET_S: Final = 24 * 3600
_SECRET_BYTES: Final = 32
_TICKET: Final = re.compile(r"(.+)\.([0-9a-f]{64})", re.DOTALL)


@dataclass(frozen=True)
class IssuedTicket:
    """A ticket for a client, and what the account keeps from now on.

    Attributes:
        ticket: The text for the client.
        kept: The account's new `tickets`.
        character_id: The character that it resumes.
    """

    ticket: str = field(repr=False)
    kept: list[Ticket] = field(repr=False)
    character_id: CharacterId | None


def issue_ticket(account: Account, character_id: CharacterId | None, now_s: int) -> IssuedTicket:
    """A ticket for another device; of more than 8 the oldest ends, and those that have run out are dropped."""
    ticket, digest = _new_ticket(account)
    alive = [each for each in account.tickets if now_s < each.expires_s]
    kept = [Ticket(character_id=character_id, digest=digest, expires_s=now_s + TICKET_S), *alive][:TICKETS_MAX]
    return IssuedTicket(ticket, kept, character_id)


def redeem_ticket(account: Account, ticket: str, now_s: int) -> IssuedTicket | None:
    """Exchange a ticket for a new one; None if it is not one of this account's, has run out, or was superseded."""
    match = _TICKET.fullmatch(ticket)
    if match is None or match[1] != account.username:
        return None
    shown = _digest(match[2])
    for index, each in enumerate(account.tickets):
        if _same(shown, each.digest) and now_s < each.expires_s:
            before, before_expires_s = each.digest, each.expires_s
        elif _same(shown, each.previous) and now_s < each.previous_expires_s:
            before, before_expires_s = each.previous, each.previous_expires_s
        else:
            continue
        if each.character_id is not None and each.character_id not in account.character_ids:
            return None
        renewed, digest = _new_ticket(account)
        newest = Ticket(
            character_id=each.character_id,
            digest=digest,
            expires_s=now_s + TICKET_S,
            previous=before,
            previous_expires_s=before_expires_s,
        )
        others = account.tickets[:index] + account.tickets[index + 1 :]
        return IssuedTicket(renewed, [newest, *others], each.character_id)
    return None


def ticket_username(ticket: str) -> str | None:
    """The user name in a ticket; None if it is not one."""
    match = _TICKET.fullmatch(ticket)
    return match[1] if match else None


def _new_ticket(account: Account) -> tuple[str, str]:
    secret = secrets.token_hex(_SECRET_BYTES)
    return f"{account.username}.{secret}", _digest(secret)


def _digest(secret: str) -> str:
    return hashlib.sha256(bytes.fromhex(secret)).hexdigest()


def _same(shown: str, kept: str) -> bool:
    return hmac.compare_digest(shown.encode(), kept.encode("utf-8", "surrogatepass"))
