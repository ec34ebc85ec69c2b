import json
import math
import sys
import threading
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from realmkeep.errors import Corrupt, RealmkeepError, RecordTooLarge, Unstorable
from realmkeep.records.fields import durable, ephemeral
from realmkeep.records.json_codec import check_crc, decode_record, encode, with_crc
from realmkeep.records.json_reader import count_nodes, decode_plain
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.record import Part, Record, set_unknown_fields, unknown_fields
from realmkeep.testing.specification import SpecItem, SpecPlayer, SpecQuest, SpecStack, specification_player

TAIL = len(',"crc":"89abcdef"}')


class Spot(Part):
    place: tuple[float, float] = (0.0, 0.0)
    height: float | None = None
    note: str = ""
    reach: tuple[float | None, ...] = ()


class Sheep(Record, kind="sheep", version=2):
    wool: int = durable(default=0)
    weight: float = durable(default=1.0)
    speed: float | None = durable(default=None)
    name: str = durable(default="")
    grazed: list[int] = durable(default_factory=list)
    spots: list[Spot] = durable(default_factory=list)
    diary: dict[str, float] = durable(default_factory=dict)
    shorn: dict[int, int] = durable(default_factory=dict)
    lambs: set[int] = durable(default_factory=set)
    shepherd: int = ephemeral(default=7)


@Sheep.migration(1)
def sheep_were_plain(plain: dict[str, Any]) -> dict[str, Any]:
    return plain


class Satchel(Record, kind="satchel", version=1, keep_unknown=True):
    coins: int = durable(default=0)


def spoil(change: Callable[[Sheep], object]) -> Sheep:
    sheep = Sheep()
    encode(sheep)
    change(sheep)
    return sheep


def put(name: str, value: Any) -> Callable[[Sheep], object]:
    return lambda sheep: setattr(sheep, name, value)


def test_the_stored_form_is_the_one_documented() -> None:
    player = specification_player()
    stored = encode(player)
    plain = json.loads(stored)
    assert list(plain) == ["version", *SpecPlayer.__blueprint__.names, "crc"]
    body, written = stored[:-TAIL], plain.pop("crc")
    assert written == f"{zlib.crc32(body):08x}"
    assert stored == body + b',"crc":"' + written.encode() + b'"}'
    assert body + b"}" == json.dumps(plain, separators=(",", ":")).encode() == msgspec.json.encode(player)
    assert with_crc(body + b"}") == stored
    assert check_crc(stored)


def test_a_record_without_fields_is_stored_too() -> None:
    class Flag(Record, kind="flag", version=1):
        up: bool = ephemeral(default=True)

    assert encode(Flag()) == b'{"version":1,"crc":"%08x"}' % zlib.crc32(b'{"version":1')
    assert decode_record(encode(Flag(up=False)), Flag) == Flag()


def test_ephemeral_fields_never_reach_the_bytes_and_come_back_at_their_defaults() -> None:
    stored = encode(Sheep(shepherd=99))
    assert b"shepherd" not in stored
    assert b"99" not in stored[:-TAIL]
    loaded = decode_record(stored, Sheep)
    assert loaded is not None
    assert loaded.shepherd == 7


def test_equal_records_are_equal_bytes_whatever_order_their_entries_came_in() -> None:
    one = Sheep(diary={"a": 1.0, "b": 2.0}, shorn={9: 1, 10: 2}, lambs={1, 9, 17, 33})
    other = Sheep(diary={"b": 2.0, "a": 1.0}, shorn={10: 2, 9: 1}, lambs={33, 17, 9, 1})
    assert one == other
    assert encode(one) == encode(other)
    assert decode_record(encode(one), Sheep) == one


