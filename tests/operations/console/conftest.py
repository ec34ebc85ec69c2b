from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from operations.console.asking import Realm, realm
from realmkeep.testing.lab import Lab


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncGenerator[Realm]:
    async with Lab() as lab, realm(lab, tmp_path) as made:
        yield made
