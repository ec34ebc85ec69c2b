"""The counts and latencies of a crowd."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from realmkeep.realm.wire.syntax import Message

TRADE: Final = "trade_confirm"
QUANTILES: Final = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))


def quantile(ordered: list[float], share: float) -> float:
    """The quantile of an ascending list at `share`; 0 for an empty list."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass
class Tally:
    """Counts of one run.

    Attributes:
        acks: Acknowledged operations, by action.
        nacks: Refused operations, by action and reason.
        latencies_s: Times from request to final answer, by tier; trades have their own list, because they wait for the other
            player.
        events: Messages that answered no request, by kind.
        repeated: Acknowledgements marked `repeated`: operations that were sent again after a lost answer.
        drops: Connections that bots dropped without a logout.
        travels: Logins at another server than before.
        resumed: Logins that resumed a session.
        lost: Connections that ended without the bot's doing.
        uncertain: Tier-2 operations with a lost answer, so with an unknown outcome.
    """

    acks: Counter[str] = field(default_factory=Counter[str])
    nacks: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    latencies_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    events: Counter[str] = field(default_factory=Counter[str])
    repeated: int = 0
    drops: int = 0
    travels: int = 0
    resumed: int = 0
    lost: int = 0
    uncertain: int = 0

    def count_answer(self, action: str, answer: Message, latency_s: float) -> None:
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
        """The number of final answers so far."""
        return self.acks.total() + self.nacks.total()

    def as_json(self) -> dict[str, Any]:
        """The counts as values of JSON."""
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
            "travels": self.travels,
            "resumed": self.resumed,
            "lost": self.lost,
            "uncertain": self.uncertain,
        }

    def latency_ms(self, what: str) -> dict[str, float]:
        """The latencies of one tier in milliseconds: count, quantiles and maximum."""
        ordered = sorted(self.latencies_s[what])
        shown = {name: round(1000 * quantile(ordered, share), 2) for name, share in QUANTILES}
        return {"count": len(ordered), **shown, "max": round(1000 * ordered[-1], 2) if ordered else 0.0}
