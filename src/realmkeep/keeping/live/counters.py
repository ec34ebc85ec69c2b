"""The counters of a keeper."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counters:
    """Numbers of events since the keeper opened.

    Attributes:
        sessions: Sessions that began.
        commits: Commits that ran.
        repeats: Commits answered from the op ring.
        escalations: Writes made at once because of a trigger.
        forgotten_marks: Changes that only the sweep found.
        tier_violations: IMMEDIATE fields changed outside a commit.
        changes_after_end: Changes of records after their session was over.
        frozen: Times a record could not be saved as it was.
        lost: Sessions that lost their record to another server.
        long_results: Results of commits of more than half the recordable size; the log names the functions.
        hook_failures: Hooks that raised.
        letters_kept_aside: Letters that could not be applied.
        letters_returned: Letters that went back to their senders.
        healed_records: How often a record was written again that the store had lost.
        torn_records: Records that could not be written again after a loss, because other servers had claimed them by then.
    """

    sessions: int = 0
    commits: int = 0
    repeats: int = 0
    escalations: int = 0
    forgotten_marks: int = 0
    tier_violations: int = 0
    changes_after_end: int = 0
    frozen: int = 0
    lost: int = 0
    long_results: int = 0
    hook_failures: int = 0
    letters_kept_aside: int = 0
    letters_returned: int = 0
    healed_records: int = 0
    torn_records: int = 0


@dataclass(kw_only=True)
class KeeperStatus(Counters):
    """The counters of a keeper and its present figures; a copy, which does not change.

    Attributes:
        incarnation: Tells this run of the server from the ones before it.
        live_sessions: Sessions that are live now.
        queue_depth: Writes that are not known to be durable yet.
        recoveries: How often writes had to be sent again or were refused.
    """

    incarnation: str
    live_sessions: int
    queue_depth: int
    recoveries: int
