"""Acts on players: stored, live here, live on another server that stops answering or dies; once, and audited."""

import asyncio
from typing import Any

import msgspec
import pytest

from keeping.game import Player
from operations.operators.people import ADMIN, PLAYERS, SUPPORT, VIEWER, acts_at, audited
from realmkeep import keys
from realmkeep.accounts.account import Account
from realmkeep.config import KeeperConfig, OperatorsConfig
from realmkeep.errors import ActPending, ActRefused, OpReused, StorageUnavailable
from realmkeep.keeping import Session
from realmkeep.operations.operators.acts import Acts
from realmkeep.operations.operators.audit import AuditTrail
from realmkeep.operations.operators.control import POLL_S, control_list, send_order
from realmkeep.operations.operators.orders import Edit, Order
from realmkeep.operations.operators.players import LiveGame, Players
from realmkeep.storage import Append, Put, Transaction
from realmkeep.testing.lab import Lab

CONFIG = KeeperConfig(lease_ttl_s=10.0, heartbeat_s=3.0)


async def ada_at(lab: Lab, server: str = "lab-1", gold: int = 5) -> Session[Player]:
    keeper = lab.keeper_of(server)
    assert keeper is not None
    return await keeper.login(Player, 1, create=lambda: Player(name="Ada", gold=gold))


async def town(lab: Lab, live: LiveGame | None = None) -> Session[Player]:
    """A second server that runs the acts of operators, with player 1 live there."""
    control_list(await lab.server("town"), PLAYERS, live)
    return await ada_at(lab, "town")


async def told(lab: Lab) -> list[tuple[str, str, str, dict[str, Any]]]:
    return [(entry.operator, entry.act, entry.target, entry.details) for entry in await audited(lab)]


EDITED = [("a-admin", "edit", "rover:1", {"field": "gold", "before": 5, "after": 50})]


async def test_a_stored_player_is_edited_under_a_claim() -> None:
    async with Lab() as lab:
        await (await ada_at(lab)).logout()
        outcome = await acts_at(lab.keeper).edit(ADMIN, 1, "gold", 50, reason="lost in a bug")
        assert (outcome.entry, outcome.server) == (1, "lab-1")
        stored = lab.stored(Player, 1)
        assert stored is not None
        assert stored.gold == 50
        assert lab.store.value("rover:1:owner") is None
        assert await told(lab) == EDITED
        (entry,) = await audited(lab)
        assert (entry.reason, entry.role, entry.act_id) == ("lost in a bug", "admin", outcome.act_id)


async def test_a_player_who_is_live_here_is_edited_in_a_commit_and_the_game_is_told_inside_it() -> None:
    seen: list[int] = []
    async with Lab() as lab:
        ada = await ada_at(lab)
        live = LiveGame(changed=lambda session: seen.append(session.record.gold))
        await acts_at(lab.keeper, live).edit(ADMIN, 1, "gold", 50, reason="x")
        assert (ada.record.gold, seen) == (50, [50])
        stored = lab.stored(Player, 1)
        assert stored is not None
        assert stored.gold == 50
        assert await told(lab) == EDITED


async def test_a_player_who_is_live_elsewhere_is_edited_there() -> None:
    async with Lab() as lab:
        ada = await town(lab)
        outcome = await acts_at(lab.keeper).edit(ADMIN, 1, "gold", 50, reason="x")
        assert (outcome.server, ada.record.gold) == ("town", 50)
        assert await told(lab) == EDITED
        await lab.advance(2 * POLL_S)
        assert await lab.line().load_list(keys.server_control("town")) == []


async def test_an_act_that_is_asked_for_again_is_answered_and_does_not_happen_again() -> None:
    async with Lab() as lab:
        ada = await town(lab)
        acts = acts_at(lab.keeper)
        first = await acts.gift(SUPPORT, 1, "gold", 10, reason="x", act_id="one")
        again = await acts.gift(SUPPORT, 1, "gold", 10, reason="x", act_id="one")
        await ada.logout()
        stored = await acts.gift(SUPPORT, 1, "gold", 10, reason="x", act_id="one")
        assert first == again == stored
        assert len(await audited(lab)) == 1
        found = lab.stored(Player, 1)
        assert found is not None
        assert found.gold == 15
        with pytest.raises(OpReused):
            await acts.gift(SUPPORT, 1, "gold", 11, reason="x", act_id="one")


