import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta, inspect

from realmkeep.config import (
    Config,
    KeeperConfig,
    OperationsConfig,
    RecordsConfig,
    Section,
    StoreConfig,
    load_config,
    mask_url,
    settings,
)
from realmkeep.config.settings import settings_of
from realmkeep.errors import ConfigError
from realmkeep.storage.urls import _BACKENDS  # pyright: ignore[reportPrivateUsage] - two lists that must agree


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(toml: str = "", environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None) -> Config:
    Path("realmkeep.toml").write_text(toml, encoding="utf-8")
    return load_config(flags=flags, environ=environ or {})


def refusal(toml: str = "", environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(toml, environ, flags)
    return str(caught.value)


# --- precedence


def test_what_nobody_sets_is_at_its_default() -> None:
    assert load_config(environ={}) == Config.defaults()
    assert read() == Config.defaults()


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() -> None:
    toml = "[keeper]\ngrace_s = 1\nheartbeat_s = 1\nflush_interval_s = 1"
    environ = {"REALMKEEP_KEEPER__HEARTBEAT_S": "2", "REALMKEEP_KEEPER__FLUSH_INTERVAL_S": "2"}
    keeper = read(toml, environ, {"keeper.flush_interval_s": 3}).keeper
    assert (keeper.grace_s, keeper.heartbeat_s, keeper.flush_interval_s) == (1, 2, 3)
    assert keeper.sweep_interval_s == Config.defaults().keeper.sweep_interval_s


def test_the_process_environment_is_read_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALMKEEP_KEEPER__GRACE_S", "7")
    assert load_config().keeper.grace_s == 7
    assert load_config(environ={}).keeper.grace_s == Config.defaults().keeper.grace_s


def test_a_flag_that_was_not_given_sets_nothing() -> None:
    assert read(flags={"keeper.grace_s": None}) == Config.defaults()


def test_each_value_remembers_its_source() -> None:
    config = read("[keeper]\ngrace_s = 1", {"REALMKEEP_RECORDS__CODEC": "sexpr"}, {"keeper.strict": True})
    assert config.sources == {
        "keeper.grace_s": "realmkeep.toml",
        "records.codec": "environment REALMKEEP_RECORDS__CODEC",
        "keeper.strict": "flag --keeper.strict",
    }


# --- the store of the specification's environment


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"MMORPG_DB_BACKEND": "memory"}, "memory://"),
        ({"MMORPG_DB_BACKEND": "memory", "REDIS_URL": "redis://there"}, "memory://"),
        ({"MMORPG_DB_BACKEND": "redis"}, "redis://localhost:6379/0"),
        ({"MMORPG_DB_BACKEND": "redis", "REDIS_URL": "redis://there"}, "redis://there"),
        ({"MMORPG_DB_BACKEND": "memory", "REALMKEEP_STORE__URL": "sqlite:///b"}, "sqlite:///b"),
    ],
)
def test_the_backend_variable_beats_the_file_only(environ: Mapping[str, str], url: str) -> None:
    assert read("[store]\nurl = 'sqlite:///a'", environ).store.url == url


def test_a_flag_beats_the_backend_variable() -> None:
    assert read("", {"MMORPG_DB_BACKEND": "memory"}, {"store.url": "sqlite:///c"}).store.url == "sqlite:///c"


def test_a_bare_redis_url_counts_only_where_nothing_else_names_a_store() -> None:
    environ = {"REDIS_URL": "rediss://there"}
    assert read("", environ).store.url == "rediss://there"
    assert read("[store]\nurl = 'sqlite:///a'", environ).store.url == "sqlite:///a"
    assert read("", environ | {"REALMKEEP_STORE__URL": "sqlite:///b"}).store.url == "sqlite:///b"
    assert (
        read("", {"REDIS_URL": "unix:///of/another/program"}, {"store.url": "sqlite:///c"}).store.url == "sqlite:///c"
    )


@pytest.mark.parametrize("backend", ["postgres", "", "Memory"])
def test_any_other_backend_is_refused(backend: str) -> None:
    message = refusal(environ={"MMORPG_DB_BACKEND": backend})
    assert f"MMORPG_DB_BACKEND = {backend!r}" in message
    assert "memory or redis" in message


@pytest.mark.parametrize("url", ["memory://", "http://x", ""])
def test_a_redis_url_names_a_redis(url: str) -> None:
    assert "REDIS_URL" in refusal(environ={"REDIS_URL": url})


def test_every_backend_that_opens_a_store_can_be_configured() -> None:
    for scheme in _BACKENDS:
        assert f"{scheme}://" in settings()["store.url"].allowed
        url = "memory://" if scheme == "memory" else f"{scheme}:///place"
        assert StoreConfig(url=url).url == url


