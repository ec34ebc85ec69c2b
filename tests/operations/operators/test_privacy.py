"""One person's data: exported with a schema, erased everywhere, and not brought back by an older backup."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from operations.operators.people import ADMIN, SUPPORT, VIEWER, audited
from realmkeep.accounts.account import Account
from realmkeep.config import ArchiveConfig, BackupConfig, JournalConfig, KeeperConfig, OperatorsConfig
from realmkeep.errors import ActRefused, JournalDamaged, NotGranted, StorageUnavailable
from realmkeep.keeping import Keeper, Session
from realmkeep.keys import parse, server_journal
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.operations.backup.holdings import Holdings
from realmkeep.operations.journal.archive import Archive
from realmkeep.operations.journal.archiver import Archiver
from realmkeep.operations.journal.archives import FileArchive
from realmkeep.operations.journal.history import History
from realmkeep.operations.journal.persons import forgetting_lists, repeat_erasures, waiting_about
from realmkeep.operations.journal.verifying import verify_archive
from realmkeep.operations.operators.acts import Acts
from realmkeep.operations.operators.control import control_list
from realmkeep.operations.privacy.erasing import Erasing
from realmkeep.operations.privacy.exporting import export_person, schema
from realmkeep.operations.privacy.references import forget_players
from realmkeep.realm.world.holdings import HOLDINGS
from realmkeep.realm.world.operated import PLAYERS
from realmkeep.realm.world.player import Player
from realmkeep.records import Record, durable
from realmkeep.storage import Delete, Put, Transaction, open_storage
from realmkeep.storage.cold import ColdBatch, MemoryColdStore
from realmkeep.testing.lab import Lab

Run = Callable[..., tuple[int, str, str]]
CONFIG = KeeperConfig(lease_ttl_s=10.0, heartbeat_s=3.0)


class Party(Record, kind="party", version=1):
    leader: int | None = durable(default=None)
    members: set[int] = durable(default_factory=set[int])
    shares: dict[str, int] = durable(default_factory=dict[str, int])


def test_ids_are_taken_out_of_every_kind_of_field() -> None:
    party = Party(leader=7, members={7, 8}, shares={"7": 1, "8": 2})
    changed = forget_players(party, ("leader", "members", "shares"), {"7"}.__contains__)
    assert (changed, party) == (("leader", "members", "shares"), Party(leader=None, members={8}, shares={"8": 2}))
    assert forget_players(party, ("leader", "members", "shares"), {"7"}.__contains__) == ()


def acts_of(keeper: Keeper) -> Acts:
    return Acts(keeper, PLAYERS, OperatorsConfig())


def erasing(
    keeper: Keeper, directory: Path, holdings: Holdings = HOLDINGS, *, archive: Archive | None = None
) -> Erasing:
    return Erasing(keeper, acts_of(keeper), holdings, BackupConfig(), directory, archive=archive)


async def enter(keeper: Keeper, number: int, name: str, *friends: int) -> Session[Player]:
    made = Player(player_id=number, name=name, friends=[*friends])
    return await keeper.login(Player, number, create=lambda: made)


async def realm(lab: Lab) -> None:
    """Ada, with an account, letters, a copy of bad bytes and two friends who list her, all stored."""
    for number, name, friends in ((7, "ada", (8,)), (8, "bob", (7, 9)), (9, "eve", (8,))):
        await (await enter(lab.keeper, number, name, *friends)).logout()
    account = Account(username="ada", password_hash="secret-hash", character_ids=[7])
    assert await lab.keeper.unowned(Account).create("ada", account)
    await lab.keeper.letters.send(Player, 7, {"from": 8, "name": "bob", "gold": 1})
    await lab.line().write([Transaction([], [Put("corrupt:player:7:0123456789abcdef", b"?", expire_s=1000)])])


async def left_of_ada(lab: Lab) -> list[str]:
    """The keys that name her, and the records that list her."""
    found: list[str] = []
    async for key in lab.line().keys("*"):
        parsed = parse(key)
        if (parsed.kind, parsed.id) in {("player", "7"), ("account", "ada")} and parsed.role != "updated":
            found.append(key)
        if parsed.role == "record" and parsed.kind == "player":
            record = lab.stored(Player, parsed.id)
            assert record is not None
            found += [key] if 7 in [*record.friends, *record.blocked] else []
    return found


async def test_a_stored_person_is_erased_everywhere(tmp_path: Path) -> None:
    async with Lab() as lab:
        await realm(lab)
        plan = await erasing(lab.keeper, tmp_path).plan(ADMIN, "ada")
        assert plan.records == ("player:7", "account:ada")
        assert plan.references == {"player:8": ("friends",)}
        assert "player:7:inbox" in plan.beside
        assert plan.copies == ("corrupt:player:7:0123456789abcdef",)
        assert len(await left_of_ada(lab)) > 3
        receipt = await erasing(lab.keeper, tmp_path).erase(ADMIN, "ada", reason="asked to", act_id="1")
        assert await left_of_ada(lab) == []
        assert receipt.erased == plan
        assert len((tmp_path / "erasures.jsonl").read_bytes().splitlines()) == 2
        assert b"account" not in (tmp_path / "erasures.jsonl").read_bytes()
        assert [entry.act for entry in await audited(lab)] == ["erase"] * 4
        stored = lab.stored(Player, 8)
        assert stored is not None
        assert stored.friends == [9]
        with pytest.raises(ActRefused, match="no player 'ada'"):
            await erasing(lab.keeper, tmp_path).plan(ADMIN, "ada")


async def test_a_person_who_plays_on_another_server_is_erased_and_live_friends_forget(tmp_path: Path) -> None:
    async with Lab() as lab:
        await realm(lab)
        town = await lab.server("town")
        control_list(town, PLAYERS)
        ada, bob = await enter(town, 7, "ada"), await enter(town, 8, "bob")
        await erasing(lab.keeper, tmp_path).erase(ADMIN, "7", reason="asked to", act_id="1")
        assert ada.ended
        assert bob.record.friends == [9]
        assert await left_of_ada(lab) == []


async def erased_until(lab: Lab, directory: Path, writes: int) -> bool:
    """Erase from a server that dies after so many writes; True if it was done before."""
    keeper = await lab.server("other")
    line, stuck, wrote = lab.line("other"), asyncio.Event(), 0
    write = line.write

    async def counted(transactions: Any) -> Any:
        nonlocal wrote
        wrote += 1
        if wrote > writes:
            stuck.set()
            await asyncio.Event().wait()
        return await write(transactions)

    line.write = counted
    working = asyncio.create_task(erasing(keeper, directory).erase(ADMIN, "ada", reason="asked to", act_id="1"))
    waiting = asyncio.create_task(stuck.wait())
    await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
    done = working.done()
    for each in (working, waiting):
        each.cancel()
    await asyncio.gather(working, waiting, return_exceptions=True)
    await lab.crash("other")
    return done


async def test_an_erasure_whose_server_died_on_the_way_is_asked_for_again(tmp_path: Path) -> None:
    for writes in range(40):
        async with Lab(config=CONFIG) as lab:
            await realm(lab)
            done = await erased_until(lab, tmp_path / str(writes), writes)
            again = erasing(lab.keeper, tmp_path / str(writes)).erase(ADMIN, "ada", reason="asked to", act_id="1")
            if done:
                with pytest.raises(ActRefused, match="no player 'ada'"):
                    await again
            else:
                await again
            assert await left_of_ada(lab) == [], writes
        if done:
            break
    else:
        pytest.fail("the erasure takes more than forty writes")


async def test_the_journal_forgets_an_erased_person_and_no_other(tmp_path: Path) -> None:
    async with Lab(journal=JournalConfig()) as lab:
        await realm(lab)
        archive = FileArchive(tmp_path / "archive")
        archiver = Archiver(lab.keeper, archive, interval_s=60, keep_days=0, players=Player)
        await acts_of(lab.keeper).edit(ADMIN, 7, "settings.motto", "the wise", reason="a prize")
        await archiver.archive_all()
        await acts_of(lab.keeper).edit(ADMIN, 7, "settings.motto", "the wiser", reason="a prize")
        wrong = erasing(lab.keeper, tmp_path, archive=FileArchive(tmp_path / "other"))
        with pytest.raises(JournalDamaged, match="has no segment of lab-1"):
            await wrong.erase(ADMIN, "ada", reason="asked to", act_id="1")
        assert not (tmp_path / "erasures.jsonl").exists()
        made = await export_person(lab.keeper, acts_of(lab.keeper), HOLDINGS, ADMIN, "ada", archive=archive)
        edits = [each for each in made.journal if each.reason == "a-admin: a prize"]
        assert [each.records for each in edits] == [
            {"player:7": {"settings": {"removed": {}, "added": {"motto": "the wise"}}}},
            {"player:7": {"settings": {"removed": {"motto": "the wise"}, "added": {"motto": "the wiser"}}}},
        ]
        receipt = await erasing(lab.keeper, tmp_path, archive=archive).erase(ADMIN, "ada", reason="x", act_id="1")
        assert receipt.waiting["lab-1"] > 1
        await archiver.archive_all()
        history = History(archive, lab.line())
        told = msgspec.json.encode([each.entry for each in await history.of_record("player:7")])
        assert (b"wise" in told, b"ada" in told, b"erased" in told) == (False, False, True)
        assert b"bob" in msgspec.json.encode([each.entry for each in await history.of_record("player:8")])
        assert (await verify_archive(archive, lab.line())).faults == ()


async def test_a_restored_list_and_a_restored_archive_forget_again(tmp_path: Path) -> None:
    async with Lab(journal=JournalConfig()) as lab:
        await realm(lab)
        archive = FileArchive(tmp_path / "archive")
        await archive.add_person_key("player:7", b"a" * 32)
        await archive.add_person_key("player:8", b"a" * 32)

        def is_gone(kind: str, id_: str) -> bool:
            return (kind, id_) == ("player", "7")

        assert await waiting_about(lab.line(), ["player:7"]) == {"lab-1": 2}
        await lab.line().write([Transaction([], await forgetting_lists(lab.line(), is_gone))])
        entries = await lab.line().load_list(server_journal("lab-1"))
        assert len(entries) == 6
        assert not any(b"ada" in each for each in entries)
        assert any(b"eve" in each for each in entries)
        assert await forgetting_lists(lab.line(), lambda kind, id_: kind == "x") == []
        assert [await repeat_erasures(archive, is_gone) for _ in range(2)] == [1, 0]
        assert await archive.person_keys(["player:7", "player:8"]) == {"player:7": b"", "player:8": b"a" * 32}


async def test_refusals_note_and_change_nothing(tmp_path: Path) -> None:
    async with Lab() as lab:
        await realm(lab)
        before = sorted(await left_of_ada(lab))
        here = erasing(lab.keeper, tmp_path)
        for operator in (VIEWER, SUPPORT):
            with pytest.raises(NotGranted):
                await here.erase(operator, "ada", reason="x", act_id="1")
            with pytest.raises(NotGranted):
                await here.plan(operator, "ada")
            with pytest.raises(NotGranted):
                await export_person(lab.keeper, acts_of(lab.keeper), HOLDINGS, operator, "ada", archive=None)
        with pytest.raises(ActRefused, match="no player"):
            await here.erase(ADMIN, "nemo", reason="x", act_id="1")
        with pytest.raises(ActRefused, match="reason"):
            await here.erase(ADMIN, "ada", reason="", act_id="1")
        assert not (tmp_path / "erasures.jsonl").exists()
        assert sorted(await left_of_ada(lab)) == before


async def test_data_beside_the_store_is_erased_by_the_game(tmp_path: Path) -> None:
    told: list[tuple[str, ...]] = []

    async def elsewhere(records: Any) -> None:
        told.append(tuple(records))

    async with Lab() as lab:
        await realm(lab)
        game = Holdings(HOLDINGS.records, HOLDINGS.letters, HOLDINGS.count, Player, HOLDINGS.refers, elsewhere)
        await erasing(lab.keeper, tmp_path, game).erase(ADMIN, "ada", reason="x", act_id="1")
        assert told == [("player:7", "account:ada")]


async def test_an_export_has_everything_under_its_schema_and_no_secret() -> None:
    async with Lab() as lab:
        await realm(lab)
        await acts_of(lab.keeper).edit(ADMIN, 7, "xp", 5, reason="a bug")
        made = await export_person(lab.keeper, acts_of(lab.keeper), HOLDINGS, ADMIN, "ada", archive=None)
        encoded = msgspec.json.encode(made)
        document = json.loads(encoded)
        jsonschema.Draft202012Validator.check_schema(schema())
        jsonschema.validate(document, schema(), cls=jsonschema.Draft202012Validator)
        (record,) = document["records"]
        assert (record["key"], record["fields"]["friends"], record["error"]) == ("player:7", [8], "")
        assert [letter["content"]["gold"] for letter in record["letters"]] == [1]
        assert document["referenced_by"] == [{"key": "player:8", "fields": ["friends"]}]
        assert document["copies"] == ["corrupt:player:7:0123456789abcdef"]
        assert [act["reason"] for act in document["acts"]] == ["a bug"]
        assert b"secret-hash" not in encoded
        document["records"] = [{}]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, schema(), cls=jsonschema.Draft202012Validator)


async def test_a_record_that_cannot_be_read_is_exported_as_it_is() -> None:
    async with Lab() as lab:
        await realm(lab)
        await lab.line().write([Transaction([], [Put("player:7", b"what is this")])])
        made = await export_person(lab.keeper, acts_of(lab.keeper), HOLDINGS, ADMIN, "ada", archive=None)
        assert (made.records[0].raw, bool(made.records[0].error)) == ("what is this", True)


async def befriend(url: str) -> None:
    async with Keeper.open(url, rescue_path=Path("/dev/null")) as keeper:
        bob = await keeper.login(Player, 8)
        assert bob is not None

        def add(player: Player) -> None:
            player.friends = [7]

        await keeper.commit(add, bob)


async def waiting(url: str) -> list[bytes]:
    storage = open_storage(url)
    await storage.connect()
    try:
        return await storage.load_list(server_journal("realm-1"))
    finally:
        await storage.disconnect()


def test_after_an_older_backup_is_restored_an_erased_person_is_gone(run: Run, tmp_path: Path) -> None:
    yes = ("--reason", "asked to", "--yes")
    asyncio.run(befriend(f"sqlite:///{tmp_path / 'realm.db'}"))
    place = ("--directory", str(tmp_path / "backups"))
    assert run("player", "edit", "7", "settings.motto", "a secret", *yes)[0] == 0
    assert "a secret" in run("player", "history", "7")[1]
    run("backup", "create", *place)  # the broken player 9 is a warning
    (tmp_path / "realmkeep.toml").write_text(f'[backup]\ndirectory = "{tmp_path / "backups"}"\n')
    assert run("player", "erase", "ada", "--as", "sue", *yes)[0] == 1
    assert run("player", "export", "ada", "--as", "sue")[0] == 1
    assert json.loads(run("player", "export", "ada")[1])["account"]["username"] == "ada"
    assert json.loads(run("player", "export", "--schema")[1])["$schema"].startswith("https://json-schema.org/")
    code, out, err = run("player", "erase", "ada", *yes)
    assert (code, err) == (0, "")
    assert "player:8 forgets the person in friends" in out
    assert "holds the person until" in out
    assert "entries of the journal lose the person when realm-1 archives them" in out
    assert "a secret" not in run("player", "history", "7")[1]
    assert run("player", "show", "7")[0] == 1

    other = f"sqlite:///{tmp_path / 'other.db'}"
    (name,) = [path.name for path in (tmp_path / "backups").iterdir() if (path / "manifest.json").exists()]
    code, out, err = run("backup", "restore", name, "--store", other, *place, "--yes")
    assert code == 0, (out, err)
    assert run("player", "show", "7", "--store", other)[0] == 1
    assert b"a secret" in b"".join(asyncio.run(waiting(f"sqlite:///{tmp_path / 'realm.db'}")))
    entries = b"".join(asyncio.run(waiting(other)))
    assert (b"player:7" in entries, b"a secret" in entries) == (True, False)
    assert run("account", "show", "ada", "--store", other)[0] == 1
    shown = json.loads(run("player", "show", "8", "--store", other, "--json")[1])
    assert [field["value"] for field in shown["fields"] if field["name"] == "friends"] == [[]]


async def test_a_person_is_erased_from_the_cold_tier_too_also_a_frozen_one_and_one_whose_tier_was_away(
    tmp_path: Path,
) -> None:
    cold = MemoryColdStore()
    async with Lab(cold=cold) as lab:
        await realm(lab)
        archiver = ColdArchiver(lab.keeper, cold, ArchiveConfig())
        await lab.finish(archiver.sweeper.sweep())
        await lab.finish(archiver.shipper.ship())
        inbox = [Delete("player:7:inbox"), Delete("player:7:left")]
        await lab.line().write([Transaction([], inbox)])
        await lab.advance(400)
        assert (await lab.finish(archiver.freezer.freeze(["player:7"]))).frozen == 1
        late = await cold.rows(["player:7", "account:ada"])
        assert all(row is not None and row.body for row in late)
        shown = await acts_of(lab.keeper).show(VIEWER, 7)
        assert {field.name: field.value for field in shown.fields}["name"] == "ada"
        cold.is_down = True
        with pytest.raises(StorageUnavailable):
            await erasing(lab.keeper, tmp_path).erase(ADMIN, "ada", reason="asked to", act_id="1")
        cold.is_down = False
        await erasing(lab.keeper, tmp_path).erase(ADMIN, "ada", reason="asked to", act_id="1")
        assert await left_of_ada(lab) == []
        assert [key async for key in lab.line().keys("server:erasing:*")] == []
        await cold.write(ColdBatch([row for row in late if row is not None], repairs=True))  # a late cut
        await lab.finish(archiver.sweeper.sweep())
        assert [row and row.body for row in await cold.rows(["player:7", "account:ada"])] == [None, None]
        assert [letter for _, letter in await cold.unopened(0, 99) if letter.receiver == "player:7"] == []
