import logging
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from realmkeep.errors import ConfigError, RealmkeepError, StorageUnavailable
from realmkeep.storage import open_storage
from realmkeep.storage.redis_connection import safe_cause, safe_storage_error
from realmkeep.storage.redis_url import RedisAddress, parse_redis_url

SECRET = "gr4vel&tide"
ENCODED = "gr4vel%26tide"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://example.org", RedisAddress(host="example.org")),
        ("redis://example.org:7000/3", RedisAddress(host="example.org", port=7000, database=3)),
        ("redis://[::1]:7000", RedisAddress(host="::1", port=7000)),
        (
            f"redis://ke%40per:{ENCODED}@h?timeout_s=2.5&connect_timeout_s=1",
            RedisAddress(host="h", username="ke@per", password=SECRET, timeout_s=2.5, connect_timeout_s=1.0),
        ),
        (f"redis://:{ENCODED}@h", RedisAddress(host="h", password=SECRET)),
        (
            "rediss://h/1?tls_ca=/ca.pem&tls_cert=/c.pem&tls_key=/k.pem",
            RedisAddress(host="h", database=1, tls=True, tls_ca="/ca.pem", tls_cert="/c.pem", tls_key="/k.pem"),
        ),
        ("redis+unix:///run/a%20store?db=2", RedisAddress(socket_path="/run/a store", database=2)),
        ("redis://h/1?prefix=north-1", RedisAddress(host="h", database=1, prefix="north-1:")),
        ("redis+unix:///run/s?prefix=n.2", RedisAddress(socket_path="/run/s", prefix="n.2:")),
        (
            f"redis+unix://u:{ENCODED}@/run/s",
            RedisAddress(socket_path="/run/s", username="u", password=SECRET),
        ),
    ],
)
def test_every_part_of_a_url_has_its_place(url: str, expected: RedisAddress) -> None:
    assert parse_redis_url(urlsplit(url)) == expected


@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{SECRET}",
        f"redis://:{SECRET}@h:port",
        f"redis://:{SECRET}@h:99999",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@h/first",
        f"redis://:{SECRET}@h/-1",
        f"redis://:{SECRET}@h?colour={SECRET}",
        f"redis://:{SECRET}@h?{SECRET}",
        f"redis://:{SECRET}@h?timeout_s=0",
        f"redis://:{SECRET}@h?timeout_s=nan",
        f"redis://:{SECRET}@h?timeout_s=never",
        f"redis://:{SECRET}@h?tls_ca=/ca.pem",
        f"redis://:{SECRET}@h?prefix=",
        f"redis://:{SECRET}@h?prefix=a:b",
        f"redis://:{SECRET}@h?prefix=*",
        f"redis://:{SECRET}@h?prefix={'p' * 65}",
        f"redis://:{SECRET}@h#x",
        "redis://user@h",
        f"rediss://:{SECRET}@h?tls_cert=/c.pem",
        f"redis+unix://:{SECRET}@h/run/s",
        "redis+unix://",
    ],
)
def test_a_malformed_url_is_refused_without_repeating_its_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage(url)
    assert SECRET not in f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.hint


def test_no_repr_shows_user_or_password() -> None:
    url = f"redis://keeper:{ENCODED}@h:7000/1"
    storage = open_storage(url)
    shown = f"{storage!r} {storage!s} {parse_redis_url(urlsplit(url))!r} {parse_redis_url(urlsplit(url))!s}"
    assert SECRET not in shown
    assert ENCODED not in shown
    assert "keeper" not in shown
    assert "redis://h:7000/1" in shown


def test_an_answer_that_repeats_the_password_is_not_repeated() -> None:
    address = RedisAddress(host="h", password=SECRET)
    echo = OSError(f"unknown command 'AUTH', with args beginning with: '{SECRET}'")
    error = safe_storage_error(echo, address, sent=False)
    assert SECRET not in f"{error} {error!r}"
    assert safe_cause(echo, address) is None
    assert safe_cause(OSError("reset"), address) is not None


