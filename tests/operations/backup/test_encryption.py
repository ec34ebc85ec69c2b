"""Encryption with age: public keys here, the secret ones elsewhere."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from operations.traders import CLOCK, GAME, TRADERS, census_of, trading
from realmkeep.errors import BackupDamaged, ConfigError, FileRefused, MissingIdentity
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.backup.manifest import FileEntry
from realmkeep.operations.backup.packing import _age, new_identity, parse_recipients, read_identities, unpack
from realmkeep.operations.backup.restoring import plan_restore, restore_backup

PUBLIC = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"


def write_identity(path: Path) -> str:
    """An identity file as age-keygen writes it; returns the public key."""
    identity = new_identity()
    path.write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n", encoding="utf-8")
    path.chmod(0o600)
    return str(identity.to_public())


async def test_an_encrypted_backup_is_restored_with_its_key(tmp_path: Path, backups: Path) -> None:
    url, other = f"sqlite:///{tmp_path}/realm.db", f"sqlite:///{tmp_path}/other.db"
    async with trading(url):
        """A realm with traders."""
    recipient = write_identity(tmp_path / "key.txt")
    manifest = (await create_backup(url, backups, GAME, recipients=(PUBLIC, recipient), clock=CLOCK)).manifest
    assert manifest.recipients == (PUBLIC, recipient)
    assert b"Trader" not in (backups / manifest.name / "snapshot.db.age").read_bytes()
    plan = await plan_restore(backups, other, clock=CLOCK)
    with pytest.raises(MissingIdentity, match="is encrypted, and this machine has no secret key"):
        await restore_backup(plan, GAME, identities=(), clock=CLOCK)
    assert not (tmp_path / "other.db").exists()
    identities = await asyncio.to_thread(read_identities, tmp_path / "key.txt")
    await restore_backup(plan, GAME, identities=identities, clock=CLOCK)
    assert (await census_of(other)).records == {"trader": TRADERS}


@pytest.mark.needs("age")
async def test_the_plain_age_tool_decrypts_what_sqlite_opens(tmp_path: Path, backups: Path) -> None:
    url = f"sqlite:///{tmp_path}/realm.db"
    async with trading(url):
        """A realm with traders."""
    subprocess.run(["age-keygen", "-o", tmp_path / "key.txt"], check=True, capture_output=True)
    public = subprocess.run(["age-keygen", "-y", tmp_path / "key.txt"], check=True, capture_output=True, text=True)
    recipients = parse_recipients(public.stdout)
    manifest = (await create_backup(url, backups, GAME, recipients=recipients, clock=CLOCK)).manifest
    sealed, plain = backups / manifest.name / "snapshot.db.age", tmp_path / "plain.db"
    subprocess.run(
        ["age", "--decrypt", "-i", tmp_path / "key.txt", "-o", plain, sealed], check=True, capture_output=True
    )
    plain.chmod(0o600)
    found = await census_of(f"sqlite:///{plain}")
    assert manifest.census.differences(found) == []


async def test_a_cut_off_end_is_damage(tmp_path: Path) -> None:
    identity = new_identity()
    sealed = _age().encrypt(b"x" * 200_000, [identity.to_public()])
    for at, content in enumerate((sealed[:100_000], sealed[:-1], b"age-encryption.org/v1\n", b"")):
        (tmp_path / "f.age").write_bytes(content)
        entry = FileEntry(name="f.age", part="snapshot", bytes_count=0, sha256="")
        with pytest.raises(BackupDamaged, match="cannot be decrypted"):
            await asyncio.to_thread(unpack, tmp_path, entry, tmp_path / str(at), [identity])


@pytest.mark.parametrize("text", ["age1xx", f"{PUBLIC} nonsense", "AGE-SECRET-KEY-1"])
def test_a_wrong_recipient_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is no age recipient"):
        parse_recipients(text)


def test_no_recipients_are_plain_files() -> None:
    assert parse_recipients("  ") == ()


def test_an_identity_file_is_a_secret_with_a_key_in_it(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    write_identity(path)
    assert len(read_identities(path)) == 1
    path.chmod(0o644)
    with pytest.raises(FileRefused):
        read_identities(path)
    path.chmod(0o600)
    for content, said in (("# nothing\n", "has no identity"), ("hunter2\n", "is no identity file of age")):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match=said) as refused:
            read_identities(path)
        assert "hunter2" not in str(refused.value)
