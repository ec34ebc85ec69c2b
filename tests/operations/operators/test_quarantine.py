"""Unusable records: shown with each fault, mended or discarded on the bytes that were shown, and never under an owner."""

import asyncio

import pytest

from keeping.game import Player
from operations.operators.people import ADMIN, SUPPORT, VIEWER, acts_at, audited
from realmkeep.config import JournalConfig
from realmkeep.errors import ActRefused, NotGranted, OpReused, Quarantined
from realmkeep.keeping import Keeper
from realmkeep.keeping.writing.journal_entries import CommitEntry, SnapshotEntry, decode_entry
from realmkeep.keys import server_journal
from realmkeep.operations.operators.acts import new_act_id
from realmkeep.operations.operators.quarantine import Quarantine
from realmkeep.storage import Put, Transaction
from realmkeep.testing.lab import Lab

BROKEN = b'{"version":1,"name":"Ada","gold":-5,"mana":1}'
MENDED = b'{"version":1,"name":"Ada","gold":5}'


def at(keeper: Keeper) -> Quarantine:
    return Quarantine(keeper, (Player,))


async def broken(lab: Lab, content: bytes = BROKEN) -> str:
    """Player 1 with these bytes; returns their digest."""
    await (await lab.keeper.login(Player, 1, create=lambda: Player(name="Ada"))).logout()
    await lab.line().write([Transaction([], [Put("rover:1", content)])])
    return (await at(lab.keeper).show(VIEWER, "rover:1")).digest


async def test_a_refused_login_leaves_a_copy_and_each_fault_is_shown_with_its_place() -> None:
    async with Lab() as lab:
        digest = await broken(lab, BROKEN)
        view = await at(lab.keeper).show(VIEWER, "rover:1")
        assert "checksum" in view.error
        with pytest.raises(Quarantined):
            await lab.keeper.login(Player, 1)
        (copy,) = [each async for each in at(lab.keeper).list(VIEWER)]
        assert (copy.record, copy.unusable) == ("rover:1", True)
        assert (await at(lab.keeper).show(VIEWER, copy.key)).digest == digest
        error, issues = at(lab.keeper).judge("rover:1", b'{"version":1,"gold":-5,"mana":1}')
        assert "gold" in error
        assert {(each.path, each.rule) for each in issues} >= {("gold", "at least 0")}
        assert any(each.path == "mana" for each in issues)


async def test_a_mended_record_can_be_played_again() -> None:
    async with Lab() as lab:
        digest = await broken(lab)
        act_id = new_act_id()
        outcome = await at(lab.keeper).mend(ADMIN, "rover:1", MENDED, digest=digest, reason="x", act_id=act_id)
        assert await at(lab.keeper).mend(ADMIN, "rover:1", MENDED, digest=digest, reason="x", act_id=act_id) == outcome
        ada = await lab.keeper.login(Player, 1)
        assert ada is not None
        assert (ada.record.gold, (await at(lab.keeper).show(VIEWER, "rover:1")).error) == (5, "")
        (entry,) = await audited(lab)
        assert (entry.act, entry.target, entry.details["before"]) == ("mend", "rover:1", digest)


async def test_the_journal_has_mended_and_discarded_records() -> None:
    async with Lab(journal=JournalConfig()) as lab:
        digest = await broken(lab)
        await at(lab.keeper).mend(ADMIN, "rover:1", MENDED, digest=digest, reason="x", act_id="1")
        await lab.line().write([Transaction([], [Put("rover:1", BROKEN)])])
        await at(lab.keeper).discard(ADMIN, "rover:1", digest=digest, reason="y", act_id="2")
        stored = await lab.line().load_list(server_journal("lab-1"))
        mended, gone = [decode_entry(each) for each in stored][-2:]
        assert isinstance(mended, SnapshotEntry)
        assert (mended.why, mended.stored["gold"]) == ("mended", 5)
        assert isinstance(gone, CommitEntry)
        assert (gone.fn, gone.deleted, gone.reason) == ("discard", ("rover:1",), "a-admin: y")


async def test_other_bytes_than_those_shown_are_not_replaced() -> None:
    async with Lab() as lab:
        digest = await broken(lab)
        await lab.line().write([Transaction([], [Put("rover:1", b"changed")])])
        for act in (
            at(lab.keeper).mend(ADMIN, "rover:1", MENDED, digest=digest, reason="x", act_id="1"),
            at(lab.keeper).discard(ADMIN, "rover:1", digest=digest, reason="x", act_id="2"),
        ):
            with pytest.raises(ActRefused, match="changed since"):
                await act
        assert (lab.store.value("rover:1"), await audited(lab)) == (b"changed", [])


