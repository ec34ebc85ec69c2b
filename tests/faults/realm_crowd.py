"""Players whose clients are here, in another process than their servers: they know what they were told, and nothing else."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from realmkeep.keeping.live.op_ring import RING_OPS
from simulation.model import Model

ANSWER_S_MAX = 0.5  # then a client asks elsewhere; the answer counts all the same when it comes
POLL_S = 0.02
UNWANTED_OF = 5  # letters go back to their senders
UNANSWERED_MAX = RING_OPS // 2  # what a client may leave unanswered is the ring; several may trade with it at once

Answer = dict[str, Any]


class Line:
    """The connection to one server process. What it says counts when it is read here, whoever still waits for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, told: "Told") -> None:
        self._reader = reader
        self._writer = writer
        self._told = told
        self._asked: dict[int, tuple[Answer, asyncio.Future[Answer]]] = {}
        self._next = 0
        self._reading = asyncio.create_task(self._read())

    def send(self, do: str, **arguments: object) -> asyncio.Future[Answer]:
        """Send a request; its answer, or ConnectionError if the server ends before it."""
        request: Answer = {"id": self._next, "do": do, "with": arguments}
        self._next += 1
        answer = asyncio.get_running_loop().create_future()
        if self._reading.done():
            answer.set_exception(ConnectionResetError("the server is gone"))
        else:
            self._asked[request["id"]] = request, answer
            self._writer.write(msgspec.json.encode(request) + b"\n")
        return answer

    async def ask(self, do: str, /, **arguments: object) -> Answer:
        """Send a request and wait for its answer, but not for long.

        Raises:
            ConnectionError: The server ended first.
            TimeoutError: No answer yet.
        """
        answer = _quiet(self.send(do, **arguments))
        async with asyncio.timeout(ANSWER_S_MAX):
            return await asyncio.shield(answer)

    async def _read(self) -> None:
        with suppress(ConnectionError):
            while line := await self._reader.readline():
                if not line.endswith(b"\n"):
                    break
                answer: Answer = msgspec.json.decode(line)
                if "clean" in answer:
                    self._told.clean(answer["clean"])
                    continue
                request, waiting = self._asked.pop(answer["id"])
                self._told.answered(request["do"], request["with"], answer)
                if not waiting.done():
                    waiting.set_result(answer)
        for _, waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the server is gone"))

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        await self._reading


def _quiet(future: asyncio.Future[Answer]) -> asyncio.Future[Answer]:
    """Whoever gave up waiting does not hear of the end."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


@dataclass
class Told:
    """Everything that any client was told; a promise each."""

    model: Model
    xp: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    deaths: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    xp_asked: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    refused: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    deposited: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    counts: Counter[str] = field(default_factory=Counter[str])

    def clean(self, heroes: dict[str, int]) -> None:
        """A server says that this is durable."""
        for number, xp in heroes.items():
            self.xp[int(number)] = max(self.xp[int(number)], xp)

    def answered(self, do: str, asked: Answer, answer: Answer) -> None:
        """A server's answer was read."""
        self.counts[answer.get("no") or answer.get("error") or do] += 1
        if "defect" in answer:
            self.model.violations.append(answer["defect"])
        if "no" in answer or "error" in answer:
            return
        if answer.get("repeated"):
            self.counts["repeated"] += 1
        if do == "die":
            self.deaths[asked["who"]] = max(self.deaths[asked["who"]], answer["deaths"])
        elif do in {"deposit", "mail"}:
            self.model.acked[asked["who"]].add(asked["op"])
        elif do == "trade":
            self.model.acked[asked["who"]].add(asked["ops"][0])
            self.model.acked[asked["to"]].add(asked["ops"][1])
        if do == "deposit":
            self.deposited[asked["who"]].add(asked["op"])
        if do == "mail":
            self.model.sent[asked["to"]].add(asked["letter"])

    @property
    def acked(self) -> int:
        """Operations of players that were acknowledged."""
        return sum(map(len, self.model.acked.values()))


class Servers(Protocol):
    """Where the servers are."""

    @property
    def lines(self) -> dict[str, Line]:
        """Those that can be reached, by name."""
        ...


