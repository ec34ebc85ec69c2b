"""A crowd from its first registration to the last check."""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from realmkeep.clock import Clock
from realmkeep.crowd.activities import ACTIVITIES, answer_trades
from realmkeep.crowd.bot import Bot, Crowd
from realmkeep.crowd.client import Disconnected, Server
from realmkeep.crowd.journal import Journal
from realmkeep.crowd.ledger import Ledger, entries
from realmkeep.crowd.tally import Tally

DOORS: Final = 8  # registrations at once: each is a password hash of some 50 ms
KNOCK_S_MAX: Final = 5.0  # a server that is being restarted is back by then
PAUSE_S: Final = 0.5  # between two activities, on average
CHECKED_AT_ONCE: Final = 16  # so that the check is no rush hour of its own
LOOKS_MAX: Final = 5  # at one bot's state, before the server counts as gone
UNPACKING_MAX: Final = 200  # sales to make room for parcels, before giving up


@dataclass(frozen=True)
class Plan:
    """What a crowd is asked to do.

    Attributes:
        bots: How many.
        duration_s: How long they play, once all are in.
        name: Its bots' user names begin with it; a crowd that was here before logs in. Empty: a new one.
        journal: Where acknowledged tier-1 operations are written; None: nowhere.
        seed: Of what the bots choose.
    """

    bots: int
    duration_s: float
    name: str = ""
    journal: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class Report:
    """How it went; `problems` is empty if nothing was lost or doubled."""

    tally: Tally
    problems: list[str]
    bots: int
    played_s: float

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "bots": self.bots,
            "played_s": round(self.played_s, 2),
            "operations_per_s": round(self.tally.operations / self.played_s, 1) if self.played_s else 0.0,
            **self.tally.as_json(),
            "conserved": not self.problems,
            "problems": self.problems,
        }


async def run_crowd(server: Server, plan: Plan, clock: Clock, progress: Callable[[str, float, Tally], None]) -> Report:
    """Let a crowd play.

    Args:
        server: Where.
        plan: What.
        clock: Time.
        progress: Told, a few times a second, what is going on, how far it is from 0 to 1, and the counts so far.

    Raises:
        Disconnected: The server is not there at the start, or does not come back within two minutes.
        OSError: The journal cannot be written.
    """
    tally, ledger = Tally(), Ledger()
    name = plan.name or f"bot{secrets.token_hex(3)}"
    journal = Journal(plan.journal, clock) if plan.journal is not None else None
    crowd = Crowd(server, clock, tally, ledger, asyncio.Semaphore(DOORS), journal, [])
    bots = [_bot(crowd, name, number, plan.seed) for number in range(plan.bots)]
    try:
        await _knock(bots[0])
        await _come_in(bots, "login" if plan.name and await _known(bots[0]) else "register", crowd, progress)
        started_s = clock.monotonic_s()
        crowd.end_s = started_s + plan.duration_s
        await _play(bots, crowd, plan.duration_s, progress)
        played_s = clock.monotonic_s() - started_s
        progress("checking", 1.0, tally)
        problems = await _check(bots, crowd)
    finally:
        for bot in bots:
            bot.hang_up()
        if journal is not None:
            await asyncio.to_thread(journal.close)
    return Report(tally, problems, len(bots), played_s)


def _bot(crowd: Crowd, name: str, number: int, seed: int) -> Bot:
    password = hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:24]
    whims = Random(f"{seed}/{number}")  # noqa: S311 - choices of a bot, not secrets
    return Bot(crowd, f"{name}-{number}", password, whims)


async def _knock(bot: Bot) -> None:
    """A server that never was is told soon; one that is restarted later is waited for much longer."""
    server, clock = bot.crowd.server, bot.crowd.clock
    give_up_s = clock.monotonic_s() + KNOCK_S_MAX
    while True:
        try:
            await bot.knock()
        except Disconnected as error:
            if clock.monotonic_s() >= give_up_s:
                port = f"udp {server.udp_port}" if server.udp else f"tcp {server.tcp_port}"
                raise Disconnected(f"nobody answers at {server.host}, {port}: start `realmkeep serve` first") from error
            await clock.sleep(0.25)
        else:
            return


async def _known(bot: Bot) -> bool:
    return not (await bot.try_to_come_in("login")).refused


async def _come_in(bots: list[Bot], kind: str, crowd: Crowd, progress: Callable[[str, float, Tally], None]) -> None:
    async def enter(bot: Bot) -> None:
        await bot.come_in(kind)
        progress("coming in", len(crowd.members) / len(bots), crowd.tally)

    await _all(enter(bot) for bot in bots)


async def _play(
    bots: list[Bot], crowd: Crowd, duration_s: float, progress: Callable[[str, float, Tally], None]
) -> None:
    async def show() -> None:
        while (left_s := crowd.end_s - crowd.clock.monotonic_s()) > 0:
            progress("playing", 1 - left_s / duration_s, crowd.tally)
            await crowd.clock.sleep(min(0.25, left_s))

    await _all([show(), *(_one_bot(bot) for bot in bots)])


async def _one_bot(bot: Bot) -> None:
    activities = [activity for activity, _ in ACTIVITIES]
    weights = [weight for _, weight in ACTIVITIES]
    clock = bot.crowd.clock
    while not bot.crowd.over:
        await clock.sleep(bot.random.uniform(0, 2 * PAUSE_S))
        (activity,) = bot.random.choices(activities, weights)
        try:
            await activity(bot)
            await answer_trades(bot)
        except Disconnected:
            await bot.come_in()


async def _check(bots: list[Bot], crowd: Crowd) -> list[str]:
    """Everybody comes in once more, so that all mail has arrived, and then says what they have."""
    crowd.checking = True
    for bot in bots:
        bot.hang_up()
    few = asyncio.Semaphore(CHECKED_AT_ONCE)
    await _all(_insist(bot, few, _settle) for bot in bots)
    await _all(
        _insist(bot, few, Bot.log_out) for bot in bots
    )  # what a login tells is what there is: all mail has arrived
    states = [bot.state for bot in bots]
    tier2_kept = not crowd.tally.lost and not crowd.tally.uncertain
    return crowd.ledger.problems(states, tier2_kept=tier2_kept)


async def _insist(bot: Bot, few: asyncio.Semaphore, look: Callable[[Bot], Awaitable[None]]) -> None:
    """Come in and take a look, once more if the server is restarted meanwhile."""
    for attempt in range(LOOKS_MAX):
        async with few:
            try:
                await bot.come_in()
                await look(bot)
            except Disconnected:
                if attempt + 1 == LOOKS_MAX:
                    raise
            else:
                return


async def _settle(bot: Bot) -> None:
    """Make room for what waits in parcels: only what is carried can be seen."""
    for _ in range(UNPACKING_MAX):
        if not bot.state["parcels"]:
            break
        cheap = min(entries(bot.state, "inventory"), key=lambda item: item["count"])
        await bot.act("drop", slot=cheap["slot"], count=cheap["count"])
    await bot.log_out()


async def _all(work: Any) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
