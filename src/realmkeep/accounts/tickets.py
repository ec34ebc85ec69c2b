"""Resume tickets: logins after a crash or a lost connection, without a password and without the cost of a hash.

A ticket is the user name, 128 random bits that name its family, and 256 random bits of secret; the account stores hashes of
both. A login with a password begins a family, and each use of a ticket gives the next one of the same family. The earlier ticket
stays valid until the new one is used, because the answer with the new one may have been lost.

Any other ticket of a family was superseded. If one is used again, two programs have the same ticket, so one of them has stolen
it. The server cannot tell which one, so the whole family ends (RFC 9700, section 4.14.2, of refresh tokens).
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

import msgspec

from realmkeep.accounts.account import TICKETS_MAX, Account, CharacterId, Ticket

TICKET_S: Final = 24 * 3600
_SECRET_BYTES: Final = 32
_FAMILY_BYTES: Final = 16
_TICKET: Final = re.compile(r"(.+)\.([0-9a-f]{32})?([0-9a-f]{64})", re.DOTALL)  # version 3 issued them without a family


@dataclass(frozen=True)
class IssuedTicket:
    """A ticket for a client, and the account's tickets after its issue.

    Attributes:
        ticket: The text for the client.
        kept: The account's new `tickets`.
        character_id: The character that it resumes.
        family: The family as the account stores it.
    """

    ticket: str = field(repr=False)
    kept: list[Ticket] = field(repr=False)
    character_id: CharacterId | None
    family: str = field(repr=False)


@dataclass(frozen=True)
class SupersededTicket:
    """A ticket of an existing family that is neither the latest nor the one before.

    Attributes:
        family: The family, which must end.
    """

    family: str = field(repr=False)


def issue_ticket(account: Account, character_id: CharacterId | None, now_s: int) -> IssuedTicket:
    """Issue a ticket of a new family; expired tickets are dropped, and beyond 8 the oldest one ends."""
    alive = [each for each in account.tickets if now_s < each.expires_s]
    return _issued(account, Ticket(character_id, "", 0), alive, now_s, secrets.token_hex(_FAMILY_BYTES))


def redeem_ticket(account: Account, ticket: str, now_s: int) -> IssuedTicket | SupersededTicket | None:
    """Exchange a ticket for the next one of its family; None if the ticket is not this account's or has expired."""
    match = _TICKET.fullmatch(ticket)
    if match is None or match[1] != account.username:
        return None
    family = _family(match[2]) if match[2] else ""
    shown = _digest(match[3])
    for each in account.tickets:
        if family and each.family and not _same(family, each.family):
            continue
        if _same(shown, each.digest):
            before, before_expires_s = each.digest, each.expires_s
        elif _same(shown, each.previous):
            before, before_expires_s = each.previous, each.previous_expires_s
        elif family and each.family:
            return SupersededTicket(each.family)
        else:
            continue
        foreign = each.character_id is not None and each.character_id not in account.character_ids
        if foreign or now_s >= before_expires_s:
            return None
        others = [other for other in account.tickets if other is not each]
        link = msgspec.structs.replace(each, previous=before, previous_expires_s=before_expires_s)
        named = match[2] if each.family else ""
        return _issued(account, link, others, now_s, named or secrets.token_hex(_FAMILY_BYTES))
    return None


def without_family(account: Account, family: str) -> list[Ticket]:
    """The account's tickets without those of a family."""
    return [each for each in account.tickets if each.family != family]


def ticket_username(ticket: str) -> str | None:
    """The user name in a ticket; None if the text is no ticket."""
    match = _TICKET.fullmatch(ticket)
    return match[1] if match else None


def _issued(account: Account, link: Ticket, others: list[Ticket], now_s: int, named: str) -> IssuedTicket:
    """A ticket with a fresh secret in place of the link's; `named` is the family as tickets carry it."""
    secret = secrets.token_hex(_SECRET_BYTES)
    newest = msgspec.structs.replace(link, digest=_digest(secret), expires_s=now_s + TICKET_S, family=_family(named))
    ticket = f"{account.username}.{named}{secret}"
    return IssuedTicket(ticket, [newest, *others][:TICKETS_MAX], newest.character_id, newest.family)


def _digest(secret: str) -> str:
    return hashlib.sha256(bytes.fromhex(secret)).hexdigest()


def _family(named: str) -> str:
    return _digest(named)[:32]


def _same(shown: str, kept: str) -> bool:
    return hmac.compare_digest(shown.encode(), kept.encode("utf-8", "surrogatepass"))
