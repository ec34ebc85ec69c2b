"""The pages that count a whole store, an archive or a backup: each in a child process, and its result on the page."""

import asyncio
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from keeping.game import Player
from operations.console.asking import Browser, Realm, realm
from realmkeep.background import Background
from realmkeep.config import BackupConfig, Config, JournalConfig, StoreConfig
from realmkeep.operations.backup.census import NOTHING
from realmkeep.operations.backup.manifest import Manifest, create_manifest
from realmkeep.operations.child_process import ChildOutput
from realmkeep.operations.console import reports as module
from realmkeep.operations.console.reports import Reports
from realmkeep.operations.doctor.findings import Finding
from realmkeep.operations.doctor.findings import Report as Examination
from realmkeep.operations.economy.audit import Audit, Doubled, Flow
from realmkeep.operations.journal.archiver import Archiver
from realmkeep.operations.journal.archives import open_archive
from realmkeep.operations.operators.roles import Role
from realmkeep.operations.store_sizes import measure_sizes
from realmkeep.storage import Append, Put, Transaction
from realmkeep.storage.memory import MemoryStorage
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.lab import Lab

AUDIT = Audit(
    records={"player": 2},
    by_kind={"player gold": 70},
    totals={"gold": 70},
    serials=3,
    doubled=(Doubled(4711, ("player:1", "player:2")),),
    doubled_count=1,
    unreadable=("player:9",),
    flows=(Flow("gold", "quest", 90, 20),),
    unbalanced={"gold": 5},
)
EXAMINATION = Examination(
    store="memory://",
    engine="python",
    outcome="examined",
    error="",
    findings=(Finding("bind", "danger", "it listens on *", "anyone can read it", "bind 127.0.0.1"),),
    accepted=(),
    unexamined=(),
    promise="nothing",
)


class Told:
    """Stands for the child processes: it answers a command at once, and keeps the commands."""

    commands: ClassVar[list[tuple[str, ...]]] = []
    answers: ClassVar[dict[str, ChildOutput]] = {}

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._command = tuple(command[3:])
        assert environment["REALMKEEP_STORE__URL"]

    def run(self) -> ChildOutput:
        self.commands.append(self._command)
        return self.answers[self._command[0]]

    def end(self) -> None:
        """It has ended."""


def answers(**results: Any) -> dict[str, ChildOutput]:
    return {name: ChildOutput(1, msgspec.json.encode(result), b"") for name, result in results.items()}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> type[Told]:
    monkeypatch.setattr(module, "ChildProcess", Told)
    monkeypatch.setattr(Told, "commands", [])
    monkeypatch.setattr(Told, "answers", {})
    return Told


async def ended(browser: Browser, path: str) -> str:
    """The page, once no report is under way."""
    while True:
        text = (await browser.get(path)).text
        if 'hx-trigger="load' not in text:
            return text
        await asyncio.sleep(0)


async def test_a_report_is_a_command_in_a_child_process_and_runs_once_at_a_time() -> None:
    clock = FakeClock()
    background = Background("the test", clock)
    reports = Reports(Config(store=StoreConfig(url="memory://")), clock, background)
    assert reports.latest("doctor") is None
    begun = [reports.start("doctor"), reports.start("doctor")]
    failing = reports.start("journal", "nonsense")
    assert begun[0] is begun[1] is reports.latest("doctor")
    assert begun[0].running
    await background.wait_finished()
    assert (begun[0].running, begun[0].trouble) == (False, "")
    assert "store-in-memory" in {each["name"] for each in begun[0].result["findings"]}
    assert (failing.result, failing.running) == (None, False)
    assert failing.trouble
    assert reports.start("doctor") is not begun[0]
    background.cancel()


async def test_a_store_in_memory_without_a_backup_has_nothing_to_count(kept: Realm, told: type[Told]) -> None:
    browser = await kept.browser(Role.SUPPORT)
    assert "there is no backup to count" in (await browser.get("/economy")).text
    assert (await browser.post("/economy/count")).status == 409
    assert told.commands == []


def manifest(name: str, taken_us: int, **totals: int) -> Manifest:
    census = msgspec.structs.replace(NOTHING, totals=totals, serials=3)
    return Manifest(
        name=name,
        realmkeep="0.1",
        engine="sqlite",
        version="sqlite 3",
        taken_us=taken_us,
        files=(),
        recipients=(),
        census=census,
    ).sealed()


@pytest.fixture
def two_backups(tmp_path: Path) -> None:
    for day, gold in ((1, 60), (2, 70)):
        directory = tmp_path / "backups" / f"2030010{day}T000000Z"
        directory.mkdir(parents=True)
        create_manifest(directory, manifest(directory.name, 1_893_456_000_000_000 + day, gold=gold, ore=7))


