"""The crowd's own checks, each with a control that must fail."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from realmkeep.crowd.journal import Journal
from realmkeep.crowd.ledger import Ledger
from realmkeep.crowd.tally import Tally, quantile
from realmkeep.testing.clock import FakeClock

Message = dict[str, Any]


def state(gold: int, *items: Message, bank_gold: int = 0) -> Message:
    return {"gold": gold, "bank_gold": bank_gold, "inventory": list(items), "equipment": {}, "bank": []}


def ack(op_id: int, action: str, **result: Any) -> Message:
    return {"type": "ack", "op_id": op_id, "action": action, "tier": 1, "repeated": False, "result": result}


def item(name: str, count: int, serial: int | None = None) -> Message:
    return {"item": name, "count": count, "slot": 0} | ({"serial": serial} if serial is not None else {})


def ledger() -> Ledger:
    """Two players: one bought bread and a dagger and sold another, the other gave two breads away."""
    book = Ledger()
    book.note_goods([{"item": "dagger", "stackable": False}, {"item": "bread", "stackable": True}])
    book.add_player(state(100, item("dagger", 1, 5)))
    book.add_player(state(100, item("bread", 3)))
    book.count_acknowledged(7, ack(1, "buy", item="bread", count=2, price=8))
    book.count_acknowledged(7, ack(2, "buy", item="dagger", count=1, price=30, inventory=[item("dagger", 1, 6)]))
    book.count_acknowledged(7, ack(2, "buy", item="dagger", count=1, price=30, inventory=[item("dagger", 1, 6)]))
    book.count_acknowledged(7, ack(3, "sell", item="dagger", count=1, price=15, serial=5))
    book.count_acknowledged(8, ack(1, "drop", item="bread", count=1, serial=None))
    return book


def found(*states: Message, tier2_kept: bool = True) -> list[str]:
    return ledger().find_problems(list(states), tier2_kept=tier2_kept)


def test_what_adds_up_has_no_problems() -> None:
    assert found(state(77, item("dagger", 1, 6), item("bread", 4)), state(0, bank_gold=100)) == []


def test_what_does_not_add_up_is_found() -> None:
    dagger, bread = item("dagger", 1, 6), item("bread", 4)
    assert found(state(78, dagger, bread), state(100)) == ["gold: 178, should be 177 (+1)"]
    assert found(state(77, bread), state(100)) == ["serial 6 is lost"]
    assert found(state(77, dagger, bread), state(100, dagger)) == ["serial 6 exists 2 times"]
    assert found(state(77, dagger, bread, item("dagger", 1, 5)), state(100)) == ["serial 5 was sold and is back"]
    assert found(state(77, dagger), state(100)) == ["bread: 0, should be 4 (-4)"]
    assert found(state(77, dagger), state(100), tier2_kept=False) == []


def test_latencies_of_repeated_operations_and_trades_are_told_apart() -> None:
    tally = Tally()
    tally.count_answer("buy", ack(1, "buy"), 0.010)
    tally.count_answer("buy", {**ack(1, "buy"), "repeated": True}, 9.0)
    tally.count_answer("trade_confirm", ack(2, "trade_confirm"), 3.0)
    tally.count_answer("buy", {"type": "nack", "reason": "no_shop"}, 1.0)
    assert tally.latency_ms("tier_1") == {"count": 1, "p50": 10.0, "p95": 10.0, "p99": 10.0, "max": 10.0}
    assert tally.latency_ms("trade_confirm")["max"] == 3000.0
    assert tally.nacks == {("buy", "no_shop"): 1}
    assert tally.operations == 4


def test_a_quantile_is_a_value_of_the_list() -> None:
    values = [float(number) for number in range(100)]
    assert [quantile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0.0, 50.0, 99.0, 99.0]
    assert quantile([], 0.5) == 0.0


async def test_a_journal_is_appended_to_and_has_both_times(tmp_path: Path) -> None:
    clock = FakeClock()
    for op_id in (1, 2):
        journal = await asyncio.to_thread(Journal, tmp_path / "journal", clock)
        await journal.write_acknowledged(7, ack(op_id, "buy", gold=op_id))
        await asyncio.to_thread(journal.close)
        await clock.advance(1)
    first, second = [msgspec.json.decode(line) for line in (tmp_path / "journal").read_bytes().splitlines()]
    assert (first["op_id"], second["op_id"], first["player"], second["result"]) == (1, 2, 7, {"gold": 2})
    assert second["monotonic_s"] - first["monotonic_s"] == 1.0
    assert second["wall_us"] - first["wall_us"] == 1_000_000
