"""Realmkeep keeps what players earn: the persistence layer under a multiplayer game server."""

from realmkeep.records.fields import (
    BATCHED,
    CHECKPOINT,
    IMMEDIATE,
    Keyword,
    changed,
    drops_to,
    durable,
    ephemeral,
    rises,
)
from realmkeep.records.record import Part, Record

__all__ = ["BATCHED", "CHECKPOINT", "IMMEDIATE", "Keyword", "Part", "Record", "changed", "drops_to", "durable", "ephemeral", "rises"]
