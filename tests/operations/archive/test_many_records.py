"""A cold tier behind many records: memory is bounded, round trips are few, and no slice of the work holds the event loop up."""

from collections import Counter
from collections.abc import Sequence

import pytest
from typing_extensions import override

from operations.archive.rig import OLD_S, Nomad, Rig
from realmkeep import keys
from realmkeep.keeping import Op
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.op_ring import OpRing, is_normal
from realmkeep.keeping.writing.change_feed import normal_ops
from realmkeep.operations.archive import sweeping
from realmkeep.operations.archive.reading import PAGE_RECORDS, SLICE_RECORDS
from realmkeep.operations.archive.reconciling import Reconciler
from realmkeep.operations.archive.verifying import verify
from realmkeep.records import encode
from realmkeep.storage import Put, Storage, Transaction
from realmkeep.storage.cold import ColdBatch, ColdHead, ColdWritten, MemoryColdStore
from realmkeep.storage.memory import MemoryStorage
from realmkeep.testing.faulty import FaultyStorage

LONG_AGO_US = 1_732_371_000_000_000


class CountedColdStore(MemoryColdStore):
    """Counts calls, and the rows of the largest batch."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.rows_max = 0

    @override
    async def heads(self, keys: Sequence[str]) -> list[ColdHead | None]:
        self.calls["heads"] += 1
        return await super().heads(keys)

    @override
    async def write(self, batch: ColdBatch) -> ColdWritten:
        self.calls["write"] += 1
        self.rows_max = max(self.rows_max, len(batch.rows))
        return await super().write(batch)


async def fill(storage: Storage, count: int, ring: bytes = b"") -> None:
    """Nomads that nobody owns."""
    for number in range(1, count + 1):
        at = keys.record_keys("nomad", number)
        puts = [
            Put(at.record, encode(Nomad(gold=number))),
            Put(at.updated, b"%d" % (LONG_AGO_US + number)),
            Put(at.version, b"1"),
        ]
        await storage.write([Transaction((), [*puts, Put(at.ops, ring)] if ring else puts)])


def ring_of(*ids: int) -> OpRing:
    ring = OpRing()
    for id_ in ids:
        ring.add_op(Op(id_, b"request"), b'{"ok":true}')
    return ring


@pytest.mark.parametrize(
    ("ring", "letters", "normal"),
    [
        (ring_of(1, 2, 5), [], True),
        (ring_of(*range(1, 60)), [], True),
        (ring_of(1, 2), ["a letter"], False),
        (ring_of(), ["a letter"], False),
    ],
)
def test_a_ring_that_is_normal_is_told_from_others(ring: OpRing, letters: list[str], normal: bool) -> None:
    ring.add_letters(letters, safe_s=0.0)
    stored = ring.encode()
    assert is_normal(stored) is normal
    assert normal_ops(stored) == OpRing.decode(stored, "ops").encode() == stored


def test_a_log_that_is_longer_than_the_ring_or_out_of_order_is_not_normal() -> None:
    for ids in ([*range(1, 41)], [1, 3, 2], [1, 1]):
        log = b"".join([ring_of(id_).encode() for id_ in ids])
        assert not is_normal(log)
        assert normal_ops(log) == OpRing.decode(log, "ops").encode() != log


@pytest.mark.parametrize("rubbish", [b"no ring", b"\n", b"00000000 [1,2", b"00000000 [1,\n[2,\n", b"00000000 [01,\n"])
def test_rubbish_stays_as_it_is(rubbish: bytes) -> None:
    assert normal_ops(rubbish) == rubbish


async def test_accounts_are_compared_many_at_a_time() -> None:
    cold = CountedColdStore()
    async with Rig(cold) as rig:
        storage = engine_of(rig.lab.keeper).storage
        await storage.write([Transaction((), [Put(keys.account(f"ada{at}"), b"%d" % at)]) for at in range(600)])
        assert (await rig.lab.finish(rig.a.sweeper.sweep())).shipped == 600
        cold.calls.clear()
        await storage.write([Transaction((), [Put(keys.account("ada7"), b"changed")])])
        assert (await rig.lab.finish(rig.a.sweeper.sweep())).shipped == 1
        assert cold.calls["heads"] < 10
        (row,) = await cold.rows([keys.account("ada7")])
        assert row is not None
        assert row.body == b"changed"


async def test_letters_and_accounts_that_were_found_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cold = CountedColdStore()
    async with Rig(cold) as rig:
        keeper = rig.lab.keeper
        await rig.lab.finish((await rig.nomad(1)).release())
        for amount in range(20):
            await rig.lab.finish(keeper.letters.send(Nomad, 1, amount))
        await engine_of(keeper).storage.write(
            [Transaction((), [Put(keys.account(f"ada{at}"), bytes(100))]) for at in range(600)]
        )
        monkeypatch.setattr(sweeping, "BATCH_BYTES", 500)
        report = await rig.lab.finish(rig.a.sweeper.sweep())
        assert report.letters == 20
        assert report.parts >= 3
        assert cold.rows_max <= 300


async def test_a_second_look_at_frozen_records_reads_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig() as rig:
        storage = engine_of(rig.lab.keeper).storage
        await fill(storage, 300, ring_of(1, 2).encode())
        await rig.lab.finish(rig.a.sweeper.sweep())
        assert (await rig.lab.finish(rig.a.freezer.freeze_inactive(OLD_S))).frozen == 300
        faulty = FaultyStorage(storage, clock=rig.lab.clock)
        monkeypatch.setattr(rig.a.freezer, "_storage", faulty)
        report = await rig.lab.finish(rig.a.freezer.freeze_inactive(OLD_S))
        assert (report.frozen, report.different) == (0, 0)
        assert faulty.calls["load_many"] == 2, "of revisions alone, 250 at once"
        assert faulty.calls["write"] == 0


async def test_a_rebuilt_store_is_flushed_once() -> None:
    async with Rig() as rig:
        await fill(engine_of(rig.lab.keeper).storage, 300)
        await rig.lab.finish(rig.a.sweeper.sweep())
        inner = MemoryStorage(clock=rig.lab.clock)
        await inner.connect()
        faulty = FaultyStorage(inner, clock=rig.lab.clock)
        report = await rig.lab.finish(Reconciler(faulty, rig.cold).run())
        assert report.stubs == 300
        assert faulty.calls["flush"] == 1
        assert (await rig.lab.finish(verify(inner, rig.cold))).equal == 300


async def test_the_event_loop_gets_turns_within_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig() as rig:
        await fill(engine_of(rig.lab.keeper).storage, 400, ring_of(*range(1, 33)).encode())
        clock, turns = rig.lab.clock, Counter[float]()
        sleep = clock.sleep

        async def counted(delay_s: float) -> None:
            turns[delay_s] += 1
            await sleep(delay_s)

        monkeypatch.setattr(clock, "sleep", counted)
        await rig.lab.finish(rig.a.sweeper.sweep())
        assert turns.pop(0) >= 400 // PAGE_RECORDS * (PAGE_RECORDS // SLICE_RECORDS)
        assert (await rig.lab.finish(rig.a.freezer.freeze_inactive(OLD_S))).frozen == 400
        assert turns[0] >= 400 // PAGE_RECORDS * (PAGE_RECORDS // SLICE_RECORDS)
