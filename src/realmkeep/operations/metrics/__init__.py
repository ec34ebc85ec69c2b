"""Metrics, health and status of a game server.

```python
from realmkeep.operations.metrics import operations_port

async with operations_port(keeper):  # /metrics, /healthz, /readyz and /status on 127.0.0.1:9464
    ...
```

It needs the extra `metrics`.
"""

from pathlib import Path
from typing import Final

from realmkeep.operations.metrics.app import operations_app
from realmkeep.operations.metrics.collector import ServerCollector
from realmkeep.operations.metrics.observed import ObservedServer
from realmkeep.operations.metrics.port import operations_port

ALERT_RULES: Final = Path(__file__).with_name("realmkeep.rules.yml")
"""The alerts, for the `rule_files` of Prometheus."""
DASHBOARD: Final = Path(__file__).with_name("realmkeep.dashboard.json")
"""A dashboard for Grafana; it asks for the data source."""

__all__ = ["ALERT_RULES", "DASHBOARD", "ObservedServer", "ServerCollector", "operations_app", "operations_port"]
