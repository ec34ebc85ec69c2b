"""What the commands of operators share: their options, the login, the question before a change, and the output."""

import asyncio
import getpass
import os
import secrets
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from cyclopts import Parameter

from realmkeep.cli.exit_codes import USAGE, exit_codes
from realmkeep.errors import ConfigError

if TYPE_CHECKING:
    from realmkeep.config import Config
    from realmkeep.keeping import Keeper
    from realmkeep.operations.journal.archive import Archive as JournalArchive
    from realmkeep.operations.operators.acts import Acts
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.operations.operators.operators import Operators
    from realmkeep.operations.operators.orders import Outcome
    from realmkeep.operations.operators.players import Players

T = TypeVar("T")
Flag = Annotated[bool, Parameter(negative="")]
Archive = Annotated[str | None, Parameter(help="URL of the journal's archive; by default from the settings.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options of a command that reads."""

    store: Annotated[
        str | None,
        Parameter(
            help="URL of the store; by default from the settings. embedded:///DATA/store is that of serve --data DATA."
        ),
    ] = None
    as_: Annotated[str | None, Parameter(name="--as", help="The operator; by default operators.name.")] = None
    code: Annotated[str, Parameter(help="Its one-time code, if it uses them.")] = ""
    json: Annotated[bool, Parameter(negative="", help="Print JSON instead of lines.")] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Changing(Reading):
    """The options of a command that changes something."""

    reason: Annotated[str, Parameter(help="The reason, for the audit trail.")] = ""
    yes: Annotated[bool, Parameter(negative="", help="Do not ask; needed off a terminal.")] = False
    id: Annotated[
        str, Parameter(help="The id of an act that may have happened already: it happens once within a week.")
    ] = ""


@dataclass(frozen=True)
class Acting:
    """An operator who has logged in, and the realm."""

    keeper: "Keeper"
    acts: "Acts"
    operators: "Operators"
    by: "Operator"
    config: "Config"


def act(how: Reading, work: Callable[[Acting], Awaitable[T]]) -> T:
    """Log an operator in, run the work, and end the program with the exit code of its error.

    Args:
        how: The options.
        work: Gets the operator and the realm.

    Raises:
        OperatorError: The work refused; so is a login, with `AuthFailed`.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.operations.operators.players import load_players  # noqa: PLC0415 - as above

    with exit_codes():
        if isinstance(how, Changing):
            need_reason(how)
        config = config_with(how.store)
        return asyncio.run(_acted(config, load_players(config.operators.players), how, work))


def need_reason(how: Changing) -> None:
    """End the program if a change has no reason."""
    if not how.reason.strip():
        sys.stderr.write("realmkeep: a change needs --reason: it stands in the audit trail\n")
        sys.exit(USAGE)


async def _acted(config: "Config", players: "Players", how: Reading, work: Callable[[Acting], Awaitable[T]]) -> T:
    from realmkeep.operations.operators.acts import Acts  # noqa: PLC0415 - as above

    async with opened(config, changes=isinstance(how, Changing)) as (keeper, operators):
        by = await log_in(config, operators, how)
        return await work(Acting(keeper, Acts(keeper, players, config.operators), operators, by, config))


async def log_in(config: "Config", operators: "Operators", how: Reading) -> "Operator":
    """The operator of `--as` or of the settings, once its password is right.

    Raises:
        ConfigError: No operator is named, or there is no password.
        AuthFailed: The login is refused.
        StorageError: The store cannot be reached.
    """
    name = how.as_ or config.operators.name
    if not name:
        raise ConfigError("no operator is named", hint="add --as NAME, or set operators.name")
    password = await asyncio.to_thread(_password, config, f"Password of {name}: ")
    return await operators.authenticate(name, password, how.code)


@asynccontextmanager
async def opened(config: "Config", *, changes: bool) -> AsyncGenerator["tuple[Keeper, Operators]"]:
    """A keeper of this command, beside the servers of the realm, and the realm's operators.

    Args:
        config: The settings.
        changes: The command changes records: its commits stand in the journal of a server.

    Raises:
        StorageError: The store cannot be reached.
    """
    from pathlib import Path  # noqa: PLC0415 - as above

    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.keeping import Keeper  # noqa: PLC0415 - as above
    from realmkeep.keys import server_control, server_notices  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.joining import join_journal  # noqa: PLC0415 - as above
    from realmkeep.operations.operators.operators import Operators  # noqa: PLC0415 - as above
    from realmkeep.storage import Delete, Transaction, open_cold_store  # noqa: PLC0415 - as above
    from realmkeep.storage.beside import connect_beside  # noqa: PLC0415 - as above

    clock, name = SystemClock(), f"command-{secrets.token_hex(4)}"
    storage = await connect_beside(config.store.url, clock=clock)
    cold = open_cold_store(config.archive.url, clock=clock) if config.archive.url else None
    try:
        if cold is not None:  # a frozen player is thawed for the act
            await cold.connect()
        own = msgspec.structs.replace(config.keeper, name=name)
        journal = config.journal if changes and config.journal.enabled else None
        keeper = await Keeper.open(
            storage,
            config=own,
            records=config.records,
            clock=clock,
            rescue_path=Path(os.devnull),
            journal=journal,
            cold=cold,
        )
        try:
            if journal is not None:
                await join_journal(keeper, config.keeper.name)
            yield keeper, Operators(storage, config.auth, clock, server=name)
        finally:
            await keeper.close()
            own_lists = [Delete(server_notices(name)), Delete(server_control(name))]
            await storage.write([Transaction([], own_lists)])
    finally:
        if cold is not None:
            await cold.disconnect()
        await storage.disconnect()


@asynccontextmanager
async def archive_of(config: "Config", url: str | None) -> AsyncGenerator["JournalArchive | None"]:
    """The archive of the journal, by its URL or from the settings; None if the settings have no journal and no URL is given.

    Raises:
        ConfigError: The URL names no archive.
        StorageMisconfigured: A package of this kind of archive is not installed.
        JournalUnavailable: The URL of a bucket, or its variables, cannot be used.
    """
    from realmkeep.operations.journal.archives import open_archive  # noqa: PLC0415 - as above

    if url is None and not config.journal.enabled:
        yield None
        return
    opened = open_archive(url or config.journal.url)
    try:
        yield opened
    finally:
        await opened.close()


def _password(config: "Config", prompt: str) -> str:
    """The password of the settings, or typed at the terminal. Blocks.

    Raises:
        ConfigError: There is neither.
    """
    if config.operators.password:
        return config.operators.password
    if not sys.stdin.isatty():
        raise ConfigError(
            "no password of an operator", hint="set operators.password_file, or REALMKEEP_OPERATORS__PASSWORD"
        )
    return getpass.getpass(prompt)


async def agreed(how: Changing, to: str, plan: Iterable[str]) -> bool:
    """Print the plan of a change, and ask; off a terminal only `--yes` agrees, and the program ends otherwise."""
    if not how.json:
        sys.stdout.writelines(f"{printable(line)}\n" for line in plan)
    if how.yes:
        return True
    if not sys.stdin.isatty():
        sys.stderr.write(f"realmkeep: nothing was changed: off a terminal add --yes to {to}\n")
        sys.exit(USAGE)
    sys.stderr.write(f"Type yes to {to}: ")
    sys.stderr.flush()
    return (await asyncio.to_thread(sys.stdin.readline)).strip() == "yes"


def change(how: Changing, to: str, plan: Iterable[str], work: Callable[[Acting], Awaitable["Outcome"]]) -> None:
    """Print the plan of an act, ask, do it, and print its outcome."""

    async def run(acting: Acting) -> "Outcome | None":
        return await work(acting) if await agreed(how, to, plan) else None

    say_outcome(how, act(how, run))


def say_outcome(how: Reading, outcome: "Outcome | None") -> None:
    """Print the outcome of an act; none means that the operator did not agree, and ends the program."""
    if outcome is None:
        sys.stderr.write("realmkeep: nothing was changed\n")
        sys.exit(1)
    if how.json:
        say_json(outcome)
    else:
        sys.stdout.write(f"done by {outcome.server}; audit entry {outcome.entry}, act {outcome.act_id}\n")


def say_json(shown: Any) -> None:
    """Print JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown)).decode() + "\n")


def printable(text: str) -> str:
    """The text, or its escaped form if a terminal would not show it as it is: a store may hold any text."""
    return text if text.isprintable() else ascii(text)


def utc(seconds: float | None) -> str:
    """A moment as text; `-` for none."""
    from datetime import UTC, datetime  # noqa: PLC0415 - as above

    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
