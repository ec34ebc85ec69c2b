"""The mutants themselves: each still fits the source, and names tests that are there. `./dev mutate` runs them."""

import ast

import pytest

from mutants.mutant import ROOT, Hunk, Mutant, read_all
from simulation.mutants import MUTANTS


@pytest.mark.parametrize("mutant", read_all(), ids=lambda mutant: f"{mutant.room}/{mutant.name}")
def test_a_mutant_fits_the_source_and_is_a_program(mutant: Mutant) -> None:
    mistaken = mutant.applied((ROOT / mutant.source).read_text(encoding="utf-8"))
    if mutant.source.endswith(".py"):
        ast.parse(mistaken)
    for killer in mutant.killers:
        assert (ROOT / killer.split()[0].partition("::")[0]).exists(), killer


def test_a_mutant_that_no_longer_fits_is_named() -> None:
    stale = Mutant("stale", "keeping", "A mistake.", ("tests",), "", "README.md", (Hunk("not there\n", "there\n"),))
    with pytest.raises(ValueError, match="keeping/stale: its lines stand in README"):
        stale.applied("something else\n")


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mechanism_that_the_simulation_breaks_is_still_called_so(name: str) -> None:
    with MUTANTS[name]():
        """It could be replaced: the simulation itself, which takes minutes, says whether that is noticed."""
