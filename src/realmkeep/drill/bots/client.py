"""One player's client: it plays until it is told to stop, and then every operation that it sent is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from realmkeep.drill.bots.line import quiet
from realmkeep.keeping.live.op_ring import RING_OPS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any

    from realmkeep.clock import Clock
    from realmkeep.drill.bots.line import Line
    from realmkeep.drill.bots.told import Answer, Told

POLL_S: Final = 0.02
UNANSWERED_MAX: Final = RING_OPS // 2  # the ring is as long as a client may leave unanswered; several may trade with it
RARELY: Final = 0.04
RESTLESS: Final = 0.4
DOUBLED: Final = 0.1


class Players(Protocol):
    """The crowd, as a client sees it."""

    @property
    def over(self) -> bool:
        """Whether the crowd is to stop."""
        ...

    @property
    def only_earn(self) -> bool:
        """Whether every player is to change fields of tier 2 alone."""
        ...

    @property
    def staying(self) -> bool:
        """Whether no player is to come or go."""
        ...

    @property
    def restless(self) -> bool:
        """Whether players are to come and go more often than usual."""
        ...

    @property
    def lines(self) -> Mapping[str, Line]:
        """The servers that can be reached, by name."""
        ...

    @property
    def clients(self) -> Sequence[Client]:
        """All clients."""
        ...

    @property
    def told(self) -> Told:
        """The answers."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock."""
        ...

    def next_letter(self) -> int:
        """Return the number of the next letter."""
        ...

    @property
    def doublings(self) -> int:
        """How often the network began or ceased to double requests."""
        ...

    def settled(self, asked: dict[str, Any], answer: Answer, *, asked_once: bool) -> None:
        """A client has its answer; that an operation was refused is certain only if it was asked for once."""
        ...


class Client:
    """One player.

    Args:
        number: The player.
        crowd: The crowd.
        rng: Decides what the player does.
    """

    def __init__(self, number: int, crowd: Players, rng: random.Random) -> None:
        self.number = number
        self.at: str | None = None
        self._crowd = crowd
        self._random = rng
        self._next_op = 0
        self._unanswered: set[int] = set()

    @property
    def may_start(self) -> bool:
        """The operations that it has no answer to, its own and those of others' trades, are among its last ones."""
        return self._next_op - min(self._unanswered, default=self._next_op) < UNANSWERED_MAX

    def next_op(self) -> int:
        """Return the next operation id."""
        self._next_op += 1
        self._unanswered.add(self._next_op)
        return self._next_op

    def heard(self, op: int) -> None:
        """The operation was answered."""
        self._unanswered.discard(op)

    async def play(self) -> None:
        """Play until the crowd is to stop."""
        often = (self.trade, self.trade, self.trade, *self.more(), self.earn, self.earn)
        rarely = (self.travel, self.vanish)
        while not self._crowd.over:
            share = 0.0 if self._crowd.staying else RESTLESS if self._crowd.restless else RARELY
            if self._crowd.only_earn or not self.may_start:
                await self.earn()
            else:
                await self._random.choice(rarely if self._random.random() < share else often)()

    def more(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """Return the game's further operations."""
        return ()

    async def find(self) -> Line:
        """Return the server that has the player, logged in there."""
        lines = self._crowd.lines
        line = lines.get(self.at or "")
        while line is None:
            self.at = None
            for name in self._random.sample(sorted(lines), len(lines)):
                if (line := await self._login(name)) is not None:
                    self.at = name
                    break
            else:
                await self._crowd.clock.sleep(POLL_S)
        return line

    async def _login(self, name: str) -> Line | None:
        line = self._crowd.lines.get(name)
        if line is None:
            return None
        try:
            answer = await line.ask("login", who=self.number)
        except (ConnectionError, TimeoutError):
            return None
        return line if "xp" in answer else None

    async def insist(self, do: str, **arguments: object) -> Answer:
        """Send an operation to the server that has the player, until it is answered."""
        attempts, doublings = 0, self._crowd.doublings
        while True:
            line = await self.find()
            attempts += 1
            if self._random.random() < DOUBLED:
                quiet(line.send(do, **arguments))  # the same once more, at the same time
                attempts += 1
            try:
                answer = await line.ask(do, **arguments)
            except (ConnectionError, TimeoutError):
                self.at = None
                continue
            if answer.get("no") == "Absent":
                self.at = None
            elif "no" in answer or "error" not in answer:
                may_double = doublings % 2 or doublings != self._crowd.doublings
                self._crowd.settled(arguments, answer, asked_once=attempts == 1 and not may_double)
                return answer
            await self._crowd.clock.sleep(POLL_S)

    async def once(self, do: str, **arguments: object) -> None:
        """Send a request that a client does not repeat."""
        line = await self.find()
        try:
            answer = await line.ask(do, **arguments)
        except (ConnectionError, TimeoutError):
            self.at = None
        else:
            if answer.get("no") == "Absent":
                self.at = None

    async def trade(self) -> None:
        """Trade with another player of the same server."""
        mates = [
            client
            for client in self._crowd.clients
            if client is not self and client.at == self.at is not None and client.may_start
        ]
        if mates:
            taker = self._random.choice(mates)
            ops = self.next_op(), taker.next_op()
            await self.insist("trade", who=self.number, to=taker.number, amount=self._random.randint(1, 9), ops=ops)
        else:
            await self.earn()

    async def earn(self) -> None:
        """Change a field of tier 2."""
        xp = self._random.randint(1, 5)
        self._crowd.told.xp_asked[self.number] += xp
        await self.once("earn", who=self.number, xp=xp)

    async def travel(self) -> None:
        """Log out; the next login may be elsewhere."""
        await self.once("logout", who=self.number)
        self.at = None

    async def vanish(self) -> None:
        """Disconnect without a logout."""
        await self.once("disconnect", who=self.number)
        self.at = None


class HeroClient(Client):
    """A player of the drill's own game."""

    def more(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """Return its operations beside trades."""
        return (self.deposit, self.mail, self.die)

    async def travel(self) -> None:
        """Log out, or leave the chest to another server."""
        if self._random.random() < 1 / 3:
            await self.once("leave_chest")
        else:
            await super().travel()

    async def deposit(self) -> None:
        """Put gold into the chest, or take some out."""
        await self.insist("deposit", who=self.number, amount=self._random.randint(-9, 9), op=self.next_op())

    async def mail(self) -> None:
        """Send gold in a letter; a fifth of the letters goes back."""
        to = self._random.choice(self._crowd.clients).number
        letter = self._crowd.next_letter()
        amount, wanted = self._random.randint(1, 5), letter % 5 != 0
        op = self.next_op()
        await self.insist("mail", who=self.number, to=to, amount=amount, op=op, letter=letter, wanted=wanted)

    async def die(self) -> None:
        """Die, which escalates."""
        await self.once("die", who=self.number)
