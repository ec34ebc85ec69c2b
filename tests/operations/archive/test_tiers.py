"""The cut, the thaw, freezing and the sweep, on a lab with a cold tier in memory."""

import asyncio
from collections.abc import Sequence
from unittest.mock import AsyncMock

import pytest

from operations.archive.rig import OLD_S, Nomad, Rig, pay
from realmkeep.errors import AlreadyOwned, InvalidKey, Quarantined, StorageUnavailable
from realmkeep.keeping import Op
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.writing import change_feed
from realmkeep.operations.archive.archiver import HELD_S
from realmkeep.operations.archive.erasing import Intent, finish_erasures
from realmkeep.operations.archive.reading import read_records
from realmkeep.storage import Append, Delete, Put, Transaction
from realmkeep.storage.cold import ColdBatch, ColdHead, Stub


async def test_a_cut_has_the_acknowledged_state_of_every_changed_record() -> None:
    async with Rig() as rig:
        ada, bob = await rig.nomad(1), await rig.nomad(2)
        await rig.lab.finish(rig.lab.keeper.commit(pay, ada, bob))
        ada.record.xp += 5  # not acknowledged yet
        assert await rig.ship()
        assert (await rig.gold(1), await rig.gold(2)) == (90, 110)
        row = await rig.row(1)
        assert row is not None
        assert row.body == rig.lab.store.value("nomad:1")
        assert row.revision == int(rig.lab.store.value("nomad:1:updated") or b"")
        assert row.version == 1
        await rig.lab.advance(31)
        await rig.ship()
        assert (await rig.row(1) or row).body == rig.lab.store.value("nomad:1")
        assert b'"xp":5' in ((await rig.row(1) or row).body or b"")
        assert rig.archivers["a"].shipper.rows == 3


async def test_a_write_is_in_no_cut_before_a_crash_cannot_take_it() -> None:
    async with Rig(loss_window_s=1.0) as rig:
        await rig.nomad(1)
        await rig.ship()
        assert await rig.row(1) is None
        await rig.lab.advance(30)
        await rig.ship()
        assert await rig.gold(1) == 100


async def test_the_operations_of_a_record_are_frozen_and_thawed_with_it() -> None:
    async with Rig() as rig:
        ada, bob = await rig.nomad(1), await rig.nomad(2)
        for number in range(1, 41):
            await rig.lab.finish(rig.lab.keeper.commit(pay, ada, bob, ops=(Op(number, b"x"), None)))
            if number % 5 == 0:
                await rig.lab.finish(rig.lab.keeper.commit(_back, bob, ada))
        assert await rig.freeze(1, 2) == 2
        assert rig.lab.store.value("nomad:1:ops") is None
        assert rig.lab.store.value("nomad:1:updated") is None
        ada, bob = await rig.nomad(1), await rig.nomad(2)
        again = await rig.lab.finish(rig.lab.keeper.commit(pay, ada, bob, ops=(Op(40, b"x"), None)))
        assert again.repeated
        assert rig.lab.store.value("nomad:1:version") == b"1"


def _back(bob: Nomad, ada: Nomad) -> None:
    bob.gold -= 50
    ada.gold += 50


async def test_a_frozen_record_leaves_a_stub_and_comes_back_as_it_was() -> None:
    async with Rig() as rig:
        await rig.nomad(1)
        assert await rig.freeze(1) == 1
        stored = rig.lab.store.value("nomad:1")
        row = await rig.row(1)
        assert row is not None
        assert Stub.read(stored) == (row.revision, row.digest)
        assert not [key for key in rig.lab.store.snapshot() if str(key).startswith("nomad:1:")]
        assert await rig.lab.keeper.table(Nomad).exists(1)
        copy = await rig.lab.finish(rig.lab.keeper.table(Nomad).load(1))
        assert copy is not None
        assert copy.gold == 100
        assert [each.require().gold async for each in rig.lab.keeper.table(Nomad).scan()] == [100]
        ada = await rig.nomad(1, gold=0)
        assert (ada.record.gold, rig.lab.store.value("nomad:1")) == (100, row.body)
        assert rig.lab.store.value("nomad:1:updated") == b"%d" % row.revision
        assert await rig.freeze(1) == 1
        assert (await rig.row(1) or row).revision > row.revision


