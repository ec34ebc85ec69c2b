"""Accounts of every version that was ever stored."""

from pathlib import Path

import pytest

from realmkeep.accounts.account import Account, Ban, Ticket
from realmkeep.records.codecs import CODECS, Codec, encode
from realmkeep.records.loading import load
from realmkeep.records.migrations import check_migrations
from realmkeep.testing.golden import check_golden

GOLDEN = Path(__file__).parents[2] / "golden" / "account"
FULL = Account(
    username="player1",
    password_hash="$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    character_ids=[12345, "hero-of-text"],
    former_character_ids=[7],
    created_s=1_767_225_600,
    last_login_s=1_767_225_700,
    ban=Ban(reason="duping", until_s=None),
    tickets=[
        Ticket(character_id=12345, digest="ab" * 32, expires_s=5),
        Ticket(None, "cd" * 32, 6, "ef" * 32, 4, "09" * 16),
    ],
    addresses=["00ff" * 8],
    epoch=3,
)


def test_stored_accounts_of_every_version_still_load() -> None:
    check_golden(Account, GOLDEN)
    check_migrations(Account)


@pytest.mark.parametrize("codec", CODECS)
def test_an_account_survives_either_format(codec: Codec) -> None:
    assert load(encode(FULL, codec), Account).require() == FULL


def test_nothing_of_a_plaintext_account_can_be_a_password() -> None:
    stored = b'(:version 1 :username "player1" :password "secret" :character-id 12345)'
    account = load(stored, Account).require()
    assert (account.password_hash, account.character_ids) == ("", [12345])
    assert b"secret" not in encode(account)


@pytest.mark.parametrize("character_id", [b"", b" :character-id nil"])
def test_an_account_of_version_2_may_have_no_character(character_id: bytes) -> None:
    stored = b'(:version 2 :username "player1" :password-hash "00$00"%b)' % character_id
    assert load(stored, Account).require().character_ids == []


def test_an_account_prints_its_name_alone() -> None:
    assert repr(FULL) == str(FULL) == "Account('player1')"
