"""The one decision on a write: whether the store kept it, and which server owns the record now.

A record's revision names the last write that landed, because every write guards on the revision before it. Its owner key
names the last claim, because a claim takes a token above the revision and above the token that it finds. So two keys decide.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from realmkeep.keeping.ownership.revisions import token_of


class Wrote(NamedTuple):
    """A write of one record, or its last acknowledged one.

    Attributes:
        claim: The owner key under which the session made it.
        leaves: The revision that it leaves.
        ends: The revision with which the session released this claim; None if it did not.
    """

    claim: bytes
    leaves: int
    ends: int | None = None


class Verdict(Enum):
    """The fate of a write, as owner and revision in the store tell it."""

    KEPT = "kept"
    """The store has it, or a later write of the same claim, which was built on it."""
    MISSING = "missing"
    """The store lacks it, and the record still belongs to its claim."""
    CLAIM_LOST = "claim lost"
    """The store lacks it and even its claim, and no server has claimed the record since."""
    TAKEN = "taken"
    """Another claim followed: its server decides about the record."""
    FOREIGN = "foreign"
    """The value in the store was not written by Realmkeep."""

    @property
    def is_behind(self) -> bool:
        """The store lacks the write, and its server may write it again."""
        return self in {Verdict.MISSING, Verdict.CLAIM_LOST}

    @property
    def is_gone(self) -> bool:
        """The record belongs to another server or another program: the server of the write must not write it."""
        return self in {Verdict.TAKEN, Verdict.FOREIGN}


def verdict(owner: bytes | None, revision: int | None, write: Wrote) -> Verdict:
    """Decide a write from the two keys that the store holds of its record.

    An equal revision under another owner proves nothing: the clock of that server may have given the same number.

    Args:
        owner: The owner key; None if there is none.
        revision: The revision; 0 if there is none, None if the value is no revision.
        write: The write.
    """
    token = token_of(write.claim)
    # Each value of Realmkeep is a revision, or an owner with a token: another program wrote this one.
    if revision is None or (owner is not None and not token_of(owner)):
        return Verdict.FOREIGN
    # The claim is still ours, so the revision is that of our own last write.
    if owner == write.claim:
        return Verdict.KEPT if revision >= write.leaves else Verdict.MISSING
    # Our release landed, and no write has followed: it was the last of our writes, so all of them landed.
    if owner is None and revision == write.ends:
        return Verdict.KEPT
    # A later claim leaves a token above ours, and its release no revision below that token. A claim takes a token above the
    # revision that it finds. So a revision equal to our token is not from before us: our own release may have left it.
    is_before_us = revision < token and (owner is None or token_of(owner) < token)
    return Verdict.CLAIM_LOST if is_before_us else Verdict.TAKEN
