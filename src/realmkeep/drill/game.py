"""The game of the drill and of the simulation: its records show every change that was ever made to them."""

from realmkeep.errors import Return
from realmkeep.keeping import Hooks, Keeper, Letter, Returned
from realmkeep.records import CHECKPOINT, IMMEDIATE, Part, Record, drops_to, durable, ephemeral

START_GOLD = 100


class Sword(Part):
    """An item that exists once."""

    serial: int


class Hero(Record, kind="sim-hero", version=1):
    """Gold and swords are conserved; `applied` and `letters` (those that came back negative) say what happened, once each."""

    gold: int = durable(default=START_GOLD, ge=0, tier=IMMEDIATE)
    swords: list[Sword] = durable(default_factory=list, tier=IMMEDIATE)
    applied: list[int] = durable(default_factory=list, tier=IMMEDIATE)
    letters: list[int] = durable(default_factory=list, tier=IMMEDIATE)
    xp: int = durable(default=0, ge=0)
    hp: int = durable(default=10, ge=0, immediate_when=drops_to(0))
    deaths: int = durable(default=0)
    x: float = durable(default=0.0, tier=CHECKPOINT)
    target: int | None = ephemeral(default=None)


class Chest(Record, kind="sim-chest", version=1):
    """A record that all heroes share."""

    gold: int = durable(default=0, ge=0, tier=IMMEDIATE)
    applied: list[str] = durable(default_factory=list, tier=IMMEDIATE)


class Coins(Letter, kind="sim-coins"):
    """Gold on its way; an unwanted letter goes back to its sender."""

    letter: int
    gold: int
    wanted: bool = True


class Bankrupt(Exception):
    """The game's own rule refuses a trade: nothing must have happened."""


def trade(giver: Hero, taker: Hero, *, amount: int, ops: tuple[int, int], fail: bool) -> dict[str, int]:
    """Move gold and, if the giver has one, a sword.

    Raises:
        Bankrupt: `fail` is set.
    """
    giver.gold -= amount
    if fail:
        raise Bankrupt
    taker.gold += amount
    if giver.swords:
        taker.swords.append(giver.swords.pop())
    giver.applied.append(ops[0])
    taker.applied.append(ops[1])
    return {"gold": giver.gold}


def deposit(hero: Hero, chest: Chest, *, amount: int, op: int, who: int) -> dict[str, int]:
    """Move gold into the chest."""
    hero.gold -= amount
    chest.gold += amount
    hero.applied.append(op)
    chest.applied.append(f"{who}/{op}")
    return {"gold": hero.gold}


def mail(
    keeper: Keeper, hero: Hero, *, to: int, amount: int, op: int, letter: int, wanted: bool = True
) -> dict[str, int]:
    """Move gold into a letter."""
    hero.gold -= amount
    hero.applied.append(op)
    keeper.tx.deliver(Hero, to, Coins(letter=letter, gold=amount, wanted=wanted))
    return {"gold": hero.gold}


def open_letter(hero: Hero, coins: Coins) -> None:
    """Move gold out of a letter, or send it back.

    Raises:
        Return: The letter is not wanted.
    """
    hero.letters.append(coins.letter)
    hero.gold += coins.gold
    if not coins.wanted:
        raise Return("not wanted")


def take_back(hero: Hero, returned: Returned) -> None:
    """Move gold out of a letter that came back."""
    coins = returned.open(Coins)
    hero.letters.append(-coins.letter)
    hero.gold += coins.gold


def opens_letters() -> Hooks:
    """Return the hooks that open letters."""
    hooks = Hooks()
    hooks.on_letter(Hero, Coins)(open_letter)
    hooks.on_letter(Hero, Returned)(take_back)
    return hooks
