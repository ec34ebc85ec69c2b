import math
from importlib import resources
from typing import Any

import pytest
from lab import WORLD

from realmkeep.accounts.usernames import USERNAME_CHARS_MAX, check_username
from realmkeep.errors import ConfigError
from realmkeep.realm.actions.looking import SEEN_MAX, look
from realmkeep.realm.actions.scene import Scene, Serials
from realmkeep.realm.server.login_flow import new_player
from realmkeep.realm.wire.intents import Look
from realmkeep.realm.wire.syntax import Syntax, encode
from realmkeep.realm.wire.udp_socket import DATAGRAM_BYTES_MAX
from realmkeep.realm.world import player as limits
from realmkeep.realm.world.places import Monster, Places
from realmkeep.realm.world.player import Item, Player, QuestProgress, StoredItem, WornItem, level_of
from realmkeep.realm.world.state import state
from realmkeep.realm.world.world_file import read_world
from realmkeep.realm.world.zone import GroundItem, Zone
from realmkeep.records import load
from realmkeep.testing.specification import specification_player

TEXT = resources.files("realmkeep.realm.world").joinpath("world.toml").read_text()


def problems(before: str, after: str) -> list[str]:
    assert before in TEXT
    changed = TEXT.replace(before, after, 1)
    with pytest.raises(ConfigError) as caught:
        read_world(changed, "world.toml")
    return caught.value.message.splitlines()


def line_of(text: str, *, changed: str = TEXT) -> int:
    return changed[: changed.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ("bread = { stackable = true, price = 4", "bread = { stackable = true, price = -4", "items.bread.price"),
        ("bread = { stackable = true", "bread = { stackable = 1", "items.bread.stackable"),
        ("heals = 15", "heels = 15", "items.bread.heels"),
        ("rat = { hp = 12", "rat = { hp = 0", "monsters.rat.hp"),
        ('loot = [{ item = "hide", chance = 0.6', 'loot = [{ item = "hide", chance = 6', "monsters.rat.loot[0].chance"),
        ('loot = [{ item = "hide", chance = 0.6', 'loot = [{ item = "hood", chance = 0.6', "monsters.rat.loot[0].item"),
        ('target = "rat", count = 3', 'target = "bat", count = 3', "quests.pests.stages[0].target"),
        ("items = { potion = 1 }", "items = { poison = 1 }", "quests.pests.reward.items"),
        ("x = 24.0", "x = 240.0", "zones.town.ground[0].x"),
        ("arrival = [20.0, 20.0]", "arrival = [20.0, 99.0]", "zones.town.arrival"),
        ('start_zone = "town"', 'start_zone = "cave"', "rules.start_zone"),
        ("walk_burst_s = 1.0", "walk_burst = 1.0", "rules.walk_burst"),
        ('sells = ["bread"', 'sells = ["brot"', "zones.town.shops[0].sells"),
        ("berry = {", "Berry = {", "items.Berry"),
        ('item = "dagger"', 'count = 2\nitem = "dagger"', "zones.forest.ground[1].count"),
        ('item = "shield", chance = 0.1', 'item = "shield", count = 2, chance = 0.1', "monsters.troll.loot[1].count"),
        ("arrow = { stackable = true", 'arrow = { stackable = true, equipment = "weapon"', "items.arrow.equipment"),
        ("arrow = {", "gold = { stackable = true, price = 1 }\narrow = {", "items.gold"),
        ("start_items = { bread = 3 }", "start_items = { bread = 10000 }", "rules.start_items"),
        ("start_items = { bread = 3 }", "start_items = { dagger = 25 }", "rules.start_items"),
        ("items = { potion = 1 }", "items = { helmet = 20, shield = 5 }", "quests.pests.reward.items"),
        ('item = "fang", chance', 'item = "fang", count = 99999, chance', "monsters.wolf.loot[0].count"),
        ('item = "berry"', 'count = 99999\nitem = "berry"', "zones.town.ground[0].count"),
        ("spread_tiles = 10.0", "spread_tiles = 60.0", "zones.meadow.monsters[3].spread_tiles"),
    ],
)
def test_whatever_is_wrong_in_the_data_file_is_named_with_its_line(before: str, after: str, path: str) -> None:
    first = problems(before, after)[0]
    assert first.startswith(f"world.toml:{line_of(before)}: {path}: ")


def test_a_file_that_is_no_toml_names_the_line_too() -> None:
    (problem,) = problems("[items]", "[items")
    assert f"line {line_of('[items]')}" in problem


def test_all_problems_are_told_at_once() -> None:
    text = (
        TEXT.replace("price = 4,", "price = -4,")
        .replace("price = 12,", "price = -12,")
        .replace("[zones.town]", "[zoo]")
    )
    with pytest.raises(ConfigError) as caught:
        read_world(text, "w")
    assert len(caught.value.message.splitlines()) >= 3


def test_a_pack_is_spread_within_its_circle_and_nobody_stands_on_anothers_place() -> None:
    for zone in WORLD.zones.values():
        for pack in zone.monsters:
            lairs = [*pack.lairs()]
            assert len({*lairs}) == len(lairs) == pack.count
            assert lairs[0] == (pack.x, pack.y)
            assert all(math.dist(lair, (pack.x, pack.y)) <= pack.spread_tiles for lair in lairs)


def test_zones_must_not_overlap() -> None:
    assert any("overlaps" in problem for problem in problems("east = 40.0", "east = 60.0"))


