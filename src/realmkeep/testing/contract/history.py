"""Random histories against a plain dictionary: transactions, counters, expiries, cancelled calls, crashed clients."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from realmkeep.errors import WrongType
from realmkeep.storage.protocol import (
    COMMITTED,
    Advance,
    AnyTransaction,
    Append,
    Delete,
    DropFirst,
    Effect,
    Extend,
    Failed,
    Guard,
    Need,
    OwnedKeys,
    Present,
    Put,
    Refused,
    Shorter,
    Step,
    Storage,
    Transaction,
    WriteOutcome,
)
from realmkeep.testing.contract.backend import Backend, ContractTests, all_keys
from realmkeep.testing.contract.values import FAR_S, PAST_S, SOON_S

T = TypeVar("T")
Held: TypeAlias = dict[str, bytes | tuple[bytes, ...]]

WRONG_TYPE: Final = "wrong type"
WHOLE_NUMBER: Final = re.compile(rb"0|-?[1-9][0-9]*")  # an extension may have made `00`, which is none
STEPS: Final = 25

KEYS = st.sampled_from(["a", "b", "c", "player:1:inbox"])
VALUES = st.sampled_from([b"", b"0", b"1", b"-7", b"x", b"\x00\xff\r\n"])  # few, so that guards often hold
GUARDS = st.builds(Guard, KEYS, st.none() | VALUES)
NEEDS = st.one_of(st.builds(Present, KEYS), st.builds(Shorter, KEYS, st.integers(1, 3)))
EFFECTS = st.one_of(
    st.builds(Put, KEYS, VALUES, st.sampled_from([None, None, FAR_S])),
    st.builds(Delete, KEYS),
    st.builds(Append, KEYS, VALUES),
    st.builds(Extend, KEYS, VALUES),
    st.builds(DropFirst, KEYS, st.integers(1, 3)),
)
REVISIONS = st.sampled_from([0, 1, -7])  # values of `VALUES`
OWNED = st.permutations(["a", "b", "c", "player:1:inbox"]).flatmap(
    lambda keys: st.builds(OwnedKeys, *map(st.just, keys), VALUES)
)
ADVANCES = st.builds(
    Advance,
    st.lists(st.builds(Step, OWNED, REVISIONS, REVISIONS, VALUES, VALUES), min_size=1, max_size=2).map(tuple),
    st.none() | st.builds(Append, KEYS | st.just("list"), VALUES),
)
TRANSACTIONS = ADVANCES | st.builds(
    Transaction, st.lists(GUARDS, max_size=2), st.lists(EFFECTS, max_size=4), st.lists(NEEDS, max_size=2)
)
BATCHES = st.lists(TRANSACTIONS, max_size=5)


class DictionaryModel:
    """A store as a dictionary that each change replaces by a new one."""

    def __init__(self) -> None:
        self.held: Held = {}

    def write(self, batch: Sequence[AnyTransaction]) -> list[WriteOutcome | str]:
        """Return the outcomes that a store must report."""
        return [self._apply(transaction) for transaction in batch]

    def add(self, key: str, by: int) -> int | str:
        """Return the result that a store's counter must have."""
        value = self.held.get(key, b"0")
        if isinstance(value, tuple) or not WHOLE_NUMBER.fullmatch(value):
            return WRONG_TYPE
        self.held = {**self.held, key: str(int(value) + by).encode()}
        return int(value) + by

    def after_each(self, batch: Sequence[AnyTransaction]) -> list[Held]:
        """Return the possible contents after an abandoned call: after none, one, ... all of its transactions."""
        beginning, states = self.held, [self.held]
        for transaction in batch:
            self._apply(transaction)
            states.append(self.held)
        self.held = beginning
        return states

    def _apply(self, transaction: AnyTransaction) -> WriteOutcome | str:
        for guard in transaction.guards:
            found = self.held.get(guard.key)
            if isinstance(found, tuple):
                return WRONG_TYPE
            if found != guard.expected:
                return Refused(guard, found)
        for need in transaction.needs:
            if (unmet := _unmet(self.held.get(need.key), need)) is not None:
                return unmet
        held = dict(self.held)
        for effect in transaction.effects:
            if not _step(held, effect):
                return WRONG_TYPE
        self.held = held
        return COMMITTED


def _unmet(found: bytes | tuple[bytes, ...] | None, need: Need) -> Refused | str | None:
    if isinstance(need, Present):
        return Refused(need, None) if found is None else None
    if isinstance(found, bytes):
        return WRONG_TYPE
    length = len(found or ())
    return Refused(need, str(length).encode()) if length >= need.than else None


def _step(held: Held, effect: Effect) -> bool:
    """Apply one effect; False if the key holds the wrong type."""
    before = held.pop(effect.key, None)
    if isinstance(effect, Delete):
        return True
    if isinstance(effect, Put):
        held[effect.key] = effect.value
        return not isinstance(before, tuple)
    if isinstance(effect, Extend):
        if isinstance(before, tuple):
            return False
        held[effect.key] = (before or b"") + effect.value
        return True
    if isinstance(before, bytes):
        return False
    entries = (before or ()) + (effect.value,) if isinstance(effect, Append) else (before or ())[effect.count :]
    if entries:
        held[effect.key] = entries
    return True


def _comparable(outcome: WriteOutcome) -> WriteOutcome | str:
    return WRONG_TYPE if isinstance(outcome, Failed) and isinstance(outcome.error, WrongType) else outcome


async def _everything(storage: Storage) -> Held:
    held: Held = {}
    async for key in storage.keys():
        try:
            held[key] = await storage.load(key) or b""
        except WrongType:
            held[key] = tuple(await storage.load_list(key))
    return held


