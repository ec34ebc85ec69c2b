"""The first program of the README is short, and does what its comment promises when it is run again."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES_MAX = 12


def test_the_hello_has_twelve_lines_and_remembers_its_visitor(tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    hello = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0]
    assert len([line for line in hello.splitlines() if line]) <= LINES_MAX
    program = tmp_path / "hello.py"
    program.write_text(hello, encoding="utf-8")
    for visits in (1, 2, 3):
        run = subprocess.run(
            [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert (run.returncode, run.stdout) == (0, f"visits: {visits}\n"), run.stderr
