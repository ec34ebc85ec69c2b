"""Examines the primary of a cluster's realm, or of sentinels, and its replicas."""

import asyncio
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult

import msgspec

from realmkeep.clock import Clock
from realmkeep.operations.doctor.findings import Examined, Finding, Grade
from realmkeep.operations.doctor.machine import Machine
from realmkeep.operations.doctor.redis import REFUSED, examine_facts
from realmkeep.operations.doctor.redis_facts import RedisFacts, read_facts
from realmkeep.storage.redis_capability import capability_of, check_engine
from realmkeep.storage.replicated.address import ReplicatedAddress, parse_replicated_url
from realmkeep.storage.replicated.finding import finder_of
from realmkeep.storage.replicated.promises import faults_of_replicas, replicated_capability, replicated_faults
from realmkeep.storage.store_fault import StoreFault

GRADES: Final[dict[str, Grade]] = {"append-only-off-with-replicas": "danger", "stale-replicas-promoted": "danger"}


async def examine(url: SplitResult, machine: Machine, clock: Clock, examined: Examined) -> None:
    """Examine the primary of a URL beside its servers; nothing is changed.

    Raises:
        ConfigError: The URL is malformed, or a file of a secret cannot be read.
        StorageUnavailable: No primary is found, or it does not answer.
        StorageMisconfigured: It refuses this user, or is too old.
        StorageError: It answered with another error.
    """
    where = await asyncio.to_thread(parse_replicated_url, url)
    facts = await read_facts(await finder_of(where, clock).find(), machine, clock, check=check_engine)
    await examine_facts(facts, machine, clock, examined)
    alone = capability_of(facts.engine, facts.settings, facts.info)
    examined.promise = replicated_capability(alone, where, facts.settings or {}, []).promise
    faults = [
        *replicated_faults(where.kind, facts.settings, replicas_min=where.replicas_min),
        *await faults_of_replicas(facts.info, where, clock),
    ]
    examined.findings += [_finding(fault) for fault in faults]
    examined.findings += _replicas(facts, where)
    # A setting that differs between the servers of a shard is worse than a wrong one: an operator changes all of them.
    examined.findings = [msgspec.structs.replace(each, settings=()) for each in examined.findings]
    examined.unexamined.append("the machines of the replicas: run doctor there")


def _finding(fault: StoreFault) -> Finding:
    return Finding(
        fault.name,
        GRADES.get(fault.name, "warning"),
        fault.what,
        fault.why,
        f"on each server of the shard: {fault.mend}",
        promise=REFUSED if fault.is_refused else "",
    )


def _replicas(facts: RedisFacts, where: ReplicatedAddress) -> Iterator[Finding]:
    online = sum("state=online" in line for name, line in facts.info.items() if name.startswith("slave"))
    if online < where.replicas_min:
        yield Finding(
            "too-few-replicas",
            "danger",
            f"{online} replicas are online, fewer than the {where.replicas_min} that a write needs",
            "the store accepts no writes, and the loss of this server loses the realm's last moments",
            "start the replicas, and look at their logs",
            promise="what it has acknowledged, but it accepts no writes now",
        )
