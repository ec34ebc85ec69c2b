"""One bot: it comes in, does this and that, drops out rudely, and always finds out what became of its operations."""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from realmkeep.clock import Clock
from realmkeep.crowd.client import Connection, Disconnected, Entered, Server
from realmkeep.crowd.journal import Journal
from realmkeep.crowd.ledger import Ledger
from realmkeep.crowd.tally import Tally
from realmkeep.realm.wire.syntax import Message

RETRY_S: Final = 0.5
HEARD_MAX: Final = 64  # older events are forgotten: a bot looks at few of them
BRAVE: Final = 0.5  # so many fight on when they are weak and have nothing to eat
ENTER_S_MAX: Final = 120.0  # a server that is restarted is back by then
SAFE_TO_REPEAT: Final = frozenset(
    {
        "buy",
        "sell",
        "drop",
        "consume",
        "deposit",
        "withdraw",
        "mail",
        "trade_confirm",
        "advance_quest",
        "set",
        "add_friend",
        "remove_friend",
    }
)  # always tier 1: sent again under their id they happen once


@dataclass
class Crowd:
    """What all bots of one crowd share.

    Attributes:
        doors: How many may come in at once: each new password costs the server a hash.
        journal: Where acknowledgements go, if anywhere.
        members: The ids of those who came in.
        end_s: When nobody starts anything new, on the monotonic clock.
        checking: Nobody drops out any more.
    """

    server: Server
    clock: Clock
    tally: Tally
    ledger: Ledger
    doors: asyncio.Semaphore
    journal: Journal | None
    members: list[int]
    end_s: float = float("inf")
    checking: bool = False

    @property
    def over(self) -> bool:
        """Whether it is time to stop."""
        return self.clock.monotonic_s() >= self.end_s


