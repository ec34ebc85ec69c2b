"""The contract suite must catch a store that breaks the contract: each of these breaks it in one way."""

import asyncio
import fnmatch
import inspect
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import ClassVar

import pytest
from hypothesis import Phase, settings

from realmkeep.errors import StorageError, StorageUnavailable
from realmkeep.storage import (
    AnyTransaction,
    Append,
    Delete,
    DropFirst,
    Failed,
    Put,
    Refused,
    Storage,
    Transaction,
    WriteOutcome,
)
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.storage.protocol import COMMITTED
from realmkeep.storage.transact import apply
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.contract import Backend, StorageContract

Batch = Sequence[AnyTransaction]


class Torn(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        outcomes: list[WriteOutcome] = []
        for transaction in transactions:
            outcomes += await super().write([Transaction(transaction.guards, (), transaction.needs)])
            for effect in transaction.effects if outcomes[-1] == COMMITTED else ():
                await super().write([Transaction((), (effect,))])
        return outcomes


class Overtaking(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        if len(transactions) % 2:
            await asyncio.sleep(0)
        return await super().write(transactions)


class StopsAtARefusal(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        outcomes: list[WriteOutcome] = []
        for transaction in transactions:
            if outcomes and isinstance(outcomes[-1], Refused):
                outcomes.append(outcomes[-1])
            else:
                outcomes += await super().write([transaction])
        return outcomes


class ComparesTheBatchFirst(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        verdicts = await super().write([Transaction(transaction.guards, ()) for transaction in transactions])
        held = [each for each, verdict in zip(transactions, verdicts, strict=True) if verdict == COMMITTED]
        await super().write([Transaction((), transaction.effects) for transaction in held])
        return verdicts


class AppliesWhatItRefuses(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        outcomes = await super().write(transactions)
        await super().write([Transaction((), transaction.effects) for transaction in transactions])
        return outcomes


class IgnoresNeeds(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        return await super().write([Transaction(each.guards, each.effects) for each in transactions])


class LooksAtNeedsBeforeTheBatch(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        verdicts = await super().write([Transaction((), (), each.needs) for each in transactions])
        outcomes = await super().write([Transaction(each.guards, each.effects) for each in transactions])
        return [
            verdict if isinstance(verdict, Refused) else outcome
            for verdict, outcome in zip(verdicts, outcomes, strict=True)
        ]


class LooksAtNeedsFirst(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        outcomes: list[WriteOutcome] = []
        for each in transactions:
            (outcome,) = await super().write([Transaction((), (), each.needs)])
            if outcome == COMMITTED:
                (outcome,) = await super().write([Transaction(each.guards, each.effects)])
            outcomes.append(outcome)
        return outcomes


class ReportsTheLastGuard(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        return await super().write([Transaction(tuple(reversed(each.guards)), each.effects) for each in transactions])


class AppliesTwice(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        outcomes = await super().write(transactions)
        again = [each for each, outcome in zip(transactions, outcomes, strict=True) if outcome == COMMITTED]
        await super().write([Transaction((), transaction.effects) for transaction in again])
        return outcomes


class TakesEmptyForAbsent(MemoryStorage):
    async def load(self, key: str) -> bytes | None:
        return await super().load(key) or None


class DropsOnDisconnect(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await super().write(transactions)


class ChecksTooLate(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        return [outcome for each in transactions for outcome in await super(ChecksTooLate, self).write([each])]


class AnswersWithoutAConnection(MemoryStorage):
    async def load(self, key: str) -> bytes | None:
        return self.store.value(key)


class SortsWhatItLoads(MemoryStorage):
    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return await super().load_many(sorted(keys))


class KnowsBrackets(MemoryStorage):
    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        async for key in super().keys():
            if fnmatch.fnmatchcase(key, pattern):
                yield key


class SeesKeysTwice(MemoryStorage):
    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        async for key in super().keys(pattern):
            yield key
            if key.endswith("7"):
                yield key


class CountsFromNonsense(MemoryStorage):
    async def increment(self, key: str, by: int = 1) -> int:
        try:
            return await super().increment(key, by)
        except StorageError:
            await self.save(key, b"1")
            return 1


class CountsForEver(MemoryStorage):
    async def increment(self, key: str, by: int = 1) -> int:
        number = await super().increment(key, by)
        await self.save(key, str(number).encode())
        return number


class LosesCounts(MemoryStorage):
    async def increment(self, key: str, by: int = 1) -> int:
        number = int(await self.load(key) or b"0") + by
        await self.save(key, str(number).encode())
        return number


class LeavesStagedValues(MemoryStorage):
    async def save(self, key: str, value: bytes) -> None:
        await super().save(f"temp:1:c0ffee:{key}", value)
        await super().save(key, value)


class SweepsTooMuch(MemoryStorage):
    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        del older_than_s
        swept = [key async for key in self.keys("temp:*")]
        for key in swept:
            await self.delete(key)
        return len(swept)


class NeverExpires(MemoryStore):
    def perform(self, effect: Put | Delete | Append | DropFirst) -> None:
        super().perform(Put(effect.key, effect.value) if isinstance(effect, Put) else effect)


class KeepsTheExpiry(MemoryStore):
    def perform(self, effect: Put | Delete | Append | DropFirst) -> None:
        if isinstance(effect, Put) and effect.expire_s is None and isinstance(self._held.get(effect.key), bytes):
            self.replace(effect.key, effect.value)
        else:
            super().perform(effect)


class OverwritesAnything(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        puts = [[Delete(e.key) for e in t.effects if isinstance(e, Put)] for t in transactions]
        return await super().write(
            [Transaction(t.guards, (*first, *t.effects)) for first, t in zip(puts, transactions, strict=True)]
        )


class AppliesUpToTheWrongType(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        outcomes: list[WriteOutcome] = []
        for transaction in transactions:
            (outcome,) = await super().write([transaction])
            if isinstance(outcome, Failed):
                for effect in transaction.effects:
                    apply(self.store, Transaction((), (effect,)))
            outcomes.append(outcome)
        return outcomes


class ReadCommitted(MemoryStorage):
    """Compares, and applies later; meanwhile a key that was there is locked, and one that was absent is not."""

    _locked: ClassVar[dict[MemoryStore, set[str]]] = {}

    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        locked = self._locked.setdefault(self.store, set())
        outcomes: list[WriteOutcome] = []
        for each in transactions:
            keys = {guard.key for guard in each.guards if guard.expected is not None}
            while locked & keys:
                await asyncio.sleep(0)
            locked |= keys
            (outcome,) = await super().write([Transaction(each.guards, (), each.needs)])
            await asyncio.sleep(0)
            if outcome == COMMITTED:
                (outcome,) = await super().write([Transaction((), each.effects)])
            locked -= keys
            outcomes.append(outcome)
        return outcomes


class LocksInNoOrder(MemoryStorage):
    """Locks key after key as the transaction names them, and finds a deadlock by waiting."""

    _locked: ClassVar[dict[MemoryStore, set[str]]] = {}

    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        locked = self._locked.setdefault(self.store, set())
        outcomes: list[WriteOutcome] = []
        for each in transactions:
            mine: set[str] = set()
            for key in dict.fromkeys(effect.key for effect in each.effects):
                turns = 0
                while key in locked and turns < 1000:
                    turns += 1
                    await asyncio.sleep(0)
                if key in locked:
                    break
                locked.add(key)
                mine.add(key)
                await asyncio.sleep(0)
            else:
                outcomes += await super().write([each])
            if len(outcomes) < len(transactions) and mine < {effect.key for effect in each.effects}:
                outcomes.append(Failed(StorageUnavailable("deadlock detected")))
            locked -= mine
        return outcomes


class AppendsToWhatItRead(MemoryStorage):
    async def write(self, transactions: Batch) -> list[WriteOutcome]:
        outcomes: list[WriteOutcome] = []
        for each in transactions:
            added = [effect for effect in each.effects if isinstance(effect, Append)]
            entries = {effect.key: await self.load_list(effect.key) for effect in added}
            again = [Append(key, entry) for key, read in entries.items() for entry in read]
            effects = (*(Delete(key) for key in entries), *again, *each.effects)
            outcomes += await super().write([Transaction(each.guards, effects, each.needs)])
        return outcomes


CONTROLS: list[tuple[type[MemoryStorage] | type[MemoryStore], str]] = [
    (Torn, "test_readers_see_all_of_a_transaction_or_nothing"),
    (Torn, "test_a_write_cancelled_at_any_await_happens_wholly_or_not_at_all"),
    (Torn, "test_a_write_cancelled_after_any_number_of_turns_happens_wholly_or_not_at_all"),
    (Torn, "test_two_who_compare_and_set_lose_no_update"),
    (Overtaking, "test_calls_take_effect_in_the_order_in_which_they_started"),
    (StopsAtARefusal, "test_a_refused_transaction_of_a_batch_stops_no_other"),
    (ComparesTheBatchFirst, "test_a_later_transaction_of_a_batch_sees_the_earlier_ones"),
    (ComparesTheBatchFirst, "test_a_thousand_dependent_transactions_in_one_batch"),
    (AppliesWhatItRefuses, "test_nothing_happens_if_one_guard_does_not_hold"),
    (AppliesWhatItRefuses, "test_what_a_refused_transaction_would_have_left_is_not_seen_by_later_ones"),
    (ReportsTheLastGuard, "test_the_first_guard_that_does_not_hold_is_reported_with_what_was_found"),
    (IgnoresNeeds, "test_a_need_that_does_not_hold_is_reported_and_nothing_happens"),
    (IgnoresNeeds, "test_needs_are_looked_at_before_the_first_effect"),
    (IgnoresNeeds, "test_an_empty_value_is_present_and_an_expired_one_is_not"),
    (IgnoresNeeds, "test_the_length_of_a_value_is_the_wrong_type"),
    (LooksAtNeedsBeforeTheBatch, "test_a_later_transaction_of_a_batch_sees_what_the_earlier_ones_left"),
    (LooksAtNeedsFirst, "test_two_who_fill_a_list_never_overfill_it"),
    (LooksAtNeedsFirst, "test_guards_decide_before_needs"),
    (ReadCommitted, "test_of_two_who_create_a_key_one_wins"),
    (ReadCommitted, "test_of_two_who_build_on_what_the_other_changes_one_is_refused"),
    (Torn, "test_money_that_two_move_about_is_conserved"),
    (LocksInNoOrder, "test_two_who_want_the_same_keys_in_any_order_both_get_them"),
    (Torn, "test_two_who_want_the_same_keys_in_any_order_both_get_them"),
    (AppendsToWhatItRead, "test_no_letter_is_lost_between_two_who_send_and_two_who_open"),
    (Torn, "test_no_letter_is_lost_between_two_who_send_and_two_who_open"),
    (AppliesTwice, "test_every_effect_happens_if_every_guard_holds"),
    (TakesEmptyForAbsent, "test_an_empty_value_is_not_an_absent_one"),
    (DropsOnDisconnect, "test_disconnect_finishes_what_was_accepted"),
    (DropsOnDisconnect, "test_flush_returns_after_everything_that_was_accepted"),
    (ChecksTooLate, "test_a_malformed_key_is_refused_by_every_method"),
    (AnswersWithoutAConnection, "test_an_object_that_is_not_connected_refuses_and_changes_nothing"),
    (SortsWhatItLoads, "test_many_values_come_in_the_order_asked_for"),
    (KnowsBrackets, "test_a_pattern_has_two_wildcards_and_one_escape"),
    (SeesKeysTwice, "test_thousands_of_keys_are_seen_each_once"),
    (CountsFromNonsense, "test_what_is_no_number_is_not_incremented"),
    (CountsForEver, "test_incrementing_keeps_the_expiry"),
    (LosesCounts, "test_concurrent_increments_return_every_number_once"),
    (LeavesStagedValues, "test_save_replaces_and_leaves_nothing_behind"),
    (SweepsTooMuch, "test_only_staged_values_of_more_than_an_hour_are_swept"),
    (NeverExpires, "test_an_expired_key_is_absent_for_guards_and_every_read"),
    (KeepsTheExpiry, "test_a_put_without_expiry_removes_it"),
    (OverwritesAnything, "test_a_transaction_of_the_wrong_type_fails_whole_and_alone"),
    (AppliesUpToTheWrongType, "test_a_transaction_of_the_wrong_type_fails_whole_and_alone"),
    (Torn, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (Overtaking, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (StopsAtARefusal, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (ComparesTheBatchFirst, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (AppliesWhatItRefuses, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (AppliesTwice, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (CountsFromNonsense, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (OverwritesAnything, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (AppliesUpToTheWrongType, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (IgnoresNeeds, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
    (NeverExpires, "test_random_histories_end_as_they_do_in_a_plain_dictionary"),
]


class ControlBackend(Backend):
    opens_twice = True
    histories = 120  # a fault that few histories touch is found, too

    def __init__(self, broken: type[MemoryStorage] | type[MemoryStore]) -> None:
        self._fake = FakeClock()
        super().__init__(self._fake)
        self._storage = broken if issubclass(broken, MemoryStorage) else MemoryStorage
        self._store = (MemoryStore if issubclass(broken, MemoryStorage) else broken)(self._fake)

    def new(self) -> Storage:
        return self._storage(self._store, clock=self.clock)

    async def elapse(self, seconds: float) -> None:
        await self._fake.advance(seconds)


async def run(name: str, broken: type[MemoryStorage] | type[MemoryStore]) -> None:
    """Run one test of the suite, with each of its parameters, on a fresh store each time."""
    test = getattr(StorageContract(), name)
    marks: list[pytest.Mark] = getattr(test, "pytestmark", [])
    for values in [row for mark in marks for row in _parameters(mark)] or [{}]:
        backend = ControlBackend(broken)
        storage = backend.new()
        await storage.connect()
        fixtures = {"storage": storage, "backend": backend}
        wanted = {key: value for key, value in fixtures.items() if key in inspect.signature(test).parameters}
        await test(**wanted, **values)


def _parameters(mark: pytest.Mark) -> list[dict[str, object]]:
    names, rows = mark.args
    if isinstance(names, str):
        return [{names: row} for row in rows]
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture
def first_failure_is_enough() -> Iterator[None]:
    """No shrinking: that one is found is all that matters here."""
    settings.register_profile("first failure", phases=[Phase.generate], database=None, derandomize=True)
    settings.load_profile("first failure")
    yield
    settings.load_profile("default")


@pytest.mark.parametrize("name", sorted({name for _, name in CONTROLS}))
async def test_the_same_run_passes_on_a_store_that_keeps_it(name: str) -> None:
    await run(name, MemoryStorage)


@pytest.mark.usefixtures("first_failure_is_enough")
@pytest.mark.parametrize(("broken", "name"), CONTROLS, ids=[f"{broken.__name__}-{name}" for broken, name in CONTROLS])
async def test_the_suite_catches_a_store_that_breaks_the_contract(
    broken: type[MemoryStorage] | type[MemoryStore], name: str
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, StorageError, ValueError)):
        await run(name, broken)


def test_every_test_of_the_contract_is_a_coroutine_that_needs_a_store() -> None:
    tests = [member for name, member in inspect.getmembers(StorageContract) if name.startswith("test_")]
    assert len(tests) > 50
    assert all(inspect.iscoroutinefunction(test) for test in tests)
    assert all({"storage", "backend"} & inspect.signature(test).parameters.keys() for test in tests)