UNSTORABLE: list[tuple[Callable[[Sheep], object], str]] = [
    (put("weight", math.nan), "Sheep.weight is nan"),
    (put("weight", -math.inf), "Sheep.weight is -inf"),
    (put("speed", math.nan), "Sheep.speed is nan"),
    (put("wool", 2**63), "Sheep.wool is an integer beyond 64 bits"),
    (put("wool", -(2**63) - 1), "Sheep.wool is an integer beyond 64 bits"),
    (put("wool", 10**300), "Sheep.wool is an integer beyond 64 bits"),
    (put("name", "\ud800"), "Sheep.name holds half a surrogate pair"),
    (lambda sheep: sheep.grazed.extend([1, 2**64]), r"Sheep.grazed\[1\] is an integer beyond 64 bits"),
    (lambda sheep: sheep.diary.update(day=math.inf), r"Sheep.diary\['day'\] is inf"),
    (lambda sheep: sheep.diary.update({"\udfff": 1.0}), "a key of Sheep.diary holds half a surrogate pair"),
    (lambda sheep: sheep.spots.append(Spot((0.0, math.nan))), r"Sheep.spots\[0\].place\[1\] is nan"),
    (lambda sheep: sheep.spots.append(Spot(height=math.nan)), r"Sheep.spots\[0\].height is nan"),
    (lambda sheep: sheep.spots.append(Spot(reach=(None, math.nan))), r"Sheep.spots\[0\].reach\[1\] is nan"),
    (lambda sheep: sheep.spots.append(Spot(note="\udc00")), r"Sheep.spots\[0\].note holds half a surrogate pair"),
    (lambda sheep: sheep.shorn.update({2**63: 1}), "a key of Sheep.shorn is an integer beyond 64 bits"),
    (lambda sheep: sheep.lambs.add(2**63), "an entry of Sheep.lambs is an integer beyond 64 bits"),
    (lambda sheep: sheep.grazed.append(2.5), r"Sheep.grazed\[0\]: Expected `int`, got `float`"),  # pyright: ignore[reportArgumentType] - the mistake
    (lambda sheep: sheep.grazed.append(None), r"Sheep.grazed\[0\]: Expected `int`, got `null`"),  # pyright: ignore[reportArgumentType] - the mistake
    (lambda sheep: sheep.grazed.append(object()), "Sheep: Encoding objects of type object is unsupported"),  # pyright: ignore[reportArgumentType] - the mistake
    (lambda sheep: sheep.spots.append(SpecStack("wool")), r"Sheep.spots\[0\]: Object contains unknown field `item_id`"),  # pyright: ignore[reportArgumentType] - the mistake
    (lambda sheep: sheep.spots.append(sheep.spots), "a container that contains itself"),  # pyright: ignore[reportArgumentType] - the mistake
]


@pytest.mark.parametrize(("change", "says"), UNSTORABLE, ids=[says for _, says in UNSTORABLE])
def test_what_could_not_be_loaded_again_is_not_stored(change: Callable[[Sheep], object], says: str) -> None:
    sheep = spoil(change)
    for _ in range(2):
        with pytest.raises(Unstorable, match=says):
            encode(sheep)


def test_a_part_of_another_class_with_the_same_fields_and_more_is_not_stored() -> None:
    player = specification_player()
    player.bank.append(SpecItem("sword", 1, 2))  # pyright: ignore[reportArgumentType] - the mistake
    with pytest.raises(Unstorable, match=r"SpecPlayer.bank\[1\]: Object contains unknown field `slot`"):
        encode(player)


def test_a_key_of_another_type_is_not_stored() -> None:
    player = specification_player()
    player.settings[3] = 1.0  # pyright: ignore[reportArgumentType] - the mistake
    with pytest.raises(Unstorable, match="SpecPlayer: a dictionary with text keys has a key of another type"):
        encode(player)


def test_the_limits_of_numbers_are_stored_exactly() -> None:
    sheep = Sheep(
        wool=2**63 - 1, weight=1.7976931348623157e308, grazed=[-(2**63)], diary={"least": 5e-324, "zero": -0.0}
    )
    loaded = decode_record(encode(sheep), Sheep)
    assert loaded == sheep
    assert loaded is not None
    assert math.copysign(1, loaded.diary["zero"]) == -1


def test_the_text_null_is_no_nan() -> None:
    assert decode_record(encode(Sheep(name="null", speed=None)), Sheep) == Sheep(name="null")


def test_a_mended_record_can_be_stored() -> None:
    sheep = spoil(lambda sheep: sheep.grazed.append(2**64))
    with pytest.raises(Unstorable):
        encode(sheep)
    sheep.grazed.clear()
    assert encode(sheep) == encode(Sheep())


