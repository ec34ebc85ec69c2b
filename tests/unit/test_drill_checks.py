"""The checks of the drill, on contents made by hand: each notices its own kind of violation, and nothing else."""

from pathlib import Path

import pytest

from realmkeep.clock import SystemClock
from realmkeep.drill.bots.told import Promise, Told
from realmkeep.drill.checks import CHECKS, check_of
from realmkeep.drill.checks.append_only_log import is_whole
from realmkeep.drill.checks.contents import Snapshot
from realmkeep.drill.checks.kept import hero_keys, violations
from realmkeep.drill.checks.model import Model
from realmkeep.drill.checks.window import DISK_S, LATE_S, Window
from realmkeep.drill.game import START_GOLD, Hero, Sword
from realmkeep.records import encode

HEROES = 2


def told() -> Told:
    return Told(Model(HEROES), Window(2.0), SystemClock())


def contents(*heroes: Hero, owner: bytes = b"north/1/5") -> Snapshot:
    keys = hero_keys(HEROES)
    values: dict[str, bytes | None] = dict.fromkeys(keys.values)
    for number, hero in enumerate(heroes):
        values |= {f"sim-hero:{number}": encode(hero), f"sim-hero:{number}:updated": b"7"}
        values[f"sim-hero:{number}:owner"] = owner
    return Snapshot(values, {key: [] for key in keys.lists})


def hero(number: int, **fields: object) -> Hero:
    swords = [Sword(number)] if number % 2 else []
    return Hero(**{"swords": swords, "x": 5.0, **fields})  # pyright: ignore[reportArgumentType] - as given


def found(said: Told, *heroes: Hero) -> set[str]:
    wrong = violations(said, contents(*heroes))
    assert {check_of(each) for each in wrong} <= CHECKS.keys()
    return {check_of(each) for each in wrong}


def traded() -> Told:
    """A trade of nothing was acknowledged."""
    said = told()
    said.asked("trade", asked := {"who": 0, "to": 1, "amount": 0, "ops": (1, 1)})
    said.answered("trade", "north", asked, {"repeated": False})
    return said


def test_what_was_told_and_is_there_is_right() -> None:
    said = told()
    said.answered("trade", "north", {"who": 0, "to": 1, "amount": 3, "ops": (1, 1)}, {"repeated": False})
    assert found(said, hero(0, gold=START_GOLD - 3, applied=[1]), hero(1, gold=START_GOLD + 3, applied=[1])) == set()


@pytest.mark.parametrize(
    ("check", "first", "second"),
    [
        ("durable", {}, {}),
        ("atomic", {"applied": [1]}, {}),
        ("once", {"applied": [1, 1]}, {"applied": [1]}),
        ("conserved", {"applied": [1], "gold": START_GOLD + 1}, {"applied": [1]}),
        ("owner", {"applied": [1], "x": 6.0}, {"applied": [1]}),
        ("invented", {"applied": [1], "xp": 1}, {"applied": [1]}),
    ],
)
def test_each_check_notices_its_violation(check: str, first: dict[str, object], second: dict[str, object]) -> None:
    control, said = traded(), traded()
    assert found(control, hero(0, applied=[1]), hero(1, applied=[1])) == set()
    assert check in found(said, hero(0, **first), hero(1, **second))


def test_a_revision_that_goes_back_and_a_record_that_cannot_be_read_are_noticed() -> None:
    said = told()
    said.model.revisions["sim-hero:0:updated"] = 8
    assert found(said, hero(0), hero(1)) == {"revisions"}
    keys = hero_keys(HEROES)
    torn = Snapshot({**dict.fromkeys(keys.values), "sim-hero:0": b"{"}, {key: [] for key in keys.lists})
    assert "corruption" in {check_of(each) for each in violations(told(), torn)}


def lose(window: Window, *, earned_s: float, struck_s: float) -> Window:
    """A change is told, its server dies, and the next login does not find it."""
    window.entered(0, "north", 0, 1, 0.0)
    window.earned(0, "north", 1, earned_s)
    window.struck("north", struck_s)
    window.entered(0, "north", 0, 2, struck_s + 10)
    return window


def test_the_age_of_a_lost_change_is_measured_at_the_crash_against_the_promise() -> None:
    young = lose(Window(2.0), earned_s=1.0, struck_s=2.9)
    assert (round(young.worst_s, 3), young.violations) == (1.9, [])
    old = lose(Window(2.0), earned_s=1.0, struck_s=3.1 + DISK_S)
    assert round(old.worst_s, 3) == 2.1 + DISK_S
    assert check_of(old.violations[0]) == "window"


def test_an_outage_is_no_part_of_the_age() -> None:
    window = Window(2.0)
    window.outage(1.5, 5.5)
    window.outage(2.0, 6.0)  # overlapping: it counts once
    lose(window, earned_s=1.0, struck_s=7.0)
    assert (round(window.worst_s, 3), window.violations) == (1.5, [])


