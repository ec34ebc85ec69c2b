"""The commands and their groups."""

import sys

from cyclopts import App

from realmkeep.errors import RealmkeepError

app = App(name="realmkeep", help="The persistence layer under a multiplayer game server.")
app.command("realmkeep.cli.bench:app", name="bench", help="Measure how fast it is on this machine.")
app.command(
    "realmkeep.cli.crowd:crowd", name="crowd", help="Let bots play in a realm, and check that all is conserved."
)
app.command("realmkeep.cli.serve:serve", name="serve", help="Run the reference game server until it is told to stop.")
app.command(
    "realmkeep.cli.store:app",
    name="store",
    help="Configure the Valkey or Redis that keeps everything; restore a rescue file; mend the counter of ids.",
)


def run() -> None:
    """Run the command that the command line asks for; an error that is told is one line and the exit code 1."""
    try:
        app()
    except RealmkeepError as error:
        sys.stderr.write(f"realmkeep: {error}\n")
        sys.exit(1)
    except UnicodeError as error:  # a name that this locale cannot spell, where nothing nearer has told it
        sys.exit(f"realmkeep: a name cannot be used under this locale: {error} (start it with LC_ALL=C.UTF-8)")
    except OSError as error:  # a disk that is full, a file that is not ours
        of = f"{error.filename}: " if error.filename else ""
        sys.exit(f"realmkeep: {of}{error.strerror or error}")
