"""The life of a session: every move that may happen is in the table, and every other one is refused."""

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.keeping.live.session_states import (
    LIFECYCLE,
    OVER,
    WRITABLE,
    SessionEvent,
    SessionState,
    next_state,
)

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"
ALLOWED = {
    SessionState.CONNECTED: {
        "disconnected": "grace",
        "release queued": "leaving",
        "taken": "lost",
        "abandoned": "ended",
    },
    SessionState.GRACE: {"resumed": "connected", "release queued": "leaving", "taken": "lost", "abandoned": "ended"},
    SessionState.LEAVING: {
        "release queued": "leaving",
        "release failed": "grace",
        "released": "ended",
        "taken": "lost",
        "abandoned": "ended",
    },
    SessionState.ENDED: {},
    SessionState.LOST: {"released": "lost"},
}


@pytest.mark.parametrize(("state", "event"), [*product(SessionState, SessionEvent)])
def test_each_event_in_each_state_moves_on_or_is_refused(state: SessionState, event: SessionEvent) -> None:
    if (to := ALLOWED[state].get(event.value)) is not None:
        assert next_state(state, event) is SessionState(to)
    else:
        with pytest.raises(AssertionError, match=f"a session that is {state.value} cannot be {event.value}"):
            next_state(state, event)


def test_a_session_is_writable_leaving_or_over() -> None:
    assert {*WRITABLE, SessionState.LEAVING, *OVER} == set(SessionState)
    assert set(WRITABLE).isdisjoint(OVER)


@given(st.lists(st.sampled_from(SessionEvent), max_size=40))
def test_a_session_that_is_over_stays_over_and_every_other_one_can_still_be_released(
    events: list[SessionEvent],
) -> None:
    state, over = SessionState.CONNECTED, False
    for event in events:
        if (state, event) in LIFECYCLE:
            before, state = state, next_state(state, event)
            assert not over or state is before
            over = state in OVER
    if not over:
        assert next_state(next_state(state, SessionEvent.RELEASE_QUEUED), SessionEvent.RELEASED) is SessionState.ENDED


def test_the_diagram_shows_the_table() -> None:
    page = ARCHITECTURE.read_text(encoding="utf-8")
    drawn = re.findall(r"^ +(CONNECTED|GRACE|LEAVING|ENDED|LOST) --> (\w+): (.+)$", page, re.MULTILINE)
    assert sorted(drawn) == sorted((at.name, to.name, event.value) for (at, event), to in LIFECYCLE.items())
