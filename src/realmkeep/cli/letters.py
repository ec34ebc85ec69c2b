"""`realmkeep letters`: the letters that the game could not apply."""

import asyncio
import sys
from typing import TYPE_CHECKING, TypeVar

import msgspec
from cyclopts import App

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from realmkeep import Storage

T = TypeVar("T")

app = App(name="letters", help="Letters that could not be applied: they are kept until they are.")


@app.command(name="list")
def list_(*, store: str | None = None, json: bool = False) -> None:
    """List every letter that a game could not apply, or whose receiver does not exist, with what it says.

    Exits with 0 if there is none, otherwise with 1. Every key of the store is looked at.

    Args:
        store: URL of the store; what the settings say unless given. `embedded:///DATA/store` is that of `serve --data DATA`.
        json: Print JSON instead of lines.
    """
    from realmkeep.keeping.kept_letters import list_kept_letters  # noqa: PLC0415 - a command imports what it needs when it runs

    letters = _on(store, list_kept_letters)
    if json:
        sys.stdout.write(msgspec.json.encode([letter._asdict() for letter in letters]).decode() + "\n")
    else:
        for letter in letters:
            sys.stdout.write(
                f"{letter.record}  {letter.why}  {letter.id}  {msgspec.json.encode(letter.content).decode()!a}\n"
            )
        sys.stdout.write(f"{len(letters)} letters\n")
    sys.exit(1 if letters else 0)


@app.command
def redeliver(*, store: str | None = None) -> None:
    """Have every kept letter tried again: now where its receiver is live, otherwise at the receiver's next login.

    Each is applied exactly once. Mend what they failed at first: the hook, or the record.

    Args:
        store: URL of the store; what the settings say unless given.
    """
    from realmkeep.keeping.kept_letters import retry_kept_letters  # noqa: PLC0415 - a command imports what it needs when it runs

    live, away = _on(store, retry_kept_letters)
    for record in live:
        sys.stdout.write(f"{record}  its server tries again within a second\n")
    for record in away:
        sys.stdout.write(f"{record}  its next login tries again\n")


def _on(store: str | None, work: "Callable[[Storage], Awaitable[T]]") -> T:
    from realmkeep import open_storage  # noqa: PLC0415 - a command imports what it needs when it runs
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above

    url = config_with(store).store.url

    async def run() -> T:
        storage = open_storage(url)
        try:
            await storage.connect()
            return await work(storage)
        finally:
            await storage.disconnect()

    return asyncio.run(run())
