"""No entry is ever dropped because two keys mean the same: in the bytes, or once they have their field's type."""

from enum import IntEnum, StrEnum
from typing import Any

import pytest
from typing_extensions import override

from realmkeep.errors import Corrupt
from realmkeep.records.fields import QUARANTINE, Keyword, durable
from realmkeep.records.loading import load
from realmkeep.records.record import Part, Record


class Rank(IntEnum):
    NOVICE = 1
    MASTER = 2


class Metal(StrEnum):
    IRON = "iron"

    @classmethod
    @override
    def _missing_(cls, value: object) -> "Metal | None":
        return cls.IRON if str(value).lower() == "iron" else None


class Item(Part):
    item: str
    count: int = 1


class Vault(Record, kind="vault-of-collisions", version=2):
    slots: dict[int, int] = durable(default_factory=dict)
    ranks: dict[Rank, int] = durable(default_factory=dict)
    metals: dict[Metal, int] = durable(default_factory=dict)
    options: dict[str, int] = durable(default_factory=dict)
    kills: dict[Keyword, int] = durable(default_factory=dict)
    items: list[Item] = durable(default_factory=list)


@Vault.migration(1)
def with_another_slot(plain: dict[str, Any]) -> dict[str, Any]:
    return plain | {"slots": plain["slots"] | {"01": 9}}


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('{"version":2,"slots":{"0":5,"-0":7}}', "'0' and '-0'"),
        ('{"version":2,"slots":{"-0":5,"1":6,"0":7}}', "'-0' and '0'"),
        ('{"version":2,"ranks":{"2":5,"1":6,"-0":7}}', None),
        ('{"version":2,"metals":{"iron":5,"IRON":7}}', "'iron' and 'IRON'"),
        ('(:version 2 :slots (0 5 "-0" 7))', "'0' and '-0'"),
        ("(:version 2 :metals (:iron 5 :|Iron| 7))", "'iron' and 'Iron'"),
    ],
)
def test_keys_that_mean_the_same_quarantine_the_record(text: str, keys: str | None) -> None:
    loaded = load(text.encode(), Vault, accept_unchecked=True)
    assert loaded.record is None
    if keys is not None:
        assert loaded.outcome is QUARANTINE
        assert f"without two keys that mean the same ({keys})" in str(loaded.issues[0])


@pytest.mark.parametrize(
    "key", ["01", "1.0", " 1", "1 ", "+1", "1_0", "0x1", "1e0", "true", "\\u0661", "-01", "", "1n"]
)
@pytest.mark.parametrize("first", ["1", "-1", "10"])
def test_another_spelling_of_a_number_is_refused_or_is_another_number(key: str, first: str) -> None:
    loaded = load(f'{{"version":2,"slots":{{"{first}":5,"{key}":7}}}}'.encode(), Vault, accept_unchecked=True)
    assert loaded.record is None or len(loaded.record.slots) == 2


def test_a_step_that_makes_two_keys_of_one_is_refused_as_well() -> None:
    loaded = load(b'{"version":1,"slots":{"1":5}}', Vault, accept_unchecked=True)
    assert loaded.record is None
    assert loaded.outcome > QUARANTINE or "mean the same" in str(loaded.issues[0])


@pytest.mark.parametrize(
    "text",
    [
        '{"version":2,"slots":{"1":5,"1":7}}',
        '{"version":2,"slots":{"1":5,"\\u0031":7}}',
        '{"version":2,"slots":{},"slots":{"1":7}}',
        '{"version":2,"version":2}',
        '{"version":2,"items":[{"item":"sword","item":"rope"}]}',
        '{"version":2,"items":[{"item":"sword","it\\u0065m":"rope"}]}',
        "(:version 2 :slots (1 5 1 7))",
        '(:version 2 :slots (1 5 "1" 7))',
        "(:version 2 :slots (0 5 -0 7))",
        "(:version 2 :slots (1 5) :slots (1 7))",
        "(:version 2 :version 2)",
        "(:version 2 :options (:music-volume 1 :music_volume 2))",
        '(:version 2 :options (:music-volume 1 "music_volume" 2))',
        "(:version 2 :options (:MUSIC 1 :music 2))",
        "(:version 2 :kills (:rat 1 :|RAT| 2))",
        '(:version 2 :kills (:rat 1 "rat" 2))',
        '(:version 2 :items ((:item "sword" :item "rope")))',
        '(:version 2 :items ((:item "sword" :ITEM "rope")))',
        "(:version 2 :unknown (:a 1 :a 2))",
    ],
)
def test_a_key_that_stands_twice_is_corrupt(text: str) -> None:
    with pytest.raises(Corrupt, match="twice"):
        load(text.encode(), Vault, accept_unchecked=True)


def test_keys_that_only_look_alike_stay_apart() -> None:
    """Nothing is normalised: a composed letter and its parts are two keys."""
    text = '{"version":2,"options":{"caf\\u00e9":1,"cafe\\u0301":2,"K":3,"k":4}}'
    assert load(text.encode(), Vault, accept_unchecked=True).require().options == {
        "caf\u00e9": 1,
        "cafe\u0301": 2,
        "K": 3,
        "k": 4,
    }
