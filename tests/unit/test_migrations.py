"""Migrations over plain dictionaries: the chain's checks, the runner, and what a step may not do."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from realmkeep.errors import Corrupt, DefinitionError, MigrationFailed, RecordTooNew, Unstorable
from realmkeep.records.fields import RecordInfo
from realmkeep.records.limits import Limits
from realmkeep.records.migrations import (
    add_step,
    check_all,
    check_chains,
    check_migrations,
    migrate,
    stored_version,
)
from realmkeep.records.plain import Plain, plain_copy
from realmkeep.records.record import Record


def declared(version: int, kind: str = "player") -> RecordInfo:
    return RecordInfo(kind=kind, version=version, suffix="", fields={}, durable=())


def returning(result: object) -> Callable[[Plain], Any]:
    def step(plain: Plain) -> Any:
        return result

    return step


def marking(name: str) -> Callable[[Plain], Plain]:
    def mark(plain: Plain) -> Plain:
        return {**plain, name: True}

    return mark


def unchanged(plain: Plain) -> Plain:
    return plain


def with_steps(version: int, *steps: int) -> RecordInfo:
    info = declared(version)
    for step in steps:
        add_step(info, step)(marking(f"step_{step}"))
    return info


def holder(info: RecordInfo) -> type[Any]:
    return type("Player", (), {"__realmkeep__": info})


def test_every_step_runs_once_in_order_from_the_stored_version() -> None:
    info = declared(4)
    ran: list[tuple[int, object]] = []
    for version in (1, 2, 3):

        def step(plain: Plain, version: int = version) -> Plain:
            ran.append((version, plain["version"]))
            return plain

        add_step(info, version)(step)
    assert migrate({"version": 2, "xp": 7}, info) == {"version": 4, "xp": 7}
    assert ran == [(2, 2), (3, 3)]


def test_the_lifetime_xp_example_of_the_specification() -> None:
    info = declared(2)

    @add_step(info, 1)
    def add_lifetime_xp(plain: Plain) -> Plain:
        if not plain.get("lifetime_xp"):
            plain["lifetime_xp"] = 0
        return plain

    assert migrate({"version": 1, "xp": 1500}, info) == {"version": 2, "xp": 1500, "lifetime_xp": 0}
    assert migrate({"version": 1, "lifetime_xp": 30}, info) == {"version": 2, "lifetime_xp": 30}
    assert migrate({"version": 2, "xp": 1500}, info) == {"version": 2, "xp": 1500}, "no step for the current version"
    assert add_lifetime_xp({}) == {"lifetime_xp": 0}, "the decorator leaves the function usable"


def test_data_without_a_version_is_version_0_where_a_step_from_0_exists() -> None:
    assert migrate({}, with_steps(2, 0, 1)) == {"version": 2, "step_0": True, "step_1": True}
    assert migrate({"version": 0}, with_steps(2, 0, 1)) == {"version": 2, "step_0": True, "step_1": True}


def test_data_without_a_version_is_version_1_where_no_step_from_0_exists() -> None:
    assert migrate({}, with_steps(2, 1)) == {"version": 2, "step_1": True}
    assert migrate({"version": 0}, with_steps(2, 1)) == {"version": 2, "step_1": True}
    assert stored_version({}, declared(1)) == 1


@pytest.mark.parametrize("version", [-1, 2**31, True, False, 1.0, "1", None, [], math.nan])
def test_what_is_no_version_is_corrupt(version: object) -> None:
    with pytest.raises(Corrupt, match="player: the stored version is"):
        migrate({"version": version}, with_steps(2, 0, 1))


def test_a_newer_record_is_refused_naming_both_versions() -> None:
    with pytest.raises(RecordTooNew, match=r"player: stored at version 5, but this code knows versions up to 2"):
        migrate({"version": 5}, with_steps(2, 1))


def test_a_record_older_than_the_oldest_step_is_refused() -> None:
    with pytest.raises(MigrationFailed, match=r"from version 1 to 2 does not exist; the oldest .* is 2"):
        migrate({"version": 1}, with_steps(3, 2))


def test_the_caller_s_dictionary_is_neither_changed_nor_shared() -> None:
    info = declared(3)
    bank: list[object] = [{"item": "coins", "count": 1}]
    template: dict[str, Any] = {"stage": 0}

    @add_step(info, 1)
    def spoil(plain: Plain) -> Plain:
        plain["bank"][0]["count"] = 99
        plain["quest"] = template
        return plain

    @add_step(info, 2)
    def spoil_the_template(plain: Plain) -> Plain:
        plain["quest"]["stage"] = 5
        return plain

    stored = {"version": 1, "bank": bank}
    migrated = migrate(stored, info)
    assert migrated == {"version": 3, "bank": [{"item": "coins", "count": 99}], "quest": {"stage": 5}}
    assert stored == {"version": 1, "bank": [{"item": "coins", "count": 1}]}
    assert template == {"stage": 0}
    current = migrate({"version": 3, "bank": bank}, info)
    assert current["bank"] is not bank


def test_the_runner_sets_the_version_whatever_a_step_leaves_there() -> None:
    info = declared(2)
    add_step(info, 1)(returning({"version": 77}))
    assert migrate({}, info) == {"version": 2}


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def nothing(plain: Plain) -> Any:
    plain["xp"] = 1


def a_cycle(plain: Plain) -> Plain:
    plain["self"] = plain
    return plain


def missing(plain: Plain) -> Plain:
    return {"xp": plain["no-such-field"]}


def unprintable(plain: Plain) -> Plain:
    raise Unprintable


def endless(plain: Plain) -> Plain:
    return endless(plain)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (nothing, "returned NoneType, not a dictionary"),
        (missing, "raised KeyError: 'no-such-field'"),
        (unprintable, "raised .*Unprintable"),
        (endless, "raised RecursionError"),
        (a_cycle, "nested deeper than 64"),
        (returning("text"), "returned str, not a dictionary"),
        (returning({"at": object()}), "at is of type object"),
        (returning({"at": [{"x": (1, 2)}]}), r"at\[0\].x is of type tuple"),
        (returning({1: 2}), "a key of type int"),
        (returning({"n": 2**63}), "n is an integer beyond 64 bits"),
        (returning({"x": math.nan}), "x is nan"),
        (returning({"x": [math.inf]}), r"x\[0\] is inf"),
        (returning({"name": "\ud800"}), "half a surrogate pair"),
        (returning({"\ud800": 1}), "not Unicode"),
        (returning({"many": [0] * 10_000}), "more than 10000 values"),
    ],
)
def test_a_step_that_fails_is_named_with_its_cause(step: Any, why: str) -> None:
    info = declared(3)
    add_step(info, 1)(unchanged)
    add_step(info, 2)(step)
    with pytest.raises(MigrationFailed, match=rf"player: the migration from version 2 to 3 .*{why}"):
        migrate({"version": 1}, info)


def test_a_failed_step_keeps_what_it_raised_as_the_cause() -> None:
    info = declared(2)
    add_step(info, 1)(missing)
    with pytest.raises(MigrationFailed) as failed:
        migrate({"version": 1}, info)
    assert isinstance(failed.value.__cause__, KeyError)


def test_the_interrupt_key_is_not_a_failed_migration() -> None:
    info = declared(2)

    def interrupted(plain: Plain) -> Plain:
        raise KeyboardInterrupt

    add_step(info, 1)(interrupted)
    with pytest.raises(KeyboardInterrupt):
        migrate({"version": 1}, info)


def test_a_copy_counts_containers_values_and_keys() -> None:
    plain: Plain = {"a": [1, 2], "b": {"c": None}}
    nodes = 1 + 1 + 3 + 1 + 1 + 1 + 1
    assert plain_copy(plain, limits=Limits(nodes_max=nodes)) == plain
    with pytest.raises(Unstorable, match=f"more than {nodes - 1}"):
        plain_copy(plain, limits=Limits(nodes_max=nodes - 1))


@pytest.mark.parametrize("version", [-1, 2, 3])
def test_a_step_beyond_the_current_version_is_refused_when_it_is_registered(version: int) -> None:
    with pytest.raises(DefinitionError, match="player: "):
        add_step(declared(2), version)


def test_a_second_step_from_the_same_version_is_refused_and_the_first_stays() -> None:
    info = with_steps(2, 1)
    first = info.migrations[1]
    with pytest.raises(DefinitionError, match=r"two migrations from version 1: .*mark and missing"):
        add_step(info, 1)(missing)
    assert info.migrations == {1: first}


@pytest.mark.parametrize(
    ("version", "steps", "complete"),
    [
        (1, (), True),
        (1, (0,), True),
        (2, (1,), True),
        (3, (0, 1, 2), True),
        (4, (2, 3), True),  # version 1 is no longer supported
        (2, (), False),
        (3, (1,), False),
        (4, (1, 3), False),
        (2, (0,), False),
    ],
)
def test_a_chain_is_complete_from_its_first_step_to_the_current_version(
    version: int, steps: tuple[int, ...], *, complete: bool
) -> None:
    cls = holder(with_steps(version, *steps))
    if complete:
        check_migrations(cls)
    else:
        with pytest.raises(DefinitionError, match="player: no migration from version"):
            check_migrations(cls)


def test_the_check_names_every_step_to_add_of_every_class() -> None:
    zone = holder(RecordInfo(kind="zone", version=2, suffix="objects", fields={}, durable=()))
    with pytest.raises(DefinitionError) as refused:
        check_chains([holder(with_steps(5, 1, 3)), zone])
    message = str(refused.value)
    for step in ("player: no migration from version 2 to 3", "player: no migration from version 4 to 5", "zone: no"):
        assert step in message


def test_a_step_put_past_the_decorator_is_found_at_start_up() -> None:
    info = with_steps(2, 1)
    info.migrations[2] = unchanged
    with pytest.raises(DefinitionError, match="the migration from version 2 is out of range"):
        check_migrations(holder(info))


class Complete(Record, kind="complete-chain", version=2):
    """A record of the tests' module, as a game's are: it has claimed its kind."""


@Complete.migration(1)
def complete(plain: Plain) -> Plain:
    return plain


def gaps_of_the_program() -> str:
    """What `check_all` says; other tests' records may be incomplete."""
    try:
        check_all()
    except DefinitionError as error:
        return str(error)
    return ""


def test_all_records_of_the_program_are_checked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete({}) == {}
    assert "complete-chain" not in gaps_of_the_program()
    monkeypatch.delitem(Complete.__realmkeep__.migrations, 1)
    assert "complete-chain: no migration from version 1 to 2" in gaps_of_the_program()
