"""The `realmkeep` command: thin; every command imports what it needs when it runs."""

import io
import os
import sys
from typing import cast

from realmkeep.cli.commands import overview

__all__ = ["main"]


def main() -> None:
    """The entry point: run a command; an error of Realmkeep or of the system is one line and the exit code 1."""
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
    """A stream that was closed by who started us (`2>&-`) goes nowhere, and not into the next file that is opened."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
    if isinstance(stdout := cast("object", sys.stdout), io.TextIOWrapper):  # not where a program has replaced it
        stdout.reconfigure(errors="backslashreplace")  # a console that cannot spell a name shows it otherwise
