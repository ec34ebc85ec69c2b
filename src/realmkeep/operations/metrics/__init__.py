"""Metrics, health and status of a game server.

```python
from realmkeep.operations.metrics import operations_port

async with operations_port(keeper):  # /metrics, /healthz, /readyz and /status on 127.0.0.1:9464
    ...
```

It needs the extra `metrics`.
"""

from realmkeep.operations.metrics.app import operations_app
from realmkeep.operations.metrics.collector import ServerCollector
from realmkeep.operations.metrics.observed import ObservedServer
from realmkeep.operations.metrics.port import operations_port

__all__ = ["ObservedServer", "ServerCollector", "operations_app", "operations_port"]
