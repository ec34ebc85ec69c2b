"""Every record of a class: copies, a page at a time, each or its error; nothing is claimed or written."""

import pytest

from keeping.game import Guild, Player, earn, enter
from realmkeep import keys
from realmkeep.errors import Corrupt, RecordError, StorageUnavailable
from realmkeep.keeping import Keeper
from realmkeep.keeping.scan import PAGE_RECORDS
from realmkeep.testing.lab import Lab


async def gold_by_id(keeper: Keeper) -> dict[str, int]:
    return {each.id: each.require().gold async for each in keeper.table(Player).scan()}


async def test_every_record_is_seen_once_over_several_pages_and_no_companion_of_it(lab: Lab, keeper: Keeper) -> None:
    count = 2 * PAGE_RECORDS + 7
    for number in range(count):
        await (await enter(keeper, number, gold=number)).logout()
    await (await keeper.hold(Guild, 3, create=Guild)).release()
    before = lab.store.snapshot()
    assert await gold_by_id(keeper) == {str(number): number for number in range(count)}
    assert lab.store.snapshot() == before
    assert not keeper.sessions(Player)


async def test_a_live_record_is_seen_as_it_is_and_what_others_own_as_it_is_stored(lab: Lab, keeper: Keeper) -> None:
    zone = await lab.server("zone-2")
    ada, bob = await enter(keeper, 1), await enter(zone, 2)
    lab.line().plan = lab.line("zone-2").plan
    ada.record.xp = 5
    await zone.commit(earn, bob)
    seen = {each.id: each.require() async for each in keeper.table(Player).scan()}
    assert (seen["1"].xp, seen["2"].gold) == (5, 110)
    seen["1"].xp = 99
    assert ada.record.xp == 5
    assert (ada.connected, bob.connected) == (True, True)


async def test_what_cannot_be_read_is_told_and_stops_nothing(lab: Lab, keeper: Keeper) -> None:
    for number in range(1, 6):
        await (await enter(keeper, number)).logout()
    broken = keys.record_keys("rover", 3).record
    lab.store.replace(broken, b"{")
    before = lab.store.snapshot()
    found = [each async for each in keeper.table(Player).scan()]
    assert sorted(each.id for each in found if each.error is None) == ["1", "2", "4", "5"]
    (failed,) = [each for each in found if each.error is not None]
    assert (failed.id, failed.record) == ("3", None)
    with pytest.raises(Corrupt):
        failed.require()
    assert lab.store.snapshot() == before, "no copy is kept of what only was looked at"


async def test_a_live_record_that_cannot_be_saved_is_told_with_its_error(keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.name = "x" * 100_000
    (found,) = [each async for each in keeper.table(Player).scan()]
    assert isinstance(found.error, RecordError)


async def test_foreign_keys_among_them_are_passed_over(lab: Lab, keeper: Keeper) -> None:
    await (await enter(keeper, 1)).logout()
    for key in ("rover:a:b", "rover:a:b:owner", "rover:", "rover:9:version", "rover", "rovers:1"):
        lab.store.replace(key, b"x")
    assert await gold_by_id(keeper) == {"1": 100}


async def test_a_store_that_is_away_is_an_error_of_the_scan(lab: Lab, keeper: Keeper) -> None:
    await (await enter(keeper, 1)).logout()
    lab.line().down = True
    with pytest.raises(StorageUnavailable):
        await gold_by_id(keeper)
