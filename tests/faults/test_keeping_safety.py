"""A real Valkey that fsyncs once a second dies: letters are not opened twice, and what a dead server sent was never sent."""

import asyncio
import os
from functools import partial
from pathlib import Path

import msgspec
import pytest

from realmkeep.drill.bots.client import POLL_S
from realmkeep.drill.checks.append_only_log import incremental_file
from realmkeep.drill.checks.kept import heroes_of
from realmkeep.drill.checks.model import unopened
from realmkeep.drill.game import START_GOLD
from realmkeep.drill.realm import CONFIG, HEROES, Realm, open_realm
from realmkeep.drill.stores.redis import RedisStore

pytestmark = pytest.mark.backend("valkey")

WAIT_S_MAX = 30.0
LETTERS = 80  # more than twice what a ring stores
EVERYSEC = partial(RedisStore, fsync="everysec")


def gold(realm: Realm, *numbers: int) -> int:
    """Of some heroes, with the letters that they are still to open."""
    snapshot = realm.snapshot()
    heroes = heroes_of(snapshot, HEROES)
    letters = [letter["gold"] for number in numbers for letter in unopened(snapshot, f"sim-hero:{number}")]
    return sum(heroes[number].gold for number in numbers) + sum(letters)


async def until_it_lives_on(realm: Realm, name: str) -> None:
    """A server has looked at the store that was started again, and plays on."""
    async with asyncio.timeout(WAIT_S_MAX):
        while "error" in await realm.lines[name].send("login", who=5) or await realm.degraded(name):
            await asyncio.sleep(POLL_S)


async def die_with_the_sender(realm: Realm, *, is_opened: bool) -> None:
    """South sends to north; as soon as north has heard of it, or has opened it, the store dies, and south with it."""
    assert "xp" in await realm.lines["south"].send("login", who=1)
    assert "xp" in await realm.lines["north"].send("login", who=0)
    older_bytes = incremental_file(realm.store.directory).stat().st_size
    assert "error" not in await realm.lines["south"].send("mail", who=1, to=0, amount=7, op=1, letter=1)
    assert isinstance(realm.store, RedisStore)
    ask = partial(asyncio.to_thread, realm.store.ask)
    async with asyncio.timeout(WAIT_S_MAX):
        while await ask("EXISTS", "server:north:notices") == 0:
            await asyncio.sleep(0)
        while await ask("EXISTS", "server:north:notices") == 1:
            await asyncio.sleep(0)
    assert (await realm.lines["north"].send("earn", who=0, xp=1))["xp"] == 1  # it has had a turn since
    async with asyncio.timeout(WAIT_S_MAX):
        while is_opened and heroes_of(realm.snapshot(), HEROES)[0].gold == START_GOLD:
            await asyncio.sleep(POLL_S)
    await asyncio.to_thread(realm.store.kill)
    await realm.kill("south")
    os.truncate(incremental_file(realm.store.directory), older_bytes)
    await asyncio.to_thread(realm.store.start)
    assert (await realm.lines["north"].send("die", who=0))["deaths"] == 1  # written again
    await until_it_lives_on(realm, "north")


@pytest.mark.parametrize(("mutant", "more"), [("", 0), ("unsafe letters", 7)], ids=["as it is", "control"])
async def test_a_letter_is_lost_with_its_sending_when_store_and_sender_die(
    tmp_path: Path, mutant: str, more: int
) -> None:
    async with open_realm(tmp_path, seed=21, names=("north", "south"), make_store=EVERYSEC, mutant=mutant) as realm:
        await die_with_the_sender(realm, is_opened=bool(mutant))
        assert gold(realm, 0, 1) == 2 * START_GOLD + more


async def lose_what_was_opened(realm: Realm) -> None:
    """North opens many letters of south, and the store loses that it did; both live."""
    north, south = realm.lines["north"], realm.lines["south"]
    assert "xp" in await north.send("login", who=0)
    assert "error" not in await north.send("logout", who=0)
    assert "xp" in await south.send("login", who=1)
    for number in range(1, LETTERS + 1):
        assert "error" not in await south.send("mail", who=1, to=0, amount=1, op=number, letter=number)
    older_bytes = incremental_file(realm.store.directory).stat().st_size
    assert "xp" in await north.send("login", who=0)
    async with asyncio.timeout(WAIT_S_MAX):
        while heroes_of(realm.snapshot(), HEROES)[0].gold < START_GOLD + LETTERS:
            await asyncio.sleep(POLL_S)
    await asyncio.to_thread(realm.store.kill)
    os.truncate(incremental_file(realm.store.directory), older_bytes)
    await asyncio.to_thread(realm.store.start)
    assert (await north.send("die", who=0))["deaths"] == 1
    await until_it_lives_on(realm, "north")
    async with asyncio.timeout(WAIT_S_MAX):
        while realm.snapshot().entries("sim-hero:0:inbox"):
            await asyncio.sleep(POLL_S)
    await realm.close("north")


@pytest.mark.parametrize("mutant", ["", "few letters"], ids=["as it is", "control"])
async def test_letters_that_come_back_are_not_opened_again_however_many(tmp_path: Path, mutant: str) -> None:
    config = msgspec.structs.replace(CONFIG, lease_ttl_s=WAIT_S_MAX)
    async with open_realm(
        tmp_path, seed=22, names=("north", "south"), config=config, make_store=EVERYSEC, mutant=mutant
    ) as realm:
        await lose_what_was_opened(realm)
        doubled = gold(realm, 0, 1) - 2 * START_GOLD
        assert (doubled > 0) is bool(mutant), doubled
