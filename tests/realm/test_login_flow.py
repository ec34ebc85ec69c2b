"""What a login mends of older records, and what it costs."""

import asyncio
from typing import Any

import pytest
from lab import Lab, LabPeer

from realmkeep.accounts import Account
from realmkeep.accounts.tickets import issue_ticket
from realmkeep.errors import AuthFailed
from realmkeep.realm.actions.scene import SERIALS_PER_BLOCK
from realmkeep.realm.server.login_flow import LOGIN_PRICE, new_player
from realmkeep.realm.wire.limits import MESSAGES_BURST
from realmkeep.realm.world.player import Item, Player, StoredItem, WornItem


async def comes_in(realm: Lab, player: Player, *, stored: bool = True) -> LabPeer:
    """A player whose record was stored before, or is still to be, on a ticket."""
    account = Account(username=player.name, character_ids=[player.player_id])
    ticket = issue_ticket(account, player.player_id, realm.clock.wall_us() // 1_000_000)
    account.tickets = ticket.kept
    await realm.clock.finish(realm.keeper.unowned(Account).create(player.name, account))
    if stored:
        await realm.clock.finish(realm.keeper.table(Player).save(player.player_id, player))
    peer = LabPeer(player.name, realm.clock.monotonic_s())
    realm.say(peer, {"type": "login", "ticket": ticket.ticket})
    await realm.clock.settle()
    return peer


async def ticket_of_another_device(realm: Lab, username: str) -> str:
    stored_accounts = realm.keeper.unowned(Account)
    found = await realm.clock.finish(stored_accounts.get(username))
    assert found is not None
    issued = issue_ticket(found.record, None, realm.clock.wall_us() // 1_000_000)
    found.record.tickets = issued.kept
    assert await realm.clock.finish(stored_accounts.replace(username, found, found.record))
    return issued.ticket


async def test_who_cannot_be_let_in_for_whatever_reason_is_told(realm: Lab) -> None:
    await realm.clock.finish(realm.storage.save("player:9:owner", b"somebody"))
    (answer,) = (await comes_in(realm, new_player(realm.realm.game.world, 9, "eva"), stored=False)).heard
    assert answer == {"type": "auth_fail", "reason": "quarantined"}


def of_old(realm: Lab) -> Player:
    """A player as a Lisp server leaves one: nothing has a serial."""
    player = new_player(realm.realm.game.world, 9, "eva")
    player.inventory = [Item("bread", 5, 0), Item("dagger", 3, 1), Item("rune", 500, 2)]
    player.equipment = {"head": WornItem("helmet")}
    player.bank = [StoredItem("sword", 2), StoredItem("potion", 7), StoredItem("crown", 1, 77)]
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
        game.serials.take_serial()
    (answer,) = (await comes_in(realm, of_old(realm))).heard
    assert answer["type"] == "auth_ok"


async def test_in_and_out_and_in_again_a_player_says_no_more_than_in_one_session(realm: Lab) -> None:
    """The limit belongs to the player: neither another login nor another connection brings a new one."""
    peer = await comes_in(realm, new_player(realm.realm.game.world, 9, "eva"))
    allowance = peer.bucket
    ticket = peer.heard[0]["ticket"]
    logins = 1
    while True:
        again = LabPeer("elsewhere", realm.clock.monotonic_s())
        realm.say(again, {"type": "login", "ticket": ticket})
        await realm.clock.settle()
        answer = again.heard[0]
        if answer["type"] == "auth_fail":
            break
        assert again.bucket is allowance
        ticket, logins = answer["ticket"], logins + 1
    assert (answer["reason"], logins) == ("throttled", MESSAGES_BURST // LOGIN_PRICE)
    assert not allowance.take(realm.clock.monotonic_s(), LOGIN_PRICE), "logins are paid from what may be said"
    await realm.clock.advance(1)
    later = LabPeer("elsewhere", realm.clock.monotonic_s())
    realm.say(later, {"type": "login", "ticket": ticket})
    await realm.clock.settle()
    assert later.heard[0]["type"] == "auth_ok"


async def test_a_logout_forgets_nothing_of_what_was_said(realm: Lab) -> None:
    peer = await comes_in(realm, new_player(realm.realm.game.world, 9, "eva"))
    assert peer.bucket.take(realm.clock.monotonic_s(), MESSAGES_BURST - LOGIN_PRICE)
    ticket = await ticket_of_another_device(realm, "eva")
    realm.say(peer, {"type": "logout"})
    await realm.clock.settle()
    again = LabPeer("elsewhere", realm.clock.monotonic_s())
    realm.say(again, {"type": "login", "ticket": ticket})
    await realm.clock.settle()
    assert again.heard[0]["reason"] == "throttled"


async def test_logins_under_way_are_bounded(realm: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    started = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        await started.wait()
        raise AuthFailed("late", reason="unavailable")

    monkeypatch.setattr(realm.realm.game.accounts, "login_with_ticket", never)
    monkeypatch.setattr("realmkeep.realm.server.login_flow.PENDING_MAX", 5)
    peers = [LabPeer(f"peer-{number}", realm.clock.monotonic_s()) for number in range(8)]
    for peer in peers:
        realm.say(peer, {"type": "login", "ticket": "t"})
    await realm.clock.settle()
    assert [message["reason"] for peer in peers for message in peer.heard] == ["rate_limited"] * 3
    started.set()
    await realm.clock.settle()
    realm.say(peers[-1], {"type": "login", "ticket": "t"})
    await realm.clock.settle()
    assert peers[-1].heard[-1]["reason"] == "unavailable", "heard again"


@pytest.mark.parametrize("leaves", [False, True])
async def test_of_two_who_come_in_while_a_record_is_mended_one_is_in(
    realm: Lab, monkeypatch: pytest.MonkeyPatch, *, leaves: bool
) -> None:
    """The second takes the player over from the first, which must not let go of what it has not any more."""
    go_on = asyncio.Event()
    commit = realm.keeper.commit

    async def slow(*args: Any, **how: Any) -> Any:
        await go_on.wait()
        return await commit(*args, **how)

    monkeypatch.setattr(realm.keeper, "commit", slow)
    first = await comes_in(realm, of_old(realm))
    assert first.heard == []
    second = LabPeer("eva", realm.clock.monotonic_s())
    realm.say(second, {"type": "login", "ticket": await ticket_of_another_device(realm, "eva")})
    await realm.clock.settle()
    if leaves:
        realm.drop(second)
    go_on.set()
    await realm.clock.settle()
    assert first.closed
    assert [message["type"] for message in first.heard] == ["auth_fail"]
    assert not first.logged_in
    connection = realm.realm.game.connections.by_id[9]
    if leaves:
        assert connection.peer is None
        assert not connection.session.connected
    else:
        assert [message["type"] for message in second.heard] == ["auth_ok"]
        assert connection.peer is second
        assert connection.session.connected
        assert connection.login is not None
        assert (await realm.act(second, "look"))["type"] == "ack"
