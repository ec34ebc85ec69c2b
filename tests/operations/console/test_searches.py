"""A search waits for the store no longer than a page may take, and goes on where it stopped."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from realmkeep.errors import StorageUnavailable
from realmkeep.operations.console.searches import KEPT_MAX, LOOK_S, PAGE_ROWS, Searches
from realmkeep.testing.clock import FakeClock


class SlowStore:
    """Finds a key each time that it is let go on."""

    def __init__(self, keys: int = 10**6) -> None:
        self._left = keys
        self.may_go = asyncio.Semaphore(0)
        self.asked = self.given = 0

    async def keys(self) -> AsyncIterator[str]:
        self.asked += 1
        for number in range(self._left):
            await self.may_go.acquire()
            self.given += 1
            yield f"k{number}"


async def test_a_page_shows_what_was_found_in_time_and_the_next_look_goes_on() -> None:
    clock, store = FakeClock(), SlowStore()
    searches = Searches(clock)
    for _ in range(3):
        store.may_go.release()
    looking = asyncio.create_task(searches.page(("a",), store.keys, 0, anew=True))
    await clock.advance(LOOK_S)
    found = await looking
    assert (found.rows, found.more, found.looking) == (["k0", "k1", "k2"], False, True)
    for _ in range(PAGE_ROWS):
        store.may_go.release()
    found = await searches.page(("a",), store.keys, 0, anew=False)
    assert (len(found.rows), found.more, found.looking) == (PAGE_ROWS, True, False)
    assert found.rows[:3] == ["k0", "k1", "k2"]
    assert (store.asked, store.given) == (1, PAGE_ROWS + 1), "it looks no further than a page needs"


async def look(searches: Searches, clock: FakeClock, store: SlowStore, name: str) -> None:
    looking = asyncio.create_task(searches.page((name,), store.keys, 0, anew=True))
    await clock.advance(LOOK_S)
    assert (await looking).looking


async def test_two_operators_who_search_for_the_same_at_once_share_the_search() -> None:
    clock, store = FakeClock(), SlowStore()
    searches = Searches(clock)
    both = [asyncio.create_task(searches.page(("a",), store.keys, 0, anew=True)) for _ in range(2)]
    await clock.advance(LOOK_S)
    assert [(await each).looking for each in both] == [True, True]
    assert store.asked == 1


async def test_a_search_that_is_pushed_out_by_others_asks_no_further_and_its_page_ends() -> None:
    clock, stores = FakeClock(), [SlowStore() for _ in range(KEPT_MAX + 1)]
    searches = Searches(clock)
    first = asyncio.create_task(searches.page(("0",), stores[0].keys, 0, anew=True))
    for number, store in enumerate(stores[1:], 1):
        await look(searches, clock, store, str(number))
    assert (await first).rows == []
    stores[0].may_go.release()
    await clock.advance(0)
    assert stores[0].given == 0


async def test_a_search_begins_anew_when_no_step_of_it_is_under_way() -> None:
    clock, store = FakeClock(), SlowStore(keys=3)
    searches = Searches(clock)
    for _ in range(6):
        store.may_go.release()
    for again in (1, 2):
        assert len((await searches.page(("a",), store.keys, 0, anew=True)).rows) == 3
        assert store.asked == again


async def test_a_store_that_is_away_ends_the_search_and_the_next_one_begins_anew() -> None:
    clock, away = FakeClock(), True
    searches = Searches(clock)

    async def keys() -> AsyncIterator[str]:
        if away:
            raise StorageUnavailable("the store is away", hint="")
        yield "k"

    with pytest.raises(StorageUnavailable):
        await searches.page(("a",), keys, 0, anew=True)
    away = False
    assert (await searches.page(("a",), keys, 0, anew=False)).rows == ["k"]
