"""What bots do all day."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from realmkeep.realm.crowd.bot import Bot
from realmkeep.realm.crowd.ledger import entries
from realmkeep.realm.wire.syntax import Message
from realmkeep.realm.world.content import distance

STEP_TILES: Final = 4.5  # with a pause of half a second: just below walking speed
STEP_S: Final = 0.5
MARKET: Final = (20.0, 20.0)
HUNTING_GROUND: Final = (46.0, 20.0)
WEAK_HP: Final = 40
TRADE_S: Final = 3.0  # patience with another bot
POCKET_MONEY: Final = 5

Activity = Callable[[Bot], Awaitable[None]]


async def go(bot: Bot, x: float, y: float) -> bool:
    """Walk to a point; False if the way was cut short."""
    while (away := distance(bot.state["x"], bot.state["y"], x, y)) > 0 and not bot.crowd.over:
        share = min(1.0, STEP_TILES / away)
        to_x = bot.state["x"] + (x - bot.state["x"]) * share
        to_y = bot.state["y"] + (y - bot.state["y"]) * share
        answer = await bot.act("move", x=round(to_x, 3), y=round(to_y, 3))
        if answer["type"] != "ack" and answer["reason"] != "too_fast":
            return False
        if share < 1.0 or answer["type"] != "ack":
            await bot.crowd.clock.sleep(STEP_S)
        else:
            return True
    return away == 0


async def look(bot: Bot) -> Message:
    """See what is around."""
    seen = await bot.done("look") or {}
    bot.crowd.ledger.offered(entries(seen, "shop"))
    return seen


async def shop(bot: Bot) -> None:
    """Buy something affordable, or sell something."""
    seen = await _at_market(bot)
    goods = entries(seen, "shop")
    carried = entries(bot.state, "inventory")
    if not goods or (carried and bot.random.random() < 0.4):
        await _sell(bot, carried)
        return
    item = bot.random.choice(goods)
    count = bot.random.randint(1, 3) if item["stackable"] else 1
    if item["price"] * count <= bot.state["gold"]:
        await bot.act("buy", item=item["item"], count=count)
    else:
        await _sell(bot, carried)


async def bank(bot: Bot) -> None:
    """Bring something to the bank, or fetch something."""
    await _at_market(bot)
    action, purse, holding = bot.random.choice([("deposit", "gold", "inventory"), ("withdraw", "bank_gold", "bank")])
    things = entries(bot.state, holding)
    if things and bot.random.random() < 0.5:
        thing = bot.random.choice(things)
        await bot.act(action, item=thing["item"], count=1)
    elif bot.state[purse]:
        await bot.act(action, item="gold", count=bot.random.randint(1, bot.state[purse]))


async def fight(bot: Bot) -> None:
    """Hunt what is nearest, eat when weak, pick up what falls."""
    if not await go(bot, HUNTING_GROUND[0] + bot.random.uniform(-4, 4), HUNTING_GROUND[1] + bot.random.uniform(-4, 4)):
        return
    monsters = entries(await look(bot), "monsters")
    if not monsters:
        return
    prey = monsters[0]
    if not await go(bot, *_beside(bot, prey)):
        return
    for _ in range(12):
        if bot.state["hp"] < WEAK_HP:
            await eat(bot)
        struck = await bot.done("attack", target=prey["id"])
        if struck is None or struck["killed"] or bot.crowd.over:
            break
        await bot.crowd.clock.sleep(0.65)
    await loot(bot)


async def eat(bot: Bot) -> None:
    """Eat what heals, if anything is at hand."""
    food = next(
        (item for item in entries(bot.state, "inventory") if item["item"] in {"bread", "potion", "berry"}), None
    )
    if food is not None:
        await bot.act("consume", slot=food["slot"], count=1)


async def loot(bot: Bot) -> None:
    """Pick up what lies nearest."""
    things = entries(await look(bot), "ground")
    if things and await go(bot, things[0]["x"], things[0]["y"]):
        await bot.act("pickup", ground_id=things[0]["ground_id"])


async def gear(bot: Bot) -> None:
    """Wear something, or take it off, or drop a little of something."""
    carried = entries(bot.state, "inventory")
    worn: dict[str, Any] = bot.state.get("equipment") or {}
    single = [item for item in carried if item.get("serial") is not None]
    if worn and bot.random.random() < 0.3:
        await bot.act("unequip", equipment=bot.random.choice([*worn]))
    elif single and bot.random.random() < 0.7:
        await bot.act("equip", slot=bot.random.choice(single)["slot"])
    elif carried:
        await bot.act("drop", slot=bot.random.choice(carried)["slot"], count=1)


async def quest(bot: Bot) -> None:
    """Take a quest, or report one."""
    seen = await _at_market(bot)
    started = {quest["quest"]: quest for quest in entries(bot.state, "quests")}
    fresh = [quest["quest"] for quest in entries(seen, "quests") if quest["quest"] not in started]
    open_ = [name for name, quest in started.items() if not quest["complete"]]
    if fresh and (not open_ or bot.random.random() < 0.5):
        await bot.act("accept_quest", quest=bot.random.choice(fresh))
    elif open_:
        await bot.act("advance_quest", quest=bot.random.choice(open_))


async def mail(bot: Bot) -> None:
    """Send somebody a coin or a thing."""
    others = [member for member in bot.crowd.members if member != bot.player_id]
    carried = entries(bot.state, "inventory")
    if not others:
        return
    to = bot.random.choice(others)
    if carried and bot.random.random() < 0.3:
        await bot.act("mail", player=to, slot=bot.random.choice(carried)["slot"], count=1)
    elif bot.state["gold"] > POCKET_MONEY:
        await bot.act("mail", player=to, gold=bot.random.randint(1, POCKET_MONEY))


async def chat(bot: Bot) -> None:
    """Make a friend, lose one, turn the music down."""
    friends: list[int] = bot.state.get("friends") or []
    if friends and bot.random.random() < 0.4:
        await bot.act("remove_friend", player=bot.random.choice(friends))
    elif bot.crowd.members and bot.random.random() < 0.5:
        await bot.act("add_friend", player=bot.random.choice(bot.crowd.members))
    else:
        await bot.act("set", name="music_volume", value=round(bot.random.random(), 2))


async def trade(bot: Bot) -> None:
    """Ask somebody nearby for a trade, and see it through."""
    seen = await _at_market(bot)
    members = set(bot.crowd.members)
    near = [other for other in entries(seen, "players") if other["player_id"] in members][:8]
    if not near:
        return
    other = bot.random.choice(near)["player_id"]
    asked = await bot.done("trade_request", player=other)
    if asked is None:
        return
    if asked["opened"] or await bot.event("trade_opened", TRADE_S):
        await deal(bot)


async def answer_trades(bot: Bot) -> None:
    """Say yes to whoever has asked for a trade."""
    requests: list[Message] = []
    while not bot.heard.empty():
        event = bot.heard.get_nowait()
        if event.get("kind") == "trade_requested":
            requests.append(event)
    if requests:
        asked = await bot.done("trade_request", player=requests[-1]["player"])
        if asked is not None and asked["opened"]:
            await deal(bot)


async def deal(bot: Bot) -> None:
    """Offer something, and confirm, or change one's mind."""
    carried = entries(bot.state, "inventory")
    items = [{"slot": bot.random.choice(carried)["slot"], "count": 1}] if carried and bot.random.random() < 0.7 else []
    gold = bot.random.randint(0, min(POCKET_MONEY, bot.state["gold"]))
    if await bot.done("trade_offer", items=items, gold=gold) is None:
        return
    if bot.random.random() < 0.1:
        await bot.act("trade_cancel")
        return
    confirming = asyncio.ensure_future(bot.act("trade_confirm"))
    try:
        async with bot.crowd.clock.timeout(TRADE_S):
            await asyncio.shield(confirming)
    except TimeoutError:  # the other one has better things to do
        await bot.act("trade_cancel")
        await confirming


