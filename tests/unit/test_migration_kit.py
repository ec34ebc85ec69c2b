"""The kit finds what is wrong with a migration before it is deployed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realmkeep.errors import MigrationFailed
from realmkeep.records.codecs import encode
from realmkeep.records.fields import CLAMP, durable
from realmkeep.records.plain import Plain
from realmkeep.records.record import Record
from realmkeep.testing.migrations import (
    FAILURES_MAX,
    SampleFailure,
    check_steps_accept_missing_fields,
    check_steps_idempotent,
    run_sample,
)
from realmkeep.testing.specification import SpecPlayer, specification_player

GOLDEN = Path(__file__).parents[1] / "golden" / "player"


def monk(*steps: Callable[[Plain], Plain]) -> type[Any]:
    class Monk(Record, kind="monk", version=3):
        name: str = durable(default="")
        calm: int = durable(default=0, ge=0, on_invalid=CLAMP)

    for version, step in enumerate(steps, start=1):
        Monk.migration(version)(step)
    return Monk


def same(plain: Plain) -> Plain:
    return plain


def more_calm(plain: Plain) -> Plain:
    return plain | {"calm": plain.get("calm", 0) + 1}


def to_float(plain: Plain) -> Plain:
    calm = plain.get("calm", 0)
    return plain | {"calm": 1.0 if type(calm) is int else 1}


def needs_name(plain: Plain) -> Plain:
    return plain | {"calm": len(plain["name"])}


OLD: list[bytes | Plain] = [{"version": 1, "name": "Ada"}, b'(:version 1 :name "Eve" :calm 3)']


def test_the_specification_s_migration_passes() -> None:
    samples = [path.read_bytes() for path in sorted(GOLDEN.glob("v1.*")) if path.suffix != ".loaded"]
    assert len(samples) == 2
    check_steps_idempotent(SpecPlayer, samples)
    check_steps_accept_missing_fields(SpecPlayer, samples)


def test_steps_that_settle_pass() -> None:
    check_steps_idempotent(monk(same, same), OLD)
    check_steps_accept_missing_fields(monk(same, more_calm), OLD)


def test_a_step_that_goes_on_changing_its_own_output_is_found() -> None:
    with pytest.raises(AssertionError, match="from version 2 is not idempotent: calm is 1 after one run, and 2 after"):
        check_steps_idempotent(monk(same, more_calm), OLD)


def test_a_step_that_changes_only_the_type_is_found() -> None:
    with pytest.raises(AssertionError, match=r"not idempotent: calm is 1.0 after one run, and 1 after"):
        check_steps_idempotent(monk(to_float, same), OLD)


def test_samples_that_do_not_reach_a_step_prove_nothing_and_fail() -> None:
    with pytest.raises(AssertionError, match="no sample reaches the migration from version 1"):
        check_steps_idempotent(monk(same, same), [{"version": 2}])
    with pytest.raises(AssertionError, match="no sample"):
        check_steps_idempotent(monk(same, same), [])


def test_a_step_that_needs_a_field_is_found() -> None:
    with pytest.raises(AssertionError, match=r"from version 1 to 2 .*KeyError.*, on a record without any field"):
        check_steps_accept_missing_fields(monk(needs_name, same), OLD)


def test_a_step_that_needs_one_field_beside_another_is_found() -> None:
    def needs_both(plain: Plain) -> Plain:
        return plain | {"calm": plain["calm"] if "name" in plain else 0}

    with pytest.raises(AssertionError, match=r"KeyError.*, on a record without calm"):
        check_steps_accept_missing_fields(monk(needs_both, same), [{"version": 1, "name": "Ada", "calm": 1}])


def test_a_step_that_fails_on_a_sample_as_it_is_fails_the_check() -> None:
    with pytest.raises(MigrationFailed):
        check_steps_idempotent(monk(needs_name, same), [{"version": 1}])


def good(count: int) -> list[bytes]:
    return [encode(specification_player(items)) for items in range(count)]


def test_a_sample_is_counted_by_what_became_of_each_record() -> None:
    cut = good(1)[0][:-1]
    old = (GOLDEN / "v1.sexpr").read_bytes()
    report = run_sample(SpecPlayer, [*good(3), old, cut, b"(:version 9)", b"(:version 2 :player-id -1)"])
    assert report.outcomes == {"OK": 4, "Corrupt": 1, "RecordTooNew": 1, "REJECT": 1}
    assert report.migrated_from == {1: 1}
    assert report.refused == 3
    assert [failure.source for failure in report.failures] == ["record 5", "record 6", "record 7"]
    assert "player_id is -1, should be at least 0" in report.failures[2].said
    assert "7 records, 3 refused" in str(report)
    assert "migrated from version 1: 1" in str(report)


def test_clamped_records_are_counted_but_not_refused() -> None:
    report = run_sample(monk(same, same), [b"(:version 3 :calm -1)"])
    assert (report.outcomes, report.refused, report.failures) == ({"CLAMP": 1}, 0, [])


def test_a_sample_may_be_a_directory_or_a_file_of_lines(tmp_path: Path) -> None:
    directory = tmp_path / "dump"
    directory.mkdir()
    for number, stored in enumerate(good(3)):
        (directory / f"player-{number}").write_bytes(stored)
    (directory / "player-9").write_bytes(b"{}")
    lines = tmp_path / "dump.jsonl"
    lines.write_bytes(b"\r\n".join([*good(3), b"", b"{}"]) + b"\n")
    for source, name in ((directory, "player-9"), (lines, "line 5")):
        report = run_sample(SpecPlayer, source)
        assert report.outcomes == {"OK": 3, "Corrupt": 1}
        assert [failure.source for failure in report.failures] == [name]


def test_a_report_names_the_first_failures_only() -> None:
    report = run_sample(SpecPlayer, [b"{"] * (FAILURES_MAX + 5))
    assert report.refused == FAILURES_MAX + 5
    assert len(report.failures) == FAILURES_MAX
    assert isinstance(report.failures[0], SampleFailure)


def test_json_without_a_checksum_is_a_choice() -> None:
    unchecked = [b'{"version":2,"player_id":1}']
    assert run_sample(SpecPlayer, unchecked).refused == 1
    assert run_sample(SpecPlayer, unchecked, accept_unchecked=True).refused == 0
