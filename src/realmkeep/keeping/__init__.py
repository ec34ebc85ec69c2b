"""When it is kept: sessions, tiers, write-behind, ownership. The only place where records and storage meet."""

from realmkeep.keeping.answers import Ack, Answer, Pending, Refused, Undecided, answer
from realmkeep.keeping.closing import CloseReport
from realmkeep.keeping.commit import Tx
from realmkeep.keeping.counters import Counters
from realmkeep.keeping.hooks import Hooks
from realmkeep.keeping.keeper import Keeper
from realmkeep.keeping.letter_types import Letter, Returned
from realmkeep.keeping.ops import Op, Receipt
from realmkeep.keeping.rescue import LeftBehind, RescueReport, restore_rescued
from realmkeep.keeping.scan import Scanned
from realmkeep.keeping.session import Session
from realmkeep.keeping.table import Table

__all__ = [
    "Ack",
    "Answer",
    "CloseReport",
    "Counters",
    "Hooks",
    "Keeper",
    "LeftBehind",
    "Letter",
    "Op",
    "Pending",
    "Receipt",
    "Refused",
    "RescueReport",
    "Returned",
    "Scanned",
    "Session",
    "Table",
    "Tx",
    "Undecided",
    "answer",
    "restore_rescued",
]
