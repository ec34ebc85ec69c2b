"""The records that the tests of keeping play with."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from realmkeep.keeping import CloseReport, Hooks, Keeper, Session
from realmkeep.keeping.lifecycle.engine import Engine
from realmkeep.records import CHECKPOINT, IMMEDIATE, Part, Record, drops_to, durable, ephemeral, rises
from realmkeep.testing.lab import Lab


class Item(Part):
    item: str
    count: int = 1


class Player(Record, kind="rover", version=1):
    name: str = durable(default="")
    gold: int = durable(default=0, ge=0, tier=IMMEDIATE)
    bank: list[Item] = durable(default_factory=list[Item], tier=IMMEDIATE)
    inventory: list[Item] = durable(default_factory=list[Item])
    hp: int = durable(default=100, ge=0, immediate_when=drops_to(0))
    level: int = durable(default=1, immediate_when=rises)
    xp: int = durable(default=0)
    diary: str = durable(default="")
    x: float = durable(default=0.0, tier=CHECKPOINT)
    target: int | None = ephemeral(default=None)


class Guild(Record, kind="guild", version=1):
    gold: int = durable(default=0, ge=0, tier=IMMEDIATE)
    motto: str = durable(default="")


class NotEnough(Exception):
    """The game's own rule says no."""


def pay(payer: Player, payee: Player, amount: int = 10) -> int:
    """Gold from one to the other; returns what the payer has left."""
    if payer.gold < amount:
        raise NotEnough
    payer.gold -= amount
    payee.gold += amount
    return payer.gold


def deposit(member: Player, guild: Guild) -> int:
    """One gold into the guild's bank."""
    member.gold -= 1
    guild.gold += 1
    return guild.gold


def earn(player: Player) -> int:
    """Ten gold, from nowhere."""
    player.gold += 10
    return player.gold


def swap_names(a: Player, b: Player) -> None:
    """Both change, in batched fields."""
    a.name, b.name = b.name, a.name


def inside(keeper: Keeper) -> Engine:
    """What no game needs to see."""
    return keeper._engine


def changes_nothing(*_: object) -> None:
    """A commit of whatever is batched."""


def hooks_of(keeper: Keeper) -> Hooks:
    """The keeper's own copy of its hooks: a test may still register there when it is open."""
    return inside(keeper).hooks


def opens_letters(hooks: Hooks) -> Hooks:
    """A letter to a player brings gold."""

    @hooks.on_letter(Player)
    def _(player: Player, letter: dict[str, int]) -> None:
        player.gold += letter["gold"]

    return hooks


async def enter(keeper: Keeper, number: int = 1, *, gold: int = 100) -> Session[Player]:
    """A player logs in, with this gold if it is new."""
    return await keeper.login(Player, number, create=lambda: Player(name=f"rover-{number}", gold=gold))


async def make(keeper: Keeper, *numbers: int, gold: int = 100) -> None:
    """There are these players, and nobody has them live."""
    engine = inside(keeper)
    for number in numbers:
        key = f"rover:{number}"
        blob = engine.encoder.encode_record(Player(name=f"rover-{number}", gold=gold), key)
        await engine.storage.save(key, blob)


async def enter_and_read(keeper: Keeper, number: int = 1) -> Session[Player]:
    """A player logs in, and everything in the inbox is applied."""
    session = await enter(keeper, number)
    await session.open_letters()
    return session


def kept(lab: Lab, number: int = 1) -> Player:
    """What the store holds of a player."""
    stored = lab.stored(Player, number)
    assert stored is not None
    return stored


async def at_some_turn(holds: Callable[[], bool]) -> bool:
    """Whether something holds after any of the next 300 turns of the event loop; no time passes meanwhile."""
    held = False
    for _ in range(300):
        await asyncio.sleep(0)
        held |= holds()
    return held


def revision(lab: Lab, number: int = 1) -> int:
    """The revision that the store holds of a player."""
    return int(lab.store.value(f"rover:{number}:updated") or b"0")


async def patiently(lab: Lab, closing: Coroutine[Any, Any, CloseReport]) -> CloseReport:
    """The rescue file is written on a thread, which the fake clock does not wait for."""
    task = asyncio.ensure_future(closing)
    for _ in range(60):
        if task.done():
            break
        await lab.advance(1)
    return await task
