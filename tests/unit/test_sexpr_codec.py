import json
import zlib
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from realmkeep.errors import Corrupt, RecordTooLarge, Unstorable
from realmkeep.records.fields import FieldInfo, Keyword, RecordInfo, durable
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.record import Part, Record
from realmkeep.records.sexpr.codec import check_crc, decode_plain, encode, with_crc

SPECIFICATION_PLAYER = (Path(__file__).parents[1] / "golden" / "specification_player.sexpr").read_bytes()


class Calling(StrEnum):
    WARRIOR = "warrior"
    HIGH_MAGE = "high_mage"


class Rank(IntEnum):
    NOVICE = 1


class Item(Part):
    item_id: Keyword
    count: int = 1
    slot: int | None = None


class Quest(Part):
    quest_id: Keyword
    stage: int = 0
    complete: bool = False


class Nothing(Part):
    note: str = ""


class Hero(Record, kind="sexpr-hero"):
    player_id: int = durable(default=0)
    zone_id: Keyword = durable(default="overworld")
    x: float = durable(default=0.0)
    y: float = durable(default=0.0)
    hp: int = durable(default=1)
    xp: int = durable(default=0)
    attack_level: int = durable(default=1)
    strength_level: int = durable(default=1)
    defense_level: int = durable(default=1)
    hitpoints_level: int = durable(default=1)
    inventory: list[Item] = durable(default_factory=list[Item])
    bank: list[Item] = durable(default_factory=list[Item])
    quest_progress: list[Quest] = durable(default_factory=list[Quest])
    achievements: list[Keyword] = durable(default_factory=list[str])
    friends: list[int] = durable(default_factory=list[int])
    settings: dict[str, float] = durable(default_factory=dict[str, float])


def declared(annotation: Any, version: int = 1) -> RecordInfo:
    """A record of one field `it`."""
    it = FieldInfo("it", durable=True, tier=None, type=annotation)
    return RecordInfo("thing", version, "", {"it": it}, (it,))


def reads(text: str, annotation: Any) -> Any:
    return decode_plain(f"(:it {text})".encode(), declared(annotation), DEFAULT_LIMITS)["it"]


def writes(value: Any, annotation: Any) -> str:
    stored = encode({"it": value}, declared(annotation)).decode()
    start, end = "(:version 1 :it ", ' :crc "89abcdef")'
    assert stored.startswith(start)
    return stored[len(start) : -len(end)]


def test_the_specifications_example_loads_byte_for_byte_with_its_comments() -> None:
    plain = decode_plain(SPECIFICATION_PLAYER, Hero.__realmkeep__, DEFAULT_LIMITS)
    assert check_crc(SPECIFICATION_PLAYER) is False
    assert plain.pop("version") == 1
    hero = msgspec.convert({**plain, "version": 1}, Hero, strict=True)
    assert msgspec.to_builtins(hero) == {
        "version": 1,
        "player_id": 12345,
        "zone_id": "overworld",
        "x": 150.0,
        "y": 200.0,
        "hp": 85,
        "xp": 1500,
        "attack_level": 10,
        "strength_level": 8,
        "defense_level": 12,
        "hitpoints_level": 15,
        "inventory": [
            {"item_id": "sword", "count": 1, "slot": 0},
            {"item_id": "coins", "count": 500, "slot": 1},
        ],
        "bank": [{"item_id": "coins", "count": 10000, "slot": None}],
        "quest_progress": [{"quest_id": "tutorial", "stage": 3, "complete": True}],
        "achievements": ["first-blood", "level-10"],
        "friends": [12346, 12347],
        "settings": {"music_volume": 0.5, "sfx_volume": 0.8},
    }


