import os
import signal
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

pytest_plugins = ["realmkeep.testing.plugin", "suite.engines", "suite.limits", "suite.postgres"]

settings.register_profile(  # a busy machine is no defect
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")

pytest.register_assert_rewrite("realmkeep.testing.contract")


@pytest.fixture(
    autouse=True, scope="session"
)  # to wrap sixty functions anew for each test takes longer than most tests
def nothing_blocks_the_event_loop() -> Iterator[BlockBuster]:
    """Every blocking call that Realmkeep makes on the event loop fails the test that made it.

    But the drill's: it is no server, and reads a store while it lets nothing else happen.
    """
    with blockbuster_ctx("realmkeep", excluded_modules=["realmkeep.drill"]) as blockbuster:
        yield blockbuster


def pytest_configure() -> None:
    """Signals as on a terminal: what starts a run in the background may have them ignored, also by the servers of the tests."""
    for name, usual in (
        ("SIGINT", signal.default_int_handler),
        ("SIGTERM", signal.SIG_DFL),
        ("SIGHUP", signal.SIG_DFL),
    ):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
            signal.signal(getattr(signal, name), usual)


os.environ["REALMKEEP_OPERATIONS__LISTEN"] = (
    ""  # the servers of tests run side by side, so none may take the usual port
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="play this one history of the simulation again")
    parser.addoption(
        "--seeds", type=int, default=600, help="how many histories the simulation plays; 6000: the cold tier, too"
    )
    parser.addoption("--seeds-from", type=int, default=0, help="the first of them")
