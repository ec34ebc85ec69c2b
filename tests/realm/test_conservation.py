"""Gold and serials are conserved under any interleaving of what players, networks, stores and the power do."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lab import Lab, LabPeer

from realmkeep.realm.world.player import Player

PLAYERS = (7, 8, 9)
GOLD_EACH = 100
SINGLES_EACH = 2

who = st.sampled_from(PLAYERS)
slot = st.integers(0, 4)
gold = st.integers(0, 60)
count = st.integers(1, 3)
offer = st.fixed_dictionaries(
    {"gold": gold, "items": st.lists(st.fixed_dictionaries({"slot": slot, "count": st.just(1)}), max_size=2)}
)
step = st.one_of(
    st.tuples(st.just("trade_request"), who, st.fixed_dictionaries({"player": who})),
    st.tuples(st.just("deal"), st.permutations(PLAYERS), st.tuples(offer, offer)),
    st.tuples(st.just("grab"), st.permutations(PLAYERS), slot),
    st.tuples(st.just("bank"), who, st.just("dagger")),
    st.tuples(st.just("trade_offer"), who, offer),
    st.tuples(st.sampled_from(["trade_confirm", "trade_confirm", "trade_cancel"]), who, st.just({})),
    st.tuples(st.just("drop"), who, st.fixed_dictionaries({"slot": slot, "count": st.just(1)})),
    st.tuples(st.just("pickup"), who, st.just({})),
    st.tuples(st.just("equip"), who, st.fixed_dictionaries({"slot": slot})),
    st.tuples(st.just("unequip"), who, st.just({"equipment": "weapon"})),
    st.tuples(st.just("deposit"), who, st.fixed_dictionaries({"item": st.sampled_from(["gold", "dagger"]), "count": count})),
    st.tuples(st.just("withdraw"), who, st.fixed_dictionaries({"item": st.sampled_from(["gold", "dagger"]), "count": count})),
    st.tuples(st.just("mail"), who, st.fixed_dictionaries({"player": who, "gold": st.integers(1, 30)})),
    st.tuples(st.just("mail"), who, st.fixed_dictionaries({"player": who, "slot": slot, "count": st.just(1)})),
    st.tuples(st.just("again"), who, st.none()),
    st.tuples(st.just("disconnect"), who, st.none()),
    st.tuples(st.just("logout"), who, st.none()),
    st.tuples(st.just("die"), who, st.none()),
    st.tuples(st.just("cut"), st.sampled_from(["before", "after"]), st.none()),
    st.tuples(st.just("kill"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.5, 35.0, 61.0]), st.none()),
    st.tuples(st.just("turn"), st.none(), st.none()),
)  # fmt: skip


@dataclass
class Town:
    """Three players in one place, and the power switch."""

    lab: Lab
    peers: dict[int, LabPeer] = field(default_factory=dict[int, LabPeer])
    last: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    sent: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict[tuple[int, int], dict[str, Any]])
    sends: Counter[tuple[int, int]] = field(default_factory=Counter[tuple[int, int]])
    everybody: list[tuple[int, LabPeer]] = field(default_factory=list[tuple[int, LabPeer]])

    async def peer(self, player_id: int) -> LabPeer | None:
        """The player's connection, made anew if it is gone; None while the store does not answer."""
        peer = self.peers.get(player_id)
        if peer is not None and peer.logged_in and not peer.closed:
            return peer
        if self.lab.storage.cut:
            return None
        self.peers[player_id] = await self.lab.join(player_id)
        self.peers[player_id].op_id = max((op for who_, op in self.sends if who_ == player_id), default=0)
        self.everybody.append((player_id, self.peers[player_id]))
        return self.peers[player_id]

    async def act(self, action: str, player_id: int, fields: dict[str, Any]) -> None:
        peer = await self.peer(player_id)
        if peer is None:
            return
        if action == "pickup":
            place = self.lab.realm.game.places.by_name["town"]
            singles = [thing for thing in place.ground.values() if thing.serial is not None]
            if not singles:
                return
            fields = {"ground_id": singles[0].ground_id}
        op = self.lab.want(peer, action, **fields)
        self.sends[player_id, op] += 1
        self.last[player_id] = self.sent[player_id, op] = {"action": action, "op": op, **fields}

    async def deal(self, players: tuple[int, ...], offers: tuple[dict[str, Any], ...]) -> None:
        """A whole trade in a breath."""
        one, other, _ = players
        await self.act("trade_request", one, {"player": other})
        await self.act("trade_request", other, {"player": one})
        for player_id, each in zip((one, other), offers, strict=True):
            await self.act("trade_offer", player_id, each)
        for player_id in (one, other):
            await self.act("trade_confirm", player_id, {})

    async def grab(self, players: tuple[int, ...], dropped: int) -> None:
        """One drops a thing, and all of them reach for it in one breath."""
        await self.act("drop", players[0], {"slot": dropped, "count": 1})
        await self.lab.clock.settle()
        for player_id in players:
            await self.act("pickup", player_id, {})

    async def bank(self, player_id: int, item: str) -> None:
        """In and out in a breath."""
        for action in ("deposit", "withdraw", "withdraw"):
            await self.act(action, player_id, {"item": item, "count": 1})

    async def again(self, player_id: int) -> None:
        """The client did not hear the answer and asks once more."""
        peer, last = await self.peer(player_id), self.last.get(player_id)
        if peer is not None and last is not None:
            self.sends[player_id, last["op"]] += 1
            self.lab.want(peer, **last)

    async def kill(self) -> None:
        await self.lab.crash()
        self.peers.clear()
        await self.lab.start()

    async def do(self, what: str, subject: Any, detail: Any) -> None:
        match what:
            case "deal":
                await self.deal(subject, detail)
            case "grab":
                await self.grab(subject, detail)
            case "bank":
                await self.bank(subject, detail)
            case "again":
                await self.again(subject)
            case "disconnect" | "logout":
                await self.leave(subject, politely=what == "logout")
            case "die":
                self.die(subject)
            case "cut" | "kill" | "wait" | "turn":
                await self.world(what, subject)
            case _:
                await self.act(what, subject, detail)

    async def world(self, what: str, subject: Any) -> None:
        match what:
            case "cut":
                self.lab.storage.cut = subject
            case "kill":
                await self.kill()
            case "wait":
                await self.wait(subject)
            case _:
                await asyncio.sleep(0)

    async def leave(self, player_id: int, *, politely: bool) -> None:
        peer = self.peers.get(player_id)
        if peer is None:
            return
        if not politely:
            self.lab.drop(peer)
        elif not self.lab.storage.cut:
            self.lab.say(peer, {"type": "logout"})
            await self.lab.clock.settle()

    def die(self, player_id: int) -> None:
        """A monster slays a player, who may be trading or gone."""
        game = self.lab.realm.game
        connection = game.connections.by_id.get(player_id)
        if connection is None or connection.player.dead or connection.session.ended:
            return
        monster = next(iter(game.places.by_name["meadow"].monsters.values()))
        connection.player.hp = 1
        while not connection.player.dead:
            self.lab.realm.simulation.strike_player(monster, connection.player, game.scene())

    async def wait(self, seconds: float) -> None:
        if not self.lab.storage.cut:
            await self.lab.ticks(min(seconds, 4.0))
            await self.lab.clock.advance(max(0.0, seconds - 4.0))

    async def nothing_refused_has_happened(self) -> None:
        """An operation that was answered with `nack`, and never with `ack`, runs anew when it is sent again."""
        finals = {"ack": Counter[tuple[int, int]](), "nack": Counter[tuple[int, int]]()}
        for player_id, peer in self.everybody:
            for message in peer.heard:
                if message["type"] in finals:
                    finals[message["type"]][player_id, message["op_id"]] += 1
        answers = finals["ack"] + finals["nack"]
        assert not answers - self.sends, "nothing is answered more often than it was asked"
        for player_id, op in finals["nack"].keys() - finals["ack"].keys():
            peer = await self.peer(player_id)
            assert peer is not None
            since = len(peer.heard)
            self.lab.want(peer, **self.sent[player_id, op])
            await self.lab.clock.settle()
            assert not any(m.get("repeated") for m in peer.heard[since:] if m.get("op_id") == op), self.sent[
                player_id, op
            ]

    async def everything(self) -> tuple[int, Counter[int]]:
        """All gold and all serials there are, once all mail has arrived."""
        for player_id in PLAYERS:
            await self.peer(player_id)
        await self.lab.clock.settle()
        records = [self.lab.player_of(player_id) for player_id in PLAYERS]
        gold_ = sum(record.gold + record.bank_gold for record in records)
        zones = [place.record for place in self.lab.realm.game.places.by_name.values()]
        held = Counter(serial for record in records for serial in serials(record))
        return gold_, held + Counter(item.serial for zone in zones for item in zone.ground)


