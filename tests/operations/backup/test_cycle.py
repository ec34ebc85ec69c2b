"""The full cycle under a crowd, on every backend: create, verify, restore elsewhere, all is there."""

import asyncio
from collections import Counter
from pathlib import Path

from operations.backup.conftest import Engine
from operations.traders import ALL_SERIALS, CLOCK, GAME, GOLD_EACH, TRADERS, census_of, traders_of, trading
from realmkeep.operations.backup.catalogue import list_backups
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.backup.examining import verify_backup
from realmkeep.operations.backup.restoring import plan_restore, restore_backup


async def test_what_a_crowd_traded_while_it_was_backed_up_is_whole_elsewhere(engine: Engine, backups: Path) -> None:
    async with trading(engine.realm):
        created = await create_backup(engine.realm, backups, GAME, clock=CLOCK)
    census = created.manifest.census
    assert created.finding.verdict == "good"
    assert census.totals == {"gold": TRADERS * GOLD_EACH}  # a snapshot of half a trade would have another sum
    assert (census.serials, census.doubled) == (TRADERS, ())
    assert (census.records, census.versions) == ({"trader": TRADERS}, {"trader 2": TRADERS})
    assert [each.state for each in await asyncio.to_thread(list_backups, backups)] == ["good"]

    found = await verify_backup(backups, created.manifest.name, GAME, clock=CLOCK)
    assert (found.verdict, found.why, found.warnings) == ("good", "", ())

    plan = await plan_restore(backups, engine.elsewhere, clock=CLOCK)
    report = await restore_backup(plan, GAME, identities=(), clock=CLOCK)
    assert report.name == created.manifest.name
    assert report.as_of_us == created.manifest.taken_us
    assert report.lost_s >= 0
    assert report.census == census

    there = await census_of(engine.elsewhere)
    assert (there.records, there.versions) == (census.records, census.versions)
    assert (there.totals, there.serials_digest, there.store_id) == (
        census.totals,
        census.serials_digest,
        census.store_id,
    )
    traders = await traders_of(engine.elsewhere)  # a new server can play them all at once: none has an owner
    assert sum(trader.gold for trader in traders.values()) == TRADERS * GOLD_EACH
    held = Counter(sword.serial for trader in traders.values() for sword in trader.swords)
    assert held == Counter(ALL_SERIALS)


async def test_a_backup_of_an_idle_store_equals_it_and_changes_nothing(engine: Engine, backups: Path) -> None:
    async with trading(engine.realm):
        """It ends with every trader saved."""
    before = await census_of(engine.realm)
    created = await create_backup(
        engine.realm, backups, GAME, clock=CLOCK
    )  # of an embedded store that does not run, too
    assert before.differences(created.manifest.census) == []
    assert before.differences(await census_of(engine.realm)) == []