async def vanish(bot: Bot) -> None:
    """Drop out, often in the middle of something, and come back."""
    during: Message | None = None
    if bot.random.random() < 0.6:
        during = {"action": "buy", "item": "bread", "count": 1}
    await bot.drop_out(during=during)
    await bot.crowd.clock.sleep(bot.random.uniform(0.0, 2.0))
    await bot.come_in()


async def wander(bot: Bot) -> None:
    """Walk about."""
    await go(bot, MARKET[0] + bot.random.uniform(-8, 8), MARKET[1] + bot.random.uniform(-8, 8))


ACTIVITIES: Final[tuple[tuple[Activity, float], ...]] = (
    (wander, 2.0),
    (shop, 2.0),
    (bank, 1.5),
    (fight, 1.5),
    (gear, 1.0),
    (quest, 1.0),
    (trade, 1.5),
    (mail, 0.7),
    (chat, 0.7),
    (vanish, 0.4),
)


async def _at_market(bot: Bot) -> Message:
    if distance(bot.state["x"], bot.state["y"], *MARKET) > 2:
        await go(bot, MARKET[0] + bot.random.uniform(-1, 1), MARKET[1] + bot.random.uniform(-1, 1))
    return await look(bot)


async def _sell(bot: Bot, carried: list[Message]) -> None:
    if carried:
        await bot.act("sell", slot=bot.random.choice(carried)["slot"], count=1)


def _beside(bot: Bot, monster: Message) -> tuple[float, float]:
    """One tile from a monster, on our side of it."""
    away = math.hypot(monster["x"] - bot.state["x"], monster["y"] - bot.state["y"]) or 1.0
    return (
        monster["x"] - (monster["x"] - bot.state["x"]) / away,
        monster["y"] - (monster["y"] - bot.state["y"]) / away,
    )
