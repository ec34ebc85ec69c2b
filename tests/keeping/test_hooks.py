"""A function is refused where it is registered, and what it leaves undone is never thrown away."""

import functools
import types
from collections.abc import Callable
from typing import Any

import pytest

from keeping.game import Guild, Item, Player, enter, enter_and_read, hooks_of, kept, make
from realmkeep.errors import DefinitionError, Misuse
from realmkeep.keeping import Hooks, Keeper, Session
from realmkeep.records import Record, durable, issue
from realmkeep.records.issues import Issue
from realmkeep.testing.lab import Lab

EVENTS = {
    "on_disconnect": 1,
    "on_resume": 1,
    "on_evict": 1,
    "on_release_requested": 1,
    "on_frozen": 2,
    "on_lost_ownership": 2,
    "on_letter": 2,
    "on_letter_settled": 3,
}


async def anything_async(*_: object) -> None:
    pytest.fail("it ran")


def none() -> None: ...


def one(_: object) -> None: ...


def two(_a: object, _b: object) -> None: ...


def three(_a: object, _b: object, _c: object) -> None: ...


def four(_a: object, _b: object, _c: object, _d: object) -> None: ...


def of_former(tx: object, player: Player) -> None: ...


NO_COMMITS: list[Any] = [none, two, of_former, functools.partial(one, 1), None, "pay"]


class Async:
    async def __call__(self, *_: object) -> None:
        pytest.fail("it ran")


NO_MAKERS: list[Any] = [anything_async, Async(), one, Player(name="Ada"), "Ada"]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (anything_async, "coroutine function"),
        (Async(), "coroutine function"),
        (functools.partial(anything_async, 1), "coroutine function"),
        (None, "cannot be called"),
        (none, "does not take"),
        (four, "does not take"),
    ],
    ids=["async def", "async object", "partial", "none", "too few", "too many"],
)
async def test_a_hook_that_could_not_run_is_refused_where_it_is_registered(event: str, hook: object, said: str) -> None:
    with pytest.raises(Misuse, match=rf"{event}\(Player\).*{said}.*plain `def hook"):
        getattr(Hooks(), event)(Player)(hook)


async def test_a_second_hook_for_the_letters_of_a_class_is_refused_and_the_first_stays(keeper: Keeper) -> None:
    ada = await enter(keeper, 1)
    hooks_of(keeper).on_letter(Player)(lambda player, letter: setattr(player, "diary", letter))
    with pytest.raises(Misuse, match=r"on_letter\(Player\) is .*lambda.* already"):
        hooks_of(keeper).on_letter(Player)(two)
    hooks_of(keeper).on_letter(Guild)(two)
    await make(keeper, 2)
    await keeper.commit(lambda _: keeper.tx.deliver(Player, 2, "hello"), ada)
    assert (await enter_and_read(keeper, 2)).record.diary == "hello"


@pytest.mark.parametrize("cls", [Item, Record, "Player", Player(name="Ada"), None], ids=str)
async def test_only_a_class_of_records_has_hooks_and_sessions(keeper: Keeper, cls: Any) -> None:
    with pytest.raises(Misuse, match="class of a record belongs"):
        hooks_of(keeper).on_evict(cls)(lambda _: None)
    with pytest.raises(Misuse, match="class of a record belongs"):
        await keeper.login(cls, 1)


@pytest.mark.parametrize("event", EVENTS)
def test_a_decorator_without_a_class_is_refused_and_does_not_swallow_its_function(event: str) -> None:
    def mine(*_: object) -> None: ...

    with pytest.raises(Misuse, match=f"{event} got a function where the class of a record belongs"):
        getattr(Hooks(), event)(mine)


def unheard(result: Callable[[], object]) -> Callable[..., object]:
    """A plain function whose work nobody would do."""

    def hook(*_: object) -> object:
        return result()

    return hook


def generates() -> object:
    yield 1


