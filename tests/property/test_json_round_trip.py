"""Every record of every class that can be defined survives the way into JSON and back; no changed byte passes."""

import random
import types
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realmkeep.errors import RealmkeepError
from realmkeep.records.fields import Keyword, durable, ephemeral
from realmkeep.records.json_codec import check_crc, decode_record, encode
from realmkeep.records.json_reader import decode_plain
from realmkeep.records.limits import Limits
from realmkeep.records.loading import load
from realmkeep.records.record import Part, Record
from realmkeep.testing.specification import SpecPlayer, specification_player

LIMITS = Limits(bytes_max=2**20)


class Calling(StrEnum):
    WARRIOR = "warrior"
    MAGE = "mage"


class Rank(IntEnum):
    NOVICE = 1
    MASTER = -2


class Gem(Part):
    name: Keyword
    purity: float = 0.0
    rank: Rank | None = None


class Item(Part):
    item_id: Keyword
    count: int = 1
    bound: bool = False
    gems: tuple[Gem, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A type of field, and its values."""

    annotation: Any
    values: st.SearchStrategy[Any]


INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=12)
GEMS = st.builds(Gem, TEXTS, FLOATS, st.none() | st.sampled_from(Rank))
ITEMS = st.builds(Item, TEXTS, INTS, st.booleans(), st.lists(GEMS, max_size=2).map(tuple))

KEYS = [Kind(str, TEXTS), Kind(Keyword, TEXTS), Kind(int, INTS), Kind(Calling, st.sampled_from(Calling))]
SCALARS = [
    *KEYS,
    Kind(float, FLOATS),
    Kind(bool, st.booleans()),
    Kind(Rank, st.sampled_from(Rank)),
    Kind(Literal["a", 7], st.sampled_from(["a", 7])),
    Kind(Item, ITEMS),
]


def tuples(items: list[Kind]) -> Kind:
    annotation: Any = tuple[tuple(item.annotation for item in items)]
    return Kind(annotation, st.tuples(*(item.values for item in items)))


def optional(kind: Kind) -> Kind:
    return Kind(kind.annotation | None, st.none() | kind.values)


inner = st.recursive(
    st.sampled_from(SCALARS),
    lambda kinds: st.one_of(
        kinds.map(optional),
        kinds.map(lambda kind: Kind(tuple[kind.annotation, ...], st.lists(kind.values, max_size=3).map(tuple))),
        st.lists(kinds, min_size=1, max_size=3).map(tuples),
        st.sampled_from(KEYS).map(
            lambda kind: Kind(frozenset[kind.annotation], st.frozensets(kind.values, max_size=4))
        ),
    ),
    max_leaves=3,
)
kinds_of_fields = st.one_of(
    inner,
    inner.map(lambda kind: Kind(list[kind.annotation], st.lists(kind.values, max_size=4))),
    st.sampled_from(KEYS).map(lambda kind: Kind(set[kind.annotation], st.sets(kind.values, max_size=4))),
    st.tuples(st.sampled_from(KEYS), inner).map(
        lambda pair: Kind(
            dict[pair[0].annotation, pair[1].annotation],
            st.dictionaries(pair[0].values, pair[1].values, max_size=4),
        )
    ),
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """A record of a class made for it, with an ephemeral field beside the durable ones."""
    kinds = draw(st.lists(kinds_of_fields, max_size=6))
    annotations = {f"field_{index}": kind.annotation for index, kind in enumerate(kinds)}

    def body(namespace: dict[str, Any]) -> None:
        namespace["__qualname__"] = "records.<locals>.Generated"
        namespace["__annotations__"] = annotations | {"unsaved": int}
        namespace.update({name: durable() for name in annotations})
        namespace["unsaved"] = ephemeral(default=0)

    version = draw(st.integers(1, 2**31 - 1))
    cls: Any = types.new_class("Generated", (Record,), {"kind": "generated", "version": version}, body)
    values = {f"field_{index}": draw(kind.values) for index, kind in enumerate(kinds)}
    return cls(unsaved=draw(INTS), **values)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records())
def test_every_record_comes_back_equal_and_encodes_to_the_same_bytes(record: Record) -> None:
    stored = encode(record, LIMITS)
    loaded = decode_record(stored, type(record), LIMITS)
    assert loaded == record
    assert loaded is not None
    assert repr(loaded) == repr(record) or "{" in repr(
        record
    )  # types too; sets and dictionaries may be in another order
    assert encode(loaded, LIMITS) == stored
    assert load(stored, type(record), limits=LIMITS).require() == record


@settings(max_examples=100, deadline=None)
@given(records())
def test_the_short_way_and_the_long_one_agree(record: Record) -> None:
    stored = encode(record, LIMITS)
    body = stored[: stored.rindex(b',"crc"')] + b"}"
    assert load(body, type(record), limits=LIMITS, accept_unchecked=True).require() == record


def passes(stored: bytes) -> bool:
    try:
        if decode_record(stored, SpecPlayer) is not None:
            return True
        return check_crc(stored) or "crc" in decode_plain(stored, SpecPlayer.__realmkeep__, LIMITS)
    except RealmkeepError:
        return False


def test_changed_bytes_of_a_large_record_are_noticed_wherever_they_are() -> None:
    """Ten other values at every position, and 2000 times two to four bytes in a row (a CRC-32 sees every such burst)."""
    chance = random.Random(7)
    stored = encode(specification_player(100))
    assert passes(stored)
    for position, byte in enumerate(stored):
        for other in chance.sample(range(256), 10):
            if other != byte:
                assert not passes(stored[:position] + bytes((other,)) + stored[position + 1 :])
    for _ in range(2000):
        position, length = chance.randrange(len(stored) - 4), chance.randint(2, 4)
        other = chance.randbytes(length)
        if other != stored[position : position + length]:
            assert not passes(stored[:position] + other + stored[position + length :])
