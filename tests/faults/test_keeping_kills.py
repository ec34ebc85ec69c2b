"""A real server that sleeps past its lease, and its control; the drill kills and stops everything else (`test_drill.py`)."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from realmkeep.drill.checks.append_only_log import check_history
from realmkeep.drill.realm import CONFIG, HEROES, REALM_S_MAX, Realm, open_realm

pytestmark = [pytest.mark.backend("valkey"), pytest.mark.limit(REALM_S_MAX + 60)]


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
        assert first.startswith("owner: sim-hero:0 was written under the claim ")
        assert "while b'south/" in first
