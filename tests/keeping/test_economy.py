"""The economy of commits: what is made or destroyed is declared, and no item exists twice."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keeping.game import changes_nothing
from realmkeep.config import JournalConfig
from realmkeep.errors import DefinitionError, Misuse, NotConserved
from realmkeep.keeping import Hooks, Keeper, Letter, Returned, Session
from realmkeep.keeping.writing.journal_entries import CommitEntry, SnapshotEntry, decode_entry
from realmkeep.keys import server_journal
from realmkeep.records import IMMEDIATE, Record, durable
from realmkeep.testing.lab import Lab


class Trader(Record, kind="hawker", version=1):
    gold: int = durable(default=0, ge=0, tier=IMMEDIATE)
    items: list[int] = durable(default_factory=list[int])


class Parcel(Letter, kind="bundle"):
    gold: int = 0
    item: int | None = None


@Trader.conserved("gold")
def _(trader: Trader) -> int:
    return trader.gold


@Trader.serials
def _(trader: Trader) -> Iterator[int]:
    yield from trader.items


@Parcel.conserved("gold")
def _(parcel: Parcel) -> int:
    return parcel.gold


@Parcel.serials
def _(parcel: Parcel) -> Iterator[int | None]:
    yield parcel.item


Change = Callable[[Keeper, Trader, Trader], None]


def pay(_: Keeper, one: Trader, two: Trader) -> None:
    one.gold -= 5
    two.gold += 5


def hand_over(_: Keeper, one: Trader, two: Trader) -> None:
    two.items = [*two.items, *one.items]
    one.items = []


def reward(keeper: Keeper, one: Trader, two: Trader) -> None:
    one.gold += 5
    two.items = [*two.items, 9]
    keeper.tx.mint("gold", 5, "a reward")
    keeper.tx.mint_serial(9, "a reward")


def buy(keeper: Keeper, one: Trader, _: Trader) -> None:
    one.gold -= 5
    one.items = []
    keeper.tx.burn("gold", 5, "a fee")
    keeper.tx.burn_serial(7, "worn out")


def edit(keeper: Keeper, one: Trader, _: Trader) -> None:
    one.gold += 1000
    one.items = [8]
    keeper.tx.adjust("an edit")


def conjure(_: Keeper, one: Trader, __: Trader) -> None:
    one.gold += 3


def lose(_: Keeper, one: Trader, two: Trader) -> None:
    one.gold -= 5
    two.gold += 4


def overstate(keeper: Keeper, one: Trader, _: Trader) -> None:
    one.gold += 3
    keeper.tx.mint("gold", 4, "a reward")


def double(_: Keeper, one: Trader, two: Trader) -> None:
    two.items = [*two.items, *one.items]


def vanish(_: Keeper, one: Trader, __: Trader) -> None:
    one.items = []


async def traders(lab: Lab) -> tuple[Session[Trader], Session[Trader]]:
    one = await lab.keeper.login(Trader, 1, create=lambda: Trader(gold=50, items=[7]))
    two = await lab.keeper.login(Trader, 2, create=Trader)
    return one, two


async def run(lab: Lab, change: Change) -> tuple[Session[Trader], Session[Trader]]:
    one, two = await traders(lab)
    await lab.keeper.commit(lambda a, b: change(lab.keeper, a, b), one, two)
    return one, two


def entries(lab: Lab) -> list[CommitEntry]:
    found = [decode_entry(each) for each in lab.store.entries(server_journal("lab-1"))]
    return [each for each in found if isinstance(each, CommitEntry)]


@pytest.mark.parametrize("change", [pay, hand_over, reward, buy, edit])
async def test_what_adds_up_is_committed(change: Change) -> None:
    async with Lab() as lab:
        await run(lab, change)
        assert lab.keeper.status().unbalanced_commits == 0


@pytest.mark.parametrize(
    ("change", "told", "unbalanced", "doubled"),
    [
        (conjure, "gold \\+3", {"gold": 3}, ()),
        (lose, "gold -1", {"gold": -1}, ()),
        (overstate, "gold -1", {"gold": -1}, ()),
        (double, "serial 7 \\+1; serial 7 exists twice", {"serial 7": 1}, (7,)),
        (vanish, "serial 7 -1", {"serial 7": -1}, ()),
    ],
)
async def test_what_does_not_add_up_is_refused_or_reported(
    change: Change, told: str, unbalanced: dict[str, int], doubled: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with Lab() as lab:
        with pytest.raises(NotConserved, match=told):
            await run(lab, change)
        one = lab.keeper.session(Trader, 1)
        assert one is not None
        assert (one.record.gold, one.record.items) == (50, [7])
    async with Lab(strict=False, journal=JournalConfig()) as lab:
        await run(lab, change)
        status = lab.keeper.status()
        assert (status.unbalanced_commits, status.doubled_serials) == (1, len(doubled))
        (entry,) = entries(lab)
        assert (entry.unbalanced, entry.doubled) == (unbalanced, doubled)
        assert "does not add up" in caplog.text


async def test_what_is_made_and_destroyed_stands_in_the_journal() -> None:
    async with Lab(journal=JournalConfig()) as lab:
        await run(lab, reward)
        (entry,) = entries(lab)
        assert entry.minted == (("gold", 5, "a reward", 0), ("", 1, "a reward", 9))
        first = decode_entry(lab.store.entries(server_journal("lab-1"))[0])
        assert isinstance(first, SnapshotEntry)
        assert first.minted == (("gold", 50, "created", 0), ("", 1, "created", 7))
    async with Lab(journal=JournalConfig()) as lab:
        await run(lab, edit)
        (entry,) = entries(lab)
        assert set(entry.minted) == {("gold", 1000, "an edit", 0), ("", 1, "an edit", 8), ("", -1, "an edit", 7)}


async def test_a_commit_that_mints_stays_on_the_fast_way() -> None:
    async with Lab() as lab:
        one, _ = await traders(lab)
        sent: list[Any] = []
        real = lab.line().write

        async def write(transactions: Any) -> Any:
            sent.extend(transactions)
            return await real(transactions)

        lab.line().write = write

        def earn(trader: Trader) -> None:
            trader.gold += 1
            lab.keeper.tx.mint("gold", 1, "work")

        await lab.keeper.commit(earn, one)
        assert [type(each).__name__ for each in sent] == ["Advance"]


def letters(hooks: Hooks) -> Hooks:
    @hooks.on_letter(Trader, Parcel)
    def _(trader: Trader, parcel: Parcel) -> None:
        trader.gold += parcel.gold
        trader.items = [*trader.items, *([] if parcel.item is None else [parcel.item])]

    @hooks.on_letter(Trader, Returned)
    def _(trader: Trader, returned: Returned) -> None:
        trader.gold += returned.open(Parcel).gold
        trader.items = [*trader.items, returned.open(Parcel).item]

    return hooks


def post(keeper: Keeper, one: Trader, _: Trader) -> None:
    one.gold -= 5
    item = one.items.pop()
    one.touch("items")
    keeper.tx.deliver(Trader, 2, Parcel(gold=5, item=item), expires_s=60)


async def test_letters_carry_what_they_hold() -> None:
    async with Lab(hooks=letters(Hooks())) as lab:
        _, two = await run(lab, post)
        await two.open_letters()
        assert (two.record.gold, two.record.items) == (5, [7])


async def test_a_returned_letter_brings_it_back() -> None:
    async with Lab(hooks=letters(Hooks())) as lab:
        one, two = await traders(lab)
        await two.logout()
        await lab.keeper.commit(lambda trader: post(lab.keeper, trader, trader), one)
        await lab.advance(100)
        two = await lab.keeper.login(Trader, 2, create=Trader)
        await two.open_letters()
        await lab.advance(2)
        await one.open_letters()
        assert (one.record.gold, one.record.items, two.record.gold) == (50, [7], 0)


async def test_a_new_record_must_be_paid_for() -> None:
    def found(keeper: Keeper, one: Trader, _: Trader) -> None:
        one.gold -= 20
        keeper.tx.create(Trader, 3, Trader(gold=20))

    def invent(keeper: Keeper, _: Trader, __: Trader) -> None:
        keeper.tx.create(Trader, 3, Trader(gold=20))

    async with Lab() as lab:
        await run(lab, found)
    async with Lab() as lab:
        with pytest.raises(NotConserved, match="gold \\+20"):
            await run(lab, invent)


async def test_a_seeded_duplicate_is_reported_by_one_commit() -> None:
    async with Lab(strict=False) as lab:
        one, two = await traders(lab)
        two.record.items = [7]  # a batched field, changed by a defect beside every commit
        await lab.keeper.commit(changes_nothing, two)
        assert lab.keeper.status().doubled_serials == 1
        two.record.items = []
        await lab.keeper.commit(changes_nothing, one)
        assert lab.keeper.status().doubled_serials == 1


async def test_a_duplicate_in_the_store_is_reported_by_the_login(caplog: pytest.LogCaptureFixture) -> None:
    async with Lab(strict=False) as lab:
        await traders(lab)
        await lab.keeper.login(Trader, 3, create=lambda: Trader(items=[7]))
        assert lab.keeper.status().doubled_serials == 1
        assert "shows serials that exist twice" in caplog.text


async def test_a_tool_may_save_what_it_wants() -> None:
    async with Lab(journal=JournalConfig()) as lab:
        one, _ = await traders(lab)
        await one.logout()
        await lab.keeper.table(Trader).save(1, Trader(gold=1))
        (entry,) = entries(lab)
        assert set(entry.minted) == {("gold", -49, "saved by a tool", 0), ("", -1, "saved by a tool", 7)}


async def test_an_item_of_an_ended_session_is_no_duplicate() -> None:
    async with Lab() as lab:
        one, two = await traders(lab)
        await one.logout()

        def find(trader: Trader) -> None:
            trader.items = [7]
            lab.keeper.tx.mint_serial(7, "found")

        await lab.keeper.commit(find, two)
        assert lab.keeper.status().doubled_serials == 0


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("mint", ("gold", -1, "x")),
        ("mint", ("gold", 1.5, "x")),
        ("burn", ("gold", True, "x")),
        ("mint_serial", (0, "x")),
        ("burn_serial", ("7", "x")),
        ("mint", ("gold", 1, "two\nlines")),
        ("adjust", (None,)),
    ],
)
async def test_wrong_declarations_are_refused(method: str, arguments: tuple[Any, ...]) -> None:
    def declare(keeper: Keeper, _: Trader, __: Trader) -> None:
        getattr(keeper.tx, method)(*arguments)

    async with Lab() as lab:
        with pytest.raises(Misuse):
            await run(lab, declare)


def nothing() -> int:
    return 0


def test_wrong_functions_are_refused() -> None:
    class Chest(Record, kind="chest", version=1):
        gold: int = durable(default=0)

    def gold_of(chest: Chest) -> int:
        return chest.gold

    def numbers_of(chest: Chest) -> list[int]:
        return [chest.gold]

    Chest.conserved("gold", gold_of)
    wrong: list[tuple[str, Any]] = [("gold", gold_of), ("", gold_of), ("x" * 65, gold_of), ("silver", nothing)]
    for name, function in wrong:
        with pytest.raises(DefinitionError):
            Chest.conserved(name, function)
    no_list: Any = nothing
    with pytest.raises(DefinitionError):
        Chest.serials(no_list)
    with pytest.raises(DefinitionError, match="names no field"):
        Chest.serials(field="a b")(numbers_of)
    Chest.serials(numbers_of)
    with pytest.raises(DefinitionError):
        Chest.serials(numbers_of)


async def test_a_function_that_fails_at_a_login_is_logged() -> None:
    class Odd(Record, kind="odd", version=1):
        gold: int = durable(default=0)

    @Odd.serials
    def _(odd: Odd) -> list[int]:
        raise ZeroDivisionError(odd.gold)

    async with Lab() as lab:
        await lab.keeper.login(Odd, 1, create=Odd)
        assert lab.keeper.status().hook_failures == 1