class History(RuleBasedStateMachine):
    """One history of one store, which is emptied first. It runs its own event loop from step to step."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend
        self._model = DictionaryModel()
        self._runner = asyncio.Runner()
        self._storage = self._run(self._open())
        self._run(self._clear())

    def teardown(self) -> None:
        """Compare the contents a last time."""
        try:
            assert self._run(_everything(self._storage)) == self._model.held
        finally:
            self._run(self._storage.disconnect())
            self._runner.close()

    @rule(batch=BATCHES)
    def write(self, batch: list[Transaction]) -> None:
        """Write one batch."""
        outcomes = self._run(self._storage.write(batch))
        assert [_comparable(outcome) for outcome in outcomes] == self._model.write(batch)

    @rule(batches=st.lists(BATCHES, min_size=2, max_size=5))
    def write_without_waiting(self, batches: list[list[Transaction]]) -> None:
        """Write several batches at a time; they take effect in the order in which they started."""

        async def together() -> list[list[WriteOutcome]]:
            return await asyncio.gather(*(asyncio.create_task(self._storage.write(batch)) for batch in batches))

        for outcomes, batch in zip(self._run(together()), batches, strict=True):
            assert [_comparable(outcome) for outcome in outcomes] == self._model.write(batch)

    @rule(batch=BATCHES, turns=st.integers(0, 5))
    def cancel_a_write(self, batch: list[Transaction], turns: int) -> None:
        """Cancel a write: a first part of its transactions happened, in order, and the rest did not."""
        self._run(self._abandon(batch, turns))
        self._run(self._storage.flush())
        self._adopt(batch)

    @rule(batch=BATCHES, turns=st.integers(0, 5))
    def crash(self, batch: list[Transaction], turns: int) -> None:
        """Let the client die during a call, and connect a new one."""
        self._run(self._abandon(batch, turns))
        self.connect_anew()
        self._adopt(batch)

    @rule()
    def connect_anew(self) -> None:
        """Connect again; no data is lost in between."""
        self._run(self._storage.disconnect())
        self._storage = self._run(self._open())

    @precondition(lambda self: self._model.held)
    @rule(value=VALUES, choice=st.randoms())
    def let_expire(self, value: bytes, choice: Any) -> None:
        """Let a key expire."""
        key = choice.choice(sorted(self._model.held))
        self._run(self._storage.write([Transaction((), (Delete(key), Put(key, value, SOON_S)))]))
        self._run(self._backend.elapse(PAST_S))
        self._model.write([Transaction((), (Delete(key),))])

    @rule(key=KEYS, by=st.integers(-3, 3))
    def increment(self, key: str, by: int) -> None:
        """Increment a counter, or get WrongType."""
        assert self._run(_or_wrong_type(self._storage.increment(key, by))) == self._model.add(key, by)

    @rule(key=KEYS, value=VALUES)
    def save(self, key: str, value: bytes) -> None:
        """Save a value: the same as a transaction of one put."""
        (expected,) = self._model.write([Transaction((), (Put(key, value),))])
        answer = self._run(_or_wrong_type(self._storage.save(key, value)))
        assert answer == (WRONG_TYPE if expected == WRONG_TYPE else None)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """Delete a key: the same as a transaction of one delete; the answer says whether the key existed."""
        assert self._run(self._storage.delete(key)) == (key in self._model.held)
        self._model.write([Transaction((), (Delete(key),))])

    @rule(key=KEYS, start=st.integers(0, 3), count=st.none() | st.integers(0, 3))
    def read(self, key: str, start: int, count: int | None) -> None:
        """Read one key in every way."""
        held = self._model.held.get(key)
        value = WRONG_TYPE if isinstance(held, tuple) else held
        assert self._run(_or_wrong_type(self._storage.load(key))) == value
        assert self._run(_or_wrong_type(self._storage.load_many([key]))) == (
            WRONG_TYPE if value == WRONG_TYPE else [value]
        )
        assert self._run(self._storage.exists(key)) == (held is not None)
        stop = None if count is None else start + count
        entries = WRONG_TYPE if isinstance(held, bytes) else list((held or ())[start:stop])
        assert self._run(_or_wrong_type(self._storage.load_list(key, start=start, count=count))) == entries

    @rule()
    def read_everything(self) -> None:
        """Read all keys and their contents."""
        assert self._run(_everything(self._storage)) == self._model.held

    def _adopt(self, batch: Sequence[AnyTransaction]) -> None:
        found = self._run(_everything(self._storage))
        assert found in self._model.after_each(batch)
        self._model.held = found

    async def _open(self) -> Storage:
        storage = self._backend.new()
        await storage.connect()
        return storage

    async def _clear(self) -> None:
        for key in await all_keys(self._storage):
            await self._storage.delete(key)

    async def _abandon(self, batch: Sequence[AnyTransaction], turns: int) -> None:
        call = asyncio.create_task(self._storage.write(batch))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)


async def _or_wrong_type(answer: Coroutine[Any, Any, T]) -> T | str:
    try:
        return await answer
    except WrongType:
        return WRONG_TYPE


def check_histories(new_backend: Callable[[], Backend], *, histories: int) -> None:
    """Run random histories, and raise for the shortest that differs from the dictionary."""

    class HistoryOfBackend(History):
        def __init__(self) -> None:
            super().__init__(new_backend())

    run_state_machine_as_test(
        HistoryOfBackend,
        settings=settings(
            max_examples=histories,
            stateful_step_count=STEPS,
            deadline=None,
            phases=[phase for phase in settings().phases if phase is not Phase.explain],  # it takes minutes
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


class HistoryTests(ContractTests):
    """Tests all methods against a plain dictionary."""

    async def test_random_histories_end_as_they_do_in_a_plain_dictionary(self, backend: Backend) -> None:
        await asyncio.to_thread(check_histories, lambda: backend, histories=backend.histories)
