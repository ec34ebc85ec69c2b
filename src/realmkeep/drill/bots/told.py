"""Everything that any client was told; each answer is a promise."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from realmkeep.clock import Clock
from realmkeep.drill.checks.model import Model
from realmkeep.drill.checks.window import Window

Answer = dict[str, Any]


class Promise(NamedTuple):
    """One promise to a client.

    Attributes:
        at_s: Its time.
        kind: `op`, `deposit`, `letter` or `death`.
        who: The hero.
        number: The operation, the letter, or the number of deaths.
    """

    at_s: float
    kind: str
    who: int
    number: int


@dataclass
class Told:
    """The answers of all servers.

    Attributes:
        model: The operations and letters that were acknowledged.
        window: The changes of tier 2 that were told.
        clock: The clock.
        xp: The experience that a server called saved, by hero.
        deaths: Deaths that were settled.
        xp_asked: Experience that was asked for.
        refused: Operations that were refused, and were asked for once.
        deposited: Deposits that were acknowledged.
        trades: Giver, taker and their operations, of every trade that was asked for.
        claims: The highest claim under which a hero was seen written.
        owned: The fencing token and the revision of a hero when the store was last read.
        promises: Every promise that a loss of power may take from a store which syncs late.
        power_lost_s: When the power was lost, and when the last answer from before was read; each time.
        acknowledgements: The number of operations that were acknowledged, also those that were taken back.
        results: The recorded results of a studio's trades, by player and operation.
        counts: Answers by their kind.
        by_server: Operations that a server acknowledged.
        defects: Tracebacks of servers.
        history: Every answer with its time, for a report.
    """

    model: Model
    window: Window
    clock: Clock
    xp: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    deaths: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    xp_asked: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    refused: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    deposited: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    trades: set[tuple[int, int, int, int]] = field(default_factory=set[tuple[int, int, int, int]])
    claims: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    owned: dict[int, tuple[float, bytes]] = field(default_factory=dict[int, tuple[float, bytes]])
    promises: list[Promise] = field(default_factory=list["Promise"])
    power_lost_s: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    acknowledgements: int = 0
    results: dict[tuple[int, int], Any] = field(default_factory=dict[tuple[int, int], Any])
    counts: Counter[str] = field(default_factory=Counter[str])
    by_server: Counter[str] = field(default_factory=Counter[str])
    defects: list[str] = field(default_factory=list[str])
    history: list[Answer] = field(default_factory=list[Answer])

    def note(self, **event: object) -> None:
        """Add an event to the history."""
        self.history.append({"at_s": round(self.clock.monotonic_s(), 4), **event})

    def clean(self, heroes: dict[str, int]) -> None:
        """A server says that this experience is durable."""
        for number, xp in heroes.items():
            self.xp[int(number)] = max(self.xp[int(number)], xp)

    def asked(self, do: str, request: Answer) -> None:
        """A client has sent a request."""
        if do == "trade" and "amount" in request:
            self.trades.add((request["who"], request["to"], *request["ops"]))

    def answered(self, do: str, server: str, asked: Answer, answer: Answer) -> None:
        """A server's answer was read."""
        self.counts[answer.get("no") or answer.get("error") or do] += 1
        self.note(do=do, server=server, asked=asked, answer=answer)
        if "defect" in answer:
            self.defects.append(f"recovery: {server} has a defect: {answer['defect']}")
        if "no" in answer or "error" in answer:
            return
        if answer.get("repeated"):
            self.counts["repeated"] += 1
        self._promised(do, server, asked, answer)

    def _promised(self, do: str, server: str, asked: Answer, answer: Answer) -> None:
        now_s = self.clock.monotonic_s()
        self.by_server[server] += do in {"trade", "deposit", "mail", "die"}
        if do == "login":
            self.window.entered(asked["who"], server, answer["xp"], answer["claim"], now_s)
        elif do == "earn":
            self.window.earned(asked["who"], server, answer["xp"], now_s)
        elif do == "die":
            self._promise(now_s, "death", asked["who"], answer["deaths"])
        elif do in {"deposit", "mail"}:
            self._promise(now_s, "op", asked["who"], asked["op"])
        elif do == "trade":
            self._promise(now_s, "op", asked["who"], asked["ops"][0])
            self._promise(now_s, "op", asked["to"], asked["ops"][1])
            if "result" in answer:
                for who, op in zip((asked["who"], asked["to"]), asked["ops"], strict=True):
                    self.results[who, op] = answer["result"]
        if do == "deposit":
            self._promise(now_s, "deposit", asked["who"], asked["op"])
        if do == "mail":
            self._promise(now_s, "letter", asked["to"], asked["letter"])

    def _promise(self, at_s: float, kind: str, who: int, number: int) -> None:
        known = {"op": self.model.acked, "deposit": self.deposited, "letter": self.model.sent}
        if kind == "death":
            self.deaths[who] = max(self.deaths[who], number)
        elif number in known[kind][who]:
            return
        else:
            known[kind][who].add(number)
        self.acknowledgements += kind == "op"
        self.promises.append(Promise(at_s, kind, who, number))

    def powerless(self, at_s: float, read_s: float) -> None:
        """The power was lost; every answer that was read until `read_s` was sent before."""
        self.power_lost_s.append((at_s, read_s))
        self.window.powerless(at_s, read_s)

    def forgive(self, kept: Callable[[Promise], bool], loss_s: float) -> float:
        """Take back the promises of the time before the last loss of power, as far as the store has lost them.

        Args:
            kept: Whether the store has kept a promise.
            loss_s: The seconds that it may lose.

        Returns:
            The age of the oldest promise that was lost, in seconds; 0 if none was.
        """
        cut_s, read_s = self.power_lost_s[-1]
        lost = [each for each in self.promises if cut_s - loss_s <= each.at_s <= read_s and not kept(each)]
        for each in lost:
            if each.kind == "death":
                self.deaths[each.who] = min(self.deaths[each.who], each.number - 1)
            else:
                known = {"op": self.model.acked, "deposit": self.deposited, "letter": self.model.sent}
                known[each.kind][each.who].discard(each.number)
        self.promises = [each for each in self.promises if each not in lost]
        self.model.revisions.clear()
        self.claims.clear()
        self.owned.clear()
        self.xp.clear()  # what was called saved before
        return max(0.0, cut_s - min((each.at_s for each in lost), default=cut_s))

    @property
    def acked(self) -> int:
        """Operations of players that were acknowledged."""
        return sum(map(len, self.model.acked.values()))
