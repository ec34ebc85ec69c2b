"""`./dev bench write`: the same as `realmkeep bench write --json`."""

from collections.abc import Sequence

from realmkeep.cli.app import app


def main(arguments: Sequence[str]) -> None:
    app(["bench", "write", "--json", *arguments])
