import json
import re
import sys
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sexpr import read, write

from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.intents import INTENTS, Mail, Move, read_intent, read_op_id
from realmkeep.realm.wire.requests import IntentRequest, PingRequest, read_request
from realmkeep.realm.wire.syntax import DEPTH_MAX, Message, Syntax, decode, encode, syntax_of

LINE = 16 * 1024


def test_the_two_examples_of_the_page_are_one_message() -> None:
    as_json = b'{"type": "login", "username": "player1", "password": "ash and amber at dawn"}'
    as_sexpr = b'(:type :login :username "player1" :password "ash and amber at dawn")'
    assert decode(as_json, bytes_max=LINE) == decode(as_sexpr, bytes_max=LINE)


def test_a_colon_in_a_text_is_no_second_name() -> None:
    assert decode(b'{"type": "login", "username": "a:b", "password": "::"}', bytes_max=LINE)["username"] == "a:b"


def test_reading_ignores_case_and_maps_names() -> None:
    shouted = b"  (:TYPE :INTENT :ACTION :TRADE-OFFER :OP-ID 5 :ITEMS ((:SLOT 1 :COUNT 2)) :GOLD NIL)"
    assert decode(shouted, bytes_max=LINE) == {
        "type": "intent",
        "action": "trade_offer",
        "op_id": 5,
        "items": [{"slot": 1, "count": 2}],
        "gold": None,
    }


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"[]",
        b"7",
        b'"hello"',
        b"{",
        b'{"type": "login"} {"type": "login"}',
        b'{"type": NaN}',
        b'{"type": "ping", "type": "logout"}',
        b'{"type": "intent", "items": [{"slot": 0, "count": 1, "count": 9}]}',
        b"(:type :ping :type :logout)",
        b"(:type :intent :items ((:slot 0 :count 1 :COUNT 9)))",
        b'{"type": "\xff"}',
        b'{"type": "\\ud800"}',
        b"[" * 5_000,
        b'{"a":' * 3_000,
        b"(:type",
        b"(:type :login) (:type :login)",
        b"(:type :login :username)",
        b"(:type :login username 5)",
        b"(1 2 3)",
        b"()",
        b"(:type #.(quit))",
        b"(" * 5_000,
        b"(:type " + b"(" * 100,
        b"(:a " + b"1 " * 5_000 + b")",
        b"(:type . :login)",
        b"(:type \x00)",
    ],
)
def test_what_is_no_message_is_malformed(encoded: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        decode(encoded, bytes_max=LINE)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("inside", [b"", b'"text": "a colon: here", ', b'"text": 1, "text": 2, '])
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a": ', b"}"), (b'[{"a": ', b"}]")])
def test_however_deep_a_message_is_it_is_malformed(opened: bytes, closed: bytes, inside: bytes) -> None:
    """The readers of JSON, and our own look at what they read, each give up at another depth."""
    for depth in range(DEPTH_MAX, sys.getrecursionlimit() + 10):
        deep = opened * depth + b"1" + closed * depth
        for encoded in (b"{%s%s: %s}", b"{%s%s: %s, %s: 1}"):
            name = b'"deep"'
            message = encoded % ((inside, name, deep) if encoded.count(b"%s") == 3 else (inside, name, deep, name))
            with pytest.raises(BadInput) as caught:
                decode(message, bytes_max=4 * LINE)
            assert caught.value.reason == "malformed"


def test_a_message_too_long_is_not_even_read() -> None:
    with pytest.raises(BadInput) as caught:
        decode(b"{" + b" " * LINE, bytes_max=LINE)
    assert caught.value.reason == "too_large"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[a-z][a-z0-9]{0,5}(_[a-z0-9]{1,3})?", fullmatch=True).filter(
    lambda name: name not in {"t", "nil"}
)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
settings_of_players = st.dictionaries(names, scalars, max_size=5)


@given(texts, names, settings_of_players, st.lists(st.integers(0, 99), max_size=3))
def test_the_tests_own_reader_reads_what_the_server_writes(
    text: str, name: str, settings: dict[str, object], numbers: list[int]
) -> None:
    message: Message = {
        "type": "ack",
        "op_id": 7,
        "result": {"settings": settings, "inventory": [{"item": name, "count": 3}], "friends": numbers},
        "detail": text,
    }
    assert json.loads(encode(message, Syntax.JSON)) == message

    def as_lisp(value: Any) -> Any:
        if value in (False, [], {}) and type(value) in {bool, list, dict}:
            return None
        if isinstance(value, dict):
            return {key: as_lisp(inner) for key, inner in cast("Message", value).items()}
        if isinstance(value, str):
            return value.replace("\n", " ")
        return [as_lisp(inner) for inner in cast("list[Any]", value)] if isinstance(value, list) else value

    assert read(encode(message, Syntax.SEXPR).decode()) == as_lisp(message)


