"""Keeping on a real Valkey, in real processes that are killed and stopped: what was answered is there, once."""

from pathlib import Path

import pytest

from faults.history import check_history
from faults.realm import HEROES, open_realm

pytestmark = pytest.mark.backend("valkey")


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_killed_or_stopped_nothing_answered_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    async with open_realm(tmp_path, seed=seed) as realm:
        realm.crowd.start()
        await realm.play_on()
        faults = [
            realm.kill_a_server, realm.kill_every_server, realm.kill_the_store, realm.kill_the_store_and_a_server,
            realm.pause_the_store, realm.pause_a_server,
        ]  # fmt: skip
        realm.random.shuffle(faults)
        for fault in faults:
            t = __import__("time")
            a = t.monotonic()
            await fault()
            b = t.monotonic()
            await realm.play_on()
            print(fault.__name__, b - a, t.monotonic() - b)
        a = t.monotonic()
        realm.check_at_the_end(await realm.calm_down())
        print("calm", t.monotonic() - a, realm.crowd.told.counts, realm.crowd.told.acked)
        assert check_history(realm.store.directory, HEROES) == []