class Client:
    """One player: plays until told to stop; then every operation that it sent is answered."""

    def __init__(self, number: int, crowd: "Crowd", rng: random.Random) -> None:
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

    def op(self) -> int:
        """The next operation id."""
        self._next_op += 1
        self._unanswered.add(self._next_op)
        return self._next_op

    def hears(self, op: int) -> None:
        """The operation was answered."""
        self._unanswered.discard(op)

    async def play(self) -> None:
        """Play until the crowd is to stop."""
        actions = (self._trade, self._trade, self._trade, self._deposit, self._mail, self._earn, self._earn, self._die)
        rarely = (self._travel, self._vanish, self._leave_chest)
        while not self._crowd.over:
            if not self.may_start:
                await self._earn()
            else:
                await self._random.choice(rarely if self._random.random() < 0.04 else actions)()

    async def enter(self) -> None:
        """Log in somewhere."""
        await self.find()

    async def find(self) -> Line:
        """The server that has the player, logged in there."""
        line = self._crowd.servers.lines.get(self.at or "")
        while line is None:
            self.at = None
            for name in self._random.sample(sorted(self._crowd.servers.lines), len(self._crowd.servers.lines)):
                if (line := await self._login(name)) is not None:
                    self.at = name
                    break
            else:
                await asyncio.sleep(POLL_S)
        return line

    async def _login(self, name: str) -> Line | None:
        line = self._crowd.servers.lines.get(name)
        if line is None:
            return None
        try:
            answer = await line.ask("login", who=self.number)
        except (ConnectionError, TimeoutError):
            return None
        return line if "xp" in answer else None

    async def insist(self, do: str, **arguments: object) -> Answer:
        """Send an operation to whichever server has the player, until it is answered."""
        attempts = 0
        while True:
            line = await self.find()
            attempts += 1
            if self._random.random() < 0.1:
                _quiet(line.send(do, **arguments))  # the same once more, at the same time
                attempts += 1
            try:
                answer = await line.ask(do, **arguments)
            except (ConnectionError, TimeoutError):
                self.at = None
                continue
            if answer.get("no") == "Absent":
                self.at = None
            elif "no" in answer or "error" not in answer:
                self._crowd.settled(arguments, answer, attempts)
                return answer
            await asyncio.sleep(POLL_S)

    async def _trade(self) -> None:
        mates = [
            client
            for client in self._crowd.clients
            if client is not self and client.at == self.at is not None and client.may_start
        ]
        if mates:
            taker = self._random.choice(mates)
            ops = self.op(), taker.op()
            await self.insist("trade", who=self.number, to=taker.number, amount=self._random.randint(1, 9), ops=ops)
        else:
            await self._earn()

    async def _deposit(self) -> None:
        amount = self._random.randint(-9, 9)  # or a withdrawal
        await self.insist("deposit", who=self.number, amount=amount, op=self.op())

    async def _mail(self) -> None:
        to = self._random.choice(self._crowd.clients).number
        letter, amount = self._crowd.letter(), self._random.randint(1, 5)
        wanted = letter % UNWANTED_OF != 0
        await self.insist("mail", who=self.number, to=to, amount=amount, op=self.op(), letter=letter, wanted=wanted)

    async def _earn(self) -> None:
        xp = self._random.randint(1, 5)
        self._crowd.told.xp_asked[self.number] += xp
        await self._once("earn", who=self.number, xp=xp)

    async def _die(self) -> None:
        await self._once("die", who=self.number)

    async def _leave_chest(self) -> None:
        await self._once("leave_chest")

    async def _travel(self) -> None:
        await self._once("logout", who=self.number)
        self.at = None

    async def _vanish(self) -> None:
        await self._once("disconnect", who=self.number)
        self.at = None

    async def _once(self, do: str, **arguments: object) -> None:
        """What a client does not send again."""
        line = await self.find()
        try:
            answer = await line.ask(do, **arguments)
        except (ConnectionError, TimeoutError):
            self.at = None
        else:
            if answer.get("no") == "Absent":
                self.at = None


class Crowd:
    """All players of a realm."""

    def __init__(self, servers: Servers, heroes: int, rng: random.Random) -> None:
        self.servers = servers
        self.told = Told(Model(heroes))
        self.clients = [Client(number, self, random.Random(rng.random())) for number in range(heroes)]
        self.over = False
        self._letters = 0
        self._playing: list[asyncio.Task[None]] = []

    def letter(self) -> int:
        """The next letter's number."""
        self._letters += 1
        return self._letters

    def settled(self, asked: dict[str, Any], answer: Answer, attempts: int) -> None:
        """A client has its answer. That an operation was refused is certain only if it was asked for once."""
        for who, op in zip((asked["who"], asked.get("to")), asked.get("ops") or (asked["op"],), strict=False):
            assert isinstance(who, int)
            self.clients[who].hears(op)
            if "no" in answer and attempts == 1:
                self.told.refused[who].add(op)

    def start(self) -> None:
        """Let them play."""
        self.over = False
        self._playing = [asyncio.create_task(client.play()) for client in self.clients]

    async def stop(self) -> None:
        """Let every client hear of what it sent last."""
        self.over = True
        await self.until(lambda: all(task.done() for task in self._playing), "every client is answered")
        for task in self._playing:
            task.result()
        self._playing = []

    async def gather(self) -> None:
        """Every player logs in, wherever it can."""
        for client in self.clients:
            client.at = None
        self._playing = [asyncio.create_task(client.enter()) for client in self.clients]
        await self.until(lambda: all(task.done() for task in self._playing), "every player is logged in")

    async def abandon(self) -> None:
        """After a failure."""
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)

    async def until(self, condition: Callable[[], bool], what: str, *, limit_s: float = 60.0) -> None:
        """Return when it holds; fail if a client failed, or it takes for ever."""
        try:
            async with asyncio.timeout(limit_s):
                while not condition():
                    for task in self._playing:
                        if task.done() and not self.over:
                            task.result()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(f"not within {limit_s:g} s: {what}; {self.told.counts}") from None
