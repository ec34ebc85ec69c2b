"""ARCHITECTURE.md names functions, modules and states: they are those of the code."""

import ast
import re
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

from realmkeep.keeping.ownership.lease import LeaseState
from realmkeep.keeping.writing.write_queue import MOVES

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "realmkeep"
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w/]+\.py):([\w.]+)`")


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"))


def defines(module: str, name: str) -> bool:
    """Whether the module defines a function or class of this name; `Class.method` names a method."""
    node: ast.AST = tree_of(module)
    for part in name.split("."):
        found = [
            each
            for each in ast.iter_child_nodes(node)
            if isinstance(each, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and each.name == part
        ]
        if not found:
            return False
        node = found[-1]
    return True


@pytest.mark.parametrize(("module", "name"), sorted(set(NAMED.findall(PAGE))))
def test_every_function_on_the_journeys_exists(module: str, name: str) -> None:
    assert defines(module, name)


def test_a_function_that_does_not_exist_is_noticed() -> None:
    assert defines("keeping/keeper.py", "Keeper.login")
    assert not defines("keeping/keeper.py", "Keeper.log_in")
    assert not defines("keeping/keeper.py", "login")


def modules_on_the_map(page: str) -> set[str]:
    (shown,) = re.findall(r"^```text\nkeeping/\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    room = PurePosixPath()
    found: set[str] = set()
    for indent, name in re.findall(r"^( +)(\w+(?:/|\.py)) ", shown, re.MULTILINE):
        if name.endswith("/"):
            room = PurePosixPath(name)
        else:
            found.add(str(room / name) if len(indent) > len("  ") else name)
    return found


def test_the_map_of_keeping_has_every_module_in_its_room() -> None:
    keeping = SOURCE / "keeping"
    modules = {path.relative_to(keeping).as_posix() for path in keeping.rglob("*.py") if path.name != "__init__.py"}
    assert modules_on_the_map(PAGE) == modules


def test_the_diagram_of_the_write_queue_shows_its_moves() -> None:
    drawn = re.findall(
        r"^ +(FLOWING|HALTED|RESOLVING|CLOSED) --> (FLOWING|HALTED|RESOLVING|CLOSED)\b", PAGE, re.MULTILINE
    )
    assert sorted(drawn) == sorted((at.name, to.name) for at, following in MOVES.items() for to in following)


def test_the_diagram_of_the_lease_has_its_states() -> None:
    diagram = PAGE.partition("**The lease of a server**")[2].partition("```mermaid")[2].partition("```")[0]
    assert set(re.findall(r"\b[A-Z]{4,}\b", diagram)) == {state.name for state in LeaseState}
