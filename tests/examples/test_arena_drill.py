"""A studio's own records in the crash drill: the arena's keep their promise, and a game that makes gold is caught."""

from pathlib import Path

import pytest

from realmkeep.testing.drill import prove_game

ROOT = Path(__file__).parents[2]
CHEAT = """
from examples.arena_drill import ArenaDriver


class Cheat(ArenaDriver):
    def trade(self, giver, taker, amount):
        super().trade(giver, taker, amount)
        taker.gold += 1


DRIVER = Cheat()
"""


@pytest.fixture(autouse=True)
def examples_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.backend("embedded")
def test_the_records_of_the_arena_survive_what_kills_servers_and_stores(tmp_path: Path) -> None:
    faults = ["server-kill", "store-kill", "control-no-op-ring", "control-older-files"]
    said = prove_game("examples.arena_drill:DRIVER", tmp_path, faults=faults)
    assert "kept: nothing acknowledged was lost" in said


@pytest.mark.backend("sqlite")
def test_control_a_game_whose_trades_make_gold_is_caught(tmp_path: Path) -> None:
    (tmp_path / "cheat.py").write_text(CHEAT, encoding="utf-8")
    with pytest.raises(AssertionError, match="all players together have more or less") as caught:
        prove_game("cheat:DRIVER", tmp_path, store="sqlite", faults=["server-kill"])
    assert "replay: realmkeep drill --store sqlite --seed 1" in str(caught.value)
    assert (tmp_path / "realmkeep-drill-1.jsonl").exists()


def test_a_game_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="No module named"):
        prove_game("no_such_game:DRIVER", tmp_path)
    with pytest.raises(AssertionError, match="it lacks players, create"):
        prove_game("examples.arena:Arena", tmp_path)
