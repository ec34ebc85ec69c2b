"""Examines the store of a URL and this machine."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlsplit

from realmkeep.clock import Clock, SystemClock
from realmkeep.config import mask_url
from realmkeep.errors import ConfigError, StorageError
from realmkeep.operations.doctor.backups import backup_findings
from realmkeep.operations.doctor.findings import Examined, Finding, Outcome, Report, by_gravity, promise_of
from realmkeep.operations.doctor.machine import Machine, server_findings
from realmkeep.storage import open_storage

Examiner = Callable[[SplitResult, Machine, Clock, Examined], Coroutine[Any, Any, None]]

# Each module has `examine`. A driver is imported only for its own URL.
EXAMINERS: Final = {
    "memory": "realmkeep.operations.doctor.memory",
    "sqlite": "realmkeep.operations.doctor.sqlite",
    "redis": "realmkeep.operations.doctor.redis",
    "rediss": "realmkeep.operations.doctor.redis",
    "redis+unix": "realmkeep.operations.doctor.redis",
    "redis-cluster": "realmkeep.operations.doctor.replicated",
    "rediss-cluster": "realmkeep.operations.doctor.replicated",
    "redis-sentinel": "realmkeep.operations.doctor.replicated",
    "rediss-sentinel": "realmkeep.operations.doctor.replicated",
    "embedded": "realmkeep.operations.doctor.embedded",
    "postgresql": "realmkeep.operations.doctor.postgres",
}


async def examine(
    url: str,
    *,
    backups: Path | None = None,
    accept: Collection[str] = (),
    machine: Machine | None = None,
    clock: Clock | None = None,
) -> Report:
    """Examine the store of a URL, its backups and this machine; nothing is changed.

    A store that does not answer is no error of this function: the report says so, and has the findings about the machine.

    Args:
        url: The store's URL, as for `open_storage`.
        backups: The directory of the store's backups; None: they are not examined.
        accept: Names of findings that an operator has accepted: they are listed apart.
        machine: The machine; by default this one.
        clock: The clock; by default the machine's.

    Raises:
        ConfigError: The URL is malformed, or a file of a secret cannot be read.
        StorageMisconfigured: The driver for it is not installed.
    """
    machine, clock = machine or Machine(), clock or SystemClock()
    open_storage(url, clock=clock)  # checks the URL and its driver
    parts = urlsplit(url)
    if (module := EXAMINERS.get(parts.scheme)) is None:
        raise ConfigError(f"doctor cannot examine {parts.scheme}://", hint=f"one of {', '.join(EXAMINERS)}")
    examined = Examined()
    outcome: Outcome = "examined"
    said = ""
    try:
        await cast("Examiner", import_module(module).examine)(parts, machine, clock, examined)
    except StorageError as error:
        outcome = "unavailable" if error.retryable else "misconfigured"
        said = str(error)
    if backups is not None and parts.scheme != "memory":
        await asyncio.to_thread(_examine_backups, backups, clock, examined)
    examined.findings += await asyncio.to_thread(list, server_findings(machine))
    return _report(url, examined, outcome, said, accept)


def _examine_backups(directory: Path, clock: Clock, examined: Examined) -> None:
    try:
        examined.findings += backup_findings(directory, now_us=clock.wall_us())
    except OSError as error:
        examined.unexamined.append(f"the backups in {directory}: {error.strerror or error}")


def _report(url: str, examined: Examined, outcome: Outcome, said: str, accept: Collection[str]) -> Report:
    def chosen(*, accepted: bool) -> tuple[Finding, ...]:
        return by_gravity(finding for finding in examined.findings if (finding.name in accept) is accepted)

    return Report(
        store=mask_url(url),
        engine=examined.engine,
        outcome=outcome,
        error=said,
        findings=chosen(accepted=False),
        accepted=chosen(accepted=True),
        unexamined=tuple(examined.unexamined),
        promise=promise_of(examined),
    )