@pytest.mark.parametrize(("number", "written"), [(20.0, "20.0"), (-0.1, "-0.1"), (1e-9, "1e-09"), (1e300, "1e+300")])
def test_a_number_is_written_so_that_any_language_reads_it(number: float, written: str) -> None:
    assert encode({"x": number}, Syntax.SEXPR) == f"(:x {written})".encode()
    assert decode(f"(:x {written})".encode(), bytes_max=LINE) == {"x": number}


def test_the_numbers_of_lisp_printers_are_read() -> None:
    assert decode(b"(:x 20.5d0 :y 2.0f0 :t 1.5e3 :z +5)", bytes_max=LINE) == {"x": 20.5, "y": 2.0, "t": 1500.0, "z": 5}


@pytest.mark.parametrize("syntax", Syntax)
def test_a_message_is_one_line_whatever_its_texts_are(syntax: Syntax) -> None:
    assert b"\n" not in encode({"type": "pong", "t": "a\nb", "state": {"settings": {"motto": "\n"}}}, syntax)


@given(text=texts, number=st.integers(1, 2**53 - 1), upper=st.booleans())
def test_the_server_reads_what_the_tests_own_printer_writes(text: str, number: int, *, upper: bool) -> None:
    message = {"type": "login", "username": text, "op_id": number, "item": "iron_sword", "x": 1.5}
    encoded = write(message, upper=upper).encode()
    assert syntax_of(encoded) is Syntax.SEXPR
    assert decode(encoded, bytes_max=LINE) == message


def intent(**fields: object) -> Message:
    return {"type": "intent", "op_id": 1, **fields}


@pytest.mark.parametrize("count", [-1, 0, 1_000_000, 10**30, 1.0, 1.5, "1", True, None, [], {}, [1]])
@pytest.mark.parametrize(
    "fields",
    [
        {"action": "buy", "item": "bread"},
        {"action": "sell", "slot": 0},
        {"action": "drop", "slot": 0},
        {"action": "consume", "slot": 0},
        {"action": "deposit", "item": "gold"},
        {"action": "withdraw", "item": "gold"},
    ],
)
def test_a_count_that_is_no_whole_number_in_range_is_a_bad_field(fields: Message, count: object) -> None:
    with pytest.raises(BadInput) as caught:
        read_intent(intent(**fields, count=count))
    assert (caught.value.reason, caught.value.op_id) == ("bad_field", 1)


@pytest.mark.parametrize("op_id", [0, -1, 2**53, 10**30, 1.0, "1", True, []])
def test_an_op_id_is_a_positive_whole_number_that_json_keeps_exact(op_id: object) -> None:
    with pytest.raises(BadInput) as caught:
        read_op_id({"op_id": op_id})
    assert caught.value.reason == "bad_field"
    assert read_op_id({"op_id": 2**53 - 1}) == 2**53 - 1


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "move", "x": "1", "y": 2},
        {"action": "move", "x": True, "y": 2},
        {"action": "move", "x": 1},
        {"action": "attack", "target": "rat"},
        {"action": "attack", "target": -1},
        {"action": "equip", "slot": 1.5},
        {"action": "buy", "item": 7, "count": 1},
        {"action": "buy", "item": "", "count": 1},
        {"action": "trade_offer", "items": [{"slot": 1, "count": -5}]},
        {"action": "trade_offer", "items": [{"slot": 1}]},
        {"action": "trade_offer", "gold": -1},
        {"action": "trade_offer", "items": "all"},
        {"action": "mail", "player": 3},
        {"action": "mail", "player": 3, "gold": 5, "slot": 1, "count": 1},
        {"action": "mail", "player": 3, "slot": 1},
        {"action": "mail", "player": 3, "gold": 0},
        {"action": "mail", "player": 3.5, "gold": 5},
        {"action": "set", "name": "Bad Name", "value": 1},
        {"action": "set", "name": "volume", "value": [1]},
        {"action": "set", "name": "volume", "value": "x" * 65},
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_a_bad_field(fields: Message) -> None:
    with pytest.raises(BadInput) as caught:
        read_intent(intent(**fields))
    assert caught.value.reason == "bad_field"


