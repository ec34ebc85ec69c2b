"""`./dev` as a newcomer meets it: whatever is asked wrongly is said at once, and nothing is installed or started for it."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "dev", *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_the_usage_names_every_command_that_there_is() -> None:
    commands = re.findall(
        r"^  (\w+)\)$", (ROOT / "dev").read_text(encoding="utf-8").rpartition("case $command")[2], re.MULTILINE
    )
    assert {"setup", "check", "test", "bench", "docs", "fuzz", "pin", "run"} <= set(commands)
    usage = dev("--help")
    assert usage.returncode == 0
    assert re.findall(r"^\./dev (\w+)", usage.stdout, re.MULTILINE) == commands


@pytest.mark.parametrize("command", ["setup", "check", "docs", "pin"])
def test_help_is_help_and_what_is_not_known_is_refused(command: str) -> None:
    asked = dev(command, "--help")
    assert (asked.returncode, asked.stdout) == (0, dev("--help").stdout)
    wrong = dev(command, "--no-such-thing")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"dev: {command} has no argument '--no-such-thing'")


def test_a_command_that_is_none_is_refused() -> None:
    wrong = dev("fly")
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (2, "dev: there is no command 'fly'")