async def test_a_failed_connection_puts_no_secret_in_errors_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    storage = open_storage(f"redis+unix://keeper:{ENCODED}@/nowhere/s")
    with pytest.raises(StorageUnavailable) as caught:
        await storage.connect()
    chain: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    assert len(chain) > 1
    said = " ".join(f"{each!s} {each!r} {each.args!r}" for each in chain) + caplog.text
    assert SECRET not in said
    assert ENCODED not in said
    await storage.disconnect()
    with pytest.raises(RealmkeepError):
        await storage.load("a")


@pytest.mark.parametrize(
    "url", ["redis://:pa/ss@h:6379/0", "redis://u:pa?ss@h/0", "redis://u:pa#ss@h/0", "rediss://u:p/@h"]
)
def test_a_special_character_in_a_password_is_told_as_what_it_is(url: str) -> None:
    with pytest.raises(ConfigError, match="%2F") as caught:
        open_storage(url)
    assert "pa" not in caught.value.message.replace("password", "").replace("path", "")


def test_a_zone_is_encoded_in_a_url_and_not_in_an_address() -> None:
    address = parse_redis_url(urlsplit("redis://[fe80::1%25eth0]:7000/1"))
    assert address.host == "fe80::1%eth0"
    assert str(address) == "redis://[fe80::1%25eth0]:7000/1"
    assert parse_redis_url(urlsplit(str(address))) == address


@pytest.mark.parametrize("url", ["redis://h:7000/1?prefix=north", "redis+unix:///run/s?db=2&prefix=north"])
def test_the_prefix_stands_in_what_is_shown(url: str) -> None:
    assert str(parse_redis_url(urlsplit(url))) == url


def secret_file(path: Path, text: str = SECRET) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_passwords_come_from_files(tmp_path: Path) -> None:
    password, passphrase = secret_file(tmp_path / "p", f"{SECRET}\n"), secret_file(tmp_path / "k", "phrase")
    url = (
        f"rediss://keeper@h?password_file={password}&tls_cert=/c.pem&tls_key=/k.pem&tls_key_password_file={passphrase}"
    )
    address = parse_redis_url(urlsplit(url))
    assert (address.username, address.password, address.tls_key_password) == ("keeper", SECRET, "phrase")
    assert SECRET not in repr(address)
    assert "phrase" not in repr(address)


@pytest.mark.parametrize("option", ["password_file", "tls_key_password_file"])
def test_a_file_of_a_secret_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path, option: str) -> None:
    path = tmp_path / "secret"
    url = f"rediss://h?{option}={path}"
    with pytest.raises(ConfigError, match=f"{option}.*{path} cannot be read"):
        open_storage(url)
    secret_file(path).chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by other users") as caught:
        open_storage(url)
    assert SECRET not in str(caught.value)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="both a"):
        open_storage(
            f"rediss://:x@h?password_file={path}" if option == "password_file" else f"{url}&tls_key_password=x"
        )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost:6379/0", ["every user of this machine"]),
        ("redis://10.0.0.7/0", ["every host that reaches its port", "not encrypted"]),
        ("redis://:x@10.0.0.7/0", ["not encrypted"]),
        ("rediss://10.0.0.7/0", ["every host that reaches its port"]),
        ("rediss://:x@10.0.0.7/0", []),
        ("redis://:x@127.0.0.1", []),
        ("redis+unix:///run/s", []),
    ],
)
def test_who_else_can_use_the_store_is_said(url: str, said: list[str]) -> None:
    exposures = [str(fault) for fault in parse_redis_url(urlsplit(url)).exposures()]
    assert len(exposures) == len(said)
    assert all(words in exposure for words, exposure in zip(said, exposures, strict=True))


@pytest.mark.parametrize("url", ["redis+unix:///run/a%00b", "redis://h%0Aost", "redis+unix:///run/a%0Ab"])
def test_a_control_character_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="control character"):
        open_storage(url)
