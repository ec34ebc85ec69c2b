"""The ledger: the crowd's property by its acknowledgements, compared with its property by the server's final states."""

from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from realmkeep.realm.wire.syntax import Message


def entries(state: Message, name: str) -> list[Message]:
    """A list of the state; an s-expression has `nil` for an empty one."""
    return cast("list[Message]", state.get(name) or [])


def holdings(state: Message) -> list[Message]:
    """All items of a player: carried, worn and banked."""
    worn = cast("dict[str, Message]", state.get("equipment") or {})
    return [*entries(state, "inventory"), *entries(state, "bank"), *({"count": 1, **item} for item in worn.values())]


def purse(state: Message) -> int:
    """All gold of a player."""
    return state["gold"] + state["bank_gold"]


@dataclass
class Ledger:
    """Counts the property that enters and leaves the crowd; transfers between its players cancel out.

    Attributes:
        gold: The expected gold of all purses and banks.
        stacks: The expected count of each item without a serial.
        known: Serials that a player of the crowd has held.
        sold: Serials that were sold or consumed and must not come back.
        loose: Serials that were dropped: at most one player may hold each.
    """

    gold: int = 0
    stacks: Counter[str] = field(default_factory=Counter[str])
    known: set[int] = field(default_factory=set[int])
    sold: set[int] = field(default_factory=set[int])
    loose: set[int] = field(default_factory=set[int])
    _singles: set[str] = field(default_factory=set[str])
    _applied: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])

    def add_player(self, state: Message) -> None:
        """Count the property of a player that joins the crowd."""
        self.gold += purse(state)
        for item in holdings(state):
            self._count(item["item"], item["count"], item.get("serial"))

    def note_goods(self, shop: list[Message]) -> None:
        """Learn from a shop's goods which items do not stack."""
        self._singles.update(item["item"] for item in shop if not item["stackable"])

    def count_acknowledged(self, player_id: int, ack: Message) -> None:
        """Count an acknowledged operation; a repeated acknowledgement counts once."""
        op = (player_id, ack["op_id"])
        if op in self._applied:
            return
        self._applied.add(op)
        result: Message = ack["result"] or {}
        self.known.update(item["serial"] for item in entries(result, "inventory") if item.get("serial") is not None)
        match ack["action"]:
            case "buy":
                self.gold -= result["price"]
                self._count(result["item"], result["count"], None)
            case "sell":
                self.gold += result["price"]
                self._gone(result, self.sold)
            case "drop":
                self._gone(result, self.loose)
            case "consume":
                self._gone(result, self.sold)
            case "pickup":
                self._count(result["item"], result["count"], result.get("serial"))
            case "advance_quest" if result["completed"]:
                self.gold += result["gold_earned"]
                earned: dict[str, int] = result["items_earned"] or {}
                for item, count in earned.items():
                    self._count(item, count, None)
            case _:
                pass

    def find_problems(self, states: list[Message], *, tier2_kept: bool) -> list[str]:
        """The differences to the final states; empty if nothing was lost or doubled.

        Args:
            states: The final state of every player of the crowd.
            tier2_kept: Whether the server ran all the time, so that tier-2 changes must be there, too.
        """
        found: list[str] = []
        gold = sum(purse(state) for state in states)
        if gold != self.gold:
            found.append(f"gold: {gold}, should be {self.gold} ({gold - self.gold:+d})")
        things = [item for state in states for item in holdings(state)]
        held = Counter[int](item["serial"] for item in things if item.get("serial") is not None)
        found += [f"serial {serial} exists {times} times" for serial, times in held.items() if times > 1]
        found += [f"serial {serial} was sold and is back" for serial in sorted(self.sold & held.keys())]
        missing = self.known - held.keys() - self.sold - self.loose
        found += [f"serial {serial} is lost" for serial in sorted(missing)]
        if tier2_kept:
            stacks = Counter[str]()
            for item in things:
                if item.get("serial") is None:
                    stacks[item["item"]] += item["count"]
            found += [
                f"{name}: {stacks[name]}, should be {self.stacks[name]} ({stacks[name] - self.stacks[name]:+d})"
                for name in sorted(stacks.keys() | self.stacks.keys())
                if stacks[name] != self.stacks[name]
            ]
        return found

    def _count(self, item: str, count: int, serial: int | None) -> None:
        if serial is not None:
            self.known.add(serial)
            self.loose.discard(serial)
        elif item not in self._singles:
            self.stacks[item] += count

    def _gone(self, result: Message, where: set[int]) -> None:
        serial = result.get("serial")
        if serial is None:
            self.stacks[result["item"]] -= result["count"]
        else:
            where.add(serial)
