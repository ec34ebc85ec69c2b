"""Malformed bytes end in a RealmkeepError, whichever way they came about: 100,000 for every reader of stored bytes."""

import sys
import tracemalloc
from random import Random
from types import FrameType
from typing import Any

import pytest

from fuzz.damage import malformed
from fuzz.hunt import MEMORY_BYTES_MAX, Hunt, TooMuchError, run
from fuzz.targets import TARGETS, Target
from realmkeep.errors import RealmkeepError

REFUSED = 100_000
TRIES_MAX = 2 * REFUSED  # some mutations leave a record intact


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_malformed_inputs_end_in_a_realmkeep_error(target: Target) -> None:
    random = Random(20_240_611)
    refused = 0
    for _ in range(TRIES_MAX):
        stored = malformed(target.seeds, random)
        try:
            target.call(stored)
        except RealmkeepError:
            refused += 1
            if refused == REFUSED:
                return
    pytest.fail(f"only {refused} of {TRIES_MAX} inputs were malformed")


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_seed_is_accepted_so_that_mutations_start_from_sound_records(target: Target) -> None:
    for stored in target.seeds:
        target.call(stored)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_truncation_of_a_record_is_refused(target: Target) -> None:
    for seed in target.seeds:
        sound = seed.rstrip()
        for length in range(len(sound)):
            with pytest.raises(RealmkeepError):
                target.call(sound[:length])


REPEATED = {
    "lists": b"(",
    "arrays": b"[",
    "objects": b'{"a":',
    "pairs": b"(:a ",
    "quotes": b"'",
    "comments": b"#|",
    "digits": b"9",
    "text": b'"',
    "backslashes": b"\\",
    "bars": b"|",
    "keywords": b":a ",
    "invalid": b"\xff",
    "blanks": b" ",
    "nothing": b"\0",
    "items": b"((:item-id :a) ",
}


@pytest.mark.parametrize(
    "prefix", [b"", b"(:version 1 :inventory (", b'{"version":1,"inventory":['], ids=["", "sexpr", "json"]
)
@pytest.mark.parametrize("piece", REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_huge_inputs_are_refused_within_the_caps_on_memory_and_steps(
    target: Target, piece: bytes, prefix: bytes
) -> None:
    for size in (64 * 1024, 8 * 2**20):
        stored = (prefix + piece * size)[:size]
        steps = 0

        def step(_frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal steps
            steps += event == "line"
            return step

        tracing = sys.gettrace()
        tracemalloc.start()
        sys.settrace(step)
        try:
            with pytest.raises(RealmkeepError):
                target.call(stored)
        finally:
            sys.settrace(tracing)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < MEMORY_BYTES_MAX + 64 * 64 * 1024
        assert steps < 20 * 64 * 1024


def find_in_steps(stored: bytes) -> None:
    """A bug that is reached one byte at a time."""
    if stored[:1] == b"#":
        if stored[1:2] == b"#":
            if stored[2:3] == b"#":
                if stored[3:4] == b"#":
                    raise ZeroDivisionError
                return
            return
        return


def test_the_fuzzer_finds_a_bug_behind_several_conditions_because_it_keeps_what_takes_a_new_way() -> None:
    def runs_to_find(*, guided: bool) -> int:
        root = __file__ if guided else "nowhere"
        hunt = Hunt(find_in_steps, [b"(:hp 1)"], Random(7), root=root)
        while hunt.runs < 5_000:
            if hunt.step() is not None:
                break
        return hunt.runs

    assert runs_to_find(guided=True) < 2_500
    assert runs_to_find(guided=False) == 5_000


def test_the_fuzzer_calls_it_a_failure_when_memory_grows_beyond_the_caps() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TooMuchError):
            run(lambda stored: [stored] * MEMORY_BYTES_MAX, b"")
    finally:
        tracemalloc.stop()
