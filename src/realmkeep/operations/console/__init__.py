"""The console: a realm in a browser, for its operators.

```python
from realmkeep.operations.console import console

app = Starlette(routes=[Mount("/console", console(keeper, accounts, PLAYERS))])
```

It needs the extra `console`.
"""

from realmkeep.operations.console.app import Console, Page, console
from realmkeep.operations.console.port import console_port
from realmkeep.operations.console.visit import Visit

__all__ = ["Console", "Page", "Visit", "console", "console_port"]
