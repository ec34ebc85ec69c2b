"""The audit trail: one chain for the realm, in which a change, a gap and a cut are found."""

import asyncio

import msgspec
import pytest

from keeping.game import Player
from operations.operators.people import ADMIN, acts_at, audited
from realmkeep.keys import SERVER_AUDIT, SERVER_AUDIT_HEAD
from realmkeep.operations.operators.audit import AuditHead, AuditTrail, hash_of
from realmkeep.storage import Append, Delete, Put, Storage, Transaction
from realmkeep.testing.lab import Lab


async def three_entries(lab: Lab) -> None:
    ada = await lab.keeper.login(Player, 1, create=lambda: Player(name="Ada"))
    for gold in (1, 2, 3):
        await acts_at(lab.keeper).edit(ADMIN, 1, "gold", gold, reason="a test")
    await ada.logout()


async def rewrite(storage: Storage, entries: list[bytes]) -> None:
    """Put other entries into the list, as a program with access to the store could."""
    await storage.write([Transaction([], [Delete(SERVER_AUDIT)])])
    await storage.write([Transaction([], [Append(SERVER_AUDIT, entry) for entry in entries])])


async def test_a_whole_chain_has_no_fault() -> None:
    async with Lab() as lab:
        assert (await AuditTrail(lab.line()).verify()).faults == ()
        await three_entries(lab)
        verdict = await AuditTrail(lab.line()).verify()
        assert (verdict.entries, verdict.faults) == (3, ())
        assert [entry.details["after"] for entry in await audited(lab)] == [1, 2, 3]
        assert [entry.sequence async for entry in AuditTrail(lab.line()).entries(last=2)] == [2, 3]


@pytest.mark.parametrize("damage", ["changed", "removed", "added", "cut", "unreadable"])
async def test_a_change_of_the_trail_is_found(damage: str) -> None:
    async with Lab() as lab:
        await three_entries(lab)
        storage = lab.line()
        entries = await storage.load_list(SERVER_AUDIT)
        await rewrite(
            storage,
            {
                "changed": [entries[0], entries[1].replace(b'"after":2', b'"after":9'), entries[2]],
                "removed": [entries[0], entries[2]],
                "added": [*entries, entries[2]],
                "cut": entries[:2],
                "unreadable": [entries[0], b"{", entries[2]],
            }[damage],
        )
        assert (await AuditTrail(storage).verify()).faults


async def test_a_trail_that_was_written_anew_differs_from_the_noted_end() -> None:
    async with Lab() as lab:
        await three_entries(lab)
        storage = lab.line()
        noted = await AuditTrail(storage).verify()
        (first, *_) = await storage.load_list(SERVER_AUDIT)
        await rewrite(storage, [first])
        head = msgspec.json.encode(AuditHead(1, hash_of(first)))
        await storage.write([Transaction([], [Put(SERVER_AUDIT_HEAD, head)])])
        assert (await AuditTrail(storage).verify()).faults == ()  # alone it is whole
        (fault,) = (await AuditTrail(storage).verify(expected=(noted.entries, noted.hash))).faults
        assert "cut or written anew" in fault


async def test_a_head_that_cannot_be_read_is_a_fault() -> None:
    async with Lab() as lab:
        await three_entries(lab)
        await lab.line().write([Transaction([], [Put(SERVER_AUDIT_HEAD, b"?")])])
        (fault,) = (await AuditTrail(lab.line()).verify()).faults
        assert SERVER_AUDIT_HEAD in fault


async def test_acts_of_several_servers_at_once_form_one_chain() -> None:
    async with Lab() as lab:
        keepers = [lab.keeper, await lab.server("lab-2"), await lab.server("lab-3")]
        for number, keeper in enumerate(keepers):
            await keeper.login(Player, number, create=lambda: Player(name="Ada"))
        acts = [acts_at(keeper) for keeper in keepers]
        edits = [acts[number].edit(ADMIN, number, "xp", xp, reason="a test") for xp in range(4) for number in range(3)]
        outcomes = await asyncio.gather(*edits)
        assert sorted(outcome.entry for outcome in outcomes) == list(range(1, 13))
        assert (await AuditTrail(lab.line()).verify()).faults == ()
        sessions = [keeper.session(Player, number) for number, keeper in enumerate(keepers)]
        assert [session.record.xp for session in sessions if session is not None] == [3, 3, 3]
