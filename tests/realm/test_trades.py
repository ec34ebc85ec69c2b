import pytest
from lab import Lab, LabPeer, Message

from realmkeep.realm.actions.trading import OFFERS_BURST


@pytest.fixture
async def bob(realm: Lab) -> LabPeer:
    return await realm.join(8)


async def opened(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    assert (await realm.done(ada, "trade_request", player=8))["opened"] is False
    assert bob.events("trade_requested")[-1]["player"] == 7
    assert (await realm.done(bob, "trade_request", player=7))["opened"] is True
    assert ada.events("trade_opened")[-1]["player"] == 8


def answers(peer: LabPeer, op: int) -> list[Message]:
    return [message for message in peer.heard if message.get("op_id") == op]


async def test_a_trade_is_one_atomic_write_and_both_are_told(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    await realm.outfit(ada, items={"sword": 1})
    serial = realm.player(ada).inventory[-1].serial
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", items=[{"slot": 1, "count": 1}, {"slot": 0, "count": 2}])
    await realm.done(bob, "trade_offer", gold=80)
    told = ada.events("trade_offer")[-1]
    assert (told["player"], bob.events("trade_offer")[-1]) == (8, told)
    adas, bobs = sorted(told["offers"], key=lambda offer: offer["player"])
    assert (len(adas["items"]), adas["gold"], bobs) == (2, 0, {"player": 8, "items": [], "gold": 80})
    op = realm.want(ada, "trade_confirm")
    await realm.clock.settle()
    assert answers(ada, op) == []
    assert bob.events("trade_confirmed")[-1]["player"] == 7
    done = await realm.act(bob, "trade_confirm")
    assert (done["type"], done["tier"], done["result"]["gold"]) == ("ack", 1, 20)
    (ack,) = answers(ada, op)
    assert (ack["type"], ack["tier"], ack["result"]["gold"]) == ("ack", 1, 180)
    assert {"item": "sword", "count": 1, "slot": 1, "serial": serial} in done["result"]["inventory"]
    assert [item.count for item in realm.player(bob).inventory if item.item_id == "bread"] == [5]
    assert len(ada.events("trade_completed")) == len(bob.events("trade_completed")) == 1
    await realm.crash()
    await realm.start()
    kept = realm.realm.game.connections.by_id
    assert [kept[7].player.gold, kept[8].player.gold] == [180, 20]
    assert serial in [item.serial for item in kept[8].player.inventory]
    assert serial not in [item.serial for item in kept[7].player.inventory]


async def test_confirming_again_after_a_lost_ack_is_answered_from_the_record(
    realm: Lab, ada: LabPeer, bob: LabPeer
) -> None:
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", gold=10)
    op = realm.want(ada, "trade_confirm")
    realm.want(ada, "trade_confirm", op=op)  # sent twice: one yes
    await realm.act(bob, "trade_confirm")
    assert len(answers(ada, op)) == 1
    again = await realm.act(ada, "trade_confirm", op=op)
    assert (again["type"], again["repeated"], again["result"]["gold"]) == ("ack", True, 90)


async def test_a_changed_offer_takes_the_confirmations_back(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", gold=10)
    op = realm.want(bob, "trade_confirm")
    await realm.done(ada, "trade_offer", gold=1)
    (nack,) = answers(bob, op)
    assert (nack["type"], nack["reason"]) == ("nack", "offer_changed")
    realm.want(ada, "trade_confirm")
    await realm.clock.settle()
    assert (realm.player(ada).gold, realm.player(bob).gold) == (100, 100)


async def test_bait_and_switch_a_confirmation_agrees_to_the_offers_that_its_client_saw_and_to_no_others(
    realm: Lab, ada: LabPeer, bob: LabPeer
) -> None:
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", gold=90)
    seen = bob.terms()
    await realm.done(ada, "trade_offer", gold=0)
    realm.want(ada, "trade_confirm")
    assert await realm.refused(bob, "trade_confirm", terms=seen) == "offer_changed"
    assert await realm.refused(bob, "trade_confirm", terms="none") == "offer_changed"
    assert (await realm.act(bob, "trade_confirm", terms=None))["reason"] == "bad_field"
    assert bob.events("trade_completed") == []
    assert (await realm.act(bob, "trade_confirm"))["type"] == "ack"
    assert realm.player(bob).gold == 100


async def test_the_terms_name_both_offers_so_that_an_event_that_was_lost_agrees_to_nothing(
    realm: Lab, ada: LabPeer, bob: LabPeer
) -> None:
    await realm.outfit(ada, items={"sword": 1})
    await opened(realm, ada, bob)
    serial = realm.player(ada).inventory[-1].serial
    await realm.done(ada, "trade_offer", items=[{"slot": 1, "count": 1}])
    mine = await realm.done(bob, "trade_offer", gold=80)
    shown = {offer["player"]: offer for offer in mine["offers"]}
    assert shown[7]["items"] == [{"item": "sword", "count": 1, "slot": 1, "serial": serial}]
    assert shown[8]["gold"] == 80
    assert mine["terms"] == bob.terms() == ada.terms()
    before = mine["terms"]
    await realm.done(ada, "trade_offer", items=[{"slot": 0, "count": 1}])
    assert bob.terms() != before
    await realm.done(ada, "trade_offer", items=[{"slot": 1, "count": 1}])
    assert bob.terms() == before, "the same offers are the same terms"


async def test_the_terms_of_one_trade_are_not_those_of_the_next(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", gold=10)
    former = bob.terms()
    await realm.done(bob, "trade_cancel")
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", gold=10)
    realm.want(ada, "trade_confirm")
    assert await realm.refused(bob, "trade_confirm", terms=former) == "offer_changed"
    op = realm.want(bob, "trade_confirm")
    again = await realm.act(bob, "trade_confirm", op=op, terms=former)
    assert again["reason"] == "op_reused", "another agreement under the id of the first"


@pytest.mark.parametrize("how", ["cancel", "disconnect", "walk", "wait", "logout", "die"])
async def test_a_trade_ends_by_cancel_disconnect_leaving_inactivity_logout_and_death(
    realm: Lab, ada: LabPeer, bob: LabPeer, how: str
) -> None:
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", gold=50)
    op = realm.want(bob, "trade_confirm")
    match how:
        case "cancel":
            await realm.done(ada, "trade_cancel")
        case "disconnect":
            realm.drop(ada)
        case "walk":
            realm.realm.game.places.move_player(realm.player(ada), "town", 20.0, 39.5)
            await realm.done(ada, "move", x=20.0, y=40.5)
        case "wait":
            await realm.ticks(62)
        case "logout":
            realm.say(ada, {"type": "logout"})
        case _:
            place = realm.realm.game.places.by_name["meadow"]
            monster = next(iter(place.monsters.values()))
            realm.player(ada).hp = 1
            while not realm.player(ada).dead:
                realm.realm.simulation.strike_player(monster, realm.player(ada), realm.realm.game.scene())
    await realm.clock.settle()
    (nack,) = answers(bob, op)
    assert (nack["type"], nack["reason"]) == ("nack", "trade_cancelled")
    assert len(bob.events("trade_cancelled")) == 1
    assert await realm.refused(bob, "trade_confirm") == "not_trading"
    assert realm.player(bob).gold == 100


async def test_what_no_longer_holds_when_both_have_confirmed_calls_the_trade_off(
    realm: Lab, ada: LabPeer, bob: LabPeer
) -> None:
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", items=[{"slot": 0, "count": 3}], gold=100)
    op = realm.want(bob, "trade_confirm")
    await realm.done(ada, "buy", item="arrow", count=1)
    assert (await realm.act(ada, "trade_confirm"))["reason"] == "offer_changed"
    (nack,) = answers(bob, op)
    assert nack["reason"] == "offer_changed"
    assert (realm.player(ada).gold, realm.player(bob).gold) == (98, 100)


async def test_bait_and_switch_a_slot_that_holds_something_else_is_not_what_was_offered(
    realm: Lab, ada: LabPeer, bob: LabPeer
) -> None:
    await realm.outfit(ada, items={"sword": 1})
    await realm.outfit(ada, items={"dagger": 1})
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", items=[{"slot": 1, "count": 1}])
    await realm.done(bob, "trade_offer", gold=100)
    realm.want(bob, "trade_confirm")
    await realm.done(ada, "equip", slot=1)
    await realm.done(ada, "equip", slot=2)
    await realm.done(ada, "unequip", equipment="weapon")
    assert {item.slot: item.item_id for item in realm.player(ada).inventory}[1] == "dagger"
    assert (await realm.act(ada, "trade_confirm"))["reason"] == "offer_changed"
    assert realm.player(bob).gold == 100


async def test_offers_are_checked(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    assert await realm.refused(ada, "trade_offer", gold=1) == "not_trading"
    await opened(realm, ada, bob)
    assert await realm.refused(ada, "trade_offer", gold=101) == "not_enough_gold"
    assert await realm.refused(ada, "trade_offer", items=[{"slot": 0, "count": 4}]) == "not_enough"
    assert await realm.refused(ada, "trade_offer", items=[{"slot": 5, "count": 1}]) == "empty_slot"
    twice = [{"slot": 0, "count": 2}, {"slot": 0, "count": 2}]
    assert await realm.refused(ada, "trade_offer", items=twice) == "same_slot_twice"


async def test_who_may_trade_with_whom(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    eve = await realm.join(9)
    assert await realm.refused(ada, "trade_request", player=7) == "not_here"
    assert await realm.refused(ada, "trade_request", player=404) == "not_here"
    realm.realm.game.places.move_player(realm.player(eve), "town", 35.0, 35.0)
    assert await realm.refused(ada, "trade_request", player=9) == "too_far"
    realm.realm.game.places.move_player(realm.player(eve), "meadow", 45.0, 30.0)
    assert await realm.refused(ada, "trade_request", player=9) == "not_here"
    realm.realm.game.places.move_player(realm.player(eve), "town", 20.0, 20.0)
    assert (await realm.done(eve, "trade_request", player="PLAYER8"))["opened"] is False
    await opened(realm, ada, bob)
    assert await realm.refused(eve, "trade_request", player=7) == "already_trading"
    assert await realm.refused(ada, "trade_request", player=9) == "already_trading"
    await realm.done(ada, "trade_cancel")
    await realm.done(bob, "block", player=7)
    assert await realm.refused(ada, "trade_request", player=8) == "blocked"
    realm.player(eve).combat_until_us = realm.clock.wall_us() + 5_000_000
    assert await realm.refused(eve, "trade_request", player=7) == "in_combat"


async def test_what_does_not_fit_calls_the_trade_off_and_moves_nothing(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    for _ in range(23):
        await realm.outfit(bob, items={"dagger": 1})
    await realm.outfit(ada, items={"sword": 1})
    await opened(realm, ada, bob)
    await realm.done(ada, "trade_offer", items=[{"slot": 1, "count": 1}])
    realm.want(ada, "trade_confirm")
    assert (await realm.act(bob, "trade_confirm"))["reason"] == "inventory_full"
    assert [item.item_id for item in realm.player(ada).inventory] == ["bread", "sword"]
    assert len(realm.player(bob).inventory) == 24


async def test_a_drop_that_a_trade_overtakes_does_not_lose_the_serial(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    await realm.outfit(bob, items={"sword": 1})
    await opened(realm, ada, bob)
    await realm.done(bob, "trade_offer", items=[{"slot": 1, "count": 1}])
    realm.want(ada, "trade_confirm")
    realm.want(bob, "trade_confirm")
    op = realm.want(ada, "drop", slot=1, count=1)  # the slot is empty yet
    await realm.clock.settle()
    (nack,) = answers(ada, op)
    assert nack["reason"] == "slot_changed"
    assert [item.item_id for item in realm.player(ada).inventory] == ["bread", "sword"]


async def test_who_asks_again_and_again_is_heard_once_a_second(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    for _ in range(100):
        await realm.done(ada, "trade_request", player="player8")
    assert len(bob.events("trade_requested")) == 1
    await realm.clock.advance(1)
    await realm.done(ada, "trade_request", player=8)
    assert len(bob.events("trade_requested")) == 2
    assert (await realm.done(bob, "trade_request", player=7))["opened"] is True


async def test_who_asks_two_in_turn_is_heard_by_each_once_a_second(realm: Lab, ada: LabPeer, bob: LabPeer) -> None:
    cy = await realm.join(9)
    for _ in range(50):
        await realm.done(ada, "trade_request", player=8)
        await realm.done(ada, "trade_request", player=9)
    assert [len(each.events("trade_requested")) for each in (bob, cy)] == [1, 1]
    await realm.ticks(1.0)
    await realm.done(ada, "trade_request", player=8)
    assert len(bob.events("trade_requested")) == 2
    await realm.done(bob, "trade_request", player=7)
    assert bob.events("trade_opened")


async def test_a_confirmation_under_the_id_of_another_operation_agrees_to_nothing(
    realm: Lab, ada: LabPeer, bob: LabPeer
) -> None:
    await realm.done(ada, "trade_request", player=8)
    await realm.done(bob, "trade_request", player=7)
    await realm.done(ada, "trade_offer", gold=10)
    moved = realm.want(ada, "move", x=realm.player(ada).x, y=realm.player(ada).y)
    await realm.clock.settle()
    realm.want(bob, "trade_confirm")
    assert await realm.refused(ada, "trade_confirm", op=moved) == "op_reused"
    assert realm.player(ada).gold == 100


async def test_offers_that_change_all_the_time_do_not_flood_the_other_one(
    realm: Lab, ada: LabPeer, bob: LabPeer
) -> None:
    """Each is an event of some KiB, and a client that cannot read so much is cut off."""
    await realm.done(ada, "trade_request", player=8)
    await realm.done(bob, "trade_request", player=7)
    refused = [await realm.act(ada, "trade_offer", gold=1 + number % 2) for number in range(200)]
    assert len(bob.events("trade_offer")) == OFFERS_BURST
    assert {answer["reason"] for answer in refused if answer["type"] == "nack"} == {"rate_limited"}
    await realm.done(bob, "trade_offer", gold=3)
    await realm.clock.advance(1.0)
    await realm.done(ada, "trade_offer", gold=7)
    realm.want(ada, "trade_confirm")
    assert (await realm.act(bob, "trade_confirm"))["type"] == "ack"
    assert (realm.player(ada).gold, realm.player(bob).gold) == (96, 104)
