"""Stored bytes to a record: every way that ends well, and how every other way ends."""

import json
import zlib
from typing import Any

import msgspec
import pytest

from realmkeep.errors import Corrupt, InvalidRecord, MigrationFailed, RecordTooLarge, RecordTooNew, Unstorable
from realmkeep.records.codecs import CODECS, Codec, codec_of, decode, encode
from realmkeep.records.fields import CLAMP, OK, QUARANTINE, REJECT, durable, ephemeral
from realmkeep.records.issues import Issue, issue
from realmkeep.records.limits import Limits
from realmkeep.records.loading import load
from realmkeep.records.marking import peek_marks
from realmkeep.records.record import Part, Record, unknown_fields
from realmkeep.records.sexpr.codec import with_crc
from realmkeep.testing.specification import SpecPlayer
from unit.marked import changed_fields


class Gem(Part):
    gem: str
    carat: int = durable(default=1, ge=0)


class Miner(Record, kind="miner", version=3):
    name: str = durable()
    hp: int = durable(default=100, ge=0, le=100, on_invalid=CLAMP)
    depth: int = durable(default=0, ge=0)
    mine: str = durable(default="home", length_max=20, on_invalid=QUARANTINE)
    gems: list[Gem] = durable(default_factory=list)
    ores: dict[str, int] = durable(default_factory=dict)
    lamp: int | None = durable(default=None)
    target: str = ephemeral(default="nothing")
    buffs: list[str] = ephemeral(default_factory=list)


@Miner.migration(1)
def ores_were_a_number(plain: dict[str, Any]) -> dict[str, Any]:
    ore = plain.pop("ore", 0)
    plain.setdefault("ores", {"iron": ore} if ore else {})
    return plain


@Miner.migration(2)
def mines_have_names(plain: dict[str, Any]) -> dict[str, Any]:
    if plain.get("mine") == "trap":
        raise RuntimeError("it collapsed")
    plain.setdefault("mine", "home")
    return plain


class Keeper(Record, kind="keeper", version=1, keep_unknown=True):
    name: str = durable(default="")


def ada() -> Miner:
    return Miner(name="Ada", gems=[Gem("opal", 3)], ores={"iron": 2}, lamp=7, target="dragon", buffs=["haste"])


def checked(text: bytes) -> bytes:
    """A JSON object with its checksum, as the format has it."""
    return b'%b,"crc":"%08x"}' % (text[:-1], zlib.crc32(text[:-1]))


def stored(plain: object) -> bytes:
    return checked(json.dumps(plain, separators=(",", ":")).encode())


def loaded_plain(**fields: Any) -> Any:
    return load(stored({"version": 3, "name": "Ada"} | fields), Miner)


both_codecs = pytest.mark.parametrize("codec", CODECS)


@both_codecs
def test_what_was_encoded_loads_equal_unmarked_and_with_its_ephemeral_fields_at_their_defaults(codec: Codec) -> None:
    miner = ada()
    loaded = load(encode(miner, codec), Miner)
    assert (loaded.outcome, loaded.issues, loaded.migrated_from, loaded.changed) == (OK, (), None, False)
    assert loaded.require() == miner
    assert (loaded.require().target, loaded.require().buffs) == ("nothing", [])
    assert peek_marks(loaded.require()) == 0
    assert not hasattr(loaded.require(), "__marks__")
    assert encode(loaded.require(), codec) == encode(miner, codec)


@both_codecs
def test_the_codec_is_told_by_the_first_byte(codec: Codec) -> None:
    assert codec_of(encode(ada(), codec)) == codec


@pytest.mark.parametrize("start", ["; by hand\n", "#| a comment |#", " \t\n"])
def test_s_expressions_may_begin_with_comments_and_blanks(start: str) -> None:
    assert load(f'{start}(:version 3 :name "Ada")'.encode(), Miner).require() == Miner(name="Ada")


def test_fields_in_another_order_or_missing_with_a_default_load() -> None:
    assert load(stored({"hp": 5, "name": "Ada", "version": 3}), Miner).require() == Miner(name="Ada", hp=5)


