"""`realmkeep backup`: make, list, verify, prune and restore backups."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Path as PathRule

from realmkeep.errors import BackupBusy, ConfigError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from realmkeep.config import Config
    from realmkeep.operations.backup.examining import Verification
    from realmkeep.operations.backup.offsite import Bucket
    from realmkeep.operations.backup.restoring import RestorePlan

T = TypeVar("T")

app = App(name="backup", help="Backups of a realm's store. The backups lie in backup.directory.")
Directory = Annotated[Path | None, Parameter(validator=PathRule(file_okay=False))]
Identity = Annotated[Path | None, Parameter(validator=PathRule(exists=True, dir_okay=False))]

EXIT: Final = {"good": 0, "bad": 1, "inconclusive": 75}


@app.command
def create(*, store: str | None = None, directory: Directory = None, prune: bool = False, json: bool = False) -> None:
    """Back the store up while it runs, restore the files into a scratch store, and read every record there.

    Every backup that the bucket of backup.offsite_url lacks is then copied there. Exits with 0 if the backup is complete and
    was read; with 75 if a kind of records has no class in backup.holdings, or another process makes a backup already.

    Args:
        store: URL of the store; by default from the settings. `embedded:///DATA/store` is that of `serve --data DATA`.
        directory: The directory of the backups.
        prune: Then remove the backups that `prune` would remove.
        json: Print JSON instead of lines.
    """
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.operations.backup.creating import create_backup  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.packing import parse_recipients  # noqa: PLC0415 - as above

    config = _config(store, directory)
    recipients = parse_recipients(config.backup.recipients)
    work = create_backup(config.store.url, _place(config), game_of(config), recipients=recipients, clock=SystemClock())
    try:
        created = _run(work)
    except BackupBusy as error:
        sys.stderr.write(f"realmkeep: {error}\n")
        sys.exit(EXIT["inconclusive"])
    if json:
        shown = {"manifest": created.manifest, "verdict": created.finding.verdict, "why": created.finding.why}
        sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
    else:
        census = created.manifest.census
        sys.stdout.write(
            f"{created.manifest.name}  {sum(census.records.values()):,} records, {census.keys:,} keys,"
            f" {created.manifest.bytes_count:,} bytes\n"
        )
        _say(created.finding)
    if config.backup.offsite_url:
        pushed = _run(_bucket(config).push(_place(config)))
        if not json:
            sys.stdout.write(f"copied to {config.backup.offsite_url}: {', '.join(pushed) or 'nothing new'}\n")
    if prune:
        _prune(config, say=not json)
    sys.exit(EXIT[created.finding.verdict])


@app.command(name="list")
def list_(*, directory: Directory = None, offsite: bool = False, json: bool = False) -> None:
    """List the backups: their age, size, contents and last verification, and the times to which each one reaches.

    Args:
        directory: The directory of the backups.
        offsite: List those of the bucket instead.
        json: Print JSON instead of lines.
    """
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.catalogue import list_backups  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.listing import as_rows, list_lines  # noqa: PLC0415 - as above

    config = _config(None, directory)
    backups = _run(_bucket(config).list()) if offsite else list_backups(_place(config))
    if json:
        sys.stdout.write(msgspec.json.encode(as_rows(backups)).decode() + "\n")
        return
    sys.stdout.writelines(f"{line}\n" for line in list_lines(backups, now_us=SystemClock().wall_us()))


@app.command
def verify(
    *names: str, directory: Directory = None, identity: Identity = None, every: bool = False, json: bool = False
) -> None:
    """Restore backups into a scratch store, read every record there, and compare all with the manifest.

    Exits with 0 if all are good; with 1 if one is bad: its files or contents are not those that were written; with 75 if none
    is bad but for one this machine could not tell (no key, no room, a killed store). The store of the realm is not touched.

    Args:
        names: The backups; by default the newest.
        directory: The directory of the backups.
        identity: File with the secret keys of age, for encrypted backups; others must not be able to read it.
        every: Verify every backup.
        json: Print JSON instead of lines.
    """
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.examining import verify_backup  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.listing import names_to_verify  # noqa: PLC0415 - as above

    config = _config(None, directory)
    place, game, identities = _place(config), game_of(config), _identities(identity)

    async def run() -> "list[Verification]":
        chosen = await asyncio.to_thread(names_to_verify, place, names, every=every)
        clock = SystemClock()
        return [await verify_backup(place, name, game, identities=identities, clock=clock) for name in chosen]

    findings = _run(run())
    if json:
        sys.stdout.write(msgspec.json.encode(findings).decode() + "\n")
    else:
        for finding in findings:
            _say(finding)
    verdicts = {finding.verdict for finding in findings}
    sys.exit(next((EXIT[each] for each in ("bad", "inconclusive") if each in verdicts), 0))


@app.command
def fetch(name: str | None = None, /, *, directory: Directory = None) -> None:
    """Bring a backup back from the bucket of backup.offsite_url into the directory, to verify or restore it there.

    Args:
        name: The backup; by default the newest one with a good verification.
        directory: The directory of the backups.
    """
    config = _config(None, directory)
    manifest = _run(_bucket(config).fetch(name, _place(config)))
    sys.stdout.write(f"{manifest.name}  is in {_place(config)}\n")


@app.command
def prune(*, directory: Directory = None, yes: bool = False) -> None:
    """Remove old backups: all are kept for backup.hourly_days, one of each day for backup.daily_days.

    None is removed that has no newer verified one. The bucket of backup.offsite_url is pruned by the same rule.

    Args:
        directory: The directory of the backups.
        yes: Do not ask.
    """
    config = _config(None, directory)
    if _prune(config, say=True, dry_run=True) and _agreed("remove these backups", yes=yes):
        _prune(config, say=False)


@app.command
def restore(
    name: str | None = None,
    /,
    *,
    store: str | None = None,
    at: str | None = None,
    directory: Directory = None,
    identity: Identity = None,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Restore a backup into an empty store. A store that is not empty or in use is refused; nothing is overwritten.

    The restored state is older than now: all that happened since is lost, and the command says how much time that is. Servers
    that ran before cannot write into the restored store; start them anew. Persons that were erased since are erased again.

    Args:
        name: The backup; by default the newest verified one (that reaches --at).
        store: URL of the store to restore into; by default from the settings.
        at: Restore the state at the end of this second, such as 2026-11-30T08:00:03Z; `list` shows where that is possible.
        directory: The directory of the backups.
        identity: File with the secret keys of age, for an encrypted backup.
        yes: Do not ask.
        json: Print JSON instead of lines.
    """
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.listing import plan_lines, report_lines  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.moments import parse_second  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.restoring import plan_restore, restore_backup  # noqa: PLC0415 - as above

    config = _config(store, directory)
    second, identities, clock = None if at is None else parse_second(at), _identities(identity), SystemClock()
    planning = plan_restore(_place(config), config.store.url, name=name, second=second, clock=clock)
    plan: RestorePlan = _run(planning)
    if not json:
        sys.stdout.writelines(f"{line}\n" for line in plan_lines(plan, config.store.url, now_us=clock.wall_us()))
    if not _agreed("restore this backup", yes=yes):
        sys.exit(1)
    report = _run(restore_backup(plan, game_of(config), identities=identities, clock=clock))
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in report_lines(report))


