"""Boards with an archive: the scores of a cut come with it; frozen records keep their places; erased ones lose them."""

import asyncio

import pytest

from operations.archive.rig import Nomad, Rig, pay
from realmkeep.config import RecordsConfig
from realmkeep.errors import StorageUnavailable
from realmkeep.keeping import Standing
from realmkeep.operations.archive import boards
from realmkeep.operations.archive.boards import ArchiveBoards, ScoreReader
from realmkeep.operations.archive.erasing import Intent, finish_erasures
from realmkeep.records import encode
from realmkeep.storage import Delete, Transaction
from realmkeep.storage.cold import BoardShape, ColdRow


def places(standings: list[Standing]) -> list[tuple[int | None, str, int]]:
    return [(each.rank, each.id, each.score) for each in standings]


async def test_the_board_of_a_keeper_is_that_of_the_archive() -> None:
    async with Rig() as rig:
        board = rig.lab.keeper.board("nomad_gold")
        assert board.covers == ArchiveBoards.covers
        ada, bob = await rig.nomad(1), await rig.nomad(2)
        await rig.lab.finish(rig.lab.keeper.commit(pay, ada, bob))
        assert await board.top() == []
        await rig.ship()
        assert places(await board.top()) == [(1, "2", 110), (2, "1", 90)]
        standing = await board.standing(2)
        assert standing is not None
        assert standing.reached_us == int(rig.lab.store.value("nomad:2:updated") or b"")
        assert await rig.freeze(1, 2) == 2
        assert places(await board.around(1)) == [(1, "2", 110), (2, "1", 90)]
        await board.end_season("spring")
        await rig.nomad(1)
        await rig.ship()
        assert await board.top() == [], "a thaw is no change"
        assert places(await rig.lab.keeper.board("nomad_gold", season="spring").top()) == [(1, "2", 110), (2, "1", 90)]


async def test_a_sweep_brings_the_scores_of_records_that_no_server_has_live() -> None:
    async with Rig() as rig:
        session = await rig.nomad(1)
        await rig.lab.finish(session.release())
        rig.archive(rig.lab.keeper)  # an archiver that has seen nothing
        await rig.lab.finish(rig.a.sweeper.sweep())
        assert places(await rig.lab.keeper.board("nomad_gold").top()) == [(1, "1", 100)]


async def test_an_erasure_takes_its_record_off_every_board() -> None:
    async with Rig() as rig:
        for number in (1, 2):
            await rig.lab.finish((await rig.nomad(number)).release())
        await rig.ship()
        storage = rig.lab.line()
        intent = Intent("nomad:1", int(rig.lab.store.value("nomad:1:updated") or b"") + 1)
        gone = Transaction((), (Delete("nomad:1"), Delete("nomad:1:updated"), intent.put))
        await rig.lab.finish(storage.write([gone]))
        await rig.lab.finish(finish_erasures(storage, rig.cold))
        assert places(await rig.lab.keeper.board("nomad_gold").top()) == [(1, "2", 100)]


async def test_a_place_behind_all_that_are_counted_is_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "PLACES_COUNTED_MAX", 3)
    async with Rig() as rig:
        for number in range(1, 11):
            await rig.nomad(number, gold=number)
        await rig.ship()
        found = await ArchiveBoards(rig.cold, rig.lab.clock).among("nomad_gold", "", [*map(str, range(1, 11))])
        assert [(each.rank, each.top_percent) for each in found[:3]] == [(1, 10), (2, 20), (3, 30)]
        assert [each.rank for each in found[3:]] == [None] * 7
        assert [each.top_percent for each in found[3:]] == [40, 50, 60, 70, 80, 90, 100]


async def test_many_players_ask_the_database_for_a_distribution_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig() as rig:
        await rig.nomad(1)
        await rig.ship()
        source, shape = ArchiveBoards(rig.cold, rig.lab.clock), rig.cold.boards.shape
        asked = 0

        async def slow(board: str, season: int) -> BoardShape:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            if asked == 1:
                raise StorageUnavailable("away")
            return await shape(board, season)

        monkeypatch.setattr(rig.cold.boards, "shape", slow)
        with pytest.raises(StorageUnavailable):
            await source.among("nomad_gold", "", ["1"])
        found = await asyncio.gather(*(source.among("nomad_gold", "", ["1"]) for _ in range(20)))
        assert ([places(each) for each in found], asked) == ([[(1, "1", 100)]] * 20, 2)


def test_scores_are_read_from_rows_of_every_codec() -> None:
    reader = ScoreReader(RecordsConfig())
    rows = [
        ColdRow("nomad:1", 5, 1, encode(Nomad(gold=7))),
        ColdRow("nomad:2", 6, 1, encode(Nomad(gold=8), "sexpr")),
        ColdRow("nomad:3", 7, 0, None),
        ColdRow("nomad:4", 8, 1, b"{broken"),
        ColdRow("camp:x:objects", 9, 1, b"{}"),
        ColdRow("nomad:5", 10, 1, b'{"gold":%d}' % 2**64),
    ]
    found = [(each.id, each.score, each.reached_us) for each in reader.scores(rows)]
    assert found == [("1", 7, 5), ("2", 8, 6), ("3", None, 7)]