def test_what_is_written_is_one_line_in_the_specifications_format() -> None:
    text = "(:version 1 :it ((:item-id :iron_sword :count 2 :slot nil) (:item-id :|Old Key| :count 1 :slot 0))"
    items = [{"item_id": "iron_sword", "count": 2, "slot": None}, {"item_id": "Old Key", "count": 1, "slot": 0}]
    stored = encode({"it": items}, declared(list[Item]))
    assert stored == f'{text} :crc "{zlib.crc32(text.encode()):08x}")'.encode()
    assert check_crc(stored) is True
    assert decode_plain(stored, declared(list[Item]), DEFAULT_LIMITS) == {
        "version": 1,
        "it": items,
        "crc": f"{zlib.crc32(text.encode()):08x}",
    }


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (bool, False),
        (int | None, None),
        (Item | None, None),
        (list[int], []),
        (set[int], []),
        (frozenset[int], []),
        (tuple[int, ...], []),
        (dict[str, int], {}),
        (Nothing, {}),
    ],
)
@pytest.mark.parametrize("text", ["nil", "NIL", "()", "cl:nil"])
def test_nil_is_false_nothing_or_empty_by_the_type_of_the_field(text: str, annotation: Any, value: object) -> None:
    assert reads(text, annotation) == value
    assert (
        msgspec.convert(reads(text, annotation), annotation, strict=True) in (value, *map(type(value), ())) or not value
    )


@pytest.mark.parametrize("annotation", [int, float, str, Keyword, Literal["a"], Calling, Rank, Item])
def test_nil_where_the_type_has_no_such_value_is_refused_by_the_conversion(annotation: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(reads("nil", annotation), annotation, strict=True)


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("t", bool, True),
        ("T", bool | None, True),
        (":{false}", bool | None, False),
        ("1.", int, 1),
        ("4/2", int, 2),
        ("#xFF", int, 255),
        ("1/2", float, 0.5),
        ("1/3", float, 1 / 3),
        ("7", float, 7.0),
        ("1.1f0", float, 1.1),
        (":Sword", str, "sword"),
        ("mmorpg::sword", Keyword, "sword"),
        ('"Sword"', Keyword, "Sword"),
        (r"#\Space", str, " "),
        (":nil", Keyword, "nil"),
        (":t", str, "t"),
        (":warrior", Calling, "warrior"),
        (":high_mage", Calling, "high_mage"),
        ("1", Rank, 1),
        (":melee", Literal["melee", 2], "melee"),
        ("2", Literal["melee", 2], 2),
        ("#(1 2)", list[int], [1, 2]),
        ("'(1 2)", tuple[int, ...], [1, 2]),
        ("(:north 1 1/2)", tuple[Keyword, int, float], ["north", 1, 0.5]),
        ("(1 2)", tuple[int, float], [1, 2.0]),
        ("((1 2) nil)", list[tuple[int, ...]], [[1, 2], []]),
        ("#()", tuple[int, ...] | None, []),
        ("nil", tuple[int, ...] | None, None),
        ("(:MUSIC-VOLUME 1)", dict[str, float], {"music_volume": 1.0}),
        ('("music-volume" 1 "a b" 2)', dict[str, float], {"music-volume": 1.0, "a b": 2.0}),
        ("(:iron-sword 1 :iron_sword 2)", dict[Keyword, int], {"iron-sword": 1, "iron_sword": 2}),
        ("(:high_mage 1)", dict[Calling, int], {"high_mage": 1}),
        ("(7 nil -8 t)", dict[int, bool], {"7": False, "-8": True}),
        ("#(7 nil)", dict[int, bool], {"7": False}),
        ("(:ring (:item-id :ruby))", dict[Keyword, Item], {"ring": {"item_id": "ruby"}}),
        ("(:item-id :a :count 2)", Item | None, {"item_id": "a", "count": 2}),
        ("((:quest-id :a :complete nil))", list[Quest], [{"quest_id": "a", "complete": False}]),
    ],
)
def test_the_type_of_a_field_decides_what_its_data_mean(text: str, annotation: Any, value: object) -> None:
    got = reads(text, annotation)
    assert got == value
    assert repr(got) == repr(value)
    msgspec.convert(got, annotation, strict=True, str_keys=True)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        *((int, '"5"'), (int, "1/2"), (int, "1.0"), (int, "t"), (bool, "1"), (str, "5"), (str, "t"), (list[int], "5")),
        *((list[Item], "(:item-id :a :count 1)"), (dict[str, int], "(:a 1 :b)"), (Item, "(:item-id)"), (Item, "5")),
        *((dict[int, int], "(:a 1)"), (tuple[int, int], "(1 2 3)"), (Calling, ":rogue")),
        (Item, "(:item-id :a :color 1)"),
    ],
)
def test_data_of_another_type_are_handed_over_for_the_conversion_to_refuse(annotation: Any, text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(reads(text, annotation), annotation, strict=True, str_keys=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nil", None),
        ("()", None),
        ("#()", []),
        ("t", True),
        (":{false}", False),
        (":{}", {}),
        (":Sword", "sword"),
        ("sword", "sword"),
        ("1/4", 0.25),
        ("(1 nil t (2))", [1, None, True, [2]]),
        ("(:item-id :a :count 1)", {"item_id": "a", "count": 1}),
        ("((:item-id :a :count nil))", [{"item_id": "a", "count": None}]),
        ("(:first-blood :level-10)", ["first-blood", "level-10"]),
        ("(:first-blood :level-10 :slayer)", ["first-blood", "level-10", "slayer"]),
        ("(:a 1 :b)", ["a", 1, "b"]),
        ('("a" 1)', ["a", 1]),
        ("(a 1)", ["a", 1]),
        ("(:a :{false} :b :{})", {"a": False, "b": {}}),
    ],
)
def test_a_field_that_the_record_does_not_know_is_there_as_it_reads_without_a_type(text: str, value: object) -> None:
    plain = decode_plain(f"(:version 0 :former-name {text} :it 1)".encode(), declared(int, version=2), DEFAULT_LIMITS)
    assert plain == {"version": 0, "former_name": value, "it": 1}
    assert repr(plain["former_name"]) == repr(value)


