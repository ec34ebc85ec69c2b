"""The first stop signal asks, another one ends the process."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from realmkeep.realm.server.stop_signals import STOP_SIGNALS, TOGETHER_S, StopSignals
from realmkeep.testing.clock import FakeClock


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts back what was there."""
    before = {name: signal.getsignal(getattr(signal, name)) for name in STOP_SIGNALS}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("name", STOP_SIGNALS)
async def test_a_signal_asks_one_beside_it_is_the_same_and_a_later_one_ends_it_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    signals = StopSignals(clock)
    signals.listen()
    asked = asyncio.create_task(signals.asked())
    signal.raise_signal(getattr(signal, name))
    await clock.advance(TOGETHER_S / 2)
    signal.raise_signal(getattr(signal, name))
    await clock.settle()
    assert (exits, asked.done()) == ([], False)
    await clock.advance(TOGETHER_S)
    assert asked.done()
    signal.raise_signal(getattr(signal, name))
    assert exits == [130]