async def test_an_edit_is_asked_for_again_with_the_value_that_it_made() -> None:
    async with Lab() as lab:
        await ada_at(lab)
        acts = acts_at(lab.keeper)
        first = await acts.edit(ADMIN, 1, "gold", 9, reason="x", expected=(5,), act_id="one")
        assert await acts.edit(ADMIN, 1, "gold", 9, reason="x", expected=(9,), act_id="one") == first


async def test_an_order_that_lies_in_the_list_twice_runs_once() -> None:
    async with Lab() as lab:
        ada = await town(lab)
        change = Edit(field="xp", value=3)
        order = Order(
            act_id="one",
            act="edit",
            operator="a",
            role="admin",
            target="rover:1",
            reason="x",
            change=change,
            expires_us=2**60,
        )
        for _ in range(2):
            await send_order(lab.line(), "town", order)
        await lab.advance(4 * POLL_S)
        assert (ada.record.xp, len(await audited(lab))) == (3, 1)


async def test_a_server_that_dies_after_the_commit_and_before_the_list_is_shorter_runs_it_once() -> None:
    async with Lab(config=CONFIG) as lab:
        await town(lab)
        line = lab.line("town")
        acts = acts_at(lab.keeper)
        asking = asyncio.create_task(acts.gift(SUPPORT, 1, "gold", 10, reason="x", act_id="one"))
        while not await audited(lab):
            await lab.advance(0.01)
            if await lab.line().load(keys.SERVER_AUDIT_HEAD):
                line.down = True  # the list keeps the order
        line.down = True
        outcome = await asking
        await lab.crash("town")
        await lab.line().write([Transaction([], [Append(keys.server_control("town"), b"{")])])
        control_list(await lab.server("town"), PLAYERS)
        await ada_at(lab, "town")
        await lab.advance(4 * POLL_S)
        assert await acts.gift(SUPPORT, 1, "gold", 10, reason="x", act_id="one") == outcome
        found = lab.stored(Player, 1)
        assert found is not None
        assert (found.gold, len(await audited(lab))) == (15, 1)


async def test_a_server_that_dies_before_it_runs_the_act_leaves_it_to_the_asker() -> None:
    async with Lab(config=CONFIG) as lab:
        await town(lab)
        lab.line("town").down = True
        asking = asyncio.create_task(acts_at(lab.keeper).edit(ADMIN, 1, "gold", 50, reason="x"))
        await lab.advance(1)
        await lab.crash("town")
        outcome = await asking
        assert outcome.server == "lab-1"
        found = lab.stored(Player, 1)
        assert found is not None
        assert found.gold == 50
        control_list(await lab.server("town"), PLAYERS)  # the order still lies in its list
        ada = await ada_at(lab, "town")
        await lab.advance(4 * POLL_S)
        assert (ada.record.gold, await told(lab)) == (50, EDITED)


async def test_a_live_server_that_does_not_run_acts_leaves_the_outcome_open() -> None:
    async with Lab(config=CONFIG) as lab:
        await lab.server("town")
        ada = await ada_at(lab, "town")
        with pytest.raises(ActPending, match="has not answered") as pending:
            await acts_at(lab.keeper).edit(ADMIN, 1, "gold", 50, reason="x", act_id="one")
        assert "one" in pending.value.hint
        await lab.advance(700)
        keeper = lab.keeper_of("town")
        assert keeper is not None
        control_list(keeper, PLAYERS)  # it begins to run them after the order has expired
        await lab.advance(4 * POLL_S)
        assert (ada.record.gold, await audited(lab)) == (5, [])
        assert await lab.line().load_list(keys.server_control("town")) == []