def test_a_loss_that_is_seen_before_an_outage_is_over_is_measured_without_it() -> None:
    window = Window(2.0)
    window.entered(0, "north", 0, 1, 0.0)
    window.earned(0, "north", 1, 1.0)
    window.away(2.0)
    window.entered(0, "south", 0, 2, 9.0)
    window.back(9.5)
    assert (window.worst_s, window.violations) == (1.0, [])
    assert window.age_s(1.0, 11.5, "north") == 3.0


def test_a_machine_that_was_late_stood_still() -> None:
    window = Window(2.0)
    window.beat(1.0, 1.0 + LATE_S)  # on time
    window.beat(2.0, 6.0)
    lose(window, earned_s=1.0, struck_s=7.0)
    assert round(window.worst_s, 3) == 2.0


def test_a_server_that_was_late_stood_still_and_the_others_did_not() -> None:
    window = Window(2.0)
    window.heard("north", 1.0, 1.0 + LATE_S)  # on time
    window.heard("north", 2.0, 6.0)
    window.heard("south", 0.0, 6.0)
    lose(window, earned_s=1.0, struck_s=7.0)
    assert round(window.worst_s, 3) == 2.0
    assert window.age_s(1.0, 7.0, "south") == 1.0


def test_a_change_that_was_read_after_its_server_was_stopped_is_as_old_as_the_server_was_alive() -> None:
    window = Window(2.0)
    window.entered(0, "north", 0, 1, 0.0)
    window.heard("north", 0.95, 1.0)
    window.struck("north", 1.0)
    window.earned(0, "north", 1, 1.01)  # it was on its way
    window.entered(0, "south", 0, 2, 12.0)
    assert (window.worst_s, window.violations) == (0.0, [])


def test_a_change_that_is_kept_or_of_a_session_that_has_moved_on_is_not_lost() -> None:
    window = Window(2.0)
    window.entered(0, "north", 0, 1, 0.0)
    window.earned(0, "north", 1, 1.0)
    window.entered(0, "south", 1, 2, 9.0)
    window.earned(0, "north", 2, 9.5)
    window.entered(0, "south", 1, 2, 20.0)
    assert (window.worst_s, window.violations) == (0.0, [])


def test_a_client_that_logs_in_again_to_a_live_session_has_saved_nothing_by_that() -> None:
    window = Window(2.0)
    window.entered(0, "north", 0, 1, 0.0)
    window.earned(0, "north", 1, 1.0)
    window.entered(0, "north", 1, 1, 5.0)  # the client had no answer in time; a busy machine does that to all of them
    window.struck("north", 6.0)
    window.entered(0, "north", 0, 2, 9.0)
    assert round(window.worst_s, 3) == 5.0
    assert check_of(window.violations[0]) == "window"


def test_a_server_that_slept_answers_from_a_session_that_was_taken_over_and_nothing_is_lost_by_that() -> None:
    window = Window(2.0)
    window.entered(0, "north", 3, 1, 0.0)
    window.struck("north", 1.0)
    window.entered(0, "south", 3, 2, 12.0)
    window.earned(0, "south", 9, 13.0)
    window.entered(0, "north", 3, 1, 20.0)
    window.earned(0, "south", 10, 21.0)
    assert (window.worst_s, window.violations) == (0.0, [])
    window.struck("south", 22.0)
    window.entered(0, "south", 9, 3, 23.0)  # the session of the south went on counting
    assert round(window.worst_s, 3) == 1.0


def test_a_store_that_syncs_late_may_lose_its_seconds_on_top_of_the_interval_but_only_with_the_power() -> None:
    window = Window(2.0, power_loss_s=2.0)
    window.powerless(4.9, 5.1)
    lose(window, earned_s=1.5, struck_s=5.0)
    assert (round(window.worst_s, 3), window.violations) == (3.5, [])
    lose(window, earned_s=11.5, struck_s=15.0)
    assert len(window.violations) == 1


def test_only_promises_of_the_last_moment_before_the_power_went_are_taken_back_as_far_as_they_are_lost() -> None:
    said = told()
    said.powerless(10.0, 10.2)
    moments = {1: 7.9, 2: 8.1, 3: 9.0, 4: 10.1, 5: 10.3}
    said.promises = [Promise(at_s, "op", 0, op) for op, at_s in moments.items()]
    said.model.acked[0] = {*moments}
    age_s = said.forgive(lambda promise: promise.number == 3, 2.0)
    assert said.model.acked[0] == {1, 3, 5}
    assert round(age_s, 3) == 1.9


def test_a_log_that_was_rewritten_does_not_tell_everything(tmp_path: Path) -> None:
    files = tmp_path / "appendonlydir"
    files.mkdir()
    base = files / "appendonly.aof.1.base.rdb"
    for name, size in ((base.name, 89), ("appendonly.aof.1.incr.aof", 5000), ("appendonly.aof.manifest", 90)):
        (files / name).write_bytes(b"x" * size)
    assert is_whole(tmp_path)
    base.write_bytes(b"x" * 500)
    assert not is_whole(tmp_path)
