"""One bot: it logs in, acts, drops its connections, and always finds out the outcome of its tier-1 operations."""

import asyncio
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from realmkeep.clock import Clock
from realmkeep.crowd.client import BotConnection, Disconnected, LoginResult, RealmAddress, find_server
from realmkeep.crowd.journal import Journal
from realmkeep.crowd.ledger import Ledger
from realmkeep.crowd.tally import Tally
from realmkeep.realm.wire.syntax import Message

RETRY_S: Final = 0.5
HEARD_MAX: Final = 64  # further events evict the oldest: a bot reads few of them
BRAVE: Final = 0.5  # share of bots that continue to fight when weak and without food
ENTER_S_MAX: Final = 120.0  # enough time for a restart of the server
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
)  # always tier 1: repeated under the same id, they happen once


@dataclass
class Crowd:
    """The shared state of all bots.

    Attributes:
        login_slots: Bounds simultaneous logins: each password costs the server a hash.
        journal: The file of acknowledgements; None without one.
        members: The ids of the logged-in players.
        end_s: Monotonic time after which no bot begins a new activity.
        checking: Whether the final check has begun: bots then keep their connections.
        servers: The names of the servers to which a gateway has sent bots.
    """

    server: RealmAddress
    clock: Clock
    tally: Tally
    ledger: Ledger
    login_slots: asyncio.Semaphore
    journal: Journal | None
    members: list[int]
    end_s: float = float("inf")
    checking: bool = False
    servers: set[str] = field(default_factory=set[str])

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.clock.monotonic_s() >= self.end_s


