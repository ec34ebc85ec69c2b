"""`./dev docs`: assemble the pages, build the site, check it, and print its address."""

import os
import re
import shutil
import subprocess
import sys
from typing import Final

from website.checks import problems_of
from website.pages import ROOT, assemble

BUILD: Final = ROOT / "build" / "docs"
SITE: Final = BUILD / "site"
BUILD_S_MAX: Final = 300.0
COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
COLUMNS_MAX: Final = 200  # a warning repeats the line of its page, which may be a whole paragraph


def build() -> list[str]:
    """Build the site anew.

    Returns:
        Its problems, one line each.
    """
    shutil.rmtree(BUILD, ignore_errors=True)
    problems = assemble(BUILD)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(BUILD / "zensical.toml")]
    ended = subprocess.run(  # noqa: S603 - the command is the line above
        command,
        cwd=BUILD,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_S_MAX,
    )
    said = COLOUR.sub("", ended.stdout + ended.stderr).splitlines()
    if ended.returncode:
        problems += [line[:COLUMNS_MAX] for line in said]
    (SITE / "404.html").unlink(missing_ok=True)  # for a web server alone: its links begin at the root
    return problems + problems_of(SITE)


def main() -> int:
    """Print the problems of the site, or its address.

    Returns:
        The exit code: 1 if there are problems.
    """
    problems = build()
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    print(f"the site: {(SITE / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
