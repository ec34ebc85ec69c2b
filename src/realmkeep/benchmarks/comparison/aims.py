"""The bounds that the figures should keep. Each is a ratio within one sitting, a count, or a duration of a slice."""

from collections.abc import Callable, Sequence
from typing import Final

from realmkeep.benchmarks.comparison.before import BEFORE
from realmkeep.benchmarks.comparison.flush import FSYNC_MODES
from realmkeep.benchmarks.comparison.results import Aim, Part
from realmkeep.benchmarks.instructions import Counts

COUNTS_MAX: Final = {
    "python_a_trade": (270_000, "Python's instructions a trade"),
    "python_a_flushed_player": (90_000, "Python's instructions a flushed player"),
    "store_a_trade": (110_000, "the store's instructions a trade"),
    "wire_bytes_a_trade": (2_700, "wire bytes a trade"),
}
SLICES: Final = {"slice-cpu": "processor time of a slice", "slice-wall": "wall time of a slice"}


def aims_of(parts: Sequence[Part], counts: Counts | None) -> tuple[Aim, ...]:
    """Every bound with its value; None where a part or a way of it was not measured."""
    part_of = {part.key: part for part in parts}
    return (
        *(_at_most(name, most, getattr(counts, key, None)) for key, (most, name) in COUNTS_MAX.items()),
        *_of_trades(part_of),
        *(aim for mode in FSYNC_MODES for aim in _of_flushes(part_of, mode)),
        _at_most(
            "cost of a changed player, with a million stored / with 1,000",
            1.1,
            _measured(lambda: part_of["stored"].ratio("stored-1000000", "stored-1000")),
        ),
        *(
            _at_least(
                f"login storm, {mode} / redis-py's GET and json.loads",
                1.0,
                _measured(lambda mode=mode: part_of[f"logins-{mode}"].ratio("realmkeep", "read")),
            )
            for mode in FSYNC_MODES
        ),
    )


def _of_trades(part_of: dict[str, Part]) -> Sequence[Aim]:
    def ratio(key: str, to: str) -> float | None:
        return _measured(lambda: part_of["trades"].ratio(key, to))

    def median_ms(key: str) -> float:
        took = part_of["trades"].figure(key).took
        assert took, f"{key} was not timed"
        return took.p50_ms

    return (
        _at_least("trades of 64 traders / redis-py's MULTI, 64 at once", 4.5, ratio("realmkeep-64", "multi-64")),
        _at_least("trades of 64 traders / SQLite, one transaction each", 5.0, ratio("realmkeep-64", "sqlite-each")),
        _at_least("trades of 1,024 traders / of 64", 0.9, ratio("realmkeep-1024", "realmkeep-64")),
        _at_most(
            "a trade alone / the store's own fsynced round trip, medians",
            1.5,
            _measured(lambda: median_ms("realmkeep-1") / median_ms("round-trip")),
        ),
    )


def _of_flushes(part_of: dict[str, Part], mode: str) -> Sequence[Aim]:
    part = f"flush-{mode}"
    return (
        _at_least(
            f"flush, {mode} / the same calls sent again",
            0.6,
            _measured(lambda: part_of[part].ratio("realmkeep", "replay")),
        ),
        _at_least(
            f"flush, {mode} / commit {BEFORE}",
            1.7,
            _measured(lambda: part_of[part].figure("realmkeep").value / part_of["before"].figure(part).value),
        ),
        *(
            _at_most(
                f"flush, {mode}: {name}, 99.9th percentile, ms",
                1.0,
                _measured(lambda key=key: part_of[part].spread(key).p999_ms),
            )
            for key, name in SLICES.items()
        ),
    )


def _measured(value: Callable[[], float]) -> float | None:
    try:
        return round(value(), 3)
    except KeyError:
        return None


def _at_least(name: str, target: float, value: float | None) -> Aim:
    return Aim(name=name, value=value, target=target, is_at_least=True)


def _at_most(name: str, target: float, value: float | None) -> Aim:
    return Aim(name=name, value=value, target=target, is_at_least=False)
