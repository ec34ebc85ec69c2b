from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

settings.register_profile("unhurried", settings.default, deadline=None)  # a busy machine is no defect
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def nothing_blocks_the_event_loop() -> Iterator[BlockBuster]:
    """Every blocking call that Realmkeep makes on the event loop fails the test that made it."""
    with blockbuster_ctx("realmkeep") as blockbuster:
        yield blockbuster
