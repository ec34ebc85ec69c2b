"""`./dev bench commit`: the same as `realmkeep bench commit --json`."""

from collections.abc import Sequence

from realmkeep.cli.app import app


def main(arguments: Sequence[str]) -> None:
    app(["bench", "commit", "--json", *arguments])
