"""The public names of Realmkeep, and their modules; a game writes `from realmkeep import ...`.

These are the names that every game uses. The others are imported from public modules of their own:
`realmkeep.errors`, `realmkeep.records`, `realmkeep.storage`, `realmkeep.config`, `realmkeep.clock`, `realmkeep.keeping`,
`realmkeep.accounts`, `realmkeep.testing`, `realmkeep.asgi` and `realmkeep.operations.metrics`.
"""

from realmkeep import errors
from realmkeep.config import Config, KeeperConfig, load_config
from realmkeep.errors import Later, Return
from realmkeep.keeping import (
    Ack,
    Answer,
    CloseReport,
    Hooks,
    Keeper,
    Letter,
    Op,
    Pending,
    Receipt,
    Rejected,
    Returned,
    Session,
    Undecided,
    answer,
)
from realmkeep.records import BATCHED, CHECKPOINT, IMMEDIATE, Part, Record, changed, drops_to, durable, ephemeral, rises

__all__ = [
    "BATCHED",
    "CHECKPOINT",
    "IMMEDIATE",
    "Ack",
    "Answer",
    "CloseReport",
    "Config",
    "Hooks",
    "Keeper",
    "KeeperConfig",
    "Later",
    "Letter",
    "Op",
    "Part",
    "Pending",
    "Receipt",
    "Record",
    "Rejected",
    "Return",
    "Returned",
    "Session",
    "Undecided",
    "answer",
    "changed",
    "drops_to",
    "durable",
    "ephemeral",
    "errors",
    "load_config",
    "rises",
]