def test_threads_that_encode_at_once_do_not_disturb_each_other() -> None:
    players = [specification_player(items) for items in range(2, 14)]
    expected = [encode(player) for player in players]
    results: list[bool] = []

    def work(player: SpecPlayer, bytes_: bytes) -> None:
        results.append(all(encode(player) == bytes_ for _ in range(300)))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads give way to each other between any two steps
    threads = [threading.Thread(target=work, args=pair) for pair in zip(players, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert results == [True] * len(players)


def test_a_record_beyond_the_cap_is_refused_with_its_largest_field() -> None:
    player = specification_player()
    player.quest_progress = [SpecQuest(f"quest-{number}", number) for number in range(50)]
    size = len(encode(player))
    assert len(encode(player, Limits(bytes_max=size))) == size
    with pytest.raises(RecordTooLarge, match=rf"player takes {size} bytes, more than the {size - 1}.*quest_progress"):
        encode(player, Limits(bytes_max=size - 1))


def test_a_record_of_too_many_values_is_refused_as_it_would_be_when_loaded() -> None:
    sheep = Sheep(grazed=[0] * 300)
    stored = encode(sheep)
    nodes = count_nodes(stored)
    assert 300 < nodes < 350
    assert encode(sheep, Limits(nodes_max=nodes)) == stored
    assert decode_record(stored, Sheep, Limits(nodes_max=nodes)) == sheep
    fewer = Limits(nodes_max=nodes - 1)
    with pytest.raises(RecordTooLarge, match=r"sheep takes .* values and keys.*grazed"):
        encode(sheep, fewer)
    for read in (lambda: decode_record(stored, Sheep, fewer), lambda: plain(stored, fewer)):
        with pytest.raises(RecordTooLarge, match=f"has {nodes} values and keys"):
            read()


def plain(stored: bytes, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    return decode_plain(stored, Sheep.__realmkeep__, limits)


def test_every_change_of_one_byte_is_noticed() -> None:
    """All 255 other values at every position; also where no checksum is asked for, nothing else may be read."""
    sheep = Sheep(wool=12, name="Dolly", grazed=[1, 2], spots=[Spot((0.5, 1.5))], lambs={3})
    stored = encode(sheep)
    for position, byte in enumerate(stored):
        for other in range(256):
            if other != byte:
                damaged = stored[:position] + bytes((other,)) + stored[position + 1 :]
                assert not read_without_complaint(damaged), damaged


def read_without_complaint(stored: bytes) -> bool:
    """Whether the bytes pass for what was written: with a checksum that is right."""
    try:
        if decode_record(stored, Sheep) is not None:
            return True
        checked = check_crc(stored)
        found = plain(stored)
    except RealmkeepError:
        return False
    return checked or "crc" in found


def test_the_check_for_changed_bytes_would_notice_one_that_is_not() -> None:
    assert read_without_complaint(encode(Sheep()))


OTHERWISE: list[Callable[[bytes], bytes]] = [
    lambda body: body.replace(b'"version":2', b'"version":1'),
    lambda body: body.replace(b'"version":2', b'"version":3'),
    lambda body: body.replace(b'"version":2,', b""),
    lambda body: body.replace(b'"version":2', b'"version":2.0'),
    lambda body: body.replace(b'"version"', b'"Version"'),
    lambda body: body.replace(b'"wool":0', b'"wool":0.0'),
    lambda body: body.replace(b'"wool":0', b'"wool":-0'),
    lambda body: body.replace(b'"wool":0', b'"wool":"0"'),
    lambda body: body.replace(b'"wool":0', b'"wool":null'),
    lambda body: body.replace(b'"wool":0', b'"wool":9223372036854775808'),
    lambda body: body.replace(b'"wool":0', b'"wool":1,"wool":0'),
    lambda body: body.replace(b'"wool":0', b'"wool":0,"wolf":0'),
    lambda body: body.replace(b'"wool":0,', b""),
    lambda body: body.replace(b'"weight":1.0', b'"weight":1'),
    lambda body: body.replace(b'"weight":1.0', b'"weight":NaN'),
    lambda body: body.replace(b'"weight":1.0', b'"weight":1e999'),
    lambda body: body.replace(b'"diary":{}', b'"diary":{"a":1.0,"a":1.0}'),
    lambda body: body.replace(b'"shorn":{}', b'"shorn":{"1":1,"01":1}'),
    lambda body: body.replace(b'"lambs":[]', b'"lambs":[1,1]'),
    lambda body: body.replace(b'"lambs":[]', b'"lambs":[2,1]'),
    lambda body: body.replace(b":", b": ", 1),
    lambda body: body.replace(b'"name":""', b'"name":"\\u0041"'),
    lambda body: body.replace(b'"name":""', b'"name":"\xff"'),
]


@pytest.mark.parametrize("change", OTHERWISE)
def test_the_short_way_takes_nothing_but_what_encode_writes(change: Callable[[bytes], bytes]) -> None:
    body = encode(Sheep())[:-TAIL] + b"}"
    changed = change(body)
    assert changed != body
    assert decode_record(with_crc(changed), Sheep) is None
    assert decode_record(with_crc(body), Sheep) == Sheep()


def test_the_short_way_leaves_bytes_without_a_checksum_to_the_long_one() -> None:
    assert decode_record(encode(Sheep())[:-TAIL] + b"}", Sheep) is None
    assert not check_crc(b"")
    assert not check_crc(b'{"version":2}')


def test_a_wrong_checksum_is_corrupt() -> None:
    stored = encode(Sheep())
    for digits in (b"00000000", stored[-10:-2].upper().replace(b"0", b"O"), b"        "):
        with pytest.raises(Corrupt, match="The checksum is"):
            decode_record(stored[:-10] + digits + b'"}', Sheep)


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}x", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":"\n"}', "not JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8 at byte 0"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8 at byte 6"),
        (b'{"a":"\\ud800"}', r"sheep\['a'\] holds half a surrogate pair"),
        (b'{"\\udfff":1}', "a key of sheep holds half a surrogate pair"),
        (b'{"a":[NaN]}', r"sheep\['a'\]\[0\] is nan"),
        (b'{"a":{"b":-Infinity}}', r"sheep\['a'\]\['b'\] is -inf"),
        (b'{"a":1e999}', r"sheep\['a'\] is inf"),
        (b'{"a":[1,9223372036854775808]}', r"sheep\['a'\]\[1\] is an integer beyond 64 bits"),
        (b'{"a":-9223372036854775809}', r"sheep\['a'\] is an integer beyond 64 bits"),
        (b'{"a":%s}' % (b"9" * 5000), "an integer beyond 64 bits"),
        (b'{"a":1,"a":1}', "the key 'a' twice"),
        (b'{"a":[{"b":{"c":1,"d":2,"c":3}}]}', "the key 'c' twice"),
        (b'{"a":1,"\\u0061":1}', "the key 'a' twice"),
        (b'{"version":true}', "not a whole number from 0: True"),
        (b'{"version":-1}', "not a whole number from 0: -1"),
        (b'{"version":"2"}', "not a whole number from 0: '2'"),
        (b'{"crc":"00000000","a":1}', "a crc that is not its last field, as `encode` writes it"),
        (b'{"a":1,"crc":"0000000G"}', "a crc that is not its last field, as `encode` writes it"),
        (b'{"a":1,"crc": "00000000"}', "a crc that is not its last field, as `encode` writes it"),
        (b'{"a":1,"crc":"00000000"}\n', "a crc that is not its last field, as `encode` writes it"),
    ],
)
def test_the_long_way_says_what_is_wrong(stored: bytes, says: str) -> None:
    with pytest.raises(Corrupt, match=says):
        plain(stored)


