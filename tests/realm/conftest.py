"""Tests of the realm import the client, its reader and the server from beside them."""

import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

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