async def test_what_may_not_be_frozen_stays() -> None:
    async with Rig() as rig:
        keeper = rig.lab.keeper
        await rig.nomad(1)
        live = rig.a.freezer
        await rig.ship()
        await rig.lab.advance(OLD_S)
        assert (await live.freeze(["nomad:1"])).live == 1
        assert await rig.freeze(1) == 1
        for id_ in (2, 3):
            await rig.nomad(id_)
            await rig.lab.finish(rig.session(id_).release())
        await rig.ship()
        assert (await live.freeze(["nomad:2"])).changed == 1  # too young
        await rig.lab.advance(OLD_S)
        await keeper.letters.send(Nomad, 2, 5)
        assert (await live.freeze(["nomad:2"])).letters == 1
        storage = engine_of(keeper).storage
        await storage.write([Transaction((), (Put("nomad:3", b'{"other":1}'),))])
        assert (await live.freeze(["nomad:3", "nomad:9"])).different == 1
        assert Stub.read(rig.lab.store.value("nomad:2")) is None
        for key in ("nomad:3:pack", "account:ada", "nomad3"):
            with pytest.raises(InvalidKey, match="cannot be frozen"):
                await live.freeze(["nomad:3", key])


async def test_sweeps_are_paced_while_a_cut_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig() as rig:
        swept = AsyncMock()
        monkeypatch.setattr(rig.a, "sweep_if_possible", swept)
        rig.a.shipper.held_since_s = rig.lab.clock.monotonic_s()
        sweeps = asyncio.create_task(rig.a.run_sweeps())
        await rig.lab.advance(5 * HELD_S)
        sweeps.cancel()
        assert 1 + 3 <= swept.await_count <= 1 + 5


async def test_inactive_records_are_frozen_by_their_age_and_kind() -> None:
    async with Rig() as rig:
        for id_ in range(1, 6):
            await rig.nomad(id_)
            await rig.lab.finish(rig.session(id_).release())
        await rig.ship()
        await rig.lab.advance(2 * OLD_S)
        assert (await rig.a.freezer.freeze_inactive(86_400)).frozen == 0
        assert (await rig.a.freezer.freeze_inactive(OLD_S)).frozen == 5
        assert (await rig.a.freezer.freeze_inactive(0)).frozen == 0


async def test_a_row_that_differs_from_the_stub_denies_the_login_and_makes_no_beginner() -> None:
    async with Rig() as rig:
        await rig.nomad(1)
        await rig.freeze(1)
        row = await rig.row(1)
        assert row is not None
        rig.cold._rows["nomad:1"] = type(row)(row.key, row.revision, row.version, b'{"gold":1000000}', row.ops)
        with pytest.raises(Quarantined, match=f"the archive has other bytes of revision {row.revision} "):
            await rig.nomad(1)
        del rig.cold._rows["nomad:1"]
        with pytest.raises(Quarantined, match="the archive has no row of it "):
            await rig.nomad(1)
        rig.cold.is_down = True
        with pytest.raises(StorageUnavailable, match="archive cannot be reached"):
            await rig.nomad(1)
        assert Stub.read(rig.lab.store.value("nomad:1")) == (row.revision, row.digest)
        rig.cold.is_down = False
        rig.cold._rows["nomad:1"] = row
        assert (await rig.nomad(1)).record.gold == 100


async def test_a_server_without_a_cold_tier_denies_it() -> None:
    async with Rig() as rig:
        await rig.nomad(1)
        await rig.freeze(1)
        rig.lab._cold = None
        old = await rig.lab.server("old")
        with pytest.raises(Quarantined, match="no archive"):
            await old.login(Nomad, 1, create=Nomad)
        assert Stub.read(rig.lab.store.value("nomad:1")) is not None


THAWED = 60  # a thousand were thawed once, with the same end


async def test_of_two_servers_that_thaw_at_once_exactly_one_owns_each_player() -> None:
    async with Rig() as rig:
        servers = (rig.lab.keeper, await rig.server("b"))
        for id_ in range(THAWED):
            await rig.nomad(id_)
        assert await rig.freeze(*range(THAWED)) == THAWED
        logins = [keeper.login(Nomad, id_) for id_ in range(THAWED) for keeper in servers]
        answers = await rig.lab.finish(asyncio.gather(*logins, return_exceptions=True))
        for id_ in range(THAWED):
            pair = answers[2 * id_ : 2 * id_ + 2]
            owners = [each for each in pair if not isinstance(each, BaseException)]
            assert [type(each) for each in pair if isinstance(each, BaseException)] == [AlreadyOwned]
            assert [each.record.gold for each in owners if each is not None] == [100]


