"""The rules of the house that a machine can check cheaply; each has a control that must be caught."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

from realmkeep import errors
from realmkeep.errors import RealmkeepError

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

# Written as patterns that do not match themselves.
PLACES = re.compile(
    rb"(?<![\w.*{])/(?:root|work|farm|home/\w+|Users/\w+)/|[.]librar[y]\b"
    rb"|pypi[.]org|pythonhosted[.]org|npmjs[.]org|--(?:extra-)?index-ur[l]|--find-link[s]"
)
REAL_CLOCK = re.compile(
    r"(?:asyncio\.)?(?:sleep|timeout|timeout_at|wait_for)|(?:datetime|date)(?:\.datetime|\.date)?\.(?:now|utcnow|today)"
    r"|(?:.*loop(?:\(\))?)\.(?:time|call_later|call_at)"
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Trees = dict[Path, ast.Module]


@pytest.fixture(scope="module")  # and not for ever: they are millions of objects
def trees() -> Trees:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def tracked_files() -> list[Path]:
    """What git has or would add; where git cannot say (a source distribution, a foreign checkout), what is not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        if listed.returncode == 0:
            return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return files_not_ignored()


def files_not_ignored() -> list[Path]:
    patterns = [".git", *(ROOT / ".gitignore").read_text(encoding="utf-8").split()]
    at_the_root = [pattern.strip("/") for pattern in patterns if pattern.startswith("/")]
    everywhere = [pattern.strip("/") for pattern in patterns if not pattern.startswith("/")]
    found: list[Path] = []
    for directory, folders, names in os.walk(ROOT):
        ignored = everywhere + at_the_root if Path(directory) == ROOT else everywhere
        folders[:] = [folder for folder in folders if not any(fnmatch(folder, pattern) for pattern in ignored)]
        kept = [name for name in names if not any(fnmatch(name, pattern) for pattern in ignored)]
        found += [Path(directory, name) for name in kept]
    return found


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def code_lines(function: Function) -> int:
    """Its lines without the docstring: a specification may be long."""
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    described = 1 + (docstring.end_lineno or 0) - docstring.lineno if docstring else 0
    return 1 + (function.end_lineno or 0) - function.lineno - described


# A task that is made elsewhere must be awaited where it is made: nobody else would hear how it ends.
AWAITS_ITS_TASKS = {
    "background.py": "the one that hears of all",
    "boards.py": "the distribution is awaited by those who asked; a failed one is asked for anew",
    "confirming.py": "whatever ends it reaches those who wait for it",
    "draining.py": "each logs its own failure, and all are gathered",
    "entering.py": "the entry is awaited by its caller, and by a callback if that is gone",
    "searches.py": "the step is awaited by the page that asks next; if none does, its error is of no interest",
    "shutdown.py": "the releases are gathered",
    "guest_port.py": "awaited at the end of the port's block",
    "readers.py": "awaited by the reader, and at the end by `close`",
    "redis.py": "the flush is awaited by those who asked; the reconnection ends in success alone",
    "redis_connection.py": "whatever ends the reads reaches those who wait for answers",
    "redis_pipe.py": "whatever ends them reaches those who wait for answers",
    "sqlite.py": "shielded and awaited",
    "storage.py": "the reconnection ends in success alone",
    "writer.py": "whatever ends it reaches those who wait for answers",
}
BESIDE_THE_SERVER = {"benchmarks", "crowd", "drill", "testing"}


def tasks_made(tree: ast.AST) -> list[str]:
    """Every task that is made without `Background`."""
    calls = (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call for call in calls if call.rpartition(".")[2] in {"create_task", "ensure_future"}]


def test_every_task_of_the_server_is_heard_of_when_it_fails(trees: Trees) -> None:
    made = {
        path.name
        for path, tree in trees.items()
        if not BESIDE_THE_SERVER & {*path.relative_to(ROOT).parts} and tasks_made(tree)
    }
    assert made == AWAITS_ITS_TASKS.keys()
    assert tasks_made(ast.parse("loop.create_task(f()); asyncio.ensure_future(g()); background.run('h', h())")) == [
        "loop.create_task",
        "asyncio.ensure_future",
    ]


def imports_between(modules: dict[str, ast.Module]) -> dict[str, set[str]]:
    """For each module the modules that it imports, for type checking alone, too."""
    found: dict[str, set[str]] = {}
    for module, tree in modules.items():
        imported = found[module] = set[str]()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                named = [f"{node.module}.{alias.name}" for alias in node.names]
                imported |= {name if name in modules else node.module for name in named} & (modules.keys() - {module})
    return found


