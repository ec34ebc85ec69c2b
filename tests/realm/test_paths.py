"""Names that a system refuses, a locale cannot spell, or nobody may enter: a sentence each, and no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from client import PATIENCE_S
from server import SETTINGS, running

COMMAND = [sys.executable, "-m", "realmkeep.cli"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def said(*arguments: str | bytes, **variables: str) -> str:
    """What a command says that must not start."""
    ended = subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, **SETTINGS, **variables},
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 1, ended
    assert b"Traceback" not in ended.stderr
    last = ended.stderr.decode(errors="strict").splitlines()[-1]
    assert last.startswith("realmkeep: ")
    return last


PLACES = {
    "data": ("serve", "--data"),
    "sqlite": ("serve", "--data", "DATA", "--store"),
    "embedded": ("serve", "--data", "DATA", "--store"),
    "crowd": ("crowd", "--data"),
}


def place(kind: str, path: Path, data: Path) -> list[str]:
    *front, last = PLACES[kind]
    front = [str(data) if word == "DATA" else word for word in front]
    named = f"{kind}:///{path}" if kind in {"sqlite", "embedded"} else str(path)
    return [*front, last, named]


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize(("name", "words"), [("x" * 256, "too long"), ("file/below", "not a directory")])
def test_a_path_that_cannot_be_is_a_sentence(tmp_path: Path, kind: str, name: str, words: str) -> None:
    (tmp_path / "file").touch()
    assert words in said(*place(kind, tmp_path / name, tmp_path / "data"))


@pytest.mark.parametrize("kind", ["sqlite", "embedded"])
def test_a_nul_in_a_url_is_a_sentence(tmp_path: Path, kind: str) -> None:
    command = ["serve", "--data", str(tmp_path / "data"), "--store", f"{kind}:///{tmp_path}/a%00b"]
    assert "path" in said(*command)


@pytest.mark.parametrize("variables", [{}, ASCII], ids=["UTF-8", "ASCII"])
@pytest.mark.parametrize("name", ["ä".encode(), b"\xff\xfe"], ids=["umlaut", "no text at all"])
def test_a_name_in_any_encoding_serves_in_any_locale(
    tmp_path: Path, name: bytes, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    with running(directory) as server:
        assert (directory / "store" / "store.conf").exists()
        assert json.loads(server.file.read_text())["store_url"].startswith("embedded:///")
    assert "Traceback" not in server.log


def test_a_sqlite_file_whose_name_is_not_utf8_is_a_sentence(tmp_path: Path) -> None:
    command = ["serve", "--data", str(tmp_path / "data"), "--store", f"sqlite:///{tmp_path}/%FF.db"]
    assert "is not UTF-8" in said(*command)


def test_a_password_on_the_command_line_is_warned_of(tmp_path: Path) -> None:
    url = f"redis+unix://keeper:s3cr3t@{tmp_path}/none.sock"
    ended = subprocess.run(
        [*COMMAND, "serve", "--data", str(tmp_path / "data"), "--store", url],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert "REALMKEEP_STORE__URL_FILE" in ended.stderr
    assert "s3cr3t" not in ended.stderr


def test_a_torn_server_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(json.dumps({"pid": 1}))
    assert "server.json cannot be read" in said("crowd", "--data", str(tmp_path))
