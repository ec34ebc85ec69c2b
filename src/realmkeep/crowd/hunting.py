"""How bots fight: they go where the monsters are, pursue, strike, eat, loot, flee, and sometimes fall."""

import math
from typing import Final, NamedTuple

from realmkeep.crowd.bot import BRAVE, Bot
from realmkeep.crowd.ledger import entries
from realmkeep.crowd.walking import MARKET, at_market, go, go_near, look
from realmkeep.realm.wire.syntax import Message
from realmkeep.realm.world.content import distance

WEAK_HP: Final = 40
HUNT_S: Final = 10.0  # how long before one has had enough of it
BLOW_S: Final = 0.65  # just above what a blow takes to recover from
NEAR_TILES: Final = 3.0  # whoever is so near is struck first
BLOWS_MAX: Final = 40
RISE_S: Final = 30.0  # patience with one's own resurrection
COURAGE: Final = 2  # levels that the brave think they have
LOOTED_MAX: Final = 3
LOOT_TILES: Final = 8.0  # what fell further away is somebody else's
PROVISIONS: Final = 4
FOOD: Final = frozenset({"bread", "potion", "berry"})


class Ground(NamedTuple):
    """Where a kind of monster lives, and from which level on one dares."""

    kind: str
    x: float
    y: float
    tiles: float
    level: int


GROUNDS: Final = (
    Ground("rat", 48, 20, 5, 1),
    Ground("rat", 59, 9, 5, 1),
    Ground("rat", 59, 31, 5, 1),
    Ground("rat", 20, 48, 5, 1),
    Ground("wolf", 78, 20, 8, 2),
    Ground("wolf", 20, 66, 11, 2),
    Ground("wolf", 58, 60, 6, 2),
    Ground("troll", 74, 74, 8, 3),
)


async def fight(bot: Bot) -> None:
    """Hunt something that one's level allows, or one's courage."""
    level = bot.state["level"] + COURAGE * bot.brave
    await hunt(bot, bot.random.choice([ground for ground in GROUNDS if ground.level <= level]))


async def hunt(bot: Bot, ground: Ground, wanted: int | None = None) -> None:
    """Go there and strike at what lives there.

    Args:
        bot: Who.
        ground: Where.
        wanted: How many to slay; None: as many as there is time for.
    """
    await provide(bot)
    if not await go_near(bot, ground.x, ground.y, ground.tiles):
        await rise(bot)
        return
    clock = bot.crowd.clock
    enough_s = clock.monotonic_s() + HUNT_S
    slain = 0
    while not bot.crowd.over and clock.monotonic_s() < enough_s and (wanted is None or slain < wanted):
        seen = await look(bot)
        await loot(bot, entries(seen, "ground"))
        prey = [monster for monster in entries(seen, "monsters") if monster["kind"] == ground.kind]
        if not prey:
            await clock.sleep(BLOW_S)
        elif await slay(bot, _chosen(bot, prey)):
            slain += 1
        elif not await stands(bot):
            return


async def slay(bot: Bot, monster: Message) -> bool:
    """Pursue one monster and strike until it falls; False if somebody else was faster, or if it had to be given up."""
    await go(bot, *_beside(bot, monster))
    for _ in range(BLOWS_MAX):
        if bot.crowd.over or not await stands(bot):
            return False
        answer = await strike(bot, monster)
        if answer["type"] == "ack":
            if answer["result"]["killed"]:
                return True
        elif answer["reason"] == "out_of_range":
            near = [other for other in entries(await look(bot), "monsters") if other["id"] == monster["id"]]
            if not near or not await go(bot, *_beside(bot, near[0])):
                return False
        elif answer["reason"] != "too_soon":
            return False
    return False


async def strike(bot: Bot, monster: Message) -> Message:
    """One blow, as soon as the last one allows it."""
    clock = bot.crowd.clock
    await clock.sleep(max(0.0, bot.fought_s + BLOW_S - clock.monotonic_s()))
    bot.fought_s = clock.monotonic_s()
    return await bot.act("attack", target=monster["id"])


async def stands(bot: Bot) -> bool:
    """Eat when weak; False if one has fallen (and risen again), or is off to safety."""
    if bot.state["hp"] <= 0:
        await rise(bot)
        return False
    if bot.state["hp"] >= WEAK_HP or await eat(bot) or bot.brave:
        return True
    await go_near(bot, *MARKET, 2)
    return False


async def rise(bot: Bot) -> None:
    """Wait until one stands again, if one has fallen; courage is a matter of the day."""
    while bot.state["hp"] <= 0 and await bot.event("respawned", RISE_S) is not None:
        bot.brave = bot.random.random() < BRAVE


async def eat(bot: Bot) -> bool:
    """Eat what heals; False if nothing is at hand."""
    food = next((item for item in entries(bot.state, "inventory") if item["item"] in FOOD), None)
    return food is not None and await bot.done("consume", slot=food["slot"], count=1) is not None


async def provide(bot: Bot) -> None:
    """Buy something to eat on the way, if one passes the market hungry."""
    carried = sum(item["count"] for item in entries(bot.state, "inventory") if item["item"] in FOOD)
    if carried >= PROVISIONS or distance(bot.state["x"], bot.state["y"], *MARKET) > LOOT_TILES:
        return
    goods = {item["item"]: item["price"] for item in entries(await at_market(bot), "shop")}
    if "bread" in goods and goods["bread"] * PROVISIONS <= bot.state["gold"]:
        await bot.act("buy", item="bread", count=PROVISIONS)


async def loot(bot: Bot, things: list[Message]) -> None:
    """Pick up what lies near."""
    near = [thing for thing in things if distance(bot.state["x"], bot.state["y"], thing["x"], thing["y"]) <= LOOT_TILES]
    for thing in near[:LOOTED_MAX]:
        if not await go(bot, thing["x"], thing["y"]):
            return
        await bot.act("pickup", ground_id=thing["ground_id"])


def _chosen(bot: Bot, prey: list[Message]) -> Message:
    """The nearest if it is at hand, otherwise any, so that not everybody runs to the same one."""
    nearest = prey[0]
    at_hand = distance(bot.state["x"], bot.state["y"], nearest["x"], nearest["y"]) <= NEAR_TILES
    return nearest if at_hand else bot.random.choice(prey)


def _beside(bot: Bot, monster: Message) -> tuple[float, float]:
    """One tile from a monster, on our side of it."""
    away = math.hypot(monster["x"] - bot.state["x"], monster["y"] - bot.state["y"]) or 1.0
    return (
        round(monster["x"] - (monster["x"] - bot.state["x"]) / away, 3),
        round(monster["y"] - (monster["y"] - bot.state["y"]) / away, 3),
    )