@pytest.mark.parametrize("written", [b"", b" ", b"hello", b"\x00", b"[1]", b"null", b"\xff{}", b'"text"', b"1"])
def test_what_is_no_record_at_all_is_corrupt(written: bytes) -> None:
    with pytest.raises(Corrupt):
        load(written, Miner, accept_unchecked=True)


@both_codecs
def test_every_truncation_is_an_error_and_never_a_shorter_record(codec: Codec) -> None:
    whole = encode(ada(), codec)
    for end in range(len(whole)):
        with pytest.raises(Corrupt):
            load(whole[:end], Miner, accept_unchecked=True)


@both_codecs
def test_a_wrong_checksum_is_corrupt_whatever_is_accepted(codec: Codec) -> None:
    whole = encode(ada(), codec)
    changed = whole.replace(b"Ada", b"Eve")
    assert changed != whole
    for accept_unchecked in (False, True):
        with pytest.raises(Corrupt, match="checksum"):
            load(changed, Miner, accept_unchecked=accept_unchecked)


def test_a_missing_checksum_is_accepted_in_s_expressions_and_in_json_only_where_it_is_said() -> None:
    unchecked = b'{"version":3,"name":"Ada"}'
    with pytest.raises(Corrupt, match=r"miner has no checksum.*accept_unchecked"):
        load(unchecked, Miner)
    assert load(unchecked, Miner, accept_unchecked=True).require() == Miner(name="Ada")
    assert load(b'(:version 3 :name "Ada")', Miner).require() == Miner(name="Ada")


@both_codecs
def test_a_record_beyond_the_caps_is_refused_before_it_is_read(codec: Codec) -> None:
    whole = encode(ada(), codec)
    assert load(whole, Miner, limits=Limits(bytes_max=len(whole))).outcome is OK
    with pytest.raises(RecordTooLarge, match=f"has {len(whole)} bytes"):
        load(whole, Miner, limits=Limits(bytes_max=len(whole) - 1))
    for deep in (b'{"version":3,"name":' + b"[" * 70, b"(:version 3 :name " + b"(" * 70):
        with pytest.raises(RecordTooLarge):
            load(deep, Miner, accept_unchecked=True)


@both_codecs
def test_encoding_keeps_the_caps_that_loading_asks_for(codec: Codec) -> None:
    size = len(encode(ada(), codec))
    limits = Limits(bytes_max=max(size, len(encode(ada()))))
    assert load(encode(ada(), codec, limits=limits), Miner, limits=limits).outcome is OK
    with pytest.raises(RecordTooLarge):
        encode(ada(), codec, limits=Limits(bytes_max=size - 1))


def test_an_s_expression_larger_than_the_json_keeps_the_cap_too() -> None:
    class Traced(Record, kind="traced", version=1):
        path: list[float] = durable(default_factory=list)

    traced = Traced(path=[0.5] * 100)
    size = len(encode(traced, "sexpr"))
    assert len(encode(traced)) < size
    assert len(encode(traced, "sexpr", limits=Limits(bytes_max=size))) == size
    with pytest.raises(RecordTooLarge, match=f"traced takes {size} bytes"):
        encode(traced, "sexpr", limits=Limits(bytes_max=size - 1))


def test_a_newer_record_is_refused_naming_both_versions() -> None:
    for newer in (stored({"version": 4, "name": "Ada"}), b"(:version 4)"):
        with pytest.raises(RecordTooNew, match=r"version 4, .* up to 3"):
            load(newer, Miner)


@pytest.mark.parametrize("version", [-1, 2**31, "3", 3.0, True, None, []])
def test_what_is_no_version_is_corrupt(version: object) -> None:
    with pytest.raises(Corrupt):
        load(stored({"version": version, "name": "Ada"}), Miner)


def test_an_old_record_is_migrated_and_marked_wholly_so_that_it_is_saved() -> None:
    loaded = load(stored({"version": 1, "name": "Ada", "ore": 5}), Miner)
    assert (loaded.outcome, loaded.migrated_from, loaded.changed) == (OK, 1, True)
    miner = loaded.require()
    assert miner == Miner(name="Ada", ores={"iron": 5})
    assert changed_fields(miner) == tuple(field.name for field in Miner.__realmkeep__.durable)
    again = load(encode(miner), Miner)
    assert (again.require(), again.changed) == (miner, False)