async def test_a_letter_to_a_frozen_player_waits_and_is_opened_at_the_thaw() -> None:
    async with Rig() as rig:
        await rig.nomad(1)
        await rig.freeze(1)
        await rig.lab.finish(rig.lab.keeper.letters.send(Nomad, 1, 7))
        ada = await rig.nomad(1)
        await rig.lab.finish(ada.open_letters())
        assert ada.record.gold == 107


async def test_letters_travel_with_their_commits() -> None:
    async with Rig() as rig:
        ada, _ = await rig.nomad(1), await rig.nomad(2)
        await rig.lab.finish(rig.session(2).release())

        def send(giver: Nomad) -> None:
            giver.gold -= 30
            rig.lab.keeper.tx.deliver(Nomad, 2, 30)

        await rig.lab.finish(rig.lab.keeper.commit(send, ada))
        await rig.ship()
        ((_, letter),) = await rig.cold.unopened(0, 10)
        assert (letter.receiver, await rig.gold(1)) == ("nomad:2", 70)
        bob = await rig.nomad(2)
        await rig.lab.finish(bob.open_letters())
        await rig.ship()
        assert (await rig.cold.unopened(0, 10), await rig.gold(2)) == ([], 130)


async def test_a_silent_cold_tier_holds_one_new_player_up_for_half_a_second() -> None:
    async with Rig() as rig:
        rig.cold.is_silent = True
        before_s = rig.lab.clock.monotonic_s()
        for id_ in range(3):
            await rig.lab.finish(rig.nomad(id_))
        assert rig.lab.clock.monotonic_s() - before_s == pytest.approx(0.5, abs=0.1)


async def test_later_no_new_player_waits_until_the_cold_tier_has_answered_again() -> None:
    async with Rig() as rig:
        await rig.lab.finish((await rig.nomad(7)).release())
        await rig.ship()
        rig.cold.is_silent = True
        await rig.lab.finish(rig.nomad(1))
        for id_ in (2, 3):
            await rig.lab.advance(60)
            before_s = rig.lab.clock.monotonic_s()
            await rig.lab.finish(rig.nomad(id_))
            assert rig.lab.clock.monotonic_s() == before_s
        rig.cold.is_silent = False
        await rig.lab.advance(60)
        await rig.lab.finish(rig.nomad(4))  # asks beside
        await rig.lab.advance(1)
        await engine_of(rig.lab.keeper).storage.write([Transaction((), (Delete("nomad:7"),))])
        with pytest.raises(StorageUnavailable, match="the store may have lost it"):
            await rig.nomad(7)


async def test_a_letter_that_a_server_opened_before_its_crash_is_known_as_opened() -> None:
    async with Rig() as rig:
        b = await rig.server("b")
        ada, bob = await rig.nomad(1, at=b), await rig.nomad(2)
        await rig.ship("b")

        def send(giver: Nomad) -> None:
            giver.gold -= 30
            b.tx.deliver(Nomad, 2, 30)

        await rig.lab.finish(b.commit(send, ada))
        await rig.ship("b")
        await rig.lab.finish(bob.open_letters())
        assert len(await rig.cold.unopened(0, 10)) == 1
        await rig.lab.finish(rig.archivers["b"].sweeper.sweep())
        assert len(await rig.cold.unopened(0, 10)) == 1  # its live server tells of it
        await rig.lab.crash("a")
        await rig.lab.advance(60)
        await rig.lab.finish(rig.archivers["b"].sweeper.sweep())
        assert (await rig.cold.unopened(0, 10), await rig.gold(1), await rig.gold(2)) == ([], 70, 130)


