"""Whatever a game hands over that can never work is refused with a sentence and a hint, never with an error from inside."""

# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnnecessaryComparison=false
# What is tried here has no types: that is the point.

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from keeping.game import Player, earn, enter, pay
from realmkeep import keys
from realmkeep.config import KeeperConfig, mask_url
from realmkeep.errors import Misuse, RealmkeepError
from realmkeep.keeping import Hooks, Keeper, Op, Session
from realmkeep.records import Part, Record, durable
from realmkeep.storage import open_storage
from realmkeep.testing.lab import Lab

WRONG: tuple[Any, ...] = (None, 3, 1.5, "x", b"x", object(), object, [], {}, lambda: 3, Player, Player())


class Scroll(Part):
    text: str


class Shared(Record):
    name: str = durable(default="")


Call: TypeAlias = Callable[[Any, Any], object]
"""Of a scene and a value that is wrong for it; what it returns may be awaited."""


class Scene:
    """A lab with a player, and one of another keeper."""

    def __init__(self, lab: Lab, ada: Session[Player], stranger: Session[Player]) -> None:
        self.lab, self.ada, self.stranger = lab, ada, stranger
        self.keeper: Any = lab.keeper


def wrong(*fine: object) -> tuple[Any, ...]:
    """Everything but what is right in this place."""
    return tuple(value for value in WRONG if not any(value is each or type(value) is each for each in fine))


CLASSES = (*wrong(Player, type(Player)), Scroll, Shared, Record)
IDS = (None, 1.5, b"x", object(), object, [], {}, "", "a:b", "x" * 129, -1, 2**63, True)
OPS = (3, "x", b"x", object(), Op, [3], ["x"], (3,), (Op,), {"a": 1}, Op(1), (Op(1), Op(2)), Player)
CALLS: dict[str, tuple[Call, tuple[Any, ...]]] = {
    "open storage": (
        lambda s, value: Keeper.open(value),
        (None, 3, 1.5, b"x", object(), object, [], Player, Path("x")),
    ),
    "open url": (lambda s, value: Keeper.open(value), ("", "x", "redis://", "nope://x", "sqlite://", "\udcff")),
    "open config": (lambda s, value: Keeper.open("memory://", config=value), wrong(None, type(None))),
    "open records": (lambda s, value: Keeper.open("memory://", records=value), (*wrong(type(None)), KeeperConfig())),
    "open hooks": (lambda s, value: Keeper.open("memory://", hooks=value), wrong(type(None))),
    "open clock": (lambda s, value: Keeper.open("memory://", clock=value), wrong(type(None))),
    "open rescue": (lambda s, value: Keeper.open("memory://", rescue_path=value), wrong(type(None))),
    "open_storage": (lambda s, value: open_storage(value), wrong()),
    "mask_url": (lambda s, value: mask_url(value), wrong(str)),
    "login class": (lambda s, value: s.keeper.login(value, 1), CLASSES),
    "login id": (lambda s, value: s.keeper.login(Player, value), IDS),
    "login create": (lambda s, value: s.keeper.login(Player, 9, create=value), wrong(None, type(None), Player)),
    "hold class": (lambda s, value: s.keeper.hold(value, 1), CLASSES),
    "hold id": (lambda s, value: s.keeper.hold(Player, value), IDS),
    "borrow class": (lambda s, value: s.keeper.borrow(value, 1).__aenter__(), CLASSES),
    "borrow id": (lambda s, value: s.keeper.borrow(Player, value).__aenter__(), IDS),
    "recover": (lambda s, value: s.keeper.recover(value), CLASSES),
    "session class": (lambda s, value: s.keeper.session(value, 1), CLASSES),
    "session id": (lambda s, value: s.keeper.session(Player, value), IDS),
    "sessions": (lambda s, value: s.keeper.sessions(value), CLASSES),
    "table": (lambda s, value: s.keeper.table(value), CLASSES),
    "table.load": (lambda s, value: s.keeper.table(Player).load(value), IDS),
    "table.exists": (lambda s, value: s.keeper.table(Player).exists(value), IDS),
    "table.save id": (lambda s, value: s.keeper.table(Player).save(value, Player()), IDS),
    "table.save": (lambda s, value: s.keeper.table(Player).save(5, value), wrong(Player)),
    "unowned": (lambda s, value: s.keeper.unowned(value), CLASSES),
    "unowned.get": (lambda s, value: s.keeper.unowned(Player).get(value), IDS),
    "commit function": (lambda s, value: s.keeper.commit(value, s.ada), wrong(Player)),
    "commit session": (lambda s, value: s.keeper.commit(earn, value), wrong()),
    "commit stranger": (lambda s, value: s.keeper.commit(value, s.stranger), (earn,)),
    "commit nobody": (lambda s, value: s.keeper.commit(value), (earn,)),
    "commit ops": (lambda s, value: s.keeper.commit(earn, s.ada, ops=value), OPS),
    "commit arity": (lambda s, value: s.keeper.commit(value, s.ada), (pay, lambda: 1, lambda tx, player: 1)),
    "commit_all": (lambda s, value: s.keeper.commit_all(lambda records: 1, value), wrong()),
    "commit_all session": (lambda s, value: s.keeper.commit_all(lambda records: 1, [value]), wrong()),
    "commit_all function": (lambda s, value: s.keeper.commit_all(value, [s.ada]), wrong(Player)),
    "recorded": (lambda s, value: s.ada.recorded(value), wrong()),
    "recall": (lambda s, value: s.ada.recall(value), wrong()),
    "op id": (lambda s, value: Op(value), (*wrong(int), 0, -1, 2**53, True)),
    "op request": (lambda s, value: Op(1, value), wrong(bytes)),
    "allocate_id": (lambda s, value: s.keeper.allocate_id(value), (*wrong(int), 0, -1, 2**60)),
    "save_server_config": (
        lambda s, value: s.keeper.server_config.save(value),
        (*wrong(dict, list), {1: object()}, {3: 4}),
    ),
    "close": (lambda s, value: s.keeper.close(deadline_s=value), wrong(None, type(None), int, float)),
    "on_evict class": (lambda s, value: Hooks().on_evict(value)(lambda session: None), CLASSES),
    "on_evict": (lambda s, value: Hooks().on_evict(Player)(value), (None, 3, "x", [], pay)),
    "record": (lambda s, value: Player(value), wrong()),  # pyright: ignore[reportCallIssue] - by keyword only
    "record field": (lambda s, value: Player(gold=value), wrong(int)),
    "record unknown": (lambda s, value: Player(mana=value), (3,)),  # pyright: ignore[reportCallIssue] - no such field
    "shared record": (lambda s, value: Shared(name=value), ("x",)),
    "deliver class": (lambda s, value: s.keeper.commit(lambda p: s.keeper.tx.deliver(value, 1, {}), s.ada), CLASSES),
    "deliver id": (lambda s, value: s.keeper.commit(lambda p: s.keeper.tx.deliver(Player, value, {}), s.ada), IDS),
    "create class": (
        lambda s, value: s.keeper.commit(lambda p: s.keeper.tx.create(value, 5, Player()), s.ada),
        CLASSES,
    ),
    "create record": (
        lambda s, value: s.keeper.commit(lambda p: s.keeper.tx.create(Player, 5, value), s.ada),
        wrong(Player),
    ),
    "delete class": (lambda s, value: s.keeper.commit(lambda p: s.keeper.tx.delete(value, 5), s.ada), CLASSES),
    "record_keys": (lambda s, value: keys.record_keys("player", value), IDS),
}


