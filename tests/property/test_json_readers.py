"""Stored JSON is read by msgspec where that says the same as the standard library, and else by that."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from realmkeep.errors import Corrupt
from realmkeep.records.json_reader import decode_plain
from realmkeep.records.limits import DEFAULT_LIMITS
from realmkeep.records.plain import Plain
from realmkeep.records.unstorable import first_fault
from realmkeep.testing.specification import SpecPlayer

NAMES = st.sampled_from(["a", "b", "a:b", "", 'quoted"', "ä", "\\u0061", "\\ud800"])
NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "1.0",
        "-0.0",
        "1e3",
        "1E5",
        "5e-324",
        "1e-400",
        "1e400",
        "9223372036854775807",
        "-9223372036854775809",
        "18446744073709551616",
        "01",
        "1.",
        "+1",
        "NaN",
        "Infinity",
        "-Infinity",
        "9" * 5000,
    ]
)
BLANKS = st.sampled_from(["", " ", "\n", "\t", "\x0c", "\ufeff"])


def an_object(members: list[tuple[str, str]], blank: str) -> str:
    return "{" + f",{blank}".join(f'"{name}"{blank}:{value}' for name, value in members) + "}"


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    objects = st.builds(an_object, st.lists(st.tuples(NAMES, inner), max_size=3), BLANKS)
    return objects | st.lists(inner, max_size=3).map(lambda entries: "[" + ",".join(entries) + "]")


VALUES = st.recursive(NUMBERS | NAMES.map('"{}"'.format) | st.sampled_from(["true", "null", "nul", "'a'"]), containers)
OBJECTS = st.builds(an_object, st.lists(st.tuples(NAMES, VALUES), max_size=4), BLANKS)


def one_of_each(pairs: list[tuple[str, Any]]) -> Plain:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def underflow(text: str) -> float:
    if not (number := float(text)) and text.lower().partition("e")[0].strip("-.0"):
        raise ValueError("it would become zero")
    return number


def as_the_standard_library(text: str) -> Plain | None:
    """The object; None if it is no record's."""
    try:
        found = json.loads(text, object_pairs_hook=one_of_each, parse_float=underflow)
    except ValueError:
        return None
    return found if first_fault(found, "it") is None else None


@settings(max_examples=500)
@given(OBJECTS)
def test_both_readers_read_the_same(text: str) -> None:
    try:
        found: Plain | None = decode_plain(text.encode(), SpecPlayer.__realmkeep__, DEFAULT_LIMITS)
    except Corrupt:
        found = None
    assert repr(found) == repr(as_the_standard_library(text))
