"""Examines a Postgres: the settings that decide what a commit survives, and the ways in which others reach it."""

from typing import Final
from urllib.parse import SplitResult

from realmkeep.clock import Clock
from realmkeep.operations.doctor.findings import Examined, Finding, Grade
from realmkeep.operations.doctor.machine import Machine
from realmkeep.storage.postgres.address import parse_postgres_url
from realmkeep.storage.postgres.looking import look_at
from realmkeep.storage.postgres.server import capability_of, server_faults

GRADES: Final[dict[str, Grade]] = {
    "asynchronous-commit": "warning",
    "fsync-off": "danger",
    "full-page-writes-off": "danger",
    "asynchronous-standby": "warning",
    "no-password": "warning",
    "not-encrypted": "danger",
    "certificate-not-verified": "warning",
}
PROMISES: Final = {"fsync-off": "nothing survives a loss of power, which destroys the database"}


async def examine(url: SplitResult, _machine: Machine, clock: Clock, examined: Examined) -> None:
    """Examine the database of a URL beside its servers; nothing is changed.

    Raises:
        ConfigError: The URL is malformed.
        StorageUnavailable: It does not answer, or is a standby.
        StorageMisconfigured: It refuses this user, is too old, or cannot keep the promises of the protocol.
        StorageError: It answered with another error.
    """
    state = await look_at(parse_postgres_url(url), clock)
    examined.engine = state.engine
    examined.promise = capability_of(state.facts, engine=state.engine, warnings=()).promise
    examined.findings += [
        Finding(fault.name, GRADES[fault.name], fault.what, fault.why, fault.mend, promise=PROMISES.get(fault.name, ""))
        for fault in (*server_faults(state.facts), *state.exposures)
    ]
    if state.is_unlogged:
        examined.findings.append(
            Finding(
                "tables-unlogged",
                "danger",
                "the tables of the store are unlogged",
                "a crash of the server empties them; Realmkeep does not use such a store",
                "ALTER TABLE realmkeep_entry SET LOGGED; ALTER TABLE realmkeep_list SET LOGGED",
                promise="nothing, because Realmkeep does not use it as it is",
            )
        )
    examined.unexamined.append("the machine and the disk of the database: only its settings can be asked for")