class Bot:
    """The program of one player.

    Attributes:
        state: The player's state by the server's latest messages.
        heard: Unread events.
        terms: The terms of the latest trade offers.
        fought_s: Monotonic time of its last blow.
        brave: Whether it continues to fight when weak and without food.
        server: The name of its server; empty without a gateway.
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
        self.server = ""
        self._wish = ""
        self._password = password
        self._ticket = ""
        self._connection: BotConnection | None = None
        self._op_id = 0
        self._unanswered: dict[int, Message] = {}

    @property
    def player_id(self) -> int:
        """The player's id; known after the first login."""
        return self.state["player_id"]

    async def log_in(self, kind: str = "login") -> None:
        """Connect and log in, with the ticket if there is one; then repeat the unanswered operations.

        Raises:
            Disconnected: The server cannot be reached for two minutes, or refuses this bot.
        """
        deadline_s = self.crowd.clock.monotonic_s() + ENTER_S_MAX
        while True:
            try:
                entered = await self.try_log_in(kind)
                if not entered.refused:
                    await self._ask_again()
                    return
            except Disconnected:
                entered = LoginResult({}, refused="no answer", retry_after_s=RETRY_S)
            if entered.refused == "bad_credentials" and self._ticket:
                self._ticket = ""
            elif entered.refused == "username_taken":
                kind = "login"  # this bot has registered already, and the answer was lost
            elif self.crowd.clock.monotonic_s() > deadline_s or entered.refused in {"weak_password", "bad_username"}:
                raise Disconnected(f"{self.username}: {entered.refused}")
            await self.crowd.clock.sleep(max(RETRY_S, entered.retry_after_s) * self.random.uniform(1.0, 1.5))

    async def _ask_again(self) -> None:
        """Repeat the operations with lost answers; one that is unsafe to repeat counts as uncertain."""
        for op_id, intent in [*self._unanswered.items()]:
            if intent["action"] in SAFE_TO_REPEAT:
                await self._send(intent)
            else:
                self.crowd.tally.uncertain += 1
                del self._unanswered[op_id]

    async def act(self, action: str, **fields: Any) -> Message:
        """Send an intent under a fresh op_id; returns the final answer.

        Raises:
            Disconnected: No answer came; `log_in` repeats the operation.
        """
        self._op_id += 1
        return await self._send({"action": action, "op_id": self._op_id, **fields})

    async def act_for_result(self, action: str, **fields: Any) -> Message | None:
        """Send an intent; returns the result, or None if it was refused.

        Raises:
            Disconnected: As for `act`.
        """
        answer = await self.act(action, **fields)
        return (answer["result"] or {}) if answer["type"] == "ack" else None

    async def drop_connection(self, *, during: Message | None = None) -> None:
        """Close the connection without a logout.

        Args:
            during: A tier-1 intent to send first, without waiting for its answer.
        """
        self.crowd.tally.drops += 1
        if during is not None and self._connection is not None:
            self._op_id += 1
            intent = {**during, "op_id": self._op_id}
            self._unanswered[self._op_id] = intent
            self._connection.send_unanswered(intent)
        self.close_connection()

    async def travel(self, server: str, *, hang_up: bool) -> None:
        """Log in at another server, which fetches the player from this one.

        Args:
            server: Its name; the gateway sends the bot elsewhere if that server is away.
            hang_up: Close the connection first. Otherwise the player is still connected here when it arrives there.

        Raises:
            Disconnected: As for `log_in`.
        """
        former = self._connection
        self._connection, self._wish = None, server
        try:
            if hang_up and former is not None:
                former.close()
            await self.log_in()
        finally:
            if former is not None:
                former.close()

    async def log_out(self) -> None:
        """Log out.

        Raises:
            Disconnected: No answer came.
        """
        assert self._connection is not None
        await self._connection.logout()
        self._ticket = ""  # the logout has ended it
        self.close_connection()

    async def wait_for_event(self, kind: str, within_s: float) -> Message | None:
        """Wait for the next event of a kind, discarding others; None if it does not come in time."""
        try:
            async with self.crowd.clock.timeout(within_s):
                while True:
                    event = await self.heard.get()
                    if event.get("kind") == kind:
                        return event
        except TimeoutError:
            return None

    async def check_server(self) -> None:
        """Connect, say hello, and disconnect: a check that the server is there.

        Raises:
            Disconnected: The server cannot be reached.
        """
        server = self.crowd.server
        connection = BotConnection(replace(server, udp=server.udp and not server.gateway), self._hear, self.crowd.clock)
        try:
            await connection.open()
            await connection.say_hello()
        finally:
            connection.close()

    async def try_log_in(self, kind: str) -> LoginResult:
        """Try once to connect and log in or register.

        Raises:
            Disconnected: The server cannot be reached.
        """
        self.close_connection()
        name, server = "", self.crowd.server
        if server.gateway:
            name, server = await find_server(server, self.username, self._wish, self.crowd.clock)
        connection = BotConnection(server, self._hear, self.crowd.clock)
        await connection.open()
        self._connection = connection
        credentials = {"username": self.username, "password": self._password}
        if self._ticket:
            entered = await connection.log_in("login", {"ticket": self._ticket})
        else:
            async with self.crowd.login_slots:
                entered = await connection.log_in(kind, credentials)
        if entered.refused:
            self.close_connection()
            return entered
        self._ticket = entered.ticket
        self.crowd.tally.travels += self.server not in {"", name}
        self.server, self._wish = name, ""
        self.crowd.servers.add(name)
        first = not self.state
        self.state = entered.answer["state"]
        self._op_id = max(self._op_id, entered.answer["last_op"])
        self.crowd.tally.resumed += bool(entered.answer["resumed"])
        if first:
            self.crowd.ledger.add_player(self.state)
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
        self.crowd.tally.count_answer(intent["action"], answer, clock.monotonic_s() - started_s)
        if answer["type"] == "ack":
            result: Message = answer["result"] or {}
            if intent["action"] != "look":  # its result describes the zone, partly under names of the player's state
                self.state |= {name: value for name, value in result.items() if name in self.state}
            self.crowd.ledger.count_acknowledged(self.player_id, answer)
            if answer["tier"] == 1 and self.crowd.journal is not None:
                await self.crowd.journal.write_acknowledged(self.player_id, answer)
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

    def close_connection(self) -> None:
        """Close the connection; harmless without one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
