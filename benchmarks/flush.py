"""`./dev bench flush`: the same as `realmkeep bench flush --json`."""

from collections.abc import Sequence

from realmkeep.cli.app import app


def main(arguments: Sequence[str]) -> None:
    app(["bench", "flush", "--json", *arguments])
