"""Where both codecs do the same thing there is one rule: what one takes or refuses, the other does as well."""

from collections.abc import Callable

import pytest

from realmkeep.errors import RealmkeepError, RecordTooLarge
from realmkeep.records.codecs import CODECS, Codec, encode
from realmkeep.records.fields import OK, durable
from realmkeep.records.limits import Limits
from realmkeep.records.loading import load
from realmkeep.records.record import Record


class Chest(Record, kind="chest-of-codecs", version=1, keep_unknown=True):
    counts: list[int] = durable(default_factory=list)
    pairs: list[tuple[int, ...]] = durable(default_factory=list)
    named: dict[str, int] = durable(default_factory=dict)
    open: bool = durable(default=False)
    weight: float = durable(default=0.0)


def ends(text: str) -> str:
    """How a stored text ends: its outcome, or the error's name."""
    try:
        return load(text.encode(), Chest, limits=Limits(depth_max=6, nodes_max=60), accept_unchecked=True).outcome.name
    except RealmkeepError as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("as_json", "as_sexpr"),
    [
        ('{"version":1,"counts":[1.0]}', "(:version 1 :counts (1.0))"),
        ('{"version":1,"counts":[true]}', "(:version 1 :counts (t))"),
        ('{"version":1,"open":1}', "(:version 1 :open 1)"),
        ('{"version":1,"open":"t"}', '(:version 1 :open "t")'),
        ('{"version":1,"weight":3}', "(:version 1 :weight 3)"),
        ('{"version":1,"weight":"3"}', '(:version 1 :weight "3")'),
        ('{"version":1,"weight":1e999}', "(:version 1 :weight 1d999)"),
        ('{"version":1,"weight":1e-999}', "(:version 1 :weight 1d-999)"),
        ('{"version":1,"weight":-0.01E-400}', "(:version 1 :weight -0.01d-400)"),
        ('{"version":1,"weight":-0.0e-999}', "(:version 1 :weight -0.0d-999)"),
        ('{"version":1,"weight":5e-324}', "(:version 1 :weight 5d-324)"),
        ('{"version":1,"z":{"a":[1e-999]}}', "(:version 1 :z (:a (1d-999)))"),
        ('{"version":1,"counts":[9223372036854775808]}', "(:version 1 :counts (9223372036854775808))"),
        (f'{{"version":1,"counts":[{"9" * 5000}]}}', f"(:version 1 :counts ({'9' * 5000}))"),
        ('{"version":1.0}', "(:version 1.0)"),
        ('{"version":true}', "(:version t)"),
        ('{"version":-1}', "(:version -1)"),
        ('{"version":2}', "(:version 2)"),
        ('{"version":"1"}', '(:version "1")'),
        ('{"version":1,"crc":"00000000"}', '(:version 1 :crc "00000000")'),
        ('{"version":1,"counts":[1]} x', "(:version 1 :counts (1)) x"),
        ('{"version":1,"counts":[1', "(:version 1 :counts (1"),
        ('{"version":1,"z":[[[[[1]]]]]}', "(:version 1 :z (((((1))))))"),
        ('{"version":1,"z":[[[[[[1]]]]]]}', "(:version 1 :z ((((((1)))))))"),
        (f'{{"version":1,"counts":[{",".join(["1"] * 200)}]}}', f"(:version 1 :counts ({' '.join(['1'] * 200)}))"),
        (' \n{"version":1}', " \n(:version 1)"),
        ('{"version":1} \r\n', "(:version 1) \r\n"),
        ("\ufeff{}", "\ufeff(:version 1)"),
    ],
)
def test_both_codecs_end_alike(as_json: str, as_sexpr: str) -> None:
    assert ends(as_json) == ends(as_sexpr)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("blanks", ["\n", " ", "\r\n", "\t\n\n"])
def test_a_line_s_end_that_an_editor_added_is_no_damage(codec: Codec, blanks: str) -> None:
    stored = encode(Chest(counts=[1, 2]), codec)
    assert load(stored + blanks.encode(), Chest).require() == Chest(counts=[1, 2])
    assert ends((stored + b"x").decode()) == "Corrupt"


@pytest.mark.parametrize(
    "kept",
    [
        '{"Frost Brand":2,"":{"a b":1}}',
        '{"a":1,"Frost Brand":[{"x y":null}]}',
        '{"{dict}":1}',
        '["{dict}","a",1]',
        '[{},"a",1]',
        '[false,{"b c":{}}]',
        '"{dict}"',
    ],
)
def test_an_unknown_field_is_kept_by_either_codec_whatever_it_holds(kept: str) -> None:
    chest = load(f'{{"version":1,"kept":{kept}}}'.encode(), Chest, accept_unchecked=True).require()
    texts = {encode(load(encode(chest, codec), Chest).require(), "json") for codec in CODECS}
    assert texts == {encode(chest, "json")}


def numbers(count: int) -> Chest:
    return Chest(counts=list(range(count)))


def empties(count: int) -> Chest:
    return Chest(pairs=[()] * count)


def singles(count: int) -> Chest:
    return Chest(pairs=[(1,)] * count)


def names(count: int) -> Chest:
    return Chest(named={f"name{number}": number for number in range(count)})


@pytest.mark.parametrize("made", [numbers, empties, singles, names])
def test_the_caps_are_the_same_and_what_is_written_is_read(made: Callable[[int], Chest]) -> None:
    limits = Limits(nodes_max=200)
    largest: dict[Codec, int] = {}
    for count in range(220):
        for codec in CODECS:
            try:
                stored = encode(made(count), codec, limits=limits)
            except RecordTooLarge:
                continue
            largest[codec] = count
            assert load(stored, Chest, limits=limits).outcome is OK
    assert largest["json"] == largest["sexpr"] < 219
