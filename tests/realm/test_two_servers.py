"""A realm of two servers and a gateway, as processes: a crowd plays on both, one is killed, and nothing is lost or doubled."""

import json
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from server import Server

from realmkeep.testing.servers import StoreServer

CROWD_S = 60.0  # for its end; it plays for five seconds, and the lease of the dead server lasts two
SETTINGS = {
    "OPERATIONS__LISTEN": "",
    "BACKUP__INTERVAL_S": "0",
    "KEEPER__HEARTBEAT_S": "0.5",
    "KEEPER__LEASE_TTL_S": "2",
    "KEEPER__GRACE_S": "2",
}


@contextmanager
def realm_of_two(directory: Path) -> Generator[list[Server]]:
    """North, south and their gateway, which must end well if they are not killed."""
    stores = directory / "store"
    stores.mkdir()
    with StoreServer(stores) as store:
        shared = {**SETTINGS, "STORE__URL": store.url}
        servers = [Server(directory / name, "--name", name, **shared) for name in ("north", "south")]
        servers.append(Server(directory / "gateway", "north", "south", command="gateway", **shared))
        try:
            with ThreadPoolExecutor(len(servers)) as pool:
                list(pool.map(Server.start, servers))
            yield servers
        finally:
            codes = [server.stop() for server in servers if server.running]
        assert codes == [0] * len(codes)


def logged_in(server: Server) -> set[str]:
    """The players that have logged in at a server."""
    events = [json.loads(line) for line in server.log.rpartition("\n")[0].splitlines() if '"player logged in"' in line]
    return {str(each["player"]) for each in events}


def test_a_crowd_across_two_servers_stays_conserved_when_one_is_killed(tmp_path: Path) -> None:
    with realm_of_two(tmp_path) as (north, south, gateway):
        command = [sys.executable, "-m", "realmkeep.cli", "crowd", "--json", "--bots", "6", "--duration", "5"]
        crowd = subprocess.Popen(
            [*command, "--data", str(gateway.directory)], env=gateway.environment, stdout=subprocess.PIPE
        )
        try:
            assert crowd.stdout is not None
            while not logged_in(north) & logged_in(south):
                assert crowd.poll() is None, "nobody has travelled"
            north.kill()  # the other takes its players once its lease has run out
            told, _ = crowd.communicate(timeout=CROWD_S)
        finally:
            crowd.kill()
            crowd.wait()
    report = json.loads(told)
    assert (report["problems"], report["bots"]) == ([], 6)
    assert report["travels"] > 0
