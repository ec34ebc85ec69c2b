"""What a record costs: the specification's player with 14 items, beside what else one might use; JSON, in nanoseconds.

    ./dev bench records [SECONDS]     about so long in all (8)

Every figure is the least of many short rounds, in which all contenders take turns: so a busy machine disturbs all alike,
and the ratios can be compared. `encode_to_msgspec_ratio` is the one that has a bound, 1.5.
"""

import copy
import json
import pickle
import sys
import time
import timeit
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import pydantic

from realmkeep.records.codecs import encode
from realmkeep.records.fields import FieldInfo, Tier
from realmkeep.records.json_codec import decode_record
from realmkeep.records.json_codec import encode as encode_json
from realmkeep.records.loading import load
from realmkeep.records.marking import observe, take_marks
from realmkeep.testing.specification import SpecPlayer, specification_player

ITEMS: Final = 14
CALLS: Final = 200
NAMES: Final = SpecPlayer.__blueprint__.names
Work = Callable[[], object]


class Silent:
    """An observer that does nothing, so that the figures hold what being observed costs."""

    def marked(self, record: Any, tier: Tier) -> None: ...
    def triggered(self, record: Any, field: FieldInfo, old: Any, new: Any) -> None: ...
    def immediate_changed(self, record: Any, field: FieldInfo) -> None: ...


class ModelItem(pydantic.BaseModel):
    item_id: str
    count: int
    slot: int


class ModelStack(pydantic.BaseModel):
    item_id: str
    count: int


class ModelQuest(pydantic.BaseModel):
    quest_id: str
    stage: int
    complete: bool


class Model(pydantic.BaseModel):
    """The player in pydantic, checked at assignment as a Record is."""

    model_config = pydantic.ConfigDict(validate_assignment=True, strict=True)

    player_id: int
    zone_id: str
    x: float
    y: float
    hp: int
    xp: int
    attack_level: int
    strength_level: int
    defense_level: int
    hitpoints_level: int
    inventory: list[ModelItem]
    bank: list[ModelStack]
    quest_progress: list[ModelQuest]
    achievements: list[str]
    friends: list[int]
    settings: dict[str, float]
    lifetime_xp: int


Plain: Any = msgspec.defstruct("Plain", [(field.name, field.type) for field in SpecPlayer.__realmkeep__.durable])


def encoding(player: SpecPlayer, changing: SpecPlayer, plain: Any, tree: Any, model: Model) -> dict[str, Work]:
    own = msgspec.json.Encoder().encode
    json_encoder = json.JSONEncoder(separators=(",", ":"))

    def encode_changed() -> bytes:
        changing.xp += 1
        return encode_json(changing)

    return {
        "msgspec": lambda: own(plain),
        "realmkeep": lambda: encode_json(player),
        "realmkeep, changed since and so checked": encode_changed,
        "realmkeep, s-expression": lambda: encode(player, "sexpr"),
        "json": lambda: json_encoder.encode(tree).encode(),
        "pickle": lambda: pickle.dumps(plain, protocol=5),
        "pydantic": lambda: model.__pydantic_serializer__.to_json(model),
    }


def decoding(player: SpecPlayer, plain: Any) -> dict[str, dict[str, Work]]:
    stored, lisp, bare = encode_json(player), encode(player, "sexpr"), msgspec.json.encode(plain)
    version_1 = lisp.replace(b":version 2", b":version 1").split(b" :lifetime-xp")[0] + b")"
    pickled = pickle.dumps(plain, protocol=5)
    own = msgspec.json.Decoder(Plain).decode
    return {
        "decode": {
            "msgspec": lambda: own(bare),
            "realmkeep": lambda: decode_record(stored, SpecPlayer),
            "json": lambda: json.loads(bare),
            "pickle": lambda: pickle.loads(pickled),
            "pydantic": lambda: Model.model_validate_json(bare),
        },
        "load": {
            "realmkeep": lambda: load(stored, SpecPlayer),
            "realmkeep, s-expression": lambda: load(lisp, SpecPlayer),
            "realmkeep, s-expression of version 1, migrated": lambda: load(version_1, SpecPlayer),
        },
    }


