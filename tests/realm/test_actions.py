import asyncio
from pathlib import Path
from random import Random

import msgspec
import pytest
from lab import WORLD, Lab, LabPeer, Message, lab
from typing_extensions import override

from realmkeep.errors import CommitRefused
from realmkeep.realm.wire.intents import read_intent
from realmkeep.realm.world.mail_letter import MailLetter
from realmkeep.realm.world.places import SERIALS_MAX
from realmkeep.realm.world.player import GOLD_MAX, XP_PER_LEVEL, Player
from realmkeep.realm.world.zone import GroundItem, Zone
from realmkeep.storage import Append, Put, Transaction

MEADOW = ("meadow", 60.0, 20.0)


async def test_a_new_player_has_what_the_page_promises(realm: Lab, ada: LabPeer) -> None:
    seen = await realm.done(ada, "look")
    assert (seen["zone"], seen["safe"], seen["bank"]) == ("town", True, True)
    affordable = [item for item in seen["shop"] if item["price"] <= realm.player(ada).gold]
    assert {item["stackable"] for item in affordable} == {True, False}
    assert seen["quests"]
    assert realm.player(ada).gold == 100
    assert realm.player(ada).hp == realm.player(ada).max_hp


async def test_what_is_bought_costs_the_servers_price_and_singles_have_serials(realm: Lab, ada: LabPeer) -> None:
    bought = await realm.done(ada, "buy", item="bread", count=2, price=0)
    assert (bought["price"], bought["gold"]) == (2 * WORLD.items["bread"].price, 92)
    await realm.outfit(ada, gold=200)
    await realm.done(ada, "buy", item="dagger", count=3)
    serials = [item.serial for item in realm.player(ada).inventory if item.item_id == "dagger"]
    assert len(set(serials)) == 3
    assert None not in serials


async def test_buying_is_checked_before_anything_changes(realm: Lab, ada: LabPeer) -> None:
    before = realm.player(ada).fork().values
    assert await realm.refused(ada, "buy", item="sword", count=2) == "not_enough_gold"
    assert await realm.refused(ada, "buy", item="crown", count=1) == "not_sold_here"
    await realm.outfit(ada, gold=10_000_000)
    assert await realm.refused(ada, "buy", item="bread", count=999_999) == "stack_full"
    assert await realm.refused(ada, "buy", item="dagger", count=24) == "inventory_full"
    assert realm.player(ada).inventory == before[[*realm.player(ada).__struct_fields__].index("inventory")]
    realm.realm.game.places.move_player(realm.player(ada), *MEADOW)
    assert await realm.refused(ada, "buy", item="bread", count=1) == "no_shop"
    assert await realm.refused(ada, "sell", slot=0, count=1) == "no_shop"
    assert await realm.refused(ada, "deposit", item="gold", count=1) == "no_bank"