async def test_a_cut_waits_for_what_it_was_built_on() -> None:
    async with Rig() as rig:
        a, b = rig.lab.keeper, await rig.server("b")
        ada, bob = await rig.nomad(1), await rig.nomad(2)
        await rig.ship()
        await rig.lab.finish(a.commit(pay, ada, bob))  # a dies with it
        await rig.lab.finish(ada.release())
        await rig.lab.crash("a")
        ada = await rig.nomad(1, at=b)
        ada.record.xp = 3
        await rig.lab.advance(60)
        assert not await rig.ship("b")
        assert (await rig.gold(1), await rig.gold(2)) == (100, 100)
        assert rig.archivers["b"].shipper.held_since_s is not None
        await rig.lab.finish(rig.archivers["b"].sweeper.sweep())
        assert (await rig.gold(1), await rig.gold(2)) == (90, 110)  # both halves at once
        assert await rig.ship("b")
        assert b'"xp":3' in ((await rig.row(1)).body or b"")  # pyright: ignore[reportOptionalMemberAccess]


async def test_play_goes_on_while_the_cold_tier_is_away_and_the_backlog_has_one_entry_a_record() -> None:
    async with Rig() as rig:
        ada, bob = await rig.nomad(1), await rig.nomad(2)
        rig.cold.is_down = True
        for _ in range(5):
            await rig.lab.finish(rig.lab.keeper.commit(pay, ada, bob))
            assert not await rig.a.shipper.ship_if_possible()
        assert engine_of(rig.lab.keeper).changes.records == 2  # pyright: ignore[reportOptionalMemberAccess]
        assert any("the archive is behind" in each for each in rig.lab.keeper.degraded)
        rig.cold.is_down = False
        assert await rig.a.shipper.ship_if_possible()
        assert (rig.lab.keeper.degraded, await rig.gold(1), await rig.gold(2)) == ((), 50, 150)


async def test_beyond_the_limit_only_keys_wait_and_their_bytes_are_read_while_play_goes_on() -> None:
    async with Rig() as rig:
        feed = engine_of(rig.lab.keeper).changes
        assert feed is not None
        feed._bytes_max = 3000
        sessions = [await rig.nomad(id_) for id_ in range(20)]
        feed.take()
        assert len(feed.cut.unknown) > 10
        assert feed.overflows
        feed._bytes_max = change_feed.FEED_BYTES_MAX
        assert not await rig.a.shipper.ship_if_possible()  # it has begun to read
        await rig.lab.finish(rig.lab.keeper.commit(pay, sessions[0], sessions[1]))
        assert await rig.a.shipper.ship_if_possible()
        assert [await rig.gold(id_) for id_ in range(20)] == [90, 110, *[100] * 18]


