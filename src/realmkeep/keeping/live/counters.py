"""The counters of a keeper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from realmkeep.errors import QueueFull, RealmkeepError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Counters:
    """Numbers of events since the keeper opened.

    Attributes:
        sessions: Sessions that began.
        commits: Commits that ran.
        commits_durable: Commits that became durable, and those that open letters.
        refused_by_game: Commits whose function raised an error of the game; nothing happened.
        refused_by_rule: Commits that a rule of keeping refused: an invalid record, a session that cannot be used.
        refused_by_store: Commits that the store refused after they had run, or did not keep up with.
        commits_unknown: Commits whose fate is unknown, because ownership was lost before the store answered.
        rate_limited: Commits of players that start too many.
        flushes: Batched writes that became durable.
        releases: Final snapshots that became durable.
        flushes_refused: Batched writes that did not happen.
        flushes_unknown: Batched writes whose fate is unknown.
        releases_refused: Final snapshots that did not happen.
        releases_unknown: Final snapshots whose fate is unknown.
        repeats: Commits answered from the op ring.
        escalations: Writes made at once because of a trigger.
        forgotten_marks: Changes that only the sweep found.
        tier_violations: IMMEDIATE fields changed outside a commit.
        changes_after_end: Changes of records after their session was over.
        frozen: Times a record could not be saved as it was.
        lost: Sessions that lost their record to another server.
        long_results: Results of commits of more than half the recordable size; the log names the functions.
        hook_failures: Hooks that raised.
        letters_sent: Letters of durable commits.
        letters_opened: Letters that were applied, durably.
        letters_kept_aside: Letters that could not be applied.
        letters_returned: Letters that went back to their senders.
        healed_records: How often a record was written again that the store had lost.
        unbalanced_commits: Commits that made or destroyed something without a declaration.
        doubled_serials: Items that commits and logins found to exist twice.
        journal_missed: Entries of the journal that are missing, because too much waited for its archive.
        torn_records: Records that could not be written again after a loss, because other servers had claimed them by then.
    """

    sessions: int = 0
    commits: int = 0
    commits_durable: int = 0
    refused_by_game: int = 0
    refused_by_rule: int = 0
    refused_by_store: int = 0
    commits_unknown: int = 0
    rate_limited: int = 0
    flushes: int = 0
    releases: int = 0
    flushes_refused: int = 0
    flushes_unknown: int = 0
    releases_refused: int = 0
    releases_unknown: int = 0
    repeats: int = 0
    escalations: int = 0
    forgotten_marks: int = 0
    tier_violations: int = 0
    changes_after_end: int = 0
    frozen: int = 0
    lost: int = 0
    long_results: int = 0
    hook_failures: int = 0
    letters_sent: int = 0
    letters_opened: int = 0
    letters_kept_aside: int = 0
    letters_returned: int = 0
    healed_records: int = 0
    torn_records: int = 0
    journal_missed: int = 0
    unbalanced_commits: int = 0
    doubled_serials: int = 0

    def note_failed_write(self, *, commit: bool, release: bool, unknown: bool) -> None:
        """Count a write that did not happen, or whose fate is unknown."""
        if commit:
            name = "commits_unknown" if unknown else "refused_by_store"
        else:
            name = ("releases_" if release else "flushes_") + ("unknown" if unknown else "refused")
        setattr(self, name, getattr(self, name) + 1)

    def note_refusal(self, error: Exception) -> None:
        """Count a commit that did not run to its end, by the side that refused it."""
        if isinstance(error, QueueFull):
            self.refused_by_store += 1
        elif isinstance(error, RealmkeepError):
            self.refused_by_rule += 1
        else:
            self.refused_by_game += 1


@dataclass(kw_only=True)
class KeeperStatus(Counters):
    """The counters of a keeper and its present figures; a copy, which does not change.

    Attributes:
        incarnation: Tells this run of the server from the ones before it.
        degraded: Each reason why a guarantee does not hold now, by its code (`REASONS`), with the sentence for people.
        sessions_by_state: Live sessions by kind and state.
        dirty_by_kind: `dirty_records` by kind.
        live_sessions: Sessions that are live now.
        dirty_records: Live records with a change that is not durable yet.
        oldest_dirty_s: The age in seconds of the change that is nearest to its deadline, or furthest beyond it. A change of
            checkpoint fields alone counts from a flush interval before its deadline, so that `keeper.flush_interval_s` is
            the limit for all changes.
        frozen_records: Live records that cannot be saved as they are.
        queue_depth: Writes that are not known to be durable yet.
        lease_left_s: Seconds until other servers may take over, unless the lease is renewed; 0 if they may now.
        recoveries: How often writes had to be sent again or were refused.
    """

    incarnation: str
    degraded: tuple[tuple[str, str], ...]
    sessions_by_state: Mapping[tuple[str, str], int]
    dirty_by_kind: Mapping[str, int]
    live_sessions: int
    dirty_records: int
    oldest_dirty_s: float
    frozen_records: int
    queue_depth: int
    lease_left_s: float
    recoveries: int
