"""A store that takes its time, refuses, or undoes: each caller is answered, once, with what happened."""

import pytest
from lab import Lab, LabPeer

from realmkeep.realm.world.places import SERIALS_MAX
from realmkeep.realm.world.player import GOLD_MAX, Player
from realmkeep.realm.world.zone import GroundItem, Zone

SLOTS = 24


@pytest.fixture
async def bob(realm: Lab) -> LabPeer:
    return await realm.join(8)


@pytest.fixture
async def silent(realm: Lab, ada: LabPeer, bob: LabPeer) -> int:
    """Both have confirmed a trade, and the store does not answer; the op of the one who confirmed last."""
    await open_trade(realm, ada, bob)
    await realm.done(ada, "trade_offer", gold=50)
    realm.storage.cut = "before"
    realm.want(ada, "trade_confirm")
    op = realm.want(bob, "trade_confirm")
    await realm.clock.settle()
    return op


async def open_trade(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    await realm.done(ada, "trade_request", player=8)
    await realm.done(bob, "trade_request", player=7)


async def crash(realm: Lab) -> None:
    """The store never answered; the fixture's realm closes on a new server."""
    await realm.crash()
    await realm.start()


async def test_a_trade_that_the_store_decides_on_is_not_swept_away_as_inactive(
    realm: Lab, ada: LabPeer, bob: LabPeer, silent: int
) -> None:
    await realm.ticks(63)
    assert ada.events("trade_cancelled") == bob.events("trade_cancelled") == []
    await crash(realm)


async def test_a_player_who_leaves_while_the_store_decides_does_not_call_the_trade_off(
    realm: Lab, ada: LabPeer, bob: LabPeer, silent: int
) -> None:
    realm.drop(ada)
    await realm.clock.settle()
    assert bob.events("trade_cancelled") == []
    assert [heard for heard in bob.heard if heard.get("op_id") == silent and heard["type"] == "nack"] == []
    await crash(realm)


async def test_two_with_full_bags_may_swap(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    for _ in range(SLOTS - 1):
        await realm.outfit(ada, items={"sword": 1})
        await realm.outfit(bob, items={"dagger": 1})
    assert len(realm.player(ada).inventory) == len(realm.player(bob).inventory) == SLOTS
    await open_trade(realm, ada, bob)
    await realm.done(ada, "trade_offer", items=[{"slot": 1, "count": 1}])
    await realm.done(bob, "trade_offer", items=[{"slot": 1, "count": 1}])
    realm.want(ada, "trade_confirm")
    assert (await realm.act(bob, "trade_confirm"))["type"] == "ack"
    assert [sum(item.item_id == "dagger" for item in realm.player(peer).inventory) for peer in (ada, bob)] == [1, 22]


async def test_operations_that_were_refused_are_answered_and_leave_room_for_others(realm: Lab, ada: LabPeer) -> None:
    for _ in range(40):
        await realm.refused(ada, "buy", item="sword", count=99)
    await realm.done(ada, "buy", item="arrow", count=1)


async def test_the_ground_takes_as_many_serials_as_it_holds_and_not_one_more(realm: Lab, ada: LabPeer) -> None:
    await realm.outfit(ada, items={"sword": 1})
    await realm.outfit(ada, items={"sword": 1})
    game = realm.realm.game
    zone = game.zone_of(game.places.place_of(realm.player(ada)))

    def litter(zone: Zone) -> None:
        realm.keeper.tx.adjust("a test")
        zone.ground = [GroundItem("sword", game.serials.take_serial(), 1.0, 1.0) for _ in range(SERIALS_MAX - 1)]

    await realm.clock.finish(realm.keeper.commit(litter, zone))
    await realm.done(ada, "drop", slot=1, count=1)
    assert await realm.refused(ada, "drop", slot=2, count=1) == "ground_full"
    assert len(zone.record.ground) == SERIALS_MAX


async def test_the_bank_keeps_as_much_gold_as_it_may_and_not_one_more(realm: Lab, ada: LabPeer) -> None:
    def save_up(player: Player) -> None:
        realm.keeper.tx.adjust("a test")
        player.bank_gold = GOLD_MAX - 10

    session = realm.realm.game.connections.by_peer[ada].session
    await realm.clock.finish(realm.keeper.commit(save_up, session))
    assert await realm.refused(ada, "deposit", item="gold", count=11) == "bank_full"
    await realm.done(ada, "deposit", item="gold", count=10)
    assert (realm.player(ada).bank_gold, realm.player(ada).gold) == (GOLD_MAX, 90)
