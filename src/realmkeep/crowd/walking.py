"""The ways of bots: walking and looking around."""

from typing import Final

from realmkeep.crowd.bot import Bot
from realmkeep.crowd.ledger import entries
from realmkeep.realm.wire.syntax import Message
from realmkeep.realm.world.content import distance

STEP_TILES: Final = 4.5  # every half second: just below the walking speed
STEP_S: Final = 0.5
MARKET: Final = (20.0, 20.0)


async def go(bot: Bot, x: float, y: float) -> bool:
    """Walk to a point; False if the bot did not get there."""
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


async def go_near(bot: Bot, x: float, y: float, tiles: float) -> bool:
    """Walk to a random place near a point, so that bots do not stand in one place."""
    whim = bot.random.uniform
    return await go(bot, round(x + whim(-tiles, tiles), 2), round(y + whim(-tiles, tiles), 2))


async def look(bot: Bot) -> Message:
    """Look around."""
    seen = await bot.act_for_result("look") or {}
    bot.crowd.ledger.note_goods(entries(seen, "shop"))
    return seen


async def at_market(bot: Bot) -> Message:
    """Go to the market and look around."""
    if distance(bot.state["x"], bot.state["y"], *MARKET) > 2:
        await go_near(bot, *MARKET, 1)
    return await look(bot)
