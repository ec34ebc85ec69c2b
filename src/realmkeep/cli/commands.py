"""The table of commands, for the command line and its help; it imports no other module."""

from typing import Final, NamedTuple

HELP: Final = "The persistence layer under a multiplayer game server."


class Command(NamedTuple):
    """One command.

    Attributes:
        name: The word to type.
        target: Its function or group, imported when it runs.
        help: Its purpose.
    """

    name: str
    target: str
    help: str


COMMANDS: Final = (
    Command("account", "realmkeep.cli.account:app", "Show, lock and sign out accounts; reset a password."),
    Command("archive", "realmkeep.cli.archive:app", "Compare, freeze and rebuild with the cold tier behind the store."),
    Command("audit", "realmkeep.cli.audit:app", "List the acts of operators, and verify that none was changed."),
    Command("backup", "realmkeep.cli.backup:app", "Make, list, verify, prune and restore backups of a store."),
    Command("bench", "realmkeep.cli.bench:app", "Measure Realmkeep's speed on this machine."),
    Command("board", "realmkeep.cli.board:app", "Show the ranks of records, and end the season of a board."),
    Command("crowd", "realmkeep.cli.crowd:crowd", "Let bots play in a realm, and check that all is conserved."),
    Command("deploy", "realmkeep.cli.deploy:app", "Write the files of a deployment: units, containers, monitoring."),
    Command("dev-cluster", "realmkeep.cli.dev_cluster:dev_cluster", "Run a Valkey cluster of six on this machine."),
    Command("doctor", "realmkeep.cli.doctor:doctor", "Examine the store and this machine; say what to mend, and how."),
    Command("drill", "realmkeep.cli.drill:drill", "Break real servers and stores under a crowd; say what was lost."),
    Command("economy", "realmkeep.cli.economy:app", "Count all gold and items; find those that exist twice."),
    Command("gateway", "realmkeep.cli.gateway:gateway", "Send clients to the servers of a realm."),
    Command("item", "realmkeep.cli.history:items", "Trace an item through the commits that moved it."),
    Command("journal", "realmkeep.cli.journal:app", "Check the archive of the journal."),
    Command("keys", "realmkeep.cli.keys:app", "Load every record of a store as a login would."),
    Command("letters", "realmkeep.cli.letters:app", "List the letters that could not be applied; try them again."),
    Command("migrate", "realmkeep.cli.migrate:app", "Bring the records of a store to the versions of the code."),
    Command("operator", "realmkeep.cli.operator:app", "Add operators, and change their roles and passwords."),
    Command("player", "realmkeep.cli.player:app", "Find, show, edit, kick and ban players; each act is audited."),
    Command("quarantine", "realmkeep.cli.quarantine:app", "Look at records that cannot be used; mend or discard them."),
    Command("serve", "realmkeep.cli.serve:serve", "Run the reference game server until it is told to stop."),
    Command("status", "realmkeep.cli.status:status", "Show a running server, and whether its promises hold."),
    Command(
        "store",
        "realmkeep.cli.store:app",
        "Configure the Valkey or Redis of a realm; copy a store; restore a rescue file; mend the counter of ids.",
    ),
    Command("top", "realmkeep.cli.status:top", "Watch a running server: rates, and the course of each figure."),
)


def overview() -> str:
    """Return the output of `realmkeep --help`, at once: the command-line packages would take time to import."""
    rows = [(command.name, command.help) for command in COMMANDS]
    rows += [("--help", "Show this; after a command, show its arguments."), ("--version", "Show the version.")]
    lines = [f"  {name:<{max(len(name) for name, _ in rows)}}  {told}" for name, told in rows]
    return "\n".join(["Usage: realmkeep COMMAND", "", HELP, "", *lines, ""])
