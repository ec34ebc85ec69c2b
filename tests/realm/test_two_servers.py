"""A realm of two servers and a gateway, as processes: a crowd plays on both, one is killed, and nothing is lost or doubled."""

import json
import subprocess
import sys
from pathlib import Path

from server import running

from realmkeep.testing.servers import StoreServer

CROWD_S = 60.0  # for its end; it plays for two seconds
SETTINGS = {
    "OPERATIONS__LISTEN": "",
    "BACKUP__INTERVAL_S": "0",
    "KEEPER__HEARTBEAT_S": "0.5",
    "KEEPER__LEASE_TTL_S": "2",
    "KEEPER__GRACE_S": "2",
}


def test_a_crowd_across_two_servers_stays_conserved_when_one_is_killed(tmp_path: Path) -> None:
    stores = tmp_path / "store"
    stores.mkdir()
    with StoreServer(stores) as store:
        shared = {**SETTINGS, "STORE__URL": store.url}
        with (
            running(tmp_path / "north", "--name", "north", **shared) as north,
            running(tmp_path / "south", "--name", "south", **shared),
            running(tmp_path / "gateway", "north", "south", command="gateway", **shared) as gateway,
        ):
            command = [sys.executable, "-m", "realmkeep.cli", "crowd", "--json", "--bots", "6", "--duration", "2"]
            crowd = subprocess.Popen(
                [*command, "--data", str(gateway.directory)], env=gateway.environment, stdout=subprocess.PIPE
            )
            try:
                assert crowd.stdout is not None
                while "player logged in" not in north.log:
                    assert crowd.poll() is None
                north.kill()
                north.start()
                told, _ = crowd.communicate(timeout=CROWD_S)
            finally:
                crowd.kill()
                crowd.wait()
    report = json.loads(told)
    assert (report["problems"], report["bots"]) == ([], 6)
    assert report["travels"] > 0
