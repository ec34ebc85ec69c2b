"""The commands and their groups."""

import sys

from cyclopts import App

from realmkeep.cli.commands import COMMANDS, HELP
from realmkeep.errors import RealmkeepError

# Plain help: a Markdown formatter takes longer to import than everything else.
app = App(name="realmkeep", help=HELP, help_format="plaintext", help_formatter="plain")
for command in COMMANDS:
    app.command(command.target, name=command.name, help=command.help)


def run() -> None:
    """Run the command of the command line; a `RealmkeepError` is one line and the exit code 1."""
    try:
        app()
    except RealmkeepError as error:
        sys.stderr.write(f"realmkeep: {error}\n")
        sys.exit(1)
    except UnicodeError as error:  # a name that this locale cannot encode, with no closer handler
        sys.exit(f"realmkeep: a name cannot be used under this locale: {error} (start it with LC_ALL=C.UTF-8)")
    except OSError as error:  # a full disk, or a file of another user
        of = f"{error.filename}: " if error.filename else ""
        sys.exit(f"realmkeep: {of}{error.strerror or error}")
