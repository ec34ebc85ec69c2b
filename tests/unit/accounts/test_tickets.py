"""Tickets: one chain for each device, of which the last two links work."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realmkeep.accounts.account import TICKETS_MAX, Account
from realmkeep.accounts.tickets import TICKET_S, issue_ticket, redeem_ticket, ticket_username

NOW = 1_767_225_600


def an_account() -> Account:
    return Account(username="ada", password_hash="x", character_ids=[7, 8])


def issued(account: Account, now_s: int = NOW, character_id: int | None = 7) -> str:
    made = issue_ticket(account, character_id, now_s)
    account.tickets = made.kept
    return made.ticket


def redeemed(account: Account, ticket: str, now_s: int = NOW) -> str | None:
    renewed = redeem_ticket(account, ticket, now_s)
    if renewed is None:
        return None
    account.tickets = renewed.kept
    return renewed.ticket


def test_only_hashes_are_kept_of_256_random_bits() -> None:
    account = an_account()
    ticket = issued(account)
    name, _, secret = ticket.rpartition(".")
    assert name == ticket_username(ticket) == "ada"
    assert len(bytes.fromhex(secret)) == 32
    assert account.tickets[0].digest == hashlib.sha256(bytes.fromhex(secret)).hexdigest()
    assert secret not in repr(account.tickets)
    assert len({issued(an_account()) for _ in range(100)}) == 100


def test_a_ticket_works_until_the_one_it_gave_was_used() -> None:
    account = an_account()
    first = issued(account)
    lost = redeemed(account, first)  # the answer with it never arrived
    second = redeemed(account, first)
    assert second is not None
    assert redeemed(account, lost or "") is None
    third = redeemed(account, second)
    assert third is not None
    assert redeemed(account, first) is None
    assert redeemed(account, second) is not None


def test_a_ticket_ends_after_a_day_and_its_use_lengthens_only_the_new_one() -> None:
    account = an_account()
    first = issued(account)
    assert redeem_ticket(account, first, NOW + TICKET_S - 1) is not None
    assert redeem_ticket(account, first, NOW + TICKET_S) is None
    second = redeemed(account, first, NOW + TICKET_S - 1)
    assert second is not None
    assert redeem_ticket(account, first, NOW + TICKET_S) is None
    assert redeem_ticket(account, second, NOW + 2 * TICKET_S - 2) is not None
    assert redeem_ticket(account, second, NOW + 2 * TICKET_S - 1) is None


def test_at_most_eight_devices_have_a_ticket_and_the_oldest_ends() -> None:
    account = an_account()
    tickets = [issued(account) for _ in range(TICKETS_MAX + 2)]
    assert len(account.tickets) == TICKETS_MAX
    works = [redeem_ticket(account, ticket, NOW) is not None for ticket in tickets]
    assert works == [False, False, *[True] * TICKETS_MAX]


def test_a_used_ticket_is_the_newest_device() -> None:
    account = an_account()
    first = issued(account)
    others = [issued(account) for _ in range(TICKETS_MAX - 1)]
    renewed = redeemed(account, first)
    issued(account)
    assert renewed is not None
    assert redeem_ticket(account, renewed, NOW) is not None
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
    assert made is not None
    assert made.character_id == 8
    account.character_ids = [7]
    assert redeem_ticket(account, ticket, NOW) is None


@pytest.mark.parametrize(
    "ticket", ["", ".", "ada", "ada.", "ada." + "0" * 63, "ada." + "0" * 65, "." + "0" * 64, "ada." + "G" * 64]
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
        assert redeem_ticket(account, changed, NOW) is None
    assert redeem_ticket(account, ticket.upper(), NOW) is None


def test_an_empty_previous_hash_matches_nothing() -> None:
    account = an_account()
    issued(account)
    assert account.tickets[0].previous == ""
    assert redeem_ticket(account, "ada.", NOW) is None


@given(st.data())
@settings(max_examples=100)
def test_of_each_device_the_last_ticket_and_the_one_it_came_from_work_and_no_other(data: st.DataObject) -> None:
    account = an_account()
    ever: list[str] = []
    works: list[list[str]] = []  # of each device: [present, the one it came from]
    for _ in range(data.draw(st.integers(0, 25))):
        if not ever or data.draw(st.booleans()):
            ticket = issued(account)
            works.insert(0, [ticket])
            del works[TICKETS_MAX:]
        else:
            shown = data.draw(st.sampled_from(ever))
            renewed = redeemed(account, shown)
            device = next((each for each in works if shown in each), None)
            assert (renewed is None) == (device is None)
            if renewed is None or device is None:
                continue
            works.remove(device)
            works.insert(0, [renewed, shown])
            ticket = renewed
        ever.append(ticket)
    for ticket in ever:
        assert (redeem_ticket(account, ticket, NOW) is not None) == any(ticket in each for each in works)
    assert repr(issue_ticket(account, 7, NOW)).count("ada.") == 0
