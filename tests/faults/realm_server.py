"""A game server of the simulation's game in a process of its own, so that it can be killed.

One JSON line for a request, one for its answer, over a unix socket; requests run side by side. It ends when its standard
input does, so that nothing is left behind by a test that dies.
"""

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from realmkeep.config import KeeperConfig
from realmkeep.errors import AlreadyOwned, CommitPending, InvalidRecord, RealmkeepError, StorageError
from realmkeep.keeping import Hooks, Keeper, Op, Returned, Session, heal
from realmkeep.keeping.live.op_ring import SAFE, OpRing
from realmkeep.keeping.live.pending_write import PendingWrite
from realmkeep.keeping.ownership.revisions import token_of
from realmkeep.keeping.ownership.safe_point import SafePoint
from realmkeep.keeping.writing.commit import Commits
from realmkeep.keeping.writing.staging import Stager, WriteMember
from realmkeep.records import Record
from realmkeep.storage import OwnedKeys, Step
from realmkeep.storage.redis_sync import SyncOnNewRun
from simulation.game import Chest, Coins, Hero, Sword, deposit, mail, open_letter, take_back, trade
from suite.limits import stacks

REPORT_S = 0.05
MUTANT = "REALM_TEST_MUTANT"


class Settings(msgspec.Struct):
    """What the parent gives as its one argument."""

    store_url: str
    socket: str
    rescue: str
    keeper: KeeperConfig


class Absent(Exception):
    """The player is not here."""


class Apart(Exception):
    """The other player of a trade is not here, and the trade has not happened."""


def stamp(session: Session[Hero]) -> None:
    """Every write of a hero shows under which claim it was made: the checker compares it with the owner key.

    A token is microseconds since 1970, which a float holds exactly.
    """
    token = float(token_of(session.claim))
    if session.record.x != token:
        session.record.x = token


