"""The fights of bots: they seek out monsters, pursue, strike, eat, loot, flee, and sometimes die."""

import math
from typing import Final, NamedTuple

from realmkeep.crowd.bot import BRAVE, Bot
from realmkeep.crowd.ledger import entries
from realmkeep.crowd.walking import MARKET, at_market, go, go_near, look
from realmkeep.realm.wire.syntax import Message
from realmkeep.realm.world.content import distance

WEAK_HP: Final = 40
HUNT_S: Final = 10.0  # duration of a hunt
BLOW_S: Final = 0.65  # just above the realm's attack interval
NEAR_TILES: Final = 3.0  # a monster within this distance is struck first
BLOWS_MAX: Final = 40
RISE_S: Final = 30.0  # time to wait for the respawn
COURAGE: Final = 2  # levels that a brave bot adds to its own
LOOTED_MAX: Final = 3
LOOT_TILES: Final = 8.0  # a bot ignores loot further away
PROVISIONS: Final = 4
FOOD: Final = frozenset({"bread", "potion", "berry"})


class HuntingGround(NamedTuple):
    """The home of a kind of monster, and the level from which bots hunt there."""

    kind: str
    x: float
    y: float
    tiles: float
    level: int


GROUNDS: Final = (
    HuntingGround("rat", 48, 20, 5, 1),
    HuntingGround("rat", 59, 9, 5, 1),
    HuntingGround("rat", 59, 31, 5, 1),
    HuntingGround("rat", 20, 48, 5, 1),
    HuntingGround("wolf", 78, 20, 8, 2),
    HuntingGround("wolf", 20, 66, 11, 2),
    HuntingGround("wolf", 58, 60, 6, 2),
    HuntingGround("troll", 74, 74, 8, 3),
)


async def fight(bot: Bot) -> None:
    """Hunt monsters that fit the bot's level and courage."""
    level = bot.state["level"] + COURAGE * bot.brave
    await hunt(bot, bot.random.choice([ground for ground in GROUNDS if ground.level <= level]))


async def hunt(bot: Bot, ground: HuntingGround, wanted: int | None = None) -> None:
    """Go to a hunting ground and fight its monsters.

    Args:
        bot: The bot.
        ground: The hunting ground.
        wanted: Number of monsters to kill; None: as many as possible in `HUNT_S`.
    """
    await buy_provisions(bot)
    if not await go_near(bot, ground.x, ground.y, ground.tiles):
        await await_respawn(bot)
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
        elif await kill_monster(bot, _chosen(bot, prey)):
            slain += 1
        elif not await can_fight(bot):
            return


async def kill_monster(bot: Bot, monster: Message) -> bool:
    """Pursue and strike a monster until it is dead; False if another player killed it or the bot gave up."""
    await go(bot, *_beside(bot, monster))
    for _ in range(BLOWS_MAX):
        if bot.crowd.over or not await can_fight(bot):
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
    """Strike once, as soon as the attack interval allows it."""
    clock = bot.crowd.clock
    await clock.sleep(max(0.0, bot.fought_s + BLOW_S - clock.monotonic_s()))
    bot.fought_s = clock.monotonic_s()
    return await bot.act("attack", target=monster["id"])


async def can_fight(bot: Bot) -> bool:
    """Eat when weak; False if the bot has died (and respawned), or has fled to the market."""
    if bot.state["hp"] <= 0:
        await await_respawn(bot)
        return False
    if bot.state["hp"] >= WEAK_HP or await eat(bot) or bot.brave:
        return True
    await go_near(bot, *MARKET, 2)
    return False


async def await_respawn(bot: Bot) -> None:
    """If the bot has died, wait for its respawn and draw its courage anew."""
    while bot.state["hp"] <= 0 and await bot.wait_for_event("respawned", RISE_S) is not None:
        bot.brave = bot.random.random() < BRAVE


async def eat(bot: Bot) -> bool:
    """Eat some food; False if there is none."""
    food = next((item for item in entries(bot.state, "inventory") if item["item"] in FOOD), None)
    return food is not None and await bot.act_for_result("consume", slot=food["slot"], count=1) is not None


async def buy_provisions(bot: Bot) -> None:
    """Buy food if the bot has little and is near the market."""
    carried = sum(item["count"] for item in entries(bot.state, "inventory") if item["item"] in FOOD)
    if carried >= PROVISIONS or distance(bot.state["x"], bot.state["y"], *MARKET) > LOOT_TILES:
        return
    goods = {item["item"]: item["price"] for item in entries(await at_market(bot), "shop")}
    if "bread" in goods and goods["bread"] * PROVISIONS <= bot.state["gold"]:
        await bot.act("buy", item="bread", count=PROVISIONS)


async def loot(bot: Bot, things: list[Message]) -> None:
    """Pick up items nearby."""
    near = [thing for thing in things if distance(bot.state["x"], bot.state["y"], thing["x"], thing["y"]) <= LOOT_TILES]
    for thing in near[:LOOTED_MAX]:
        if not await go(bot, thing["x"], thing["y"]):
            return
        await bot.act("pickup", ground_id=thing["ground_id"])


def _chosen(bot: Bot, prey: list[Message]) -> Message:
    """The nearest monster if it is at hand, otherwise a random one, so that bots spread out."""
    nearest = prey[0]
    at_hand = distance(bot.state["x"], bot.state["y"], nearest["x"], nearest["y"]) <= NEAR_TILES
    return nearest if at_hand else bot.random.choice(prey)


def _beside(bot: Bot, monster: Message) -> tuple[float, float]:
    """The point one tile from a monster, on the bot's side."""
    away = math.hypot(monster["x"] - bot.state["x"], monster["y"] - bot.state["y"]) or 1.0
    return (
        round(monster["x"] - (monster["x"] - bot.state["x"]) / away, 3),
        round(monster["y"] - (monster["y"] - bot.state["y"]) / away, 3),
    )
