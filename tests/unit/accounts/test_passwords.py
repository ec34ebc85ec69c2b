"""Known answers with their sources, the specification's format, and what a malformed hash does.

The known answers were compared with their sources as other libraries' tests print them, and those of PBKDF2 with ironclad.
"""

import base64
import hashlib
import unicodedata

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import example, given, settings
from hypothesis import strategies as st

from realmkeep.accounts import passwords
from realmkeep.accounts.passwords import (
    Argon2Cost,
    HashCost,
    Pbkdf2Cost,
    dummy_hash,
    hash_password,
    needs_rehash,
    verify_password,
)
from realmkeep.errors import MalformedHash

CHEAP = [Argon2Cost(8, 1, 1), Pbkdf2Cost(1)]


def v2_hash(password: bytes, salt: bytes) -> str:
    """The specification's format, by the standard library instead of the code under test."""
    return f"{salt.hex()}${hashlib.pbkdf2_hmac('sha256', password, salt, 100_000).hex()}"


@pytest.mark.parametrize(
    ("password", "salt", "iterations", "key"),
    [  # RFC 7914, section 11: both vectors
        (
            b"passwd",
            b"salt",
            1,
            (
                "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
                "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
            ),
        ),
        (
            b"Password",
            b"NaCl",
            80_000,
            (
                "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
                "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"
            ),
        ),
    ],
)
def test_pbkdf2_gives_the_answers_of_rfc_7914(password: bytes, salt: bytes, iterations: int, key: str) -> None:
    assert passwords._derive(password, salt, Pbkdf2Cost(iterations), 64).hex() == key  # pyright: ignore[reportPrivateUsage] - the vector has a short salt


def test_argon2id_gives_the_answer_of_rfc_9106() -> None:  # RFC 9106, section 5.3
    tag = Argon2id(
        salt=b"\x02" * 16, length=32, iterations=3, lanes=4, memory_cost=32, ad=b"\x04" * 12, secret=b"\x03" * 8
    ).derive(b"\x01" * 32)
    assert tag.hex() == "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"


def test_argon2id_verifies_a_hash_of_the_reference_implementation() -> (
    None
):  # P-H-C/phc-winner-argon2, src/test.c, the first Argon2id
    stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
    assert verify_password("password", stored)
    assert not verify_password("passwore", stored)


def test_the_format_of_the_specification_verifies_as_it_stands() -> None:
    stored = v2_hash(b"correct horse", bytes(range(16)))
    assert verify_password("correct horse", stored)
    assert verify_password("correct horse", stored.upper())
    assert not verify_password("Correct horse", stored)


def test_a_hash_of_the_specification_may_be_over_bytes_that_are_not_normalised() -> None:
    typed = "e\u0301lan vital"
    assert verify_password(typed, v2_hash(typed.encode(), b"s" * 16))
    assert verify_password(typed, v2_hash(unicodedata.normalize("NFC", typed).encode(), b"s" * 16))


def test_the_default_is_argon2id_with_the_costs_of_the_decision() -> None:
    assert hash_password("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hash_password("x", Pbkdf2Cost()).startswith("$pbkdf2-sha256$i=600000$")


@pytest.mark.parametrize("cost", CHEAP)
def test_a_salt_is_never_used_twice(cost: HashCost) -> None:
    assert len({hash_password("same", cost).split("$")[-2] for _ in range(100)}) == 100


@given(st.text(), st.text(), st.sampled_from(CHEAP))
@example("\ud800", "\ud801", CHEAP[0])
@example("e\u0301", "\u00e9", CHEAP[0])
@example("", "\x00", CHEAP[1])
@settings(max_examples=200)
def test_exactly_the_same_text_verifies(password: str, other: str, cost: HashCost) -> None:
    stored = hash_password(password, cost)
    assert verify_password(unicodedata.normalize("NFD", password), stored)
    same = unicodedata.normalize("NFC", password) == unicodedata.normalize("NFC", other)
    if isinstance(cost, Pbkdf2Cost):  # HMAC pads its key with zeros (RFC 2104), so it cannot tell them from the end
        same = unicodedata.normalize("NFC", password).rstrip("\0") == unicodedata.normalize("NFC", other).rstrip("\0")
    assert verify_password(other, stored) is same


@pytest.mark.parametrize("cost", CHEAP)
def test_nobody_knows_the_password_of_a_dummy(cost: HashCost) -> None:
    assert not verify_password("", dummy_hash(cost))
    assert dummy_hash(cost) != dummy_hash(cost)


MALFORMED = [
    "",
    "plaintext",
    "$",
    "00$00",
    "0" * 32 + "$" + "0" * 63,
    "0" * 32 + "$" + "g" * 64,
    " " + "0" * 32 + "$" + "0" * 64,
    "0" * 32 + "$" + "0" * 64 + "\n",
    "$argon2id$v=16$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=9999999,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=7,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=8,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=8,t=1,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=8,t=99,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRP",
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ",
    "$pbkdf2-sha256$i=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$pbkdf2-sha256$i=99999999$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$pbkdf2-sha256$i=1$$",
    "$2b$12$abcdefghijklmnopqrstuv",
]


@pytest.mark.parametrize("stored", MALFORMED)
def test_a_malformed_hash_is_an_error_and_never_a_yes(stored: str) -> None:
    with pytest.raises(MalformedHash) as caught:
        verify_password("plaintext", stored)
    assert not stored.strip() or stored not in str(caught.value)
    with pytest.raises(MalformedHash):
        needs_rehash(stored)


@given(st.text() | st.from_regex(r"\$(argon2id|pbkdf2-sha256)[$a-z0-9=,+/]{0,60}"))
def test_no_text_at_all_is_a_yes_or_a_crash(stored: str) -> None:
    with pytest.raises(MalformedHash):
        verify_password(stored, stored)


@pytest.mark.parametrize("cost", CHEAP)
def test_every_changed_character_of_a_hash_makes_it_another(cost: HashCost) -> None:
    stored = hash_password("secret", cost)
    key = base64.b64decode(stored.rsplit("$", 1)[1] + "=")
    for index in range(len(key) * 8):
        wrong = bytearray(key)
        wrong[index // 8] ^= 1 << index % 8
        changed = stored.rsplit("$", 1)[0] + "$" + base64.b64encode(wrong).decode().rstrip("=")
        assert not verify_password("secret", changed)


@pytest.mark.parametrize(
    ("stored", "today", "expected"),
    [
        (Argon2Cost(8, 1, 1), Argon2Cost(8, 1, 1), False),
        (Argon2Cost(8, 1, 1), Argon2Cost(9, 1, 1), True),
        (Argon2Cost(8, 1, 1), Argon2Cost(8, 2, 1), True),
        (Argon2Cost(16, 2, 1), Argon2Cost(8, 1, 1), False),
        (Pbkdf2Cost(2), Pbkdf2Cost(2), False),
        (Pbkdf2Cost(1), Pbkdf2Cost(2), True),
        (Pbkdf2Cost(2), Argon2Cost(), True),
        (Argon2Cost(8, 1, 1), Pbkdf2Cost(), False),
    ],
)
def test_a_hash_is_renewed_when_it_is_weaker_and_only_then(stored: HashCost, today: HashCost, expected: bool) -> None:
    assert needs_rehash(hash_password("x", stored), today) is expected


@pytest.mark.parametrize("today", [Argon2Cost(), Pbkdf2Cost(1)])
def test_a_hash_without_a_name_is_old_and_is_renewed(today: HashCost) -> None:
    assert needs_rehash("0" * 32 + "$" + "0" * 64, today)
