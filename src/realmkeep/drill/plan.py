"""The plan of a drill: which faults, in which order, mixed or alone; a seed decides."""

from __future__ import annotations

import random
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from realmkeep.config import mask_url
from realmkeep.drill.faults import possible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realmkeep.drill.stores.store import Trait

MIXED: Final = 0.3  # of the rounds after the first of each fault


@dataclass(frozen=True)
class DrillPlan:
    """The plan.

    Attributes:
        store: `embedded`, `sqlite`, `redis-always`, `redis-everysec`, `redis-cluster`, `redis-sentinel`, `postgresql`, or a URL.
        faults: Names of faults and controls; empty for all.
        rounds: The number of faults; 0 for each once.
        seed: Decides order, mixture, victims and players.
        bots: The number of players.
        servers: The number of servers; 0 for two where the store can be shared, else one.
        game: `module:attribute` of a studio's game; empty for the drill's own.
        archive: A PostgreSQL follows the store as its cold tier.
    """

    store: str
    faults: tuple[str, ...] = ()
    rounds: int = 0
    seed: int = 1
    bots: int = 6
    servers: int = 0
    game: str = ""
    archive: bool = False

    @property
    def replay(self) -> str:
        """The line that plays this drill again: the same decisions, on processes that are never quite the same.

        The password of a URL is masked.
        """
        words = [
            "realmkeep",
            "drill",
            "--store",
            mask_url(self.store),
            "--seed",
            str(self.seed),
            "--bots",
            str(self.bots),
        ]
        words += ["--rounds", str(self.rounds)] if self.rounds else []
        words += ["--servers", str(self.servers)] if self.servers else []
        words += ["--faults", ",".join(self.faults)] if self.faults else []
        words += ["--game", self.game] if self.game else []
        words += ["--archive"] if self.archive else []
        return shlex.join(words)


def rounds_of(plan: DrillPlan, traits: frozenset[Trait]) -> Iterator[tuple[str, ...]]:
    """Yield the names of the faults of each round: one, or a lasting one and another that happens meanwhile.

    Args:
        plan: The plan.
        traits: Of the realm.
    """
    can = possible(traits)
    names = [name for name in can if not plan.faults or name in plan.faults]
    whims = random.Random(f"{plan.seed}/rounds")  # noqa: S311 - whims
    first = whims.sample(names, len(names))
    for number in range((plan.rounds or len(first)) if first else 0):
        name = first[number] if number < len(first) else whims.choice(names)
        others = [each for each in names if can[each].harm is not can[name].harm and can[each].sudden]
        if number >= len(first) and can[name].lasting and others and whims.random() < MIXED:
            yield name, whims.choice(others)
        else:
            yield (name,)
