"""A test that needs what is missing does not run, and the run says so; one that does not say what it needs fails."""

from pathlib import Path

import pytest

from suite.in_a_process import run_tests

SUITE = """
import pytest, subprocess

@pytest.mark.needs("no-such-server")
def test_with_it(): raise AssertionError("runs without its server")

@pytest.mark.needs("sh")
@pytest.mark.backend("memory")
def test_with_a_shell(): pass
"""
UNMARKED = """
def test_with_it(): subprocess.run(["no-such-server"], check=True)
"""


@pytest.mark.parametrize("arguments", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "in-parallel"])
def test_what_did_not_run_is_said_with_its_number(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    run = run_tests(tmp_path, SUITE, "-p", "suite.engines", *arguments)
    assert run.returncode == 0, run.stdout
    assert "NOT RUN: 1 tests need no-such-server" in run.stdout
    assert "memory (1 passed), sh (1 passed)" in run.stdout


def test_control_a_test_that_does_not_say_what_it_needs_fails(tmp_path: Path) -> None:
    run = run_tests(tmp_path, SUITE + UNMARKED, "-p", "suite.engines")
    assert run.returncode == 1, run.stdout
    assert "No such file or directory: 'no-such-server'" in run.stdout