@pytest.mark.usefixtures("two_backups")
async def test_the_newest_backup_is_counted_where_only_the_server_can_open_the_store(
    tmp_path: Path, told: type[Told]
) -> None:
    told.answers = answers(economy=AUDIT)
    async with Lab() as lab, realm(lab, tmp_path) as kept:
        browser = await kept.browser(Role.SUPPORT)
        shown = (await browser.get("/economy")).text
        assert shown.index(">70<") < shown.index(">60<"), "the newest first"
        assert (await browser.post("/economy/count")).headers["location"] == "/economy"
        shown = html.unescape(await ended(browser, "/economy"))
    assert told.commands == [("economy", "audit", "--backup", "20300102T000000Z", "--json")]
    for words in ("1 items exist more than once: 4711 (player:1, player:2)", "+5 gold without", "player:9", "quest"):
        assert words in shown, words


async def test_the_store_is_examined_and_measured_on_request(kept: Realm, told: type[Told]) -> None:
    storage = MemoryStorage(kept.lab.store, clock=kept.lab.clock)
    await storage.connect()
    sizes = await measure_sizes(storage)
    told.answers = answers(doctor=EXAMINATION, store=sizes)
    browser = await kept.browser(Role.SUPPORT)
    assert "operator" not in (await browser.get("/store")).text
    assert (await browser.post("/store/nonsense")).status == 409
    for report in ("doctor", "sizes"):
        assert (await browser.post(f"/store/{report}")).headers["location"] == "/store"
    shown = await ended(browser, "/store")
    assert sorted(told.commands) == [("doctor", "--json"), ("store", "sizes", "--json")]
    for words in ("it listens on *", "anyone can read it", "bind 127.0.0.1", "operator:admin", ">in all<"):
        assert words in shown, words


async def test_a_report_that_fails_says_why(kept: Realm, told: type[Told]) -> None:
    told.answers = {"doctor": ChildOutput(69, b"", b"noise\nrealmkeep: the store does not answer\n")}
    browser = await kept.browser(Role.SUPPORT)
    await browser.post("/store/doctor")
    assert "the store does not answer" in await ended(browser, "/store")


async def test_sizes_are_by_kind_with_the_largest_first_and_a_list_is_its_entries() -> None:
    storage = MemoryStorage()
    await storage.connect()
    puts = [Put(f"rover:{number}", b"x" * number) for number in range(1, 31)]
    await storage.write([Transaction((), [*puts, Append("rover:1:inbox", b"12345"), Put("foreign", b"1")])])
    sizes = await measure_sizes(storage)
    assert (sizes.keys, sizes.bytes_count) == (32, sum(range(31)) + 6)
    assert [(each.kind, each.role, each.keys, each.bytes_count) for each in sizes.kinds] == [
        ("rover", "record", 30, sum(range(31))),
        ("rover", "inbox", 1, 5),
        ("not of Realmkeep", "", 1, 1),
    ]
    assert sizes.largest[0] == ("rover:30", 30)
    assert len(sizes.largest) == 20


async def test_the_history_of_a_player_is_that_of_the_archive_and_of_the_entries_that_wait(tmp_path: Path) -> None:
    url = f"file:///{tmp_path}/journal"  # four slashes: an absolute path
    config = Config(journal=JournalConfig(url=url), backup=BackupConfig(directory=str(tmp_path / "backups")))
    async with Lab(journal=config.journal) as lab, realm(lab, tmp_path, config=config) as kept:
        session = await lab.keeper.login(Player, 7, create=lambda: Player(name="Ada", gold=10))
        for gold in (20, 30):

            def reward(player: Player, gold: int = gold) -> None:
                player.gold = gold
                lab.keeper.tx.explain(f"up to {gold}")

            await lab.keeper.commit(reward, session)
            if gold == 20:
                archive = open_archive(url)
                await Archiver(lab.keeper, archive, interval_s=60, keep_days=1).archive_all()
                await archive.close()
        browser = await kept.browser(Role.VIEWER)
        first = (await browser.get("/players/7/history")).text
        assert "up to 30" in first, "it waits in the store"
        shown = await ended(browser, "/players/7/history/entries")
    assert shown.index("up to 30") < shown.index("up to 20")
    assert '<del class="was">10</del> <ins class="is">20</ins>' in shown
    assert shown.count("not archived yet") == 1


async def test_without_a_journal_the_page_says_so(kept: Realm) -> None:
    browser = await kept.browser(Role.VIEWER)
    assert (await browser.get("/players/7/history")).status == 409, "there is no such player, or it was erased"
    await kept.lab.keeper.login(Player, 7, create=Player)
    assert "keeps no journal" in (await browser.get("/players/7/history")).text


async def test_the_servers_of_the_realm_are_listed_with_their_leases(kept: Realm) -> None:
    await kept.lab.server("lab-2")
    browser = await kept.browser(Role.VIEWER)
    shown = (await browser.get("/servers")).text
    assert shown.count(">alive<") == 2
    assert shown.index("lab-1") < shown.index("(this one)") < shown.index("lab-2")
