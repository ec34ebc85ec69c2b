"""Boards in the memory of a server, against a sort in Python: ranks, ties by time, neighbours, friends, seasons, bounds."""

import asyncio
import random
from collections.abc import Sequence
from unittest.mock import AsyncMock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realmkeep import Record, durable
from realmkeep.clock import SystemClock
from realmkeep.errors import DefinitionError, Misuse
from realmkeep.keeping import Board, Keeper, Standing
from realmkeep.keeping.boards import memory_boards
from realmkeep.keeping.boards.memory_boards import LOOK_S, SEASONS_MAX
from realmkeep.keeping.boards.ranking import SLICE, Ranking
from realmkeep.keeping.keeper import engine_of
from realmkeep.testing.lab import Lab


class Climber(Record, kind="climber", version=1):
    height: int = durable(default=0, ranked="height")
    steps: int = durable(default=0, ranked="climber_steps")


async def climb(keeper: Keeper, number: int, height: int) -> None:
    session = await keeper.login(Climber, number, create=Climber)
    session.record.height = height


def places(standings: Sequence[Standing]) -> list[tuple[int | None, str, int]]:
    return [(each.rank, each.id, each.score) for each in standings]


def in_order(scores: dict[str, tuple[int, int]]) -> list[str]:
    """The ids of scores with their times, the best first."""
    return sorted(scores, key=lambda each: (-scores[each][0], scores[each][1], each))


async def test_the_best_the_neighbours_and_friends(lab: Lab, keeper: Keeper) -> None:
    for number in range(1, 31):
        await climb(keeper, number, 10 * number)
    board = keeper.board("height")
    await lab.advance(LOOK_S + 1)
    assert places(await board.top(3)) == [(1, "30", 300), (2, "29", 290), (3, "28", 280)]
    assert places(await board.top(2, after=28)) == [(29, "2", 20), (30, "1", 10)]
    assert places(await board.around(29, 2)) == [(1, "30", 300), (2, "29", 290), (3, "28", 280), (4, "27", 270)]
    assert places(await board.among([1, 30, "unknown", 1, 15])) == [(1, "30", 300), (16, "15", 150), (30, "1", 10)]
    assert await board.around("unknown") == []
    third, unknown = await board.standing(28), await board.standing(999)
    assert third is not None
    assert (third.rank, third.top_percent, unknown) == (3, 10, None)


async def test_of_equal_scores_the_one_reached_first_is_before_the_other(lab: Lab, keeper: Keeper) -> None:
    board = keeper.board("height")
    await climb(keeper, 1, 10)
    await climb(keeper, 2, 20)
    await lab.advance(LOOK_S + 1)
    await climb(keeper, 3, 20)
    await lab.advance(LOOK_S + 1)
    first = await keeper.login(Climber, 1, take_over=True)
    assert first is not None
    first.record.height = 20
    await lab.advance(LOOK_S + 1)
    assert [each.id for each in await board.top()] == ["2", "3", "1"]


async def test_a_record_stays_when_its_session_is_over(lab: Lab, keeper: Keeper) -> None:
    board = keeper.board("height")
    await climb(keeper, 1, 10)
    await lab.advance(LOOK_S + 1)
    session = keeper.session(Climber, 1)
    assert session is not None
    await session.logout()
    await lab.advance(LOOK_S + 1)
    assert places(await board.top()) == [(1, "1", 10)]
    assert "since it was asked first" in board.covers


async def test_a_season_that_ended_stays_and_the_next_one_begins_empty(lab: Lab, keeper: Keeper) -> None:
    board = keeper.board("height")
    await climb(keeper, 1, 10)
    await climb(keeper, 2, 20)
    await board.end_season("spring")
    await lab.advance(LOOK_S + 1)
    assert await board.top() == [], "nobody has climbed since"
    spring = keeper.board("height", season="spring")
    assert places(await spring.top()) == [(1, "2", 20), (2, "1", 10)]
    await board.end_season("summer")
    await climb(keeper, 3, 5)
    session = keeper.session(Climber, 1)
    assert session is not None
    session.record.height = 30
    await lab.advance(LOOK_S + 1)
    assert places(await board.top()) == [(1, "1", 30), (2, "3", 5)]
    assert places(await spring.top()) == [(1, "2", 20), (2, "1", 10)]
    running, summer, first = await board.seasons()
    assert (running.name, running.ended_us, summer.name, first.name) == ("", None, "summer", "spring")
    assert summer.began_us == first.ended_us
    for season in ("spring", "", "a\nb", "x" * 65):
        with pytest.raises(Misuse):
            await board.end_season(season)
    with pytest.raises(Misuse, match="has ended"):
        await spring.end_season("again")
    with pytest.raises(Misuse, match="no season 'winter'"):
        await keeper.board("height", season="winter").top()
    for number in range(SEASONS_MAX):
        await board.end_season(f"later {number}")
    assert len(await board.seasons()) == 1 + SEASONS_MAX
    with pytest.raises(Misuse, match="no season 'spring'"):
        await spring.top()


