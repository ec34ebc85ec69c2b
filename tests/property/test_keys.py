"""Every key that a builder makes is parsed into what it was made of, and nothing else is parsed."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realmkeep import keys
from realmkeep.errors import InvalidKey
from realmkeep.keys import COMPANIONS, RESERVED_KINDS, ParsedKey, parse, record_keys

names = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
kinds = names.filter(lambda kind: kind not in RESERVED_KINDS)
suffixes = st.just("") | names.filter(lambda suffix: suffix not in COMPANIONS)
times_us = st.integers(0, 10**18 - 1)
digests = st.from_regex(r"(letter-)?[0-9a-f]{16,64}", fullmatch=True)


def allowed(character: str) -> bool:
    """The rule in Unicode's words; the code has it as a regular expression."""
    return not (character in ":{}" or character.isspace() or unicodedata.category(character) in {"Cc", "Cs"})


ids = st.text(st.characters().filter(allowed), min_size=1, max_size=128)
record_ids = ids | st.integers(0, 2**63 - 1)


def rebuilt(parsed: ParsedKey) -> str:
    """The builder that the role names, called with the parts."""
    named = {
        "account": keys.account,
        "lease": keys.server_lease,
        "control": keys.server_control,
        "sealed": keys.sealed,
        "act": keys.act,
    }
    singletons = {
        "config": keys.SERVER_CONFIG,
        "id-counter": keys.SERVER_ID_COUNTER,
        "store-id": keys.SERVER_STORE_ID,
    }
    match parsed.role:
        case role if role in named:
            return named[role](parsed.id)
        case role if role in singletons:
            return singletons[role]
        case "operator":
            return record_keys("operator", parsed.id, internal=True).record
        case "throttle":
            return keys.server_throttle(parsed.id, parsed.suffix)
        case "corrupt":
            return keys.corrupt(record_keys(parsed.kind, parsed.id, internal=True), parsed.suffix)
        case "temp":
            assert parsed.staged_us is not None
            return keys.temp(parsed.id, now_us=parsed.staged_us, unique=parsed.suffix)
        case role:
            made = record_keys(parsed.kind, parsed.id, suffix=parsed.suffix, internal=True)
            key = getattr(made, role)
            assert isinstance(key, str)
            return key


def test_every_character_of_unicode_is_allowed_or_refused_as_the_rule_says() -> None:
    def accepted(character: str) -> bool:
        try:
            return keys.check_id(character) == character
        except InvalidKey:
            return False

    assert [c for c in map(chr, range(0x110000)) if accepted(c) != allowed(c)] == []


@given(kinds, record_ids, suffixes)
def test_a_record_key_and_its_companions_parse_into_their_parts(kind: str, id_: int | str, suffix: str) -> None:
    made = record_keys(kind, id_, suffix=suffix)
    assert parse(made.record) == ParsedKey("record", kind, str(id_), suffix)
    for role in sorted(COMPANIONS):
        assert parse(getattr(made, role)) == ParsedKey(role, kind, str(id_))


@given(kinds, ids, kinds, ids, suffixes)
def test_two_records_share_no_key(kind: str, id_: str, other_kind: str, other_id: str, suffix: str) -> None:
    def all_keys(of: keys.RecordKeys) -> set[str]:
        return {of.record, *(getattr(of, role) for role in COMPANIONS)}

    if (kind, id_) != (other_kind, other_id):
        assert not all_keys(record_keys(kind, id_, suffix=suffix)) & all_keys(record_keys(other_kind, other_id))


@given(ids)
def test_an_account_and_a_lease_parse_into_their_names(name: str) -> None:
    assert parse(keys.account(name)) == ParsedKey("account", "account", name)
    assert parse(keys.server_lease(name)) == ParsedKey("lease", "server", name)


@given(ids, names.filter(lambda name: name not in RESERVED_KINDS), digests)
def test_what_lies_beside_a_servers_records_parses_into_its_parts(name: str, table: str, digest: str) -> None:
    assert parse(keys.server_throttle(name, table)) == ParsedKey("throttle", "server", name, table)
    assert parse(keys.sealed(digest)) == ParsedKey("sealed", "server", digest)


@given(kinds, record_ids, digests, times_us, ids)
def test_kept_and_staged_keys_parse_into_their_parts(
    kind: str, id_: int | str, digest: str, now_us: int, unique: str
) -> None:
    made = record_keys(kind, id_)
    assert parse(keys.corrupt(made, digest)) == ParsedKey("corrupt", kind, str(id_), digest)
    staged = keys.temp(made.record, now_us=now_us, unique=unique)
    assert parse(staged) == ParsedKey("temp", "temp", made.record, unique, now_us)
    assert keys.temp_age_us(staged, now_us=now_us + 7) == 7


@given(
    st.text(st.characters())
    | st.lists(
        st.sampled_from([*sorted(RESERVED_KINDS | COMPANIONS), "lease", "config", "player", "7", "0" * 16, "", "a b"])
        | st.text(max_size=4),
        max_size=7,
    ).map(":".join)
)
@example("server:config")
@example("temp:" + "1" * 5000 + ":u:player:7")
@example("temp:1:u:" * 5000 + "player:7")
def test_any_text_is_refused_or_is_exactly_what_its_parts_build(text: str) -> None:
    try:
        parsed = parse(text)
    except InvalidKey:
        return
    assert rebuilt(parsed) == text


@pytest.mark.parametrize(
    "key", [keys.SERVER_CONFIG, keys.SERVER_ID_COUNTER, keys.SERVER_STORE_ID, "server:config:owner"]
)
def test_the_servers_own_keys_are_rebuilt(key: str) -> None:
    assert rebuilt(parse(key)) == key