@pytest.mark.parametrize("action", [None, 7, "fly", "Move", ["move"]])
def test_an_action_that_is_none_is_unknown(action: object) -> None:
    with pytest.raises(BadInput) as caught:
        read_intent(intent(action=action))
    assert caught.value.reason == "unknown_action"


def test_what_an_intent_claims_beside_its_fields_is_not_looked_at() -> None:
    sent = intent(action="mail", player="ada", gold=5, price=0, pad="....")
    assert read_intent(sent) == Mail(player="ada", gold=5)


def test_every_action_of_the_page_is_known_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "wire-protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \|", page.partition("## Actions")[2], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(INTENTS)


@pytest.mark.parametrize(
    ("message", "logged_in", "reason"),
    [
        ({}, False, "unknown_type"),
        ({"type": "dance"}, True, "unknown_type"),
        ({"type": 7}, True, "unknown_type"),
        ({"type": "ping"}, False, "not_logged_in"),
        ({"type": "logout"}, False, "not_logged_in"),
        ({"type": "intent", "action": "fly"}, False, "not_logged_in"),
        ({"type": "intent", "action": "fly"}, True, "unknown_action"),
        ({"type": "login", "username": 7}, False, "bad_field"),
        ({"type": "ping", "t": [1]}, True, "bad_field"),
        ({"type": "ping", "t": 10**30}, True, "bad_field"),
    ],
)
def test_each_reason_has_its_place(message: Message, reason: str, *, logged_in: bool) -> None:
    with pytest.raises(BadInput) as caught:
        read_request(message, logged_in=logged_in)
    assert caught.value.reason == reason


def test_a_request_is_typed() -> None:
    assert read_request({"type": "ping", "t": 1.5, "pad": "x"}, logged_in=True) == PingRequest(1.5)
    act = read_request(intent(action="look"), logged_in=True)
    assert isinstance(act, IntentRequest)
    assert act.op_id == 1


@pytest.mark.parametrize("encoded", [b'{"type":"hello"}', b" (:type :hello)"])
def test_a_byte_order_mark_before_a_message_is_nothing(encoded: bytes) -> None:
    marked = b"\xef\xbb\xbf" + encoded
    assert decode(marked, bytes_max=100) == {"type": "hello"}
    assert syntax_of(marked) is syntax_of(encoded)


HUGE = ["9" * 350, "9" * 400, "-" + "9" * 350, "9" * 4_000, "1e400", "-1e400", "NaN", "Infinity", "2/3"]
"""No number of the protocol; the last is one of Lisp's."""
NUMBERS = [
    '"type":"intent","action":"look","op_id":%s',
    '"type":"intent","action":"attack","op_id":1,"target":%s',
    '"type":"intent","action":"pickup","op_id":1,"ground_id":%s',
    '"type":"intent","action":"move","x":%s,"y":1',
    '"type":"intent","action":"move","x":1,"y":%s',
    '"type":"intent","action":"drop","op_id":1,"slot":%s,"count":1',
    '"type":"intent","action":"drop","op_id":1,"slot":1,"count":%s',
    '"type":"intent","action":"buy","op_id":1,"item":"bread","count":%s',
    '"type":"intent","action":"mail","op_id":1,"player":1,"gold":%s',
    '"type":"intent","action":"trade_offer","gold":%s',
    '"type":"intent","action":"set","op_id":1,"name":"a","value":%s',
    '"type":"ping","t":%s',
]


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize("fields", NUMBERS)
@pytest.mark.parametrize("lisp", [False, True])
def test_a_number_of_a_stranger_is_bounded_before_it_is_used(fields: str, number: str, *, lisp: bool) -> None:
    text = "{" + fields % number + "}"
    if lisp:
        text = re.sub(r'"(\w+)":', lambda name: f" :{name[1].replace('_', '-')} ", fields).replace(",", " ") % number
        text = f"({text})"
    try:
        request = read_request(decode(text.encode(), bytes_max=16_384), logged_in=True)
    except BadInput:
        return
    # A word of Lisp's, which is text, or a whole number that a double holds: a place far away.
    assert (lisp and number in {"NaN", "Infinity"}) or isinstance(getattr(request, "intent", None), Move), request
    assert len(msgspec.json.encode(request)) < 500
