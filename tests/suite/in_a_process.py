"""Runs of pytest on a file of tests, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def run_tests(directory: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `text` as tests, with no plugins but those that `arguments` name; standard output has all that was printed."""
    (directory / "test_it.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--rootdir", directory, "-p", "no:cacheprovider", *arguments, directory]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command,
        cwd=directory,
        env=environment,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
