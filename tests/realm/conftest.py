"""Tests of the realm import the client, its reader and the server from beside them."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab, LabPeer, lab
from server import Server, running


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """One server for all tests that need nothing of their own; each test has players of its own."""
    with running(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture
async def server(shared_server: Server) -> AsyncGenerator[Server]:
    yield shared_server
    shared_server.drop_clients()
    await asyncio.sleep(0)  # a transport needs a turn of its loop to close its socket


@pytest.fixture
async def start(tmp_path: Path) -> AsyncGenerator[Callable[..., Server]]:
    """Starts servers of the test's own; each must end well."""
    with ExitStack() as servers:

        def started(name: str = "realm-1", *flags: str, **settings: str) -> Server:
            return servers.enter_context(running(tmp_path / name, *flags, KEEPER__NAME=name, **settings))

        yield started
    await asyncio.sleep(0)


@pytest.fixture
async def realm(tmp_path: Path) -> AsyncGenerator[Lab]:
    """One in this process, on a clock of its own."""
    async with lab(tmp_path) as opened:
        yield opened


@pytest.fixture
async def ada(realm: Lab) -> LabPeer:
    return await realm.join(7)
