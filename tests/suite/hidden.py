"""The control of `.ci/bare`: green where the programs are, red where they are hidden. No part of the suite."""

import os
import subprocess

import pytest


@pytest.mark.parametrize("program", os.environ["HIDDEN"].split())
def test_that_needs_what_is_hidden(program: str) -> None:
    subprocess.run([program, "--version"], check=True)
