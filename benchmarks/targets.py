"""What is fuzzed and fed malformed input: everything that reads stored bytes, by the specification's player."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from realmkeep.records.fields import CHECKPOINT, IMMEDIATE, Keyword, durable
from realmkeep.records.limits import DEFAULT_LIMITS
from realmkeep.records.record import Part, Record
from realmkeep.records.sexpr_codec import check_crc, decode_plain, encode

ROOT: Final = Path(__file__).parents[1]
SPECIFICATION_PLAYER: Final = (ROOT / "tests/golden/specification_player.sexpr").read_bytes()


class Item(Part):
    item_id: Keyword
    count: int = 1
    slot: int | None = None


class Quest(Part):
    quest_id: Keyword
    stage: int = 0
    complete: bool = False


class Player(Record, kind="fuzzed", version=1):
    """The specification's player, and fields of the types that it does not use."""

    player_id: int = durable()
    zone_id: Keyword = durable()
    x: float = durable(default=0.0, tier=CHECKPOINT)
    y: float = durable(default=0.0, tier=CHECKPOINT)
    hp: int = durable(default=100)
    xp: int = durable(default=0)
    attack_level: int = durable(default=1)
    strength_level: int = durable(default=1)
    defense_level: int = durable(default=1)
    hitpoints_level: int = durable(default=1)
    inventory: list[Item] = durable(default_factory=list)
    bank: list[Item] = durable(default_factory=list, tier=IMMEDIATE)
    quest_progress: list[Quest] = durable(default_factory=list)
    achievements: list[Keyword] = durable(default_factory=list)
    friends: list[int] = durable(default_factory=list)
    settings: dict[str, float] = durable(default_factory=dict)
    title: str | None = durable(default=None)
    kills: dict[int, int] = durable(default_factory=dict)
    home: tuple[Keyword, float, float] | None = durable(default=None)


@dataclass(frozen=True)
class Target:
    """A reader: `call` returns, or raises a RealmkeepError, for any bytes; `seeds` are inputs that it accepts."""

    call: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def read_sexpr(stored: bytes) -> object:
    check_crc(stored)
    return decode_plain(stored, Player.__realmkeep__, DEFAULT_LIMITS)


_FULL: Final = {
    "player_id": -(2**63),
    "zone_id": "Old Town",
    "x": 1e-300,
    "title": 'The "\\" Étoile',
    "kills": {"5": 1, "-7": 2},
    "home": ["overworld", 0.5, -1.0],
    "settings": {"music volume": 0.5},
    "inventory": [{"item_id": "sword", "count": 1, "slot": None}],
    "achievements": ["first-blood", "LEVEL"],
}
SEXPR_SEEDS: Final = (
    SPECIFICATION_PLAYER,
    encode(_FULL, Player.__realmkeep__),
    b"(:VERSION 0 :PLAYER-ID #x1F :ZONE-ID '|town| :X 1/2 :Y .5 :TITLE #\\Space :KILLS #() #| #| c |# |# :HOME #(cl:t 1 2))",
)
TARGETS: Final = {"sexpr": Target(read_sexpr, SEXPR_SEEDS)}
