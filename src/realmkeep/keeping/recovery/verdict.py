"""One decision: did the store keep this write, and whose is the record now?

A record's revision names the last write that landed, because every write guards on the revision before it. Its owner key
names the last claim, because a claim takes a token above the revision and above the token that it finds. So two keys decide.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from realmkeep.keeping.ownership.revisions import token_of


class Wrote(NamedTuple):
    """A write of one record, or the last one that was acknowledged.

    Attributes:
        claim: The owner key under which it was made.
        leaves: The revision that it leaves.
        ends: The revision with which this claim was given up; None if it was not.
    """

    claim: bytes
    leaves: int
    ends: int | None = None


class Verdict(Enum):
    """The fate of a write, as the store tells it."""

    KEPT = "kept"
    """The store has it, or a later write of the same claim, which was built on it."""
    MISSING = "missing"
    """The store lacks it, and the record still belongs to its claim."""
    CLAIM_LOST = "claim lost"
    """The store lacks it and even its claim, and no server has claimed the record since."""
    TAKEN = "taken"
    """Another claim followed: its server decides about the record."""
    FOREIGN = "foreign"
    """No server of Realmkeep wrote the value that lies there."""

    @property
    def is_behind(self) -> bool:
        """The store lacks the write, and the server that made it may write it again."""
        return self in {Verdict.MISSING, Verdict.CLAIM_LOST}

    @property
    def is_gone(self) -> bool:
        """The record must not be written by the server that made the write."""
        return self in {Verdict.TAKEN, Verdict.FOREIGN}


def verdict(owner: bytes | None, revision: int | None, write: Wrote) -> Verdict:
    """Decide a write from the two keys that the store holds of its record.

    An equal revision under another owner proves nothing: the clock of that server may have given the same.

    Args:
        owner: The owner key; None if nobody owns the record.
        revision: The revision; 0 if there is none, None if the value is no revision.
        write: The write.
    """
    token = token_of(write.claim)
    if revision is None or (owner is not None and not token_of(owner)):
        return Verdict.FOREIGN
    if owner == write.claim:
        return Verdict.KEPT if revision >= write.leaves else Verdict.MISSING
    if owner is None and revision == write.ends:
        return Verdict.KEPT
    # Whoever claimed after us left a later token, and after its release a revision above it.
    is_before_us = revision <= token and (owner is None or token_of(owner) < token)
    return Verdict.CLAIM_LOST if is_before_us else Verdict.TAKEN
