"""Every interval that the settings allow is kept: no change is older when its write is handed to the store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keeping.game import Item, Player, changes_nothing, enter, hooks_of
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Session
from realmkeep.keeping.live.flush_schedule import LEAD_S, LEAD_SHARE_MAX
from realmkeep.keeping.writing.flusher import ROUNDS_A_LEAD
from realmkeep.storage import Put, Transaction, WriteOutcome
from realmkeep.testing.faulty import delay
from realmkeep.testing.lab import Lab

SHORTEST_S, LONGEST_S = 0.05, 600.0
NANOSECOND_S = 1e-9


@dataclass
class Ages:
    """How old changes were when a write with them was handed to the store, against what was promised for each.

    Attributes:
        overdue: What was older than promised, as (kind, age, promised).
        oldest: The largest share of its interval that any change had reached.
    """

    lab: Lab
    waiting: dict[int, list[tuple[float, str, float]]] = field(
        default_factory=dict[int, list[tuple[float, str, float]]]
    )
    overdue: list[tuple[str, float, float]] = field(default_factory=list[tuple[str, float, float]])
    oldest: float = 0.0

    def changed(self, number: int, kind: str, promised_s: float) -> None:
        self.waiting.setdefault(number, []).append((self.lab.clock.monotonic_s(), kind, promised_s))

    def handed(self, number: int) -> None:
        now_s = self.lab.clock.monotonic_s()
        for at_s, kind, promised_s in self.waiting.pop(number, []):
            self.oldest = max(self.oldest, (now_s - at_s) / promised_s)
            if now_s - at_s > promised_s + NANOSECOND_S:
                self.overdue.append((kind, now_s - at_s, promised_s))


def watched(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Ages:
    ages, storage = Ages(lab), lab.line()
    write: Callable[[Sequence[Transaction]], object] = storage.write

    async def noting(transactions: Sequence[Transaction]) -> list[WriteOutcome]:
        for effect in (effect for each in transactions for effect in each.effects):
            if isinstance(effect, Put) and effect.key.startswith("rover:") and effect.key.count(":") == 1:
                ages.handed(int(effect.key.partition(":")[2]))
        return await type(storage).write(storage, transactions)

    assert write
    monkeypatch.setattr(storage, "write", noting)
    return ages


@st.composite
def intervals(draw: st.DrawFn) -> KeeperConfig:
    """Any that are allowed, of about the same size: a second of a hundredth beside ten minutes is a long test."""
    base_s = SHORTEST_S * (LONGEST_S / SHORTEST_S) ** draw(st.floats(0, 1))
    near = st.floats(1 / 4, 4).map(lambda factor: min(LONGEST_S, max(SHORTEST_S, base_s * factor)))
    return KeeperConfig(flush_interval_s=draw(near), checkpoint_interval_s=draw(near), sweep_interval_s=draw(near))


def change(session: Session[Player], kind: str) -> None:
    record = session.record
    if kind == "batched":
        record.xp += 1
    elif kind == "checkpoint":
        record.x += 1.0
    else:
        record.inventory.append(Item("rope"))


@settings(max_examples=40)
@example(
    KeeperConfig(flush_interval_s=5.5, checkpoint_interval_s=16.5, sweep_interval_s=5.5),
    [(0, "checkpoint", 0.0), (0, "forgotten", 0.0)],
)
@given(
    intervals(),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["batched", "checkpoint", "forgotten"]), st.floats(0, 0.4))),
)
async def test_no_change_is_older_than_its_interval_when_it_is_handed_to_the_store(
    config: KeeperConfig, changes: list[tuple[int, str, float]]
) -> None:
    promised_s = {
        "batched": config.flush_interval_s,
        "checkpoint": config.checkpoint_interval_s,
        # A record that is marked for its checkpoint is not swept: what was forgotten of it goes with that.
        "forgotten": config.sweep_interval_s + max(config.flush_interval_s, config.checkpoint_interval_s),
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        async with Lab(config=config) as lab:
            sessions = [await enter(lab.keeper, number) for number in range(5)]
            ages = watched(lab, monkeypatch)
            for number, kind, after in changes:
                await lab.advance(after * min(promised_s.values()))
                change(sessions[number], kind)
                ages.changed(number, kind, promised_s[kind])
            await lab.advance(max(promised_s.values()) + 0.001)
            assert ages.overdue == []
            assert not ages.waiting


@pytest.mark.parametrize("interval_s", [0.05, 0.1, 0.3, 1.0, 2.0, 2.5, 30.0])
async def test_three_quarters_of_the_lead_are_left_to_the_store(
    interval_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = KeeperConfig(flush_interval_s=interval_s, checkpoint_interval_s=interval_s)
    async with Lab(config=config) as lab:
        ada = await enter(lab.keeper, 1)
        ages = watched(lab, monkeypatch)
        for _ in range(20):
            ada.record.xp += 1
            ages.changed(1, "batched", interval_s)
            await lab.advance(interval_s * 1.013)
        lead_s = min(LEAD_S, LEAD_SHARE_MAX * interval_s)
        assert ages.oldest * interval_s <= interval_s - lead_s * (1 - 1 / ROUNDS_A_LEAD) + NANOSECOND_S
        assert ages.overdue == []


async def test_a_store_that_takes_its_time_is_allowed_for() -> None:
    """Two seconds, and a disk that takes 0.35 s each for the lease and then for the flush, were 2.76 s: the lead was 0.2 s, the
    round took more than that, and nothing was left to the disk."""
    async with Lab(config=KeeperConfig(flush_interval_s=2)) as lab:
        ada = await enter(lab.keeper, 1)
        lab.line().plan = lambda method: delay(0.35, 0.0) if method == "write" else delay(0.0)
        longest_s = 0.0
        for _ in range(25):
            await lab.advance(0.173)
            ada.record.xp += 1
            since_s = lab.clock.monotonic_s()
            while ada.dirty:
                await lab.advance(0.01)
            longest_s = max(longest_s, lab.clock.monotonic_s() - since_s)
        assert 1.7 < longest_s <= 2.0


async def test_commits_that_are_queued_before_a_flush_come_on_top_and_nothing_else_does() -> None:
    """Four batches of a slow store are ahead of it at most, whatever is committed meanwhile."""
    async with Lab(config=KeeperConfig(flush_interval_s=2, tier1_rate_per_s=10_000)) as lab:
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
        lab.line().plan = lambda method: delay(0.2, 0.0) if method == "write" else delay(0.0)
        hooks_of(lab.keeper).on_evict(Player)(changes_nothing)
        ada.record.xp += 1
        since_s = lab.clock.monotonic_s()
        while ada.dirty:
            bob.record.diary = "again"
            lab.keeper._engine.commits.run(changes_nothing, [bob], ())
            await lab.advance(0.05)
        assert lab.clock.monotonic_s() - since_s <= 1.25 + 0.05 + 5 * 0.2


def test_the_settings_allow_what_is_tested_here() -> None:
    for name in ("flush_interval_s", "checkpoint_interval_s", "sweep_interval_s"):
        for value in (SHORTEST_S, LONGEST_S):
            msgspec.convert({name: value}, KeeperConfig)
        for value in (SHORTEST_S / 2, LONGEST_S * 2):
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({name: value}, KeeperConfig)
