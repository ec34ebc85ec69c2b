"""Nothing waits for ever: each phase of a test has a limit, and so has the whole run.

A test that reaches its limit fails, with the stacks of all threads and the chains of awaits of all tasks. One that goes on
all the same (it swallows the failure, or waits in C) ends its process `GRACE_S` later, with the stacks of all threads.
"""

import asyncio
import faulthandler
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from os import write  # before blockbuster wraps it: a limit may be reached inside an event loop
from types import FrameType
from typing import Any

import pytest

LIMIT_S = 120.0  # on a quiet machine no test takes a tenth of it, or it says more: @pytest.mark.limit(seconds)
GRACE_S = 30.0
REPEAT_S = 5.0
FRAMES_MAX = 30  # further out is pytest
RUN_LIMIT_S = 40 * 60.0  # five times what the whole suite takes

STDERR = pytest.StashKey[int]()


def awaits(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames of a task that waits, the innermost last; `Task.get_stack` knows the first alone."""
    waiting: Any = task.get_coro()
    while waiting is not None:
        for kind, inner in (("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")):
            if frame := getattr(waiting, f"{kind}_frame", None):
                yield frame
                waiting = getattr(waiting, f"{kind}_{inner}")
                break
        else:
            return


def stacks() -> str:
    """What every thread and every task of this process is doing."""
    parts: list[str] = []
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        parts += [f"--- thread {names.get(ident, ident)}\n", *traceback.format_stack(frame, FRAMES_MAX)]
    for task in [found for found in gc.get_objects() if issubclass(type(found), asyncio.Task) and not found.done()]:
        frames = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in awaits(task))
        parts += [f"--- task {task.get_name()}\n", *frames.format()]
    return "".join(parts)


def limit_s(item: pytest.Item) -> float:
    """What a phase of this test may take."""
    mark = item.get_closest_marker("limit")
    return LIMIT_S if mark is None else float(mark.args[0])


def limited(item: pytest.Item) -> Generator[None, object, object]:
    """Hold a phase to its limit."""
    limit, stderr = limit_s(item), item.config.stash[STDERR]
    reached: list[str] = []
    writing = False

    def fail(_number: int, _frame: FrameType | None) -> None:
        nonlocal writing
        if writing:  # on a busy machine the stacks take longer than REPEAT_S
            return
        if not reached:
            writing = True
            reached.append(f"over its limit of {limit:g} s\n{stacks()}")
            write(stderr, f"\n{item.nodeid}: {reached[0]}".encode(errors="replace"))
            writing = False
        pytest.fail(reached[0])

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, limit, REPEAT_S)
    faulthandler.dump_traceback_later(limit + GRACE_S, exit=True, file=stderr)
    try:
        result = yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
    if reached:  # what it interrupted has swallowed the failure
        pytest.fail(reached[0])
    return result


def end_the_run(stderr: int, limit: float) -> None:
    write(stderr, f"\nthe run is over its limit of {limit:g} s (--run-limit)\n{stacks()}".encode(errors="replace"))
    os._exit(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--run-limit", type=float, default=RUN_LIMIT_S, metavar="SECONDS", help="the whole run ends after it"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"limit(seconds): what each phase of this test may take; otherwise {LIMIT_S:g}")
    config.stash[STDERR] = os.dup(2)  # before pytest captures it
    limit: float = config.option.run_limit
    watchdog = threading.Timer(limit, end_the_run, (config.stash[STDERR], limit))
    watchdog.daemon = True
    watchdog.start()
    config.add_cleanup(watchdog.cancel)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from limited(item))
