"""The game that the simulation plays: records whose every change can be told afterwards."""

from realmkeep.errors import Return
from realmkeep.keeping import Hooks, Keeper, Letter, Returned
from realmkeep.records import CHECKPOINT, IMMEDIATE, Part, Record, drops_to, durable, ephemeral

START_GOLD = 100


class Sword(Part):
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
    """A shared record: everybody's gold."""

    gold: int = durable(default=0, ge=0, tier=IMMEDIATE)
    applied: list[str] = durable(default_factory=list, tier=IMMEDIATE)


class Coins(Letter, kind="sim-coins"):
    """Gold on its way; what is not wanted goes back, however often it is opened."""

    letter: int
    gold: int
    wanted: bool = True


class Bankrupt(Exception):
    """The game's own rule refuses: nothing must have happened."""


def trade(giver: Hero, taker: Hero, *, amount: int, ops: tuple[int, int], fail: bool) -> dict[str, int]:
    """Gold and, if there is one, a sword go from one to the other."""
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
    """Gold goes into the chest."""
    hero.gold -= amount
    chest.gold += amount
    hero.applied.append(op)
    chest.applied.append(f"{who}/{op}")
    return {"gold": hero.gold}


def mail(
    keeper: Keeper, hero: Hero, *, to: int, amount: int, op: int, letter: int, wanted: bool = True
) -> dict[str, int]:
    """Gold goes into a letter."""
    hero.gold -= amount
    hero.applied.append(op)
    keeper.tx.deliver(Hero, to, Coins(letter=letter, gold=amount, wanted=wanted))
    return {"gold": hero.gold}


def open_letter(hero: Hero, coins: Coins) -> None:
    """Gold comes out of a letter, or goes back to its sender in it."""
    hero.letters.append(coins.letter)
    hero.gold += coins.gold
    if not coins.wanted:
        raise Return("not wanted")


def take_back(hero: Hero, returned: Returned) -> None:
    """Gold comes out of a letter that came back."""
    coins = returned.open(Coins)
    hero.letters.append(-coins.letter)
    hero.gold += coins.gold


def opens_letters() -> Hooks:
    """What the game does with letters."""
    hooks = Hooks()
    hooks.on_letter(Hero, Coins)(open_letter)
    hooks.on_letter(Hero, Returned)(take_back)
    return hooks