async def test_bytes_that_are_dropped_while_others_are_read_or_shipped_are_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limit holds all the time, and each step of a cut meets an overflow."""
    async with Rig() as rig:
        keeper, feed, heads = rig.lab.keeper, engine_of(rig.lab.keeper).changes, rig.cold.heads
        assert feed is not None
        await rig.lab.finish((await rig.nomad(20)).release())
        await rig.ship()
        feed._bytes_max = 3000
        sessions = [await rig.nomad(id_) for id_ in range(21)]  # the cut waits for nomad:20

        async def overflow(keys: Sequence[str]) -> list[ColdHead | None]:
            feed._bytes_max = 0
            feed.note(next(iter(feed.cut.changes.values())))
            return await heads(keys)

        monkeypatch.setattr(rig.cold, "heads", overflow)
        assert not await rig.a.shipper.ship_if_possible()  # it has begun to read
        await rig.lab.finish(keeper.commit(pay, sessions[18], sessions[19]))
        assert await rig.a.shipper.ship_if_possible()
        assert [await rig.gold(id_) for id_ in range(20)] == [*[100] * 18, 90, 110]


async def test_a_cut_overflows_while_it_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig() as rig:
        feed, heads = engine_of(rig.lab.keeper).changes, rig.cold.heads
        assert feed is not None
        await rig.lab.finish((await rig.nomad(1)).release())
        await rig.ship()
        await rig.nomad(1)  # the cut waits for it
        await rig.nomad(2)

        async def overflow(keys: Sequence[str]) -> list[ColdHead | None]:
            feed._bytes_max = 0
            feed.note(feed.cut.changes["nomad:2"])
            return await heads(keys)

        monkeypatch.setattr(rig.cold, "heads", overflow)
        assert await rig.ship()
        assert (await rig.gold(1), await rig.gold(2)) == (100, 100)


async def test_the_store_is_not_read_for_a_cold_tier_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig() as rig:
        feed = engine_of(rig.lab.keeper).changes
        assert feed is not None
        feed._bytes_max = 0
        await rig.nomad(1)
        read = AsyncMock(wraps=read_records)
        monkeypatch.setattr("realmkeep.operations.archive.shipping.read_records", read)
        rig.cold.is_down = True
        for _ in range(4):
            assert not await rig.a.shipper.ship_if_possible()
        assert read.await_count == 0
        rig.cold.is_down = False
        assert not await rig.a.shipper.ship_if_possible()
        assert await rig.a.shipper.ship_if_possible()
        assert (read.await_count, await rig.gold(1)) == (1, 100)


async def test_the_sweep_ships_what_no_server_will() -> None:
    async with Rig() as rig:
        for id_ in range(3):
            await rig.lab.finish((await rig.nomad(id_)).release())
        await rig.lab.restart("a")
        rig.archive(rig.lab.keeper)
        assert await rig.ship()
        assert await rig.row(1) is None
        live = await rig.nomad(2)
        assert live.record.gold == 100
        await rig.lab.finish(rig.lab.keeper.letters.send(Nomad, 1, 5))
        report = await rig.lab.finish(rig.a.sweeper.sweep())
        assert (report.records, report.shipped, report.noted, report.letters) == (3, 2, 1, 1)
        assert await rig.gold(1) == 100
        assert (await rig.lab.finish(rig.a.sweeper.sweep())).shipped == 0


async def test_the_first_sweep_of_a_server_on_a_store_with_a_loss_window_ends_well() -> None:
    async with Rig(loss_window_s=1.0) as rig:
        await rig.nomad(1)
        await rig.lab.finish(rig.lab.keeper.close())
        rig.archive(await rig.lab.restart("a"))
        await rig.lab.finish(rig.a.sweeper.sweep())
        assert await rig.gold(1) == 100


async def test_a_deletion_and_an_erasure_leave_tombstones() -> None:
    async with Rig() as rig:
        ada = await rig.nomad(1)
        for id_ in (2, 3):
            await rig.lab.finish((await rig.nomad(id_)).release())
        await rig.ship()
        late = await rig.row(2)
        assert late is not None
        await rig.lab.finish(rig.lab.keeper.commit(lambda _: rig.lab.keeper.tx.delete(Nomad, 2), ada))
        await rig.ship()
        row = await rig.row(2)
        assert row is not None
        assert row.body is None
        await rig.cold.write(ColdBatch([late]))
        assert await rig.row(2) == row
        storage = engine_of(rig.lab.keeper).storage
        intent = Intent("nomad:3", rig.lab.clock.wall_us() + 60_000_000)
        await storage.write([Transaction((), (intent.put,))])
        rig.cold.is_down = True
        with pytest.raises(StorageUnavailable):
            await finish_erasures(storage, rig.cold)
        rig.cold.is_down = False
        assert await finish_erasures(storage, rig.cold) == 1
        assert await finish_erasures(storage, rig.cold) == 0
        assert (await rig.gold(3), rig.lab.store.value(intent.put.key)) == (None, None)


async def test_a_thaw_that_the_store_loses_is_written_again() -> None:
    async with Rig(loss_window_s=1.0) as rig:
        await rig.nomad(1)
        await rig.lab.advance(30)
        assert await rig.freeze(1) == 0  # the release is not safe yet
        await rig.lab.advance(30)
        assert await rig.freeze(1) == 1
        before = rig.lab.store.snapshot()
        ada = await rig.lab.finish(rig.lab.keeper.login(Nomad, 1))
        assert ada is not None
        rig.lab.store.restore(before)
        ada.record.xp = 9
        await rig.lab.advance(40)
        stored = rig.lab.stored(Nomad, 1)
        assert stored is not None
        assert (stored.gold, stored.xp) == (100, 9)


async def test_marks_tell_the_ids_that_were_given_out() -> None:
    async with Rig() as rig:
        given = await rig.lab.finish(rig.lab.keeper.allocate_id(5))
        await rig.ship()
        assert (await rig.cold.marks())["ids"] == given + 4


async def test_appended_rubbish_is_no_letter() -> None:
    async with Rig() as rig:
        await rig.lab.finish((await rig.nomad(1)).release())
        await engine_of(rig.lab.keeper).storage.write([Transaction((), (Append("nomad:1:inbox", b"rubbish"),))])
        assert (await rig.lab.finish(rig.a.sweeper.sweep())).letters == 0
