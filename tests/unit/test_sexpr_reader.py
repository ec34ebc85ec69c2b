import sys
import tracemalloc
from fractions import Fraction
from types import FrameType
from typing import Any

import pytest

from realmkeep.errors import Corrupt, RecordTooLarge
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.sexpr.names import Colon, Symbol
from realmkeep.records.sexpr.reader import NIL, NUMBER_CHARS_MAX, Datum, read


def parse(text: str, limits: Limits = DEFAULT_LIMITS) -> Datum:
    return read(text.encode(), limits)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-12", -12),
        ("+5", 5),
        ("1.", 1),
        ("007", 7),
        (str(2**100), 2**100),
        ("1/2", Fraction(1, 2)),
        ("-4/2", -2),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1.0d0", 1.0),
        ("1.0f0", 1.0),
        ("1.5s0", 1.5),
        ("1.5L3", 1500.0),
        ("1e5", 100000.0),
        ("1.e5", 100000.0),
        ("1D-3", 0.001),
        ("4.9406564584124654d-324", 5e-324),
        ("1.7976931348623157d308", sys.float_info.max),
        ("0d-999", 0.0),
        ("#x1F", 31),
        ("#X-ff", -255),
        ("#b101", 5),
        ("#o17", 15),
    ],
)
def test_numbers_read_as_lisp_reads_them_with_floats_as_doubles(text: str, value: float | Fraction) -> None:
    got = parse(text)
    assert got == value
    assert type(got) is type(value)


def test_a_single_float_is_the_double_nearest_to_its_decimal_text() -> None:
    assert parse("1.1") == parse("1.1f0") == parse("1.1d0") == 1.1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (":overworld", Colon("overworld")),
        (":OVERWORLD", Colon("overworld")),
        (":Over-World", Colon("over-world")),
        (":|Overworld|", Colon("Overworld")),
        (":|OVERWORLD|", Colon("overworld")),
        (":o|VER|world", Colon("overworld")),
        (r":\over", Colon("oVER")),
        (r":|a\|b|", Colon("A|B")),
        (":||", Colon("")),
        (":nil", Colon("nil")),
        (":t", Colon("t")),
        (":1.5", Colon("1.5")),
        (":{}", Colon("{}")),
        ("keyword:foo", Colon("foo")),
        ("KEYWORD::|Foo|", Colon("Foo")),
        ("::foo", Colon("foo")),
        ("foo", Symbol("foo")),
        ("1+", Symbol("1+")),
        ("+", Symbol("+")),
        ("-a", Symbol("-a")),
        ("1_000", Symbol("1_000")),
        ("|1|", Symbol("1")),
        ("|nil|", Symbol("NIL")),
        ("mmorpg::foo", Symbol("foo")),
        ("mmorpg:|Foo Bar|", Symbol("Foo Bar")),
        ("|a:b|", Symbol("A:B")),
        ("a#b", Symbol("a#b")),
        ("1\u017f5", Symbol("1\u017f5")),  # a long s is no exponent letter, though it is an s in capitals
        ("É", Symbol("é")),
    ],
)
def test_keywords_and_symbols_read_by_name_in_any_case_package_and_quoting(text: str, value: Symbol) -> None:
    got = parse(text)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    "text", ["nil", "NIL", "Nil", "|NIL|", "cl:nil", "common-lisp::NIL", "()", "( )", "(;x\n)", "'()"]
)
def test_nil_and_the_empty_list_are_one(text: str) -> None:
    assert parse(text) is NIL


