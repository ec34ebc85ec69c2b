"""The crash drill for a game's own records: the driver that a studio writes, and a call for its tests.

A driver has five functions over live records, and no network. For a game whose player has gold and experience:

    class Driver:
        players = Player

        def create(self, number: int) -> Player:
            return Player(name=f"bot {number}", gold=100)

        def trade(self, giver: Player, taker: Player, amount: int) -> None:
            if giver.gold < amount:
                raise GameRefused
            giver.gold -= amount
            taker.gold += amount

        def earn(self, player: Player, amount: int) -> None:
            player.xp += amount

        def progress(self, player: Player) -> int:
            return player.xp

        def worth(self, player: Player) -> dict[str, int]:
            return {"gold": player.gold}

    DRIVER = Driver()

`realmkeep drill --game mygame.drill:DRIVER` then breaks servers and stores under players that trade and earn, and proves for
these very records: an acknowledged trade is stored, on both sides or on none, once; the worth of all players together stays
as `create` made it; and of `progress` no crash takes more than the interval allows.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from realmkeep.records import Record

DRILL_S_MAX: Final = 600.0


class GameRefused(Exception):
    """A driver's `trade` refuses: the trade must not have happened."""


class GameDriver(Protocol):
    """A studio's game, as a drill plays it. Its functions are plain ones, and the same in every process."""

    @property
    def players(self) -> type[Any]:
        """The record class of a player."""
        ...

    def create(self, number: int) -> Record:
        """Return the record of a new player, the same for a number each time."""
        ...

    def trade(self, giver: Any, taker: Any, amount: int) -> None:
        """Move something of worth from one to the other, as the function of a commit.

        Raises:
            GameRefused: It cannot be moved; nothing must have changed. A broken bound of a field refuses as well.
        """
        ...

    def earn(self, player: Any, amount: int) -> None:
        """Raise `progress` by `amount`, in fields of tier 2."""
        ...

    def progress(self, player: Any) -> int:
        """Return the number that `earn` raises, and nothing else changes."""
        ...

    def worth(self, player: Any) -> Mapping[str, int]:
        """Return the amount of each thing that trades move and no trade makes or destroys."""
        ...


def prove_game(
    game: str,
    directory: Path,
    *,
    store: str = "embedded",
    faults: Sequence[str] = ("server-kill", "servers-kill", "store-kill"),
    rounds: int = 0,
    seed: int = 1,
) -> str:
    """Run `realmkeep drill` on a game in a process of its own; return its verdict in words. Blocks, for seconds a fault.

    Args:
        game: `module:attribute` of the driver, importable from `directory`.
        directory: The working directory of the drill.
        store: As `--store`.
        faults: Names of faults and controls; none for all.
        rounds: The number of faults; 0 for each once.
        seed: Decides order, victims and players.

    Raises:
        AssertionError: A promise was broken, or a control was not caught; the message has the verdict and the line that plays
            the drill again.
        subprocess.TimeoutExpired: It takes longer than ten minutes.
    """
    command = [sys.executable, "-m", "realmkeep.cli", "drill", "--game", game, "--store", store, "--seed", str(seed)]
    command += ["--faults", ",".join(faults) or "all", *(["--rounds", str(rounds)] if rounds else [])]
    ended = subprocess.run(  # noqa: S603 - our own program
        command, cwd=directory, capture_output=True, text=True, check=False, timeout=DRILL_S_MAX
    )
    if ended.returncode:
        raise AssertionError(f"the drill ended with {ended.returncode}:\n{ended.stderr}{ended.stdout}")
    return ended.stdout