# --- wrong names


def test_a_mistyped_key_names_its_source_and_the_nearest_key() -> None:
    assert "keeper.hartbeat_s (from realmkeep.toml): no such setting; did you mean keeper.heartbeat_s?" in refusal(
        "[keeper]\nhartbeat_s = 10"
    )
    assert "flag --keeper.grace): no such setting; did you mean keeper.grace_s?" in refusal(flags={"keeper.grace": 1})
    assert "did you mean REALMKEEP_KEEPER__GRACE_S?" in refusal(environ={"REALMKEEP_KEEPER__GRAZE_S": "1"})


def test_a_mistyped_section_names_the_nearest_one() -> None:
    assert "keper (from realmkeep.toml): no such setting; did you mean keeper?" in refusal("[keper]\ngrace_s = 1")
    assert "did you mean store.url?" in refusal("url = 'memory://'")


def test_a_variable_with_one_underscore_too_few_or_in_lower_case_is_noticed() -> None:
    assert "did you mean REALMKEEP_STORE__URL?" in refusal(environ={"REALMKEEP_STORE_URL": "memory://"})
    assert "did you mean REALMKEEP_STORE__URL?" in refusal(environ={"REALMKEEP_store__url": "memory://"})


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environ = {"REALMKEEP_VALKEY_BIN": "/opt/valkey", "REALMKEEPER__X": "1", "PATH": "/bin", "X__REALMKEEP_": ""}
    assert read(environ=environ) == Config.defaults()


def test_a_section_is_a_table() -> None:
    assert "allowed is a table, [store]" in refusal("store = 'memory://'")


def test_the_value_of_an_unknown_key_is_not_shown() -> None:
    message = refusal("[store]\npassword = 'hunter2'", {"REALMKEEP_STORE__PASSWORD": "hunter2"})
    assert message.count("store.password") == message.count("REALMKEEP_STORE__PASSWORD") == 1
    assert "hunter2" not in message