SPECIFICATION_V1 = b"""(:version 1
 :player-id 12345
 :zone-id :overworld
 :x 150.0
 :y 200.0
 :hp 85
 :xp 1500
 :attack-level 10
 :strength-level 8
 :defense-level 12
 :hitpoints-level 15
 :inventory ((:item-id :sword :count 1 :slot 0)
             (:item-id :coins :count 500 :slot 1))
 :bank ((:item-id :coins :count 10000))
 :quest-progress ((:quest-id :tutorial :stage 3 :complete t))
 :achievements (:first-blood :level-10)
 :friends (12346 12347)
 :settings (:music-volume 0.5 :sfx-volume 0.8))"""


def test_the_specifications_own_player_of_version_1_is_served() -> None:
    player = load(SPECIFICATION_V1, Player).record
    assert player is not None
    assert (player.player_id, player.hp, player.xp, player.lifetime_xp) == (12345, 85, 1500, 1500)
    assert (player.gold, player.bank_gold) == (500, 10_000)
    assert player.inventory == [Item("sword", 1, 0)]
    assert player.bank == []
    assert (player.level, player.max_hp) == (level_of(1500), 150)
    assert player.friends == [12346, 12347]
    assert player.settings == {"music_volume": 0.5, "sfx_volume": 0.8}
    assert specification_player().hp == player.hp


@pytest.mark.parametrize(("xp", "level"), [(0, 1), (49, 1), (50, 2), (149, 2), (150, 3), (10**9, limits.LEVEL_MAX)])
def test_levels(xp: int, level: int) -> None:
    assert level_of(xp) == level


NAME = check_username("\U00020000" * USERNAME_CHARS_MAX)  # letters of four bytes: the longest name there can be
LONG = 2.2250738585072014e-308  # no number takes more characters, and a client may stand there


def fullest_player() -> Player:
    """As much as the caps allow, with the longest names and numbers."""
    big = limits.GOLD_MAX
    name = max(WORLD.items, key=len)
    player = Player(player_id=big, name=NAME, zone_id=max(WORLD.zones, key=len), x=LONG, y=LONG)
    player.hp, player.combat_until_us, player.deaths = 1_090, big, 999_999
    player.xp = player.lifetime_xp = big
    player.level = player.attack_level = player.strength_level = player.defense_level = 99
    player.hitpoints_level = 109
    player.inventory = [Item(name, 1, slot, big - slot) for slot in range(limits.INVENTORY_SLOTS)]
    player.equipment = {kind.equipment: WornItem(name, big) for kind in WORLD.items.values() if kind.equipment}
    player.bank = [StoredItem(name, 1, big - entry) for entry in range(limits.BANK_ENTRIES_MAX)]
    player.gold = player.bank_gold = big
    player.quest_progress = [QuestProgress(quest, 9, 999_999, complete=True) for quest in WORLD.quests]
    player.achievements = ["first_blood", "level_5", "level_10", "level_25"]
    player.friends = [big - number for number in range(limits.FRIENDS_MAX)]
    player.blocked = [big - number for number in range(limits.BLOCKED_MAX)]
    return player


def fullest_settings() -> dict[str, Any]:
    """64 settings that take all the bytes there are."""
    each = limits.SETTINGS_BYTES_MAX // limits.SETTINGS_MAX - 1
    return {f"setting_{number:02}": "x" * (each - len('"setting_00":"",')) for number in range(limits.SETTINGS_MAX)}


@pytest.mark.parametrize("syntax", Syntax)
def test_the_longest_auth_ok_fits_a_datagram(syntax: Syntax) -> None:
    player = fullest_player()
    player.settings = fullest_settings()
    assert len(encode(player.settings, Syntax.JSON)) <= limits.SETTINGS_BYTES_MAX
    auth_ok = {
        "type": "auth_ok",
        "player_id": limits.GOLD_MAX,
        "sid": "f" * 32,
        "last_op": limits.GOLD_MAX,
        "sealed_ticket": "f" * 300,
        "resumed": True,
        "state": state(player, 0),
    }
    assert len(encode(auth_ok, syntax)) <= DATAGRAM_BYTES_MAX


@pytest.mark.parametrize("syntax", Syntax)
def test_the_longest_look_fits_a_datagram(syntax: Syntax) -> None:
    places = Places(WORLD, {name: Zone() for name in WORLD.zones}, 0)
    scene = Scene(None, WORLD, places, Serials(), None, now_s=0.0, wall_us=0)  # pyright: ignore[reportArgumentType] - looking needs neither
    player = new_player(WORLD, 1, "ada")
    places.add_player(player)
    town = places.place_of(player)
    x, y = 20.123456789012345, 20.123456789012345
    for number in range(3 * SEEN_MAX):
        other = new_player(WORLD, limits.GOLD_MAX - number, NAME)
        other.x, other.y = x, y
        places.add_player(other)
        town.show_serial(GroundItem(max(WORLD.items, key=len), limits.GOLD_MAX - number, x, y))
        monster = Monster(number, max(WORLD.monsters, key=len), WORLD.monsters["rat"], "", x, y, x, y, 999_999)
        town.monsters[number] = monster
    seen = look(player, scene, Look())
    assert [len(seen[kind]) for kind in ("players", "ground", "monsters")] == [SEEN_MAX] * 3
    ack = {"type": "ack", "op_id": limits.GOLD_MAX, "action": "look", "tier": 2, "result": seen, "repeated": False}
    assert len(encode(ack, syntax)) <= DATAGRAM_BYTES_MAX