class Server:
    """The game's rules around a keeper."""

    keeper: Keeper  # there is one before the first connection

    def __init__(self) -> None:
        self.hooks = Hooks()
        self.closed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.hooks.on_letter(Hero, Coins)(self._open_letter)
        self.hooks.on_letter(Hero, Returned)(self._take_back)

    def _open_letter(self, hero: Hero, coins: Coins) -> None:
        open_letter(hero, coins)
        self._stamp(hero)

    def _take_back(self, hero: Hero, returned: Returned) -> None:
        take_back(hero, returned)
        self._stamp(hero)

    def _stamp(self, hero: Hero) -> None:
        (session,) = [session for session in self.keeper.sessions(Hero) if session.record is hero]
        stamp(session)

    # --- the wire

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        while line := await reader.readline():
            task = asyncio.create_task(self._answer(msgspec.json.decode(line), writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.discard(writer)

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        try:
            answer = await getattr(self, "do_" + request["do"])(**request["with"])
        except (Absent, Apart, InvalidRecord) as error:  # the last: somebody has less gold than that
            answer = {"no": type(error).__name__}
        except AlreadyOwned as error:
            answer = {"no": "AlreadyOwned", "server": error.server}
        except RealmkeepError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        except Exception:  # noqa: BLE001 - reported, and the test fails
            answer = {"error": "a defect", "defect": traceback.format_exc()}
        writer.write(msgspec.json.encode({"id": request["id"], **answer}) + b"\n")

    async def report(self) -> None:
        """Say of every hero that is not dirty what it has: that is a promise, too."""
        while True:
            await asyncio.sleep(REPORT_S)
            clean = {session.id: session.record.xp for session in self.keeper.sessions(Hero) if not session.dirty}
            for writer in self._writers:
                writer.write(msgspec.json.encode({"clean": clean}) + b"\n")

    # --- players come and go

    async def recover(self) -> None:
        """Until the store answers; what then is recovered starts in grace."""
        while True:
            try:
                recovered = await self.keeper.recover(Hero)
            except StorageError:
                await asyncio.sleep(REPORT_S)
                continue
            for session in recovered:
                stamp(session)
            return

    def _here(self, number: int) -> Session[Hero]:
        session = self.keeper.session(Hero, number)
        if session is None or not session.connected:
            raise Absent
        stamp(session)
        return session

    async def do_login(self, who: int) -> dict[str, Any]:
        live = self.keeper.session(Hero, who)
        if live is None or not live.connected:
            swords = [Sword(who)] if who % 2 else []
            stamp(await self.keeper.login(Hero, who, create=lambda: Hero(swords=swords)))
        return {"xp": self._here(who).record.xp}

    async def do_logout(self, who: int) -> dict[str, Any]:
        try:
            await self._here(who).logout()
        except CommitPending as pending:
            await pending.wait()
        return {}

    async def do_disconnect(self, who: int) -> dict[str, Any]:
        self._here(who).disconnect()
        return {}

    async def do_leave_chest(self) -> dict[str, Any]:
        chest = self.keeper.session(Chest, 0)
        if chest is not None:
            await chest.release()
        return {}

    # --- changes of tier 2, and one that escalates

    async def do_earn(self, who: int, xp: int) -> dict[str, Any]:
        hero = self._here(who).record
        hero.xp += xp
        hero.target = xp
        return {"xp": hero.xp}

    async def do_die(self, who: int) -> dict[str, Any]:
        session = self._here(who)
        session.record.deaths += 1
        session.record.hp, deaths = 0, session.record.deaths
        session.record.hp = 10
        try:
            await session.settled()
        except CommitPending as pending:
            await pending.wait()
        return {"deaths": deaths}

    # --- commits

    async def do_trade(self, who: int, to: int, amount: int, ops: tuple[int, int]) -> dict[str, Any]:
        giver, request = self._here(who), repr((who, to, amount, ops)).encode()
        taker = self.keeper.session(Hero, to)
        if taker is None or not taker.connected:
            return await self._recorded(giver, Op(ops[0], request))
        stamp(taker)

        def run(records: list[Any]) -> object:
            return trade(records[0], records[1], amount=amount, ops=(ops[0], ops[1]), fail=False)

        return await self._commit(run, [giver, taker], Op(ops[0], request), Op(ops[1], request))

    async def _recorded(self, giver: Session[Hero], op: Op) -> dict[str, Any]:
        """A trade whose players have parted: it has happened if the giver's ring says so, and never will otherwise."""
        if giver.recorded(op) is None:
            raise Apart
        await giver.settled()
        return {"repeated": True}

    async def do_deposit(self, who: int, amount: int, op: int) -> dict[str, Any]:
        hero = self._here(who)
        chest = await self.keeper.hold(Chest, 0, create=Chest)

        def run(records: list[Any]) -> object:
            return deposit(records[0], records[1], amount=amount, op=op, who=who)

        return await self._commit(run, [hero, chest], Op(op, repr((who, amount)).encode()))

    async def do_mail(
        self, who: int, to: int, amount: int, op: int, letter: int, *, wanted: bool = True
    ) -> dict[str, Any]:
        def run(records: list[Any]) -> object:
            return mail(self.keeper, records[0], to=to, amount=amount, op=op, letter=letter, wanted=wanted)

        return await self._commit(run, [self._here(who)], Op(op, repr((who, to, amount, letter)).encode()))

    async def _commit(
        self, run: Callable[[list[Any]], object], sessions: list[Session[Any]], *ops: Op
    ) -> dict[str, Any]:
        try:
            receipt = await self.keeper.commit_all(run, sessions, ops=ops)
        except CommitPending as pending:
            await pending.wait()
            return {"late": True}
        return {"repeated": receipt.repeated}

    # --- the server itself

    async def do_state(self) -> dict[str, Any]:
        return {
            "degraded": self.keeper.degraded,
            "forgotten": self.keeper.status().forgotten_marks,
            "violations": self.keeper.status().tier_violations,
            "owned": [session.id for session in self.keeper.sessions(Hero)],
        }

    async def do_heal(self) -> dict[str, Any]:
        heal(self.keeper)
        return {}

    async def do_close(self) -> dict[str, Any]:
        for session in self.keeper.sessions(Hero):
            stamp(session)
        report = await self.keeper.close()
        self.closed.set()
        return {"rescued": report.rescued}


def without_fence() -> None:
    """Writes do not compare the owner."""
    advance = Stager.advance

    def advance_unfenced(self: Stager, *arguments: Any) -> WriteMember:
        member = advance(self, *arguments)
        step, of = member.step, member.step.of
        unfenced = OwnedKeys(of.record, of.updated, of.updated, of.ops, b"%d" % step.follows)
        member.step = Step(unfenced, step.follows, step.leaves, step.stored, step.line)
        return member

    Stager.advance = advance_unfenced  # pyright: ignore[reportAttributeAccessIssue] - it takes what the real one takes


def answers_early() -> None:
    """Nobody waits for the store."""

    async def at_once(self: PendingWrite, *, patient: bool = False) -> None:
        return None

    PendingWrite.wait = at_once


def without_op_ring() -> None:
    """No operation is remembered."""

    def never_repeated(self: Commits, sessions: list[Session[Record]], ops: list[Op]) -> None:
        return None

    Commits.repeated = never_repeated  # pyright: ignore[reportAttributeAccessIssue] - it never finds any


def opens_what_is_not_safe() -> None:
    """Nobody waits until what another server wrote can be lost no more."""

    async def at_once(self: SafePoint, run: str) -> bool:
        return True

    SafePoint.reached = at_once


def begins_without_a_write() -> None:
    """What is read on a new connection counts as durable at once."""

    async def do_nothing(self: SyncOnNewRun, connection: object) -> None:
        return None

    SyncOnNewRun.sync_before_reading = do_nothing


def remembers_few_letters() -> None:
    """As many letters as a ring stores."""
    add_letters = OpRing.add_letters

    def add(self: OpRing, letter_ids: Iterable[str], *, safe_s: float) -> None:
        add_letters(self, letter_ids, safe_s=safe_s)
        self.letters_durable(SAFE)
        add_letters(self, (), safe_s=safe_s)

    OpRing.add_letters = add


BREAKS: Final = {
    "": lambda: None,
    "fence": without_fence,
    "early answer": answers_early,
    "op ring": without_op_ring,
    "first write": begins_without_a_write,
    "unsafe letters": opens_what_is_not_safe,
    "few letters": remembers_few_letters,
}


async def standard_input_ends() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def tell(_number: int, _frame: object) -> None:
    sys.stderr.write(stacks())


async def main(settings: Settings) -> None:
    """Serve until closed; SIGUSR1 asks what all threads and tasks are doing."""
    signal.signal(signal.SIGUSR1, tell)
    server = Server()
    server.keeper = await Keeper.open(
        settings.store_url, config=settings.keeper, hooks=server.hooks, rescue_path=Path(settings.rescue)
    )
    listening = await asyncio.start_unix_server(server.accept, settings.socket)
    work = [asyncio.create_task(each) for each in (server.report(), server.recover(), standard_input_ends())]
    closed = asyncio.create_task(server.closed.wait())
    done, _ = await asyncio.wait([closed, work[2]], return_when=asyncio.FIRST_COMPLETED)
    listening.close()
    if closed not in done:
        os._exit(1)
    for task in work:
        task.cancel()


if __name__ == "__main__":
    logging.basicConfig(format="%(relativeCreated)d %(levelname)s %(message)s", level=logging.INFO)
    BREAKS[os.environ.get(MUTANT, "")]()  # what the checker must catch
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Settings)))