def test_no_modules_import_each_other(trees: Trees) -> None:
    package = ROOT / "src"
    named = {".".join(path.relative_to(package).with_suffix("").parts): tree for path, tree in trees.items()}
    tuple(
        TopologicalSorter(
            imports_between({name.removesuffix(".__init__"): tree for name, tree in named.items()})
        ).static_order()
    )
    cycle = {"a": ast.parse("from b import c"), "b": ast.parse("if x:\n  from a import d")}
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(imports_between(cycle)).static_order())


MEASURING = {"clock.py", "slices.py"}  # the one reads time for all; the other measures processor time, for benchmarks


def clock_readings(tree: ast.AST) -> list[str]:
    """Every use of the real clock: an import of `time`, a real sleep or timeout, a reading of the calendar."""
    found: list[str] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        match node:
            case ast.Call(ast.Attribute(ast.Name("asyncio"), "sleep"), [ast.Constant(0)]):
                continue  # yields, and waits for nothing
            case ast.Import(names):
                found += [f"import {name.name}" for name in names if name.name == "time"]
            case ast.ImportFrom(module="time", names=[ast.alias(name="thread_time")]):
                pass  # the processor's time is a cost, not a time
            case ast.ImportFrom(module="time"):
                found += ["from time import"]
            case ast.ImportFrom(module="asyncio", names=names):
                found += [f"from asyncio import {name.name}" for name in names if REAL_CLOCK.fullmatch(name.name)]
            case ast.Attribute() if REAL_CLOCK.fullmatch(name := ast.unparse(node)) and "." in name:
                found += [name]
            case ast.Call(func, keywords=keywords) if ast.unparse(func) == "asyncio.wait":
                found += ["asyncio.wait(timeout=)" for keyword in keywords if keyword.arg == "timeout"]
            case _:
                pass
        pending += ast.iter_child_nodes(node)
    return found


def error_named(node: ast.Raise) -> type[RealmkeepError] | None:
    """The Realmkeep error that a `raise Name(...)` raises."""
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    name = raised.attr if isinstance(raised, ast.Attribute) else raised.id if isinstance(raised, ast.Name) else ""
    error = getattr(errors, name, None)
    return error if isinstance(error, type) and issubclass(error, RealmkeepError) else None


def raised_directly(function: Function) -> set[type[RealmkeepError]]:
    found: set[type[RealmkeepError]] = set()
    pending: list[ast.AST] = [*function.body]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Raise) and (error := error_named(node)):
            found.add(error)
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            pending += ast.iter_child_nodes(node)
    return found


def documented(function: Function) -> set[str]:
    docstring = ast.get_docstring(function) or ""
    return set(re.findall(r"^ +(\w+):", docstring.partition("Raises:\n")[2], re.MULTILINE))


def public_functions(tree: ast.Module) -> Iterator[Function]:
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        yield from (m for m in members if isinstance(m, Function) and not m.name.startswith("_"))


@pytest.fixture(scope="module")
def promised_by_protocols(trees: Trees) -> dict[str, set[str]]:
    """What the methods of a Protocol document: a class that implements one need not repeat it."""
    promised: dict[str, set[str]] = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases):
                for method in functions(node):
                    promised.setdefault(method.name, set()).update(documented(method))
    return promised


def undocumented(tree: ast.Module, promised: dict[str, set[str]]) -> list[str]:
    missing: list[str] = []
    for function in public_functions(tree):
        said = documented(function) | promised.get(function.name, set())
        missing += [
            f"{function.name} raises {error.__name__}"
            for error in raised_directly(function)
            if said.isdisjoint(ancestor.__name__ for ancestor in error.__mro__)
        ]
    return missing


def by_module(findings: dict[Path, list[str]]) -> dict[str, list[str]]:
    return {str(path.relative_to(ROOT / "src")): found for path, found in findings.items() if found}


def test_a_module_is_one_concern() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: count for path, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_a_function_fits_a_screen(trees: Trees) -> None:
    long = {
        path: [function.name for function in functions(tree) if code_lines(function) > FUNCTION_LINES_MAX]
        for path, tree in trees.items()
    }
    assert by_module(long) == {}


def test_only_the_clock_reads_time(trees: Trees) -> None:
    readings = {path: clock_readings(tree) for path, tree in trees.items() if path.name not in MEASURING}
    assert by_module(readings) == {}


