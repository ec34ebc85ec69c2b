"""A real Valkey that comes back with less than it acknowledged: what a live server writes again, and when it asks first."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from realmkeep.drill.bots.client import POLL_S
from realmkeep.drill.checks.append_only_log import check_history, incremental_file
from realmkeep.drill.checks.kept import heroes_of
from realmkeep.drill.game import START_GOLD
from realmkeep.drill.realm import CONFIG, HEROES, REALM_S_MAX, Realm, open_realm
from realmkeep.drill.stores.redis import RedisStore
from realmkeep.keeping.ownership.lease import Lease
from realmkeep.storage.embedded_config import Fsync

pytestmark = [pytest.mark.backend("valkey"), pytest.mark.limit(REALM_S_MAX + 60)]

LEASE = "server:north:lease"
WAIT_S_MAX = 60.0


async def lose_what_was_acknowledged(realm: Realm) -> None:
    """Players are answered; then the store dies, and an older state of its file comes back, while the server sleeps."""
    north = realm.lines["north"]
    for who in (0, 1, 2):
        assert "xp" in await north.send("login", who=who)
    assert "xp" in await north.send("login", who=3)  # who gets letters has to be there
    assert "error" not in await north.send("logout", who=3)
    file = incremental_file(realm.store.directory)
    older_bytes = file.stat().st_size
    assert "error" not in await north.send("trade", who=1, to=0, amount=7, ops=(1, 1))
    assert "error" not in await north.send("deposit", who=0, amount=5, op=2)
    assert "error" not in await north.send("mail", who=1, to=3, amount=3, op=2, letter=1)
    assert (await north.send("die", who=2))["deaths"] == 1
    await lose_what_came_after(realm, older_bytes)


async def lose_what_came_after(
    realm: Realm, older_bytes: int, before_it_goes_on: Callable[[], Awaitable[None]] | None = None
) -> None:
    """The store dies, and comes back with the older state, while the server sleeps; then that goes on."""
    file = incremental_file(realm.store.directory)
    realm.servers["north"].pause()
    await asyncio.to_thread(realm.store.kill)
    os.truncate(file, older_bytes)
    await asyncio.to_thread(realm.store.start)
    assert any("acknowledged operations are lost" in wrong for wrong in realm.wrong()), "the control: it is really gone"
    realm.crowd.told.model.violations.clear()
    realm.crowd.told.model.revisions.clear()
    if before_it_goes_on is not None:
        await before_it_goes_on()
    realm.servers["north"].resume()


async def until_everything_is_back(realm: Realm) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while realm.wrong():
            realm.crowd.told.model.violations.clear()
            await asyncio.sleep(POLL_S)
        for name in realm.servers:
            while await realm.degraded(name):
                await asyncio.sleep(POLL_S)


async def check_that_it_stays(realm: Realm, *, traded: int, deposited: int = 0) -> None:
    """Also after a crash of the server: its rings were written again, too; and no state in between was torn."""
    await realm.kill("north")
    await realm.start("north")
    north = realm.lines["north"]
    for who in (0, 1):
        assert "xp" in await north.send("login", who=who)
    assert (await north.send("trade", who=1, to=0, amount=traded, ops=(1, 1)))["repeated"]
    if deposited:
        assert (await north.send("deposit", who=0, amount=deposited, op=2))["repeated"]
    await realm.close("north")
    assert realm.wrong() == []
    assert check_history(realm.store.directory, HEROES) == []


@pytest.mark.parametrize(("fsync", "heal"), [("everysec", False), ("always", True)])
async def test_a_server_that_lives_writes_again_what_its_store_lost(tmp_path: Path, fsync: Fsync, heal: bool) -> None:
    config = msgspec.structs.replace(CONFIG, heal=heal)
    store = partial(RedisStore, fsync=fsync)
    async with open_realm(tmp_path, seed=8, names=("north",), config=config, make_store=store) as realm:
        await lose_what_was_acknowledged(realm)
        await until_everything_is_back(realm)
        await check_that_it_stays(realm, traded=7, deposited=5)


async def test_a_store_that_had_promised_to_lose_nothing_is_not_written_before_an_operator_says_so(
    tmp_path: Path,
) -> None:
    async with open_realm(tmp_path, seed=9, names=("north",)) as realm:
        await lose_what_was_acknowledged(realm)
        north = realm.lines["north"]
        async with asyncio.timeout(WAIT_S_MAX):
            while not any("writing stopped" in why for why in await realm.degraded("north")):
                await asyncio.sleep(POLL_S)
        found = state(realm)
        mail = north.send("mail", who=0, to=3, amount=1, op=3, letter=2)
        await heartbeats(realm, 3)  # the server is alive, and the store would take what it sent
        assert not mail.done()
        assert state(realm) == found
        await north.send("heal")
        assert "error" not in await mail
        await until_everything_is_back(realm)
        await check_that_it_stays(realm, traded=7, deposited=5)


async def trade_and_log_out(realm: Realm) -> int:
    """One of two who have traded leaves; returns the size of the store's file before the trade."""
    north = realm.lines["north"]
    for who in (0, 1):
        assert "xp" in await north.send("login", who=who)
    older_bytes = incremental_file(realm.store.directory).stat().st_size
    assert "error" not in await north.send("trade", who=1, to=0, amount=10, ops=(1, 1))
    assert "error" not in await north.send("logout", who=1)
    return older_bytes


