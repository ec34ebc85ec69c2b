"""Acts on accounts: locked, signed out, a new password, a new name; each with its entry in one transaction."""

import pytest

from keeping.game import Player
from operations.operators.people import ADMIN, AUTH, PASSWORD, SUPPORT, VIEWER, acts_at, audited
from realmkeep.accounts import verify_password
from realmkeep.accounts.account import Account, Ticket
from realmkeep.errors import ActRefused, AuthFailed, NotGranted
from realmkeep.keys import SERVER_ACCOUNT_NOTICES
from realmkeep.operations.operators.account_acts import AccountActs, new_password
from realmkeep.operations.operators.players import LiveGame
from realmkeep.testing.lab import Lab

TICKET = Ticket(character_id=1, digest="0" * 64, expires_s=2**31, family="1" * 32)


async def with_account(lab: Lab, name: str = "ada", character: int = 1) -> None:
    made = Account(username=name, password_hash="x", character_ids=[character], tickets=[TICKET])
    assert await lab.keeper.unowned(Account).create(name, made)


async def account(lab: Lab, name: str = "ada") -> Account | None:
    found = await lab.keeper.unowned(Account).get(name)
    return None if found is None else found.record


async def test_a_lock_ends_sessions_and_refuses_logins_until_it_is_ended() -> None:
    async with Lab() as lab:
        await with_account(lab)
        acts = AccountActs(acts_at(lab.keeper), AUTH)
        await acts.lock(SUPPORT, "Ada", reason="stolen")
        locked = await account(lab)
        assert locked is not None
        assert (locked.is_banned(0), locked.locked, locked.tickets, locked.epoch) == (True, "stolen", [], 1)
        assert b"ada" in (lab.store.value(SERVER_ACCOUNT_NOTICES) or b"")
        assert (await acts.show(VIEWER, "ada")).locked == "stolen"
        await acts.unlock(SUPPORT, "ada", reason="mother called")
        free = await account(lab)
        assert free is not None
        assert not free.is_banned(0)
        assert [(e.act, e.target) for e in await audited(lab)] == [("lock", "account:ada"), ("unlock", "account:ada")]


async def test_a_sign_out_ends_tickets_and_keeps_the_password() -> None:
    async with Lab() as lab:
        await with_account(lab)
        acts = AccountActs(acts_at(lab.keeper), AUTH)
        first = await acts.sign_out(SUPPORT, "ada", reason="x", act_id="1")
        assert await acts.sign_out(SUPPORT, "ada", reason="x", act_id="1") == first
        found = await account(lab)
        assert found is not None
        assert (found.tickets, found.password_hash, found.epoch) == ([], "x", 1)


async def test_a_new_password_is_checked_hashed_and_ends_the_old_one() -> None:
    async with Lab() as lab:
        await with_account(lab)
        acts = AccountActs(acts_at(lab.keeper), AUTH)
        with pytest.raises(AuthFailed, match="too short"):
            await acts.reset_password(ADMIN, "ada", "short", reason="x")
        made = new_password()
        await acts.reset_password(ADMIN, "ada", made, reason="x")
        found = await account(lab)
        assert found is not None
        assert verify_password(made, found.password_hash)
        assert (found.provisional, (await acts.show(VIEWER, "ada")).provisional) == (True, True)
        assert made not in str(await audited(lab))
        assert new_password() != made


async def test_refusals_change_nothing() -> None:
    async with Lab() as lab:
        await with_account(lab)
        acts = AccountActs(acts_at(lab.keeper), AUTH)
        for refused in (
            acts.show(VIEWER, "nemo"),
            acts.lock(ADMIN, "nemo", reason="x"),
            acts.unlock(ADMIN, "nemo", reason="x"),
            acts.sign_out(ADMIN, "nemo", reason="x"),
            acts.reset_password(ADMIN, "nemo", PASSWORD, reason="x"),
            acts.lock(ADMIN, "a:b", reason="x"),
        ):
            with pytest.raises(ActRefused, match="no account"):
                await refused
        for too_low in (
            acts.lock(VIEWER, "ada", reason="x"),
            acts.unlock(VIEWER, "ada", reason="x"),
            acts.sign_out(VIEWER, "ada", reason="x"),
            acts.reset_password(SUPPORT, "ada", PASSWORD, reason="x"),
        ):
            with pytest.raises(NotGranted):
                await too_low
        assert await audited(lab) == []


async def test_a_player_and_its_account_get_the_new_name_together() -> None:
    told: list[str] = []
    async with Lab() as lab:
        ada = await lab.keeper.login(Player, 1, create=lambda: Player(name="ada"))
        await with_account(lab)
        acts = acts_at(lab.keeper, LiveGame(changed=lambda session: told.append(session.record.name)))
        first = await acts.rename(ADMIN, 1, "Lovelace", reason="married", act_id="1")
        assert (ada.record.name, told) == ("Lovelace", ["Lovelace"])
        renamed = await account(lab, "lovelace")
        assert renamed is not None
        assert (renamed.username, renamed.character_ids, renamed.tickets) == ("lovelace", [1], [])
        assert await account(lab) is None
        assert b"ada" in (lab.store.value(SERVER_ACCOUNT_NOTICES) or b"")
        await with_account(lab, "ada", 2)  # the old name is free again
        (entry,) = await audited(lab)
        assert entry.details == {"before": "ada", "after": "Lovelace"}
        assert first.entry == 1


async def test_a_name_that_is_taken_or_malformed_renames_neither() -> None:
    async with Lab() as lab:
        await (await lab.keeper.login(Player, 1, create=lambda: Player(name="ada"))).logout()
        await with_account(lab)
        await with_account(lab, "bob", 2)
        acts = acts_at(lab.keeper)
        for name in ("bob", "x", "a b c"):
            with pytest.raises(ActRefused):
                await acts.rename(ADMIN, 1, name, reason="x")
        stored = lab.stored(Player, 1)
        assert stored is not None
        assert (stored.name, await audited(lab)) == ("ada", [])
        await (await lab.keeper.login(Player, 3, create=lambda: Player(name="no account"))).logout()
        await acts.rename(ADMIN, 3, "Any Name", reason="x")  # without an account the game's bounds alone hold
