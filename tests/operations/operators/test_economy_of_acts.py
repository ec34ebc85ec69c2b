"""An operator's act makes and destroys by declaration: afterwards the audit adds up, whatever the act and the mode."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operations.operators.people import ADMIN
from realmkeep.accounts import open_accounts
from realmkeep.config import AuthConfig, BackupConfig, JournalConfig, OperatorsConfig
from realmkeep.errors import ActRefused
from realmkeep.keeping import Hooks, Keeper
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.writing.journal_entries import CommitEntry, SnapshotEntry, decode_entry
from realmkeep.keys import server_journal, server_journaled
from realmkeep.operations.backup.game import Game
from realmkeep.operations.economy.audit import Audit, audit_economy
from realmkeep.operations.journal.archives import FileArchive
from realmkeep.operations.journal.history import History
from realmkeep.operations.journal.joining import join_journal, journal_registrations
from realmkeep.operations.operators.acts import Acts
from realmkeep.operations.operators.control import control_list
from realmkeep.operations.privacy.erasing import Erasing
from realmkeep.realm.world.holdings import HOLDINGS
from realmkeep.realm.world.mail_letter import MailLetter
from realmkeep.realm.world.operated import PLAYERS
from realmkeep.realm.world.player import Item, Player, StoredItem
from realmkeep.records import DEFAULT_LIMITS
from realmkeep.storage import Delete, Put, Transaction
from realmkeep.testing.lab import Lab

GAME = Game(HOLDINGS, DEFAULT_LIMITS, accept_unchecked=False)
SETTINGS = settings(max_examples=12, deadline=None)
ACT = st.one_of(
    st.tuples(st.just("gift"), st.sampled_from(["gold", "bread"]), st.integers(1, 60)),
    st.tuples(st.just("edit"), st.sampled_from(["gold", "bank_gold"]), st.integers(0, 500)),
    st.tuples(st.just("edit"), st.just("inventory"), st.sampled_from([[], [{"item_id": "sword", "count": 1, "slot": 0, "serial": 21}]])),
    st.tuples(st.just("erase"), st.none(), st.none()),
)  # fmt: skip


@asynccontextmanager
async def realm(*, strict: bool, live: bool) -> AsyncGenerator[tuple[Lab, Keeper]]:
    """Ada with gold, items and mail, live on a server or stored, and the keeper of a command beside it."""
    hooks = Hooks()

    @hooks.on_letter(Player, MailLetter)
    def _(player: Player, letter: MailLetter) -> None:
        player.gold += letter.gold or 0

    async with Lab("town-1", strict=strict, journal=JournalConfig(), hooks=hooks) as lab:
        control_list(lab.keeper, PLAYERS)
        sword, bow = Item("sword", 1, 0, 11), StoredItem("shield", 1, 12)
        made = Player(player_id=7, name="Ada", gold=50, bank_gold=5, inventory=[sword], bank=[bow])
        ada = await lab.keeper.login(Player, 7, create=lambda: made)
        bob = await lab.keeper.login(Player, 8, create=lambda: Player(player_id=8, name="Bob", gold=20))
        if not live:
            await ada.logout()

        def post(player: Player) -> None:
            player.gold -= 10
            letter = MailLetter(sender=8, sender_name="Bob", receiver=7, receiver_name="Ada", gold=10)
            lab.keeper.tx.deliver(Player, 7, letter)

        await lab.keeper.commit(post, bob)
        command = await lab.server("command")
        await join_journal(command, "town-1")
        yield lab, command


async def audit(lab: Lab, directory: Path) -> Audit:
    return await audit_economy(lab.line(), GAME, History(FileArchive(directory / "archive"), lab.line()))


def adds_up(found: Audit) -> bool:
    """Whether the flows of the journal give what the store holds."""
    made = dict.fromkeys([*found.totals, "items"], 0)
    for flow in found.flows:
        made[flow.name] += flow.made - flow.destroyed
    return made == {**found.totals, "items": found.serials} and found.unbalanced == {}


async def do(command: Keeper, directory: Path, act: str, where: str, what: Any) -> None:
    acts = Acts(command, PLAYERS, OperatorsConfig())
    if act == "gift":
        await acts.gift(ADMIN, 7, where, what, reason="ticket 1")
    elif act == "edit":
        await acts.edit(ADMIN, 7, where, what, reason="ticket 1")
    else:
        erasing = Erasing(command, acts, HOLDINGS, BackupConfig(), directory, archive=None)
        await erasing.erase(ADMIN, "7", reason="ticket 1", act_id="erasure")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("live", [True, False])
@given(acts=st.lists(ACT, min_size=1, max_size=4))
@SETTINGS
async def test_after_any_acts_the_audit_adds_up(
    acts: list[tuple[str, Any, Any]], strict: bool, live: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("realm")
    async with realm(strict=strict, live=live) as (lab, command):
        for act, where, what in acts:
            await do(command, directory, act, where, what)
            if act == "erase":
                break
        found = await audit(lab, directory)
        assert adds_up(found), found
        reasons = {flow.reason for flow in found.flows}
        assert reasons <= {"created", *(f"{act} by a-admin" for act in ("gift", "edit", "erase"))}


async def test_an_erasure_destroys_what_the_player_and_its_letters_held(tmp_path: Path) -> None:
    async with realm(strict=True, live=False) as (lab, command):
        await do(command, tmp_path, "erase", "", None)
        found = await audit(lab, tmp_path)
        assert {(each.name, each.destroyed) for each in found.flows if each.reason == "erase by a-admin"} == {
            ("gold", 65),
            ("items", 2),
        }
        assert found.totals == {"gold": 10}


async def test_a_letter_that_comes_during_the_erasure_is_counted(tmp_path: Path) -> None:
    async with realm(strict=True, live=False) as (lab, command):
        line, sent = lab.line("command"), 0
        write = line.write

        async def late(transactions: Sequence[Any]) -> Any:
            nonlocal sent
            if not sent and Delete("player:7") in transactions[0].effects:
                sent += 1
                letter = MailLetter(sender=8, sender_name="Bob", receiver=7, receiver_name="Ada", gold=3)
                await lab.keeper.letters.send(Player, 7, letter)
            return await write(transactions)

        line.write = late
        await do(command, tmp_path, "erase", "", None)
        found = await audit(lab, tmp_path)
        assert sum(each.destroyed for each in found.flows if each.name == "gold") == 68
        assert sent == 1


async def test_an_edit_that_doubles_an_item_is_refused_with_a_sentence(tmp_path: Path) -> None:
    async with realm(strict=True, live=True) as (_, command):
        twice = [{"item_id": "sword", "count": 1, "slot": slot, "serial": 33} for slot in (0, 1)]
        with pytest.raises(ActRefused, match="serial 33 exists twice"):
            await do(command, tmp_path, "edit", "inventory", twice)


async def test_an_edit_of_a_stored_player_stands_in_the_journal_of_a_server() -> None:
    async with realm(strict=True, live=False) as (lab, command):
        await do(command, Path(), "edit", "gold", 400)
        entries = [decode_entry(each) for each in await lab.line().load_list(server_journal("town-1"))]
        (edit,) = [each for each in entries if isinstance(each, CommitEntry) and each.reason.startswith("a-admin")]
        assert (edit.reason, edit.records[0].fields) == ("a-admin: ticket 1", {"gold": [60, 400]})  # with the letter
        assert edit.run != entries[0].run
        assert await lab.line().load_list(server_journal("command")) == []


async def test_a_command_takes_the_journal_of_the_settings_then_a_live_one_then_any() -> None:
    async with Lab("town-9", journal=JournalConfig()) as lab:
        command = await lab.server("command")
        journal = engine_of(command).journal

        async def joined(server: str) -> str:
            await join_journal(command, server)
            return journal.key

        assert await joined("realm-1") == server_journal("realm-1")
        marks = [Put(server_journaled(name), b"1 x") for name in ("gone-1", "town-9")]
        await lab.line().write([Transaction([], marks[:1])])
        assert await joined("realm-1") == server_journal("gone-1")
        await lab.line().write([Transaction([], marks)])
        assert await joined("realm-1") == server_journal("town-9")
        assert await joined("gone-1") == server_journal("gone-1")


async def test_what_a_registered_character_holds_is_made(tmp_path: Path) -> None:
    async with Lab("town-1", journal=JournalConfig()) as lab:
        config = AuthConfig(key_file=str(tmp_path / "keys.json"))
        accounts = await asyncio.to_thread(open_accounts, lab.line(), config, server_name="town-1", clock=lab.clock)
        journal_registrations(lab.keeper, accounts)
        async with accounts.running():
            await accounts.create("ada", "quiet lantern over marsh", character=(7, Player(player_id=7, gold=100)))
        found = await audit(lab, tmp_path)
        assert adds_up(found), found
        (entry,) = [decode_entry(each) for each in await lab.line().load_list(server_journal("town-1"))]
        assert isinstance(entry, SnapshotEntry)
        assert (entry.key, entry.why, entry.stored["gold"]) == ("player:7", "created", 100)
