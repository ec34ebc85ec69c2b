"""The guard of instruction counts: what it compares, and when it fails."""

import shutil
from pathlib import Path

import msgspec
import pytest

from realmkeep.benchmarks import instructions
from realmkeep.benchmarks.instructions import CountedRow, Counts, compare, python_build, record
from realmkeep.cli.app import app
from realmkeep.errors import Misuse

COUNTS = Counts(python_a_trade=500_000, python_a_flushed_player=150_000, store_a_trade=130_000, wire_bytes_a_trade=6500)


def row(python: str = "CPython 3.11.7, no PGO", store: str = "valkey 9.1.2", **counts: int) -> CountedRow:
    return CountedRow(python, store, msgspec.structs.replace(COUNTS, **counts))


def test_a_count_may_grow_by_a_tenth_and_no_more(tmp_path: Path) -> None:
    recorded = tmp_path / "instructions.json"
    record(row(), recorded)
    assert compare(row(python_a_trade=550_000), recorded).grown == ()
    for name in Counts.__struct_fields__:
        grown = compare(row(**{name: getattr(COUNTS, name) * 111 // 100}), recorded)
        assert (grown.grown, grown.recorded) == ((name,), COUNTS)


def test_only_the_same_python_and_store_are_compared(tmp_path: Path) -> None:
    recorded = tmp_path / "instructions.json"
    assert compare(row(), recorded).recorded is None
    record(row(), recorded)
    for other in (row(python="CPython 3.13.0, PGO"), row(store="valkey 9.2.0")):
        verdict = compare(msgspec.structs.replace(other, counts=row(store_a_trade=10**9).counts), recorded)
        assert (verdict.recorded, verdict.grown) == (None, ())


def test_a_row_takes_the_place_of_its_own_build_alone(tmp_path: Path) -> None:
    recorded = tmp_path / "instructions.json"
    for each in (row(), row(python="CPython 3.13.0, PGO", store_a_trade=1), row(store_a_trade=2)):
        record(each, recorded)
    rows = msgspec.json.decode(recorded.read_bytes(), type=list[CountedRow])
    assert [(each.python, each.counts.store_a_trade) for each in rows] == [
        ("CPython 3.11.7, no PGO", 2),
        ("CPython 3.13.0, PGO", 1),
    ]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"no": "rows"}', encoding="utf-8")
    with pytest.raises(Misuse, match="has no counts"):
        compare(row(), tmp_path / "other.json")


def test_the_command_fails_when_a_count_has_grown_and_says_loudly_that_there_is_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = row()

    def counted(_directory: Path) -> CountedRow:
        return now

    monkeypatch.setattr(instructions, "count_instructions", counted)
    recorded = tmp_path / "instructions.json"
    command = ["bench", "instructions", "--recorded", str(recorded)]

    def ended(*more: str) -> tuple[int, str]:
        return app([*command, *more], result_action="return_value"), capsys.readouterr().out

    code, said = ended()
    assert (code, "NO ROW" in said, recorded.exists()) == (0, True, False)
    assert ended("--record")[0] == 0
    code, said = ended()
    assert (code, "NO ROW" in said, "GROWN" in said) == (0, False, False)
    now = row(store_a_trade=144_000)
    code, said = ended()
    assert code == 1
    assert [line.split()[0] for line in said.splitlines() if "GROWN" in line] == ["store_a_trade"]


def test_without_valgrind_nothing_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_name: str) -> None:
        return None

    monkeypatch.setattr(shutil, "which", nowhere)
    with pytest.raises(Misuse, match="valgrind, which is not installed"):
        instructions.count_instructions(tmp_path)


def test_a_build_names_its_version_and_its_optimization() -> None:
    version, optimization, *_ = python_build().split(", ")
    assert version.startswith("CPython 3.")
    assert optimization in {"no PGO", "PGO", "LTO", "PGO and LTO"}


def test_the_committed_counts_can_be_read() -> None:
    committed = Path(__file__).parents[2] / "benchmarks" / "instructions.json"
    rows = msgspec.json.decode(committed.read_bytes(), type=list[CountedRow])
    assert rows
    assert all(min(msgspec.structs.astuple(each.counts)) > 0 for each in rows)
