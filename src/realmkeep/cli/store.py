"""`realmkeep store`: for operators of a store, and for records that a shutdown could not save."""

import asyncio
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number
from cyclopts.validators import Path as PathRule

from realmkeep.errors import ConfigError
from realmkeep.storage.embedded_config import MAXMEMORY_BYTES, MAXMEMORY_BYTES_MIN, Fsync, StoreSettings, configuration

if TYPE_CHECKING:
    from realmkeep.keeping import RescueReport
    from realmkeep.keeping.ownership.id_survey import IdSurvey
    from realmkeep.operations.copying.copying import CopyReport
    from realmkeep.operations.store_sizes import StoreSizes

MIB = 1024**2

app = App(name="store", help="The store of a realm.")


@app.command
def config(
    *,
    directory: str = "/var/lib/realmkeep",
    socket: str = "",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 6379,
    maxmemory_mb: Annotated[int, Parameter(validator=Number(gte=MAXMEMORY_BYTES_MIN // MIB))] = MAXMEMORY_BYTES // MIB,
    fsync: Fsync = "always",
) -> None:
    """Print a configuration for Valkey or Redis, 7.0 or later, each line with its reason.

    Args:
        directory: The directory of its files.
        socket: Its unix socket; empty for none.
        port: Its TCP port on this machine; 0 for none.
        maxmemory_mb: The size from which it refuses writes.
        fsync: always: on disk before the answer. everysec: within about two seconds after it.

    Raises:
        ConfigError: It would have neither a socket nor a port.
    """
    if not socket and not port:
        raise ConfigError("no server could reach this store", hint="give it --socket, --port or both")
    settings = StoreSettings(directory, socket, port, maxmemory_mb * MIB, fsync)
    sys.stdout.write(configuration(settings))


@app.command
def schema() -> None:
    """Print the tables of a PostgreSQL store, for a database whose users may not make tables themselves."""
    folder = resources.files("realmkeep.storage")  # `realmkeep.storage.postgres` itself needs the driver
    sys.stdout.write(folder.joinpath("postgres", "sql", "schema.sql").read_text(encoding="utf-8"))


@app.command
def rescue(
    file: Annotated[Path, Parameter(validator=PathRule(dir_okay=False))],
    /,
    *,
    store: str | None = None,
    if_exists: bool = False,
    log: bool = False,
    json: bool = False,
) -> None:
    """Deliver the records of a rescue file to the store, once the store is back and before the players are.

    Each line happens wholly or not at all, and once, however often the file is restored. A record that a server has claimed
    or changed since is left alone, and named with the reason. All lines are checked before the first is delivered.

    Exits with 0 if no line is left; the file is not needed any more. Otherwise exits with 1.

    Args:
        file: The rescue file, such as DATA/rescue.jsonl.
        store: URL of the store; by default from the settings. `embedded:///DATA/store` is that of `serve --data DATA`.
        if_exists: Exit with 0 if the file does not exist: for a service that runs this before each start.
        log: The file is a server's log with rescue lines, written because no file could be.
        json: Print JSON instead of a table.

    Raises:
        ConfigError: The file does not exist.
    """
    if not file.exists():
        if not if_exists:
            raise ConfigError(f"{file} does not exist", hint="name the file, or add --if-exists")
        sys.stdout.write(f"{file} does not exist: there is nothing to restore\n")
        sys.exit(0)
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above
    from realmkeep.config import mask_url  # noqa: PLC0415 - a command imports what it needs when it runs
    from realmkeep.keeping import restore_rescued  # noqa: PLC0415 - a command imports what it needs when it runs
    from realmkeep.keeping.lifecycle.shutdown import disconnect_storage  # noqa: PLC0415 - as above
    from realmkeep.storage import open_storage  # noqa: PLC0415 - a command imports what it needs when it runs

    url = config_with(store).store.url

    async def restore() -> "RescueReport":
        storage = open_storage(url)
        try:
            return await restore_rescued(storage, file, from_log=log)
        finally:
            await disconnect_storage(storage)

    report = asyncio.run(restore())
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        _print(report, f"{file} on {mask_url(url)}")
    sys.exit(0 if report.clean else 1)


@app.command
def ids(*, fix: bool = False, store: str | None = None, json: bool = False) -> None:
    """Show the highest id in use and the id counter, and mend a counter that cannot be used.

    It reads every key of the store. A counter that is not a number, or has run beyond 2^52, is set to a value above the ids
    in use, with room for the serials of items, which come from the same counter. For that, stop the servers of the realm. A
    counter below the ids in use is moved above them.

    Exits with 0 if the counter can be used now, otherwise with 1.

    Args:
        fix: Mend the counter.
        store: URL of the store; by default from the settings. `embedded:///DATA/store` is that of `serve --data DATA`.
        json: Print JSON instead of sentences.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above
    from realmkeep.keeping.lifecycle.shutdown import disconnect_storage  # noqa: PLC0415 - as above
    from realmkeep.keeping.ownership.id_survey import mend_ids, survey_ids  # noqa: PLC0415
    from realmkeep.storage import open_storage  # noqa: PLC0415 - a command imports what it needs when it runs

    url = config_with(store).store.url

    async def look() -> "IdSurvey":
        storage = open_storage(url)
        try:
            await storage.connect()
            survey = await survey_ids(storage)
            if fix:
                await mend_ids(storage, survey)
            return survey
        finally:
            await disconnect_storage(storage)

    survey = asyncio.run(look())
    if json:
        shown = msgspec.to_builtins(survey) | {"counter": (survey.counter or b"").decode(errors="replace")}
        sys.stdout.write(msgspec.json.encode({**shown, "fixed": fix}).decode() + "\n")
    else:
        sys.stdout.write(_said_of(survey, fix=fix))
    sys.exit(0 if fix or survey.verdict == "fine" else 1)


@app.command
def sizes(*, store: str | None = None, json: bool = False) -> None:
    """Measure every value of the store: keys and bytes by kind, and the largest values. Servers may run; nothing is written.

    Args:
        store: URL of the store; by default from the settings.
        json: Print JSON instead of lines.
    """
    from realmkeep.cli.exit_codes import exit_codes  # noqa: PLC0415 - as above
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.store_sizes import measure_sizes  # noqa: PLC0415 - as above
    from realmkeep.storage.beside import connect_beside  # noqa: PLC0415 - as above

    async def measure() -> "StoreSizes":
        storage = await connect_beside(config_with(store).store.url, clock=SystemClock())
        try:
            return await measure_sizes(storage)
        finally:
            await storage.disconnect()

    with exit_codes():
        found = asyncio.run(measure())
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    lines = [f"{each.bytes_count:>16,} bytes {each.keys:>12,} keys  {each.kind} {each.role}" for each in found.kinds]
    lines += [f"{size:>16,} bytes  {key if key.isprintable() else ascii(key)}" for key, size in found.largest]
    sys.stdout.writelines(f"{line}\n" for line in lines)


@app.command
def copy(source: str, target: str, /, *, json: bool = False) -> None:
    """Copy a realm from one store into another of any kind, and compare the two.

    No server may run on either. The target must be empty, and no server starts on it before the copy is complete. An
    interrupted copy goes on when the command is repeated. Nothing of the source is changed: keep it until the realm has run on
    the copy. What expires keeps its time.

    Exits with 0 if both stores have the same contents, by their digests.

    Args:
        source: URL of the store to read.
        target: URL of the store to write.
        json: Print JSON instead of a sentence.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above
    from realmkeep.config import mask_url  # noqa: PLC0415 - a command imports what it needs when it runs
    from realmkeep.keeping.lifecycle.shutdown import disconnect_storage  # noqa: PLC0415 - as above
    from realmkeep.operations.copying.copying import copy_store  # noqa: PLC0415 - as above
    from realmkeep.storage import open_storage  # noqa: PLC0415 - as above

    async def run() -> "CopyReport":
        opened = [open_storage(config_with(url).store.url) for url in (source, target)]
        try:
            for storage in opened:
                await storage.connect()
            return await copy_store(*opened)
        finally:
            for storage in opened:
                await disconnect_storage(storage)

    report = asyncio.run(run())
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
        return
    sys.stdout.write(
        f"{mask_url(target)} has the {report.keys:,} keys of {mask_url(source)}: {report.copied:,} were copied,"
        f" {report.already_there:,} were there already; digest {report.digest[:16]}\n"
    )


def _said_of(survey: "IdSurvey", *, fix: bool) -> str:
    beyond = f"; {survey.beyond} ids in use are beyond the range of the counter" if survey.beyond else ""
    counter = "absent" if survey.counter is None else ascii(survey.counter.decode(errors="replace"))
    lines = [f"highest id in use: {survey.highest}{beyond}", f"counter: {counter:.60} ({survey.verdict})"]
    if survey.verdict != "fine" and fix:
        lines.append(f"the counter was set to {survey.set_to}")
    elif survey.verdict != "fine":
        lines.append(f"realmkeep store ids --fix sets the counter to {survey.set_to}")
        if survey.servers:
            lines.append(f"these servers are alive: {', '.join(survey.servers)}")
    return "\n".join(lines) + "\n"


def _print(report: "RescueReport", what: str) -> None:
    """Write a line for each record, and the totals."""
    rows = [("restored", record, "") for record in report.restored]
    rows += [("already there", record, "") for record in report.already_there]
    rows += [("left", each.record, f"line {each.line}: {each.why}") for each in report.left]
    rows += [("not restorable", each.record, f"line {each.line}: {each.why}") for each in report.not_restorable]
    width = max((len(record) for _, record, _ in rows), default=0)
    for verdict, record, why in rows:
        sys.stdout.write(f"{verdict:<16}{record:<{width}}  {why}".rstrip() + "\n")
    sys.stdout.write(
        f"{what}: {len(report.restored)} restored, {len(report.already_there)} already there, {len(report.left)} left, "
        f"{len(report.not_restorable)} not restorable\n"
    )