@app.command
def forget(record: str, /, *more: str, directory: Directory = None) -> None:
    """Note that records were erased, so that no restore brings them back. The store itself is not changed.

    The note is a keyed hash in erasures.jsonl beside the backups: keep that file, and erasures.key, with every copy of them.

    Args:
        record: The key of a record, such as player:7 or account:ada.
        more: More of them.
        directory: The directory of the backups.
    """
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.erasures import note_erasure  # noqa: PLC0415 - as above

    place = _place(_config(None, directory))
    for each in (record, *more):
        note_erasure(place, each, at_us=SystemClock().wall_us())
        sys.stdout.write(f"{each}  is erased again by each restore of a backup made before now\n")


def _run(work: "Coroutine[object, object, T]") -> "T":
    """Run it; SIGTERM ends it as Ctrl-C does: scratch stores are stopped, and unfinished files removed."""

    async def until_terminated() -> "T":
        task = asyncio.current_task()
        assert task is not None  # this one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(until_terminated())
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)


def _config(store: str | None, directory: Path | None) -> "Config":
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above

    return config_with(store, **{"backup.directory": None if directory is None else str(directory)})


def _place(config: "Config") -> Path:
    return Path(config.backup.directory).absolute()


def _identities(path: Path | None) -> tuple[object, ...]:
    from realmkeep.operations.backup.packing import read_identities  # noqa: PLC0415 - as above

    return () if path is None else read_identities(path)


def _bucket(config: "Config") -> "Bucket":
    from realmkeep.operations.backup.offsite import Bucket  # noqa: PLC0415 - as above

    if not config.backup.offsite_url:
        raise ConfigError("backup.offsite_url is not set", hint="s3://bucket/prefix, in realmkeep.toml")
    return Bucket(config.backup.offsite_url)


def _prune(config: "Config", *, say: bool, dry_run: bool = False) -> bool:
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.retention import prune_backups  # noqa: PLC0415 - as above

    backup, now_us = config.backup, SystemClock().wall_us()
    days = {"hourly_days": backup.hourly_days, "daily_days": backup.daily_days}
    removals = _run(prune_backups(_place(config), now_us=now_us, dry_run=dry_run, **days))
    found = [(removal.name, removal.why) for removal in removals]
    if backup.offsite_url:
        removals = _run(_bucket(config).prune(now_us=now_us, dry_run=dry_run, **days))
        found += [(f"{backup.offsite_url}/{removal.name}", removal.why) for removal in removals]
    if say:
        for name, why in found:
            sys.stdout.write(f"{name}  {'would be' if dry_run else 'was'} removed: {why}\n")
        if not found:
            sys.stdout.write("no backup is to be removed\n")
    return bool(found)


def _say(finding: "Verification") -> None:
    sys.stdout.write(f"{finding.name}  {finding.verdict}{f': {finding.why}' if finding.why else ''}\n")
    for warning in finding.warnings:
        sys.stdout.write(f"  {warning}\n")


def _agreed(to: str, *, yes: bool) -> bool:
    """Whether the operator agrees; off a terminal only by `--yes`."""
    if yes:
        return True
    if not sys.stdin.isatty():
        sys.stderr.write(f"realmkeep: add --yes to {to}\n")
        return False
    sys.stdout.write(f"Type yes to {to}: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip() == "yes"
