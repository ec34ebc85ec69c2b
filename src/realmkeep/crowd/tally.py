"""What a crowd did, and how fast it was answered."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from realmkeep.realm.wire.syntax import Message

TRADE: Final = "trade_confirm"
QUANTILES: Final = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))


def quantile(ordered: list[float], share: float) -> float:
    """The value below which `share` of an ascending list lies; 0 of an empty one."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass
class Tally:
    """Counts of one run.

    Attributes:
        acks: Operations done, by action.
        nacks: Operations refused, by action and reason.
        latencies_s: From request to final answer, by tier; of trades apart, because they wait for the other one.
        events: What came unasked, by kind.
        repeated: Acks that said so: operations sent again after a lost answer.
        drops: Rude disconnects.
        resumed: Sessions taken up again.
        lost: Connections that ended without our doing.
        uncertain: Operations of tier 2 whose answer was lost: nobody can say whether they happened.
    """

    acks: Counter[str] = field(default_factory=Counter[str])
    nacks: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    latencies_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    events: Counter[str] = field(default_factory=Counter[str])
    repeated: int = 0
    drops: int = 0
    resumed: int = 0
    lost: int = 0
    uncertain: int = 0

    def answered(self, action: str, answer: Message, latency_s: float) -> None:
        """Count one final answer."""
        if answer["type"] != "ack":
            self.nacks[action, answer["reason"]] += 1
            return
        self.acks[action] += 1
        self.repeated += bool(answer["repeated"])
        if not answer["repeated"]:
            self.latencies_s[TRADE if action == TRADE else f"tier_{answer['tier']}"].append(latency_s)

    @property
    def operations(self) -> int:
        """Final answers so far."""
        return self.acks.total() + self.nacks.total()

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "acks": dict(self.acks),
            "nacks": [
                {"action": action, "reason": reason, "count": count}
                for (action, reason), count in self.nacks.most_common()
            ],
            "latency_ms": {what: self.latency_ms(what) for what in sorted(self.latencies_s)},
            "events": dict(self.events),
            "repeated": self.repeated,
            "drops": self.drops,
            "resumed": self.resumed,
            "lost": self.lost,
            "uncertain": self.uncertain,
        }

    def latency_ms(self, what: str) -> dict[str, float]:
        """Quantiles of the answers of one tier."""
        ordered = sorted(self.latencies_s[what])
        shown = {name: round(1000 * quantile(ordered, share), 2) for name, share in QUANTILES}
        return {"count": len(ordered), **shown, "max": round(1000 * ordered[-1], 2) if ordered else 0.0}
