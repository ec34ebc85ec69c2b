from collections import Counter
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

pytest_plugins = ["realmkeep.testing.plugin"]

settings.register_profile("unhurried", settings.default, deadline=None)  # a busy machine is no defect
settings.load_profile("unhurried")

pytest.register_assert_rewrite("realmkeep.testing.contract")


@pytest.fixture(autouse=True)
def nothing_blocks_the_event_loop() -> Iterator[BlockBuster]:
    """Every blocking call that Realmkeep makes on the event loop fails the test that made it."""
    with blockbuster_ctx("realmkeep") as blockbuster:
        yield blockbuster


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without",
        action="append",
        default=[],
        metavar="BACKEND",
        help="leave out the tests marked backend(BACKEND); without this a backend that is missing fails the run",
    )
    parser.addoption("--seed", type=int, default=None, help="play this one history of the simulation again")
    parser.addoption("--seeds", type=int, default=2000, help="how many histories the simulation plays")
    parser.addoption("--seeds-from", type=int, default=0, help="the first of them")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "backend(name): needs this storage backend; left out by --without name")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    without: list[str] = config.option.without
    left_out: list[pytest.Item] = []
    for item in items:
        names = {str(mark.args[0]) for mark in item.iter_markers("backend")}
        item.user_properties += [("backend", name) for name in sorted(names)]
        if not names.isdisjoint(without):
            left_out.append(item)
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports: list[pytest.TestReport] = terminalreporter.getreports("passed")
    passed = Counter(value for report in reports for name, value in report.user_properties if name == "backend")
    left_out: list[str] = config.option.without
    if passed or left_out:
        ran = ", ".join(f"{name} ({passed[name]} passed)" for name in sorted(map(str, passed))) or "none"
        terminalreporter.write_line(f"storage backends: {ran}; left out by --without: {', '.join(left_out) or 'none'}")
