"""Every record survives the way into s-expressions and back; where SBCL is installed, the way through it too."""

import subprocess
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realmkeep.errors import Corrupt
from realmkeep.records.fields import Keyword, durable
from realmkeep.records.limits import Limits
from realmkeep.records.record import Part, Record
from realmkeep.records.sexpr.codec import check_crc, decode_plain, encode
from realmkeep.records.sexpr.names import invert
from suite.engines import needed

HERE = Path(__file__).parent
SPECIFICATION_PLAYER = (HERE.parent / "golden" / "specification_player.sexpr").read_text()
LIMITS = Limits(bytes_max=2**20, nodes_max=20_000)
ONE_PROCESS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class Calling(StrEnum):
    WARRIOR = "warrior"
    HIGH_MAGE = "high_mage"


class Rank(IntEnum):
    NOVICE = 1
    MASTER = -2


class Gem(Part):
    name: Keyword
    purity: float = 0.0


class Item(Part):
    item_id: Keyword
    count: int = 1
    bound: bool = False
    slot: int | None = None
    label: str = ""
    gems: tuple[Gem, ...] = ()


class Hero(Record, kind="sexpr-round-trip", keep_unknown=True):
    name: str = durable()
    hp: int = durable()
    x: float = durable()
    alive: bool = durable()
    hidden: bool | None = durable()
    zone: Keyword = durable()
    title: str | None = durable()
    calling: Calling = durable()
    rank: Rank | None = durable()
    stance: Literal["melee", "ranged", 7] = durable()
    weapon: Item | None = durable()
    home: tuple[Keyword, float, float] | None = durable()
    path: tuple[int, ...] | None = durable()
    inventory: list[Item] = durable()
    flags: list[Keyword] = durable()
    friends: set[int] = durable()
    marks: list[bool] = durable()
    options: dict[str, float] = durable()
    kills: dict[Keyword, int] = durable()
    ranks: dict[Rank, str] = durable()
    slots: dict[int, Item] = durable()


ints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=12)
keywords = st.one_of(
    st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), st.text(st.characters(max_codepoint=255), max_size=8)
)
gems = st.fixed_dictionaries({"name": keywords, "purity": floats})
items = st.fixed_dictionaries(
    {
        "item_id": keywords,
        "count": ints,
        "bound": st.booleans(),
        "slot": st.none() | ints,
        "label": texts,
        "gems": st.lists(gems, max_size=2),
    }
)
ranks = st.sampled_from([1, -2])
unknown = st.recursive(
    st.none() | st.booleans() | ints | floats | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True) | texts, inner, max_size=3)
    ),
    max_leaves=6,
)
heroes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "name": texts,
        "hp": ints,
        "x": floats,
        "alive": st.booleans(),
        "hidden": st.none() | st.booleans(),
        "zone": keywords,
        "title": st.none() | texts,
        "calling": st.sampled_from(["warrior", "high_mage"]),
        "rank": st.none() | ranks,
        "stance": st.sampled_from(["melee", "ranged", 7]),
        "weapon": st.none() | items,
        "home": st.none() | st.tuples(keywords, floats, floats).map(list),
        "path": st.none() | st.lists(ints, max_size=3),
        "inventory": st.lists(items, max_size=3),
        "flags": st.lists(keywords, max_size=4),
        "friends": st.lists(ints, max_size=3, unique=True),
        "marks": st.lists(st.booleans(), max_size=3),
        "options": st.dictionaries(texts, floats, max_size=3),
        "kills": st.dictionaries(keywords, ints, max_size=3),
        "ranks": st.dictionaries(ranks.map(str), texts, max_size=2),
        "slots": st.dictionaries(ints.map(str), items, max_size=2),
    },
    optional={"unknown_field": unknown, "former_name": unknown},
)


def exact(value: Any) -> str:
    """Tells -0.0 from 0.0, 1 from 1.0 and True, whatever the order of keys."""
    return repr(sorted(value.items()))


@settings(max_examples=400)
@given(heroes)
def test_every_record_reads_back_exactly_as_it_was_written(hero: dict[str, Any]) -> None:
    stored = encode(hero, Hero.__realmkeep__)
    assert check_crc(stored) is True
    plain = decode_plain(stored, Hero.__realmkeep__, LIMITS)
    assert plain.pop("version") == 1
    assert plain.pop("crc") in stored.decode()
    assert exact(plain) == exact(hero)
    known = {key: plain[key] for key in plain if key in Hero.__realmkeep__.fields}
    msgspec.convert({**known, "version": 1}, Hero, strict=True, str_keys=True)


@settings(max_examples=300)
@given(st.text())
def test_the_case_of_any_name_inverts_back(name: str) -> None:
    assert invert(invert(name)) == name


class Lisp:
    """One SBCL process that reads and prints by `echo.lisp`."""

    def __init__(self) -> None:
        command = [needed("sbcl"), "--noinform", "--disable-ldb", "--script", str(HERE / "echo.lisp")]
        self._sbcl = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, form: str, text: str) -> str:
        """What SBCL prints of `form`, in which `record` is what it read from `text`."""
        assert self._sbcl.stdin is not None
        assert self._sbcl.stdout is not None
        for part in (form, text):
            encoded = part.encode()
            self._sbcl.stdin.write(b"%d\n%b" % (len(encoded), encoded))
        self._sbcl.stdin.flush()
        return self._sbcl.stdout.read(int(self._sbcl.stdout.readline())).decode()

    def close(self) -> None:
        assert self._sbcl.stdin is not None
        assert self._sbcl.stdout is not None
        self._sbcl.stdin.close()
        self._sbcl.stdout.close()
        assert self._sbcl.wait() == 0


