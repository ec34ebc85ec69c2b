from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from realmkeep.testing.servers import StoreServer


@pytest.fixture
def new_server() -> Iterator[Callable[..., StoreServer]]:
    """Starts a `StoreServer` that ends with the test; call it in a thread."""
    with ExitStack() as servers:

        def new_server(directory: Path, **options: Any) -> StoreServer:
            directory.mkdir(exist_ok=True)
            return servers.enter_context(StoreServer(directory, **options))

        yield new_server