def test_a_public_function_documents_the_errors_it_raises(
    trees: Trees, promised_by_protocols: dict[str, set[str]]
) -> None:
    assert by_module({path: undocumented(tree, promised_by_protocols) for path, tree in trees.items()}) == {}


def test_no_file_names_a_place_on_one_machine_or_a_registry() -> None:
    found = {str(path.relative_to(ROOT)): PLACES.findall(path.read_bytes()) for path in tracked_files()}
    assert {name: places for name, places in found.items() if places} == {}


def test_the_files_are_the_same_whether_git_lists_them_or_not() -> None:
    listed = set(tracked_files())
    assert {ROOT / "dev", ROOT / "pyproject.toml", Path(__file__)} <= listed
    assert listed == set(files_not_ignored())


def test_no_lock_file_stands_beside_the_pinned_requirements() -> None:
    assert [path.name for path in tracked_files() if path.name in {"uv.lock", "poetry.lock", "Pipfile.lock"}] == []


def test_requirements_are_pinned_by_hash() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = re.sub(r"#.*", "", path.read_text(encoding="utf-8")).replace("\\\n", " ")
        for requirement in filter(None, map(str.strip, text.splitlines())):
            assert re.match(r"[\w.\[\],-]+==\S+ .*--hash=sha256:", requirement), f"{path.name}: {requirement}"


@pytest.mark.parametrize(
    "line",
    ["import time", "from time import monotonic", "datetime.now()", "datetime.datetime.utcnow()", "date.today()",
     "asyncio.sleep(1)", "from asyncio import sleep", "asyncio.timeout(1)", "asyncio.wait_for(x, 1)", "loop.time()",
     "asyncio.get_running_loop().time()", "self._loop.call_later(1, f)", "asyncio.wait(x, timeout=1)"],
)  # fmt: skip
def test_a_reading_of_the_real_clock_is_caught(line: str) -> None:
    assert clock_readings(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    ["asyncio.sleep(0)", "clock.sleep(1)", "self._clock.call_later(1, f)", "clock.timeout(1)", "asyncio.wait(x)"],
)
def test_the_house_clock_is_let_through(line: str) -> None:
    assert clock_readings(ast.parse(line)) == []


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("def f(): raise Corrupt('x')", ["f raises Corrupt"]),
        ("class C:\n def f(self):\n  try: pass\n  except OSError as e: raise errors.Corrupt('x') from e", ["f raises Corrupt"]),
        ('def f():\n """F.\n\n Raises:\n  Corrupt: Why.\n """\n raise Corrupt', []),
        ('def f():\n """F.\n\n Raises:\n  RecordError: Why.\n """\n raise Corrupt', []),
        ("def _f(): raise Corrupt('x')", []),
        ("def load(): raise WrongType('x')", []),
        ("def f():\n def g(): raise Corrupt('x')", []),
        ("def f(): raise ValueError('x')", []),
    ],
)  # fmt: skip
def test_an_undocumented_error_is_caught(
    source: str, missing: list[str], promised_by_protocols: dict[str, set[str]]
) -> None:
    assert undocumented(ast.parse(source), promised_by_protocols) == missing


@pytest.mark.parametrize("place", ["see /{}work/x", '"/{}home/ada/x"', "https://py{}pi.org/simple", "--index-{}url x"])
def test_a_place_is_caught(place: str) -> None:
    assert PLACES.search(place.replace("{}", "").encode())


def test_a_long_function_is_measured_without_its_docstring() -> None:
    body = "\n".join(["    x = 1"] * FUNCTION_LINES_MAX)
    (function,) = functions(ast.parse(f'def f():\n    """F.\n\n    More.\n    """\n{body}\n'))
    assert code_lines(function) == 1 + FUNCTION_LINES_MAX


def packages_imported(tree: ast.AST) -> set[str]:
    """The packages of others that a module imports, at its top or within."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"realmkeep", "_typeshed"}  # the last is the type checker's own


def packages_declared() -> set[str]:
    """What an installed wheel may count on: its dependencies and those of its extras, as they are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    return {re.split(r"[^\w-]", name, maxsplit=1)[0].replace("-", "_") for name in wanted} - {"realmkeep"}


def test_whatever_is_imported_is_declared(trees: Trees) -> None:
    declared = packages_declared()
    assert by_module({path: sorted(packages_imported(tree) - declared) for path, tree in trees.items()}) == {}


def test_what_is_not_declared_would_be_found() -> None:
    assert packages_imported(ast.parse("def f():\n    from numpy.linalg import x\nimport os, yaml.x")) == {
        "numpy",
        "yaml",
    }
    assert "yaml" not in packages_declared()
