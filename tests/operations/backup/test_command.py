"""`realmkeep backup`, as an operator types it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from operations.processes import lives
from operations.traders import TRADERS, trading

pytestmark = pytest.mark.backend("sqlite")
ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "REALMKEEP_BACKUP__HOLDINGS": "operations.traders:GAME_HOLDINGS",
}


def backup(directory: Path, *arguments: str, typed: str = "") -> tuple[int, str, str]:
    """The exit code and the output of a command in a directory."""
    command = [sys.executable, "-m", "realmkeep.cli", "backup", *arguments]
    ended = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **ENVIRONMENT},
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture
async def realm(tmp_path: Path) -> Path:
    async with trading(f"sqlite:///{tmp_path}/realm.db"):
        """A realm with traders."""
    (tmp_path / "realmkeep.toml").write_text(
        '[store]\nurl = "sqlite:///realm.db"\n[backup]\ndirectory = "backups"\n', encoding="utf-8"
    )
    return tmp_path


def test_a_night_of_an_operator(realm: Path) -> None:
    assert backup(realm, "list") == (0, "there is no backup\n", "")
    code, said, _ = backup(realm, "create", "--prune")
    assert code == 0
    name = said[:16]
    assert re.fullmatch(
        rf"{name}  {TRADERS} records, [\d,]+ keys, [\d,]+ bytes\n{name}  good\nno backup is to be removed\n", said
    )
    code, said, _ = backup(realm, "list")
    assert (code, said.split()[-1]) == (0, "good")
    assert max(map(len, said.splitlines())) <= 80
    assert backup(realm, "verify") == (0, f"{name}  good\n", "")
    assert backup(realm, "forget", "trader:3")[0] == 0

    code, said, error = backup(realm, "restore", "--yes")
    assert (code, said) == (1, "")
    assert "realm.db is not empty, and a restore replaces no store (stop its server, keep the old state" in error
    (realm / "realm.db").rename(realm / "realm.db.before")
    code, said, error = backup(realm, "restore")
    assert (code, error) == (1, "realmkeep: add --yes to restore this backup\n")
    assert "lost     all that happened in the " in said
    code, said, _ = backup(realm, "restore", "--yes")
    assert code == 0
    assert re.search(r"The realm is as of 20.. *|are lost\.", said)
    assert f"restored {TRADERS} records" in said
    assert "1 records that were erased since were erased again." in said


def test_exit_codes_tell_the_verdicts_apart(realm: Path) -> None:
    name = json.loads(backup(realm, "create", "--json")[1])["manifest"]["name"]
    (listed,) = json.loads(backup(realm, "list", "--json")[1])
    assert (listed["name"], listed["state"]) == (name, "good")
    (realm / "realmkeep.toml").write_text('[backup]\nholdings = "operations.traders:NO_HOLDINGS"\n', encoding="utf-8")
    without_holdings = {**os.environ, "PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}
    ended = subprocess.run(
        [sys.executable, "-m", "realmkeep.cli", "backup", "verify", "--directory", "backups", "--json"],
        cwd=realm,
        env=without_holdings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, json.loads(ended.stdout)[0]["verdict"]) == (75, "inconclusive")
    path = realm / "backups" / name / "snapshot.db"
    path.write_bytes(path.read_bytes()[:-1])
    code, said, _ = backup(realm, "verify", name, "--directory", "backups")
    assert (code, said.split()[1]) == (1, "bad:")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify",), "there is no backup in "),
        (("verify", "20200101T000000Z"), "there is no backup '20200101T000000Z'"),
        (("restore", "--at", "yesterday"), "'yesterday' is no moment (2026-11-30T08:00:03Z)"),
        (("restore", "--yes"), "there is no backup with a good verification"),
        (("create", "--store", "memory://"), "a memory:// store cannot be backed up by Realmkeep"),
        (("forget", "server:config"), "'server:config' is no record"),
    ],
)
def test_what_cannot_be_is_one_line(realm: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, error = backup(realm, *arguments)
    assert (code, out) == (1, "")
    assert said in error
    assert error.startswith("realmkeep: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("holdings", "said"),
    [
        ("operations.traders:NONE", "cannot be imported"),
        ("nowhere:X", "cannot be imported"),
        ("json:loads", "is a function"),
    ],
)
def test_wrong_holdings_are_named(realm: Path, holdings: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "REALMKEEP_BACKUP__HOLDINGS", holdings)
    code, _, error = backup(realm, "create")
    assert code == 1
    assert f"backup.holdings = '{holdings}' {said}" in error


TERMINATED = """
import asyncio, sys
from realmkeep.cli.backup import app
from realmkeep.operations.backup import examining
from realmkeep.storage.embedded import EmbeddedStorage

connect = EmbeddedStorage.connect

async def stop_here(storage, *_, **__):
    if sys.argv[3] == "connect":
        await connect(storage)
        if ".work-" not in str(storage.directory):
            return
    print(storage.capability.process_id, flush=True)
    await asyncio.Event().wait()

if sys.argv[3] == "connect":
    EmbeddedStorage.connect = stop_here
else:
    examining.count_store = stop_here
app(["create", "--store", sys.argv[1], "--directory", sys.argv[2]])
"""


@pytest.mark.backend("embedded")
@pytest.mark.parametrize("moment", ["connect", "count"])
async def test_sigterm_ends_the_scratch_store_and_removes_what_was_made(tmp_path: Path, moment: str) -> None:
    """As a timer's service, or a server that stops, sends it."""
    url, backups = f"embedded:///{tmp_path}/realm", tmp_path / "backups"
    async with trading(url):
        """A realm with traders."""
    command = [sys.executable, "-c", TERMINATED, url, str(backups), moment]
    environment = {**os.environ, **ENVIRONMENT}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        store = int(await asyncio.to_thread(child.stdout.readline))
        child.terminate()
        _, errors = await asyncio.to_thread(child.communicate)
    assert (child.returncode, errors) == (128 + signal.SIGTERM, b"")
    assert [path.name for path in backups.iterdir()] == ["lock"]
    assert not lives(store)
