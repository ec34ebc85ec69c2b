import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realmkeep import keys
from realmkeep.storage.patterns import compile_pattern, is_orphan, literal_prefix


def matches(pattern: str, key: str) -> bool:
    """The definition, followed to the letter: slow, and without regular expressions."""
    if not pattern:
        return not key
    head, rest = pattern[0], pattern[1:]
    if head == "*":
        return any(matches(rest, key[cut:]) for cut in range(len(key) + 1))
    if head == "\\" and rest:
        head, rest = rest[0], rest[1:]
    elif head == "?":
        return bool(key) and matches(rest, key[1:])
    return key[:1] == head and matches(rest, key[1:])


@given(
    st.text("ab*?\\", max_size=7) | st.text("a*?\\[]^-\nü", max_size=7),
    st.text("ab", max_size=7) | st.text("a*?\\[]^-\nü", max_size=7),
)
@example("*a*a", "aa")  # the first star must not take what the second needs
def test_a_pattern_matches_what_its_definition_says(pattern: str, key: str) -> None:
    expected = matches(pattern, key)
    assert (compile_pattern(pattern).fullmatch(key) is not None) == expected
    if expected:
        assert key.startswith(literal_prefix(pattern))


@given(st.text("ab*?\\[]^-\nü", max_size=7))
def test_an_escaped_key_matches_itself_and_is_its_own_prefix(key: str) -> None:
    escaped = re.sub(r"([*?\\])", r"\\\1", key)
    assert compile_pattern(escaped).fullmatch(key)
    assert literal_prefix(escaped) == key
    assert not compile_pattern(escaped).fullmatch(key + "x")


def test_many_stars_do_not_take_for_ever() -> None:
    assert not compile_pattern("*a" * 200 + "b").fullmatch("a" * 1024)


@pytest.mark.parametrize(
    ("key", "orphan"),
    [
        (keys.temp("player:7", now_us=1_000_000, unique="c0ffee"), True),
        (keys.temp("player:7", now_us=1_000_001, unique="c0ffee"), False),  # exactly an hour old
        (keys.temp("player:7", now_us=9_000_000_000, unique="c0ffee"), False),  # from a server whose clock is ahead
        ("temp:not-a-time:c0ffee:player:7", False),
        ("temp:1", False),
        ("player:7", False),
    ],
)
def test_only_staged_values_of_more_than_the_age_are_orphans(key: str, *, orphan: bool) -> None:
    assert is_orphan(key, now_us=3_601_000_001, older_than_s=3600) is orphan
