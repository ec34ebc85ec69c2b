"""What a type checker says of commits and logins: swapped arguments are errors before they are bugs."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRELUDE = """
from typing import assert_type
from realmkeep import Keeper, Op, Receipt, Record, Session, durable


class Player(Record, kind="player", version=1):
    gold: int = durable(default=0)


class Guild(Record, kind="guild", version=1):
    motto: str = durable(default="")


def one(a: Player) -> int: ...
def two(a: Player, b: Guild) -> str: ...
def three(a: Player, b: Guild, c: Player) -> bytes: ...
def four(a: Player, b: Guild, c: Player, d: Guild) -> float: ...
def many(players: list[Player]) -> None: ...


async def game(k: Keeper, p: Session[Player], g: Session[Guild]) -> None:
"""

RIGHT = [
    "assert_type(await k.commit(one, p), Receipt[int])",
    "assert_type(await k.commit(two, p, g), Receipt[str])",
    "assert_type(await k.commit(three, p, g, p), Receipt[bytes])",
    "assert_type(await k.commit(four, p, g, p, g), Receipt[float])",
    "assert_type((await k.commit(two, p, g, ops=(Op(1), None))).result, str)",
    "assert_type(await k.commit_all(many, [p, p]), Receipt[None])",
    "assert_type(await k.commit(lambda a: a.gold, p), Receipt[int])",
    "assert_type(await k.commit(lambda a, b: b.motto, p, g), Receipt[str])",
    "assert_type(p.record, Player)",
    "assert_type(await k.login(Player, 1), Session[Player] | None)",
    "assert_type(await k.login(Player, 'ada', create=Player), Session[Player])",
    "assert_type(await k.hold(Guild, 1), Session[Guild] | None)",
    "assert_type(await k.hold(Guild, 1, create=lambda: Guild(motto='all')), Session[Guild])",
    "assert_type(await k.recover(Player), list[Session[Player]])",
    "assert_type(k.sessions(Guild), list[Session[Guild]])",
    "assert_type(k.session(Guild, 1), Session[Guild] | None)",
    "assert_type(await k.table(Player).load(1), Player | None)",
    "async with k.borrow(Player, 1) as b: assert_type(b, Session[Player] | None)",
    "every: Session[Record] = p",
]

WRONG = [
    "await k.commit(one, g)",
    "await k.commit(two, g, p)",
    "await k.commit(two, p)",
    "await k.commit(two, p, g, p)",
    "await k.commit(three, p, p, g)",
    "await k.commit(four, p, g, g, p)",
    "await k.commit(one, p.record)",
    "await k.commit(one, p, ops=(Op(1), Op(2)))",
    "await k.commit(two, p, g, ops=(Op(1),))",
    "await k.commit(one, await k.login(Player, 1))",
    "await k.commit_all(many, [g])",
    "await k.commit(lambda a: a.motto, p)",
    "p.record.motto",
    "p.record.gold = 'much'",
    "wrong: Session[Player] = await k.login(Player, 1, create=Guild)",
    "await k.login(Player, 1.5)",
    "await k.table(Player).save(1, Guild())",
    "(await k.login(Player, 1)).record",
]


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What basedpyright says of each statement; one run for all of them."""
    folder = tmp_path_factory.mktemp("typing")
    lines = PRELUDE.count("\n")
    body = [textwrap.indent(statement, "    ") for statement in RIGHT + WRONG]
    (folder / "game.py").write_text(PRELUDE.lstrip("\n") + "\n".join(body) + "\n", encoding="utf-8")
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "extraPaths": [str(ROOT / "src")]}
    quiet = ("reportUnusedVariable", "reportUnusedExpression", "reportUnusedCallResult")
    (folder / "pyrightconfig.json").write_text(json.dumps(settings | dict.fromkeys(quiet, "none")), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said: dict[str, list[str]] = {statement: [] for statement in RIGHT + WRONG}
    for found in json.loads(ran.stdout)["generalDiagnostics"]:
        if found["severity"] == "error":
            at = found["range"]["start"]["line"] - (lines - 1)
            assert at >= 0, f"the prelude itself: {found['message']}"
            said[(RIGHT + WRONG)[at]].append(found["message"])
    return said


@pytest.mark.parametrize("statement", RIGHT)
def test_what_is_right_is_typed(complaints: dict[str, list[str]], statement: str) -> None:
    assert complaints[statement] == []


@pytest.mark.parametrize("statement", WRONG)
def test_what_is_wrong_is_refused(complaints: dict[str, list[str]], statement: str) -> None:
    assert complaints[statement] != []
