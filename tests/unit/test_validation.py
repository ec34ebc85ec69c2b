"""The four outcomes: what is mended, what an operator must see, what is refused; the same rules for live records."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from realmkeep.errors import DefinitionError
from realmkeep.records.fields import CLAMP, OK, QUARANTINE, REJECT, Validity, durable
from realmkeep.records.issues import Issue, gravest_outcome, issue, short_repr
from realmkeep.records.marking import peek_marks
from realmkeep.records.record import Part, Record
from realmkeep.records.validation import validate, validate_live

ZONES = {"overworld", "town"}
ITEMS = {"sword", "coins"}


class Item(Part):
    item: str = durable(known=ITEMS.__contains__, on_invalid=QUARANTINE)
    count: int = durable(default=1, ge=0)


class Player(Record, kind="hero", version=1):
    zone: str = durable(default="town", known=ZONES.__contains__, on_invalid=QUARANTINE)
    hp: int = durable(default=50, ge=0, on_invalid=CLAMP)
    max_hp: int = durable(default=100)
    xp: int = durable(default=0, ge=0)
    inventory: list[Item] = durable(default_factory=list, length_max=3, on_invalid=QUARANTINE)
    spawn: tuple[float, float] | None = durable(default=None)


@Player.rule(on_invalid=CLAMP)
def hp_at_most_max(player: Player) -> Issue | None:
    if player.hp > player.max_hp:
        return issue("hp", player.hp, "at most max_hp", mended=player.max_hp)
    return None


@Player.rule
def one_sword(player: Player) -> Iterator[Issue]:
    swords = [index for index, item in enumerate(player.inventory) if item.item == "sword"]
    for index in swords[1:]:
        yield issue(f"inventory[{index}]", player.inventory[index], "the only sword")


def told(issues: tuple[Issue, ...]) -> list[tuple[str, str, str, Validity]]:
    return [(found.path, found.value, found.rule, found.outcome) for found in issues]


def plain_record(*rules: Callable[[Any], Any], on_invalid: Validity = REJECT) -> Any:
    class Plain(Record, kind="plain", version=1):
        hp: int = durable(default=1, ge=0, le=10, on_invalid=CLAMP)
        name: str = durable(default="")

    for rule in rules:
        Plain.rule(on_invalid=on_invalid)(rule)
    return Plain()


def test_a_record_that_keeps_its_rules_has_no_issues() -> None:
    player = Player(inventory=[Item(item="sword"), Item(item="coins", count=0)], hp=100)
    assert validate(player) == ()
    assert validate_live(player) == ()
    assert gravest_outcome(()) is OK
    assert peek_marks(player) == 0


def test_hp_above_its_maximum_is_clamped() -> None:
    player = Player(hp=130)
    assert told(validate(player)) == [("hp", "130", "at most max_hp", CLAMP)]
    assert player.hp == player.max_hp
    assert validate(player) == ()


def test_hp_below_zero_is_clamped() -> None:
    player = Player(hp=-3)
    assert told(validate(player)) == [("hp", "-3", "at least 0", CLAMP)]
    assert player.hp == 0


def test_a_zone_or_item_that_the_game_does_not_know_is_quarantined_and_kept() -> None:
    player = Player(zone="atlantis", inventory=[Item(item="coins"), Item(item="trident")])
    assert told(validate(player)) == [
        ("zone", "'atlantis'", "known to the game", QUARANTINE),
        ("inventory[1].item", "'trident'", "known to the game", QUARANTINE),
    ]
    assert (player.zone, player.inventory[1].item) == ("atlantis", "trident")


def test_the_game_s_lists_are_asked_anew_at_each_check(monkeypatch: pytest.MonkeyPatch) -> None:
    player = Player(zone="moon")
    assert gravest_outcome(validate(player)) is QUARANTINE
    ZONES.add("moon")
    assert validate(player) == ()
    ZONES.discard("moon")


def test_negative_counts_and_experience_are_rejected() -> None:
    player = Player(xp=-1, inventory=[Item(item="coins", count=-5)])
    assert told(validate(player)) == [
        ("xp", "-1", "at least 0", REJECT),
        ("inventory[0].count", "-5", "at least 0", REJECT),
    ]


def test_too_many_entries_are_quarantined_and_none_is_dropped() -> None:
    player = Player(inventory=[Item(item="coins")] * 4)
    (found,) = validate(player)
    assert (found.path, found.rule, found.outcome) == ("inventory", "at most 3 long, not 4", QUARANTINE)
    assert len(player.inventory) == 4


def test_of_several_outcomes_the_gravest_counts() -> None:
    player = Player(hp=130, zone="atlantis")
    assert gravest_outcome(validate(player)) is QUARANTINE
    player = Player(hp=130, zone="atlantis", xp=-1)
    assert gravest_outcome(validate(player)) is REJECT


def test_a_rule_may_find_several_issues() -> None:
    player = Player(inventory=[Item(item="sword")] * 3)
    assert [(found.path, found.outcome) for found in validate(player)] == [
        ("inventory[1]", REJECT),
        ("inventory[2]", REJECT),
    ]


def test_an_issue_s_own_outcome_goes_before_the_rule_s() -> None:
    record = plain_record(lambda plain: issue("name", plain.name, "a name", QUARANTINE), on_invalid=REJECT)
    assert [found.outcome for found in validate(record)] == [QUARANTINE]


def test_a_rule_sees_what_bounds_and_earlier_rules_mended() -> None:
    seen: list[int] = []

    def halve(plain: Any) -> Issue | None:
        seen.append(plain.hp)
        return issue("hp", plain.hp, "small", mended=plain.hp // 2) if plain.hp > 5 else None

    record = plain_record(halve, halve, on_invalid=CLAMP)
    record.hp = 99
    issues = validate(record)
    assert seen[:2] == [10, 5]
    assert [(found.value, found.outcome) for found in issues] == [("99", CLAMP), ("10", CLAMP)]
    assert record.hp == 5


def test_a_rule_whose_mending_does_not_help_quarantines() -> None:
    record = plain_record(lambda plain: issue("hp", plain.hp, "odd", mended=2), on_invalid=CLAMP)
    issues = validate(record)
    assert told(issues) == [("hp", "1", "odd", CLAMP), ("hp", "2", "odd, also after mending", QUARANTINE)]


def test_a_rule_that_clamps_without_a_value_quarantines() -> None:
    record = plain_record(lambda plain: issue("hp", plain.hp, "odd"), on_invalid=CLAMP)
    assert told(validate(record)) == [("hp", "1", "odd (the rule gave no mended value)", QUARANTINE)]


@pytest.mark.parametrize("path", ["no_such_field", "name[0]", ""])
def test_a_mended_value_for_something_else_than_a_field_quarantines(path: str) -> None:
    record = plain_record(lambda plain: issue(path, plain.name, "x", mended="y"), on_invalid=CLAMP)
    (found,) = validate(record)
    assert (found.path, found.outcome) == (path, QUARANTINE)
    assert "cannot be mended" in found.rule


def test_a_mended_value_of_another_type_quarantines() -> None:
    record = plain_record(lambda plain: issue("hp", plain.hp, "x", mended="y"), on_invalid=CLAMP)
    assert gravest_outcome(validate(record)) is QUARANTINE
    assert record.hp == 1


def raising(plain: Any) -> Issue | None:
    return plain.no_such_field


def raising_later(plain: Any) -> Iterator[Issue]:
    yield issue("name", plain.name, "first")
    raise RuntimeError("second")


@pytest.mark.parametrize(("rule", "why"), [(raising, "AttributeError"), (raising_later, "RuntimeError")])
def test_a_rule_that_raises_is_logged_and_never_lets_the_record_pass(
    rule: Callable[[Any], Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    record = plain_record(rule, on_invalid=CLAMP)
    for check in (validate, validate_live):
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            (found,) = check(record)
        assert found.outcome is QUARANTINE
        assert found.rule == f"checked by the rule {rule.__name__}, which raised {why}"
        assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize("answer", [False, True, 0, "hp is wrong", [True]])
def test_a_rule_that_returns_something_else_never_lets_the_record_pass(answer: object) -> None:
    issues = validate(plain_record(lambda _: answer))
    assert gravest_outcome(issues) is QUARANTINE


def test_a_rule_that_lets_pass_by_declaration_is_refused() -> None:
    with pytest.raises(DefinitionError, match="on_invalid=OK"):
        Player.rule(on_invalid=OK)


def test_a_live_record_is_judged_by_the_same_rules_and_left_as_it_is() -> None:
    wrong = Player(hp=130, zone="atlantis", inventory=[Item(item="coins", count=-5)])
    live = wrong.fork()
    issues = validate_live(wrong)
    assert told(issues) == [
        ("zone", "'atlantis'", "known to the game", QUARANTINE),
        ("inventory[0].count", "-5", "at least 0", REJECT),
        ("hp", "130", "at most max_hp", CLAMP),
    ]
    assert peek_marks(wrong) == 0
    assert wrong.hp == 130
    wrong.restore(live)
    assert told(validate(wrong)) == told(issues)


def test_a_live_value_of_a_foreign_type_is_reported_not_raised() -> None:
    foreign: Any = "many"
    player = Player(inventory=[Item(item="coins", count=foreign)])
    (found,) = validate_live(player)
    assert (found.path, found.outcome) == ("inventory", REJECT)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_values_in_a_report_are_short_whatever_they_are() -> None:
    assert short_repr("x" * 10**6) == "'" + "x" * 76 + "..."
    assert short_repr("short") == "'short'"
    assert len(short_repr(list(range(1000)))) == 80
    assert short_repr(Unprintable()) == "<Unprintable, whose repr raises RuntimeError>"
    assert short_repr(10**5000) == "<int, whose repr raises ValueError>"


def test_an_issue_reads_as_a_sentence() -> None:
    assert str(issue("hp", 130, "at most max_hp", CLAMP)) == "hp is 130, should be at most max_hp: CLAMP"
    assert str(issue("", 1, "x", REJECT)).startswith("the record is 1")
