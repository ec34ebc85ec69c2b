"""One seed, one history: servers, players, faults and a checker, on a clock that only the simulation turns."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from realmkeep.config import KeeperConfig
from realmkeep.drill.checks.model import Model
from realmkeep.drill.game import Bankrupt, Chest, Hero, Sword, deposit, mail, opens_letters, trade
from realmkeep.errors import (
    AlreadyOwned,
    CommitPending,
    CommitUnknown,
    KeepingError,
    NameTaken,
    RealmkeepError,
    SessionEnded,
    StorageError,
)
from realmkeep.keeping import Keeper, Op, Session
from realmkeep.keeping.writing.flusher import AHEAD_WRITES
from realmkeep.storage import AnyTransaction, Capability, Committed, Guard, Put, WriteOutcome
from realmkeep.storage.memory import MemoryContents, MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, NONE, Fault, FaultyStorage, delay, late, seeded_faults
from realmkeep.testing.lab import abandon
from simulation.clock import SkewedClock

FLUSH_S = 3.0  # a tenth of the real intervals, so that a seed's minute sees many of them
LEASE_S = 3.0
GRACE_S = 3.0
LOSS_S = 3.0  # longer than the moments that a rewind takes back
UNWANTED_OF = 5  # letters: each of the others is opened
LETTERS_A_FLOOD = 40  # more than a ring stores
STEPS = 50
STEP_S_MAX = 1.0
OUTAGE_S_MAX = 6.0
LOST_IN_A_ROW_MAX = 2  # each costs a beat of the lease, which has three
QUEUE_MAX = 200
LOGIN_TRIES = 40
SKEWS_S = (0.0, 0.0, 0.5, 30.0, 4000.0)  # between two machines: none, and what happens without a time service


def is_wanted(letter: int) -> bool:
    """Whether its receiver keeps this letter."""
    return letter % UNWANTED_OF != 0


@dataclass
class Request:
    """An operation that a client sends until it is answered."""

    ops: dict[int, int]
    run: Callable[..., object]
    with_chest: bool = False
    letters: tuple[int, Sequence[int]] | None = None
    sent: int = 0  # how often


@dataclass
class Player:
    """A client: it raises its op ids, and sends again what it has no answer to."""

    number: int
    next_op: int = 1
    unanswered: list[Request] = field(default_factory=list)
    xp: list[tuple[float, int]] = field(default_factory=list)

    def op(self) -> int:
        self.next_op += 1
        return self.next_op - 1


class Watched(MemoryStorage):
    """One server's way to the store: nobody but the owner changes a record."""

    def __init__(self, store: MemoryStore, clock: FakeClock, violations: list[str], *, loses: bool) -> None:
        super().__init__(store, clock=clock)
        self._loses = loses
        self.owner: bytes | None = None
        self._violations = violations

    def _revisions(self, transaction: AnyTransaction) -> dict[str, int]:
        """The revisions that the store holds of the records that a transaction changes."""
        keys = [effect.key for effect in transaction.effects if effect.key.endswith(":updated")]
        return {key: int(self.store.value(key) or b"0") for key in keys}

    @property
    def capability(self) -> Capability:
        """As of a store that other servers use as well; if it is going to lose something, that is its last moments."""
        loss_window_s = LOSS_S if self._loses else None
        return msgspec.structs.replace(super().capability, shared=True, loss_window_s=loss_window_s)

    async def flush(self) -> None:
        """Return when nothing of before can be lost."""
        await super().flush()
        if self._loses:
            await self._clock.sleep(LOSS_S)

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """Apply them one by one, and look who owned what each changed."""
        outcomes: list[WriteOutcome] = []
        for transaction in transactions:
            owners = {
                effect: self.store.value(effect.key.removesuffix(":updated") + ":owner")
                for effect in transaction.effects
                if isinstance(effect, Put) and effect.key.endswith(":updated")
            }
            claimed = {effect.key for effect in transaction.effects if isinstance(effect, Put)}
            before = self._revisions(transaction)
            outcomes += await super().write([transaction])
            for key, revision in self._revisions(transaction).items():
                if revision < before[key]:
                    self._violations.append(f"{key} went back from {before[key]} to {revision}")
            for effect, owner in owners.items():
                owner_key = effect.key.removesuffix(":updated") + ":owner"
                foreign = owner is None or (self.owner is not None and not owner.startswith(self.owner))
                allowed = owner_key in claimed or heals(transaction, Guard(owner_key, owner), int(effect.value))
                if isinstance(outcomes[-1], Committed) and self.owner is not None and foreign and not allowed:
                    self._violations.append(f"{self.owner.decode()} wrote {effect.key}, owned by {owner}")
        return outcomes