@pytest.mark.parametrize("name", CALLS)
async def test_what_can_never_work_is_refused_with_a_hint(lab: Lab, name: str) -> None:
    zone = await lab.server("zone-2")
    scene = Scene(lab, await enter(lab.keeper), await enter(zone, 2))
    call, values = CALLS[name]

    async def attempt(value: object) -> None:
        result = call(scene, value)
        if isinstance(result, Awaitable):
            await lab.finish(result)

    for value in values:
        with pytest.raises(RealmkeepError) as refused:
            await attempt(value)
        assert refused.value.hint or name == "open url", (value, refused.value)
        assert len(refused.value.message) < 1000
    assert scene.ada.record.gold == 100
    assert not lab.keeper.degraded


async def test_a_keeper_is_opened_with_or_without_await(lab: Lab) -> None:
    async with Keeper.open("memory://") as keeper:
        assert keeper.name
    async with await Keeper.open("memory://") as keeper:
        assert keeper.name
    keeper = await asyncio.create_task(Keeper.open("memory://"))
    assert (await keeper.close()).clean


@pytest.mark.filterwarnings("ignore:coroutine 'Keeper.open' was never awaited:RuntimeWarning")
async def test_a_keeper_that_is_never_opened_warns_as_python_does() -> None:
    opening = Keeper.open("memory://")
    with pytest.raises(AttributeError):
        opening.login  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnusedExpression] - not opened
    opening.close()
    del opening
    gc.collect()


async def test_a_block_that_fails_closes_the_keeper_and_passes_its_error_on() -> None:
    inside: list[Keeper] = []

    async def fails() -> None:
        async with Keeper.open("memory://") as keeper:
            inside.append(keeper)
            raise LookupError

    with pytest.raises(LookupError):
        await fails()
    with pytest.raises(RealmkeepError, match="closing"):
        await inside[0].login(Player, 1)


async def test_ops_need_their_tuple(keeper: Keeper) -> None:
    ada = await enter(keeper)
    one: Any = Op(1)
    with pytest.raises(Misuse, match=r"ops is a Op \(pass a tuple.*ops=\(op,\)"):
        await keeper.commit(earn, ada, ops=one)
    with pytest.raises(Misuse, match=r"the request of op 1 is a str \(pass the bytes"):
        Op(1, "attack")  # pyright: ignore[reportArgumentType] - what is tried
    assert (await keeper.commit(earn, ada, ops=[Op(1)])).result == 110  # pyright: ignore[reportArgumentType, reportCallIssue] - a list will do


def test_a_record_says_that_its_fields_have_names() -> None:
    with pytest.raises(Misuse, match=r"Player takes its fields by name \(write Player\(name=\.\.\.\)\)"):
        Player("x")  # pyright: ignore[reportCallIssue] - what is tried
    with pytest.raises(Misuse, match=r"Player has no field mana \(its fields: name, .*gold"):
        Player(mana=3)  # pyright: ignore[reportCallIssue] - what is tried