def test_the_long_way_reads_every_value_exactly() -> None:
    value: dict[str, object] = {
        "version": 0,
        "a": [1.5, -0.0, 2**63 - 1, -(2**63), None, True, "Zoë 😀", {"b": {}}],
        "": [],
    }
    for text in (json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False)):
        assert plain(text.encode()) == value


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_has_a_cap(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deepest = '{"a":' + opening * 63 + "1" + closing * 63 + "}"
    assert plain(deepest.encode())
    with pytest.raises(RecordTooLarge, match="deeper than the 64 levels"):
        plain(('{"a":' + opening * 64 + "1" + closing * 64 + "}").encode())
    with pytest.raises(RecordTooLarge, match="deeper than the 64 levels"):
        plain(opening.encode() * 3000)


def test_brackets_in_texts_are_no_nesting() -> None:
    text = '\\"[[' * 100
    assert plain(json.dumps({"a": text, "b": [text]}).encode()) == {"a": text, "b": [text]}


def test_size_has_a_cap() -> None:
    with pytest.raises(RecordTooLarge, match="65537 bytes, more than the 65536"):
        plain(b'{"a":"' + b"x" * (2**16 + 1 - 8) + b'"}')
    stored = encode(Sheep())
    with pytest.raises(RecordTooLarge, match=f"{len(stored)} bytes, more than the {len(stored) - 1}"):
        decode_record(stored, Sheep, Limits(bytes_max=len(stored) - 1))


def test_nodes_are_counted_as_values_and_keys() -> None:
    assert count_nodes(b'{"a":[1,2,{"b":null}]}') == 8  # the object, a, the list, 1, 2, the inner object, b, null
    assert count_nodes(b'{"a,:[{":"}]"}') == 3


def test_unknown_fields_are_written_back_and_checked() -> None:
    satchel = Satchel(coins=3)
    assert unknown_fields(satchel) == {}
    encode(satchel)
    set_unknown_fields(satchel, {"z": [1, {"a": None}], "b": "x"})
    stored = encode(satchel)
    assert stored == with_crc(b'{"version":1,"coins":3,"b":"x","z":[1,{"a":null}]}')
    assert check_crc(stored)
    assert encode(satchel) == stored
    assert decode_record(stored, Satchel) is None
    assert unknown_fields(satchel) == {"z": [1, {"a": None}], "b": "x"}
    set_unknown_fields(satchel, {})
    assert encode(satchel) == encode(Satchel(coins=3))
