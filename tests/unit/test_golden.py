"""The golden bytes of the specification's player, and the kit that checks a game's own."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from realmkeep.records.codecs import encode
from realmkeep.records.fields import Keyword, durable
from realmkeep.records.record import Record
from realmkeep.testing.golden import check_golden, write_golden
from realmkeep.testing.specification import SpecPlayer, specification_player

GOLDEN = Path(__file__).parents[1] / "golden" / "player"


def old_and_new() -> tuple[type[Any], type[Any]]:
    """The same record before and after it got a second version."""

    def first() -> type[Any]:
        class Knight(Record, kind="knight", version=1):
            name: str = durable(default="Ada")

        return Knight

    class Knight(Record, kind="knight", version=2):
        name: str = durable(default="Ada")
        oath: int = durable(default=0)

    @Knight.migration(1)
    def swear(plain: dict[str, Any]) -> dict[str, Any]:
        return plain | {"oath": 7}

    assert swear({}) == {"oath": 7}
    return first(), Knight


def written(directory: Path) -> type[Any]:
    """Golden bytes of both versions, as two releases leave them; returns the newer class."""
    old, new = old_and_new()
    write_golden(directory, old(name="Eve"))
    write_golden(directory, new(name="Eve", oath=1))
    return new


def test_stored_players_of_every_version_load_into_today_s() -> None:
    check_golden(SpecPlayer, GOLDEN)


def test_the_first_version_of_the_golden_player_is_the_specification_s_own_example() -> None:
    as_printed = GOLDEN.with_name("specification_player.sexpr").read_bytes()
    assert (GOLDEN / "v1.sexpr").read_bytes() == as_printed
    assert (GOLDEN / "v1.json.loaded").read_text() == (GOLDEN / "v1.sexpr.loaded").read_text()


def test_what_two_releases_wrote_passes(tmp_path: Path) -> None:
    new = written(tmp_path)
    check_golden(new, tmp_path)
    assert '"oath": 7' in (tmp_path / "v1.json.loaded").read_text()
    assert '"oath": 1' in (tmp_path / "v2.json.loaded").read_text()


def test_written_bytes_are_never_written_again(tmp_path: Path) -> None:
    new = written(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_golden(tmp_path, new(name="Bob"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_version_without_golden_bytes_fails(tmp_path: Path) -> None:
    old, new = old_and_new()
    write_golden(tmp_path, old())
    with pytest.raises(AssertionError, match="no golden bytes of knight version 2"):
        check_golden(new, tmp_path)


def test_a_migration_that_was_changed_fails(tmp_path: Path) -> None:
    new = written(tmp_path)

    def changed(plain: dict[str, Any]) -> dict[str, Any]:
        return plain | {"oath": 8}

    new.__realmkeep__.migrations[1] = changed
    with pytest.raises(AssertionError, match=r'(?s)v1.json loads into another record .*"oath": 8'):
        check_golden(new, tmp_path)


def test_a_format_that_changed_without_a_version_fails(tmp_path: Path) -> None:
    new = written(tmp_path)
    (tmp_path / "v2.json").write_bytes(encode(new(name="Eve", oath=1)).replace(b"{", b"{ "))
    with pytest.raises(AssertionError, match=r"v2.json does not load"):
        check_golden(new, tmp_path)
    (tmp_path / "v2.json").write_bytes(b'{"version":2,"name":"Eve","oath":1}')
    with pytest.raises(AssertionError, match=r"v2.json would be stored differently now"):
        check_golden(new, tmp_path)


def test_golden_bytes_without_their_reading_fail(tmp_path: Path) -> None:
    new = written(tmp_path)
    (tmp_path / "v1.sexpr.loaded").unlink()
    with pytest.raises(AssertionError, match=r"v1.sexpr.loaded is missing"):
        check_golden(new, tmp_path)


def test_golden_bytes_that_do_not_load_fail(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "player")
    (tmp_path / "player" / "v1.sexpr").write_bytes(b"(:version 1 :player-id -5)")
    with pytest.raises(AssertionError, match=r"v1.sexpr does not load: .*player_id is -5"):
        check_golden(SpecPlayer, tmp_path / "player")
    with pytest.raises(AssertionError, match=r"v1.sexpr does not load"):
        write_golden(tmp_path / "player", specification_player())


def test_a_field_that_the_codecs_give_a_step_differently_is_named(tmp_path: Path) -> None:
    def first() -> type[Any]:
        class Satchel(Record, kind="golden-satchel", version=1):
            bag: dict[Keyword, int] = durable(default_factory=dict)

        return Satchel

    class Satchel(Record, kind="golden-satchel", version=2):
        bag: dict[str, int] = durable(default_factory=dict)

    def keep(plain: dict[str, Any]) -> dict[str, Any]:
        return plain

    Satchel.migration(1)(keep)
    write_golden(tmp_path, first()(bag={"iron-sword": 1}))
    write_golden(tmp_path, Satchel(bag={"iron-sword": 1}))
    with pytest.raises(AssertionError, match=r"bag of golden-satchel is .*iron.sword.* former="):
        check_golden(Satchel, tmp_path)
    Satchel.__realmkeep__.migrations.clear()
    Satchel.migration(1, former={"bag": dict[Keyword, int]})(keep)
    write_golden(tmp_path, Satchel(bag={"iron-sword": 1}))
    check_golden(Satchel, tmp_path)
