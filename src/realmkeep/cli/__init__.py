"""The `realmkeep` command: thin; every command imports what it needs when it runs."""

from realmkeep.cli.app import app, main

__all__ = ["app", "main"]
