"""Thousands of histories; a failing one is played again with `./dev test tests/simulation -k promise --seed N`.

More of them: `./dev test tests/simulation -k promise --seeds-from 20000 --seeds 5000`.
"""

import logging

import pytest

from simulation.mutants import MUTANTS
from simulation.run import play

CHUNK = 10  # a slow machine beside other work has a tenth of the limit for them
MUTANT_SEEDS = 400  # the hardest to notice took 177 when this was written
TRIED_FIRST = (
    177,
    146,
    112,
    62,
    38,
    13,
    10,
)  # these noticed the hardest; the others follow, so a stale one costs time alone


def violations(seed: int) -> list[str]:
    """What broke in the history of this seed."""
    logging.disable(logging.CRITICAL)  # thousands of outages are not worth a line each
    try:
        return play(seed).model.violations
    except Exception as error:  # noqa: BLE001 - a history that cannot be played to its end is one that broke
        return [f"the history broke off: {error!r}"]
    finally:
        logging.disable(logging.NOTSET)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The histories that were asked for, some in each test: processes share them out."""
    if "seeds" not in metafunc.fixturenames:
        return
    option = metafunc.config.option
    first, count = (option.seeds_from, option.seeds) if option.seed is None else (option.seed, 1)
    end = first + count
    chunks = [range(start, min(start + CHUNK, end)) for start in range(first, end, CHUNK)]
    metafunc.parametrize("seeds", chunks, ids=[f"{chunk.start}-{chunk.stop - 1}" for chunk in chunks])


def test_no_history_breaks_a_promise(seeds: range) -> None:
    for seed in seeds:
        assert violations(seed) == [], f"play it again: ./dev test -n0 tests/simulation -k promise --seed {seed}"


@pytest.mark.limit(600)  # nothing but computing: 13 s alone, and ten times that beside other work
@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_notices_when_a_mechanism_is_broken(name: str) -> None:
    with MUTANTS[name]():
        noticed = next((seed for seed in (*TRIED_FIRST, *range(MUTANT_SEEDS)) if violations(seed)), None)
    assert noticed is not None, f"{name} was not noticed in {MUTANT_SEEDS} histories"


def test_a_seed_gives_the_same_history_twice() -> None:
    first, second = play(7), play(7)
    assert first.done == second.done
    assert first.store.live_keys() == second.store.live_keys()
    assert first.model.acked == second.model.acked
