"""A player logs in at another server: this one lets it go at once, as a second login here takes over from the first."""

from pathlib import Path

from lab import Lab

from realmkeep.realm.world.player import Player

ADA, BOB = 1, 2


async def test_a_connected_player_who_logs_in_elsewhere_is_let_go_with_its_last_changes(tmp_path: Path) -> None:
    north = await Lab(tmp_path, name="north").start()
    south = Lab(tmp_path, name="south", store=north.store)
    south.clock = north.clock
    await south.start()
    ada, bob = await north.join(ADA), await north.join(BOB)
    await north.outfit(ada, gold=5)
    north.player(ada).xp += 3  # not written yet
    gold = north.player(ada).gold
    await north.act(ada, "trade_request", player=BOB)
    begun_s = north.clock.monotonic_s()
    session = await north.clock.finish(south.keeper.login(Player, ADA, wait_s=2.0))
    assert session is not None
    assert (session.record.gold, session.record.xp) == (gold, 3)
    assert north.clock.monotonic_s() - begun_s < 1.0
    assert (ada.heard[-1], ada.closed) == ({"type": "goodbye", "reason": "taken_over"}, True)
    assert ADA not in north.realm.game.connections.by_id
    assert await north.refused(bob, "trade_offer", items=[], gold=0) == "not_trading"
    again = await north.clock.finish(north.keeper.login(Player, ADA, wait_s=2.0))  # and back, out of the grace there
    assert again is not None
    assert again.record.gold == gold
    for each in (north, south):
        await each.close()
