"""The stores: the `Storage` protocol and one module for each backend. It knows keys and bytes, no records."""

from realmkeep.storage.protocol import (
    Append,
    Capability,
    Committed,
    Delete,
    DropFirst,
    Effect,
    Failed,
    Guard,
    Need,
    Present,
    Put,
    Refused,
    Shorter,
    Storage,
    Transaction,
    Unknown,
    WriteOutcome,
)
from realmkeep.storage.reading import load_each
from realmkeep.storage.urls import open_storage

__all__ = [
    "Append",
    "Capability",
    "Committed",
    "Delete",
    "DropFirst",
    "Effect",
    "Failed",
    "Guard",
    "Need",
    "Present",
    "Put",
    "Refused",
    "Shorter",
    "Storage",
    "Transaction",
    "Unknown",
    "WriteOutcome",
    "load_each",
    "open_storage",
]
