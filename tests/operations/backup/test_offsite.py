"""Off site: against a real server that speaks the protocol of S3."""

import asyncio
import json
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.backup.test_command import backup as command
from operations.traders import CLOCK, GAME, TRADERS, census_of, trading
from realmkeep.errors import BackupDamaged, BackupError, OffsiteUnavailable
from realmkeep.operations.backup.catalogue import list_backups
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.backup.erasures import note_erasure
from realmkeep.operations.backup.examining import verify_backup
from realmkeep.operations.backup.offsite import Bucket
from realmkeep.operations.backup.restoring import plan_restore, restore_backup
from realmkeep.operations.backup.retention import DAY_US

SERVER = "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server of this machine; it lives as long as the tests of this file."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if "Running on" in line:
                yield line.split()[-1]
                break
        server.kill()


@pytest.fixture
def bucket_url(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A new bucket, and the variables with which it is reached."""
    name = f"b{secrets.token_hex(8)}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()
    for variable, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "realm",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(variable, value)
    return f"s3://{name}/realm"


async def backed_up(tmp_path: Path, backups: Path) -> str:
    url = f"sqlite:///{tmp_path}/realm.db"
    async with trading(url):
        """A realm with traders."""
    return (await create_backup(url, backups, GAME, clock=CLOCK)).manifest.name


async def test_a_backup_comes_back_on_a_new_machine(tmp_path: Path, backups: Path, bucket_url: str) -> None:
    name = await backed_up(tmp_path, backups)
    await asyncio.to_thread(note_erasure, backups, "trader:3", at_us=CLOCK.wall_us())
    bucket = Bucket(bucket_url)
    assert await bucket.push(backups) == [name]
    assert await bucket.push(backups) == []
    (listed,) = await bucket.list()
    assert (listed.name, listed.state) == (name, "good")

    new = tmp_path / "new" / "backups"
    fetched = await bucket.fetch(None, new)
    assert fetched.name == name
    assert sorted(path.name for path in (new / name).iterdir()) == ["manifest.json", "snapshot.db", "verdict.json"]
    assert (await verify_backup(new, name, GAME, clock=CLOCK)).verdict == "good"
    plan = await plan_restore(new, f"sqlite:///{tmp_path}/new/realm.db", clock=CLOCK)
    report = await restore_backup(plan, GAME, identities=(), clock=CLOCK)
    assert report.erased == 1  # the erasures came along
    assert (await census_of(f"sqlite:///{tmp_path}/new/realm.db")).records == {"trader": TRADERS - 1}
    with pytest.raises(BackupError, match="is there already"):
        await bucket.fetch(name, new)
    with pytest.raises(BackupError, match="has no such backup"):
        await bucket.fetch("20200101T000000Z", new)


async def test_the_manifest_is_last_and_never_replaced(
    tmp_path: Path, backups: Path, bucket_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await backed_up(tmp_path, backups)
    bucket = Bucket(bucket_url)

    async def cut_off(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(bucket, "_put_manifest", cut_off)
    with pytest.raises(ConnectionResetError):
        await bucket.push(backups)
    monkeypatch.undo()
    for variable, value in (("AWS_ACCESS_KEY_ID", "realm"), ("AWS_SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(variable, value)
    assert [each.state for each in await bucket.list()] == ["incomplete"]
    with pytest.raises(BackupError, match="has no such backup"):
        await bucket.fetch(name, tmp_path / "new")
    assert await bucket.push(backups) == [name]
    (listed,) = await bucket.list()
    assert listed.manifest is not None
    with pytest.raises(BackupError, match=f"has another backup {name} already"):
        await bucket._put_manifest(name, listed.manifest)


async def test_what_was_changed_in_the_bucket_is_damaged(tmp_path: Path, backups: Path, bucket_url: str) -> None:
    name = await backed_up(tmp_path, backups)
    bucket = Bucket(bucket_url)
    await bucket.push(backups)
    content = bytearray((backups / name / "snapshot.db").read_bytes())
    content[-1] ^= 1
    await bucket._bucket.put(f"{name}/snapshot.db", bytes(content))
    with pytest.raises(BackupDamaged, match="is not as it was written"):
        await bucket.fetch(name, tmp_path / "new")
    assert [each.state for each in await asyncio.to_thread(list_backups, tmp_path / "new")] == ["incomplete"]
    await bucket._bucket.put(f"{name}/manifest.json", b"{}")
    assert [each.state for each in await bucket.list()] == ["bad"]
    with pytest.raises(BackupDamaged, match="cannot be read"):
        await bucket.fetch(name, tmp_path / "newer")


async def test_erasures_are_those_of_both_and_of_one_realm(tmp_path: Path, backups: Path, bucket_url: str) -> None:
    await backed_up(tmp_path, backups)
    other = tmp_path / "other"
    await asyncio.to_thread(note_erasure, backups, "trader:1", at_us=1)
    bucket = Bucket(bucket_url)
    await bucket.push(backups)
    await bucket.fetch(None, other)
    await asyncio.to_thread(note_erasure, backups, "trader:2", at_us=2)
    await asyncio.to_thread(note_erasure, other, "trader:3", at_us=3)
    for each in (other, backups, other):
        await bucket.push(each)
    lines = [sorted((each / "erasures.jsonl").read_bytes().splitlines()) for each in (backups, other)]
    assert lines[0] == lines[1]
    assert [json.loads(line)["at_us"] for line in lines[0]] == [1, 2, 3]
    foreign = tmp_path / "foreign"
    await asyncio.to_thread(note_erasure, foreign, "trader:1", at_us=1)
    with pytest.raises(BackupError, match=r"have another key .*give each realm its own prefix"):
        await bucket.push(foreign)


async def test_the_bucket_is_pruned_by_the_same_rule(tmp_path: Path, backups: Path, bucket_url: str) -> None:
    first = await backed_up(tmp_path, backups)
    second = (await create_backup(f"sqlite:///{tmp_path}/realm.db", backups, GAME, clock=CLOCK)).manifest.name
    bucket = Bucket(bucket_url)
    assert await bucket.push(backups) == [first, second]
    later_us = CLOCK.wall_us() + 40 * DAY_US
    for dry_run in (True, False):
        removed = await bucket.prune(now_us=later_us, hourly_days=7, daily_days=30, dry_run=dry_run)
        assert [each.name for each in removed] == [first]
    assert [each.name for each in await bucket.list()] == [second]
    assert {path.partition("/")[0] for path in await bucket._paths()} == {second}


async def test_a_bucket_that_is_not_there_is_one_line(
    tmp_path: Path, backups: Path, bucket_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backed_up(tmp_path, backups)
    with pytest.raises(OffsiteUnavailable, match="the bucket s3://no-such-bucket: "):
        await Bucket("s3://no-such-bucket").push(backups)


async def test_an_operator_copies_and_fetches(
    tmp_path: Path, backups: Path, bucket_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trading(f"sqlite:///{tmp_path}/realm.db"):
        """A realm with traders."""
    (tmp_path / "realmkeep.toml").write_text(
        f'[store]\nurl = "sqlite:///realm.db"\n[backup]\ndirectory = "backups"\noffsite_url = "{bucket_url}"\n',
        encoding="utf-8",
    )
    code, said, _ = await asyncio.to_thread(command, tmp_path, "create", "--prune")
    name = said[:16]
    assert (code, f"copied to {bucket_url}: {name}\n" in said) == (0, True)
    code, said, _ = await asyncio.to_thread(command, tmp_path, "list", "--offsite")
    assert (code, said.splitlines()[1].split()[0], said.split()[-1]) == (0, name, "good")
    code, said, _ = await asyncio.to_thread(command, tmp_path, "fetch", "--directory", "elsewhere")
    assert (code, said) == (0, f"{name}  is in {tmp_path}/elsewhere\n")
    code, said, _ = await asyncio.to_thread(command, tmp_path, "verify", "--directory", "elsewhere")
    assert (code, said) == (0, f"{name}  good\n")
