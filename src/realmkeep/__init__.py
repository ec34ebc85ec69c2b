"""Realmkeep keeps what players earn: records that live in a game server's memory, durable when their worth demands.

Everything a game needs by name is here; what its tests need is in `realmkeep.testing`. Importing this opens nothing and
imports no driver.
"""

from realmkeep import errors
from realmkeep.config import Config, KeeperConfig, RecordsConfig, StoreConfig, load_config
from realmkeep.keeping import CloseReport, Keeper, Op, Receipt, Session, Table, Tx
from realmkeep.records import (
    BATCHED,
    CHECKPOINT,
    CLAMP,
    IMMEDIATE,
    OK,
    QUARANTINE,
    REJECT,
    Issue,
    Keyword,
    Part,
    Record,
    Tier,
    Trigger,
    Validity,
    changed,
    drops_to,
    durable,
    ephemeral,
    issue,
    rises,
)
from realmkeep.storage import Storage, open_storage

__all__ = [
    "BATCHED",
    "CHECKPOINT",
    "CLAMP",
    "IMMEDIATE",
    "OK",
    "QUARANTINE",
    "REJECT",
    "CloseReport",
    "Config",
    "Issue",
    "Keeper",
    "KeeperConfig",
    "Keyword",
    "Op",
    "Part",
    "Receipt",
    "Record",
    "RecordsConfig",
    "Session",
    "Storage",
    "StoreConfig",
    "Table",
    "Tier",
    "Trigger",
    "Tx",
    "Validity",
    "changed",
    "drops_to",
    "durable",
    "ephemeral",
    "errors",
    "issue",
    "load_config",
    "open_storage",
    "rises",
]