def test_data_without_a_version_is_migrated_from_version_1_where_there_is_no_step_0() -> None:
    loaded = load(b'(:name "Ada" :ore 5)', Miner)
    assert (loaded.migrated_from, loaded.require()) == (1, Miner(name="Ada", ores={"iron": 5}))


def test_a_lisp_nil_counts_as_missing_in_the_specification_s_migration() -> None:
    loaded = load(b"(:version 1 :player-id 7 :lifetime-xp nil)", SpecPlayer)
    assert loaded.require().lifetime_xp == 0


def test_a_failed_migration_is_an_error() -> None:
    with pytest.raises(MigrationFailed, match=r"from version 2 to 3 .*it collapsed"):
        load(b'(:version 2 :name "Ada" :mine "trap")', Miner)


def test_a_migration_that_outgrows_the_cap_is_an_error_not_a_record_that_cannot_be_saved() -> None:
    class Grown(Record, kind="grown", version=2):
        text: str = durable()

    @Grown.migration(1)
    def grow(plain: dict[str, Any]) -> dict[str, Any]:
        return {"text": plain["text"] * 1000}

    assert grow({"text": "a"})["text"] == "a" * 1000
    old = b'(:version 1 :text "0123456789")'
    assert len(load(old, Grown).require().text) == 10_000
    with pytest.raises(RecordTooLarge, match="grown takes"):
        load(old, Grown, limits=Limits(bytes_max=10_000))


def test_what_is_clamped_is_mended_reported_and_marked() -> None:
    loaded = loaded_plain(hp=-5)
    assert (loaded.outcome, loaded.changed) == (CLAMP, True)
    assert loaded.issues == (Issue("hp", "-5", "at least 0", CLAMP),)
    assert loaded.require().hp == 0
    assert load(encode(loaded.require()), Miner).outcome is OK


def test_what_is_quarantined_or_rejected_gives_no_record() -> None:
    quarantined = loaded_plain(mine="m" * 21, hp=-5)
    assert (quarantined.outcome, quarantined.record, quarantined.changed) == (QUARANTINE, None, False)
    with pytest.raises(InvalidRecord, match=r"A stored miner is invalid: mine is 'mmm.*at most 20 long") as refused:
        quarantined.require()
    assert refused.value.issues == quarantined.issues
    rejected = loaded_plain(gems=[{"gem": "opal", "carat": -1}])
    assert (rejected.outcome, rejected.record) == (REJECT, None)
    assert rejected.issues == (Issue("gems[0].carat", "-1", "at least 0", REJECT),)


def test_every_field_of_another_type_is_named_and_rejected() -> None:
    loaded = loaded_plain(hp="many", gems=[{"gem": "opal"}, {"gem": 5}], lamp=[], depth=True)
    assert loaded.outcome is REJECT
    assert [(found.path, found.rule) for found in loaded.issues] == [
        ("hp", "expected `int`, got `str`"),
        ("depth", "expected `int`, got `bool`"),
        ("gems[1].gem", "expected `str`, got `int`"),
        ("lamp", "expected `int | null`, got `array`"),
    ]
    assert {found.outcome for found in loaded.issues} == {REJECT}


@pytest.mark.parametrize("value", [1.5, "1", None, 2**63, [1]])
def test_nothing_is_converted_to_make_it_fit(value: object) -> None:
    try:
        loaded = loaded_plain(depth=value)
    except Corrupt:
        assert value == 2**63
        return
    assert loaded.outcome is REJECT


def test_a_missing_field_without_a_default_is_rejected() -> None:
    loaded = load(stored({"version": 3, "hp": 5}), Miner)
    assert loaded.issues == (Issue("name", "missing", "present: it has no default", REJECT),)
    assert loaded.record is None


