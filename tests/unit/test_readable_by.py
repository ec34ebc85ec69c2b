"""Old and new code of one record take turns: a newer version that is readable by the old code loses nothing there."""

from random import Random
from typing import Any, Literal

import pytest

from realmkeep.errors import Corrupt, DefinitionError, RecordTooNew, Unstorable
from realmkeep.records.codecs import CODECS, Codec, encode
from realmkeep.records.fields import OK, Keyword, durable
from realmkeep.records.json_codec import with_crc
from realmkeep.records.loading import load
from realmkeep.records.record import Part, Record, unknown_fields, written_version

NAMES = ("iron-sword", "iron_sword", "IRON", "B c", "a", "nil", "t", "", "music-volume", ":x", "1", "é")
PLAIN_NAMES = tuple(name for name in NAMES if name)


class Pet(Part):
    name: str
    tame: bool = False


class OldPilgrim(Record, kind="pilgrim-of-releases", version=2):
    name: str = durable()
    gold: int = durable(default=0, ge=0)


class NewPilgrim(Record, kind="pilgrim-of-releases", version=4, suffix="new", readable_by=2):
    name: str = durable()
    gold: int = durable(default=0, ge=0)
    honor: int = durable(default=0)
    luck: float = durable(default=0.5)
    away: bool = durable(default=False)
    guest: bool | None = durable(default=None)
    rank: Literal["squire", "knight"] = durable(default="squire")
    charms: dict[Keyword, int] = durable(default_factory=dict)
    notes: dict[str, str] = durable(default_factory=dict)
    flags: list[Keyword] = durable(default_factory=list)
    pets: list[Pet] = durable(default_factory=list)
    seen: dict[int, float] = durable(default_factory=dict)
    oath: tuple[int, ...] | None = durable(default=None)


@OldPilgrim.migration(1)
@NewPilgrim.migration(1)
@NewPilgrim.migration(2)
@NewPilgrim.migration(3)
def add_fields_with_defaults(plain: dict[str, Any]) -> dict[str, Any]:
    """Only fields with a default were added."""
    return plain


class StrictPilgrim(Record, kind="pilgrim-of-releases", version=1, suffix="strict"):
    name: str = durable()


def lived(random: Random, pilgrim: NewPilgrim) -> None:
    """A day of the new release: each of its fields gets another value."""
    pilgrim.honor = random.randint(-(2**62), 2**62)
    pilgrim.luck = random.choice([0.0, -0.0, 2.0, 1e300, random.random()])
    pilgrim.away = random.random() < 0.5
    pilgrim.guest = random.choice([None, True, False])
    pilgrim.rank = random.choice(["squire", "knight"])
    pilgrim.charms = {name: random.randint(0, 9) for name in random.sample(PLAIN_NAMES, 3)}
    pilgrim.notes = {name: random.choice(NAMES) for name in random.sample(NAMES, random.randint(0, 4))}
    pilgrim.flags = random.sample(PLAIN_NAMES, random.randint(0, 4))
    pilgrim.pets = [Pet(name=random.choice(NAMES), tame=random.random() < 0.5) for _ in range(random.randint(0, 2))]
    pilgrim.seen = {random.randint(-3, 3): float(random.randint(0, 3)) for _ in range(random.randint(0, 3))}
    pilgrim.oath = random.choice([None, (), (1, 2)])


@pytest.mark.parametrize("codec", CODECS)
def test_a_thousand_exchanges_between_old_and_new_code_lose_no_field(codec: Codec) -> None:
    random = Random(1)
    pilgrim = NewPilgrim(name="Ada")
    for turn in range(1000):
        lived(random, pilgrim)
        stored = encode(pilgrim, codec)
        old = load(stored, OldPilgrim)
        assert (old.outcome, old.changed, old.migrated_from) == (OK, False, None)
        visitor = old.require()
        assert encode(visitor, "json") == encode(visitor, "sexpr") == stored  # as found, whatever the old server writes
        visitor.gold = turn
        pilgrim.gold = turn
        again = load(encode(visitor, random.choice(CODECS)), NewPilgrim)
        assert (again.outcome, again.migrated_from) == (OK, None)
        assert again.require() == pilgrim, turn
        pilgrim = again.require()


@pytest.mark.parametrize("codec", CODECS)
def test_the_old_code_keeps_the_version_and_tells_older_code_the_same(codec: Codec) -> None:
    visitor = load(encode(NewPilgrim(name="Ada", honor=7), codec), OldPilgrim).require()
    assert written_version(visitor) == 4
    assert unknown_fields(visitor)["honor"] == (7 if codec == "json" else "7")
    with pytest.raises(RecordTooNew, match=r"stored at version 4, .* up to 1"):
        load(encode(visitor, codec), StrictPilgrim)
    visitor.gold = -1
    assert load(encode(visitor, codec), OldPilgrim).record is None  # its own rules hold as ever
    visitor.gold = 2**70
    with pytest.raises(Unstorable):
        encode(visitor, codec)


@pytest.mark.parametrize("codec", CODECS)
def test_what_an_older_version_wrote_is_migrated_and_a_read_without_a_change_is_cheap(codec: Codec) -> None:
    loaded = load(encode(OldPilgrim(name="Ada", gold=3), codec), NewPilgrim)
    assert (loaded.migrated_from, loaded.require()) == (2, NewPilgrim(name="Ada", gold=3))
    stored = encode(loaded.require(), codec)
    assert encode(loaded.require(), codec) == stored
    assert load(stored, NewPilgrim).require() == NewPilgrim(name="Ada", gold=3)


def test_the_stored_form_of_a_class_without_older_readers_is_as_ever() -> None:
    assert encode(OldPilgrim(name="Ada")) == with_crc(b'{"version":2,"name":"Ada","gold":0}')
    assert encode(OldPilgrim(name="Ada"), "sexpr").startswith(b'(:version 2 :name "Ada" :gold 0 :crc "')


def test_a_stored_readable_by_is_the_last_before_the_checksum() -> None:
    stored = encode(NewPilgrim(name="Ada"))
    assert b',"readable_by":2,"crc":"' in stored
    assert encode(load(stored, OldPilgrim).require()) == stored
    assert b' :readable-by 2 :crc "' in encode(NewPilgrim(name="Ada"), "sexpr")


@pytest.mark.parametrize("told", ["0", "5", "true", '"2"', "null", "1.0"])
def test_a_readable_by_that_is_no_version_is_corrupt(told: str) -> None:
    stored = with_crc(b'{"version":4,"name":"Ada","readable_by":%b}' % told.encode())
    if told == "null":
        with pytest.raises(RecordTooNew):
            load(stored, OldPilgrim)
        return
    with pytest.raises(Corrupt, match=r"readable_by is .*, not a whole number from 1 to 4"):
        load(stored, OldPilgrim)


@pytest.mark.parametrize("readable_by", [0, 3, True, "1"])
def test_a_class_is_readable_by_its_own_or_an_older_version(readable_by: Any) -> None:
    with pytest.raises(DefinitionError, match=r"readable_by .* is not a whole number from 1 to its version, 2"):

        class Wrong(Record, kind="wrong-reader", version=2, readable_by=readable_by):  # pyright: ignore[reportUnusedClass]
            name: str = durable()


def test_the_name_is_no_name_of_a_field() -> None:
    with pytest.raises(DefinitionError, match="reserved"):

        class Wrong(Record, kind="wrong-reader"):  # pyright: ignore[reportUnusedClass]
            readable_by: int = durable(default=0)