def test_unknown_fields_are_written_back_and_read_the_same() -> None:
    former: dict[str, Any] = {
        "none": None,
        "yes": True,
        "no": False,
        "numbers": [1, 2.5, -0.0],
        "text": 'say "hi"',
        "empty": [],
        "nothing": {},
        "nested": [{"a": 1, "flags": [False, {}, None]}, [[]]],
        "flags": {"a": False, "b": False},
        "texts": ["first", "second"],
    }
    stored = encode({"it": 1, **former}, declared(int))
    plain = decode_plain(stored, declared(int), DEFAULT_LIMITS)
    assert {key: plain[key] for key in former} == former


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (float, 150.0, "150.0d0"),
        (float, 7, "7.0d0"),
        (float, -0.0, "-0.0d0"),
        (float, 1e22, "1.0d22"),
        (float, 5e-324, "4.9406564584124655d-324"),
        (float, -5e-324, "-4.9406564584124655d-324"),
        (float, 0.1, "0.1d0"),
        (bool, True, "t"),
        (bool, False, "nil"),
        (bool | None, False, ":{false}"),
        (bool | None, None, "nil"),
        (Literal["a"] | None, None, "nil"),
        (Literal["a"] | None, "a", ":a"),
        (tuple[int, ...] | None, [], "#()"),
        (list[int], [], "nil"),
        (dict[str, int], {}, "nil"),
        (str, "a\nb", '"a\nb"'),
        (str, "overworld", '"overworld"'),
        (Keyword, "overworld", ":overworld"),
        (Keyword, "OVERWORLD", ":|overworld|"),
        (Keyword, "Étoile", '"Étoile"'),
        (Keyword, "", '""'),
        (Calling, "high_mage", ":high_mage"),
        (Rank, 1, "1"),
        (dict[str, int], {"music_volume": 1, "Music-Volume": 2}, '(:music-volume 1 "Music-Volume" 2)'),
        (dict[Keyword, int], {"iron-sword": 1}, "(:iron-sword 1)"),
        (dict[int, int], {5: 1, "-6": 2}, "(5 1 -6 2)"),
        (int, -(2**63), "-9223372036854775808"),
        (int, 2**63 - 1, "9223372036854775807"),
    ],
)
def test_values_are_written_so_that_lisp_reads_them_and_they_read_back(annotation: Any, value: Any, text: str) -> None:
    assert writes(value, annotation) == text
    assert reads(text, annotation) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (float, float("nan"), "thing.it"),
        (float, float("-inf"), "thing.it"),
        (float, 10**400, "thing.it"),
        (int, 2**63, "thing.it"),
        (int, True, "thing.it"),
        (int, None, "thing.it"),
        (int, 1.0, "thing.it"),
        (bool, None, "thing.it"),
        (str, "\ud800", "thing.it"),
        (Keyword, "\udfff", "thing.it"),
        (str, b"bytes", "thing.it"),
        (list[int], None, "thing.it"),
        (list[int], [1, 2**64], "thing.it[1]"),
        (list[Item], [{"item_id": "a"}, {"item_id": "b", "count": "many"}], "thing.it[1].count"),
        (dict[str, list[float]], {"a": [], "b c": [0.0, float("inf")]}, "thing.it['b c'][1]"),
        (dict[str, int], {"\ud800": 1}, "thing.it"),
        (dict[int, int], {"five": 1}, "thing.it"),
        (dict[int, int], {2**63: 1}, "thing.it"),
        (dict[str, int], {5: 1}, "thing.it"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_path(annotation: Any, value: Any, path: str) -> None:
    with pytest.raises(Unstorable) as refused:
        encode({"it": value}, declared(annotation))
    assert refused.value.message.startswith(f"{path} holds ")


@pytest.mark.parametrize("value", [{5: 1}, {1, 2}, object(), [b""], [2**63]])
def test_an_unknown_field_that_could_not_be_read_back_the_same_is_refused(value: object) -> None:
    with pytest.raises(Unstorable, match=r"^thing\.former"):
        encode({"it": 1, "former": value}, declared(int))


@pytest.mark.parametrize(
    ("text", "annotation", "path"),
    [
        ("9223372036854775808", int, "thing.it"),
        ("-9223372036854775809", int, "thing.it"),
        ("9223372036854775808", str, "thing.it"),
        ("9223372036854775808", Rank, "thing.it"),
        ("(1 9223372036854775808)", list[int], "thing.it[1]"),
        ("(:a (:b 99999999999999999999 :c 1))", dict[str, dict[str, int]], "thing.it.a.b"),
        ("(:a (:b 99999999999999999999 :c 1))", int, "thing.it.a.b"),
        ("(9223372036854775808 1)", dict[int, int], "thing.it"),
    ],
)
def test_an_integer_beyond_64_bits_is_refused_with_its_path(text: str, annotation: Any, path: str) -> None:
    with pytest.raises(Corrupt) as refused:
        reads(text, annotation)
    assert refused.value.message == f"A stored thing holds an integer beyond 64 bits at {path}"


@pytest.mark.parametrize(("text", "value"), [("(1 2)", [1, 2]), ("(:a 1 2 3)", ["a", 1, 2, 3])])
@pytest.mark.parametrize("annotation", [Item, dict[str, int], dict[Keyword, int]])
def test_a_list_that_an_older_version_stored_where_a_dictionary_is_now_reaches_the_migration(
    annotation: Any, text: str, value: object
) -> None:
    assert reads(text, annotation) == value


@pytest.mark.parametrize("text", ["1" + "0" * 399, "1" + "0" * 390 + "/3"])
def test_a_number_beyond_the_doubles_is_refused_with_its_path(text: str) -> None:
    with pytest.raises(Corrupt, match=r"range of a double at thing\.it"):
        reads(text, float)


@pytest.mark.parametrize(
    "text",
    [
        "(:hp 1 :hp 2)",
        "(:player-id 1 :PLAYER_ID 2)",
        '(:player-id 1 "player_id" 2)',
        "(:unknown 1 :unknown 2)",
        "(:settings (:a 1 :b 2 :a 3))",
        "(:inventory ((:item-id :a :item-id :b)))",
        "(:unknown (:a 1 :a 2))",
        "(:version 1 :version 1)",
    ],
)
def test_a_key_twice_is_corrupt_at_every_depth(text: str) -> None:
    with pytest.raises(Corrupt, match="twice"):
        decode_plain(text.encode(), Hero.__realmkeep__, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    "text",
    [
        *("nil", "()", "#()", "5", '"text"', ":hp", "(:hp)", "(:hp 1 :xp)", "(hp 1)", "(1 2)", "(nil 1)", "((:hp 1))"),
        *("((:hp 1) 2)", "(:version -1)", "(:version 1.0)", '(:version "1")', "(:version nil)", "(:version t)"),
    ],
)
def test_what_is_no_record_is_corrupt_never_an_empty_one(text: str) -> None:
    with pytest.raises(Corrupt):
        decode_plain(text.encode(), Hero.__realmkeep__, DEFAULT_LIMITS)


def test_a_stored_version_is_handed_over_whatever_it_is() -> None:
    for version in (0, 1, 7, 2**40):
        plain = decode_plain(f"(:version {version} :hp 1)".encode(), Hero.__realmkeep__, DEFAULT_LIMITS)
        assert plain == {"version": version, "hp": 1}


def test_the_caps_hold_for_records() -> None:
    with pytest.raises(RecordTooLarge):
        decode_plain(SPECIFICATION_PLAYER, Hero.__realmkeep__, Limits(bytes_max=len(SPECIFICATION_PLAYER) - 1))
    with pytest.raises(RecordTooLarge):
        decode_plain(SPECIFICATION_PLAYER, Hero.__realmkeep__, Limits(depth_max=2))
    with pytest.raises(RecordTooLarge):
        decode_plain(SPECIFICATION_PLAYER, Hero.__realmkeep__, Limits(nodes_max=50))


def test_every_change_of_one_byte_before_the_checksum_is_noticed() -> None:
    stored = with_crc(b'(:version 1 :hp 85 :name "x"')
    for at in range(stored.index(b" :crc")):
        for bit in range(8):
            changed = bytearray(stored)
            changed[at] ^= 1 << bit
            with pytest.raises(Corrupt, match="checksum"):
                check_crc(bytes(changed))


def test_a_change_inside_the_checksum_field_is_noticed_or_harmless() -> None:
    stored = encode({"it": 5}, declared(int))
    for at in range(stored.index(b" :crc"), len(stored)):
        for byte in range(256):
            changed = stored[:at] + bytes([byte]) + stored[at + 1 :]
            try:
                checked = check_crc(changed)
                plain = decode_plain(changed, declared(int), DEFAULT_LIMITS)
            except Corrupt:
                continue
            assert plain["it"] == 5
            assert checked is (changed == stored) or set(plain) - {"version", "it"} != {"crc"}


def test_a_record_without_checksum_and_one_with_a_line_end_behind_it_are_accepted() -> None:
    assert check_crc(b"(:version 1 :hp 85)") is False
    assert check_crc(with_crc(b"(:version 1 :hp 85") + b"\r\n") is True
    assert check_crc(b"") is False


@pytest.mark.parametrize(
    "text", ['(:CRC "89abcdef" :hp 1)', '(:hp 1 :CRC "89abcdef")', "(:hp 1 :crc nil)", '(:hp 1 :crc  "89abcdef" )']
)
def test_a_checksum_that_a_lisp_program_carried_over_is_corrupt(text: str) -> None:
    assert check_crc(text.encode()) is False
    with pytest.raises(Corrupt, match=":crc"):
        decode_plain(text.encode(), Hero.__realmkeep__, DEFAULT_LIMITS)


def test_none_inside_a_literal_is_nil() -> None:
    stance = Literal["melee", None]  # noqa: PYI061 - this spelling is what is tested
    assert writes(None, stance) == "nil"
    assert writes("melee", stance) == ":melee"
    assert reads("nil", stance) is None