def test_a_field_that_the_class_does_not_know_is_quarantined() -> None:
    loaded = loaded_plain(gold=5)
    assert (loaded.outcome, loaded.record, loaded.issues[0].path) == (QUARANTINE, None, "gold")
    assert loaded_plain(gold=5, hp="x").outcome is REJECT
    assert [found.path for found in loaded_plain(gold=5, hp="x").issues] == ["gold", "hp"]


def test_an_ephemeral_field_in_stored_bytes_is_not_a_field() -> None:
    assert [found.path for found in loaded_plain(target="dragon").issues] == ["target"]


@both_codecs
def test_unknown_fields_are_kept_and_written_back_where_the_class_says_so(codec: Codec) -> None:
    first = load(stored({"version": 1, "name": "Ada", "gold": [{"coins": 5}], "moon": None}), Keeper)
    assert (first.outcome, first.changed) == (OK, False)
    assert dict(unknown_fields(first.require())) == {"gold": [{"coins": 5}], "moon": None}
    again = load(encode(first.require(), codec), Keeper).require()
    assert dict(unknown_fields(again)) == {"gold": [{"coins": 5}], "moon": None}


@pytest.mark.parametrize(
    "twice", [checked(b'{"version":3,"name":"Eve","name":"Ada"}'), b'(:version 3 :name "Ada" :name "Eve")']
)
def test_a_key_twice_is_corrupt(twice: bytes) -> None:
    with pytest.raises(Corrupt, match="twice"):
        load(twice, Miner)


def test_a_rule_that_changes_the_record_while_it_loads_has_it_saved() -> None:
    class Bent(Record, kind="bent", version=1):
        hp: int = durable(default=1)
        mp: int = durable(default=1)

    @Bent.rule
    def assigns(bent: Bent) -> None:
        bent.hp = 9

    assigns(Bent())
    loaded = load(encode(Bent()), Bent)
    assert (loaded.outcome, loaded.changed) == (OK, True)
    assert changed_fields(loaded.require()) == ("hp", "mp")


def test_rules_across_fields_run_on_what_is_loaded() -> None:
    class Paired(Record, kind="paired", version=1):
        hp: int = durable(default=1)
        max_hp: int = durable(default=10)

    @Paired.rule(on_invalid=CLAMP)
    def at_most_max(paired: Paired) -> Issue | None:
        over = paired.hp > paired.max_hp
        return issue("hp", paired.hp, "at most max_hp", mended=paired.max_hp) if over else None

    assert at_most_max(Paired()) is None
    loaded = load(b"(:version 1 :hp 50)", Paired)
    assert (loaded.outcome, loaded.require().hp, loaded.changed) == (CLAMP, 10, True)


def test_a_rule_that_mends_with_what_cannot_be_stored_is_an_error() -> None:
    class Jinxed(Record, kind="jinxed", version=1):
        gems: list[Gem] = durable(default_factory=list)

    foreign: Any = 5

    @Jinxed.rule(on_invalid=CLAMP)
    def no_gems(jinxed: Jinxed) -> Issue | None:
        return None if jinxed.gems else issue("gems", jinxed.gems, "some", mended=[Gem(foreign)])

    assert no_gems(Jinxed()) is not None
    with pytest.raises(Unstorable, match="gem"):
        load(b"(:version 1)", Jinxed)


def test_many_issues_make_a_short_message() -> None:
    loaded = loaded_plain(gems=[{"gem": "opal", "carat": -1}] * 50)
    with pytest.raises(InvalidRecord, match="and 45 more") as refused:
        loaded.require()
    assert len(str(refused.value)) < 500
    assert len(refused.value.issues) == 50


def test_decoding_gives_the_plain_dictionary_of_any_version_without_the_checksum() -> None:
    plain = {"version": 99, "anything": [1, {"a": None}]}
    assert decode(stored(plain), Miner) == plain
    assert decode(with_crc(b"(:version 99 :anything (1 2)"), Miner) == {"version": 99, "anything": [1, 2]}


def test_both_codecs_store_the_same_plain_values() -> None:
    as_json, as_sexpr = (decode(encode(ada(), codec), Miner) for codec in CODECS)
    assert as_json == as_sexpr == msgspec.to_builtins(ada())