async def test_a_refusal_at_the_owner_reaches_the_asker_and_changes_nothing() -> None:
    async with Lab() as lab:
        ada = await town(lab)
        acts = acts_at(lab.keeper)
        for refused, error in [
            (acts.edit(ADMIN, 1, "gold", -1, reason="x"), "at least 0"),
            (acts.edit(ADMIN, 1, "gold", 9, reason="x", expected=(4,)), "is 5 by now"),
            (acts.gift(ADMIN, 1, "bread", 1, reason="x"), "no bread"),
            (acts.move(ADMIN, 1, "nowhere", reason="x"), "the game refuses"),
            (acts.gift(ADMIN, 1, "gold", 0, reason="x"), "none"),
            (acts.edit(ADMIN, 1, "gold", 9, reason=" "), "needs a reason"),
            (acts.edit(ADMIN, 2, "gold", 9, reason="x"), "no rover '2'"),
        ]:
            with pytest.raises(ActRefused, match=error):
                await refused
        assert (ada.record.gold, ada.record.x, await audited(lab)) == (5, 0.0, [])
        assert (await acts.edit(ADMIN, 1, "gold", 9, reason="x", expected=(5,))).entry == 1


async def test_a_game_without_gifts_or_moves_refuses_them() -> None:
    async with Lab() as lab:
        await ada_at(lab)
        acts = Acts(lab.keeper, Players(Player), OperatorsConfig())
        with pytest.raises(ActRefused, match="no gifts"):
            await acts.gift(ADMIN, 1, "gold", 1, reason="x")
        with pytest.raises(ActRefused, match="no moves"):
            await acts.move(ADMIN, 1, "5", reason="x")


async def test_a_kick_begins_the_grace_and_a_release_ends_the_session() -> None:
    async with Lab() as lab:
        ada = await town(lab)
        acts = acts_at(lab.keeper)
        await acts.kick(SUPPORT, 1, reason="afk")
        assert not ada.connected
        assert not ada.ended
        await acts.release(SUPPORT, 1, reason="to mend it")
        await lab.advance(1)
        assert ada.ended
        with pytest.raises(ActRefused, match="not in the game"):
            await acts.kick(SUPPORT, 1, reason="afk")
        assert [entry.act for entry in await audited(lab)] == ["kick", "release"]


async def test_a_kick_of_the_game_closes_the_connection_with_the_reason() -> None:
    kicked: list[tuple[str, str]] = []
    async with Lab() as lab:
        await town(lab, LiveGame(kicked=lambda session, reason: kicked.append((session.id, reason))))
        await acts_at(lab.keeper).kick(SUPPORT, 1, reason="afk")
        assert kicked == [("1", "afk")]


async def test_a_record_that_cannot_be_saved_refuses_the_act() -> None:
    async with Lab() as lab:
        ada = await town(lab)
        ada.record.x = float("nan")
        with pytest.raises(ActRefused, match=r"rover|x "):
            await acts_at(lab.keeper).gift(ADMIN, 1, "gold", 1, reason="x")
        assert await audited(lab) == []


async def test_of_two_acts_at_once_the_later_is_taken_back_and_made_again_and_the_game_sees_each_state() -> None:
    seen: list[tuple[int, int]] = []
    async with Lab() as lab:
        ada, eve = await ada_at(lab), await lab.keeper.login(Player, 2, create=lambda: Player(name="Eve"))
        live = LiveGame(changed=lambda _: seen.append((ada.record.xp, eve.record.xp)))
        await asyncio.gather(
            acts_at(lab.keeper, live).edit(ADMIN, 1, "xp", 7, reason="x"),
            acts_at(lab.keeper, live).edit(ADMIN, 2, "xp", 8, reason="x"),
        )
        assert seen == [(7, 0), (7, 8), (7, 0), (7, 8)]  # both had read the same end of the trail
        assert [entry.sequence for entry in await audited(lab)] == [1, 2]
        assert (await AuditTrail(lab.line()).verify()).faults == ()


async def test_a_store_that_is_away_is_no_outcome() -> None:
    async with Lab() as lab:
        await ada_at(lab)
        lab.line().down = True
        with pytest.raises(StorageUnavailable):
            await acts_at(lab.keeper).gift(ADMIN, 1, "gold", 1, reason="x")


async def with_account(lab: Lab, name: str = "ada", character: int = 1) -> None:
    account = Account(username=name, password_hash="x", character_ids=[character])
    assert await lab.keeper.unowned(Account).create(name, account)


