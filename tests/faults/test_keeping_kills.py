"""Keeping on a real Valkey, in real processes that are killed and stopped: what was answered is there, once."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from faults.history import check_history, incremental_file
from faults.realm import CONFIG, HEROES, REALM_S_MAX, EmbeddedStore, Realm, open_realm
from faults.realm_check import violations

pytestmark = [pytest.mark.backend("valkey"), pytest.mark.limit(REALM_S_MAX + 60)]


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_killed_or_stopped_nothing_answered_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    async with open_realm(tmp_path, seed=seed) as realm:
        faults = [
            realm.kill_a_server,
            realm.kill_every_server,
            realm.kill_the_store,
            realm.kill_the_store_and_a_server,
            realm.pause_a_server,
            realm.pause_the_store,
        ]
        realm.random.shuffle(faults)
        realm.crowd.start()
        await realm.play_on()
        for fault in faults:
            await fault()
            await realm.play_on()
        snapshot = await realm.calm_down()
        assert violations(realm.crowd.told, snapshot, settled=True) == []
        assert check_history(realm.store.directory, HEROES) == []


@pytest.mark.backend("embedded")
async def test_the_embedded_store_and_its_server_are_killed_and_stopped_and_nothing_answered_is_lost(
    tmp_path: Path,
) -> None:
    async with open_realm(tmp_path, seed=3, names=("solo",), store_options="", make_store=EmbeddedStore) as realm:
        realm.crowd.start()
        await realm.play_on()
        faults = [realm.kill_a_server, realm.kill_the_store, realm.kill_the_store_and_a_server, realm.pause_the_store]
        for fault in faults:
            await fault()
            await realm.play_on()
        snapshot = await realm.calm_down()
        assert violations(realm.crowd.told, snapshot, settled=True) == []
        assert check_history(realm.store.directory, HEROES) == []


SLEEPERS = msgspec.structs.replace(CONFIG, checkpoint_interval_s=600)  # nothing is written but what the test asks for


async def request_to_a_server_that_slept(realm: Realm) -> str:
    """North sleeps past its lease, south takes its players, north wakes up and finds a request; returns its answer.

    South writes nothing, so nothing but the owner can tell north that it is too late. The store is waited for patiently:
    a heartbeat that was under way when north fell asleep must not break its connection.
    """
    north, south = realm.lines["north"], realm.lines["south"]
    for who in (0, 1):
        assert "xp" in await north.send("login", who=who)
    realm.servers["north"].pause()
    late = north.send("mail", who=0, to=1, amount=7, op=1, letter=1)
    for who in (0, 1):
        async with asyncio.timeout(20):
            while "xp" not in await south.send("login", who=who):
                await asyncio.sleep(0.02)
    realm.servers["north"].resume()
    answer = await late
    return answer.get("error", "")


async def test_a_server_that_slept_past_its_lease_writes_nothing_more(tmp_path: Path) -> None:
    async with open_realm(tmp_path, seed=4, config=SLEEPERS, store_options="") as realm:
        assert await request_to_a_server_that_slept(realm) == "OwnershipLost"
        await realm.lines["south"].send("earn", who=0, xp=3)
        for name in ("north", "south"):
            await realm.close(name)
        assert check_history(realm.store.directory, HEROES) == []


async def test_control_a_server_without_the_owner_in_its_guards_is_caught(tmp_path: Path) -> None:
    async with open_realm(tmp_path, seed=4, config=SLEEPERS, store_options="", mutant="fence") as realm:
        assert await request_to_a_server_that_slept(realm) == ""
        first, *_ = check_history(realm.store.directory, HEROES)  # the letter may be opened under a lost claim, too
        assert first.startswith("sim-hero:0 was written under the claim ")
        assert "while b'south/" in first


async def test_control_answers_before_the_store_has_it_are_caught(tmp_path: Path) -> None:
    async with open_realm(tmp_path, seed=5, names=("north",), mutant="early answer") as realm:
        north = realm.lines["north"]
        assert "xp" in await north.send("login", who=0)
        await asyncio.to_thread(realm.store.pause)
        for op in range(1, 11):
            assert "error" not in await north.send("mail", who=0, to=1, amount=1, op=op, letter=op)
        await realm.kill("north")
        await asyncio.to_thread(realm.store.resume)
        assert any("acknowledged operations are lost" in wrong for wrong in realm.wrong())


async def test_control_operations_that_are_not_remembered_are_caught(tmp_path: Path) -> None:
    async with open_realm(tmp_path, seed=6, names=("north",), mutant="op ring") as realm:
        realm.crowd.start()
        await realm.crowd.until(lambda: bool(realm.wrong()), "the checker notices")
        assert any("an operation was applied twice" in wrong for wrong in realm.wrong())


async def test_control_a_store_that_lost_its_last_writes_is_caught(tmp_path: Path) -> None:
    async with open_realm(tmp_path, seed=7, names=("north",)) as realm:
        realm.crowd.start()
        await realm.play_on()
        await realm.crowd.stop()
        await realm.kill("north")
        await asyncio.to_thread(realm.store.kill)
        file = incremental_file(realm.store.directory)
        os.truncate(file, file.stat().st_size // 2)
        await asyncio.to_thread(realm.store.start)
        assert any("acknowledged operations are lost" in wrong for wrong in realm.wrong())
