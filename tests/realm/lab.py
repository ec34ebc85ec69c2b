"""A realm in one process, without a network: time passes when a test says so, and a crash is a call."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Literal

from realmkeep import Keeper, KeeperConfig
from realmkeep.accounts import open_accounts
from realmkeep.accounts.password_rules import common_passwords
from realmkeep.config import AuthConfig, NetworkConfig
from realmkeep.errors import OutcomeUnknown, StorageUnavailable
from realmkeep.realm.server.hooks import GameHooks
from realmkeep.realm.server.login_flow import new_player
from realmkeep.realm.server.realm import Realm, open_game
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.limits import TokenBucket
from realmkeep.realm.wire.peer import Peer
from realmkeep.realm.wire.requests import read_request
from realmkeep.realm.world.content import World
from realmkeep.realm.world.player import Item, Player
from realmkeep.realm.world.world_file import shipped_world
from realmkeep.storage import AnyTransaction, Failed, Put, Unknown, WriteOutcome
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.lab import abandon

Message = dict[str, Any]
WORLD: World = shipped_world()


class StallingClock(FakeClock):
    """A clock of a process that is held up."""

    def stall(self, by_s: float) -> None:
        self._now_ns += round(by_s * 1e9)


class LabPeer(Peer):
    """A client that writes down what it is told."""

    def __init__(self, name: str, now_s: float, *, port: int = 1) -> None:
        super().__init__(name, port, now_s)
        self.heard: list[Message] = []
        self.closed = False
        self.op_id = 0
        self.agreed: dict[int, str] = {}

    @property
    def closing(self) -> bool:
        return self.closed

    def write(self, encoded: bytes) -> None:
        self.heard.append(json.loads(encoded))

    def begin_session(self, bucket: TokenBucket) -> None:
        self.logged_in = True
        self.bucket = bucket

    def end_session(self) -> None:
        self.logged_in = False

    def close(self) -> None:
        self.closed = True

    def terms(self) -> str:
        """Of the offers as this client saw them last; those of nothing if it saw none."""
        return next((message["terms"] for message in reversed(self.heard) if "terms" in message), "none")

    def events(self, kind: str) -> list[Message]:
        return [message for message in self.heard if message.get("kind") == kind]


class Cut(MemoryStorage):
    """A store that can stop answering, before it applies a write or after; or that is away."""

    cut: Literal["", "before", "after", "away"] = ""
    thefts: Sequence[int] = ()
    lands = False

    def lose_the_next_answer(self, *, stolen: Sequence[int], lands: bool) -> None:
        """The next write lands or not, its answer is lost, and another server owns some players before we can ask."""
        self.thefts, self.lands = stolen, lands

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        if self.thefts:
            if self.lands:
                await super().write(transactions)
            for player_id in self.thefts:
                self.store.perform(Put(f"player:{player_id}:owner", b"other/abcd1234/99999999999999999"))
            self.thefts = ()
            return [Unknown(OutcomeUnknown("the answer was lost")) for _ in transactions]
        if self.cut == "before":
            await asyncio.Event().wait()
        if self.cut == "away":
            return [Failed(StorageUnavailable("the store is away")) for _ in transactions]
        outcomes = await super().write(transactions)
        if self.cut == "after":
            await asyncio.Event().wait()
        return outcomes


class Lab:
    """One server after another on one store that outlives them.

    Attributes:
        store: What is durable.
        storage: How the present server reaches it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "realm-1",
        store: MemoryStore | None = None,
        rate_per_s: float = 10_000,
        network: NetworkConfig | None = None,
    ) -> None:
        self.network = network
        self.clock = FakeClock()
        self.directory = directory
        self.name = name
        self.rate_per_s = rate_per_s
        self.store = store or MemoryStore(self.clock)
        self.ports = itertools.count(1)
        self.realm: Realm = None  # pyright: ignore[reportAttributeAccessIssue] - there is one once `start` has run
        self.keeper: Keeper = None  # pyright: ignore[reportAttributeAccessIssue] - as above

    async def start(self) -> "Lab":
        self.storage = Cut(self.store, clock=self.clock)
        hooks = GameHooks()
        self.keeper = await self.clock.finish(
            Keeper.open(
                self.storage,
                hooks=hooks.hooks,
                config=KeeperConfig(name=self.name, strict=True, tier1_rate_per_s=self.rate_per_s),
                clock=self.clock,
                rescue_path=self.directory / "rescue.jsonl",
            )
        )
        await asyncio.to_thread(common_passwords)  # `accounts.running()` does it, whose timers nobody needs here
        config = AuthConfig(key_file=str(self.directory / "keys.json"))
        accounts = await asyncio.to_thread(open_accounts, self.storage, config, server_name=self.name, clock=self.clock)
        game = await open_game(self.keeper, hooks, accounts, WORLD, clock=self.clock, random=Random(7))
        self.realm = Realm(game, require_encryption=False, network=self.network)
        return self

    async def crash(self) -> None:
        """As `kill -9`: nothing is written, nobody is told."""
        abandon(self.keeper)
        ended = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in ended:
            task.cancel()
        await asyncio.wait([*ended, asyncio.ensure_future(asyncio.sleep(0))])

    async def close(self) -> None:
        await self.clock.finish(self.keeper.close())

    # --- players

    async def join(self, player_id: int, *, at: tuple[str, float, float] | None = None) -> LabPeer:
        """A player at the market, or somewhere else; one that is not there yet is made."""
        peer = LabPeer(f"player-{player_id}", self.clock.monotonic_s(), port=next(self.ports))
        login_flow, keeper = self.realm.login_flow, self.keeper
        session = keeper.session(Player, player_id)
        if session is None or not session.connected:
            session = await self.clock.finish(
                keeper.login(Player, player_id, create=lambda: new_player(WORLD, player_id, f"player{player_id}"))
            )
        connection = login_flow.attach_peer(peer, session)
        peer.begin_session(self.realm.game.message_allowance(player_id))
        peer.op_id = session.last_op
        if at is not None:
            self.realm.game.places.move_player(connection.player, *at)
        return peer

    async def come_in(self, credentials: Message, *, name: str = "somewhere") -> LabPeer:
        """A client that registers or logs in, by the front door."""
        peer = LabPeer(name, self.clock.monotonic_s())
        self.say(peer, credentials)
        await self.realm.game.background.wait_finished()
        return peer

    def player(self, peer: LabPeer) -> Player:
        return self.realm.game.connections.by_peer[peer].player

    def player_of(self, player_id: int) -> Player:
        """Also one in grace."""
        return self.realm.game.connections.by_id[player_id].player

    async def outfit(self, peer: LabPeer, *, gold: int = 0, items: Mapping[str, int] | None = None) -> None:
        """Give a player gold and items, as nobody in the game can."""
        game = self.realm.game

        def give(player: Player) -> None:
            self.keeper.tx.adjust("a test")
            player.gold += gold
            for item_id, count in (items or {}).items():
                free = next(slot for slot in range(24) if all(item.slot != slot for item in player.inventory))
                serial = None if WORLD.items[item_id].stackable else game.serials.take_serial()
                player.inventory = [*player.inventory, Item(item_id, count, free, serial)]

        session = game.connections.by_peer[peer].session
        await self.clock.finish(self.keeper.commit(give, session))

    def drop(self, peer: LabPeer) -> None:
        """The connection is gone."""
        peer.closed = True
        if peer.logged_in:
            peer.logged_in = False
            self.realm.dispatcher.peer_lost(peer)

    # --- what clients say

    def say(self, peer: LabPeer, message: Message) -> None:
        """Hand a message in; what comes of it is heard once the loop has settled."""
        if peer.closed:
            return
        try:
            request = read_request(message, logged_in=peer.logged_in)
            self.realm.dispatcher.handle_request(peer, request, lambda answer: peer.write(json.dumps(answer).encode()))
        except BadInput as error:
            peer.send(error.message())

    def want(self, peer: LabPeer, action: str, *, op: int | None = None, **fields: Any) -> int:
        """Say an intent; returns its op_id."""
        if op is None:
            peer.op_id += 1
            op = peer.op_id
        if action == "trade_confirm":
            fields = {"terms": peer.agreed.setdefault(op, peer.terms()), **fields}
        self.say(peer, {"type": "intent", "action": action, "op_id": op, **fields})
        return op

    async def act(self, peer: LabPeer, action: str, *, op: int | None = None, **fields: Any) -> Message:
        """An intent and its final answer."""
        since = len(peer.heard)
        op = self.want(peer, action, op=op, **fields)
        await self.clock.settle()
        for message in peer.heard[since:]:
            if message["type"] in {"ack", "nack", "error"} and message.get("op_id") == op:
                return message
        raise AssertionError(f"no answer to {action}; heard {peer.heard[since:]}")

    async def done(self, peer: LabPeer, action: str, **fields: Any) -> Message:
        answer = await self.act(peer, action, **fields)
        assert answer["type"] == "ack", answer
        return answer["result"]

    async def refused(self, peer: LabPeer, action: str, **fields: Any) -> str:
        answer = await self.act(peer, action, **fields)
        assert answer["type"] in {"nack", "error"}, answer
        return answer["reason"]

    async def ticks(self, seconds: float) -> None:
        """Let the world go on."""
        for _ in range(round(seconds * 20)):
            self.realm.simulation.run_tick()
            await self.clock.advance(0.05)


@asynccontextmanager
async def lab(directory: Path, **how: Any) -> AsyncGenerator[Lab]:
    """A realm that is closed at the end, and must then have saved everything."""
    running = await Lab(directory, **how).start()
    yield running
    await running.close()
    assert running.keeper.status().tier_violations == 0
    assert running.keeper.status().forgotten_marks == 0
