"""Fixtures for a game's own tests; in its `conftest.py`: `pytest_plugins = ["realmkeep.testing.plugin"]`."""

from collections.abc import AsyncGenerator

import pytest_asyncio

from realmkeep.keeping import Keeper
from realmkeep.testing.lab import Lab


@pytest_asyncio.fixture
async def lab() -> AsyncGenerator[Lab]:
    """A realm in memory with one open server, in strict mode; its clock stands still until the test moves it."""
    async with Lab() as lab:
        yield lab


@pytest_asyncio.fixture
async def keeper(lab: Lab) -> Keeper:
    """The keeper of the first server of `lab`."""
    return lab.keeper
