"""The last quarter of an hour of one server, for the charts."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from realmkeep.operations.metrics.report import report_of
from realmkeep.operations.status.report import StatusReport

if TYPE_CHECKING:
    from realmkeep.operations.metrics.observed import ObservedServer

EVERY_S: Final = 2.0
SAMPLES_MAX: Final = 450  # a quarter of an hour
COMPARED: Final = 5  # samples: the rates of tiles are those of ten seconds
SERIES: Final = ("at", "players", "commits", "oldest", "late")


class History:
    """Samples of one server.

    Args:
        observed: The server.
        kind: The kind of its players.
    """

    def __init__(self, observed: ObservedServer, kind: str) -> None:
        self._observed = observed
        self._kind = kind
        self._reports = deque[StatusReport](maxlen=COMPARED + 1)
        self._samples = deque[tuple[float, ...]](maxlen=SAMPLES_MAX)

    def present(self) -> tuple[StatusReport, StatusReport | None]:
        """The report of this moment, and one of some seconds before; None if there is none yet."""
        return report_of(self._observed), self._reports[0] if self._reports else None

    def series(self) -> dict[str, list[float]]:
        """A list of figures for each name of `SERIES`; `at` is in seconds since the Unix epoch, `late` in milliseconds."""
        return {name: [sample[index] for sample in self._samples] for index, name in enumerate(SERIES)}

    async def keep_sampling(self) -> None:
        """Take a sample every two seconds, for ever."""
        clock = self._observed.engine.clock
        while True:
            report = report_of(self._observed)
            if self._reports:
                self._samples.append(self._sample(report, self._reports[-1], clock.wall_us() / 1_000_000))
            self._reports.append(report)
            await clock.sleep(EVERY_S)

    def _sample(self, report: StatusReport, before: StatusReport, at_s: float) -> tuple[float, ...]:
        states = report.sessions.get(self._kind, {})
        committed = report.commits["committed"] - before.commits["committed"]
        name = "tick" if "tick" in report.durations else "loop"
        since = report.durations[name].since(before.durations[name])
        late_s = since.quantile_s(0.99)
        return (
            round(at_s, 1),
            states.get("connected", 0) + states.get("grace", 0),
            round(committed / max(report.up_s - before.up_s, 1e-3), 1),
            round(report.oldest_dirty_s, 1),
            1000 * (since.edges_s[-1] if math.isinf(late_s) else late_s),
        )