@pytest.mark.parametrize("text", ["t", "T", "|T|", "cl:t", "COMMON-LISP:T", "'t"])
def test_t_is_true(text: str) -> None:
    assert parse(text) is True


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('""', ""),
        (r'"a\"b\\c\d"', 'a"b\\cd'),
        ('"line\r\nbreak\0"', "line\r\nbreak\0"),
        ('"; no #| comment |# (here"', "; no #| comment |# (here"),
        ('"\U0001f600"', "\U0001f600"),
        (r"#\a", "a"),
        (r"#\(", "("),
        (r"#\;", ";"),
        (r"#\Space", " "),
        (r"#\U+00E9", "é"),
    ],
)
def test_strings_and_characters_read_exactly(text: str, value: str) -> None:
    got = parse(text)
    assert got == value
    assert type(got) is str


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(1 (2 3)(4))", [1, [2, 3], [4]]),
        ("#(1 2)", [1, 2]),
        ("#()", []),
        ("(())", [NIL]),
        ("'(1 'a (quote b))", [1, "a", "b"]),
        ("(QUOTE 5)", 5),
        ("(:quote 5)", ["quote", 5]),
        ("(quote 1 2)", ["quote", 1, 2]),
        ("#(quote 5)", ["quote", 5]),
        ("''5", 5),
        ('(1"a"b"c"\'d)', [1, "a", "b", "c", "d"]),
        ("; before\n#| a #| nested |# |# (1 ; inside\n 2 #||# 3)\t\f\r\n; after", [1, 2, 3]),
    ],
)
def test_lists_vectors_quotes_and_comments(text: str, value: Datum) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("", 0),
        ("  ; only a comment", 18),
        ("(1 2", 4),
        ("(1))", 3),
        (")", 0),
        ("1 2", 2),
        ("(1) x", 4),
        ("() ()", 3),
        ("(1 . 2)", 3),
        ("(1 .. 2)", 3),
        ("#.(quit)", 0),
        ("(:a #.1)", 4),
        ("#S(player :hp 1)", 0),
        ("#'car", 0),
        ("#:gensym", 0),
        ("#1=(1)", 0),
        ("#1#", 0),
        ('#p"x"', 0),
        ("#*101", 0),
        ("#+sbcl 1", 0),
        ("#36rZZ", 0),
        ("#c(1 2)", 0),
        ("#2a((1))", 0),
        ("#<object>", 0),
        ("#", 0),
        ("`(a ,b)", 0),
        ("(a ,b)", 3),
        ("'", 1),
        ("(a ')", 4),
        ('(a "b', 3),
        ("(a |b", 3),
        ("(a b\\", 4),
        ("(1 #| never", 3),
        ("(1 #| a #| b |#", 3),
        ("a:b:c", 0),
        ("a:::b", 0),
        (":", 0),
        ("a:", 0),
        ("a:|b|:c", 0),
        ("1/0", 0),
        ("1d999", 0),
        ("-1d999", 0),
        ("1d-999", 0),
        ("#xZZ", 0),
        ("#x", 0),
        ("#x-", 0),
        ("#b2", 0),
        (r"(é #\nothing)", 4),
        (r"#\ud800", 0),
        ("(\0)", 1),
        ("(\x7f)", 1),
        ("\ufeff(1)", 3),
    ],
)
def test_whatever_is_not_data_is_corrupt_and_the_message_names_the_byte(text: str, offset: int) -> None:
    with pytest.raises(Corrupt, match=rf"at byte {offset}\b"):
        parse(text)


@pytest.mark.parametrize(
    ("stored", "offset"), [(b"(\xff)", 1), (b'"\xc3\xa9\xed\xa0\x80"', 3), (b'"\xc0\xaf"', 1), (b'"\xe2\x82', 1)]
)
def test_invalid_utf_8_is_corrupt(stored: bytes, offset: int) -> None:
    with pytest.raises(Corrupt, match=f"byte {offset}"):
        read(stored, DEFAULT_LIMITS)


def test_the_caps_admit_exactly_what_they_name() -> None:
    limits = Limits(bytes_max=40, depth_max=3, nodes_max=7)
    assert parse("(((1)))", limits) == [[[1]]]
    assert parse("(1 2 3 4 5 6)", limits) == [1, 2, 3, 4, 5, 6]
    assert parse("1" + " " * 39, limits) == 1
    for beyond in ("((((1))))", "(1 2 3 4 5 6 7)", "1" + " " * 40, "(((#())))", "'" * 8 + "1"):
        with pytest.raises(RecordTooLarge):
            parse(beyond, limits)


def test_a_number_too_long_to_convert_in_bounded_time_is_refused_by_its_length() -> None:
    assert parse("1" * NUMBER_CHARS_MAX) == int("1" * NUMBER_CHARS_MAX)
    long = "1" * (NUMBER_CHARS_MAX + 1)
    for text in (long, f"1/{long}", f"{long}.5", f"1e{long}", f"#x{long}", f"-{long}"):
        with pytest.raises(Corrupt, match="a number of"):
            parse(text)


HUGE = {
    "open": "(" * 65_536,
    "vectors": "#(" * 32_768,
    "close": "(" + ")" * 65_535,
    "quotes": "'" * 65_536,
    "string": '"' + "x" * 65_535,
    "escapes": '"' + "\\" * 65_535,
    "bars": "|" * 65_535,
    "bar pieces": "(" + "|a|b" * 16_383,
    "backslashes": "(" + "\\a" * 32_767,
    "comments": "#|" * 32_768,
    "empty comments": "#||#" * 16_384,
    "line comments": ";\n" * 32_768,
    "digits": "1" * 65_536,
    "dots": "." * 65_536,
    "colons": ":" * 65_536,
    "ratios": "1/3 " * 16_384,
    "numbers": f"({'9' * 400} " * 160,
    "ratios of long numbers": f"({'9' * 199}/{'7' * 199} " * 160,
    "atoms": "(" + "a " * 32_767,
    "colon pieces": "a:" * 32_768,
    "characters": r"(#\a" * 13_000,
    "character": "#\\" + "a" * 65_000,
    "far beyond": "(" * 5_000_000,
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_huge_input_takes_memory_and_steps_in_proportion_to_the_caps(text: str) -> None:
    stored = text.encode()
    steps = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal steps
        steps += event == "line"
        return count

    with pytest.raises((Corrupt, RecordTooLarge)):
        read(stored, DEFAULT_LIMITS)
    tracemalloc.start()
    tracing = sys.gettrace()
    try:
        sys.settrace(count)
        with pytest.raises((Corrupt, RecordTooLarge)):
            read(stored, DEFAULT_LIMITS)
    finally:
        sys.settrace(tracing)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 40 * DEFAULT_LIMITS.bytes_max
    assert steps < 10 * DEFAULT_LIMITS.bytes_max
