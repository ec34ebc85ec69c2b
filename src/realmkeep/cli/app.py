"""The commands and their groups."""

import sys

from cyclopts import App

from realmkeep.errors import RealmkeepError

app = App(name="realmkeep", help="The persistence layer under a multiplayer game server.")
app.command("realmkeep.cli.bench:app", name="bench")
app.command("realmkeep.cli.crowd:crowd", name="crowd")
app.command("realmkeep.cli.serve:serve", name="serve")
app.command("realmkeep.cli.store:app", name="store")


def main() -> None:
    """The entry point: run a command; an error of Realmkeep is one line and the exit code 1."""
    try:
        app()
    except RealmkeepError as error:
        sys.stderr.write(f"realmkeep: {error}\n")
        sys.exit(1)
