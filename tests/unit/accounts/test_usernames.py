import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.accounts.usernames import USERNAME_CHARS_MAX, check_username, fold_username
from realmkeep.errors import AuthFailed
from realmkeep.keys import account


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("Player1", "player1"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("\uff21\uff24\uff21", "ada"),
        ("e\u0301lan", "élan"),
        ("Οδυσσεύς", "οδυσσεύσ"),
        ("ドラゴン99", "ドラゴン99"),
        ("勇者ada", "勇者ada"),
        ("佐々木", "佐々木"),
        ("हिन्दी", "हिन्दी"),
        ("x_-x", "x_-x"),
        ("xyb\u0301\u0302\u0303\u0304", "xyb\u0301\u0302\u0303\u0304"),  # as many marks as are allowed
    ],
)
def test_a_name_has_one_spelling(typed: str, folded: str) -> None:
    assert check_username(typed) == folded


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ab", "characters; use 3 to 32"),
        ("a" * 33, "characters; use 3 to 32"),
        ("", "characters"),
        ("_ada", "does not begin with"),
        ("\u0301ada", "does not begin with"),
        ("ada lovelace", "U+0020"),
        ("ada:x", "U+003A"),
        ("a{b}c", "U+007B"),
        ("ada\u200b", "U+200B"),
        ("ada\u202e", "U+202E"),
        ("ada\u3164", "U+1160"),
        ("ada\ufe0f", "U+FE0F"),
        ("ada\x00", "U+0000"),
        ("ada\ud800", "U+D800"),
        ("ad\N{CYRILLIC SMALL LETTER A}", "several scripts"),
        ("a" + "\u0331" * 5 + "da", "accents"),
        ("ada\u0661", "U+0661"),
        ("😀😀😀", "does not begin with"),
    ],
)
def test_a_name_that_misleads_is_refused_with_its_reason(name: str, why: str) -> None:
    with pytest.raises(AuthFailed) as caught:
        check_username(name)
    assert caught.value.reason == "bad_username"
    assert why in str(caught.value)


def test_folding_settles_for_every_character_of_unicode() -> None:
    unsettled = [
        hex(code)
        for code in range(sys.maxunicode + 1)
        if fold_username(fold_username(chr(code))) != fold_username(chr(code))
    ]
    assert unsettled == []


@given(st.text(max_size=40))
def test_folding_twice_is_folding_once_and_case_never_matters(name: str) -> None:
    folded = fold_username(name)
    assert fold_username(folded) == folded
    assert fold_username(unicodedata.normalize("NFD", name)) == folded


@given(st.text(max_size=40))
def test_an_allowed_name_fits_the_key_schema_and_is_allowed_again(name: str) -> None:
    try:
        folded = check_username(name)
    except AuthFailed:  # the other half of the claim is tested above
        return
    assert 3 <= len(folded) <= USERNAME_CHARS_MAX
    assert check_username(folded) == folded
    assert account(folded) == f"account:{folded}"
    assert folded.isprintable()