# --- wrong values


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("keeper.grace_s", "-1"),
        ("keeper.grace_s", "601"),
        ("keeper.grace_s", "nan"),
        ("keeper.grace_s", "inf"),
        ("keeper.grace_s", "true"),
        ("keeper.grace_s", ""),
        ("keeper.grace_s", "30s"),
        ("keeper.grace_s", "1, 2"),
        ("keeper.grace_s", "1] \nother = [2"),
        ("keeper.grace_s", "1 # one"),
        ("keeper.queue_max", "16.0"),
        ("keeper.queue_max", "0x" + "f" * 10_000),
        ("keeper.queue_max", "9" * 10_000),
        ("keeper.queue_max", "[" * 100_000),
        ("keeper.strict", "1"),
        ("keeper.strict", "yes"),
        ("keeper.strict", "True"),
        ("keeper.strict", '"true"'),
        ("keeper.name", "town/1"),
        ("keeper.name", "town-1\n"),
        ("keeper.name", ""),
        ("records.codec", "JSON"),
        ("store.url", "postgres://x"),
        ("store.url", "memory://x"),
        ("store.url", "sqlite:///"),
        ("store.url", "redis://a b"),
        ("store.url", "sqlite:///\udcff"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_the_allowed_range(key: str, text: str) -> None:
    variable = f"REALMKEEP_{key.replace('.', '__').upper()}"
    for message, source in [
        (refusal(environ={variable: text}), f"environment {variable}"),
        (refusal(flags={key: text}), f"flag --{key}"),
    ]:
        assert f"{key} = " in message
        assert f"allowed is {settings()[key].allowed}" in message
        assert f"(from {source})" in message
        assert len(message) < 600
        assert message.encode()  # whoever logs it can


@pytest.mark.parametrize(
    "line",
    ["grace_s = '30'", "grace_s = true", "strict = 'true'", "strict = 1", "name = 7", "queue_max = 16.0", "grace_s = [1]",
     "grace_s = {x = 1}", "grace_s = 1979-05-27", "grace_s = nan", "queue_max = 0x" + "f" * 5000],
)  # fmt: skip
def test_the_file_has_toml_types_and_nothing_is_converted(line: str) -> None:
    key = f"keeper.{line.partition(' ')[0]}"
    assert f"{key} = " in (message := refusal(f"[keeper]\n{line}"))
    assert f"allowed is {settings()[key].allowed} (from realmkeep.toml)" in message


def test_several_mistakes_are_reported_together() -> None:
    message = refusal(
        "[keeper]\ngrace_s = -1\ngrase_s = 2",
        {"REALMKEEP_RECORDS__CODEC": "xml", "MMORPG_DB_BACKEND": "mongo", "REALMKEEP_KEPER__X": "1"},
        {"store.url": "x", "store.lease": 1},
    )
    assert message.startswith("7 settings are wrong:")
    assert len(message.splitlines()) == 8


def test_a_conflict_between_two_settings_is_reported_beside_the_mistakes_of_other_sections() -> None:
    message = refusal("[keeper]\nlease_ttl_s = 19", {"REALMKEEP_RECORDS__CODEC": "xml"})
    assert "keeper: lease_ttl_s = 19.0 with heartbeat_s = 10.0: allowed is at least twice heartbeat_s (20.0)" in message
    assert "(lease_ttl_s from realmkeep.toml)" in message
    assert "records.codec" in message


def test_a_lease_of_exactly_two_heartbeats_is_allowed() -> None:
    assert read("[keeper]\nlease_ttl_s = 8\nheartbeat_s = 4").keeper.lease_ttl_s == 8


@pytest.mark.parametrize(
    "content", [b"[keeper", b"\xff", b"x = 1\nx = 2", b"x = " + b"9" * 10_000, b"x = " + b"[" * 100_000]
)
def test_a_file_that_is_not_toml_is_named(content: bytes) -> None:
    Path("realmkeep.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"realmkeep\.toml: is not TOML"):
        load_config(environ={})


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(environ={}, path=tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(environ={}, path=tmp_path)


def test_settings_made_in_code_are_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"grace_s = -1: allowed is a number from 0 to 600"):
        KeeperConfig(grace_s=-1)
    with pytest.raises(ConfigError, match="at least twice"):
        KeeperConfig(lease_ttl_s=10)
    assert isinstance(KeeperConfig(grace_s=1).grace_s, float)


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Config.defaults().keeper.grace_s = 1  # pyright: ignore[reportAttributeAccessIssue] - the point


# --- secrets and printing


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://user:hunter2@host:1/0", "redis://***@host:1/0"),
        ("redis://:hunter2@host", "redis://***@host"),
        ("rediss://:hun/te@r2?x@host", "rediss://***@host"),
        ("redis//:hunter2@host", "***@host"),
        ("redis:hunter2@host", "***@host"),
        ("hunter2@host", "***@host"),
        ("redis://host/0?password=hunter2&db=1", "redis://host/0?password=***&db=1"),
        ("redis://host?db=1&password=hun@ter2", "redis://host?db=1&password=***"),
        ("redis+unix:///run/valkey.sock", "redis+unix:///run/valkey.sock"),
        ("memory://", "memory://"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_no_way_of_showing_a_configuration_shows_a_password() -> None:
    config = read(environ={"REALMKEEP_STORE__URL": "redis://u:hunter2@host"})
    assert config.store.url == "redis://u:hunter2@host"
    for shown in (str(config), repr(config), repr(config.store), str(config.store)):
        assert "hunter2" not in shown
        assert "redis://***@host" in shown
    for wrong in ("redis:/u:hunter2@host", "redis://u:hunter2@ho st"):
        assert "hunter2" not in refusal(environ={"REALMKEEP_STORE__URL": wrong})
    assert "hunter2" not in refusal("[store]\nurl = ['redis://u:hunter2@host']")


def test_a_refusal_has_no_secret_in_its_chain_of_causes() -> None:
    with pytest.raises(ConfigError) as caught:
        StoreConfig(url="http://u:hunter2@host")
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__


def test_a_printed_configuration_is_toml_with_every_value_and_its_source() -> None:
    config = read("[keeper]\ngrace_s = 5", {"REALMKEEP_KEEPER__STRICT": "true"})
    printed = str(config)
    assert tomllib.loads(printed) == {
        name: msgspec.to_builtins(getattr(config, name))
        for name in (
            "store",
            "records",
            "keeper",
            "auth",
            "network",
            "operations",
            "backup",
            "operators",
            "journal",
            "console",
            "archive",
        )
    }
    assert "grace_s = 5.0  # realmkeep.toml" in printed
    assert "strict = true  # environment REALMKEEP_KEEPER__STRICT" in printed
    assert "heal = false  # default" in printed


def test_levels_of_the_log_are_read_by_name() -> None:
    told = OperationsConfig(log_levels="realm.login=warning  realmkeep.keeping=debug")
    assert told.levels_by_name() == {"realm.login": "warning", "realmkeep.keeping": "debug"}
    assert OperationsConfig().levels_by_name() == {}
    for wrong in ("realm.login", "realm.login=loud", "=info", "a=info,b=info"):
        with pytest.raises(ConfigError, match="log_levels"):
            OperationsConfig(log_levels=wrong)


def test_a_warning_comes_before_the_critical_alert() -> None:
    with pytest.raises(ConfigError, match="dirty_warning = 10 is above dirty_critical = 5"):
        OperationsConfig(dirty_warning=10, dirty_critical=5)


# --- declarations


@pytest.mark.parametrize("key", settings())
def test_every_setting_has_a_meaning_a_range_and_a_default_within_it(key: str) -> None:
    setting = settings()[key]
    assert setting.meaning.endswith(".")
    assert setting.accept(setting.default) == setting.default
    kind = inspect.type_info(setting.type)
    bounded = kind.type if isinstance(kind, inspect.Metadata) else kind
    if isinstance(bounded, (inspect.IntType, inspect.FloatType)):
        assert bounded.ge is not None
        assert bounded.le is not None
        assert "None" not in setting.allowed


class Gate(Section, frozen=True, kw_only=True):
    ports: Annotated[list[Annotated[int, Meta(ge=1, le=9)]], Meta(description="Where players come in.")] = (
        msgspec.field(default_factory=lambda: [1, 2])
    )


def test_a_list_is_written_as_in_toml_wherever_it_stands() -> None:
    ports = settings_of(Gate)["ports"]
    assert ports.accept_text("[1, 2, 3]") == [1, 2, 3]
    assert ports.show([1, 2]) == "[1, 2]"
    for text in ("1, 2", "1", "[1, 2", '["1"]', "[10]", "[1] # two"):
        with pytest.raises(ConfigError, match="allowed is an array, each a whole number from 1 to 9"):
            ports.accept_text(text)
    assert repr(Gate()) == "Gate(ports=[1, 2])"


def test_the_specifications_numbers_are_the_defaults() -> None:
    keeper, records = KeeperConfig(), RecordsConfig()
    assert (keeper.flush_interval_s, keeper.checkpoint_interval_s, keeper.sweep_interval_s) == (30, 60, 10)
    assert (keeper.heartbeat_s, keeper.lease_ttl_s, keeper.grace_s, keeper.tier1_rate_per_s) == (10, 30, 30, 10)
    assert (records.bytes_max, records.depth_max, records.nodes_max) == (65_536, 64, 10_000)


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "realmkeep.toml"
    path.write_bytes(b"\xef\xbb\xbf" + b'[keeper]\r\nname = "north"\r\n')
    assert load_config(environ={}, path=path).keeper.name == "north"


def secret_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_secret_comes_from_a_file_in_every_source(tmp_path: Path) -> None:
    url = "redis://keeper:s3cr3t@db:6379/0"
    file = secret_file(tmp_path / "url", f"{url}\n")
    settings = tmp_path / "realmkeep.toml"
    settings.write_text(f'[store]\nurl_file = "{file}"\n')
    for config in (
        load_config(environ={"REALMKEEP_STORE__URL_FILE": str(file)}),
        load_config(environ={}, path=settings),
        load_config(environ={}, flags={"store.url_file": str(file)}),
    ):
        assert config.store.url == url
        assert "s3cr3t" not in str(config)
        assert str(file) in config.sources["store.url"]


def test_a_file_of_a_secret_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = secret_file(tmp_path / "url", "redis://keeper:s3cr3t@db:99999999/0 ")
    file.chmod(0o644)
    for environ, said in (
        ({"REALMKEEP_STORE__URL_FILE": str(file)}, "can be read by other users"),
        ({"REALMKEEP_STORE__URL_FILE": str(tmp_path / "absent")}, "cannot be read: No such file"),
        ({"REALMKEEP_KEEPER__NAME_FILE": str(file)}, "no such setting"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_config(environ=environ)
    file.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        load_config(environ={"REALMKEEP_STORE__URL_FILE": str(file)})
    assert "s3cr3t" not in str(caught.value)


def test_a_passphrase_in_a_url_is_masked_and_the_name_of_its_file_is_not() -> None:
    assert mask_url("rediss://h?tls_key_password=x&tls_ca=/c") == "rediss://h?tls_key_password=***&tls_ca=/c"
    assert mask_url("rediss://h?tls_key_password_file=/k") == "rediss://h?tls_key_password_file=/k"


@pytest.mark.parametrize(
    ("name", "said"),
    [("x" * 300, "too long"), ("a\0b", "NUL"), ("\udcff", "no such file"), ("file/below", "not a directory")],
)
def test_a_path_that_no_system_takes_is_a_sentence(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=said):
        load_config(environ={}, path=tmp_path / name)


def test_settings_of_bytes_that_are_no_text_are_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "realmkeep.toml"
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(environ={}, path=path)
