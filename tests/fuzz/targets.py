"""What is fuzzed and fed malformed input: everything that reads stored bytes, by the specification's player."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from realmkeep.records.codecs import encode as write
from realmkeep.records.fields import CHECKPOINT, IMMEDIATE, OK, Keyword, durable
from realmkeep.records.limits import DEFAULT_LIMITS
from realmkeep.records.loading import load
from realmkeep.records.record import Part, Record
from realmkeep.records.sexpr.codec import check_crc, decode_plain, encode
from realmkeep.records.validation import validate_live
from realmkeep.testing.specification import SpecPlayer

ROOT: Final = Path(__file__).parents[1]
SPECIFICATION_PLAYER: Final = (ROOT / "golden/specification_player.sexpr").read_bytes()


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


def load_player(stored: bytes) -> object:
    """Load; what comes out was checked, keeps its rules, and is stored and loaded again as it is."""
    loaded = load(stored, SpecPlayer, accept_unchecked=True)
    player = loaded.require()
    written = _CRC.search(stored)
    assert written is None or int(written[1], 16) == crc32(stored[: written.start()])
    assert loaded.changed == (loaded.migrated_from is not None)  # the specification's player has nothing to clamp
    assert validate_live(player) == ()
    again = load(write(player), SpecPlayer)
    assert (again.record, again.outcome, again.changed) == (player, OK, False)
    return player


def _with_checksum(text: bytes) -> bytes:
    return b'%b,"crc":"%08x"}' % (text[:-1], crc32(text[:-1]))


_CRC: Final = re.compile(rb"""(?:,"crc":"| :crc ")([0-9a-f]{8})"[})]\s*\Z""")
_JSON: Final = (
    b'{"version":2,"player_id":7,"zone_id":"town","x":1.5,"hp":5,"inventory":[{"item_id":"sword","count":1,"slot":0}],'
    b'"quest_progress":[{"quest_id":"tutorial","complete":true}],"settings":{"music_volume":0.5},"lifetime_xp":9}'
)
LOADER_SEEDS: Final = (
    _JSON,
    _with_checksum(_JSON),
    _with_checksum(b'{"version":1,"player_id":7,"achievements":["first-blood"]}'),
    b'{"player_id":7,"friends":[8,-9],"bank":[{"item_id":"coins","count":500}]}',
    write(SpecPlayer(player_id=7, zone_id="town", friends=[8]), "sexpr"),
    b"(:player-id 7 :zone-id :town :x 150.0 :inventory ((:item-id :sword :count 1 :slot 0)) :settings (:volume 1/2))",
)
TARGETS: Final = {"sexpr": Target(read_sexpr, SEXPR_SEEDS), "load": Target(load_player, LOADER_SEEDS)}
