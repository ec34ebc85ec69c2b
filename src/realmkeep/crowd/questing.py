"""The quests of bots, from the giver to the reward."""

from typing import Final

from realmkeep.crowd.bot import Bot
from realmkeep.crowd.hunting import GROUNDS, await_respawn, hunt
from realmkeep.crowd.ledger import entries
from realmkeep.crowd.walking import MARKET, at_market, go
from realmkeep.realm.wire.syntax import Message

WAYS: Final = {"town": MARKET, "forest": (20.0, 43.0), "meadow": (43.0, 20.0), "cave": (43.0, 43.0)}
"""A point in each zone, just behind its border."""


async def quest(bot: Bot) -> None:
    """Accept a quest, or work on an accepted one."""
    given = {offer["quest"]: entries(offer, "stages") for offer in entries(await at_market(bot), "quests")}
    taken = {quest["quest"]: quest for quest in entries(bot.state, "quests")}
    fresh = [name for name in given if name not in taken]
    under_way = [name for name in given if name in taken and not taken[name]["complete"]]
    if fresh and (not under_way or bot.random.random() < 0.5):
        name = bot.random.choice(fresh)
        if await bot.act_for_result("accept_quest", quest=name) is None:
            return
    elif under_way:
        name = bot.random.choice(under_way)
    else:
        return
    for stage in given[name]:
        if not await _pursue(bot, name, given[name].index(stage), stage):
            return


async def _pursue(bot: Bot, name: str, number: int, stage: Message) -> bool:
    """Do one stage and report it; False if it stays unfinished for now."""
    progress = next(quest for quest in entries(bot.state, "quests") if quest["quest"] == name)
    if progress["stage"] > number:
        return True
    if stage["goal"] == "visit" and progress["count"] < stage["count"]:
        await go(bot, *WAYS[stage["target"]])
    elif stage["goal"] == "talk":
        await go(bot, *MARKET)
    elif progress["count"] < stage["count"]:
        ground = bot.random.choice([ground for ground in GROUNDS if ground.kind == stage["target"]])
        await hunt(bot, ground, wanted=stage["count"] - progress["count"])
        await await_respawn(bot)
    progress = next(quest for quest in entries(bot.state, "quests") if quest["quest"] == name)
    if bot.crowd.over or (stage["goal"] != "talk" and progress["count"] < stage["count"]):
        return False
    return await bot.act_for_result("advance_quest", quest=name) is not None
