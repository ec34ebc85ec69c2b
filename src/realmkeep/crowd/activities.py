"""The activities of bots."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from realmkeep.crowd.bot import Bot
from realmkeep.crowd.hunting import fight
from realmkeep.crowd.ledger import entries
from realmkeep.crowd.questing import quest
from realmkeep.crowd.walking import MARKET, at_market, go_near
from realmkeep.realm.wire.syntax import Message

TRADE_S: Final = 3.0  # time to wait for the other bot
LOOKS_MAX: Final = 4  # confirmations of offers that keep changing
COMBAT_S: Final = 10.5  # the realm refuses trades so soon after a fight
POCKET_MONEY: Final = 5
INTERRUPTED: Final[tuple[Message, ...]] = (
    {"action": "buy", "item": "bread", "count": 1},
    {"action": "deposit", "item": "gold", "count": 1},
    {"action": "withdraw", "item": "gold", "count": 1},
    {"action": "sell", "slot": 0, "count": 1},
)
"""Operations that may be under way when a bot drops its connection."""

Activity = Callable[[Bot], Awaitable[None]]


async def shop(bot: Bot) -> None:
    """Buy something affordable, or sell something."""
    seen = await at_market(bot)
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
    """Deposit or withdraw gold or an item."""
    await at_market(bot)
    action, purse, holding = bot.random.choice([("deposit", "gold", "inventory"), ("withdraw", "bank_gold", "bank")])
    things = entries(bot.state, holding)
    if things and bot.random.random() < 0.5:
        thing = bot.random.choice(things)
        await bot.act(action, item=thing["item"], count=1)
    elif bot.state[purse]:
        await bot.act(action, item="gold", count=bot.random.randint(1, bot.state[purse]))


async def change_gear(bot: Bot) -> None:
    """Wear an item, take one off, or drop one."""
    carried = entries(bot.state, "inventory")
    worn: dict[str, Any] = bot.state.get("equipment") or {}
    single = [item for item in carried if item.get("serial") is not None]
    if worn and bot.random.random() < 0.3:
        await bot.act("unequip", equipment=bot.random.choice([*worn]))
    elif single and bot.random.random() < 0.7:
        await bot.act("equip", slot=bot.random.choice(single)["slot"])
    elif carried:
        await bot.act("drop", slot=bot.random.choice(carried)["slot"], count=1)


async def mail(bot: Bot) -> None:
    """Send another bot some gold or an item."""
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
    """Add or remove a friend, or change a setting."""
    friends: list[int] = bot.state.get("friends") or []
    if friends and bot.random.random() < 0.4:
        await bot.act("remove_friend", player=bot.random.choice(friends))
    elif bot.crowd.members and bot.random.random() < 0.5:
        await bot.act("add_friend", player=bot.random.choice(bot.crowd.members))
    else:
        await bot.act("set", name="music_volume", value=round(bot.random.random(), 2))


async def trade(bot: Bot) -> None:
    """Ask a bot nearby for a trade, and carry it out."""
    if bot.crowd.clock.monotonic_s() - bot.fought_s < COMBAT_S:
        await wander(bot)
        return
    seen = await at_market(bot)
    members = set(bot.crowd.members)
    near = [other for other in entries(seen, "players") if other["player_id"] in members][:8]
    if not near:
        return
    other = bot.random.choice(near)["player_id"]
    asked = await bot.act_for_result("trade_request", player=other)
    if asked is None:
        return
    if asked["opened"] or await bot.wait_for_event("trade_opened", TRADE_S):
        await deal(bot)


async def answer_trades(bot: Bot) -> None:
    """Accept the latest trade request."""
    requests: list[Message] = []
    while not bot.heard.empty():
        event = bot.heard.get_nowait()
        if event.get("kind") == "trade_requested":
            requests.append(event)
    if requests:
        asked = await bot.act_for_result("trade_request", player=requests[-1]["player"])
        if asked is not None and asked["opened"]:
            await deal(bot)


async def deal(bot: Bot) -> None:
    """Make an offer, then confirm it, cancel, or drop the connection."""
    carried = entries(bot.state, "inventory")
    items = [{"slot": bot.random.choice(carried)["slot"], "count": 1}] if carried and bot.random.random() < 0.7 else []
    gold = bot.random.randint(0, min(POCKET_MONEY, bot.state["gold"]))
    if await bot.act_for_result("trade_offer", items=items, gold=gold) is None:
        return
    if bot.random.random() < 0.1:
        await bot.act("trade_cancel")
        return
    if bot.random.random() < 0.1:
        await _disconnect_and_return(bot, {"action": "trade_confirm", "terms": bot.terms})
        return
    for _ in range(LOOKS_MAX):
        if await _confirm(bot) != "offer_changed":
            return
    await bot.act("trade_cancel")


async def _confirm(bot: Bot) -> str:
    """Confirm the latest offers; returns the reason of a refusal, or nothing."""
    confirming = asyncio.ensure_future(bot.act("trade_confirm", terms=bot.terms))
    try:
        async with bot.crowd.clock.timeout(TRADE_S):
            answer = await asyncio.shield(confirming)
    except TimeoutError:  # the other bot does something else
        await bot.act("trade_cancel")
        answer = await confirming
    return answer.get("reason") or ""


async def disconnect_and_return(bot: Bot) -> None:
    """Drop the connection, often in the middle of an operation, and log in again."""
    await _disconnect_and_return(bot, bot.random.choice(INTERRUPTED) if bot.random.random() < 0.6 else None)


async def wander(bot: Bot) -> None:
    """Walk around the market."""
    await go_near(bot, *MARKET, 8)


async def travel(bot: Bot) -> None:
    """Go to another server of the realm; mostly with the connection still open."""
    others = sorted(bot.crowd.servers - {bot.server})
    if others:
        await bot.travel(bot.random.choice(others), hang_up=bot.random.random() < 0.4)


TRAVELS: Final[tuple[Activity, float]] = (travel, 0.7)
"""Added to the others where a gateway knows several servers."""
ACTIVITIES: Final[tuple[tuple[Activity, float], ...]] = (
    (wander, 1.0),
    (shop, 2.0),
    (bank, 1.5),
    (fight, 1.0),
    (change_gear, 1.0),
    (quest, 0.8),
    (trade, 1.5),
    (mail, 0.7),
    (chat, 0.7),
    (disconnect_and_return, 0.5),
)


async def _sell(bot: Bot, carried: list[Message]) -> None:
    if carried:
        await bot.act("sell", slot=bot.random.choice(carried)["slot"], count=1)


async def _disconnect_and_return(bot: Bot, during: Message | None) -> None:
    await bot.drop_connection(during=during)
    await bot.crowd.clock.sleep(bot.random.uniform(0.0, 2.0))
    await bot.log_in()
