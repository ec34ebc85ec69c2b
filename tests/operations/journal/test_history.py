"""`player history`, `player at`, `item trace`, `journal verify`: answers from the archive and from entries that wait."""

import asyncio
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operations.operators.people import PASSWORD
from realmkeep import IMMEDIATE, Record, durable
from realmkeep.cli.app import app
from realmkeep.config import JournalConfig, KeeperConfig
from realmkeep.errors import RealmkeepError
from realmkeep.keeping import Keeper
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.writing.journal_entries import CommitEntry, GapEntry, RecordChange, SnapshotEntry
from realmkeep.operations.backup.game import Game
from realmkeep.operations.backup.holdings import Holdings
from realmkeep.operations.journal.archiver import Archiver
from realmkeep.operations.journal.archives import FileArchive, open_archive
from realmkeep.operations.journal.history import Found, History, Move, RecordState, moves, state_at
from realmkeep.realm.world.holdings import HOLDINGS
from realmkeep.realm.world.player import Item, Player
from realmkeep.records import DEFAULT_LIMITS

Run = Callable[..., tuple[int, str, str]]
SWORD = Item("iron-sword", 1, 0, 4711)
ARCHIVE = "file:///archive"


def pay(one: Player, two: Player, gold: int) -> None:
    one.gold -= gold
    two.gold += gold


def hand_over(giver: Player, taker: Player) -> None:
    taker.inventory = [*taker.inventory, *giver.inventory]
    giver.inventory = []


async def play(url: str, moments: list[int]) -> None:
    """Ada pays Bob twice, gains experience, and gives him her sword; only the first half is archived."""
    config = KeeperConfig(name="town-1", heartbeat_s=0.2, lease_ttl_s=1)
    rescue = Path(os.devnull)
    async with Keeper.open(url, config=config, rescue_path=rescue, journal=JournalConfig()) as keeper:
        clock = engine_of(keeper).clock
        ada = await keeper.login(Player, 7, create=lambda: Player(player_id=7, name="Ada", gold=50, inventory=[SWORD]))
        bob = await keeper.login(Player, 8, create=lambda: Player(player_id=8, name="Bob"))

        def wager(one: Player, two: Player) -> None:
            keeper.tx.explain("a wager")
            pay(one, two, 10)

        await keeper.commit(wager, ada, bob)
        moments.append(clock.wall_us())
        await Archiver(keeper, open_archive(ARCHIVE), interval_s=60, keep_days=0).archive_all()
        ada.record.xp += 5
        await keeper.commit(partial(pay, gold=5), ada, bob)
        await keeper.commit(hand_over, ada, bob)
        moments.append(clock.wall_us())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on that realm; returns exit code, output and errors."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    for key, value in {
        "STORE__URL": f"sqlite:///{tmp_path / 'realm.db'}", "OPERATORS__PASSWORD_FILE": str(secret),
        "OPERATORS__NAME": "ann", "JOURNAL__URL": ARCHIVE, "KEEPER__LEASE_TTL_S": "1", "KEEPER__HEARTBEAT_S": "0.2",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"REALMKEEP_{key}", value)

    def run(*arguments: str) -> tuple[int, str, str]:
        code: Any = 0
        try:
            app([*arguments], result_action="return_value")
        except SystemExit as ended:
            code = ended.code
        except RealmkeepError as error:
            captured = capsys.readouterr()
            return 1, captured.out, f"{captured.err}{error}"
        captured = capsys.readouterr()
        return code or 0, captured.out, captured.err

    assert run("operator", "add", "ann", "--role", "admin", "--password-file", str(secret), "--yes")[0] == 0
    return run


@pytest.mark.backend("sqlite")
def test_the_commands_answer_from_archive_and_store(run: Run, tmp_path: Path) -> None:
    moments: list[int] = []
    asyncio.run(play(f"sqlite:///{tmp_path / 'realm.db'}", moments))
    code, out, _ = run("player", "history", "7")
    assert code == 0
    assert "(a wager)" in out
    assert out.index("gold: 50 -> 40") < out.index("gold: 40 -> 35") < out.index('inventory: -[{"item_id":"iron-sword"')
    code, out, _ = run("player", "history", "8", "--json")
    assert [each["type"] for each in json.loads(out)] == ["snapshot", "commit", "commit", "commit", "snapshot"]

    code, out, _ = run("player", "at", "7", str(moments[0] // 1_000_000 + 1), "--json")
    assert code == 0
    fields = json.loads(out)["fields"]
    assert (fields["gold"]["value"], fields["gold"]["exact"]) in [(35, True), (40, True)]
    assert not fields["xp"]["exact"]
    code, out, _ = run("player", "at", "7", "2099-01-01T00:00:00Z")
    assert code == 0
    assert any(line.split()[:2] == ["gold", "35"] and line.endswith("exact") for line in out.splitlines())
    assert any(line.startswith("xp") and " 5 " in line and "as of" in line for line in out.splitlines())

    code, out, _ = run("item", "trace", "4711")
    assert code == 0
    assert [line.split(maxsplit=2)[2] for line in out.splitlines()] == ["left player:7", "came to player:8"]
    code, out, _ = run("item", "trace", "4711", "--json")
    assert [(each["where"], each["came"]) for each in json.loads(out)] == [("player:7", False), ("player:8", True)]

    code, out, _ = run("journal", "verify", "--json")
    assert code == 0
    assert json.loads(out)["entries"] == 3
    segment = next((tmp_path / "archive" / "town-1").glob("*.zst"))
    segment.write_bytes(b"x")
    code, out, _ = run("journal", "verify")
    assert code == 1
    assert "FAULT  segment 1 of town-1 is not as it was written" in out
    code, _, err = run("player", "history", "7")
    assert code == 1
    assert "is not as it was written" in err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("player", "history", "99"), 1, ""),
        (("player", "at", "99", "2099-01-01T00:00:00Z"), 1, "no snapshot lies before"),
        (("item", "trace", "5"), 1, ""),
        (("player", "at", "7", "yesterday"), 78, "no moment"),
        (("player", "history", "7", "--archive", "ftp://x"), 78, "names no archive"),
        (("journal", "verify", "--archive", "nowhere"), 78, "journal.url"),
    ],
)
@pytest.mark.backend("sqlite")
def test_what_the_commands_refuse(run: Run, arguments: tuple[str, ...], code: int, told: str) -> None:
    found, out, err = run(*arguments)
    assert found == code
    assert told in out + err


