"""The run of a crowd, from the first registration to the final check."""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from realmkeep.clock import Clock
from realmkeep.crowd.activities import ACTIVITIES, TRAVELS, answer_trades
from realmkeep.crowd.bot import Bot, Crowd
from realmkeep.crowd.client import Disconnected, RealmAddress
from realmkeep.crowd.journal import Journal
from realmkeep.crowd.ledger import Ledger, entries
from realmkeep.crowd.tally import Tally

LOGINS_AT_ONCE: Final = 8  # registrations at once: each is a password hash of some 50 ms
KNOCK_S_MAX: Final = 5.0  # time to wait for a server that is starting
PAUSE_S: Final = 0.5  # between two activities, on average
CHECKED_AT_ONCE: Final = 16  # so that the check does not overload the server
LOOKS_MAX: Final = 5  # attempts to read one bot's state before the crowd fails
UNPACKING_MAX: Final = 200  # items dropped to make room for parcels before the check gives up


@dataclass(frozen=True)
class CrowdPlan:
    """The plan of a run.

    Attributes:
        bots: Number of bots.
        duration_s: Playing time in seconds, after the last login.
        name: Prefix of the bots' user names; bots of an earlier run log in again. Empty: a new prefix.
        journal: The file of acknowledged tier-1 operations; None: no file.
        seed: Seed of the bots' choices.
    """

    bots: int
    duration_s: float
    name: str = ""
    journal: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class CrowdReport:
    """The report of a run; `problems` is empty if nothing was lost or doubled."""

    tally: Tally
    problems: list[str]
    bots: int
    played_s: float

    def as_json(self) -> dict[str, Any]:
        """The report as values of JSON."""
        return {
            "bots": self.bots,
            "played_s": round(self.played_s, 2),
            "operations_per_s": round(self.tally.operations / self.played_s, 1) if self.played_s else 0.0,
            **self.tally.as_json(),
            "conserved": not self.problems,
            "problems": self.problems,
        }


async def run_crowd(
    server: RealmAddress, plan: CrowdPlan, clock: Clock, progress: Callable[[str, float, Tally], None]
) -> CrowdReport:
    """Run a crowd.

    Args:
        server: The realm's address.
        plan: The plan of the run.
        clock: The clock.
        progress: Called a few times a second with the present phase, its progress from 0 to 1, and the counts so far.

    Raises:
        Disconnected: The server cannot be reached at the start, or does not come back within two minutes.
        OSError: The journal cannot be written.
    """
    tally, ledger = Tally(), Ledger()
    name = plan.name or f"bot{secrets.token_hex(3)}"
    journal = Journal(plan.journal, clock) if plan.journal is not None else None
    crowd = Crowd(server, clock, tally, ledger, asyncio.Semaphore(LOGINS_AT_ONCE), journal, [])
    bots = [_bot(crowd, name, number, plan.seed) for number in range(plan.bots)]
    try:
        await _wait_for_server(bots[0])
        await _log_in_all(bots, "login" if plan.name and await _is_registered(bots[0]) else "register", crowd, progress)
        started_s = clock.monotonic_s()
        crowd.end_s = started_s + plan.duration_s
        await _play(bots, crowd, plan.duration_s, progress)
        played_s = clock.monotonic_s() - started_s
        progress("checking", 1.0, tally)
        problems = await _check(bots, crowd)
    finally:
        for bot in bots:
            bot.close_connection()
        if journal is not None:
            await asyncio.to_thread(journal.close)
    return CrowdReport(tally, problems, len(bots), played_s)


def _bot(crowd: Crowd, name: str, number: int, seed: int) -> Bot:
    password = hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:24]
    whims = Random(f"{seed}/{number}")  # noqa: S311 - choices of a bot, not secrets
    return Bot(crowd, f"{name}-{number}", password, whims)


async def _wait_for_server(bot: Bot) -> None:
    """Wait a short time for the server at the start; later a restart is given two minutes."""
    server, clock = bot.crowd.server, bot.crowd.clock
    give_up_s = clock.monotonic_s() + KNOCK_S_MAX
    while True:
        try:
            await bot.check_server()
        except Disconnected as error:
            if clock.monotonic_s() >= give_up_s:
                port = f"udp {server.udp_port}" if server.udp else f"tcp {server.tcp_port}"
                raise Disconnected(
                    f"no server answers at {server.host}, {port}: start `realmkeep serve` first"
                ) from error
            await clock.sleep(0.25)
        else:
            return


async def _is_registered(bot: Bot) -> bool:
    return not (await bot.try_log_in("login")).refused


async def _log_in_all(bots: list[Bot], kind: str, crowd: Crowd, progress: Callable[[str, float, Tally], None]) -> None:
    async def enter(bot: Bot) -> None:
        await bot.log_in(kind)
        progress("logging in", len(crowd.members) / len(bots), crowd.tally)

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
    possible = [*ACTIVITIES, TRAVELS] if bot.crowd.server.gateway else ACTIVITIES
    activities = [activity for activity, _ in possible]
    weights = [weight for _, weight in possible]
    clock = bot.crowd.clock
    while not bot.crowd.over:
        await clock.sleep(bot.random.uniform(0, 2 * PAUSE_S))
        (activity,) = bot.random.choices(activities, weights)
        try:
            await activity(bot)
            await answer_trades(bot)
        except Disconnected:
            await bot.log_in()


async def _check(bots: list[Bot], crowd: Crowd) -> list[str]:
    """Log all bots in twice and compare: after the first round all mail has arrived, the second shows the final states."""
    crowd.checking = True
    for bot in bots:
        bot.close_connection()
    few = asyncio.Semaphore(CHECKED_AT_ONCE)
    await _all(_retry_check(bot, few, _unpack_parcels) for bot in bots)
    await _all(
        _retry_check(bot, few, Bot.log_out) for bot in bots
    )  # each login brings the final state: all mail has arrived
    states = [bot.state for bot in bots]
    tier2_kept = not crowd.tally.lost and not crowd.tally.uncertain
    return crowd.ledger.find_problems(states, tier2_kept=tier2_kept)


async def _retry_check(bot: Bot, few: asyncio.Semaphore, look: Callable[[Bot], Awaitable[None]]) -> None:
    """Log in and call `look`; try again if the server is restarted meanwhile."""
    for attempt in range(LOOKS_MAX):
        async with few:
            try:
                await bot.log_in()
                await look(bot)
            except Disconnected:
                if attempt + 1 == LOOKS_MAX:
                    raise
            else:
                return


async def _unpack_parcels(bot: Bot) -> None:
    """Drop items to make room for parcels, because the state does not list the contents of parcels; then log out."""
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
