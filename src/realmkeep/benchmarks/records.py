"""`realmkeep bench records`: the cost of a record beside msgspec, json, pickle and copy, in nanoseconds.

Every figure is the minimum of many short rounds, in which all contenders take turns: a busy machine disturbs all alike, so the
ratios are comparable. `encode_to_msgspec_ratio` has a bound: 1.5.
"""

import copy
import json
import pickle
import sys
import timeit
from collections.abc import Callable
from typing import Any, Final

import msgspec

from realmkeep.benchmarks.live_players import ITEMS
from realmkeep.clock import SystemClock
from realmkeep.records.codecs import encode
from realmkeep.records.fields import FieldInfo, Tier
from realmkeep.records.json_codec import decode_record
from realmkeep.records.json_codec import encode as encode_json
from realmkeep.records.loading import load
from realmkeep.records.marking import observe, take_marks
from realmkeep.testing.specification import SpecPlayer, specification_player

CALLS: Final = 200
SLOW_S: Final = 2e-5  # a call that takes longer is repeated a tenth as often
NS: Final = 1e9
MARKED_ALREADY: Final = "assign to a field marked already"

Work = Callable[[], object]
Contest = dict[str, dict[str, Work]]  # by operation, then by contender
Plain: Any = msgspec.defstruct("Plain", [(field.name, field.type) for field in SpecPlayer.__realmkeep__.durable])


class RecordsReport(msgspec.Struct, frozen=True):
    """Nanoseconds of a call, by operation and contender; the player has 14 items."""

    python: str
    player_bytes: int
    nanoseconds: dict[str, dict[str, float]]
    encode_to_msgspec_ratio: float
    assign_more_than_msgspec_ns: float


class _Silent:
    """An observer that does nothing: the figures include the cost of being observed."""

    def marked(self, record: Any, tier: Tier) -> None: ...
    def triggered(self, record: Any, field: FieldInfo, old: Any, new: Any) -> None: ...
    def immediate_changed(self, record: Any, field: FieldInfo) -> None: ...


def bench_records(*, seconds: float) -> RecordsReport:
    """Measure the specification's player.

    Args:
        seconds: Approximate duration of the whole measurement, more than 0.
    """
    figures = _measure(_contests(), seconds)
    encoding, assign = figures["encode"], figures[MARKED_ALREADY]
    return RecordsReport(
        python=sys.version.split()[0],
        player_bytes=len(encode_json(specification_player(ITEMS))),
        nanoseconds=figures,
        encode_to_msgspec_ratio=round(encoding["realmkeep"] / encoding["msgspec"], 2),
        assign_more_than_msgspec_ns=round(assign["realmkeep"] - figures["assign"]["msgspec"], 1),
    )


def _measure(contests: Contest, seconds: float) -> dict[str, dict[str, float]]:
    """The shortest time of a call in nanoseconds, less the time of an empty call."""
    clock = SystemClock()
    flat = {(name, contender): call for name, contenders in contests.items() for contender, call in contenders.items()}
    timers = {key: timeit.Timer(call) for key, call in flat.items()} | {("", ""): timeit.Timer(lambda: None)}
    least_s = dict.fromkeys(timers, float("inf"))
    end_s = clock.monotonic_s() + seconds
    while True:
        for key, timer in timers.items():
            calls = CALLS if least_s[key] < SLOW_S else CALLS // 10
            least_s[key] = min(least_s[key], timer.timeit(calls) / calls)
        if clock.monotonic_s() >= end_s:
            break
    return {
        name: {contender: round((least_s[name, contender] - least_s["", ""]) * NS, 1) for contender in contenders}
        for name, contenders in contests.items()
    }


def _contests() -> Contest:
    player = _observed_player()
    tree: Any = json.loads(msgspec.json.encode(player))
    del tree["version"]
    plain = Plain(**{name: getattr(player, name) for name in SpecPlayer.__blueprint__.names})
    return (
        {"encode": _encoding(player, _observed_player(), plain, tree)}
        | _decoding(player, plain)
        | _undoing(_observed_player(), plain)
        | _assigning(_observed_player(), plain)
        | {MARKED_ALREADY: {"realmkeep": _set_xp(player), "with a trigger": _set_hp(player)}}
    )


def _observed_player() -> SpecPlayer:
    player = specification_player(ITEMS)
    observe(player, _Silent())
    _set_xp(player)()
    _set_hp(player)()
    encode_json(player)
    return player


def _encoding(player: SpecPlayer, changing: SpecPlayer, plain: Any, tree: Any) -> dict[str, Work]:
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
    }


def _decoding(player: SpecPlayer, plain: Any) -> Contest:
    stored, lisp, bare = encode_json(player), encode(player, "sexpr"), msgspec.json.encode(plain)
    version_1 = lisp.replace(b":version 2", b":version 1").split(b" :lifetime-xp")[0] + b")"
    pickled = pickle.dumps(plain, protocol=5)
    own = msgspec.json.Decoder(Plain).decode
    return {
        "decode": {
            "msgspec": lambda: own(bare),
            "realmkeep": lambda: decode_record(stored, SpecPlayer),
            "json": lambda: json.loads(bare),
            "pickle": lambda: pickle.loads(pickled),  # noqa: S301 - its own bytes
        },
        "load": {
            "realmkeep": lambda: load(stored, SpecPlayer),
            "realmkeep, s-expression": lambda: load(lisp, SpecPlayer),
            "realmkeep, s-expression of version 1, migrated": lambda: load(version_1, SpecPlayer),
        },
    }


def _undoing(player: SpecPlayer, plain: Any) -> Contest:
    fork = player.fork()
    return {
        "fork": {"realmkeep": player.fork},
        "restore": {"realmkeep": lambda: player.restore(fork)},
        "fork and restore": {
            "realmkeep": lambda: player.restore(player.fork()),
            "copy.deepcopy": lambda: copy.deepcopy(plain),
            "pickle": lambda: pickle.loads(pickle.dumps(plain, protocol=5)),  # noqa: S301 - its own bytes
        },
    }


def _assigning(player: SpecPlayer, plain: Any) -> Contest:
    def set_after_a_write() -> None:
        take_marks(player)
        player.xp = 7

    def set_ephemeral() -> None:
        player.target = 7

    return {
        "assign": {
            "msgspec": _set_xp(plain),
            "realmkeep": _set_xp(player),
            "realmkeep, with a trigger": _set_hp(player),
            "realmkeep, ephemeral": set_ephemeral,
        },
        "take marks and assign": {"realmkeep": set_after_a_write},
        "read": {"msgspec": lambda: plain.xp, "realmkeep": lambda: player.xp},
    }


def _set_xp(target: Any) -> Work:
    def work() -> None:
        target.xp = 7

    return work


def _set_hp(target: Any) -> Work:
    def work() -> None:
        target.hp = 7

    return work
