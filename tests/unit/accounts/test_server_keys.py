import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from realmkeep.accounts.sealed_payloads import decrypt_auth_payload, encrypt_auth_payload
from realmkeep.accounts.server_keys import init_server_encryption
from realmkeep.errors import BadSealingKey, SealBroken
from realmkeep.files import trust
from realmkeep.testing.clock import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server-keys.json"


def test_the_key_survives_a_restart(path: Path) -> None:
    payload = encrypt_auth_payload(b"{}", init_server_encryption(path).public_key).payload
    assert decrypt_auth_payload(payload, init_server_encryption(path)).plaintext == b"{}"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    init_server_encryption(path)
    assert path.stat().st_mode & 0o777 == 0o600
    init_server_encryption(path).rotate()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_file_that_others_can_touch_is_refused(path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def somebody_else_is_in_it(_: int) -> bool:
        return False

    monkeypatch.setattr(trust, "_is_our_group_alone", somebody_else_is_in_it)
    init_server_encryption(path)
    path.chmod(mode)
    with pytest.raises(BadSealingKey, match="other users"):
        init_server_encryption(path)


def test_the_public_key_is_logged_as_the_specification_words_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "realmkeep.accounts")
    keys = init_server_encryption(path)
    assert caplog.messages == [f"SERVER: Auth encryption enabled. Public key: {keys.public_key}"]


def test_after_a_rotation_both_keys_work_until_the_overlap_ends(path: Path) -> None:
    clock = FakeClock()
    keys = init_server_encryption(path, clock=clock)
    old = keys.public_key
    keys.rotate(overlap_s=100)
    assert keys.public_key != old
    for public_key in (old, keys.public_key):
        assert decrypt_auth_payload(encrypt_auth_payload(b"{}", public_key).payload, keys).plaintext == b"{}"
    asyncio.run(clock.advance(99))
    restarted = init_server_encryption(path, clock=clock)
    decrypt_auth_payload(encrypt_auth_payload(b"{}", old).payload, restarted)
    asyncio.run(clock.advance(1))
    for server in (keys, restarted):
        with pytest.raises(SealBroken):
            decrypt_auth_payload(encrypt_auth_payload(b"{}", old).payload, server)
        decrypt_auth_payload(encrypt_auth_payload(b"{}", keys.public_key).payload, server)


def test_a_second_rotation_never_lengthens_the_life_of_an_old_key_and_drops_dead_ones(path: Path) -> None:
    clock = FakeClock()
    keys = init_server_encryption(path, clock=clock)
    first = keys.public_key
    keys.rotate(overlap_s=10)
    keys.rotate(overlap_s=1000)
    assert len(keys.usable()) == 3
    asyncio.run(clock.advance(10))
    with pytest.raises(SealBroken):
        decrypt_auth_payload(encrypt_auth_payload(b"{}", first).payload, keys)
    keys.rotate(overlap_s=5)
    assert path.read_text().count("private_key") == 3


def test_a_rotation_on_another_server_is_seen_by_reloading(path: Path) -> None:
    here, there = init_server_encryption(path), init_server_encryption(path)
    there.rotate()
    assert here.public_key != there.public_key
    here.reload()
    assert here.public_key == there.public_key


def test_servers_that_start_together_have_one_key(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(init_server_encryption, [path] * 32))
    assert len({each.public_key for each in keys}) == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"not json 5dab087e",
        b'{"version": 1, "keys": []}',
        b'{"version": 2, "keys": [{"private_key": "%s"}]}' % (b"5d" * 32),
        b'{"version": 1, "keys": [{"private_key": "5dab087e"}]}',
        b'{"version": 1, "keys": [{"private_key": "%s"}]}' % (b"zz" * 32),
        b'{"version": 1, "keys": [{"private_key": "%s", "retires_s": 1}]}' % (b"5d" * 32),
        b'{"version": 1, "keys": [{"private_key": "%s", "colour": 1}]}' % (b"5d" * 32),
    ],
)
def test_a_malformed_file_is_refused_without_quoting_it_and_never_overwritten(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadSealingKey) as caught:
        init_server_encryption(path)
    assert "5d" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSealingKey, match="file is not a directory"):
        init_server_encryption(tmp_path / "file" / "keys")
    with pytest.raises(BadSealingKey, match="not a regular file"):
        init_server_encryption(tmp_path)


def test_a_failed_reload_leaves_the_keys_in_use(path: Path) -> None:
    keys = init_server_encryption(path)
    public_key = keys.public_key
    path.write_bytes(b"")
    with pytest.raises(BadSealingKey):
        keys.reload()
    assert keys.public_key == public_key
    decrypt_auth_payload(encrypt_auth_payload(b"{}", public_key).payload, keys)
