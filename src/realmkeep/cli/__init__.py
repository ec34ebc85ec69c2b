"""The `realmkeep` command. It is thin: each command imports its modules when it runs."""

import io
import os
import sys
from typing import cast

from realmkeep.cli.commands import overview

__all__ = ["main"]


def main() -> None:
    """Run the command of the command line; an error of Realmkeep or of the system is one line and the exit code 1."""
    _open_standard_streams()
    if sys.argv[1:] in ([], ["--help"], ["-h"]):
        sys.stdout.write(overview())
        return
    try:
        from realmkeep.cli.app import run  # noqa: PLC0415 - its packages may not be installed

        run()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "realmkeep":
            raise
        sys.exit(f"realmkeep: the package {error.name} is not installed (pip install 'realmkeep[all]')")


def _open_standard_streams() -> None:
    """Open a standard stream closed by the parent (`2>&-`) to the null device, so that no other file gets its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
    if isinstance(stdout := cast("object", sys.stdout), io.TextIOWrapper):  # a program may have replaced it
        stdout.reconfigure(errors="backslashreplace")  # escapes a name that the console cannot encode
