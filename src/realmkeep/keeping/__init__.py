"""When it is kept: sessions, tiers, write-behind, ownership. The only place where records and storage meet."""

from realmkeep.keeping.answers import Ack, Answer, Pending, Rejected, Undecided, answer
from realmkeep.keeping.boards.board import Board, Season, Standing
from realmkeep.keeping.keeper import Keeper
from realmkeep.keeping.lifecycle.shutdown import CloseReport
from realmkeep.keeping.live.counters import KeeperStatus
from realmkeep.keeping.live.hooks import Hooks
from realmkeep.keeping.live.letter_types import Letter, Returned
from realmkeep.keeping.live.measures import Histogram
from realmkeep.keeping.live.op_ring import Op, Receipt
from realmkeep.keeping.live.session import Session
from realmkeep.keeping.operating import announce_address, heal
from realmkeep.keeping.ownership.directory import Directory, ServerInfo, Whereabouts
from realmkeep.keeping.recovery.rescue import LeftBehind, RescueReport, restore_rescued
from realmkeep.keeping.scan import ScannedRecord
from realmkeep.keeping.table import Table
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.keeping.writing.commit import Tx

__all__ = [
    "Ack",
    "Answer",
    "Board",
    "CloseReport",
    "Directory",
    "Histogram",
    "Hooks",
    "Keeper",
    "KeeperStatus",
    "LeftBehind",
    "Letter",
    "Op",
    "Pending",
    "Receipt",
    "Rejected",
    "RescueReport",
    "Returned",
    "ScannedRecord",
    "Season",
    "ServerInfo",
    "Session",
    "Standing",
    "Table",
    "Tx",
    "Undecided",
    "UnownedRecords",
    "Whereabouts",
    "announce_address",
    "answer",
    "heal",
    "restore_rescued",
]
