import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from realmkeep.testing.servers import StoreServer
from realmkeep.testing.wire import FaultyWire


@pytest.fixture
def mount() -> Iterator[Callable[..., Path]]:
    """Mounts a file system with `mount ARGUMENT ... DIRECTORY` until the test is over."""
    with ExitStack() as mounted:

        def mount(*arguments: str | Path, at: Path) -> Path:
            at.mkdir(exist_ok=True)
            subprocess.run(["mount", *arguments, at], check=True, capture_output=True)
            mounted.callback(subprocess.run, ["umount", at], check=True, capture_output=True)
            return at

        yield mount


@pytest.fixture
def new_server(mount: Callable[..., Path]) -> Iterator[Callable[..., StoreServer]]:  # servers end before their disks
    """Starts a `StoreServer` that ends with the test."""
    with ExitStack() as servers:

        def new_server(directory: Path, **options: Any) -> StoreServer:
            return servers.enter_context(StoreServer(directory, **options))

        yield new_server


@pytest.fixture
def server(tmp_path: Path, new_server: Callable[..., StoreServer]) -> StoreServer:
    """The wheel's Valkey, as `realmkeep store config` configures it."""
    return new_server(tmp_path)


@pytest.fixture
async def wire(server: StoreServer) -> AsyncIterator[FaultyWire]:
    wire = FaultyWire(server.socket_path.with_name("w"), server.socket_path)
    await wire.start()
    yield wire
    await wire.stop()