def heals(transaction: AnyTransaction, owner: Guard, revision: int) -> bool:
    """It writes what left here over an older state, whose owner, if any, it knows and had been followed by it."""
    token = int((owner.expected or b"0").rpartition(b"/")[2])
    return owner in transaction.guards and token < revision


class Simulation:
    """Plays one seed; `model.violations` says what broke.

    Args:
        seed: Decides everything.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        random.seed(seed)  # the keeper's jitter
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.names = [f"s{number}" for number in range(self.random.choice((2, 3)))]
        self.players = [Player(number) for number in range(self.random.randint(4, 16))]
        self.model = Model(len(self.players))
        skew_s = self.random.choice(SKEWS_S)
        self.clocks = {name: SkewedClock(self.clock, self.random.uniform(-skew_s, skew_s)) for name in self.names}
        self.keepers: dict[str, Keeper] = {}
        self.lines: dict[str, FaultyStorage] = {}
        self.fault_rate = 0.0
        self.peaceful = self.random.random() < 0.15
        self.rewinds = self.random.random() < 0.2 and not self.peaceful
        self.disturbed_s = 0.0
        self.tasks: dict[asyncio.Task[None], str] = {}  # what clients wait for, and at which server
        self.letters = 0
        self.done: dict[str, int] = {}

    # --- the whole story

    async def play(self) -> Model:
        """From the first login to the last logout."""
        if not self.peaceful:
            self.fault_rate = self.random.choice((0.0, 0.0, 0.02, 0.1, 0.3))
        for name in self.names:
            await self.start(name)
        actions = (
            *(self.earn,) * 6, *(self.hurt,) * 2, *(self.move,) * 2, *(self.trade,) * 8, *(self.deposit,) * 4,
            *(self.mail,) * 4, *(self.login,) * 8, self.logout, self.disconnect, self.resume, self.retry, self.cancel,
            self.hand_over, self.pile_up,
        )  # fmt: skip
        if not self.peaceful:
            actions = (
                *actions,
                self.crash,
                self.lose_reply,
                self.late_request,
                self.outage,
                self.pause,
                self.set_clock,
            )
        if self.rewinds:
            actions = (*actions, *(self.rewind,) * 3)
        for _ in range(STEPS):
            action = self.random.choice(actions)
            self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
            await action()
            await self.clock.advance(self.random.choice((0.0, 0.01, 0.1, STEP_S_MAX)))
            self.check()
            if self.model.violations:
                break
        if not self.model.violations:
            await self.calm_down()
        await self.end()
        return self.model

    def check(self) -> None:
        self.model.check(self.store)
        for name, keeper in self.keepers.items():
            if keeper.status().queue_depth > QUEUE_MAX + AHEAD_WRITES:
                self.model.violations.append(f"the queue of {name} is {keeper.status().queue_depth} deep")
            if self.peaceful and keeper.status().recoveries:
                self.model.violations.append(f"{name} had to send writes again although nothing went wrong")
            if failed := [reason for reason in keeper.degraded if "failed" in reason]:
                self.model.violations.append(f"{name}: {failed}")

    async def calm_down(self) -> None:
        """The faults end, everybody comes back, and everything that was promised is there."""
        self.fault_rate = 0.0
        for name in self.names:
            if name not in self.keepers:
                await self.start(name)
            self.lines[name].down = False
            self.lines[name].plan = undisturbed
        await self.clock.advance(2 * LEASE_S + GRACE_S + 10)
        for player in self.players:
            if (session := self.session(player)) is not None:
                self.spawn(session.server, self._leave(session))
                await self.clock.advance(1.0)
            await self.come_back(player)
        await self.clock.advance(5.0)
        for player in self.players:
            for _ in range(len(player.unanswered)):
                await self.send(player.unanswered.pop(0), again=True)
                await self.clock.advance(0.5)
        await self.clock.advance(5.0 + 4 * LOSS_S)  # a letter that is sent again, opened, returned, and opened there
        self.check()
        self.check_calm()
        for keeper in list(self.keepers.values()):
            report = await self.clock.finish(keeper.close())
            if not report.clean:
                self.model.violations.append(f"not everything was saved at the end: {report}")
        self.keepers.clear()
        self.model.check(self.store, settled=True)

    def check_calm(self) -> None:
        """Nothing is wrong any more, and nobody waits."""
        if self.tasks:
            self.model.violations.append(f"callers were never answered: {list(self.tasks)}")
        if degraded := [reason for keeper in self.keepers.values() for reason in keeper.degraded]:
            self.model.violations.append(f"degraded at the end: {degraded}")
        for keeper in self.keepers.values():
            dirty = sum(session.dirty for session in [*keeper.sessions(Hero), *keeper.sessions(Chest)])
            if (counted := keeper.status().dirty_records) != dirty:
                self.model.violations.append(f"{counted} records count as dirty, {dirty} are")

    async def come_back(self, player: Player) -> None:
        for _ in range(LOGIN_TRIES):
            if self.session(player) is not None:
                return
            await self.enter(player, self.random.choice(self.names))
            await self.clock.advance(1.0)
        self.model.violations.append(f"player {player.number} cannot log in")

    async def end(self) -> None:
        for keeper in self.keepers.values():
            abandon(keeper)
        for task in list(self.tasks):
            task.cancel()
        await self.clock.advance(30.0)

    # --- servers

    async def start(self, name: str) -> None:
        watched = Watched(self.store, self.clock, self.model.violations, loses=self.rewinds)
        line = FaultyStorage(watched, clock=self.clock, store=self.store)
        config = KeeperConfig(
            name=name, flush_interval_s=FLUSH_S, checkpoint_interval_s=2 * FLUSH_S, sweep_interval_s=2.0,
            heartbeat_s=LEASE_S / 3, lease_ttl_s=LEASE_S, grace_s=GRACE_S, queue_max=QUEUE_MAX, tier1_rate_per_s=100,
            strict=False, pending_after_s=1.0, slice_ms=50,
        )  # fmt: skip
        nowhere = Path(os.devnull)  # a seed that fails to save everybody leaves no file in the tree
        hooks = opens_letters()

        @hooks.on_lost_ownership(Hero)
        def _(session: Session[Hero], reason: str) -> None:
            if (self.store.value(session.keys.owner) or b"").startswith(watched.owner or b"?"):
                self.model.violations.append(f"{name} gave up {session.keys.record}, which it owns: {reason}")

        opening = Keeper.open(line, config=config, hooks=hooks, clock=self.clocks[name], rescue_path=nowhere)
        keeper = await self.clock.finish(opening)
        watched.owner = f"{name}/{keeper.status().incarnation}/".encode()
        line.plan = seeded_faults(self.random.randrange(1 << 30), rate=self.fault_rate)

        self.keepers[name], self.lines[name] = keeper, line
        if self.random.random() < 0.7:
            self.spawn(name, self.recover(keeper))

    async def recover(self, keeper: Keeper) -> None:
        try:
            await keeper.recover(Hero)
        except RealmkeepError:
            return

    async def crash(self) -> None:
        if not self.keepers:
            return
        name = self.random.choice(list(self.keepers))
        self.check_window(name)
        keeper = self.keepers.pop(name)
        for session in keeper.sessions(Hero):
            self.players[int(session.id)].xp = []  # what was promised of this life
        abandon(keeper)
        await self.drop_tasks(name)
        await self.clock.advance(self.random.choice((0.0, 0.1, LEASE_S + 1)))
        try:
            await self.start(name)
        except (StorageError, NameTaken):
            return

    async def drop_tasks(self, name: str) -> None:
        for task in [task for task, at in self.tasks.items() if at == name]:
            task.cancel()
        await self.clock.settle()

    def check_window(self, name: str) -> None:
        """A crash loses at most the promised window of tier 2, if nothing else went wrong meanwhile."""
        now_s = self.clock.monotonic_s()
        if self.fault_rate or now_s - self.disturbed_s < 3 * FLUSH_S:
            return
        for session in self.keepers[name].sessions(Hero):
            earned = self.players[int(session.id)].xp
            # What was earned on top of a commit that was refused has gone with it.
            promised = [xp for at_s, xp in earned if at_s <= now_s - FLUSH_S and xp <= session.record.xp]
            self.model.check_tier_2(self.store, int(session.id), max(promised, default=0))

    # --- players

    def session(self, player: Player) -> Session[Hero] | None:
        for keeper in self.keepers.values():
            session = keeper.session(Hero, player.number)
            if session is not None and session.connected:
                return session
        return None

    def somebody(self) -> tuple[Player, Session[Hero]] | None:
        here = [(player, session) for player in self.players if (session := self.session(player)) is not None]
        return self.random.choice(here) if here else None

    async def login(self) -> None:
        if self.keepers:
            await self.enter(self.random.choice(self.players), self.random.choice(list(self.keepers)))

    async def enter(self, player: Player, name: str) -> None:
        self.spawn(name, self._enter(player, self.keepers[name]))
        await self.clock.settle()

    async def _enter(self, player: Player, keeper: Keeper) -> None:
        swords = [Sword(player.number)] if player.number % 2 else []
        try:
            await keeper.login(Hero, player.number, create=lambda: Hero(swords=swords))
        except (KeepingError, StorageError):
            return
        player.xp = []

    async def logout(self) -> None:
        if (here := self.somebody()) is not None:
            self.spawn(here[1].server, self._leave(here[1]))

    async def leave_chest(self) -> None:
        for name, keeper in self.keepers.items():
            if (chest := keeper.session(Chest, 0)) is not None:
                self.spawn(name, self._leave(chest))

    async def _leave(self, session: Session[Any]) -> None:
        try:
            await session.logout()
        except CommitPending as pending:
            await self._finally(pending)
        except KeepingError:
            return

    async def hand_over(self) -> None:
        """A player changes servers, with the last change of the first one."""
        here = self.somebody()
        if here is None or len(self.keepers) < 2:
            return
        player, session = here
        leaves = self.keepers[session.server]
        if leaves.status().queue_depth:
            return  # what is under way may be refused, and takes back with it what came after
        recoveries = leaves.status().recoveries
        session.record.xp += 1
        carried = session.record.xp
        task = self.spawn(session.server, self._leave(session))
        await self.clock.advance(1.0)
        if not task.done() or session.state.value != "ended" or leaves.status().recoveries != recoveries:
            return
        name = self.random.choice(list(self.keepers))
        if self.keepers[name].session(Hero, player.number) is not None:
            return  # that server slept when somebody took the player, and does not know yet
        await self.enter(player, name)
        await self.clock.advance(0.5)
        there = self.keepers[name].session(Hero, player.number)
        if there is not None and there.record.xp < carried:
            self.model.violations.append(
                f"player {player.number} changed servers and lost {carried - there.record.xp} xp"
            )

    async def disconnect(self) -> None:
        if (here := self.somebody()) is not None:
            here[1].disconnect()

    async def resume(self) -> None:
        for keeper in self.keepers.values():
            for session in keeper.sessions(Hero):
                if session.state.value == "grace" and self.random.random() < 0.5:
                    session.resume()

    # --- changes

    async def earn(self) -> None:
        if (here := self.somebody()) is not None:
            player, session = here
            # Experience earned on top of a refused commit went with it, although as much may be earned again.
            player.xp = [each for each in player.xp if each[1] <= session.record.xp]
            session.record.xp += self.random.randint(1, 5)
            player.xp.append((self.clock.monotonic_s(), session.record.xp))

    async def hurt(self) -> None:
        """A death and the respawn in one tick: the death is durable when the session has settled."""
        if (here := self.somebody()) is not None:
            record = here[1].record
            record.hp = max(0, record.hp - 4)
            if record.hp == 0:
                record.deaths += 1
                record.hp = 10

    async def move(self) -> None:
        if (here := self.somebody()) is not None:
            here[1].record.x += self.random.random()

    async def pile_up(self) -> None:
        """Many at once."""
        for _ in range(8):
            await self.random.choice((self.trade, self.deposit, self.mail, self.earn))()

    async def trade(self) -> None:
        here = self.somebody()
        if here is None:
            return
        giver = here[0]
        others = [
            player
            for player in self.players
            if player is not giver and (at := self.session(player)) is not None and at.server == here[1].server
        ]
        if not others:
            return
        taker = self.random.choice(others)
        ops, amount, fail = (giver.op(), taker.op()), self.random.randint(1, 30), self.random.random() < 0.2

        def run(_: Keeper, a: Hero, b: Hero) -> object:
            return trade(a, b, amount=amount, ops=ops, fail=fail)

        await self.send(Request({giver.number: ops[0], taker.number: ops[1]}, run))

    async def deposit(self) -> None:
        if (here := self.somebody()) is not None:
            player, amount = here[0], self.random.randint(1, 20)
            op = player.op()

            def run(_: Keeper, hero: Hero, chest: Chest) -> object:
                return deposit(hero, chest, amount=amount, op=op, who=player.number)

            await self.send(Request({player.number: op}, run, with_chest=True))

    async def mail(self) -> None:
        if (here := self.somebody()) is not None:
            player, amount, to = here[0], self.random.randint(1, 20), self.receiver()
            op, self.letters = player.op(), self.letters + 1
            letter = self.letters

            def run(keeper: Keeper, hero: Hero) -> object:
                return mail(keeper, hero, to=to, amount=amount, op=op, letter=letter, wanted=is_wanted(letter))

            await self.send(Request({player.number: op}, run, letters=(to, [letter])))

    def receiver(self) -> int:
        """Of a letter; one that was never made refuses it, which halts the line: where nothing is to go wrong, one that was."""
        made = [player.number for player in self.players if self.store.exists(f"sim-hero:{player.number}")]
        return self.random.choice(made if self.peaceful else [player.number for player in self.players])

    async def flood(self) -> None:
        """Many letters to one, in one commit."""
        if (here := self.somebody()) is not None:
            player, to = here[0], self.receiver()
            op, first = player.op(), self.letters + 1
            self.letters += LETTERS_A_FLOOD
            letters = range(first, first + LETTERS_A_FLOOD)

            def run(keeper: Keeper, hero: Hero) -> object:
                sent: object = None
                for letter in letters:
                    sent = mail(keeper, hero, to=to, amount=1, op=op, letter=letter, wanted=is_wanted(letter))
                    hero.applied.remove(op)
                hero.applied.append(op)
                return sent

            await self.send(Request({player.number: op}, run, letters=(to, letters)))

    async def change_servers(self) -> None:
        """A player goes on to another server at once."""
        if (here := self.somebody()) is not None:
            self.spawn(here[1].server, self._leave(here[1]))
            await self.clock.settle()
            await self.enter(here[0], self.random.choice(list(self.keepers)))

    async def retry(self) -> None:
        """A client sends again what was never answered, or what was answered long ago."""
        player = self.random.choice(self.players)
        if player.unanswered:
            await self.send(player.unanswered.pop(0), again=True)

    async def send(self, request: Request, *, again: bool = False) -> None:
        sessions = [self.session(self.players[number]) for number in request.ops]
        here = [session for session in sessions if session is not None]
        if len(here) < len(sessions) or len({session.server for session in here}) > 1:
            if again:
                self.players[next(iter(request.ops))].unanswered.append(request)
            return
        name = here[0].server
        self.spawn(name, self._send(self.keepers[name], request, here))
        if self.random.random() < 0.2:
            self.spawn(name, self._send(self.keepers[name], request, here))  # the same request once more, at once

    async def _send(self, keeper: Keeper, request: Request, sessions: list[Session[Hero]]) -> None:
        first = self.players[next(iter(request.ops))]
        ops = tuple(Op(op, b"request") for op in request.ops.values())
        request.sent += 1
        answered = False
        try:
            members: list[Session[Any]] = [*sessions]
            if request.with_chest:
                members.append(await keeper.hold(Chest, 0, create=Chest))
            await keeper.commit_all(lambda records: request.run(keeper, *records), members, ops=ops)
            answered = True
            self._acknowledge(request)
        except CommitPending as pending:
            answered = await self._finally(pending)
            if answered:
                self._acknowledge(request)
        except (Bankrupt, AlreadyOwned):
            answered = True
        except CommitUnknown:
            return
        except RealmkeepError as error:
            if request.sent == 1 and error.outcome == "not_applied":
                self.model.check_told(self.store, request.ops, error)
        finally:
            if not answered:
                first.unanswered.append(request)

    def _acknowledge(self, request: Request) -> None:
        for number, op in request.ops.items():
            self.model.acked[number].add(op)
        if request.letters is not None:
            self.model.sent[request.letters[0]].update(request.letters[1])

    async def _finally(self, pending: CommitPending) -> bool:
        try:
            await pending.wait()
        except KeepingError:
            return False
        return True

    # --- faults

    async def lose_reply(self) -> None:
        self._any_line().script("write", LOSE_REPLY)

    async def late_request(self) -> None:
        self._any_line().script("write", late(self.random.uniform(0, 2 * LEASE_S)))

    def _any_line(self) -> FaultyStorage:
        self.disturbed_s = self.clock.monotonic_s()
        return self.lines[self.random.choice(self.names)]

    async def set_clock(self) -> None:
        """An operator sets the clock of one machine, forwards or back."""
        self.clocks[self.random.choice(self.names)].step(self.random.choice((-60.0, -1.0, 1.0, 60.0)))

    async def outage(self) -> None:
        """The store is away for everybody."""
        await self._down(self.names)

    async def pause(self) -> None:
        """One server is cut off, perhaps past its lease, and goes on playing meanwhile."""
        await self._down([self.random.choice(self.names)])

    async def _down(self, names: list[str]) -> None:
        for name in names:
            self.lines[name].down = True
        for _ in range(3):
            await self.random.choice((self.trade, self.earn, self.deposit, self.login, self.hurt))()
            await self.clock.advance(self.random.uniform(0, OUTAGE_S_MAX / 3))
            self.check()
        for name in names:
            self.lines[name].down = False
        self.disturbed_s = self.clock.monotonic_s()

    async def rewind(self) -> None:
        """The store crashes, and has lost the last moments; the servers, which live, write everything again.

        Also what those had who logged out in the lost moments, wherever they come back meanwhile.
        """
        for name in self.names:
            self.lines[name].plan = undisturbed
        for keeper in self.keepers.values():
            for session in keeper.sessions(Hero):
                if session.state.value == "grace":
                    session.resume()
        await self.clock.advance(2 * LEASE_S + 10)
        await self.flood()
        await self.flood()
        await self.clock.advance(self.random.uniform(LOSS_S - 2, LOSS_S + 1))  # to be opened in what is lost
        before = self.store.snapshot()
        acked, sent = [{number: {*ids} for number, ids in told.items()} for told in (self.model.acked, self.model.sent)]
        moments = (
            self.flood,
            self.change_servers,
            self.trade,
            self.trade,
            self.deposit,
            self.mail,
            self.earn,
            self.login,
            self.logout,
            self.leave_chest,
        )
        for _ in range(self.random.randint(2, 8)):
            await self.random.choice(moments)()
            await self.clock.advance(self.random.uniform(0, 0.3))
        await self._lose_since(before, moments)
        self.model.revisions.clear()
        self.disturbed_s = self.clock.monotonic_s()
        if self.random.random() < 0.4 and self.keepers:  # what that server was told is lost with it, as a whole
            dead = self.random.choice(list(self.keepers))
            abandon(self.keepers.pop(dead))
            await self.drop_tasks(dead)
            self.model.acked.clear()
            self.model.acked.update(acked)
            self.model.sent.clear()
            self.model.sent.update(sent)
            for player in self.players:
                player.xp = []
                player.unanswered.clear()  # what was built on is gone
        if self.random.random() < 0.5:
            await self.clock.advance(self.random.uniform(0, 0.3))
            for _ in range(self.random.randint(1, 3)):
                await self.login()  # before the loss was noticed
        await self.clock.advance(2 * LEASE_S + 2 * FLUSH_S)

    async def _lose_since(self, before: MemoryContents, moments: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """The store comes back as it was then; perhaps writes were under way, and perhaps it dies again."""
        if self.random.random() < 0.5:  # what is queued then is answered late or never, and may be lost all the same
            line = self.lines[self.random.choice(self.names)]
            faults = [self.random.choice((delay(0.0, 0.4), LOSE_REPLY)) for _ in range(4)]
            line.script("write", *not_silent(faults))
            for _ in range(self.random.randint(2, 6)):
                await self.random.choice(moments)()
                await self.clock.advance(self.random.choice((0.0, 0.05)))
        self.store.restore(before)
        if self.random.random() < 0.4:  # it dies again, with what the servers had written again by then
            await self.clock.advance(self.random.uniform(0, 2.0))
            self.lines[self.random.choice(self.names)].script(
                "write", self.random.choice((NONE, LOSE_REPLY, LOSE_REQUEST))
            )
            if self.random.random() < 0.5:
                before = self.store.snapshot()
                await self.clock.advance(self.random.uniform(0, 1.0))
            self.store.restore(before)

    async def cancel(self) -> None:
        """A caller gives up waiting; its commit does not."""
        if self.tasks:
            self.random.choice(list(self.tasks)).cancel()
            await self.clock.settle()

    # --- tasks

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks[task] = name
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self.tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, SessionEnded):
            self.model.violations.append(f"a client saw {error!r}")


def not_silent(faults: Sequence[Fault]) -> list[Fault]:
    """The faults without a third lost reply: a server that is silent for its lease after a loss is left behind by the others."""
    kept: list[Fault] = []
    for fault in faults:
        kept.append(NONE if fault is LOSE_REPLY and kept.count(LOSE_REPLY) == LOST_IN_A_ROW_MAX else fault)
    return kept


def play(seed: int) -> Simulation:
    """Play one seed."""
    simulation = Simulation(seed)
    asyncio.run(simulation.play())
    return simulation


def undisturbed(_method: str) -> Fault:
    """No faults."""
    return NONE