async def test_who_traded_and_logged_out_in_the_lost_moment_is_written_again_with_the_other(tmp_path: Path) -> None:
    store = partial(RedisStore, fsync="everysec")
    async with open_realm(tmp_path, seed=10, names=("north",), make_store=store) as realm:
        older_bytes = await trade_and_log_out(realm)
        await lose_what_came_after(realm, older_bytes)
        async with asyncio.timeout(WAIT_S_MAX):
            while realm.wrong():
                realm.crowd.told.model.violations.clear()
                await asyncio.sleep(POLL_S)
        heroes = heroes_of(realm.snapshot(), HEROES)
        assert (heroes[1].gold, heroes[0].gold) == (START_GOLD - 10, START_GOLD + 10)
        await until_everything_is_back(realm)
        await check_that_it_stays(realm, traded=10)


async def test_another_server_lets_nobody_in_before_the_first_has_written_again_what_was_lost(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CONFIG, lease_ttl_s=WAIT_S_MAX)
    store = partial(RedisStore, fsync="everysec")
    async with open_realm(tmp_path, seed=12, names=("north", "south"), config=config, make_store=store) as realm:
        south = realm.lines["south"]
        older_bytes = await trade_and_log_out(realm)
        logins: list[asyncio.Future[dict[str, Any]]] = []

        async def log_in_elsewhere() -> None:
            """From the moment on in which that server has the store again."""
            async with asyncio.timeout(WAIT_S_MAX):
                while not (why := await realm.degraded("south")) or not why[-1].endswith(" looked: north"):
                    if not logins or (logins[0].done() and "error" in logins.pop().result()):
                        logins.append(asyncio.ensure_future(south.send("login", who=1)))
                    await asyncio.sleep(POLL_S)

        await lose_what_came_after(realm, older_bytes, log_in_elsewhere)
        assert "xp" in await logins[0]
        await until_everything_is_back(realm)
        heroes = heroes_of(realm.snapshot(), HEROES)
        assert (heroes[1].gold, heroes[0].gold) == (START_GOLD - 10, START_GOLD + 10)
        assert (await south.send("state"))["owned"] == ["1"]


def state(realm: Realm) -> list[bytes | None]:
    """Every hero as the store has it."""
    snapshot = realm.snapshot()
    return [snapshot.value(f"sim-hero:{number}{part}") for number in range(HEROES) for part in ("", ":updated")]


async def heartbeats(realm: Realm, count: int) -> None:
    """Return when the server has renewed its lease so often."""
    assert isinstance(realm.store, RedisStore)
    store = realm.store

    async def beat() -> int:
        stored = await asyncio.to_thread(store.ask, "GET", LEASE)
        return Lease.decode(stored, LEASE).beat if isinstance(stored, bytes) else 0

    until = await beat() + count
    async with asyncio.timeout(WAIT_S_MAX):
        while await beat() < until:
            await asyncio.sleep(POLL_S)
