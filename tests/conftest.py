from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

pytest_plugins = ["realmkeep.testing.plugin", "suite.engines", "suite.limits"]

settings.register_profile("unhurried", settings.default, deadline=None)  # a busy machine is no defect
settings.load_profile("unhurried")

pytest.register_assert_rewrite("realmkeep.testing.contract")


@pytest.fixture(autouse=True)
def nothing_blocks_the_event_loop() -> Iterator[BlockBuster]:
    """Every blocking call that Realmkeep makes on the event loop fails the test that made it."""
    with blockbuster_ctx("realmkeep") as blockbuster:
        yield blockbuster


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="play this one history of the simulation again")
    parser.addoption("--seeds", type=int, default=2000, help="how many histories the simulation plays")
    parser.addoption("--seeds-from", type=int, default=0, help="the first of them")
