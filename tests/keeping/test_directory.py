"""On which server a record is live, as a gateway without a keeper is told."""

import pytest

from keeping.game import Player, enter
from realmkeep.config import KeeperConfig
from realmkeep.errors import Corrupt, InvalidKey
from realmkeep.keeping import Directory, Keeper, Whereabouts
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keys import server_lease
from realmkeep.storage import Delete, Put, Transaction
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.lab import abandon

OWNER = keys_of(Player, 1).owner
NORTH = KeeperConfig(name="north", address="north.example.org:7777", version="2.1", heartbeat_s=1.0, lease_ttl_s=5.0)


async def opened(store: MemoryStore, clock: FakeClock, config: KeeperConfig) -> Keeper:
    storage = MemoryStorage(store, clock=clock)
    return await Keeper.open(storage, config=config, clock=clock)


async def gateway(store: MemoryStore) -> Directory:
    storage = MemoryStorage(store)
    await storage.connect()
    return Directory(storage)


async def test_a_gateway_is_told_the_server_its_address_and_its_release() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    north = await opened(store, clock, NORTH)
    directory = await gateway(store)
    assert await directory.whereabouts(Player, 1) is None
    session = await enter(north)
    told = Whereabouts("north", north.status().incarnation, "north.example.org:7777", "2.1", is_alive=True)
    assert await directory.whereabouts(Player, 1) == told
    assert await north.whereabouts(Player, 1) == told
    await session.logout()
    assert await directory.whereabouts(Player, 1) is None
    await north.close()


async def test_the_records_of_a_dead_server_are_told_as_such_until_its_next_run_has_them() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    north = await opened(store, clock, NORTH)
    await enter(north)
    incarnation = north.status().incarnation
    abandon(north)
    directory = await gateway(store)
    assert (await directory.whereabouts(Player, 1) or pytest.fail("no owner")).is_alive  # its lease holds
    await clock.advance(6)
    dead = Whereabouts("north", incarnation, "", "", is_alive=False)
    assert await directory.whereabouts(Player, 1) == dead
    again = await opened(store, clock, NORTH)
    assert await directory.whereabouts(Player, 1) == dead
    await enter(again)
    assert (await directory.whereabouts(Player, 1) or pytest.fail("no owner")).incarnation == again.status().incarnation
    await again.close()


async def test_what_cannot_be_read_is_an_error_and_no_answer() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    north = await opened(store, clock, NORTH)
    await enter(north)
    directory = await gateway(store)
    with pytest.raises(InvalidKey):
        await directory.whereabouts(Player, "a:b")
    storage = MemoryStorage(store)
    await storage.connect()
    await storage.write([Transaction((), (Put(server_lease("north"), b"{"),))])
    with pytest.raises(Corrupt, match="does not hold a lease"):
        await directory.whereabouts(Player, 1)
    await storage.write([Transaction((), (Delete(server_lease("north")), Put(OWNER, b"nobody")))])
    with pytest.raises(Corrupt, match="does not name an owner"):
        await directory.whereabouts(Player, 1)
    abandon(north)


async def test_the_lease_of_an_older_release_tells_no_address() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    directory = await gateway(store)
    storage = MemoryStorage(store)
    await storage.connect()
    lease = b'{"incarnation":"f00f00f0","beat":1,"host":"h","pid":7}'
    puts = (Put(server_lease("old"), lease), Put(OWNER, b"old/f00f00f0/1"))
    await storage.write([Transaction((), puts)])
    assert await directory.whereabouts(Player, 1) == Whereabouts("old", "f00f00f0", "", "", is_alive=True)
