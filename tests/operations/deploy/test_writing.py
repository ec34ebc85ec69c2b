"""`realmkeep deploy write`: what is written, what is refused, and what is kept of an operator's changes."""

import json
import stat
from pathlib import Path

import pytest

from realmkeep.cli.app import app
from realmkeep.errors import ConfigError, DeploymentChanged, FileRefused
from realmkeep.operations.deploy import Deployment, deployment_files, write_files


def states(directory: Path, texts: dict[str, str], *, force: bool = False) -> dict[str, str]:
    return {each.path: each.state for each in write_files(directory, texts, force=force)}


def test_files_are_written_readable_for_all_and_again_unchanged(tmp_path: Path) -> None:
    place = tmp_path / "deploy"
    texts = {"a": "1\n", "folder/b": "2\n"}
    assert states(place, texts) == {"a": "written", "folder/b": "written"}
    assert (place / "folder/b").read_text(encoding="utf-8") == "2\n"
    assert stat.S_IMODE((place / "a").stat().st_mode) == 0o644
    assert states(place, texts) == {"a": "unchanged", "folder/b": "unchanged"}


def test_a_newer_release_replaces_what_nobody_changed(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "1", "b": "1"})
    assert states(tmp_path, {"a": "2", "b": "1"}) == {"a": "written", "b": "unchanged"}
    assert (tmp_path / "a").read_text(encoding="utf-8") == "2"


def test_a_change_is_not_overwritten_and_then_nothing_is_written(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "1", "b": "1"})
    (tmp_path / "b").write_text("mine", encoding="utf-8")
    with pytest.raises(DeploymentChanged, match=r"changed since they were written: b; nothing was written"):
        write_files(tmp_path, {"a": "2", "b": "2"})
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in "ab"} == {"a": "1", "b": "mine"}


def test_a_file_that_was_not_ours_counts_as_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("theirs", encoding="utf-8")
    with pytest.raises(DeploymentChanged):
        write_files(tmp_path, {"a": "ours"})
    (tmp_path / "a").write_text("ours", encoding="utf-8")
    assert states(tmp_path, {"a": "ours"}) == {"a": "unchanged"}


def test_force_keeps_the_change_beside_it(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "1"})
    (tmp_path / "a").write_text("mine", encoding="utf-8")
    assert states(tmp_path, {"a": "2"}, force=True) == {"a": "overwritten"}
    assert (tmp_path / "a").read_text(encoding="utf-8") == "2"
    assert (tmp_path / "a.before").read_text(encoding="utf-8") == "mine"
    assert states(tmp_path, {"a": "3"}) == {"a": "written"}  # it is ours again


@pytest.mark.parametrize("notes", ["{", "[]", ""])
def test_without_readable_notes_every_file_counts_as_changed(tmp_path: Path, notes: str) -> None:
    write_files(tmp_path, {"a": "1"})
    (tmp_path / ".written.json").write_text(notes, encoding="utf-8")
    with pytest.raises(DeploymentChanged):
        write_files(tmp_path, {"a": "2"})


def test_a_link_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    place = tmp_path / "deploy"
    place.mkdir()
    (place / "a").symlink_to(victim)
    with pytest.raises((FileRefused, DeploymentChanged)):
        write_files(place, {"a": "1"})
    with pytest.raises(FileRefused):
        write_files(place, {"a": "1"}, force=True)
    assert victim.read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize(
    "values",
    [
        {"venv": "relative"},
        {"venv": "/opt/with blank"},
        {"valkey": "/usr/bin/valkey\nExecStartPost=/bin/evil"},
        {"user": "Root User"},
        {"listen": ""},
        {"listen": "127.0.0.1"},
        {"listen": "127.0.0.1:0"},
    ],
)
def test_a_value_that_would_be_another_line_of_a_file_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        deployment_files(Deployment(**values))  # pyright: ignore[reportArgumentType]


def run(*arguments: str) -> int:
    try:
        app(["deploy", "write", *arguments], result_action="return_value")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else -1
    return 0


def test_the_command_writes_all_files_and_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path), "--maxmemory-mb", "512", "--listen", "127.0.0.1:9999") == 0
    said = capsys.readouterr().out
    assert said.endswith(f"{tmp_path}/README.md says how to install them\n")
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {*deployment_files(Deployment()), ".written.json"}
    assert "maxmemory 536870912" in (tmp_path / "valkey.conf").read_text(encoding="utf-8")
    assert "127.0.0.1:9999" in (tmp_path / "prometheus/prometheus.yml").read_text(encoding="utf-8")
    assert all(len(line) <= 80 for line in said.splitlines()[:-1])


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"path": "valkey.conf", "state": "written"} in printed


def test_the_command_refuses_a_wrong_value_as_a_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path), "--venv", "here") == 78
    assert "cannot stand in a unit file" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []
