"""Chains of any length, with gaps anywhere: what the check promises at start-up, the runner keeps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.errors import DefinitionError, MigrationFailed
from realmkeep.records.fields import RecordInfo
from realmkeep.records.migrations import add_step, check_chains, migrate
from realmkeep.records.plain import Plain

versions = st.integers(1, 12)


@st.composite
def chains(draw: st.DrawFn) -> tuple[int, set[int]]:
    version = draw(versions)
    return version, draw(st.sets(st.integers(0, version - 1)))


def declared(version: int, steps: set[int]) -> type[Any]:
    info = RecordInfo(kind="player", version=version, suffix="", fields={}, durable=())

    def register(number: int) -> None:
        @add_step(info, number)
        def step(plain: Plain) -> Plain:
            return {**plain, "ran": [*plain["ran"], number]}

    for number in steps:
        register(number)
    return type("Player", (), {"__realmkeep__": info})


@given(chains(), st.integers(0, 12))
def test_a_record_is_migrated_exactly_when_every_step_from_its_version_exists(
    chain: tuple[int, set[int]], stored: int
) -> None:
    version, steps = chain
    cls = declared(version, steps)
    stored = min(stored, version)
    start = 1 if stored == 0 and 0 not in steps else stored
    needed = list(range(start, version))
    plain: Plain = {"version": stored, "ran": []}
    if steps.issuperset(needed):
        assert migrate(plain, cls.__realmkeep__) == {"version": version, "ran": needed}
    else:
        with pytest.raises(MigrationFailed, match=f"from version {min(set(needed) - steps)} to"):
            migrate(plain, cls.__realmkeep__)


@given(chains())
def test_the_check_at_start_up_passes_exactly_the_chains_without_a_gap(chain: tuple[int, set[int]]) -> None:
    version, steps = chain
    gaps = set(range(min(steps, default=1), version)) - steps
    if not gaps:
        check_chains([declared(version, steps)])
        return
    with pytest.raises(DefinitionError) as refused:
        check_chains([declared(version, steps)])
    named = {gap for gap in range(version) if f"from version {gap} to {gap + 1}:" in str(refused.value)}
    assert named == gaps
