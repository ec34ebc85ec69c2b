"""A short drill of every backend and fsync mode: whatever is killed, and whatever the disk does, nothing is lost or doubled.

`python tests/faults/drill.py` is the long one, with figures; `test_durable_reads.py` has the control of what is on the disk.
"""

from pathlib import Path

import pytest

from faults.drill import MODES, drill
from suite.engines import is_there

FAULTS = 3  # the store dies while it syncs, fsyncs fail, every server dies


@pytest.mark.backend("embedded", "valkey", "sqlite")
@pytest.mark.limit(300)
@pytest.mark.parametrize("mode", MODES)
async def test_nothing_that_was_acknowledged_is_lost_or_doubled(tmp_path: Path, mode: str) -> None:
    figures = await drill(mode, tmp_path, seed=1, rounds=FAULTS)
    assert figures.lost == []
    assert figures.doubled == []
    assert figures.acknowledged > 0
    if is_there("gcc") and mode in {"embedded", "redis-always"}:
        assert figures.not_on_disk == 0


@pytest.mark.backend("valkey")
@pytest.mark.limit(300)
async def test_control_a_server_that_remembers_no_operation_is_caught(tmp_path: Path) -> None:
    figures = await drill("redis-always", tmp_path, seed=1, rounds=0, mutant="op ring")
    assert any("applied twice" in each for each in figures.doubled)
