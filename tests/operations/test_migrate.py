"""Migrations of a whole store: planned, rehearsed on a backup, run beside live servers and again; and a changed class."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realmkeep.accounts.account import Account
from realmkeep.cli.app import app
from realmkeep.errors import RealmkeepError
from realmkeep.keeping import Keeper
from realmkeep.operations.migrate.fingerprints import compare, layout_of, read_layouts, write_layouts
from realmkeep.operations.migrate.running import MigrationRun
from realmkeep.records import Part, Record, durable
from realmkeep.records.json_codec import with_crc
from realmkeep.storage import Put, Transaction, open_storage
from realmkeep.testing.lab import Lab

ACCOUNTS = Path(__file__).parents[1] / "golden" / "account"
Run = Callable[..., tuple[int, str, str]]


class Knight(Record, kind="migrated-knight", version=2):
    name: str = durable(default="")
    oath: int = durable(default=0)


@Knight.migration(1)
def swear(plain: dict[str, Any]) -> dict[str, Any]:
    if plain["name"] == "Judas":
        raise ValueError("no oath")
    return {"oath": 7, **plain}


def stored(name: str) -> bytes:
    """A knight of version 1."""
    return with_crc(json.dumps({"version": 1, "name": name}).encode())


async def old_knights(lab: Lab, count: int = 70) -> None:
    """Knights of version 1, knight 0 of version 2, and an account of version 4."""
    await (await lab.keeper.login(Knight, 0, create=Knight)).logout()
    puts = [Put(f"migrated-knight:{n}", stored(f"Sir {n}")) for n in range(1, count)]
    puts += [Put("account:ada", (ACCOUNTS / "v4.json").read_bytes())]
    await lab.line().write([Transaction([], [put]) for put in puts])


def versions(lab: Lab) -> list[int]:
    blobs = [lab.store.value(f"migrated-knight:{n}") or b"" for n in range(70)]
    return sorted({json.loads(blob)["version"] for blob in blobs})


async def test_a_run_migrates_what_is_behind_and_nothing_else() -> None:
    async with Lab() as lab:
        await old_knights(lab)
        newest = lab.store.value("migrated-knight:0")
        seen: list[int] = []
        report = await MigrationRun(lab.keeper, (Knight,)).run(seen.append)
        assert report.migrated == {"account": 1, "migrated-knight": 69}
        assert (report.live, report.unusable_count, versions(lab)) == (0, 0, [2])
        assert lab.store.value("migrated-knight:0") == newest
        knight = lab.stored(Knight, 5)
        assert knight is not None
        assert (knight.name, knight.oath, lab.store.value("migrated-knight:5:version")) == ("Sir 5", 7, b"2")
        assert [key async for key in lab.line().keys("*:owner")] == []
        found = await lab.keeper.unowned(Account).get("ada")
        assert found is not None
        assert b'"version":%d' % Account.__realmkeep__.version in found.stored
        assert (await MigrationRun(lab.keeper, (Knight,)).run()).migrated == {}
        assert seen == list(range(1, 72))


async def test_a_record_of_a_live_server_is_left_to_it() -> None:
    async with Lab() as lab:
        await old_knights(lab)
        town = await lab.server("town")
        knight = await town.login(Knight, 5)
        assert knight is not None
        await knight.settled()
        await lab.line().write([Transaction([], [Put("migrated-knight:5", stored("Sir 5"))])])  # an old release's write
        report = await MigrationRun(lab.keeper, (Knight,)).run()
        assert (report.live, report.migrated["migrated-knight"]) == (1, 68)
        assert b'"version": 1' in (lab.store.value("migrated-knight:5") or b"")


async def test_a_run_that_died_is_started_again() -> None:
    async with Lab() as lab:
        await old_knights(lab)
        other = await lab.server("other")
        working = asyncio.create_task(MigrationRun(other, (Knight,)).run())
        while b'"version": 1' in (lab.store.value("migrated-knight:3") or b""):
            await asyncio.sleep(0)
        await lab.crash("other")
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        assert versions(lab) == [1, 2]  # it had not come to its end
        await lab.advance(60)  # the lease of the dead one ends
        report = await MigrationRun(lab.keeper, (Knight,)).run()
        assert (report.live, versions(lab)) == (0, [2])


async def test_a_record_that_cannot_be_migrated_is_named_and_keeps_its_bytes() -> None:
    async with Lab() as lab:
        await old_knights(lab, 3)
        await lab.line().write([Transaction([], [Put("migrated-knight:9", stored("Judas"))])])
        report = await MigrationRun(lab.keeper, (Knight,)).run()
        (unusable,) = report.unusable
        assert (unusable.key, "no oath" in unusable.why, report.unusable_count) == ("migrated-knight:9", True, 1)
        assert lab.store.value("migrated-knight:9") == stored("Judas")
        assert report.migrated["migrated-knight"] == 2


def test_a_class_that_older_code_may_not_read_is_found() -> None:
    class Sheath(Part):
        worn: bool = False

    class Was(Record, kind="readable-layout", version=1):
        name: str = durable(default="")
        sheath: Sheath | None = durable(default=None)

    class Added(Record, kind="readable-layout", version=2, readable_by=1):
        name: str = durable(default="")
        fame: int = durable(default=0)
        sheath: Sheath | None = durable(default=None)

    class Dropped(Record, kind="readable-layout", version=2, readable_by=1):
        fame: int = durable()
        sheath: Sheath | None = durable(default=None)

    class Later(Record, kind="readable-layout", version=2, readable_by=2):
        fame: int = durable()

    known = {"readable-layout": layout_of(Was)}
    assert [found.needs_version for found in compare([Added], known)] == [False]
    *_, found = compare([Dropped], known)
    assert (found.needs_version, found.what) == (
        True,
        "readable_by=1 does not hold for version 1: fame is new and has no default; name was str, optional, and is absent",
    )
    assert [found.needs_version for found in compare([Later], known)] == [False]


def classes() -> tuple[type[Record], type[Record], type[Record]]:
    """One class, the same with a retyped field of a part, and the same under a new version."""

    class Sword(Part):
        edge: int = 1

    class Blunt(Part):
        edge: float = 1.0

    class Before(Record, kind="layout", version=1):
        name: str = durable(default="")
        swords: list[Sword] = durable(default_factory=list[Sword])

    class Changed(Record, kind="layout", version=1):
        name: str | None = durable(default="")
        swords: list[Blunt] = durable(default_factory=list[Blunt])

    class After(Record, kind="layout", version=2):
        name: str | None = durable(default="")
        swords: list[Blunt] = durable(default_factory=list[Blunt])

    return Before, Changed, After


def test_a_class_that_changed_without_a_version_is_found(tmp_path: Path) -> None:
    before, changed, after = classes()
    file = tmp_path / "layouts.json"
    assert [each.needs_version for each in compare([before], read_layouts(file))] == [False]  # not in the file yet
    write_layouts(file, [before])
    known = read_layouts(file)
    assert known["layout"].parts == {"Sword": {"edge": "int, optional"}}
    assert compare([before], known) == []
    (finding,) = compare([changed], known)
    assert finding.needs_version
    assert "name was str, optional, and is str | None, optional" in finding.what
    (follows,) = compare([after], known)
    assert not follows.needs_version
    write_layouts(file, [after])
    (older,) = compare([before], read_layouts(file))
    assert older.needs_version


def test_bounds_and_tiers_are_no_part_of_the_layout() -> None:
    class Loose(Record, kind="bounds", version=1):
        gold: int = durable(default=0)

    class Tight(Record, kind="bounds", version=1):
        gold: int = durable(default=0, ge=0)

    assert layout_of(Loose) == layout_of(Tight)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REALMKEEP_STORE__URL", f"sqlite:///{tmp_path / 'realm.db'}")
    monkeypatch.setenv("REALMKEEP_BACKUP__DIRECTORY", str(tmp_path / "backups"))

    def run(*arguments: str) -> tuple[int, str, str]:
        code: Any = 0
        said = ""
        try:
            app([*arguments], result_action="return_value")
        except SystemExit as ended:
            code = ended.code
        except RealmkeepError as error:
            code, said = 1, str(error)
        captured = capsys.readouterr()
        return code or 0, captured.out, captured.err + said

    return run


async def old_realm(url: str) -> None:
    """An account of version 4."""
    async with Keeper.open(url, rescue_path=Path(os.devnull)):
        pass
    storage = open_storage(url)
    await storage.connect()
    await storage.save("account:ada", (ACCOUNTS / "v4.json").read_bytes())
    await storage.disconnect()


def test_the_commands_plan_rehearse_run_and_check(run: Run, tmp_path: Path) -> None:
    asyncio.run(old_realm(f"sqlite:///{tmp_path / 'realm.db'}"))
    code, out, _ = run("migrate", "plan")
    assert (code, "account: 1 of an older version" in out) == (0, True)
    assert run("backup", "create")[0] == 0
    code, out, _ = run("migrate", "rehearse", "--backup", "newest", "--json")
    assert (code, json.loads(out)["behind"]) == (0, {"account": 1})
    assert json.loads(run("migrate", "rehearse", "--json")[1])["behind"] == {"account": 1}  # nothing was written
    code, _, err = run("migrate", "run")
    assert (code, "add --yes" in err) == (2, True)
    code, out, _ = run("migrate", "run", "--yes")
    assert (code, "account: 1 migrated" in out) == (0, True)
    code, out, _ = run("migrate", "run", "--yes", "--json")
    assert (code, json.loads(out)["migrated"]) == (0, {})

    code, _, err = run("migrate", "rehearse", "--backup", "none")
    assert (code, "no backup of that name" in err) == (1, True)
    assert run("migrate", "plan", "--store", "redis://127.0.0.1:1/0")[0] == 69
    assert run("migrate", "run", "--yes", "--store", "redis://127.0.0.1:1/0")[0] == 69
    assert run("migrate", "plan", "--store", "http://x")[0] == 78

    assert run("migrate", "check")[0] == 0  # the reference realm
    file = tmp_path / "layouts.json"
    code, out, _ = run("migrate", "check", "--file", str(file))
    assert (code, "not in the file yet" in out) == (1, True)
    assert run("migrate", "check", "--file", str(file), "--write")[0] == 0
    file.write_text(file.read_text().replace('"gold": "int', '"gold": "float'))
    for write in ((), ("--write",)):
        code, out, _ = run("migrate", "check", "--file", str(file), *write)
        assert (code, "gold was float, optional, and is int, optional" in out) == (1, True)
    file.write_text("{")
    assert run("migrate", "check", "--file", str(file))[0] == 78


def test_a_store_with_an_unusable_record_is_a_finding(run: Run, tmp_path: Path) -> None:
    asyncio.run(old_realm(f"sqlite:///{tmp_path / 'realm.db'}"))

    async def damage() -> None:
        storage = open_storage(f"sqlite:///{tmp_path / 'realm.db'}")
        await storage.connect()
        await storage.save("player:7", b"?")
        await storage.disconnect()

    asyncio.run(damage())
    for command in (("plan",), ("rehearse",), ("run", "--yes")):
        code, out, _ = run("migrate", *command)
        assert (code, "player:7 cannot be used" in out) == (1, True)
