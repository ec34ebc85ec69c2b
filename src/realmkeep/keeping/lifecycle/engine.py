"""The rooms of one keeper, wired: everything is made here, from the bottom upwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from realmkeep.background import Background
from realmkeep.keeping.boards.board import open_board
from realmkeep.keeping.boards.memory_boards import MemoryBoards
from realmkeep.keeping.letters.inboxes import InboxDrainer
from realmkeep.keeping.letters.notice_listener import POLL_S, NoticeListener
from realmkeep.keeping.lifecycle.aftermath import WriteAftermath
from realmkeep.keeping.lifecycle.leaving import SessionExit
from realmkeep.keeping.live.counters import Counters
from realmkeep.keeping.live.flush_schedule import FlushSchedule
from realmkeep.keeping.live.measures import Measures
from realmkeep.keeping.live.record_encoder import RecordEncoder
from realmkeep.keeping.live.record_keys import limits_of
from realmkeep.keeping.live.registry import SessionRegistry
from realmkeep.keeping.live.session import KeeperCalls
from realmkeep.keeping.ownership.claims import Claims
from realmkeep.keeping.ownership.id_counter import IdCounter
from realmkeep.keeping.ownership.lease import LeaseHolder
from realmkeep.keeping.ownership.loss_probe import LossProbe
from realmkeep.keeping.ownership.restart_barrier import RestartBarrier
from realmkeep.keeping.ownership.safe_point import SafePoint
from realmkeep.keeping.ownership.store_answers import StoreAnswers
from realmkeep.keeping.recovery.former_rescues import Former
from realmkeep.keeping.recovery.look_back import LookBack
from realmkeep.keeping.recovery.resolver import Resolver
from realmkeep.keeping.recovery.store_loss import StoreLoss
from realmkeep.keeping.writing.change_feed import ChangeFeed
from realmkeep.keeping.writing.commit import Commits
from realmkeep.keeping.writing.commit_results import ResultRecorder
from realmkeep.keeping.writing.economy import Economy
from realmkeep.keeping.writing.flusher import Flusher
from realmkeep.keeping.writing.journal import Journal
from realmkeep.keeping.writing.outage import OutageWatch
from realmkeep.keeping.writing.pending_watch import PendingWatch
from realmkeep.keeping.writing.staging import Stager
from realmkeep.keeping.writing.write_queue import WriteQueue
from realmkeep.storage.cold import ThawedStorage

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.config import JournalConfig, KeeperConfig, RecordsConfig
    from realmkeep.keeping.boards.board import Board, BoardSource
    from realmkeep.keeping.live.hooks import Hooks
    from realmkeep.records import Limits
    from realmkeep.storage import Storage
    from realmkeep.storage.cold import ColdStore


class Engine:
    """One keeper's rooms.

    Attributes:
        unrecovered: Records of a former run that cannot be used, each with the reason.
        former: The rescue files of former runs, as far as they are not settled.
        boards: Where boards come from; None until somebody asks.
        cold: The cold tier; None without one.
        reads: The store as tools read it: the bytes of a frozen record come from the cold tier.
        changes: The acknowledged changes for the cold tier; None without one.
    """

    boards: BoardSource | None = None

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        config: KeeperConfig,
        records: RecordsConfig,
        hooks: Hooks,
        journal: JournalConfig | None = None,
        cold: ColdStore | None = None,
    ) -> None:
        limits = limits_of(records)
        self.storage, self.clock, self.config, self.records, self.cold = storage, clock, config, records, cold
        self.reads: Storage = storage if cold is None else ThawedStorage(storage, cold)
        self.unrecovered: dict[str, str] = {}
        self.former = Former(Path(os.devnull))
        self.background = background = Background("the keeper", clock)
        # live
        self.counters = counters = Counters()
        self.measures = measures = Measures()
        self.hooks = hooks = hooks.taken(counters)
        self.schedule = schedule = FlushSchedule(clock, config)
        self.encoder = encoder = RecordEncoder(records.codec, limits)
        self.sessions = sessions = SessionRegistry(schedule, counters, hooks, strict=config.strict)
        self.journal = Journal(storage, clock, config.name, counters, journal)
        # ownership
        self.answers = answers = StoreAnswers(clock)
        self.barrier = barrier = RestartBarrier(storage, clock, config.name, ttl_s=config.lease_ttl_s)
        self.safe_point = safe_point = SafePoint(storage, barrier)
        self.loss_probe = loss_probe = LossProbe(clock, lambda: storage.capability.loss_window_s)
        self.ids = IdCounter(storage, barrier)
        self.lease = LeaseHolder(storage, clock, config, sessions, answers, loss_probe, barrier, self.ids)
        self.claims = self._claims(limits)
        # writing
        self.stager = stager = Stager(encoder, safe_point, self.lease.identity, self.journal)
        self.queue = queue = WriteQueue(storage, clock, loss_probe, background, measures, depth_max=config.queue_max)
        self.changes = None if cold is None else ChangeFeed(storage, clock, queue, loss_probe)
        self.pending_watch = PendingWatch(queue, clock, config.pending_after_s)
        self.outage = OutageWatch(clock, answers, queue, asked_every_s=POLL_S, patience_s=config.pending_after_s)
        results = ResultRecorder(counters, strict=config.strict)
        self.economy = Economy(sessions, counters, clock, strict=config.strict)
        books, letters_max = (self.journal, self.economy), config.inbox_letters_max
        self.commits = commits = Commits(
            queue, stager, encoder, clock, results, counters, *books, inbox_letters_max=letters_max
        )
        # letters
        self.inboxes = inboxes = InboxDrainer(
            storage, clock, background, sessions, barrier, safe_point, loss_probe, commits, hooks, counters
        )
        self.notices = NoticeListener(storage, clock, config.name, sessions, inboxes, answers)
        # recovery
        self.store_loss = store_loss = StoreLoss(
            storage, clock, stager, loss_probe, sessions, inboxes, counters, heal=config.heal
        )
        self.look_back = LookBack(clock, sessions, self.lease, loss_probe, store_loss, queue)
        # lifecycle
        commit_s = measures.commit_s
        aftermath = WriteAftermath(sessions, store_loss, inboxes, background, clock, counters, commit_s, self.changes)
        self.flusher = Flusher(sessions, schedule, queue, stager, clock, config, measures, aftermath.flushed)
        self.exit = SessionExit(sessions, background, queue, stager, aftermath, hooks, clock, grace_s=config.grace_s)
        # The calls upwards: of the queue, of the commits, of the notices, and of a session.
        queue.resolver = Resolver(storage, clock, sessions, store_loss, counters)
        commits.on_landed = aftermath.committed
        self.notices.on_wanted = self.exit.requested
        self.calls = self._calls_of_a_session()

    def _claims(self, limits: Limits) -> Claims:
        return Claims(
            self.storage,
            self.clock,
            self.lease,
            limits=limits,
            encoder=self.encoder,
            barrier=self.barrier,
            safe_point=self.safe_point,
            accept_unchecked=self.records.accept_unchecked,
            entry_of_new=self.journal.new_record,
            background=self.background,
            cold=self.cold,
        )

    def _calls_of_a_session(self) -> KeeperCalls:
        sessions, session_exit = self.sessions, self.exit
        return KeeperCalls(
            server=self.name,
            dirty=sessions.dirty,
            census=sessions.census,
            mark=self.schedule.mark,
            escalate=sessions.escalate,
            report_violation=sessions.report_violation,
            report_change_after_end=sessions.report_change_after_end,
            disconnect=session_exit.disconnect,
            resume=session_exit.resume,
            release=session_exit.release,
            settle=self.flusher.settled,
            open_letters=self.inboxes.open,
            recall=self.commits.recall,
        )

    def board(self, name: str, season: str) -> Board:
        """As `Keeper.board`."""
        if self.boards is None:
            self.boards = boards = MemoryBoards(self.sessions, self.clock)
            self.background.run_forever("boards", boards.keep_looking)
        return open_board(self.boards, name, season)

    @property
    def name(self) -> str:
        """The server's name."""
        return self.config.name

    def start(self) -> None:
        """Start every loop that runs for as long as the keeper is open."""
        loops = {
            "lease": self.lease.keep_renewing,
            "flusher": self.flusher.keep_flushing,
            "urgent writes": self.flusher.write_urgent,
            "notices": self.notices.listen,
            "patience": self.pending_watch.watch_queue,
            "outage": self.outage.watch,
            "look back": self.look_back.watch,
        }
        if self.journal.is_on:
            loops["journal"] = self.journal.keep_noting
        for name, loop in loops.items():
            self.background.run_forever(name, loop)