def commit(at: int, fields: dict[str, Any], *, rev: int | None = None, cut: bool = False) -> Found:
    change = RecordChange("player:7", at if rev is None else rev, fields=fields)
    return Found("s", CommitEntry(1, at, at, "f", (change,), cut=cut))


def snapshot(at: int, **fields: Any) -> Found:
    return Found("s", SnapshotEntry(1, at, at, "player:7", at, "interval", {"version": 1, **fields, "crc": "0"}))


GOLD = frozenset({"gold"})


def test_a_state_is_the_snapshot_and_the_commits_after_it() -> None:
    found = [snapshot(1, gold=5, xp=1), commit(2, {"gold": [5, 7], "xp": [3, 4]}), snapshot(9, gold=1, xp=9)]
    fields = state_at("player:7", found, 5, RecordState(GOLD)).at(5)
    assert (fields["gold"].value, fields["gold"].exact, fields["gold"].as_of_us) == (7, True, 5)
    assert (fields["xp"].value, fields["xp"].exact, fields["xp"].as_of_us) == (4, False, 2)


@pytest.mark.parametrize(
    "between",
    [
        Found("s", GapEntry(1, 2, 2, 2)),
        commit(2, {"gold": [6, 7]}),
        commit(2, {"gold": None}, cut=True),
    ],
)
def test_a_field_is_not_exact_after_a_gap_a_misfit_or_a_cut(between: Found) -> None:
    assert not state_at("player:7", [snapshot(1, gold=5), between], 5, RecordState(GOLD)).at(5)["gold"].exact
    assert (
        state_at("player:7", [snapshot(1, gold=5), between, snapshot(3, gold=7)], 5, RecordState(GOLD))
        .at(5)["gold"]
        .exact
    )


def test_without_a_snapshot_only_changed_fields_are_known() -> None:
    state = state_at("player:7", [commit(2, {"gold": [6, 7]})], 5, RecordState(GOLD))
    assert not state.is_whole
    assert {name: each.value for name, each in state.at(5).items()} == {"gold": 7}


def test_an_entry_of_an_older_revision_changes_nothing() -> None:
    found = [snapshot(4, gold=5), commit(5, {"gold": [9, 8]}, rev=3)]
    assert state_at("player:7", found, 9, RecordState(GOLD)).at(9)["gold"].value == 5


def test_an_item_moves_by_letters_and_new_records_too() -> None:
    entry = CommitEntry(
        1, 1, 1, "mail",
        (RecordChange("player:1", 1, fields={"bag": {"at": 0, "removed": [{"serial": 7}], "added": []}}),),
        letters=(("player:2", ["id", {"item": "bow", "serial": 7}]),),
        created=(("chest:1", {"items": [{"serial": 7}]}),),
    )  # fmt: skip
    assert moves(entry, 7) == [
        Move("player:1", came=False),
        Move("letter to player:2", came=True),
        Move("chest:1", came=True),
    ]
    assert moves(entry, 8) == []


def test_an_item_is_found_in_the_fields_that_the_classes_declare() -> None:
    fields = {
        "goods": {"at": 0, "removed": [7], "added": [8]},
        "owned": {"removed": {}, "added": {"7": True}},
        "gold": [7, 8],
        "worn": [None, {"uid": 7}],
    }
    entry = CommitEntry(1, 1, 1, "sell", (RecordChange("shop:1", 1, fields=fields),))
    assert moves(entry, 7) == []
    assert moves(entry, 7, frozenset({"goods"})) == [Move("shop:1", came=False)]
    assert moves(entry, 7, frozenset({"uid"})) == [Move("shop:1", came=True)]
    assert moves(entry, 7, frozenset({"owned"})) == [Move("shop:1", came=True)]
    assert moves(entry, 7, frozenset({"goods", "uid"})) == []


async def test_a_trace_reads_the_declared_field(tmp_path: Path) -> None:
    class Stall(Record, kind="stall", version=1):
        goods: list[int] = durable(default_factory=list[int], tier=IMMEDIATE)

    @Stall.serials(field="goods")
    def _(stall: Stall) -> list[int]:
        return stall.goods

    game = Game(Holdings((Stall,), (), HOLDINGS.count), DEFAULT_LIMITS, accept_unchecked=False)
    async with Keeper.open("memory://", rescue_path=Path(os.devnull), journal=JournalConfig()) as keeper:
        stall = await keeper.login(Stall, 1, create=Stall)

        def stock(stall: Stall) -> None:
            stall.goods = [71, 7]

        await keeper.commit(stock, stall)
        history = History(FileArchive(tmp_path), engine_of(keeper).storage)
        (found,) = await history.of_serial(7, game.serial_fields)
        assert isinstance(found.entry, CommitEntry)
        assert moves(found.entry, 7, game.serial_fields) == [Move("stall:1", came=True)]
        assert await history.of_serial(7) == []