async def test_two_boards_of_a_class_are_apart(lab: Lab, keeper: Keeper) -> None:
    session = await keeper.login(Climber, 1, create=Climber)
    heights, steps = keeper.board("height"), keeper.board("climber_steps")
    session.record.height, session.record.steps = 3, 700
    await lab.advance(LOOK_S + 1)
    assert (places(await heights.top()), places(await steps.top())) == ([(1, "1", 3)], [(1, "1", 700)])


async def test_wrong_questions_are_refused(keeper: Keeper) -> None:
    with pytest.raises(Misuse, match="no field is ranked on the board 'depth'"):
        keeper.board("depth")
    board = keeper.board("height")

    async def refused(asked: Board, count: object, after: object = 0) -> None:
        with pytest.raises(Misuse, match="pass a whole number"):
            await asked.top(count, after=after)  # type: ignore[arg-type]

    for count, after in ((0, 0), (1001, 0), (True, 0), ("3", 0), (1, -1), (1, 10**10)):
        await refused(board, count, after)
    with pytest.raises(Misuse):
        await board.around(1, 501)
    with pytest.raises(Misuse):
        await board.among([*range(1001)])


def test_declarations_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises(DefinitionError, match="whole numbers"):

        class Weigher(Record, kind="weigher", version=1):  # pyright: ignore[reportUnusedClass]
            weight: float = durable(default=0.0, ranked="weight")

    for name in ("", "Height", "x" * 65, 7):
        with pytest.raises(DefinitionError, match="names no board"):

            class Namer(Record, kind="namer", version=1):  # pyright: ignore[reportUnusedClass]
                height: int = durable(default=0, ranked=name)  # type: ignore[call-overload]

    with pytest.raises(DefinitionError, match="another field"):

        class Doubler(Record, kind="doubler", version=1):  # pyright: ignore[reportUnusedClass]
            one: int = durable(default=0, ranked="one")
            two: int = durable(default=0, ranked="one")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-3, 3)), max_size=120), st.integers(1, 30))
async def test_ranks_are_those_of_a_sort(puts: list[tuple[int, int]], entries_max: int) -> None:
    ranking, scores = Ranking(entries_max), dict[str, tuple[int, int]]()
    for now_us, (number, score) in enumerate(puts):
        ranking.put(str(number), score, now_us)
        if scores.get(str(number), (None, 0))[0] != score:
            scores[str(number)] = (score, now_us)
    await ranking.put_in_order(SystemClock())
    expected = in_order(scores)[:entries_max]
    assert [each.id for each in ranking.page(0, 1000)] == expected
    assert [each.rank for each in ranking.page(0, 1000)] == [*range(1, len(expected) + 1)]
    assert [each.id for each in ranking.among([*scores])] == expected
    for place, number in enumerate(expected):
        assert [each.id for each in ranking.around(number, 2)] == expected[max(place - 2, 0) : place + 3]


async def test_a_large_board_is_sorted_in_slices_and_its_lowest_are_left_out() -> None:
    rng = random.Random(7)
    count = 5 * SLICE
    ranking, scores = Ranking(count // 2), {str(number): (rng.randrange(count), 0) for number in range(count)}
    for number, (score, at_us) in scores.items():
        ranking.put(number, score, at_us)
    clock = CountingClock()
    await ranking.put_in_order(clock)
    assert clock.turns == 2 * (count // SLICE)
    assert [each.id for each in ranking.page(0, count)] == in_order(scores)[: count // 2]
    assert (len(ranking), ranking.is_cut) == (count // 2, True)
    ranking.put("late and low", -1, 1)
    assert len(ranking) == count // 2
    ranking.put("late and high", count, 1)
    await ranking.put_in_order(clock)
    assert ranking.page(0, 1)[0].id == "late and high"


class CountingClock(SystemClock):
    """Counts the turns that are given up."""

    turns = 0

    async def sleep(self, delay_s: float) -> None:
        assert delay_s == 0
        self.turns += 1


async def test_a_question_that_is_cancelled_leaves_the_next_one_a_whole_order() -> None:
    ranking = Ranking(10)
    ranking.put("1", 5, 0)
    asked = asyncio.create_task(ranking.put_in_order(SystemClock()))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    assert asked.cancelled()
    await ranking.put_in_order(SystemClock())
    assert places(ranking.page(0, 10)) == [(1, "1", 5)]


async def test_a_board_without_questions_stays_bounded(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_boards, "RECORDS_MAX", 10)
    board = keeper.board("height")
    for number in range(1, 22):
        await climb(keeper, number, number)
    await lab.advance(LOOK_S + 1)
    boards = engine_of(keeper).boards
    assert isinstance(boards, memory_boards.MemoryBoards)
    assert len(boards._seasons_of("height").ranking("")) == 10
    assert [each.id for each in await board.top()] == [str(number) for number in range(21, 11, -1)]


async def test_a_malformed_id_is_on_no_board(keeper: Keeper) -> None:
    source = engine_of(keeper).boards = AsyncMock(covers="", among=AsyncMock(return_value=[]))
    board = keeper.board("height")
    for bad in ("\0", "\ud800", "", "a b", "7" * 129, -1):
        assert (await board.around(bad), await board.standing(bad)) == ([], None)
    assert source.around.await_count == 0
    assert await board.among(["\0", 7]) == []
    assert source.among.await_args.args == ("height", "", ["7"])
