"""`realmkeep economy audit`: a store and a backup counted as a whole, seeded duplicates, and the flows of the journal."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realmkeep.cli.app import app
from realmkeep.config import JournalConfig, KeeperConfig
from realmkeep.errors import RealmkeepError
from realmkeep.keeping import Keeper
from realmkeep.operations.backup.game import Game
from realmkeep.operations.economy import audit
from realmkeep.realm.world.holdings import HOLDINGS
from realmkeep.realm.world.mail_letter import MailLetter
from realmkeep.realm.world.player import Item, Player, StoredItem
from realmkeep.realm.world.zone import GroundItem, Zone
from realmkeep.records import DEFAULT_LIMITS, encode
from realmkeep.storage import Put, Transaction, open_storage

pytestmark = pytest.mark.backend("sqlite")

Run = Callable[..., tuple[int, str, str]]


async def play(url: str) -> None:
    config = KeeperConfig(name="town-1", heartbeat_s=0.2, lease_ttl_s=1)
    rescue = Path(os.devnull)
    async with Keeper.open(url, config=config, rescue_path=rescue, journal=JournalConfig()) as keeper:
        sword, bow = Item("iron-sword", 1, 0, 11), StoredItem("bow", 1, 12)
        made = Player(player_id=7, name="Ada", gold=50, bank_gold=5, inventory=[sword], bank=[bow])
        ada = await keeper.login(Player, 7, create=lambda: made)
        await keeper.login(Player, 8, create=lambda: Player(player_id=8, name="Bob", gold=20))
        ground = [GroundItem("axe", 13, 0.0, 0.0)]
        await keeper.hold(Zone, "town", create=lambda: Zone(ground=ground))

        def quest(player: Player) -> None:
            player.gold += 30
            keeper.tx.mint("gold", 30, "reward of a quest")

        def post(player: Player) -> None:
            player.gold -= 10
            letter = MailLetter(sender=7, sender_name="Ada", receiver=8, receiver_name="Bob", gold=10)
            keeper.tx.deliver(Player, 8, letter)

        def buy(player: Player) -> None:
            player.gold -= 4
            keeper.tx.burn("gold", 4, "bought from a shop")

        for change in (quest, post, buy):
            await keeper.commit(change, ada)


async def seed(url: str, key: str, player: Player) -> None:
    storage = open_storage(url)
    await storage.connect()
    await storage.write([Transaction((), (Put(key, encode(player)),))])
    await storage.disconnect()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REALMKEEP_STORE__URL", f"sqlite:///{tmp_path / 'realm.db'}")
    monkeypatch.setenv("REALMKEEP_BACKUP__DIRECTORY", str(tmp_path / "backups"))
    monkeypatch.setenv("REALMKEEP_JOURNAL__URL", "file:///archive")

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

    asyncio.run(play(f"sqlite:///{tmp_path / 'realm.db'}"))
    return run


def test_a_store_is_counted_as_a_whole(run: Run) -> None:
    code, out, _ = run("economy", "audit", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["totals"] == {"gold": 101}
    assert found["by_kind"] == {"letters gold": 10, "player gold": 91}
    assert (found["records"], found["serials"]) == ({"player": 2, "zone": 1}, 3)
    flows = {(each["name"], each["reason"]): each["made"] - each["destroyed"] for each in found["flows"]}
    assert flows == {
        ("gold", "created"): 75, ("gold", "reward of a quest"): 30, ("gold", "bought from a shop"): -4,
        ("items", "created"): 3,
    }  # fmt: skip
    assert sum(amount for (name, _), amount in flows.items() if name == "gold") == found["totals"]["gold"]
    assert (found["doubled"], found["unreadable"], found["unbalanced"]) == ([], [], {})
    code, out, _ = run("economy", "audit")
    assert "gold  bought from a shop: 0 made, 4 destroyed" in out


def test_a_seeded_duplicate_and_an_unreadable_record_are_found(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'realm.db'}"
    asyncio.run(seed(url, "player:9", Player(player_id=9, inventory=[Item("axe", 1, 0, 13), Item("bow", 1, 1, 12)])))
    code, out, _ = run("economy", "audit")
    assert code == 1
    assert "DOUBLED  serial 12: player:7, player:9" in out
    assert "DOUBLED  serial 13: player:9, zone:town:objects" in out
    asyncio.run(seed(url, "player:9", Player(player_id=9, inventory=[Item("axe", 1, 0, 99), Item("bow", 1, 1, 99)])))
    assert "DOUBLED  serial 99: player:9, player:9" in run("economy", "audit")[1]
    storage = open_storage(url)

    async def spoil() -> None:
        await storage.connect()
        await storage.write([Transaction((), (Put("player:9", b"{"),))])
        await storage.disconnect()

    asyncio.run(spoil())
    code, out, _ = run("economy", "audit", "--without-journal")
    assert code == 1
    assert "UNREADABLE  player:9" in out
    assert "destroyed" not in out


def test_a_backup_is_counted_as_of_its_moment(run: Run, tmp_path: Path) -> None:
    assert run("backup", "create")[0] == 0
    name = next(path.name for path in (tmp_path / "backups").iterdir() if path.name.endswith("Z"))
    asyncio.run(seed(f"sqlite:///{tmp_path / 'realm.db'}", "player:9", Player(player_id=9, gold=5)))
    code, out, _ = run("economy", "audit", "--backup", name, "--json")
    assert code == 0
    assert json.loads(out)["totals"] == {"gold": 101}
    assert json.loads(run("economy", "audit", "--json")[1])["totals"] == {"gold": 106}
    code, _, err = run("economy", "audit", "--backup", "20000101T000000Z")
    assert code == 1
    assert "20000101T000000Z" in err


async def test_records_are_read_a_page_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE_KEYS", 3)
    storage = open_storage(f"sqlite:///{tmp_path / 'realm.db'}")
    await storage.connect()
    for number in range(20):
        player = Player(player_id=number, gold=1, inventory=[Item("axe", 1, 0, number + 1)])
        await storage.write([Transaction((), (Put(f"player:{number}", encode(player)),))])
    game = Game(HOLDINGS, DEFAULT_LIMITS, accept_unchecked=False)
    found = await audit.audit_economy(storage, game, None)
    assert (found.totals, found.serials, found.doubled_count) == ({"gold": 20}, 20, 0)
    await storage.disconnect()
