"""A realm on SQLite with two players and an operator of each role, for commands."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operations.operators.people import BROKEN, PASSWORD
from realmkeep.accounts.account import Account
from realmkeep.cli.app import app
from realmkeep.errors import RealmkeepError
from realmkeep.keeping import Keeper
from realmkeep.realm.world.player import Player
from realmkeep.storage import open_storage

Run = Callable[..., tuple[int, str, str]]


async def players(url: str) -> None:
    async with Keeper.open(url, rescue_path=Path(os.devnull)) as keeper:
        for number, name in ((7, "Ada"), (8, "Bob")):
            await keeper.login(
                Player, number, create=lambda n=number, name=name: Player(player_id=n, name=name, gold=5)
            )
        ada = Account(username="ada", password_hash="x", character_ids=[7])
        assert await keeper.unowned(Account).create("ada", ada)
    storage = open_storage(url)
    await storage.connect()
    await storage.save("player:9", BROKEN)
    await storage.disconnect()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a realm with two players and an operator of each role; returns exit code, output and errors."""
    url = f"sqlite:///{tmp_path / 'realm.db'}"
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    for key, value in {
        "STORE__URL": url,  "OPERATORS__PASSWORD_FILE": str(secret),
        "KEEPER__LEASE_TTL_S": "1", "KEEPER__HEARTBEAT_S": "0.2",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"REALMKEEP_{key}", value)

    def run(*arguments: str) -> tuple[int, str, str]:
        code: Any = 0
        try:
            app([*arguments], result_action="return_value")
        except SystemExit as ended:
            code = ended.code
        except RealmkeepError as error:  # `run` of the app makes a line and the exit code 1 of it
            code = 1
            captured = capsys.readouterr()
            return code, captured.out, f"{captured.err}{error}"
        captured = capsys.readouterr()
        return code or 0, captured.out, captured.err

    asyncio.run(players(url))
    new = ("--password-file", str(secret), "--yes")
    assert run("operator", "add", "ann", "--role", "admin", *new)[0] == 0
    monkeypatch.setenv("REALMKEEP_OPERATORS__NAME", "ann")
    for name, role in (("sue", "support"), ("vic", "viewer")):
        assert run("operator", "add", name, "--role", role, "--reason", "x", *new)[0] == 0
    return run
