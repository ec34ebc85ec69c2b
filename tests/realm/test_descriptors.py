"""The limit of file descriptors: raised as far as the system lets us, and no reason not to serve where it does not."""

import resource
import sys
from collections.abc import Callable

import pytest

from realmkeep.realm.server.descriptors import MACOS_FILES_MAX, OF_OUR_OWN, connections_max
from realmkeep.realm.wire.tcp import CONNECTIONS_MAX

UNLIMITED = resource.RLIM_INFINITY


class System:
    """What a system says of its limit, and the highest that it really takes."""

    def __init__(self, soft: int, hard: int, *, takes: int = UNLIMITED, refusal: type[Exception] = ValueError) -> None:
        self.limits = (soft, hard)
        self.takes = takes
        self.refusal = refusal

    def getrlimit(self, _: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        soft = limits[0]
        if self.takes != UNLIMITED and (soft == UNLIMITED or soft > self.takes):
            raise self.refusal("current limit exceeds maximum limit")
        self.limits = limits


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[System], None]:
    def put(system: System) -> None:
        monkeypatch.setattr(resource, "getrlimit", system.getrlimit)
        monkeypatch.setattr(resource, "setrlimit", system.setrlimit)

    return put


@pytest.mark.parametrize(
    ("told", "connections"),
    [
        pytest.param(System(1024, 4096), 4096 - OF_OUR_OWN, id="Linux"),
        pytest.param(System(1024, 1_000_000), CONNECTIONS_MAX, id="systemd"),
        pytest.param(System(256, UNLIMITED), CONNECTIONS_MAX, id="macOS"),
        pytest.param(
            System(256, UNLIMITED, takes=MACOS_FILES_MAX),
            min(CONNECTIONS_MAX, MACOS_FILES_MAX - OF_OUR_OWN),
            id="macOS that takes 10,240",
        ),
        pytest.param(
            System(1024, 4096, takes=0, refusal=PermissionError), 1024 - OF_OUR_OWN, id="a sandbox without setrlimit"
        ),
        pytest.param(System(32, 32), 1, id="hardly any"),
        pytest.param(System(UNLIMITED, UNLIMITED), CONNECTIONS_MAX, id="no limit"),
    ],
)
def test_as_many_as_the_system_lets_us(system: Callable[[System], None], told: System, connections: int) -> None:
    system(told)
    assert connections_max() == connections


def test_a_system_that_does_not_know_the_limit_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> tuple[int, int]:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "getrlimit", refused)
    assert connections_max() == CONNECTIONS_MAX
    monkeypatch.setitem(sys.modules, "resource", None)
    assert connections_max() == CONNECTIONS_MAX
