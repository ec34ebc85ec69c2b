"""Whatever a player does with things, each slot holds one, nothing appears and nothing is gone."""

from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import WORLD, Lab

from realmkeep.realm.actions.items import equip, unequip
from realmkeep.realm.actions.scene import Scene, Serials
from realmkeep.realm.wire.intents import Equip, Unequip
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.inventory import bank, give, has_shared_slots, take, unbank, unpack_parcels
from realmkeep.realm.world.places import Places
from realmkeep.realm.world.player import INVENTORY_SLOTS, Item, Player, StoredItem
from realmkeep.realm.world.zone import Zone

QUIVER = msgspec.structs.replace(WORLD.items["arrow"], equipment="weapon", stack_max=5)
ODD = msgspec.structs.replace(WORLD, items={**WORLD.items, "quiver": QUIVER})  # as the reader refuses it today
PLACES = Places(ODD, {name: Zone() for name in ODD.zones}, 0)
SCENE = Scene(None, ODD, PLACES, Serials(), Random(7), now_s=0.0, wall_us=0)  # pyright: ignore[reportArgumentType] - nothing sends mail
THINGS = ("bread", "quiver", "sword", "helmet")

slots = st.integers(0, 5)
counts = st.integers(1, 4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.sampled_from(THINGS), counts),
        st.tuples(st.sampled_from(["take", "bank", "parcel"]), slots, counts),
        st.tuples(st.just("unbank"), st.sampled_from(THINGS), counts),
        st.tuples(st.just("equip"), slots, st.none()),
        st.tuples(st.just("unequip"), st.sampled_from(["weapon", "head"]), st.none()),
        st.tuples(st.just("unpack"), st.none(), st.none()),
    ),
    max_size=40,
)


def holdings(player: Player) -> Counter[tuple[str, int | None]]:
    held = Counter[tuple[str, int | None]]()
    for thing in (*player.inventory, *player.bank, *player.parcels):
        held[thing.item_id, thing.serial] += thing.count
    for worn in player.equipment.values():
        held[worn.item_id, worn.serial] += 1
    return held


class Hands:
    """One player's, in a world where a thing that stacks can be worn; they count what should be there."""

    def __init__(self) -> None:
        self.player = Player(player_id=7)
        self.expected = Counter[tuple[str, int | None]]()
        self.serial = 0

    def do(self, what: str, which: Any, count: Any) -> None:
        player = self.player
        match what:
            case "give" if ODD.items[which].stackable:
                give(player, ODD, which, count)
                self.expected[which, None] += count
            case "give":
                self.serial += 1
                give(player, ODD, which, 1, self.serial)
                self.expected[which, self.serial] += 1
            case "take":
                taken = take(player, which, count)
                self.expected[taken.item_id, taken.serial] -= taken.count
            case "bank":
                bank(player, ODD, take(player, which, count))
            case "unbank":
                for stored in unbank(player, which, count):
                    give(player, ODD, stored.item_id, stored.count, stored.serial)
            case "parcel":
                taken = take(player, which, count)
                player.parcels = [*player.parcels, StoredItem(taken.item_id, taken.count, taken.serial)]
            case "equip":
                equip(player, SCENE, Equip(which))
            case "unequip":
                unequip(player, SCENE, Unequip(which))
            case _:
                unpack_parcels(player, ODD)


@given(steps)
@settings(max_examples=200)
def test_each_slot_holds_one_thing_and_nothing_appears_or_is_gone(todo: list[tuple[str, Any, Any]]) -> None:
    hands = Hands()
    for step in todo:
        before = msgspec.to_builtins(hands.player)
        try:
            hands.do(*step)
        except ActionRefused:
            if step[0] in {"bank", "unbank"}:  # in a commit, which takes it all back
                hands.player = msgspec.convert(before, Player)
            assert msgspec.to_builtins(hands.player) == before, "what is refused changes nothing"
        assert not has_shared_slots(hands.player)
        assert all(0 <= item.slot < INVENTORY_SLOTS for item in hands.player.inventory)
        assert holdings(hands.player) == +hands.expected


def test_of_a_stack_one_is_worn_while_nothing_has_to_come_back_for_it() -> None:
    hands = Hands()
    hands.do("give", "quiver", 3)
    hands.do("equip", 0, None)
    with pytest.raises(ActionRefused, match="one item") as caught:
        hands.do("equip", 0, None)
    assert caught.value.reason == "slot_taken"
    assert [(item.item_id, item.count) for item in hands.player.inventory] == [("quiver", 2)]


async def test_two_things_in_one_slot_of_an_older_record_are_two_things_after_the_login(realm: Lab) -> None:
    ada = await realm.join(7)
    crowd = [Item("sword", 1, 3, 901), Item("helmet", 1, 3, 902), Item("bread", 2, 3)]

    def crowd_it(player: Player) -> None:
        realm.keeper.tx.adjust("a test")
        player.inventory = crowd

    await realm.clock.finish(realm.keeper.commit(crowd_it, realm.realm.game.connections.by_peer[ada].session))
    await realm.crash()
    await realm.start()
    await realm.realm.login_flow._fit(realm.realm.game.connections.by_id[7], "ada")
    await realm.clock.settle()
    held = realm.player_of(7).inventory
    assert sorted((item.item_id, item.serial) for item in held) == [("bread", None), ("helmet", 902), ("sword", 901)]
    assert len({item.slot for item in held}) == 3
