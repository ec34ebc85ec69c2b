"""Random histories of the protocol of both tiers; each rule is broken alone, and must be noticed."""

import pytest

from operations.archive.model import RULES, Model

HISTORIES = 60
CONTROL_HISTORIES = 30
BEGINS = {  # the histories of a control begin shortly before the first one that notices it
    "a freeze ships nothing": 12,
    "a thaw is guarded on the stub": 14,
    "a thaw takes only the row of the stub": 350,
    "a cut is one transaction": 20,
    "a server has one cut at a time": 32,
    "a cut has only what no crash can take": 210,
    "a cut waits for what was claimed": 42,
    "a cut waits for the senders of opened letters": 250,
    "letters are in the cut of their commit": 44,
}
WAYS: tuple[dict[str, bool], ...] = (
    {"restores": True},
    {"restores": False},
    {"restores": False, "erases": True},
    {"restores": True, "erases": True},
)


def history(seed: int, way: dict[str, bool], broken: str = "") -> Model:
    return Model(seed, broken=broken, restores=way["restores"], erases=way.get("erases", False))


@pytest.mark.parametrize("way", WAYS, ids=["losses", "crashes", "erasures", "all"])
def test_the_protocol_keeps_its_promises(way: dict[str, bool]) -> None:
    for seed in range(HISTORIES):
        assert not history(seed, way).play(), seed


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_noticed(rule: str) -> None:
    first = BEGINS.get(rule, 0)
    for seed in range(first, first + CONTROL_HISTORIES):
        for way in WAYS:
            if history(seed, way, rule).play() and not history(seed, way).play():
                return
    pytest.fail(f"no history of {CONTROL_HISTORIES} notices it")
