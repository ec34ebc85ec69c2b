"""The faults. Each is one class in one place; `FAULTS` has all of them by name."""

from realmkeep.drill.faults import archive, disk, network, replicas, servers, stores
from realmkeep.drill.faults.fault import FAULTS, Fault, Harm, lacking, possible

__all__ = [
    "FAULTS",
    "Fault",
    "Harm",
    "archive",
    "disk",
    "lacking",
    "network",
    "possible",
    "replicas",
    "servers",
    "stores",
]
