"""The life of a session as one table: from its claim to the release of its record, or to the loss of it."""

from __future__ import annotations

from enum import Enum
from typing import Final


class SessionState(Enum):
    """The state of a session."""

    CONNECTED = "connected"
    """The player is here."""
    GRACE = "grace"
    """The player is gone; the record stays live until the grace runs out."""
    LEAVING = "leaving"
    """The final snapshot is on its way to the store."""
    ENDED = "ended"
    """The record is released, after a logout, an eviction or a shutdown; or the keeper was abandoned."""
    LOST = "lost"
    """Another server owns the record."""


class SessionEvent(Enum):
    """An event that moves a session to another state."""

    DISCONNECTED = "disconnected"
    """The player's connection ended."""
    RESUMED = "resumed"
    """The player is back within the grace."""
    RELEASE_QUEUED = "release queued"
    """The final snapshot is encoded and queued; again, if a commit that the first one followed did not happen."""
    RELEASE_FAILED = "release failed"
    """The final snapshot did not happen, and the record cannot be saved as it is now."""
    RELEASED = "released"
    """The final snapshot is durable, and the record has no owner."""
    TAKEN = "taken"
    """Another server owns the record."""
    ABANDONED = "abandoned"
    """The keeper ended without saving it, as in a crash."""


_CONNECTED, _GRACE, _LEAVING = SessionState.CONNECTED, SessionState.GRACE, SessionState.LEAVING
_ENDED, _LOST = SessionState.ENDED, SessionState.LOST

LIFECYCLE: Final = {
    (_CONNECTED, SessionEvent.DISCONNECTED): _GRACE,
    (_CONNECTED, SessionEvent.RELEASE_QUEUED): _LEAVING,
    (_CONNECTED, SessionEvent.TAKEN): _LOST,
    (_CONNECTED, SessionEvent.ABANDONED): _ENDED,
    (_GRACE, SessionEvent.RESUMED): _CONNECTED,
    (_GRACE, SessionEvent.RELEASE_QUEUED): _LEAVING,
    (_GRACE, SessionEvent.TAKEN): _LOST,
    (_GRACE, SessionEvent.ABANDONED): _ENDED,
    (_LEAVING, SessionEvent.RELEASE_QUEUED): _LEAVING,
    (_LEAVING, SessionEvent.RELEASE_FAILED): _GRACE,
    (_LEAVING, SessionEvent.RELEASED): _ENDED,
    (_LEAVING, SessionEvent.TAKEN): _LOST,
    (_LEAVING, SessionEvent.ABANDONED): _ENDED,
    # The name of the server was taken while the release was in flight, and the store took the release all the same.
    (_LOST, SessionEvent.RELEASED): _LOST,
}
"""The next state for each state and event; no other pair may happen."""
OVER: Final = (_ENDED, _LOST)  # tuples, because a set would call the hash of an enumeration at every commit
WRITABLE: Final = (_CONNECTED, _GRACE)


def next_state(state: SessionState, event: SessionEvent) -> SessionState:
    """The state that follows.

    Raises:
        AssertionError: The event cannot happen in this state; that is a defect of Realmkeep.
    """
    following = LIFECYCLE.get((state, event))
    if following is None:
        raise AssertionError(f"a session that is {state.value} cannot be {event.value}")
    return following