async def test_of_two_operators_who_mend_at_once_one_is_refused() -> None:
    async with Lab() as lab:
        digest = await broken(lab)
        other = MENDED.replace(b"5", b"6")
        mends = [
            at(lab.keeper).mend(ADMIN, "rover:1", content, digest=digest, reason="x", act_id=new_act_id())
            for content in (MENDED, other)
        ]
        done = await asyncio.gather(*mends, return_exceptions=True)
        assert sum(isinstance(each, ActRefused) for each in done) == 1
        assert len(await audited(lab)) == 1


@pytest.mark.parametrize("content", [b"?", b"{}", BROKEN, b'{"version":9}', b'{"version":1,"gold":"much"}'])
async def test_a_content_that_loading_refuses_is_refused(content: bytes) -> None:
    async with Lab() as lab:
        digest = await broken(lab)
        with pytest.raises(ActRefused, match="as unusable"):
            await at(lab.keeper).mend(ADMIN, "rover:1", content, digest=digest, reason="x", act_id="1")
        assert lab.store.value("rover:1") == BROKEN


async def test_a_record_under_a_live_owner_is_left_alone() -> None:
    async with Lab() as lab:
        await lab.keeper.login(Player, 1, create=Player)
        await lab.line().write([Transaction([], [Put("rover:1", BROKEN)])])
        view = await at(lab.keeper).show(VIEWER, "rover:1")
        assert view.server == "lab-1"
        with pytest.raises(ActRefused, match="owned by the live server"):
            await at(lab.keeper).mend(ADMIN, "rover:1", MENDED, digest=view.digest, reason="x", act_id="1")


async def test_the_owner_of_before_cannot_write_over_a_mended_record() -> None:
    async with Lab() as lab:
        town = await lab.server("town")
        ada = await town.login(Player, 1, create=lambda: Player(name="Ada", gold=1))
        lab.line("town").down = True
        await lab.advance(60)
        await lab.line().write([Transaction([], [Put("rover:1", BROKEN)])])
        digest = (await at(lab.keeper).show(VIEWER, "rover:1")).digest
        await at(lab.keeper).mend(ADMIN, "rover:1", MENDED, digest=digest, reason="x", act_id="1")
        ada.record.xp = 99
        lab.line("town").down = False
        await lab.advance(60)
        stored = lab.stored(Player, 1)
        assert stored is not None
        assert (stored.gold, stored.xp) == (5, 0)


async def test_a_discarded_record_is_gone_and_a_copy_is_kept() -> None:
    async with Lab() as lab:
        digest = await broken(lab)
        await at(lab.keeper).discard(ADMIN, "rover:1", digest=digest, reason="x", act_id="1")
        assert await lab.keeper.login(Player, 1) is None
        copy = f"corrupt:rover:1:{digest}"
        assert lab.store.value(copy) == BROKEN
        await at(lab.keeper).discard(ADMIN, copy, digest=digest, reason="x", act_id="2")
        assert lab.store.value(copy) is None
        assert [entry.act for entry in await audited(lab)] == ["discard", "discard"]
        with pytest.raises(OpReused):
            await at(lab.keeper).discard(ADMIN, "rover:1", digest=digest, reason="x", act_id="2")


async def test_a_usable_record_an_absent_one_and_other_keys_are_refused() -> None:
    async with Lab() as lab:
        await (await lab.keeper.login(Player, 1, create=Player)).logout()
        here = at(lab.keeper)
        digest = (await here.show(VIEWER, "rover:1")).digest
        for act, error in [
            (here.discard(ADMIN, "rover:1", digest=digest, reason="x", act_id="1"), "can be used"),
            (here.discard(ADMIN, "rover:2", digest=digest, reason="x", act_id="2"), "nothing at rover:2"),
            (here.show(VIEWER, "rover:2"), "nothing at rover:2"),
            (here.show(VIEWER, "rover:1:owner"), "no key of a record"),
            (here.show(VIEWER, "nonsense"), "not a key"),
            (here.mend(ADMIN, "troll:1", MENDED, digest=digest, reason="x", act_id="3"), "no record of this game"),
        ]:
            with pytest.raises(ActRefused, match=error):
                await act
        for refused in (
            here.mend(SUPPORT, "rover:1", MENDED, digest=digest, reason="x", act_id="4"),
            here.discard(SUPPORT, "rover:1", digest=digest, reason="x", act_id="5"),
        ):
            with pytest.raises(NotGranted):
                await refused
        assert (await acts_at(lab.keeper).show(VIEWER, 1)).error == ""
