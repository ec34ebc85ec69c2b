"""`./dev mutate`: puts each mistake of this folder into a copy of the repository and runs the tests that must notice it."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from mutants.mutant import ROOT, Mutant, read_all

LIMIT_S: Final = 300.0  # for the tests of one mutant; a test that hangs ends sooner by its own limit
ALL_LIMIT_S: Final = 1800.0  # for the tests of all
KILLED_SHARE_MIN: Final = 0.95
LEFT_OUT: Final = (".git", ".venv*", "realm-data", "dist", "__pycache__", ".*_cache", ".hypothesis", "fuzz-failures")
PASSED, FAILED = 0, 1  # pytest's exit codes


def copy_tree(to: Path) -> Path:
    """A copy of the repository, to be changed."""
    shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return to


def run_tests(tree: Path, killers: Iterable[str], *, limit_s: float = LIMIT_S, jobs: int = 0) -> tuple[int, str]:
    """pytest's exit code in a copy, and the last of its output; -1 if it took longer than the limit."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        str(jobs),
        *(word for each in killers for word in each.split()),
    ]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return -1, "the tests did not end"
    return ended.returncode, ended.stdout[-2000:] + ended.stderr[-500:]


def verdict(tree: Path, mutant: Mutant) -> tuple[str, str]:
    """`killed`, `survived`, `hung`, or `broken` if its tests could not be run; and what the tests said."""
    source = tree / mutant.source
    text = source.read_text(encoding="utf-8")
    try:
        source.write_text(mutant.applied(text), encoding="utf-8")
        code, said = run_tests(tree, mutant.killers)
    finally:
        source.write_text(text, encoding="utf-8")
    return {FAILED: "killed", PASSED: "survived", -1: "hung"}.get(code, "broken"), said


def judge(mutants: Sequence[Mutant], trees: Sequence[Path]) -> dict[Mutant, tuple[str, str]]:
    """What became of each, as many at a time as there are copies."""
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def one(mutant: Mutant) -> tuple[str, str]:
        tree = free.get()
        try:
            return ("excused", mutant.excuse) if mutant.excuse else verdict(tree, mutant)
        finally:
            free.put(tree)

    found: dict[Mutant, tuple[str, str]] = {}
    with ThreadPoolExecutor(len(trees)) as pool:
        for mutant, (what, said) in zip(mutants, pool.map(one, mutants), strict=True):
            found[mutant] = (what, said)
            sys.stderr.write(f"{what:9}{mutant.room}/{mutant.name}: {mutant.mistake}\n")
    return found


def report(found: dict[Mutant, tuple[str, str]]) -> str:
    """A line for each room, then each mutant that was not killed, with its reason."""
    rooms = sorted({mutant.room for mutant in found})
    lines = [f"{'room':12}{'mutants':>8}{'killed':>8}{'not':>5}"]
    for room in [*rooms, "all"]:
        outcomes = Counter(what for mutant, (what, _) in found.items() if room in (mutant.room, "all"))
        lines.append(f"{room:12}{outcomes.total():8}{outcomes['killed']:8}{outcomes.total() - outcomes['killed']:5}")
    for mutant, (what, said) in found.items():
        if what != "killed":
            lines.append(f"\n{what}: {mutant.room}/{mutant.name}: {mutant.mistake}\n  {said.strip()[-600:]}")
    return "\n".join(lines)


def main() -> int:
    """Judge the mutants that are named, or all; 1 if too many live, or one lives without an excuse."""
    parser = argparse.ArgumentParser(prog="./dev mutate", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of room/name; none: all of them")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--json", type=Path, help="write the verdicts there as well")
    options = parser.parse_args()
    wanted: list[str] = options.names
    mutants = [each for each in read_all() if not wanted or any(part in f"{each.room}/{each.name}" for part in wanted)]
    if not mutants:
        parser.error(f"no mutant is called {' or '.join(wanted)}")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="realmkeep-mutants-")))
        trees = [copy_tree(place / str(number)) for number in range(max(1, options.jobs))]
        killers = sorted({killer.split()[0] for mutant in mutants for killer in mutant.killers})
        code, said = run_tests(trees[0], killers, limit_s=ALL_LIMIT_S, jobs=options.jobs)
        if code != PASSED:
            sys.stderr.write(f"the tests fail without any mutant:\n{said}\n")
            return 2
        found = judge(mutants, trees)
    print(report(found))  # noqa: T201 - the report is what the command is for
    if options.json:
        table = {f"{mutant.room}/{mutant.name}": what for mutant, (what, _) in found.items()}
        options.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    killed = sum(what == "killed" for what, _ in found.values())
    unexplained = any(what not in {"killed", "excused"} for what, _ in found.values())
    return int(unexplained or killed < KILLED_SHARE_MIN * len(found))


if __name__ == "__main__":
    sys.exit(main())
