"""The game that a drill plays: its clients, its keys, and its checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from realmkeep.drill.bots.client import Client, HeroClient
from realmkeep.drill.checks.contents import keys_of
from realmkeep.drill.checks.kept import forgive, hero_keys, violations
from realmkeep.drill.checks.studio import StudioCheck
from realmkeep.drill.studio import kind_of, load_driver

if TYPE_CHECKING:
    from realmkeep.drill.bots.told import Told
    from realmkeep.drill.checks.contents import Keys, Snapshot


class Check(Protocol):
    """Returns the violations of a store against the answers of the servers."""

    def __call__(self, told: Told, contents: Snapshot, *, settled: bool = False) -> list[str]:
        """Return the violations."""
        ...


class Forgive(Protocol):
    """Takes back lost promises; returns the age of the oldest."""

    def __call__(self, told: Told, contents: Snapshot, *, loss_s: float) -> float:
        """Return the age in seconds."""
        ...


@dataclass(frozen=True)
class PlayedGame:
    """A game.

    Attributes:
        spec: `module:attribute` of a studio's game; empty for the drill's own.
        keys: All its keys.
        owners: The keys of its players' owners.
        client: The class of its clients.
        check: Its checks.
        forgive: Takes back the promises that a store which syncs late has lost with the power.
    """

    spec: str
    keys: Keys
    owners: tuple[str, ...]
    client: type[Client]
    check: Check
    forgive: Forgive


def studio_game(spec: str, bots: int) -> PlayedGame:
    """Return a studio's game.

    Raises:
        ConfigError: `spec` names no driver.
    """
    driver = load_driver(spec)
    kind, check = kind_of(driver), StudioCheck(driver, bots)
    owners = tuple(f"{kind}:{number}:owner" for number in range(bots))
    return PlayedGame(spec, keys_of(kind, bots), owners, Client, check.violations, check.forgive)


def own_game(bots: int) -> PlayedGame:
    """Return the drill's own game."""
    owners = tuple(f"sim-hero:{number}:owner" for number in range(bots))
    return PlayedGame("", hero_keys(bots), owners, HeroClient, violations, forgive)
