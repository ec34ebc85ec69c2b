"""Examines an embedded store through its socket, beside the server that runs it."""

import asyncio
import os
from pathlib import Path
from urllib.parse import SplitResult

from realmkeep.clock import Clock
from realmkeep.errors import StorageUnavailable
from realmkeep.operations.doctor.disk import file_system_findings, fsync_findings, fsync_median_s
from realmkeep.operations.doctor.findings import Examined
from realmkeep.operations.doctor.machine import Machine
from realmkeep.operations.doctor.redis import examine_address
from realmkeep.storage.embedded import address_of, directory_of


async def examine(url: SplitResult, machine: Machine, clock: Clock, examined: Examined) -> None:
    """Examine the live store of a directory. A store that does not run is not started; its disk is examined all the same.

    Raises:
        ConfigError: The URL names no directory, or a host.
        StorageUnavailable: The store does not run, or does not answer.
        StorageError: It answered with an error.
    """
    directory = directory_of(url).absolute()
    try:
        await examine_address(address_of(url), machine, clock, examined)
    except StorageUnavailable as error:
        if not await asyncio.to_thread(directory.is_dir):
            raise StorageUnavailable(
                f"there is no store in {directory} yet", hint="the server makes it when it starts"
            ) from error
        await asyncio.to_thread(_disk, directory, machine, clock, examined)
        raise StorageUnavailable(
            f"the embedded store in {directory} does not answer: {error.message}",
            hint="it runs while its server runs: start that, then run doctor again",
        ) from error


def _disk(directory: Path, machine: Machine, clock: Clock, examined: Examined) -> None:
    if machine.is_linux:
        examined.findings += file_system_findings(machine, directory.resolve())
    if os.access(directory, os.W_OK | os.X_OK):
        examined.findings += fsync_findings(fsync_median_s(directory, clock), directory)
