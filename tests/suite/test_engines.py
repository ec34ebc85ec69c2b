"""A test that needs what is missing does not run, and the run says so; one that does not say what it needs fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
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


def outcome(directory: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a file of tests with this suite's plugin, in a process of its own."""
    (directory / "test_it.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "suite.engines", "--rootdir", directory, *arguments, directory]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "in-parallel"])
def test_what_did_not_run_is_said_with_its_number(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    run = outcome(tmp_path, SUITE, *arguments)
    assert run.returncode == 0, run.stdout
    assert "NOT RUN: 1 tests need no-such-server" in run.stdout
    assert "memory (1 passed), sh (1 passed)" in run.stdout


def test_control_a_test_that_does_not_say_what_it_needs_fails(tmp_path: Path) -> None:
    run = outcome(tmp_path, SUITE + UNMARKED)
    assert run.returncode == 1, run.stdout
    assert "No such file or directory: 'no-such-server'" in run.stdout