needs_sbcl = pytest.mark.needs("sbcl")


@pytest.fixture(scope="module")
def lisp() -> Iterator[Lisp]:
    process = Lisp()
    yield process
    process.close()


printers = st.fixed_dictionaries(
    {
        "*print-pretty*": st.sampled_from(["t", "nil"]),
        "*print-case*": st.sampled_from([":upcase", ":downcase", ":capitalize"]),
        "*read-default-float-format*": st.sampled_from(["'single-float", "'double-float"]),
        "*print-radix*": st.sampled_from(["t", "nil"]),
        "*print-base*": st.sampled_from(["10"]),
        "*print-right-margin*": st.sampled_from(["nil", "20"]),
    }
)


@needs_sbcl
@settings(ONE_PROCESS, max_examples=300)
@given(hero=heroes, printer=printers)
def test_lisp_reads_what_is_written_and_what_it_prints_reads_back_the_same(
    lisp: Lisp, hero: dict[str, Any], printer: dict[str, str]
) -> None:
    stored = encode(hero, Hero.__realmkeep__).decode()
    bindings = " ".join(f"({name} {value})" for name, value in printer.items())
    printed = lisp.ask(f"(let ({bindings}) (remf record :crc) (prin1-to-string record))", stored)
    plain = decode_plain(printed.encode(), Hero.__realmkeep__, LIMITS)
    assert plain.pop("version") == 1
    assert exact(plain) == exact(hero)


@needs_sbcl
@pytest.mark.parametrize(
    "form",
    [
        '(string= (getf record :name) "A \\"B\\" \\\\ é")',
        "(eql (getf record :hp) -9223372036854775808)",
        "(eql (getf record :x) 0.1d0)",
        "(eq (getf record :alive) t)",
        "(null (getf record :title 'missing))",
        "(eq (getf record :zone) :overworld)",
        "(eq (getf (getf record :weapon) :item-id) :|Frost Brand|)",
        "(equal (getf record :flags) '(:first-blood :level-10))",
        "(eql (getf (getf record :options) :music-volume) 5d-324)",
        "(string= (getf record :crc) (string-downcase (getf record :crc)))",
    ],
)
def test_lisp_sees_the_values_that_were_meant(lisp: Lisp, form: str) -> None:
    hero = {
        "name": 'A "B" \\ é',
        "hp": -(2**63),
        "x": 0.1,
        "alive": True,
        "title": None,
        "zone": "overworld",
        "weapon": {"item_id": "Frost Brand"},
        "flags": ["first-blood", "level-10"],
        "options": {"music_volume": 5e-324},
    }
    assert lisp.ask(f"(prin1-to-string {form})", encode(hero, Hero.__realmkeep__).decode()) == "T"


@needs_sbcl
@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("1.1", 1.1),
        ("1.1d0", 1.1),
        ("1/2", 0.5),
        ("most-positive-double-float", 1.7976931348623157e308),
        ("least-positive-double-float", 5e-324),
        ("(coerce 16777217 'double-float)", 16777217.0),
        ("1e20", 1e20),
    ],
)
def test_numbers_that_lisp_prints_are_those_it_meant(lisp: Lisp, form: str, value: float) -> None:
    printed = lisp.ask(f"(prin1-to-string (list :x {form}))", "()")
    assert decode_plain(printed.encode(), Hero.__realmkeep__, LIMITS)["x"] == value


@needs_sbcl
def test_every_character_that_lisp_prints_by_name_reads_back(lisp: Lisp) -> None:
    codes = [code for code in range(0x3000) if chr(code).isprintable() or code < 0x100]
    form = f"(loop for code in '({' '.join(map(str, codes))}) collect (code-char code))"
    printed = lisp.ask(f"(prin1-to-string (list :flags {form}))", "()")
    assert decode_plain(printed.encode(), Hero.__realmkeep__, LIMITS)["flags"] == [chr(code) for code in codes]


@needs_sbcl
def test_lisp_reads_the_specifications_example_to_the_same_values(lisp: Lisp) -> None:
    printed = lisp.ask("(prin1-to-string record)", SPECIFICATION_PLAYER)
    info = Hero.__realmkeep__
    assert decode_plain(printed.encode(), info, LIMITS) == decode_plain(SPECIFICATION_PLAYER.encode(), info, LIMITS)


@needs_sbcl
def test_a_record_that_lisp_changed_without_removing_the_checksum_is_corrupt(lisp: Lisp) -> None:
    stored = encode({"name": "x", "hp": 1}, Hero.__realmkeep__).decode()
    printed = lisp.ask(
        "(progn (setf (getf record :hp) 2) (let ((*print-case* :downcase)) (prin1-to-string record)))", stored
    )
    with pytest.raises(Corrupt):
        check_crc(printed.encode())


@needs_sbcl
def test_lisp_evaluates_nothing_of_what_it_reads_here_and_the_reader_refuses_the_same(lisp: Lisp) -> None:
    assert lisp.ask("(prin1-to-string record)", "#.(+ 1 1)").startswith("ERROR")
    with pytest.raises(Corrupt):
        decode_plain(b"(:hp #.(+ 1 1))", Hero.__realmkeep__, LIMITS)