@pytest.mark.parametrize("result", [anything_async, generates])
async def test_a_letter_whose_hook_leaves_its_work_undone_is_not_taken_for_applied(
    lab: Lab, keeper: Keeper, result: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    ada = await enter(keeper, 1)
    hooks_of(keeper).on_letter(Player)(unheard(result))
    await make(keeper, 2)
    await keeper.commit(lambda _: keeper.tx.deliver(Player, 2, {"gold": 50}), ada)
    await enter_and_read(keeper, 2)
    assert "nothing was applied" in caplog.text
    assert any(b"50" in blob for blob in _everything(lab)), "the letter is somewhere"


def _everything(lab: Lab) -> list[bytes]:
    values = [lab.store.value(key) for key in lab.store.live_keys() if not key.endswith(":kept")]
    return [*lab.store.entries("rover:2:kept"), *(value for value in values if value is not None)]


@pytest.mark.parametrize("result", [anything_async, generates])
async def test_a_hook_that_leaves_its_work_undone_is_counted_and_logged(
    keeper: Keeper, result: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    hooks_of(keeper).on_disconnect(Player)(unheard(result))
    (await enter(keeper, 1)).disconnect()
    assert keeper.status().hook_failures == 1
    assert "a hook runs without awaiting" in caplog.text


@pytest.mark.parametrize("result", [anything_async, generates])
async def test_a_commit_that_leaves_its_work_undone_is_undone(
    lab: Lab, keeper: Keeper, result: Callable[[], object]
) -> None:
    ada = await enter(keeper, 1)

    def body(player: Player) -> object:
        player.gold += 1
        return result()

    with pytest.raises(Misuse, match="runs without awaiting"):
        await keeper.commit(body, ada)
    assert ada.record.gold == kept(lab, 1).gold == 100


@pytest.mark.parametrize("fn", NO_COMMITS, ids=range(len(NO_COMMITS)))
async def test_a_commit_function_of_another_arity_is_refused_with_what_to_write(keeper: Keeper, fn: Any) -> None:
    ada = await enter(keeper, 1)
    all_of: Any = two
    with pytest.raises(Misuse, match=r"def fn\(record, \.\.\.\).*the transaction is keeper\.tx"):
        await keeper.commit(fn, ada)
    with pytest.raises(Misuse, match=r"def fn\(record, \.\.\.\).*the transaction is keeper\.tx"):
        await keeper.commit_all(all_of, [ada])


@pytest.mark.parametrize("create", NO_MAKERS, ids=range(len(NO_MAKERS)))
async def test_what_makes_a_record_is_looked_at_before_anything_is_claimed(
    lab: Lab, keeper: Keeper, create: Any
) -> None:
    before = set(lab.store.live_keys())
    with pytest.raises(Misuse, match="create: "):
        await keeper.login(Player, 1, create=create)
    with pytest.raises(Misuse, match="create: "):
        await keeper.hold(Guild, 1, create=create)
    with pytest.raises(Misuse, match="create: "):
        async with keeper.borrow(Player, 1, create=create):
            pytest.fail("it was lent")
    assert set(lab.store.live_keys()) == before


async def test_what_makes_a_record_and_returns_a_coroutine_is_refused(keeper: Keeper) -> None:
    create: Any = unheard(anything_async)
    with pytest.raises(Misuse, match="create made a coroutine"):
        await keeper.login(Player, 1, create=create)


async def test_hooks_of_a_module_serve_every_keeper_that_is_opened_with_them() -> None:
    hooks = Hooks()

    @hooks.on_letter(Player)
    def apply(player: Player, letter: dict[str, int]) -> None:
        player.gold += letter["gold"]

    ended: list[str] = []

    @hooks.on_disconnect(Player)
    def left(session: Session[Player]) -> None:
        ended.append(session.server)

    async with Lab(hooks=hooks) as lab:
        other = await lab.server("lab-2")
        ada, bob = await enter(lab.keeper, 1), await enter(other, 2)
        await lab.keeper.commit(lambda _: lab.keeper.tx.deliver(Player, 2, {"gold": 5}), ada)
        await lab.advance(2)
        assert bob.record.gold == 105
        ada.disconnect()
        bob.disconnect()
        assert ended == ["lab-1", "lab-2"]
        with pytest.raises(Misuse, match=r"registered after a keeper had been opened.*before Keeper\.open"):
            hooks.on_evict(Player)(lambda _: None)
        hooks_of(other).on_evict(Player)(lambda session: ended.append(session.server))
        bob.resume()
        bob.disconnect()
        await lab.advance(40)
        assert ended == ["lab-1", "lab-2", "lab-2", "lab-2"], "a keeper's own hooks are its own"


def test_the_functions_of_a_record_are_looked_at_where_it_is_defined() -> None:
    wrong: Any = anything_async
    options: tuple[dict[str, Any], ...] = ({"known": wrong}, {"immediate_when": wrong}, {"known": {1, 2}})
    for option in options:
        with pytest.raises(DefinitionError, match=r"Wrong\.level: (known|immediate_when): "):
            _define(durable(default=1, **option))
    with pytest.raises(DefinitionError, match=r"default_factory: .*coroutine function"):
        _define(durable(default_factory=wrong))

    class Elf(Record, kind="elf-of-hooks", version=2):
        level: int = durable(default=1)

    with pytest.raises(DefinitionError, match=r"migration from version 1: .*coroutine function"):
        Elf.migration(1)(wrong)
    with pytest.raises(DefinitionError, match=r"a rule: .*coroutine function"):
        Elf.rule(wrong)

    @Elf.rule
    def may_yield(elf: Elf) -> Any:
        yield issue("level", elf.level, "odd")

    assert isinstance(next(may_yield(Elf())), Issue)

    @Elf.migration(1)
    def plain(old: dict[str, Any]) -> dict[str, Any]:
        return old


def _define(field: Any) -> None:
    types.new_class(
        "Wrong",
        (Record,),
        {"kind": "wrong-one"},
        lambda body: body.update({"__annotations__": {"level": int}, "level": field, "__module__": __name__}),
    )
