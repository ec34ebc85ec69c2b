"""What a login mends of older records."""

from lab import Lab, LabPeer

from realmkeep.accounts import Account
from realmkeep.accounts.tickets import issue_ticket
from realmkeep.realm.actions.scene import SERIALS_PER_BLOCK
from realmkeep.realm.server.entrance import new_player
from realmkeep.realm.world.player import Item, Player, Stored, Worn


async def comes_in(realm: Lab, player: Player, *, stored: bool = True) -> LabPeer:
    """A player whose record was stored before, or is still to be, on a ticket."""
    account = Account(username=player.name, character_ids=[player.player_id])
    ticket = issue_ticket(account, player.player_id, realm.clock.wall_us() // 1_000_000)
    account.tickets = ticket.kept
    await realm.clock.finish(realm.keeper.shelf(Account).create(player.name, account))
    if stored:
        await realm.clock.finish(realm.keeper.table(Player).save(player.player_id, player))
    peer = LabPeer(player.name, realm.clock.monotonic_s())
    realm.say(peer, {"type": "login", "ticket": ticket.ticket})
    await realm.clock.settle()
    return peer


async def test_who_cannot_be_let_in_for_whatever_reason_is_told(realm: Lab) -> None:
    await realm.clock.finish(realm.storage.save("player:9:owner", b"somebody"))
    (answer,) = (await comes_in(realm, new_player(realm.realm.game.world, 9, "eva"), stored=False)).heard
    assert answer == {"type": "auth_fail", "reason": "quarantined"}


def of_old(realm: Lab) -> Player:
    """A player as a Lisp server leaves one: nothing has a serial."""
    player = new_player(realm.realm.game.world, 9, "eva")
    player.inventory = [Item("bread", 5, 0), Item("dagger", 3, 1), Item("rune", 500, 2)]
    player.equipment = {"head": Worn("helmet")}
    player.bank = [Stored("sword", 2), Stored("potion", 7), Stored("crown", 1, 77)]
    return player


async def test_whatever_does_not_stack_gets_a_serial_and_nothing_is_lost(realm: Lab) -> None:
    state = (await comes_in(realm, of_old(realm))).heard[-1]["state"]
    held = [(item["item"], item["count"]) for item in state["inventory"]]
    assert sorted(held) == [("bread", 5), ("dagger", 1), ("dagger", 1), ("dagger", 1), ("rune", 500)]
    assert [(item["item"], item["count"]) for item in state["bank"]] == [
        ("sword", 1), ("sword", 1), ("potion", 7), ("crown", 1),
    ]  # fmt: skip
    listed = [*state["inventory"], *state["bank"], *state["equipment"].values()]
    serials = [item["serial"] for item in listed if item["item"] in {"dagger", "sword", "crown", "helmet"}]
    assert len(set(serials)) == 3 + 2 + 1 + 1
    assert 77 in serials
    assert not any("serial" in item for item in listed if item["item"] in {"bread", "potion", "rune"})


async def test_a_rush_of_older_players_waits_for_more_serials(realm: Lab) -> None:
    game = realm.realm.game
    for _ in range(SERIALS_PER_BLOCK):
        game.serials.take()
    (answer,) = (await comes_in(realm, of_old(realm))).heard
    assert answer["type"] == "auth_ok"