async def test_selling_pays_half(realm: Lab, ada: LabPeer) -> None:
    sold = await realm.done(ada, "sell", slot=0, count=3)
    assert (sold["gold"], sold["inventory"]) == (100 + 3 * (WORLD.items["bread"].price // 2), [])
    assert await realm.refused(ada, "sell", slot=0, count=1) == "empty_slot"


async def test_the_bank_takes_and_gives_gold_stacks_and_singles(realm: Lab, ada: LabPeer) -> None:
    await realm.outfit(ada, items={"dagger": 1})
    serial = realm.player(ada).inventory[-1].serial
    await realm.done(ada, "deposit", item="gold", count=60)
    await realm.done(ada, "deposit", item="bread", count=2)
    banked = await realm.done(ada, "deposit", item="dagger", count=1)
    assert banked["bank"] == [{"item": "bread", "count": 2}, {"item": "dagger", "count": 1, "serial": serial}]
    assert (realm.player(ada).gold, realm.player(ada).bank_gold) == (40, 60)
    assert await realm.refused(ada, "withdraw", item="gold", count=61) == "not_enough_gold"
    assert await realm.refused(ada, "withdraw", item="bread", count=3) == "not_enough"
    assert await realm.refused(ada, "deposit", item="bread", count=2) == "not_enough"
    fetched = await realm.done(ada, "withdraw", item="dagger", count=1)
    assert {"item": "dagger", "count": 1, "slot": 1, "serial": serial} in fetched["inventory"]


async def test_eating_heals_no_further_than_full_health(realm: Lab, ada: LabPeer) -> None:
    realm.player(ada).hp = 90
    eaten = await realm.done(ada, "consume", slot=0, count=2)
    assert (eaten["hp"], eaten["healed"]) == (100, 10)
    await realm.outfit(ada, items={"arrow": 5})
    assert await realm.refused(ada, "consume", slot=1, count=1) == "not_edible"


async def test_what_is_worn_takes_the_slot_of_what_is_put_on(realm: Lab, ada: LabPeer) -> None:
    await realm.outfit(ada, items={"dagger": 1})
    await realm.outfit(ada, items={"sword": 1})
    dagger, sword = realm.player(ada).inventory[1:]
    await realm.done(ada, "equip", slot=dagger.slot)
    worn = await realm.done(ada, "equip", slot=sword.slot)
    assert worn["equipment"] == {"weapon": {"item": "sword", "serial": sword.serial}}
    assert {item["item"]: item.get("serial") for item in worn["inventory"]} == {"bread": None, "dagger": dagger.serial}
    bare = await realm.done(ada, "unequip", equipment="weapon")
    assert bare["equipment"] == {}
    assert await realm.refused(ada, "unequip", equipment="weapon") == "not_worn"
    assert await realm.refused(ada, "equip", slot=0) == "not_wearable"


async def test_common_things_lie_in_memory_and_grow_back(realm: Lab, ada: LabPeer) -> None:
    await realm.done(ada, "move", x=22.0, y=20.0)
    await realm.clock.advance(1)
    await realm.done(ada, "move", x=24.0, y=23.0)
    (berry,) = (await realm.done(ada, "look"))["ground"]
    taken = await realm.act(ada, "pickup", ground_id=berry["ground_id"])
    assert taken["tier"] == 2
    assert {"item": "berry", "count": 1, "slot": 1} in taken["result"]["inventory"]
    assert await realm.refused(ada, "pickup", ground_id=berry["ground_id"]) == "gone"
    assert (await realm.done(ada, "look"))["ground"] == []
    await realm.ticks(6)
    (berry,) = (await realm.done(ada, "look"))["ground"]
    assert berry["item"] == "berry"


async def test_what_is_dropped_lies_there_for_others_and_decays(realm: Lab, ada: LabPeer) -> None:
    bob = await realm.join(8)
    dropped = await realm.act(ada, "drop", slot=0, count=2)
    assert dropped["tier"] == 1
    (bread,) = [thing for thing in (await realm.done(bob, "look"))["ground"] if thing["item"] == "bread"]
    await realm.done(bob, "pickup", ground_id=bread["ground_id"])
    assert sum(item.count for item in realm.player(bob).inventory if item.item_id == "bread") == 5
    await realm.done(ada, "drop", slot=0, count=1)
    await realm.ticks(WORLD.rules.ground_decay_s + 2)
    assert [thing["item"] for thing in (await realm.done(bob, "look"))["ground"]] == ["berry"]


async def test_a_serial_moves_between_zone_and_player_in_one_commit(realm: Lab, ada: LabPeer) -> None:
    await realm.outfit(ada, items={"dagger": 1})
    serial = realm.player(ada).inventory[-1].serial
    zone = realm.realm.game.places.by_name["town"].record
    dropped = await realm.act(ada, "drop", slot=1, count=1)
    assert dropped["tier"] == 1
    assert [item.serial for item in zone.ground] == [serial]
    (thing,) = [thing for thing in (await realm.done(ada, "look"))["ground"] if thing.get("serial")]
    without_op = {"type": "intent", "action": "pickup", "ground_id": thing["ground_id"]}
    realm.say(ada, without_op)
    assert ada.heard[-1]["reason"] == "bad_field"
    taken = await realm.act(ada, "pickup", ground_id=thing["ground_id"])
    assert taken["tier"] == 1
    assert zone.ground == []
    assert realm.player(ada).inventory[-1].serial == serial
    assert (await realm.act(ada, "pickup", op=taken["op_id"], ground_id=thing["ground_id"]))["repeated"] is True


async def test_what_does_not_stack_gets_its_serial_where_it_grew_and_grows_once(realm: Lab, ada: LabPeer) -> None:
    forest = realm.realm.game.places.by_name["forest"]
    (dagger,) = [thing for thing in forest.ground.values() if thing.item == "dagger"]
    assert dagger.spot is not None
    bob = await realm.join(8)
    for peer in (ada, bob):
        realm.realm.game.places.move_player(realm.player(peer), "forest", dagger.x, dagger.y)
    realm.say(ada, {"type": "intent", "action": "pickup", "ground_id": dagger.ground_id})
    assert ada.heard[-1]["reason"] == "bad_field", "it is tier 1"
    first = realm.want(ada, "pickup", ground_id=dagger.ground_id)
    second = realm.want(bob, "pickup", ground_id=dagger.ground_id)
    await realm.clock.settle()
    (taken,) = [message for message in ada.heard if message.get("op_id") == first]
    (late,) = [message for message in bob.heard if message.get("op_id") == second]
    assert (taken["type"], taken["tier"], late["reason"]) == ("ack", 1, "gone")
    (carried,) = [item for item in realm.player(ada).inventory if item.item_id == "dagger"]
    assert carried.serial == taken["result"]["serial"]
    assert [thing for thing in forest.ground.values() if thing.item == "dagger"] == []
    await realm.crash()
    await realm.start()
    forest = realm.realm.game.places.by_name["forest"]
    assert [thing for thing in forest.ground.values() if thing.item == "dagger"] == [], "the spot is empty over a crash"
    await realm.ticks(122)
    (grown,) = [thing for thing in forest.ground.values() if thing.item == "dagger"]
    ada = await realm.join(7)
    realm.realm.game.places.move_player(realm.player(ada), "forest", grown.x, grown.y)
    again = await realm.done(ada, "pickup", ground_id=grown.ground_id)
    assert again["serial"] != carried.serial


async def test_reach_is_checked(realm: Lab, ada: LabPeer) -> None:
    far = next(iter(realm.realm.game.places.by_name["town"].ground.values()))
    assert await realm.refused(ada, "pickup", ground_id=far.ground_id) == "out_of_range"
    assert await realm.refused(ada, "pickup", ground_id=999) == "gone"
    realm.realm.game.places.move_player(realm.player(ada), *MEADOW)
    rat = next(m for m in realm.realm.game.places.by_name["meadow"].monsters.values() if m.name == "rat")
    assert await realm.refused(ada, "attack", target=rat.monster_id) == "out_of_range"
    assert await realm.refused(ada, "attack", target=99_999) == "no_such_target"
    assert await realm.refused(ada, "accept_quest", quest="welcome") == "no_such_quest"


async def kill_rat(realm: Lab, peer: LabPeer) -> None:
    place = realm.realm.game.places.by_name["meadow"]
    rat = next(m for m in place.monsters.values() if m.name == "rat" and m.alive)
    realm.realm.game.places.move_player(realm.player(peer), "meadow", rat.x, rat.y)
    while rat.alive:
        await realm.act(peer, "attack", target=rat.monster_id)
        await realm.clock.advance(0.6)


async def test_killing_teaches_drops_loot_and_levels_up_durably(realm: Lab, ada: LabPeer) -> None:
    for _ in range(5):
        await kill_rat(realm, ada)
    assert realm.player(ada).level == 2
    assert realm.player(ada).max_hp == 110
    assert "first_blood" in realm.player(ada).achievements
    (level_up,) = ada.events("level_up")
    assert level_up["level"] == 2
    tiers = [message["tier"] for message in ada.heard if message.get("action") == "attack" and message["type"] == "ack"]
    assert tiers.count(1) == 1
    assert realm.realm.game.places.by_name["meadow"].record.respawns
    await realm.crash()
    await realm.start()
    assert realm.keeper.session(type(realm.realm.game.connections.by_id[7].player), 7) is not None
    assert realm.realm.game.connections.by_id[7].player.level == 2


async def test_what_is_dropped_lies_in_the_zone_where_its_player_stands_by_then(realm: Lab, ada: LabPeer) -> None:
    realm.realm.game.places.move_player(realm.player(ada), "town", 39.5, 20.0)
    realm.storage.cut = "away"
    realm.want(ada, "drop", slot=0, count=1)
    await realm.clock.settle()
    await realm.done(ada, "move", x=40.5, y=20.0)
    realm.storage.cut = ""
    await realm.clock.advance(5)
    (bread,) = [thing for thing in (await realm.done(ada, "look"))["ground"] if thing["item"] == "bread"]
    await realm.done(ada, "pickup", ground_id=bread["ground_id"])


async def test_a_serial_whose_drop_waits_is_not_left_in_a_zone_that_its_player_has_left(tmp_path: Path) -> None:
    async with lab(tmp_path, rate_per_s=1) as realm:
        ada = await realm.join(7, at=("town", 39.5, 20.0))
        await realm.outfit(ada, items={"sword": 1})
        waiting = realm.want(ada, "drop", slot=1, count=1)
        await realm.clock.settle()
        await realm.done(ada, "move", x=40.5, y=20.0)
        await realm.clock.advance(5)
        assert [message["reason"] for message in ada.heard if message.get("op_id") == waiting] == ["busy"]
        assert [item.item_id for item in realm.player(ada).inventory] == ["bread", "sword"]


class Lucky(Random):
    """Every blow hits, and everything that may fall falls."""

    @override
    def random(self) -> float:
        return 0.0


@pytest.mark.parametrize(("lying", "more"), [(0, 2), (SERIALS_MAX - 1, 1), (SERIALS_MAX, 0)])
async def test_serials_fall_as_far_as_the_zone_has_room_for_them(
    realm: Lab, ada: LabPeer, lying: int, more: int
) -> None:
    game = realm.realm.game
    game.random = Lucky(7)
    cave = game.places.by_name["cave"]
    troll = next(monster for monster in cave.monsters.values() if monster.name == "troll")

    def litter(zone: Zone) -> None:
        realm.keeper.tx.adjust("a test")
        zone.ground = [GroundItem("sword", game.serials.take_serial(), 45.0, 45.0) for _ in range(lying)]

    await realm.clock.finish(realm.keeper.commit(litter, game.zone_of(cave)))
    game.places.move_player(realm.player(ada), "cave", troll.x, troll.y)
    troll.hp = 1
    assert (await realm.done(ada, "attack", target=troll.monster_id))["killed"]
    assert [item.item_id for item in cave.record.ground[lying:]] == ["shield", "crown"][:more]


async def test_a_blow_is_answered_whose_level_up_was_undone_with_what_it_followed(realm: Lab, ada: LabPeer) -> None:
    def together(__: Player, ___: Player) -> None:
        """A commit of two, whatever it does."""

    bob = await realm.join(8)
    game = realm.realm.game
    game.random = Lucky(7)
    rat = next(m for m in game.places.by_name["meadow"].monsters.values() if m.name == "rat")
    game.places.move_player(realm.player(ada), "meadow", rat.x, rat.y)
    realm.player(ada).xp = XP_PER_LEVEL - 1
    rat.hp = 1
    realm.storage.cut = "away"
    hers, his = (game.connections.by_peer[peer].session for peer in (ada, bob))
    joint = asyncio.ensure_future(realm.keeper.commit(together, hers, his))
    await realm.clock.settle()
    realm.store.perform(Put(his.keys.owner, b"other/1/999999999999999999"))
    blow = realm.want(ada, "attack", target=rat.monster_id)
    await realm.clock.settle()
    assert realm.player(ada).level == 2
    realm.storage.cut = ""
    await realm.clock.advance(4)
    with pytest.raises(CommitRefused):
        await joint
    (answer,) = [message for message in ada.heard if message.get("op_id") == blow]
    assert (answer["type"], answer["reason"], realm.player(ada).level) == ("nack", "refused", 1)
    again = await realm.act(ada, "attack", op=blow, target=rat.monster_id)
    assert not again.get("repeated"), "what was undone is no answer"


async def test_what_is_gone_stays_gone_over_a_restart_until_it_is_time(realm: Lab, ada: LabPeer) -> None:
    def rats_alive() -> int:
        monsters = realm.realm.game.places.by_name["meadow"].monsters.values()
        return len([monster for monster in monsters if monster.name == "rat" and monster.alive])

    before = rats_alive()
    await kill_rat(realm, ada)
    await realm.close()
    await realm.start()
    assert rats_alive() == before - 1
    await realm.ticks(WORLD.monsters["rat"].respawn_s + 1)
    assert rats_alive() == before


async def test_a_hunter_comes_for_whoever_is_near_and_a_rat_only_for_whoever_struck_it(
    realm: Lab, ada: LabPeer
) -> None:
    place = realm.realm.game.places.by_name["meadow"]
    wolf = next(m for m in place.monsters.values() if m.name == "wolf")
    rat = next(m for m in place.monsters.values() if m.name == "rat")
    realm.realm.game.places.move_player(realm.player(ada), "meadow", rat.x, rat.y)
    await realm.ticks(3)
    assert ada.events("damaged") == []
    await realm.done(ada, "attack", target=rat.monster_id)
    assert rat.target == 7
    await realm.ticks(0.3)
    assert rat.next_attack_s > realm.clock.monotonic_s(), "it has struck back"
    realm.realm.game.places.move_player(realm.player(ada), "meadow", wolf.x + 4.5, wolf.y)
    await realm.ticks(8)
    assert wolf.target == 7
    assert {event["by"] for event in ada.events("damaged")} >= {"wolf"}
    realm.realm.game.places.move_player(realm.player(ada), "meadow", wolf.home_x - 15, wolf.home_y)
    await realm.ticks(1)
    assert wolf.target is None, "nobody is followed that far from home"


async def test_blows_need_a_rest(realm: Lab, ada: LabPeer) -> None:
    place = realm.realm.game.places.by_name["meadow"]
    wolf = next(m for m in place.monsters.values() if m.name == "wolf")
    realm.realm.game.places.move_player(realm.player(ada), "meadow", wolf.x, wolf.y)
    await realm.done(ada, "attack", target=wolf.monster_id)
    assert await realm.refused(ada, "attack", target=wolf.monster_id) == "too_soon"


async def test_quests_go_stage_by_stage_and_reward_once(realm: Lab, ada: LabPeer) -> None:
    await realm.done(ada, "accept_quest", quest="pests")
    assert await realm.refused(ada, "accept_quest", quest="pests") == "already_accepted"
    assert await realm.refused(ada, "advance_quest", quest="pests") == "not_finished"
    for _ in range(3):
        await kill_rat(realm, ada)
    stage = await realm.act(ada, "advance_quest", quest="pests")
    assert (stage["tier"], stage["result"]["completed"]) == (2, False)
    assert await realm.refused(ada, "advance_quest", quest="pests") == "not_finished"
    realm.realm.game.places.move_player(realm.player(ada), "town", 20.0, 20.0)
    gold = realm.player(ada).gold
    reward = await realm.act(ada, "advance_quest", quest="pests")
    assert (reward["tier"], reward["result"]["gold"]) == (1, gold + WORLD.quests["pests"].reward.gold)
    assert {"item": "potion", "count": 1, "slot": 1} in reward["result"]["inventory"]
    assert await realm.refused(ada, "advance_quest", quest="pests") == "no_such_quest"
    again = await realm.act(ada, "advance_quest", op=reward["op_id"], quest="pests")
    assert (again["repeated"], realm.player(ada).gold) == (True, reward["result"]["gold"])


async def test_visiting_counts_for_a_quest(realm: Lab, ada: LabPeer) -> None:
    await realm.done(ada, "accept_quest", quest="scout")
    realm.realm.game.places.move_player(realm.player(ada), "town", 20.0, 39.5)
    assert await realm.refused(ada, "advance_quest", quest="scout") == "not_finished"
    await realm.done(ada, "move", x=20.0, y=40.5)
    assert (await realm.done(ada, "advance_quest", quest="scout"))["completed"] is False
    await realm.clock.advance(1)
    await realm.done(ada, "move", x=20.0, y=39.5)
    assert (await realm.done(ada, "advance_quest", quest="scout"))["completed"] is True


async def test_mail_reaches_the_present_the_absent_and_nobody_else(realm: Lab, ada: LabPeer) -> None:
    bob = await realm.join(8)
    sent = await realm.done(ada, "mail", player=8, gold=30)
    assert (sent["gold"], sent["sent"]) == (70, {"gold": 30})
    await realm.clock.settle()
    assert realm.player(bob).gold == 130
    assert [event["sent"] for event in bob.events("mail")] == [{"gold": 30}]
    realm.say(bob, {"type": "logout"})
    await realm.clock.settle()
    await realm.outfit(ada, items={"dagger": 1})
    serial = realm.player(ada).inventory[-1].serial
    await realm.done(ada, "mail", player=8, slot=1, count=1)
    await realm.done(ada, "mail", player=8, slot=0, count=1)
    bob = await realm.join(8)
    held = {(item.item_id, item.count, item.serial) for item in realm.player(bob).inventory}
    assert held == {("bread", 4, None), ("dagger", 1, serial)}
    assert await realm.refused(ada, "mail", player=999, gold=1) == "no_such_player"
    assert await realm.refused(ada, "mail", player=7, gold=1) == "not_to_oneself"
    assert await realm.refused(ada, "mail", player=8, gold=71) == "not_enough_gold"


@pytest.mark.parametrize("how", ["in grace", "logged out"])
async def test_who_was_away_hears_of_the_mail_after_coming_in(realm: Lab, ada: LabPeer, how: str) -> None:
    eve = await realm.come_in({"type": "register", "username": "eve", "password": "correct-horse-battery"})
    if how == "in grace":
        realm.drop(eve)
    else:
        realm.say(eve, {"type": "logout"})
    await realm.realm.game.background.wait_finished()
    await realm.done(ada, "mail", player="eve", gold=1)
    await realm.done(ada, "mail", player="eve", gold=2)
    await realm.clock.settle()
    known = {"ticket": eve.heard[0]["ticket"]}
    if how == "logged out":  # which ends the ticket, too
        known = {"username": "eve", "password": "correct-horse-battery"}
    again = await realm.come_in({"type": "login", **known})
    await realm.clock.settle()
    auth_ok, *events = again.heard
    assert (auth_ok["type"], auth_ok["resumed"]) == ("auth_ok", how == "in grace")
    assert realm.player(again).gold == 103
    assert [(event["kind"], event["sent"]) for event in events] == [("mail", {"gold": 1}), ("mail", {"gold": 2})]
    third = await realm.come_in({"type": "login", "ticket": auth_ok["ticket"]})
    assert third.events("mail") == [], "nobody hears of it twice"


async def test_mail_that_finds_no_room_waits_and_moves_in_later(realm: Lab, ada: LabPeer) -> None:
    bob = await realm.join(8)
    await realm.outfit(bob, items={"arrow": 1})
    for _ in range(22):
        await realm.outfit(bob, items={"dagger": 1})
    await realm.outfit(ada, items={"sword": 1})
    serial = realm.player(ada).inventory[-1].serial
    await realm.done(ada, "mail", player=8, slot=1, count=1)
    await realm.clock.settle()
    assert [parcel.serial for parcel in realm.player(bob).parcels] == [serial]
    made_room = await realm.done(bob, "drop", slot=0, count=3)
    assert made_room["parcels"] == 0
    assert serial in [item.serial for item in realm.player(bob).inventory]


@pytest.mark.parametrize("stored_as", ["mail", "plain"])
async def test_mail_of_the_blocked_is_refused_and_comes_back_if_it_was_under_way(
    realm: Lab, ada: LabPeer, stored_as: str
) -> None:
    bob = await realm.join(8)
    await realm.done(bob, "block", player=7)
    assert await realm.refused(ada, "mail", player=8, gold=30) == "blocked"
    assert realm.player(ada).gold == 100
    session = realm.keeper.session(Player, 7)
    assert session is not None
    plain = {"from": 7, "name": realm.player(ada).name, "gold": 30}
    typed = MailLetter(sender=7, sender_name="player7", receiver=8, receiver_name="player8", gold=30)

    def was_sent_before(player: Player) -> None:
        realm.keeper.tx.adjust("a test")
        player.gold -= 30
        realm.keeper.tx.deliver(Player, 8, typed if stored_as == "mail" else plain)

    await realm.keeper.commit(was_sent_before, session)
    await realm.clock.settle()
    assert (realm.player(ada).gold, realm.player(bob).gold) == (100, 100)
    (back,) = ada.events("mail")
    assert (back["returned"], back["player"], back["name"], back["sent"]) == (True, 8, "player8", {"gold": 30})
    assert back.get("reason") == ("blocked" if stored_as == "mail" else None)
    assert bob.events("mail") == []


async def test_mail_of_before_there_were_types_still_arrives(realm: Lab, ada: LabPeer) -> None:
    await realm.join(8)
    session = realm.keeper.session(Player, 7)
    assert session is not None
    sword = {"from": 8, "name": "player8", "item": "sword", "count": 1, "serial": 77}
    letters = [sword, {"from": 8, "name": "player8", "gold": 3, "returned": True}]
    stored = [msgspec.json.encode([f"a{number}", letter]) for number, letter in enumerate(letters)]
    await realm.storage.write([Transaction([], [Append("player:7:inbox", each) for each in stored])])
    await session.open_letters()
    assert realm.player(ada).gold == 103
    assert 77 in [item.serial for item in realm.player(ada).inventory]
    assert [event["returned"] for event in ada.events("mail")] == [False, True]


async def test_what_comes_back_to_a_full_purse_waits_until_there_is_room(realm: Lab, ada: LabPeer) -> None:
    bob = await realm.join(8)
    await realm.done(bob, "block", player=7)
    sender = realm.keeper.session(Player, 7)
    assert sender is not None
    letter = MailLetter(sender=7, sender_name="player7", receiver=8, receiver_name="player8", gold=30)

    def sends_and_is_rich(player: Player) -> None:
        realm.keeper.tx.adjust("a test")
        realm.keeper.tx.deliver(Player, 8, letter)
        player.gold = GOLD_MAX - 5

    await realm.keeper.commit(sends_and_is_rich, sender)
    await realm.clock.settle()
    assert (realm.player(ada).gold, ada.events("mail")) == (GOLD_MAX - 5, [])

    def spends(player: Player) -> None:
        realm.keeper.tx.adjust("a test")
        player.gold = 0

    await realm.keeper.commit(spends, sender)
    await sender.open_letters()
    assert realm.player(ada).gold == 30
    assert [event["reason"] for event in ada.events("mail")] == ["blocked"]


async def test_friends_blocks_and_settings(realm: Lab, ada: LabPeer) -> None:
    await realm.join(8)
    assert (await realm.done(ada, "add_friend", player="player8"))["friends"] == [8]
    assert await realm.refused(ada, "add_friend", player=8) == "already_listed"
    assert await realm.refused(ada, "add_friend", player=7) == "not_oneself"
    assert await realm.refused(ada, "add_friend", player=404) == "no_such_player"
    assert (await realm.done(ada, "remove_friend", player=8))["friends"] == []
    assert await realm.refused(ada, "unblock", player=8) == "not_listed"
    kept = await realm.done(ada, "set", name="music_volume", value=0.5)
    assert kept["settings"] == {"music_volume": 0.5}
    for number in range(63):
        await realm.done(ada, "set", name=f"name_{number}", value=f"v{number}")
    assert await realm.refused(ada, "set", name="one_more", value=1) == "settings_full"
    await realm.done(ada, "set", name="name_5", value=None)


async def test_a_tier_1_intent_without_an_op_id_is_a_bad_field(realm: Lab, ada: LabPeer) -> None:
    for intent in (
        {"action": "buy", "item": "bread", "count": 1},
        {"action": "trade_confirm"},
        {"action": "mail", "player": 8, "gold": 1},
        {"action": "set", "name": "a", "value": 1},
    ):
        realm.say(ada, {"type": "intent", **intent})
        assert (ada.heard[-1]["type"], ada.heard[-1]["reason"]) == ("error", "bad_field")
    realm.say(ada, {"type": "intent", "action": "look"})
    assert ada.heard[-1]["type"] == "ack"


async def test_mail_to_a_full_inbox_is_refused_and_nothing_left(realm: Lab, ada: LabPeer) -> None:
    session = realm.keeper.session(Player, 7)
    assert session is not None
    await realm.keeper.commit(lambda _: realm.keeper.tx.create(Player, 9, Player(player_id=9, name="eve")), session)

    def filling(_: Player) -> None:
        for _number in range(500):
            realm.keeper.tx.deliver(Player, 9, {"from": 7, "gold": 0})

    for _ in range(2):
        await realm.keeper.commit(filling, session)
    assert await realm.refused(ada, "mail", player=9, gold=1) == "inbox_full"
    assert realm.player(ada).gold == 100


async def test_mail_of_one_player_fills_no_inbox_and_what_was_sent_is_answered_again(realm: Lab, ada: LabPeer) -> None:
    session = realm.keeper.session(Player, 7)
    assert session is not None
    await realm.keeper.commit(lambda _: realm.keeper.tx.create(Player, 9, Player(player_id=9, name="eve")), session)
    sent = await realm.act(ada, "mail", player=9, gold=1)

    def filling(_: Player) -> None:
        for _number in range(99):
            realm.keeper.tx.deliver(Player, 9, {"from": 7, "gold": 0})

    await realm.keeper.commit(filling, session)
    assert await realm.refused(ada, "mail", player=9, gold=1) == "inbox_full"
    assert (realm.player(ada).gold, realm.keeper.status().recoveries) == (99, 0)
    again = await realm.act(ada, "mail", op=sent["op_id"], player=9, gold=1)
    assert (again["type"], again["repeated"]) == ("ack", True)


@pytest.mark.parametrize("action", ["sell", "drop", "consume", "mail", "equip"])
async def test_what_a_client_saw_in_a_slot_is_what_its_action_is_about(realm: Lab, ada: LabPeer, action: str) -> None:
    await realm.join(8)
    await realm.outfit(ada, items={"sword": 1})
    sword = realm.player(ada).inventory[-1]
    assert sword.serial is not None
    fields: Message = {"slot": sword.slot} | ({} if action == "equip" else {"count": 1})
    fields |= {"player": 8} if action == "mail" else {}
    assert await realm.refused(ada, action, **fields, item="arrow") == "slot_changed"
    assert await realm.refused(ada, action, **fields, item="sword", serial=sword.serial + 1) == "slot_changed"
    assert sword in realm.player(ada).inventory
    answer = await realm.act(ada, action, **fields, item="sword", serial=sword.serial)
    assert answer.get("reason") == ("not_edible" if action == "consume" else None)


async def test_a_price_that_changed_since_the_client_saw_it_is_not_paid(realm: Lab, ada: LabPeer) -> None:
    assert await realm.refused(ada, "buy", item="bread", count=1, price_max=3) == "price_changed"
    assert (await realm.done(ada, "buy", item="bread", count=1, price_max=4))["price"] == 4
    assert await realm.refused(ada, "sell", slot=0, count=1, price_min=3) == "price_changed"
    assert (await realm.done(ada, "sell", slot=0, count=1, price_min=2))["price"] == 2
    assert realm.player(ada).gold == 98


async def test_a_thing_on_the_ground_that_is_another_by_now_is_not_picked_up(realm: Lab, ada: LabPeer) -> None:
    place = realm.realm.game.places.place_of(realm.player(ada))
    thing = place.lay_common("arrow", 1, realm.player(ada).x, realm.player(ada).y, decays_s=None)
    assert await realm.refused(ada, "pickup", ground_id=thing.ground_id, item="sword") == "gone"
    assert (await realm.done(ada, "pickup", ground_id=thing.ground_id, item="arrow"))["item"] == "arrow"


def test_an_intent_that_says_nothing_new_is_written_as_it_always_was() -> None:
    """The written intent tells whether an operation is the same when it is sent again, after an update too."""
    intent = read_intent({"type": "intent", "action": "sell", "slot": 1, "count": 2})
    assert msgspec.json.encode(intent) == b'{"action":"sell","slot":1,"count":2}'
