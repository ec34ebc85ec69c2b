"""`./dev bench sessions`: the same as `realmkeep bench sessions --json`."""

from collections.abc import Sequence

from realmkeep.cli.app import app


def main(arguments: Sequence[str]) -> None:
    app(["bench", "sessions", "--json", *arguments])
