"""Tickets: one family for each device, of which the last two links work, and any other ends it."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realmkeep.accounts.account import TICKETS_MAX, Account, Ticket
from realmkeep.accounts.tickets import (
    TICKET_S,
    IssuedTicket,
    SupersededTicket,
    issue_ticket,
    redeem_ticket,
    ticket_username,
    without_family,
)

NOW = 1_767_225_600


def an_account() -> Account:
    return Account(username="ada", password_hash="x", character_ids=[7, 8])


def issued(account: Account, now_s: int = NOW, character_id: int | None = 7) -> str:
    made = issue_ticket(account, character_id, now_s)
    account.tickets = made.kept
    return made.ticket


def redeemed(account: Account, ticket: str, now_s: int = NOW) -> str | None:
    """The next ticket; None if it is refused, and then its family has ended if it was superseded."""
    renewed = redeem_ticket(account, ticket, now_s)
    if renewed is None:
        return None
    if isinstance(renewed, SupersededTicket):
        account.tickets = without_family(account, renewed.family)
        return None
    account.tickets = renewed.kept
    return renewed.ticket


def works(account: Account, ticket: str, now_s: int = NOW) -> bool:
    return isinstance(redeem_ticket(account, ticket, now_s), IssuedTicket)


def test_only_hashes_are_kept_of_256_random_bits() -> None:
    account = an_account()
    ticket = issued(account)
    name, _, secret = ticket.rpartition(".")
    assert name == ticket_username(ticket) == "ada"
    family, secret = secret[:32], secret[32:]
    assert len(bytes.fromhex(secret)) == 32
    assert account.tickets[0].digest == hashlib.sha256(bytes.fromhex(secret)).hexdigest()
    assert account.tickets[0].family == hashlib.sha256(bytes.fromhex(family)).hexdigest()[:32]
    assert secret not in repr(account.tickets)
    assert family not in repr(account.tickets)
    assert len({issued(an_account()) for _ in range(100)}) == 100


def test_a_ticket_works_until_the_one_it_gave_was_used() -> None:
    account = an_account()
    first = issued(account)
    redeemed(account, first)  # the answer with it never arrived
    second = redeemed(account, first)
    assert second is not None
    third = redeemed(account, second)
    assert third is not None
    assert redeemed(account, second) is not None, "its answer was lost, too"


@pytest.mark.parametrize("shown", ["superseded", "displaced"])
def test_a_ticket_of_two_programs_ends_its_family_and_no_other(shown: str) -> None:
    account = an_account()
    other = issued(account)
    first = issued(account)
    displaced = redeemed(account, first) or ""  # one program used the first ticket, and has this
    second = redeemed(account, first) or ""  # so did the other
    third = redeemed(account, second) or ""
    stolen = first if shown == "superseded" else displaced
    assert redeemed(account, stolen) is None
    assert not works(account, third)
    assert not works(account, second)
    assert works(account, other)


def test_what_was_never_a_ticket_of_the_family_ends_it_only_with_its_name() -> None:
    """The name of a family stands in its tickets alone."""
    account = an_account()
    ticket = issued(account)
    assert redeem_ticket(account, "ada." + "0" * 96, NOW) is None
    assert isinstance(redeem_ticket(account, ticket[:-64] + "0" * 64, NOW), SupersededTicket)


def test_tickets_of_version_3_work_once_more_and_begin_a_family() -> None:
    account = an_account()
    secret, before = "ab" * 32, "cd" * 32
    digest, previous = (hashlib.sha256(bytes.fromhex(each)).hexdigest() for each in (secret, before))
    old = Ticket(7, digest, NOW + TICKET_S, previous, NOW + TICKET_S)
    account.tickets = [old]
    assert works(account, "ada." + before)
    next_one = redeemed(account, "ada." + secret)
    assert next_one is not None
    assert account.tickets[0].family
    assert works(account, "ada." + secret), "the answer may have been lost"
    assert redeemed(account, next_one) is not None
    assert redeem_ticket(account, "ada." + secret, NOW) is None, "nobody can say of which family it was"


def test_a_ticket_ends_after_a_day_and_its_use_lengthens_only_the_new_one() -> None:
    account = an_account()
    first = issued(account)
    assert works(account, first, NOW + TICKET_S - 1)
    assert redeem_ticket(account, first, NOW + TICKET_S) is None
    second = redeemed(account, first, NOW + TICKET_S - 1)
    assert second is not None
    assert redeem_ticket(account, first, NOW + TICKET_S) is None
    assert works(account, second or "", NOW + 2 * TICKET_S - 2)
    assert redeem_ticket(account, second or "", NOW + 2 * TICKET_S - 1) is None


def test_at_most_eight_devices_have_a_ticket_and_the_oldest_ends() -> None:
    account = an_account()
    tickets = [issued(account) for _ in range(TICKETS_MAX + 2)]
    assert len(account.tickets) == TICKETS_MAX
    alive = [works(account, ticket) for ticket in tickets]
    assert alive == [False, False, *[True] * TICKETS_MAX]


def test_a_used_ticket_is_the_newest_device() -> None:
    account = an_account()
    first = issued(account)
    others = [issued(account) for _ in range(TICKETS_MAX - 1)]
    renewed = redeemed(account, first)
    issued(account)
    assert renewed is not None
    assert works(account, renewed)
    assert redeem_ticket(account, others[0], NOW) is None


def test_tickets_that_ran_out_make_room() -> None:
    account = an_account()
    issued(account)
    issued(account, NOW + TICKET_S)
    assert len(account.tickets) == 1


def test_a_ticket_is_bound_to_its_account_and_its_character() -> None:
    account, other = an_account(), Account(username="bea", password_hash="x", character_ids=[7])
    ticket = issued(account, character_id=8)
    other.tickets = account.tickets
    assert redeem_ticket(other, ticket, NOW) is None
    assert redeem_ticket(other, "bea" + ticket[3:], NOW) is None  # 8 is not a character of bea
    made = redeem_ticket(account, ticket, NOW)
    assert isinstance(made, IssuedTicket)
    assert made.character_id == 8
    account.character_ids = [7]
    assert redeem_ticket(account, ticket, NOW) is None


@pytest.mark.parametrize(
    "ticket",
    [
        "",
        ".",
        "ada",
        "ada.",
        "ada." + "0" * 63,
        "ada." + "0" * 65,
        "." + "0" * 64,
        "ada." + "G" * 64,
        "ada." + "0" * 95,
    ],
)
def test_what_is_not_a_ticket_is_not_redeemed(ticket: str) -> None:
    account = an_account()
    issued(account)
    assert redeem_ticket(account, ticket, NOW) is None


def test_every_changed_character_makes_it_another_ticket() -> None:
    account = an_account()
    ticket = issued(account)
    for index in range(len(ticket)):
        changed = ticket[:index] + ("0" if ticket[index] != "0" else "1") + ticket[index + 1 :]
        assert not works(account, changed)
    assert redeem_ticket(account, ticket.upper(), NOW) is None


def test_an_empty_previous_hash_matches_nothing() -> None:
    account = an_account()
    issued(account)
    assert account.tickets[0].previous == ""
    assert redeem_ticket(account, "ada.", NOW) is None


@given(st.data())
@settings(max_examples=100)
def test_of_each_device_the_last_two_tickets_work_until_another_of_them_is_shown(data: st.DataObject) -> None:
    account = an_account()
    ever: list[tuple[str, int]] = []  # every ticket, and its device
    alive: list[tuple[int, list[str]]] = []  # of each device: the present one, and the one it came from
    for turn in range(data.draw(st.integers(0, 25))):
        if not ever or data.draw(st.booleans()):
            ticket, device = issued(account), turn
            alive.insert(0, (device, [ticket]))
            del alive[TICKETS_MAX:]
        else:
            shown, device = data.draw(st.sampled_from(ever))
            ours = next((each for each in alive if each[0] == device), None)
            renewed = redeemed(account, shown)
            assert (renewed is None) == (ours is None or shown not in ours[1])
            if ours is not None:
                alive.remove(ours)
            if renewed is None:
                continue
            ticket = renewed
            alive.insert(0, (device, [renewed, shown]))
        ever.append((ticket, device))
    for ticket, _ in ever:
        assert works(account, ticket) == any(ticket in each for _, each in alive)
    assert repr(issue_ticket(account, 7, NOW)).count("ada.") == 0
