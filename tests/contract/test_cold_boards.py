"""The boards of a `ColdStore`, on memory and on PostgreSQL, against a sort in Python."""

import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from realmkeep.storage.cold import ColdBatch, ColdPlace, ColdRow, ColdScore, ColdStore, open_cold_store, postgres_boards


@pytest.fixture(params=["memory", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else request.getfixturevalue("postgres_url")


@pytest_asyncio.fixture
async def cold(url: str) -> AsyncIterator[ColdStore]:
    store = open_cold_store(url)
    await store.connect()
    yield store
    await store.disconnect()


async def ship(cold: ColdStore, revision: int, scores: dict[int, int | None], board: str = "xp") -> None:
    rows = [ColdRow(f"player:{each}", revision, 1, b"{}") for each in scores]
    told = [ColdScore(f"player:{each}", board, str(each), score, revision) for each, score in scores.items()]
    await cold.write(ColdBatch(rows, scores=told))


def shown(places: list[ColdPlace]) -> list[tuple[int, str, int]]:
    return [(each.better, each.id, each.score) for each in places]


async def test_random_histories_are_in_the_order_of_a_sort(cold: ColdStore) -> None:
    for seed in range(3):
        rng, board = random.Random(seed), f"board{seed}"
        seasons: list[dict[int, tuple[int, int]]] = [{}]
        last: dict[int, int] = {}
        for step in range(1, 25):
            revision = 1000 * seed + step
            scores = {rng.randrange(30): rng.choice([None, *range(-3, 4)]) for _ in range(rng.randrange(6))}
            await ship(cold, revision, scores, board)
            for number, score in scores.items():
                if score is None:
                    last.pop(number, None)
                    for season in seasons:
                        season.pop(number, None)
                elif last.get(number) != score:
                    last[number] = score
                    seasons[-1][number] = (score, revision)
            if rng.random() < 0.15:
                assert await cold.boards.end_season(board, f"season {len(seasons)}", revision)
                seasons.append({})
        for number, season in enumerate(seasons, 1):
            expected = sorted(season, key=lambda each: (-season[each][0], season[each][1], str(each)))
            places = await cold.boards.places(board, number, 0, 1000)
            assert [each.id for each in places] == [str(each) for each in expected], (seed, number)
            assert shown(places) == [(at, str(each), season[each][0]) for at, each in enumerate(expected)]
            assert await cold.boards.places(board, number, 2, 3) == places[2:5]
            assert await cold.boards.places_of(board, number, [*map(str, expected), "unknown"]) == places
            for at, place in enumerate(places):
                assert await cold.boards.places_around(board, number, place.id, 2) == places[max(at - 2, 0) : at + 3]
            some = rng.sample(expected, len(expected) // 2)
            assert await cold.boards.places_of(board, number, [*map(str, some)]) == [
                place for place in places if int(place.id) in some
            ]
            shape = await cold.boards.shape(board, number)
            assert shape.places == len(expected)
            assert shape.percentiles[-1:] == tuple(place.score for place in places[-1:])
            assert list(shape.percentiles) == sorted(shape.percentiles, reverse=True)


async def test_places_are_counted_up_to_a_limit(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_boards, "PLACES_COUNTED_MAX", 3)
    cold = open_cold_store(postgres_url)
    await cold.connect()
    await ship(cold, 10, {each: 100 - each for each in range(10)})
    for ids, better in (([0, 2, 3, 4, 9], [0, 2, 3, 3, 3]), ([1, 9], [1, 3]), ([8], [3])):
        assert [each.better for each in await cold.boards.places_of("xp", 1, [*map(str, ids)])] == better
    await cold.disconnect()


async def test_an_older_state_of_a_record_has_no_score(cold: ColdStore) -> None:
    await ship(cold, 20, {1: 7})
    await ship(cold, 10, {1: 99})
    assert shown(await cold.boards.places("xp", 1, 0, 10)) == [(0, "1", 7)]


async def test_the_time_of_a_score_is_that_of_its_last_change(cold: ColdStore) -> None:
    await ship(cold, 10, {1: 7, 2: 8})
    await ship(cold, 20, {1: 7, 2: 7})
    await ship(cold, 30, {1: 7, 2: 7})
    places = await cold.boards.places("xp", 1, 0, 10)
    assert [(each.id, each.reached_us) for each in places] == [("1", 10), ("2", 20)]


async def test_extreme_scores_are_in_order(cold: ColdStore) -> None:
    extremes = {1: -(2**63), 2: 2**63 - 1, 3: 0, 4: -1}
    await ship(cold, 10, dict(extremes))
    assert [each.score for each in await cold.boards.places("xp", 1, 0, 10)] == sorted(extremes.values(), reverse=True)


async def test_seasons_have_names_of_their_own(cold: ColdStore) -> None:
    assert await cold.boards.seasons("xp") == []
    await ship(cold, 10, {1: 7})
    assert await cold.boards.end_season("xp", "spring", 100)
    assert not await cold.boards.end_season("xp", "spring", 200)
    assert await cold.boards.end_season("xp", "summer", 300)
    assert [(each.number, each.name, each.began_us, each.ended_us) for each in await cold.boards.seasons("xp")] == [
        (3, "", 300, None),
        (2, "summer", 100, 300),
        (1, "spring", None, 100),
    ]
    assert [len(await cold.boards.places("xp", number, 0, 10)) for number in (1, 2, 3)] == [1, 0, 0]


async def test_an_erased_record_is_on_no_board_of_any_season(cold: ColdStore) -> None:
    await ship(cold, 10, {1: 7, 2: 8})
    await ship(cold, 11, {1: 9}, "wealth")
    await cold.boards.end_season("xp", "spring", 100)
    await ship(cold, 20, {1: 70})
    await cold.erase("player:1", 30, ["xp", "wealth"])
    for board, number in (("xp", 1), ("xp", 2), ("wealth", 1)):
        assert "1" not in [each.id for each in await cold.boards.places(board, number, 0, 10)]
    assert shown(await cold.boards.places("xp", 1, 0, 10)) == [(0, "2", 8)]
    await ship(cold, 25, {1: 71})
    assert await cold.boards.places_of("xp", 2, ["1"]) == []
