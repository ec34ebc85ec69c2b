"""Coverage-guided fuzzing of whatever reads stored bytes.

    ./dev fuzz [SECONDS]                  every target, SECONDS in all (60)
    ./dev fuzz --replay TARGET FILE       one saved input again; the traceback is the bug

An input that takes the readers from line to line in a way not seen before is kept and mutated further. A failure is an
exception that is no RealmkeepError, or more steps or memory than the caps justify. Its input is saved in fuzz-failures/ and
printed with the command that replays it, once for each place where it is raised; the exit code is then 1.

A mutator of our own on `sys.settrace`, not atheris: that needs a wheel for each Python and platform, and has none for some
on which the library must be developed.
"""

import argparse
import hashlib
import json
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import CodeType, FrameType, TracebackType
from typing import Any, Final

from fuzz.damage import mutated
from fuzz.targets import TARGETS
from realmkeep.errors import RealmkeepError

FAILURES: Final = Path("fuzz-failures")
FAILURES_MAX: Final = 10  # more than that are looked at by nobody
INPUT_BYTES_MAX: Final = 4096
STEPS_MAX: Final = 40 * INPUT_BYTES_MAX  # the reader runs about 20 lines for a token, and a token takes a byte
MEMORY_BYTES_MAX: Final = (
    400 * INPUT_BYTES_MAX
)  # a list, the costliest value of two bytes, takes 56 bytes and room for more
TRACED: Final = str(Path(sys.modules["realmkeep"].__file__ or "").parent)

Edge = tuple[CodeType, int, int]


class TooMuchError(Exception):
    """An input took more steps or memory than the caps justify."""


class Trace:
    """Follows the files under `root`: which line came after which, and how many ran."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.edges: set[Edge] = set()
        self.steps = 0

    def enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        """The function for `sys.settrace`."""
        code, last = frame.f_code, 0
        if not code.co_filename.startswith(self.root):
            return None

        def step(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal last
            if event == "line":
                self.steps += 1
                self.edges.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step


def run(call: Callable[[bytes], object], stored: bytes, root: str = TRACED) -> set[Edge]:
    """Run one input and say which ways it took; raises what is a failure."""
    trace = Trace(root)
    before = sys.gettrace()
    tracemalloc.reset_peak()
    held, _ = tracemalloc.get_traced_memory()
    sys.settrace(trace.enter)
    try:
        call(stored)
    except RealmkeepError:
        refused = True
    else:
        refused = False
    finally:
        sys.settrace(before)
    taken = tracemalloc.get_traced_memory()[1] - held
    if trace.steps > STEPS_MAX or taken > MEMORY_BYTES_MAX:
        fate = "refused" if refused else "accepted"
        raise TooMuchError(f"{trace.steps} steps and {taken} bytes for {len(stored)} bytes of input, which was {fate}")
    return trace.edges


@dataclass
class Hunt:
    """One target's fuzzing: the corpus grows by inputs that take new ways."""

    call: Callable[[bytes], object]
    corpus: list[bytes]
    random: Random
    root: str = TRACED
    seen: set[Edge] = field(default_factory=set[Edge])
    runs: int = 0

    def __post_init__(self) -> None:
        for stored in self.corpus:
            self.seen |= run(self.call, stored, self.root)

    def step(self) -> tuple[bytes, Exception] | None:
        """Try one more input; returns it with its exception if it fails."""
        stored = mutated(self.random.choice(self.corpus), self.corpus, self.random, bytes_max=INPUT_BYTES_MAX)
        self.runs += 1
        try:
            edges = run(self.call, stored, self.root)
        except Exception as error:  # noqa: BLE001 - any exception is what is hunted for
            return stored, error
        if not edges <= self.seen:
            self.seen |= edges
            self.corpus.append(stored)
        return None


def place(error: BaseException) -> tuple[str, str, int]:
    """What failed where: failures of one place are one failure."""
    last: TracebackType | None = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    assert last is not None
    return type(error).__name__, last.tb_frame.f_code.co_filename, last.tb_lineno


def save(name: str, stored: bytes, error: Exception) -> None:
    """Keep a failing input and print how to run it again."""
    FAILURES.mkdir(exist_ok=True)
    path = FAILURES / f"{name}-{hashlib.sha256(stored).hexdigest()[:12]}"
    path.write_bytes(stored)
    print("".join(traceback.format_exception(error)), file=sys.stderr)
    print(f"{name} failed on {stored[:200]!r}\nreplay: ./dev fuzz --replay {name} {path}\n", file=sys.stderr)


def fuzz(seconds: float, seed: int) -> int:
    """Fuzz every target for its share of the time; returns how many different failures there were."""
    failures = 0
    for name, target in TARGETS.items():
        hunt = Hunt(target.call, list(target.seeds), Random(seed))
        until = time.monotonic() + seconds / len(TARGETS)
        places: set[tuple[str, str, int]] = set()
        while time.monotonic() < until and len(places) < FAILURES_MAX:
            failed = hunt.step()
            if failed is not None and place(failed[1]) not in places:
                places.add(place(failed[1]))
                save(name, *failed)
        failures += len(places)
        report = {"runs": hunt.runs, "ways": len(hunt.seen), "corpus": len(hunt.corpus), "failures": len(places)}
        print(json.dumps({"target": name, "seed": seed, **report}))
    return failures


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"))
    options = parser.parse_args(arguments)
    tracemalloc.start()
    if options.replay:
        name, path = options.replay
        run(TARGETS[name].call, Path(path).read_bytes())
        print(json.dumps({"target": name, "input": path, "failures": 0}))
        return 0
    return 1 if fuzz(options.seconds, options.seed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