def serials(player: Player) -> list[int]:
    things = [*player.inventory, *player.bank, *player.parcels, *player.equipment.values()]
    return [thing.serial for thing in things if thing.serial is not None]


async def play(directory: Path, steps: list[tuple[str, Any, Any]]) -> None:
    town = Town(await Lab(directory).start())
    for player_id in PLAYERS:
        peer = await town.peer(player_id)
        assert peer is not None
        for _ in range(SINGLES_EACH):
            await town.lab.outfit(peer, items={"dagger": 1})
    _, singles = await town.everything()
    assert len(singles) == len(PLAYERS) * SINGLES_EACH
    for each in steps:
        await town.do(*each)
    if town.lab.storage.cut:
        await town.kill()
    assert await town.everything() == (len(PLAYERS) * GOLD_EACH, singles)
    await town.kill()
    assert await town.everything() == (len(PLAYERS) * GOLD_EACH, singles), "what is in memory is what is kept"
    await town.nothing_refused_has_happened()
    await town.lab.close()


@settings(max_examples=120, deadline=None)
@given(st.lists(step, min_size=5, max_size=40))
def test_gold_and_serials_are_conserved_whatever_happens_in_whatever_order(steps: list[tuple[str, Any, Any]]) -> None:
    with TemporaryDirectory() as directory:
        asyncio.run(play(Path(directory), steps))
