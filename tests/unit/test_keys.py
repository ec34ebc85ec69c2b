import enum

import pytest

from realmkeep import keys
from realmkeep.errors import InvalidKey
from realmkeep.keys import ParsedKey, parse, record_keys


class Zone(str, enum.Enum):  # noqa: UP042 - games that began before StrEnum name their zones so
    TOWN = "town"


def test_a_record_has_the_keys_of_the_specification() -> None:
    player = record_keys("player", 7)
    assert [player.record, player.version, player.updated] == ["player:7", "player:7:version", "player:7:updated"]
    zone = record_keys("zone", "town", suffix="objects")
    assert [zone.record, zone.version] == ["zone:town:objects", "zone:town:version"]
    assert [keys.SERVER_CONFIG, keys.SERVER_ID_COUNTER] == ["server:config", "server:id-counter"]


def test_a_record_has_the_companions_of_the_design() -> None:
    player = record_keys("player", 7)
    assert [player.owner, player.ops, player.inbox] == ["player:7:owner", "player:7:ops", "player:7:inbox"]


def test_a_number_and_its_digits_are_the_same_id() -> None:
    assert record_keys("player", 7) == record_keys("player", "7") != record_keys("player", "07")


def test_a_member_of_an_enumeration_stands_for_its_value() -> None:
    assert record_keys("zone", Zone.TOWN).record == "zone:town"
    assert record_keys("player", enum.IntEnum("Number", {"SEVEN": 7}).SEVEN).record == "player:7"


@pytest.mark.parametrize("kind", ["account", "server", "corrupt", "temp"])
def test_a_reserved_kind_is_refused(kind: str) -> None:
    with pytest.raises(InvalidKey, match="reserved"):
        record_keys(kind, 7)


@pytest.mark.parametrize("kind", ["", "Player", "7up", "-a", "pläyer", "a" * 33, "a:b", "a b", "player\n", "{player}"])
def test_a_malformed_kind_is_refused(kind: str) -> None:
    with pytest.raises(InvalidKey, match="not a valid kind"):
        record_keys(kind, 7)


@pytest.mark.parametrize("bad", [*":{} \t\r\n\x00\x1b\x7f\x85\xa0\u2003\u2028\u3000", "\ud800"])
@pytest.mark.parametrize("around", ["{}", "a{}", "{}b", "a{}b"])
def test_a_character_that_would_blur_a_key_is_refused(bad: str, around: str) -> None:
    with pytest.raises(InvalidKey, match="at position"):
        record_keys("player", around.replace("{}", bad))


@pytest.mark.parametrize(
    "value",
    [-1, 1 << 63, 1 << 64, -(1 << 64), pytest.param(10**5000, id="5001-digits"), "", "a" * 129, True, None, 7.0, b"7"],
)
def test_what_is_neither_a_whole_number_nor_a_short_text_is_no_id(value: int) -> None:
    with pytest.raises(InvalidKey, match="player id"):
        record_keys("player", value)


@pytest.mark.parametrize("suffix", ["version", "updated", "owner", "ops", "inbox", "Objects", "a:b", "7", "a" * 33])
def test_a_suffix_that_would_be_taken_for_something_else_is_refused(suffix: str) -> None:
    with pytest.raises(InvalidKey, match="suffix"):
        record_keys("zone", "town", suffix=suffix)


def test_realmkeeps_own_records_have_companions_too() -> None:
    ada = record_keys("account", "ada", internal=True)
    assert ada.record == keys.account("ada")
    assert parse(ada.version) == ParsedKey("version", "account", "ada")
    config = record_keys("server", "config", internal=True)
    assert config.record == keys.SERVER_CONFIG
    assert parse(config.owner) == ParsedKey("owner", "server", "config")


@pytest.mark.parametrize(
    ("kind", "id_", "suffix"), [("server", "town", ""), ("account", "ada", "objects"), ("temp", "1", "")]
)
def test_no_other_internal_record_exists(kind: str, id_: str, suffix: str) -> None:
    with pytest.raises(InvalidKey):
        record_keys(kind, id_, suffix=suffix, internal=True)


def test_the_same_unreadable_bytes_are_kept_once() -> None:
    key = keys.corrupt(record_keys("player", 7), "9f86d081884c7d65")
    assert key == "corrupt:player:7:9f86d081884c7d65"
    assert parse(key) == ParsedKey("corrupt", "player", "7", "9f86d081884c7d65")


@pytest.mark.parametrize(
    "digest", ["", "9f86d081", "9F86D081884C7D65", "g" * 16, "-9f86d081884c7d65", "a:b-9f86d081884c7d65", "0" * 65]
)
def test_a_digest_is_hexadecimal(digest: str) -> None:
    with pytest.raises(InvalidKey, match="digest"):
        keys.corrupt(record_keys("player", 7), digest)


def test_a_staged_write_knows_its_age_by_its_name() -> None:
    staged = keys.temp("player:7", now_us=1_000, unique="c0ffee")
    assert staged == "temp:1000:c0ffee:player:7"
    assert keys.temp_age_us(staged, now_us=3_600) == 2_600
    assert keys.temp_age_us(staged, now_us=400) == -600


def test_a_key_outside_the_schema_can_be_staged_and_swept() -> None:
    assert keys.temp_age_us(keys.temp("their key\n:x", now_us=5, unique="u"), now_us=5) == 0


@pytest.mark.parametrize(
    "key",
    [
        "player:7",
        "temp:player:7:123",
        "temp:1:u",
        "temp:1:u:",
        "temp:1::k",
        "temp:01:u:k",
        "temp:٣:u:k",
        f"temp:{'9' * 5000}:u:k",
    ],
)
def test_what_only_looks_staged_is_left_alone(key: str) -> None:
    assert keys.temp_age_us(key, now_us=10**18) is None


@pytest.mark.parametrize(
    ("key", "now_us", "unique"), [("", 1, "u"), ("k", -1, "u"), ("k", 10**18, "u"), ("k", 1, "a:b"), ("k", 1, "")]
)
def test_a_staged_key_that_no_sweep_would_find_is_refused(key: str, now_us: int, unique: str) -> None:
    with pytest.raises(InvalidKey):
        keys.temp(key, now_us=now_us, unique=unique)


@pytest.mark.parametrize(
    "key",
    [
        "", ":", "player", "player:", "player::version", "player:7:", "player:7:version:", "player:7:a:b", "Player:7",
        "account:", "account:ada:objects", "server:town", "server:town:owner", "server::lease", "corrupt:player:7",
        "corrupt:temp:7:9f86d081884c7d65", "temp:1:u:temp:1:u:player:7", "temp:1:u:nothing", "temp:1:u u:player:7",
    ],
)  # fmt: skip
def test_what_no_builder_makes_is_not_parsed(key: str) -> None:
    with pytest.raises(InvalidKey):
        parse(key)


def test_an_error_about_an_endless_key_stays_short() -> None:
    with pytest.raises(InvalidKey) as caught:
        parse("x" * 1_000_000)
    assert len(str(caught.value)) < 500
