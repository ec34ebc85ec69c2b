"""Servers of one name in containers: their host name and process number are the same, and they are not."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")

CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
LEASE_S = 3.0
SERVES = f"""if True:
    import asyncio, sys
    from realmkeep import Keeper, KeeperConfig
    from keeping.game import Player

    async def serve(url):
        config = KeeperConfig(name="town", heartbeat_s=0.5, lease_ttl_s={LEASE_S})
        async with await Keeper.open(url, config=config) as keeper:
            back = await keeper.recover(Player)
            await keeper.login(Player, 1, create=Player)
            print("serves", len(back), flush=True)
            await asyncio.to_thread(sys.stdin.read)
            print("degraded", keeper.degraded, flush=True)

    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(serve(sys.argv[1]))
"""


class Run:
    """A server of the name `town`, in a container or beside the test."""

    def __init__(self, url: str, *, contained: bool) -> None:
        command = [sys.executable, "-c", SERVES, url]
        self.process = subprocess.Popen(
            [*(CONTAINER if contained else []), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        assert self.said() == "ready"

    def open(self) -> None:
        """Open the keeper; a start on a busy machine, which may take longer than a lease, is over."""
        assert self.process.stdin is not None
        self.process.stdin.write("open\n")
        self.process.stdin.flush()

    def said(self) -> str:
        """The next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> str:
        """Ask it to end; what it says then."""
        return self.process.communicate(timeout=60)[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)  # its child dies with it, and must not see first that its input has ended
        self.process.communicate(timeout=60)


@pytest.fixture
def runs() -> Iterator[ExitStack]:
    with ExitStack() as runs:
        yield runs


def ready(runs: ExitStack, server: StoreServer, *, contained: bool = True) -> Run:
    run = Run(server.url, contained=contained)
    runs.callback(run.kill)
    return run


def opened(runs: ExitStack, server: StoreServer, *, contained: bool = True) -> Run:
    run = ready(runs, server, contained=contained)
    run.open()
    return run


@pytest.mark.needs("pid-namespace")
def test_a_second_server_of_the_name_in_another_container_does_not_take_over(
    server: StoreServer, runs: ExitStack
) -> None:
    """Both are process 1 of one host name: that was taken for a restart."""
    first = opened(runs, server)
    assert first.said() == "serves 0"
    second = opened(runs, server)
    assert "NameTaken" in second.end()
    assert first.end().strip() == "degraded ()"


@pytest.mark.needs("pid-namespace")
def test_a_container_that_replaces_a_killed_one_waits_for_its_lease(server: StoreServer, runs: ExitStack) -> None:
    first = opened(runs, server)
    assert first.said() == "serves 0"
    second = ready(runs, server)
    first.kill()
    killed_s = time.monotonic()
    left_ms = server.ask("PTTL", "server:town:lease")
    second.open()
    assert "watching" in second.said()
    assert second.said() == "serves 1"
    assert isinstance(left_ms, int)
    assert 1000 * (time.monotonic() - killed_s) >= left_ms > 0
    assert second.end().strip() == "degraded ()"


def test_a_server_that_is_killed_and_started_again_does_not_wait(server: StoreServer, runs: ExitStack) -> None:
    first = opened(runs, server, contained=False)
    assert first.said() == "serves 0"
    second = ready(runs, server, contained=False)
    first.kill()
    second.open()
    assert second.said() == "serves 1"  # and no word of watching before it
    assert second.end().strip() == "degraded ()"