def undoing(player: SpecPlayer, plain: Any, model: Model) -> dict[str, dict[str, Work]]:
    fork = player.fork()
    return {
        "fork": {"realmkeep": player.fork},
        "restore": {"realmkeep": lambda: player.restore(fork)},
        "fork and restore": {
            "realmkeep": lambda: player.restore(player.fork()),
            "copy.deepcopy": lambda: copy.deepcopy(plain),
            "pickle": lambda: pickle.loads(pickle.dumps(plain, protocol=5)),
            "pydantic": lambda: model.model_copy(deep=True),
        },
    }


def set_xp(target: Any) -> Work:
    def work() -> None:
        target.xp = 7

    return work


def set_hp(target: Any) -> Work:
    def work() -> None:
        target.hp = 7

    return work


def assigning(player: SpecPlayer, plain: Any, model: Model) -> dict[str, dict[str, Work]]:
    def set_after_a_write() -> None:
        take_marks(player)
        player.xp = 7

    def set_ephemeral() -> None:
        player.target = 7

    return {
        "assign": {
            "msgspec": set_xp(plain),
            "realmkeep": set_xp(player),
            "realmkeep, with a trigger": set_hp(player),
            "realmkeep, ephemeral": set_ephemeral,
            "pydantic": set_xp(model),
        },
        "take marks and assign": {"realmkeep": set_after_a_write},
        "read": {"msgspec": lambda: plain.xp, "realmkeep": lambda: player.xp, "pydantic": lambda: model.xp},
    }


def observed_player() -> SpecPlayer:
    player = specification_player(ITEMS)
    observe(player, Silent())
    set_xp(player)()
    set_hp(player)()
    encode_json(player)
    return player


def cases() -> dict[str, dict[str, Work]]:
    player = observed_player()
    tree: Any = json.loads(msgspec.json.encode(player))
    del tree["version"]
    plain = Plain(**{name: getattr(player, name) for name in NAMES})
    model = Model.model_validate(tree)
    return (
        {"encode": encoding(player, observed_player(), plain, tree, model)}
        | decoding(player, plain)
        | undoing(observed_player(), plain, model)
        | assigning(observed_player(), plain, model)
        | {"assign to a field marked already": {"realmkeep": set_xp(player), "with a trigger": set_hp(player)}}
    )


def measure(work: dict[str, dict[str, Work]], seconds: float) -> dict[str, dict[str, float]]:
    """The least time of a call, in nanoseconds, less that of calling a function that does nothing."""
    flat = {(case, contender): call for case, contenders in work.items() for contender, call in contenders.items()}
    timers = {key: timeit.Timer(call) for key, call in flat.items()} | {("", ""): timeit.Timer(lambda: None)}
    least = dict.fromkeys(timers, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, timer in timers.items():
            calls = CALLS if least[key] < 2e-5 else CALLS // 10
            least[key] = min(least[key], timer.timeit(calls) / calls)
    return {
        case: {contender: round((least[case, contender] - least["", ""]) * 1e9, 1) for contender in contenders}
        for case, contenders in work.items()
    }


def main(arguments: Sequence[str]) -> None:
    seconds = float(arguments[0]) if arguments else 8.0
    figures = measure(cases(), seconds)
    assign = figures["assign to a field marked already"]
    report = {
        "record": f"the specification's player with {ITEMS} items, {len(encode_json(specification_player(ITEMS)))} bytes",
        "python": sys.version.split()[0],
        "nanoseconds": figures,
        "encode_to_msgspec_ratio": round(figures["encode"]["realmkeep"] / figures["encode"]["msgspec"], 2),
        "assign_more_than_msgspec_ns": round(assign["realmkeep"] - figures["assign"]["msgspec"], 1),
    }
    print(json.dumps(report, indent=2))