async def test_a_ban_and_its_entry_are_one_transaction_and_happen_once() -> None:
    async with Lab() as lab:
        await (await ada_at(lab)).logout()
        await with_account(lab)
        acts = acts_at(lab.keeper)
        week = 7 * 86_400
        first = await acts.ban(SUPPORT, 1, reason="cheats", lasts_s=week, act_id="one")
        found = await lab.keeper.unowned(Account).get("ada")
        assert found is not None
        assert found.record.ban is not None
        assert found.record.ban.until_s == lab.clock.wall_us() // 1_000_000 + week
        assert await acts.ban(SUPPORT, "ada", reason="cheats", lasts_s=week, act_id="one") == first
        view = await acts.show(VIEWER, 1)
        assert (view.account, view.ban) == ("ada", "cheats")
        await acts.unban(SUPPORT, "ada", reason="appeal")
        assert (await acts.show(VIEWER, 1)).ban == ""
        assert await told(lab) == [
            ("a-support", "ban", "account:ada", {"lasts_s": week}),
            ("a-support", "unban", "account:ada", {}),
        ]


async def test_bans_at_once_follow_each_other_in_the_trail() -> None:
    async with Lab() as lab:
        acts = acts_at(lab.keeper)
        for number in range(4):
            await (await lab.keeper.login(Player, number, create=Player)).logout()
            await with_account(lab, f"account-{number}", number)
        await asyncio.gather(*[acts.ban(ADMIN, number, reason="x") for number in range(4)])
        assert (await AuditTrail(lab.line()).verify()).entries == 4


async def test_a_player_without_an_account_cannot_be_banned() -> None:
    async with Lab() as lab:
        await (await ada_at(lab)).logout()
        with pytest.raises(ActRefused, match="no account has rover:1"):
            await acts_at(lab.keeper).ban(ADMIN, 1, reason="x")


async def test_players_are_found_by_id_name_and_account() -> None:
    async with Lab() as lab:
        for number, name in enumerate(("Ada", "Adam", "Eve", "")):
            await (await lab.keeper.login(Player, number, create=lambda name=name: Player(name=name))).logout()
        await with_account(lab, "nemo", 3)
        await lab.line().write([Transaction([], [Put("rover:9", b"?")])])
        acts = acts_at(lab.keeper)

        async def found(text: str) -> list[tuple[str, str]]:
            return sorted([(each.id, each.name) async for each in acts.find(VIEWER, text)])

        assert await found("aDA") == [("0", "Ada"), ("1", "Adam")]
        assert await found("2") == [("2", "Eve")]
        assert await found("nemo") == [("3", "")]
        assert await found("zoe") == []
        (broken,) = [each async for each in acts.find(VIEWER, "9")]
        assert "neither JSON" in broken.error


async def test_a_player_is_shown_with_its_owner_letters_and_fields() -> None:
    async with Lab() as lab:
        await town(lab)
        await lab.keeper.letters.send(Player, 1, {"gold": 1})
        view = await acts_at(lab.keeper).show(VIEWER, 1)
        assert (view.key, view.server, view.version, view.error) == ("rover:1", "town", 1, "")
        gold = next(field for field in view.fields if field.name == "gold")
        assert (gold.tier, gold.bounds, gold.value) == ("IMMEDIATE", "from 0", 5)
        assert msgspec.json.encode(view)
        await lab.line().write([Transaction([], [Put("rover:1", b"?")])])
        assert "neither JSON" in (await acts_at(lab.keeper).show(VIEWER, 1)).error


async def test_a_preview_shows_the_difference_and_changes_nothing() -> None:
    async with Lab() as lab:
        await town(lab)
        acts = acts_at(lab.keeper)
        preview = await acts.preview_edit(ADMIN, 1, "gold", 9)
        assert (preview.before, preview.after, preview.server, preview.guarded) == (5, 9, "town", True)
        assert not (await acts.preview_edit(ADMIN, 1, "xp", 9)).guarded
        with pytest.raises(ActRefused, match="at least 0"):
            await acts.preview_edit(ADMIN, 1, "gold", -9)
        assert await audited(lab) == []
