"""The scrape: plain integers become the text format of Prometheus, and only then."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from realmkeep.keeping.live.measures import Histogram
from realmkeep.operations.metrics.catalogue import METRICS, PREFIX, Metric, Reading, Samples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric as Family

    from realmkeep.operations.metrics.observed import ObservedServer


class ServerCollector(Collector):
    """Collects the metrics of one server; a game with a registry of its own registers it there.

    Args:
        server: The server. It is read on the event loop of its keeper: collect from there.
    """

    def __init__(self, server: ObservedServer) -> None:
        self._server = server

    @override
    def collect(self) -> Iterable[Family]:
        """Yield every metric with a value at this moment."""
        now = Reading(self._server, self._server.keeper.status())
        for metric in METRICS:
            values = metric.read(now)
            family = _histogram(metric, values) if isinstance(values, Histogram) else _samples(metric, values)
            if family.samples:
                yield family


def _samples(metric: Metric, values: Samples) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(PREFIX + metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, observed: Histogram) -> Family:
    edges = [*map(str, map(float, observed.edges)), "+Inf"]
    buckets = list(zip(edges, accumulate(observed.counts), strict=True))
    return HistogramMetricFamily(PREFIX + metric.name, metric.meaning, buckets=buckets, sum_value=observed.total)
