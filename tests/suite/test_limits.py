"""A test that hangs ends, and says where it hung."""

import re
from pathlib import Path

import pytest

from suite.in_a_process import run_tests

ASYNC = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto")
HEAD = """
import asyncio, threading, time
import pytest
from suite import limits
limits.LIMIT_S, limits.REPEAT_S = 1.0, 1.0

@pytest.mark.limit(60)
def test_is_quick(): pass
"""
A_TASK_WAITS = """
async def waits_for_nothing(): await asyncio.Event().wait()
async def has_another_wait(): await waits_for_nothing()
async def test_waits():
    waiting = asyncio.create_task(has_another_wait(), name="the one that hangs")
    await waiting
"""
A_THREAD_WAITS = """
def sleeps(): time.sleep(3600)
def test_waits():
    thread = threading.Thread(target=sleeps, name="the one that hangs", daemon=True)
    thread.start()
    thread.join()
"""
A_FIXTURE_WAITS = """
@pytest.fixture
def slow():
    yield
    threading.Event().wait()
def test_waits(slow): pass
"""
SWALLOWS = """
limits.GRACE_S = 3.0
def test_waits():
    while True:
        try: time.sleep(3600)
        except BaseException: pass
"""
SWALLOWS_AND_PASSES = """
def test_waits():
    try: time.sleep(3600)
    except BaseException: pass
"""

STACKS_TAKE_LONG = """
def stacks_on_a_busy_machine():
    time.sleep(2)
    return written()
written, limits.stacks = limits.stacks, stacks_on_a_busy_machine
def test_waits(): time.sleep(3600)
"""


@pytest.mark.parametrize(
    ("text", "said", "ended"),
    [
        (
            A_TASK_WAITS,
            r"--- task the one that hangs\n.*has_another_wait\n.*waits_for_nothing\n.*locks.py",
            "1 failed, 2 passed",
        ),
        (A_THREAD_WAITS, r"--- thread the one that hangs\n.*in sleeps\n", "1 failed, 2 passed"),
        (A_FIXTURE_WAITS, r"ERROR at teardown of test_waits", "3 passed, 1 error"),
        (SWALLOWS_AND_PASSES, r"time.sleep\(3600\)", "1 failed, 2 passed"),
        (STACKS_TAKE_LONG, r"in test_waits\n", "1 failed, 2 passed"),
    ],
    ids=["a-task", "a-thread", "a-fixture", "swallowed", "busy"],
)
def test_what_hangs_fails_with_the_stacks_and_the_next_test_runs(
    tmp_path: Path, text: str, said: str, ended: str
) -> None:
    run = run_tests(
        tmp_path, HEAD + text + "@pytest.mark.limit(60)\ndef test_comes_after(): pass", "-p", "suite.limits", *ASYNC
    )
    assert run.returncode == 1, run.stdout
    assert re.search(said, run.stdout, re.DOTALL), run.stdout
    assert "over its limit of 1 s" in run.stdout
    assert ended in run.stdout, run.stdout


def test_what_cannot_be_failed_ends_its_process_with_the_stacks(tmp_path: Path) -> None:
    run = run_tests(tmp_path, HEAD + SWALLOWS, "-p", "suite.limits")
    assert run.returncode == 1
    assert "Timeout (0:00:04" in run.stdout
    assert "in test_waits" in run.stdout


def test_a_test_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    patient = "@pytest.mark.limit(3600)\ndef test_takes_longer(): time.sleep(1.5)"
    run = run_tests(tmp_path, HEAD + patient, "-p", "suite.limits")
    assert "2 passed" in run.stdout


def test_the_whole_run_has_a_limit(tmp_path: Path) -> None:
    endless = "@pytest.mark.limit(3600)\ndef test_waits(): time.sleep(3600)"
    run = run_tests(tmp_path, HEAD + endless, "-p", "suite.limits", "--run-limit", "1")
    assert run.returncode == 1
    assert "the run is over its limit of 1 s (--run-limit)" in run.stdout
    assert "--- thread MainThread\n  File" in run.stdout  # on a busy machine it is not in the test yet
