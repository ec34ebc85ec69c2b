"""What a keeper counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counters:
    """What happened since the keeper opened.

    Attributes:
        sessions: Sessions that began.
        commits: Commits that ran.
        repeats: Commits answered from the op ring.
        escalations: Writes made at once because of a trigger.
        forgotten_marks: Changes that only the sweep found.
        tier_violations: IMMEDIATE fields changed outside a commit.
        changes_after_end: Changes of records whose session was over.
        frozen: Times a record could not be saved as it was.
        lost: Sessions whose record another server took.
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
