from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def nothing_blocks_the_event_loop() -> Iterator[BlockBuster]:
    """Every blocking call that Realmkeep makes on the event loop fails the test that made it."""
    with blockbuster_ctx("realmkeep") as blockbuster:
        yield blockbuster
