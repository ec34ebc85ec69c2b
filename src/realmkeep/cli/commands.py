"""Which commands there are, for the command line and for its help, which needs nothing else."""

from typing import Final, NamedTuple

HELP: Final = "The persistence layer under a multiplayer game server."


class Command(NamedTuple):
    """One command.

    Attributes:
        name: As it is typed.
        target: Its function or group, imported when it runs.
        help: What it is for.
    """

    name: str
    target: str
    help: str


COMMANDS: Final = (
    Command("bench", "realmkeep.cli.bench:app", "Measure how fast it is on this machine."),
    Command("crowd", "realmkeep.cli.crowd:crowd", "Let bots play in a realm, and check that all is conserved."),
    Command(
        "letters", "realmkeep.cli.letters:app", "List the letters that could not be applied; have them tried again."
    ),
    Command("serve", "realmkeep.cli.serve:serve", "Run the reference game server until it is told to stop."),
    Command(
        "store",
        "realmkeep.cli.store:app",
        "Configure the Valkey or Redis that keeps everything; restore a rescue file; mend the counter of ids.",
    ),
)


def overview() -> str:
    """What `realmkeep --help` prints: at once, while the packages that read a command line take their time."""
    rows = [(command.name, command.help) for command in COMMANDS]
    rows += [("--help", "Show this; behind a command, what it takes."), ("--version", "Show the version.")]
    lines = [f"  {name:<{max(len(name) for name, _ in rows)}}  {told}" for name, told in rows]
    return "\n".join(["Usage: realmkeep COMMAND", "", HELP, "", *lines, ""])