class Bot:
    """One player's program.

    Attributes:
        state: As the server last told it.
        heard: Events that nobody looked at yet.
        terms: Of the offers of a trade as they were last told.
        fought_s: When it last struck, on the monotonic clock.
        brave: It fights on when it is weak and has nothing to eat.
    """

    def __init__(self, crowd: Crowd, username: str, password: str, random: Random) -> None:
        self.crowd = crowd
        self.username = username
        self.random = random
        self.state: Message = {}
        self.heard: asyncio.Queue[Message] = asyncio.Queue(HEARD_MAX)
        self.terms = ""
        self.fought_s = float("-inf")
        self.brave = random.random() < BRAVE
        self._password = password
        self._ticket = ""
        self._connection: Connection | None = None
        self._op_id = 0
        self._unanswered: dict[int, Message] = {}

    @property
    def player_id(self) -> int:
        """Known once it came in."""
        return self.state["player_id"]

    async def come_in(self, kind: str = "login") -> None:
        """Connect and log in, with the ticket if there is one; then ask again for everything that was not answered.

        Raises:
            Disconnected: The server is not there for two minutes, or will not have this bot.
        """
        deadline_s = self.crowd.clock.monotonic_s() + ENTER_S_MAX
        while True:
            try:
                entered = await self.try_to_come_in(kind)
                if not entered.refused:
                    await self._ask_again()
                    return
            except Disconnected:
                entered = Entered({}, refused="no answer", retry_after_s=RETRY_S)
            if entered.refused == "bad_credentials" and self._ticket:
                self._ticket = ""
            elif entered.refused == "username_taken":
                kind = "login"  # our own registration, whose answer was lost
            elif self.crowd.clock.monotonic_s() > deadline_s or entered.refused in {"weak_password", "bad_username"}:
                raise Disconnected(f"{self.username}: {entered.refused}")
            await self.crowd.clock.sleep(max(RETRY_S, entered.retry_after_s) * self.random.uniform(1.0, 1.5))

    async def _ask_again(self) -> None:
        """Find out what became of the operations whose answer was lost."""
        for op_id, intent in [*self._unanswered.items()]:
            if intent["action"] in SAFE_TO_REPEAT:
                await self._send(intent)
            else:
                self.crowd.tally.uncertain += 1
                del self._unanswered[op_id]

    async def act(self, action: str, **fields: Any) -> Message:
        """Do something under a fresh op_id; returns the final answer.

        Raises:
            Disconnected: No answer came; `come_in` asks again.
        """
        self._op_id += 1
        return await self._send({"action": action, "op_id": self._op_id, **fields})

    async def done(self, action: str, **fields: Any) -> Message | None:
        """Do something; returns the result, None if it was refused.

        Raises:
            Disconnected: As for `act`.
        """
        answer = await self.act(action, **fields)
        return (answer["result"] or {}) if answer["type"] == "ack" else None

    async def drop_out(self, *, during: Message | None = None) -> None:
        """Hang up without a word.

        Args:
            during: An intent of tier 1 to send first, whose answer is not waited for.
        """
        self.crowd.tally.drops += 1
        if during is not None and self._connection is not None:
            self._op_id += 1
            intent = {**during, "op_id": self._op_id}
            self._unanswered[self._op_id] = intent
            self._connection.throw(intent)
        self.hang_up()

    async def log_out(self) -> None:
        """Leave properly.

        Raises:
            Disconnected: No answer came.
        """
        assert self._connection is not None
        await self._connection.logout()
        self._ticket = ""  # it ended with the logout
        self.hang_up()

    async def event(self, kind: str, within_s: float) -> Message | None:
        """The next event of a kind; others that come before it are forgotten. None if it does not come in time."""
        try:
            async with self.crowd.clock.timeout(within_s):
                while True:
                    event = await self.heard.get()
                    if event.get("kind") == kind:
                        return event
        except TimeoutError:
            return None

    async def knock(self) -> None:
        """Connect, say hello, and leave again.

        Raises:
            Disconnected: The server is not there.
        """
        connection = Connection(self.crowd.server, self._hear, self.crowd.clock)
        try:
            await connection.open()
            await connection.greet()
        finally:
            connection.drop()

    async def try_to_come_in(self, kind: str) -> Entered:
        """Connect and log in or register, once.

        Raises:
            Disconnected: The server is not there.
        """
        self.hang_up()
        connection = Connection(self.crowd.server, self._hear, self.crowd.clock)
        await connection.open()
        self._connection = connection
        credentials = {"username": self.username, "password": self._password}
        if self._ticket:
            entered = await connection.enter("login", {"ticket": self._ticket})
        else:
            async with self.crowd.doors:
                entered = await connection.enter(kind, credentials)
        if entered.refused:
            self.hang_up()
            return entered
        self._ticket = entered.ticket
        first = not self.state
        self.state = entered.answer["state"]
        self._op_id = max(self._op_id, entered.answer["last_op"])
        self.crowd.tally.resumed += bool(entered.answer["resumed"])
        if first:
            self.crowd.ledger.joined(self.state)
            self.crowd.members.append(self.player_id)
        return entered

    async def _send(self, intent: Message) -> Message:
        connection, clock, op_id = self._connection, self.crowd.clock, intent["op_id"]
        if connection is None:
            raise Disconnected("not connected")
        self._unanswered[op_id] = intent
        started_s = clock.monotonic_s()
        try:
            answer = await connection.act(intent)
        except Disconnected:
            if not self.crowd.checking:
                self.crowd.tally.lost += connection is self._connection
            raise
        self._unanswered.pop(op_id, None)
        self.crowd.tally.answered(intent["action"], answer, clock.monotonic_s() - started_s)
        if answer["type"] == "ack":
            result: Message = answer["result"] or {}
            if intent["action"] != "look":  # which tells of the place, under names that the state has too
                self.state |= {name: value for name, value in result.items() if name in self.state}
            self.crowd.ledger.acknowledged(self.player_id, answer)
            if answer["tier"] == 1 and self.crowd.journal is not None:
                await self.crowd.journal.acknowledged(self.player_id, answer)
        return answer

    def _hear(self, message: Message) -> None:
        kind = message.get("kind") or message["type"]
        self.crowd.tally.events[kind] += 1
        self.terms = message.get("terms", self.terms)
        if kind in {"damaged", "respawned"}:
            self.state |= {name: value for name, value in message.items() if name in self.state}
        if self.heard.full():
            self.heard.get_nowait()
        self.heard.put_nowait(message)

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()
