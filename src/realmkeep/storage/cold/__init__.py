"""The cold tier: rows of records beside the hot store. Only rooms that archive use it; play needs it for thawing alone."""

from realmkeep.storage.cold.boards import BoardShape, ColdBoards, ColdPlace, ColdScore, ColdSeason
from realmkeep.storage.cold.memory import MemoryColdStore
from realmkeep.storage.cold.opening import open_cold_store
from realmkeep.storage.cold.protocol import (
    ColdBatch,
    ColdHead,
    ColdLetter,
    ColdRow,
    ColdStore,
    ColdWritten,
    digest_of,
)
from realmkeep.storage.cold.stub import Stub
from realmkeep.storage.cold.thawed import ThawedStorage

__all__ = [
    "BoardShape",
    "ColdBatch",
    "ColdBoards",
    "ColdHead",
    "ColdLetter",
    "ColdPlace",
    "ColdRow",
    "ColdScore",
    "ColdSeason",
    "ColdStore",
    "ColdWritten",
    "MemoryColdStore",
    "Stub",
    "ThawedStorage",
    "digest_of",
    "open_cold_store",
]
