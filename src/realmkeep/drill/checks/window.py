"""The age of the changes of tier 2 that a crash took, against the interval that the settings promise."""

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import Final

DISK_S: Final = 0.75  # a batched change is handed to the store this long before its interval ends; excess comes on top
LATE_S: Final = 0.25  # a machine that is late by this stood still: a promise in seconds is about a machine that runs


@dataclass(frozen=True)
class Earned:
    """One change of tier 2 that a client was told of."""

    at_s: float
    server: str
    xp: int


@dataclass
class Window:
    """Notes changes and crashes, and finds the changes that a crash took.

    Attributes:
        promised_s: The interval of the settings.
        power_loss_s: The seconds of acknowledged changes that the store may lose with the power, on top of the interval.
        worst_s: The age of the oldest change that was lost, at the crash, without the time in which the store was away.
        violations: Losses that were older than promised.
    """

    promised_s: float
    power_loss_s: float = 0.0
    worst_s: float = 0.0
    violations: list[str] = field(default_factory=list[str])
    _earned: dict[int, list[Earned]] = field(default_factory=lambda: defaultdict(list))
    _home: dict[int, str] = field(default_factory=dict[int, str])
    _claims: dict[int, int] = field(default_factory=dict[int, int])
    _struck: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _outages: list[tuple[float, float, str]] = field(default_factory=list[tuple[float, float, str]])
    _heard: dict[str, float] = field(default_factory=dict[str, float])
    _powerless: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    _away_s: float = inf

    def earned(self, who: int, server: str, xp: int, at_s: float) -> None:
        """A client was told of a change; one of a session that has moved on is not a change of the record."""
        if self._home.get(who) == server:
            self._earned[who].append(Earned(at_s, server, xp))

    def entered(self, who: int, server: str, xp: int, claim: int, at_s: float) -> None:
        """A client has logged in, and sees the record as it is now.

        Args:
            who: The player.
            server: The server that answered.
            xp: The progress that the client sees.
            claim: The fencing token of the session. An older one is of a session that another server has taken over: what
                that server still has in memory says nothing about a loss.
            at_s: The time of the answer.
        """
        known = self._claims.get(who, 0)
        if claim < known:
            return
        earned = self._earned[who]
        lost = [change for change in earned if change.xp > xp]
        # The session of a known claim has been in memory all the time, so its older changes may be unsaved until now.
        unsaved = [change for change in earned if change.xp <= xp] if claim == known else []
        self._home[who], self._claims[who] = server, claim
        self._earned[who] = [*unsaved, Earned(at_s, server, xp)]
        for change in lost[:1]:  # the oldest
            ends = [struck_s for struck_s in self._struck[change.server] if struck_s >= change.at_s]
            self._lose(who, change, min(ends, default=self._last_life_s(change.server, at_s)))

    def _last_life_s(self, server: str, now_s: float) -> float:
        """The time at which a server was last known to run: one that stands still writes nothing, struck or not."""
        return self._heard.get(server, now_s)

    def _lose(self, who: int, change: Earned, lost_s: float) -> None:
        age_s = self.age_s(change.at_s, lost_s, change.server)
        self.worst_s = max(self.worst_s, age_s)
        has_power = not any(from_s <= lost_s <= to_s for from_s, to_s in self._powerless)
        promised_s = self.promised_s + (0.0 if has_power else self.power_loss_s)
        if age_s > promised_s + DISK_S:
            told = f"a change that was {age_s:.2f} s old is lost; {promised_s:g} s are promised"
            self.violations.append(f"window: hero {who}: {told}")

    def powerless(self, from_s: float, to_s: float) -> None:
        """The power was lost, and every process dead by `to_s`; a store that syncs late may have lost claims, too."""
        self._powerless.append((from_s, to_s))
        self._claims.clear()

    def struck(self, server: str, at_s: float) -> None:
        """A server was stopped, killed or cut off."""
        self._struck[server].append(at_s)

    def outage(self, from_s: float, to_s: float) -> None:
        """The store, its disk or the machine did not work for this time."""
        self._outages.append((from_s, to_s, ""))

    def away(self, from_s: float) -> None:
        """The store or its disk stops to work; a client may notice a loss before `back` says until when."""
        self._away_s = from_s

    def back(self, to_s: float) -> None:
        """It works again."""
        self.outage(self._away_s, to_s)
        self._away_s = inf

    def beat(self, before_s: float, now_s: float) -> None:
        """Two moments at which the drill was running; a long time between them is an outage of the machine."""
        if now_s - before_s > LATE_S:
            self.outage(before_s, now_s)

    def heard(self, server: str, before_s: float, now_s: float) -> None:
        """Two reports of a server; a long time between them is an outage of that server alone."""
        self._heard[server] = now_s
        if now_s - before_s > LATE_S:
            self._outages.append((before_s, now_s, server))

    def age_s(self, from_s: float, to_s: float, server: str) -> float:
        """Return the time between two moments, without the outages of a server in it, and of all that it needs."""
        age_s, at_s = 0.0, from_s
        for start_s, end_s, of in sorted([*self._outages, (self._away_s, inf, "")]):
            if of in {"", server} and end_s > at_s and start_s < to_s:
                age_s += max(0.0, start_s - at_s)
                at_s = min(to_s, end_s)
        return age_s + max(0.0, to_s - at_s)
