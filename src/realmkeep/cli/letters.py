"""`realmkeep letters`: the letters that could not be applied."""

import asyncio
import sys
from typing import TYPE_CHECKING, TypeVar

import msgspec
from cyclopts import App

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from realmkeep.keeping.letters.kept_letters import KeptLetter
    from realmkeep.storage import Storage

T = TypeVar("T")

app = App(name="letters", help="Letters that could not be applied; they are kept until they can be.")


@app.command(name="list")
def list_(*, store: str | None = None, json: bool = False) -> None:
    """List every letter that could not be applied, or whose receiver does not exist, with its content.

    Exits with 0 if there is none, otherwise with 1. It reads every key of the store.

    Args:
        store: URL of the store; by default from the settings. `embedded:///DATA/store` is that of `serve --data DATA`.
        json: Print JSON instead of lines.
    """
    from realmkeep.keeping.letters.kept_letters import list_kept_letters  # noqa: PLC0415 - imported on use

    letters = _on(store, list_kept_letters)
    if json:
        sys.stdout.write(msgspec.json.encode([letter._asdict() for letter in letters]).decode() + "\n")
    else:
        for letter in letters:
            told = f"{letter.record}  {letter.why}  {letter.id}  {_type(letter)}  from {letter.sender or '-'}"
            shown = told if told.isprintable() else ascii(told)  # a store may hold any text
            sys.stdout.write(f"{shown}  {msgspec.json.encode(letter.content).decode()!a}\n")
        sys.stdout.write(f"{len(letters)} letters\n")
    sys.exit(1 if letters else 0)


@app.command
def redeliver(*, store: str | None = None) -> None:
    """Try every kept letter again: now if its receiver is live, otherwise at the receiver's next login.

    Each is applied exactly once. First mend the cause of their failure: the hook, or the record.

    Args:
        store: URL of the store; by default from the settings.
    """
    from realmkeep.keeping.letters.kept_letters import retry_kept_letters  # noqa: PLC0415 - imported on use

    live, away = _on(store, retry_kept_letters)
    for record in live:
        sys.stdout.write(f"{record}  its server tries again within a second\n")
    for record in away:
        sys.stdout.write(f"{record}  is tried again at its next login\n")


@app.command(name="return")
def return_(record: str | None = None, *, store: str | None = None) -> None:
    """Return waiting letters, as `list` shows them, to their senders: all, or those to one record.

    Each goes back exactly once. A letter stays if no record sent it, if its sender does not exist, or if it came back
    already. Exits with 1 if any stays.

    Args:
        record: The key of the receiver, such as `player:7`; by default every receiver.
        store: URL of the store; by default from the settings.
    """
    from functools import partial  # noqa: PLC0415 - a command imports its modules when it runs

    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.keeping.letters.kept_letters import return_kept_letters  # noqa: PLC0415 - as above

    work = partial(return_kept_letters, now_us=SystemClock().wall_us(), record=record)
    found = _on(store, work)
    for each in found:
        said = f"{each.returned} returned, {each.left} cannot be"
        sys.stdout.write(f"{each.record}  {'its server returns them within a second' if each.by_owner else said}\n")
    sys.exit(1 if any(each.left for each in found) else 0)


def _type(letter: "KeptLetter") -> str:
    return f"{letter.kind} {letter.version}" if letter.kind else "plain"


def _on(store: str | None, work: "Callable[[Storage], Awaitable[T]]") -> T:
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.storage import open_storage  # noqa: PLC0415 - as above

    url = config_with(store).store.url

    async def run() -> T:
        storage = open_storage(url)
        try:
            await storage.connect()
            return await work(storage)
        finally:
            await storage.disconnect()

    return asyncio.run(run())
