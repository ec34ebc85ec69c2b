"""Whatever stands in a source, reading it ends in a configuration or a ConfigError, and what is printed reads back."""

import tomllib

from hypothesis import example, given
from hypothesis import strategies as st

from realmkeep.config import Config, KeeperConfig, RecordsConfig, StoreConfig, load_config, settings
from realmkeep.config.settings import to_toml
from realmkeep.config.sources import ENVIRONMENT_PREFIX
from realmkeep.errors import ConfigError

VARIABLES = [ENVIRONMENT_PREFIX + key.replace(".", "__").upper() for key in settings()]
toml_values = st.recursive(
    st.text() | st.integers() | st.floats() | st.booleans() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*VARIABLES, "MMORPG_DB_BACKEND", "REDIS_URL"]), st.text(st.characters())))
def test_any_text_in_the_environment_is_accepted_or_refused_as_a_config_error(environ: dict[str, str]) -> None:
    try:
        config = load_config(environ=environ)
    except ConfigError:
        return
    assert {source.removeprefix("environment ") for source in config.sources.values()} <= environ.keys()


@given(st.dictionaries(st.sampled_from([*settings()]), toml_values | st.binary() | st.none(), max_size=4))
def test_any_flag_is_accepted_or_refused_as_a_config_error(flags: dict[str, object]) -> None:
    try:
        config = load_config(environ={}, flags=flags)
    except ConfigError:
        return
    assert config.sources.keys() == {key for key, value in flags.items() if value is not None}


paths = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(lambda path: "@" not in path)
urls = st.builds(str.__add__, st.sampled_from(["sqlite:///", "embedded:///"]), paths)


@given(urls, st.integers(1024, 512 * 1024), st.floats(0.05, 600), st.booleans())
def test_a_printed_configuration_reads_back_as_it_is(url: str, bytes_max: int, flush_s: float, strict: bool) -> None:
    config = Config(
        store=StoreConfig(url=url),
        records=RecordsConfig(bytes_max=bytes_max),
        keeper=KeeperConfig(flush_interval_s=flush_s, strict=strict),
    )
    tables = tomllib.loads(str(config))
    assert tables["store"] == {"url": url}
    flags = {f"{section}.{name}": value for section, values in tables.items() for name, value in values.items()}
    again = load_config(environ={}, flags=flags)
    assert (again.store, again.records, again.keeper) == (config.store, config.records, config.keeper)


@given(st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans() | st.lists(st.text()))
@example('\x7f\x00"\\\n\U0001f409')
def test_any_value_reads_back_from_its_notation(value: object) -> None:
    assert tomllib.loads(f"value = {to_toml(value)}") == {"value": value}
