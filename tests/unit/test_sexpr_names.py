import string
import unicodedata

import pytest

from realmkeep.records.sexpr.names import (
    Colon,
    Symbol,
    character,
    folded,
    invert,
    key_name,
    key_text,
    keyword_text,
    string_text,
)


@pytest.mark.parametrize(
    ("lisp", "python"),
    [
        ("OVERWORLD", "overworld"),
        ("overworld", "OVERWORLD"),
        ("Overworld", "Overworld"),
        ("LEVEL-10", "level-10"),
        ("10", "10"),
        ("ÉTÉ", "été"),
        ("Straße", "Straße"),
        ("\u212a", "\u212a"),  # the Kelvin sign: its small letter has another capital
    ],
)
def test_the_case_of_names_is_inverted_as_lisp_itself_does_it_and_back(lisp: str, python: str) -> None:
    assert invert(lisp) == python
    assert invert(python) == lisp


@pytest.mark.parametrize("word", ["overworld", "OVERWORLD", "OverWorld"])
def test_without_quoting_the_case_written_does_not_matter(word: str) -> None:
    assert folded(word) == "overworld"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("overworld", ":overworld"),
        ("level-10", ":level-10"),
        ("iron_sword", ":iron_sword"),
        ("Overworld", ":|Overworld|"),
        ("OVERWORLD", ":|overworld|"),
        ("two words", ":|TWO WORDS|"),
        ("a|b\\c", r":|A\|B\\C|"),
        ("", None),
        ("été", None),
        ("line\nbreak", None),
    ],
)
def test_keywords_are_quoted_where_lisp_would_read_another_and_left_to_strings_beyond_ascii(
    name: str, text: str | None
) -> None:
    assert keyword_text(name) == text


def test_strings_escape_the_quotation_mark_and_the_backslash_alone() -> None:
    assert string_text('say "hi"\\\n') == '"say \\"hi\\"\\\\\n"'


@pytest.mark.parametrize(
    ("name", "text"), [("player_id", ":player-id"), ("hp2", ":hp2"), ("a-b", '"a-b"'), ("HP", '"HP"'), ("", '""')]
)
def test_a_key_that_is_no_simple_name_is_written_as_a_string(name: str, text: str) -> None:
    assert key_text(name) == text


def test_keywords_in_key_places_are_snake_case_and_strings_stand_for_themselves() -> None:
    assert key_name(Colon("player-id")) == "player_id"
    assert key_name("player-id") == "player-id"
    assert type(key_name(Symbol("x"))) is str


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a", "a"),
        ("(", "("),
        ("Space", " "),
        ("NEWLINE", "\n"),
        ("linefeed", "\n"),
        ("Nul", "\0"),
        ("Rubout", "\x7f"),
        ("Next-Line", "\x85"),
        ("C80", "\x80"),
        ("U+00E9", "é"),
        ("UE9", "é"),
        ("u10FFFF", "\U0010ffff"),
        ("LATIN_SMALL_LETTER_E_WITH_ACUTE", "é"),
        ("NO-BREAK_SPACE", "\u00a0"),
        ("GRINNING_FACE", "\U0001f600"),
    ],
)
def test_characters_are_known_by_the_names_that_lisp_prints(name: str, value: str) -> None:
    assert character(name) == value


@pytest.mark.parametrize("name", ["ab", "UD800", "U110000", "no such thing", "x" * 100_000, "KEYCAP_NUMBER_SIGN"])
def test_what_names_no_character_is_none(name: str) -> None:
    assert character(name) is None


def test_every_named_character_of_the_basic_plane_is_found_by_its_unicode_name() -> None:
    for code in range(0x10000):
        name = unicodedata.name(chr(code), "")
        if name:
            assert character(name.replace(" ", "_")) == chr(code)


def test_the_names_that_need_no_quoting_are_exactly_those_of_small_letters_digits_and_dashes() -> None:
    plain = [mark for mark in map(chr, range(0x21, 0x7F)) if keyword_text(f"a{mark}") == f":a{mark}"]
    assert set(plain) == {*string.ascii_lowercase, *string.digits, "-", "_"}
