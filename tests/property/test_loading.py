"""What is stored comes back as it was, by either codec and whichever way it is read."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realmkeep.errors import MigrationFailed
from realmkeep.records.codecs import CODECS, Codec, encode
from realmkeep.records.fields import CLAMP, OK, QUARANTINE, REJECT, Keyword, Validity, durable, ephemeral
from realmkeep.records.issues import gravest_outcome
from realmkeep.records.loading import load
from realmkeep.records.marking import peek_marks
from realmkeep.records.record import Part, Record
from realmkeep.records.validation import validate_live

KNOWN = {"sword", "shield", "coins"}


class Thing(Part):
    thing: Keyword = durable(known=KNOWN.__contains__, on_invalid=QUARANTINE)
    count: int = durable(default=1, ge=0)
    charm: float | None = durable(default=None, le=1.0, on_invalid=CLAMP)


class Bard(Record, kind="bard", version=1):
    name: str = durable(length_max=8)
    hp: int = durable(default=10, ge=0, le=50, on_invalid=CLAMP)
    x: float = durable(default=0.0)
    alive: bool = durable(default=True)
    things: list[Thing] = durable(default_factory=list, length_max=3, on_invalid=QUARANTINE)
    tunes: dict[str, int] = durable(default_factory=dict, ge=0)
    moods: set[Keyword] = durable(default_factory=set)
    home: tuple[Keyword, float] | None = durable(default=None)
    audience: list[int] = ephemeral(default_factory=list)


numbers = st.integers(-60, 60) | st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
things = st.builds(
    Thing, thing=st.sampled_from(sorted(KNOWN)) | texts, count=st.integers(-1, 9), charm=st.none() | floats
)
bards = st.builds(
    Bard,
    name=texts,
    hp=numbers,
    x=floats,
    alive=st.booleans(),
    things=st.lists(things, max_size=4),
    tunes=st.dictionaries(texts, st.integers(-1, 9), max_size=4),
    moods=st.sets(texts, max_size=4),
    home=st.none() | st.tuples(texts, floats),
)
codecs = st.sampled_from(CODECS)


def unsigned(stored: bytes) -> bytes:
    """The same record without its checksum, so that it is read the long way."""
    start = stored.rindex(b',"crc"' if stored.startswith(b"{") else b" :crc")
    return stored[:start] + stored[-1:]


def outcome_by_hand(bard: Bard) -> Validity:
    """The rules of `Bard`, said once more."""
    rejected = (
        len(bard.name) > 8 or any(thing.count < 0 for thing in bard.things) or min(bard.tunes.values(), default=0) < 0
    )
    quarantined = len(bard.things) > 3 or any(thing.thing not in KNOWN for thing in bard.things)
    clamped = not 0 <= bard.hp <= 50 or any(thing.charm is not None and thing.charm > 1 for thing in bard.things)
    return REJECT if rejected else QUARANTINE if quarantined else CLAMP if clamped else OK


@settings(max_examples=400)
@given(bards, codecs)
def test_a_record_comes_back_equal_or_mended_or_not_at_all(bard: Bard, codec: Codec) -> None:
    loaded = load(encode(bard, codec), Bard)
    assert loaded.outcome is outcome_by_hand(bard)
    assert loaded.outcome is gravest_outcome(validate_live(bard)), "a live record is judged as it is when it is loaded"
    assert (loaded.record is None) == (loaded.outcome > CLAMP)
    if loaded.outcome is OK:
        assert loaded.require() == bard
        assert not loaded.changed
        assert peek_marks(loaded.require()) == 0
    if loaded.outcome is CLAMP:
        assert loaded.changed
        again = load(encode(loaded.require(), codec), Bard)
        assert (again.record, again.outcome, again.changed) == (loaded.record, OK, False)


@settings(max_examples=200)
@given(bards, codecs)
def test_the_short_way_and_the_long_way_say_the_same(bard: Bard, codec: Codec) -> None:
    stored = encode(bard, codec)
    short = load(stored, Bard)
    long = load(unsigned(stored), Bard, accept_unchecked=True)
    assert (short.outcome, short.issues, short.changed) == (long.outcome, long.issues, long.changed)
    assert short.record == long.record


@settings(max_examples=200)
@given(bards)
def test_both_codecs_bring_back_the_same_record(bard: Bard) -> None:
    as_json, as_sexpr = (load(encode(bard, codec), Bard) for codec in CODECS)
    assert (as_json.record, as_json.issues) == (as_sexpr.record, as_sexpr.issues)


def chain(version: int, steps: set[int]) -> type[Any]:
    class Chained(Record, kind="chained", version=version):
        ran: list[int] = durable(default_factory=list)

    def register(number: int) -> None:
        @Chained.migration(number)
        def step(plain: dict[str, Any]) -> dict[str, Any]:
            return plain | {"ran": [*plain.get("ran", []), number]}

        assert step({}) == {"ran": [number]}

    for number in steps:
        register(number)
    return Chained


@settings(max_examples=200)
@given(st.integers(1, 9), st.sets(st.integers(0, 8)), st.integers(0, 9), codecs)
def test_stored_bytes_of_any_version_are_migrated_through_every_step_or_refused(
    version: int, steps: set[int], stored_at: int, codec: Codec
) -> None:
    steps = {step for step in steps if step < version}
    stored_at = min(stored_at, version)
    cls = chain(version, steps)
    stored = {"json": b'{"version":%d}', "sexpr": b"(:version %d)"}[codec] % stored_at
    start = 1 if stored_at == 0 and 0 not in steps else stored_at
    needed = list(range(start, version))
    if not steps.issuperset(needed):
        with pytest.raises(MigrationFailed):
            load(stored, cls, accept_unchecked=True)
        return
    loaded = load(stored, cls, accept_unchecked=True)
    assert loaded.require().ran == needed
    assert (loaded.migrated_from, loaded.changed) == ((start, True) if needed else (None, False))
