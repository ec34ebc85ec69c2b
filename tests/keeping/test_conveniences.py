"""Simple things for simple tools: records one at a time, ids, the realm's configuration."""

import asyncio

import pytest

from keeping.game import Item, Player, earn, enter, kept
from keeping.wire import tap
from realmkeep.errors import AlreadyOwned, Corrupt, Misuse, Quarantined, StorageUnavailable
from realmkeep.keeping import Keeper
from realmkeep.records import Record, durable
from realmkeep.testing.faulty import LOSE_REPLY, delay, reject
from realmkeep.testing.lab import Lab


async def test_a_table_saves_and_loads_without_a_session_left_behind(lab: Lab, keeper: Keeper) -> None:
    players = keeper.table(Player)
    assert await players.load(1) is None
    await players.save(1, Player(name="Ada", gold=5))
    assert await players.load(1) == Player(name="Ada", gold=5)
    await players.save(1, Player(name="Ada", gold=6, bank=[Item("ring")]))
    assert kept(lab) == Player(name="Ada", gold=6, bank=[Item("ring")])
    assert keeper.sessions(Player) == []
    assert lab.store.value("rover:1:owner") is None


async def test_what_is_live_here_is_loaded_as_it_is_now(keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 9
    copy = await keeper.table(Player).load(1)
    assert copy is not None
    assert copy.xp == 9
    copy.xp = 100
    copy.inventory.append(Item("rope"))
    assert ada.record.xp == 9
    assert ada.record.inventory == []


async def test_what_is_live_is_never_saved_around_its_session(lab: Lab, keeper: Keeper) -> None:
    await enter(keeper)
    with pytest.raises(Misuse, match=r"Player 1 is live on this server.*session\(\.\.\.\)\.record in a commit"):
        await keeper.table(Player).save(1, Player(gold=0))
    with pytest.raises(AlreadyOwned, match="lab-1"):
        await (await lab.server("lab-2")).table(Player).save(1, Player(gold=0))
    assert kept(lab).gold == 100


@pytest.mark.parametrize("exists", [True, False])
async def test_a_record_that_several_save_at_once_is_saved_by_each_in_turn(
    lab: Lab, keeper: Keeper, exists: bool
) -> None:
    players = keeper.table(Player)
    if exists:
        await players.save(1, Player(gold=0))
    lab.line().plan = lambda _: delay(0.01, 0.01)
    saves: list[asyncio.Task[None]] = []
    for gold in range(1, 11):
        saves.append(asyncio.create_task(keeper.table(Player).save(1, Player(gold=gold, inventory=[Item("x")] * gold))))
        await lab.advance(gold * 0.004)  # so that each meets another moment of the one before
    await lab.finish(asyncio.gather(*saves))
    await lab.advance(1)
    assert kept(lab) == Player(gold=10, inventory=[Item("x")] * 10)
    assert keeper.sessions(Player) == []
    assert lab.store.value("rover:1:owner") is None


async def test_a_save_waits_for_the_player_who_is_leaving(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 5
    leaving = asyncio.create_task(ada.logout())
    await asyncio.sleep(0)
    assert not leaving.done()
    await keeper.table(Player).save(1, Player(name="anew"))
    await leaving
    assert kept(lab) == Player(name="anew")


async def test_a_table_knows_what_exists_without_reading_it(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    players = keeper.table(Player)
    assert not await players.exists(1)
    await players.save(1, Player())
    await enter(keeper, 2)
    await lab.line().save("rover:3", b"{")
    wire = tap(monkeypatch, lab.line())
    assert [await players.exists(number) for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert wire.keys_read == ["rover:1", "rover:3", "rover:4"]  # one that is live here costs nothing
    lab.line().script("exists", reject())
    with pytest.raises(StorageUnavailable):
        await players.exists(1)


async def test_a_table_reads_what_is_live_elsewhere_as_it_is_stored(lab: Lab, keeper: Keeper) -> None:
    other = await lab.server("lab-2")
    ada = await enter(other)
    ada.record.xp = 9
    copy = await keeper.table(Player).load(1)
    assert copy is not None
    assert copy.xp == 0


async def test_a_table_says_what_is_unreadable(lab: Lab, keeper: Keeper) -> None:
    await lab.line().save("rover:1", b"{")
    with pytest.raises(Quarantined):
        await keeper.table(Player).load(1)
    with pytest.raises(Quarantined):
        await keeper.table(Player).save(1, Player())
    assert lab.store.value("rover:1") == b"{"


async def test_a_table_takes_records_of_its_class_only(keeper: Keeper) -> None:
    class Other(Record, kind="other", version=1):
        n: int = durable(default=0)

    with pytest.raises(Misuse, match="a table of Player got a Other"):
        await keeper.table(Player).save(1, Other())  # pyright: ignore[reportArgumentType]


async def test_a_saved_record_is_the_caller_s_to_change_again(lab: Lab, keeper: Keeper) -> None:
    """It has no session any more, so its next change is no zombie's."""
    player = Player(gold=1)
    await keeper.table(Player).save(1, player)
    player.gold = 2
    await keeper.table(Player).save(1, player)
    assert kept(lab).gold == 2


async def test_a_zone_s_objects_lie_where_the_specification_says(lab: Lab, keeper: Keeper) -> None:
    class Zone(Record, kind="zone", version=1, suffix="objects"):
        chests: list[int] = durable(default_factory=list[int])

    zones = keeper.table(Zone)
    await zones.save("town", Zone(chests=[3]))
    assert {key for key in lab.store.live_keys() if key.startswith("zone:")} == {
        "zone:town:objects", "zone:town:version", "zone:town:updated",
    }  # fmt: skip
    assert await zones.load("town") == Zone(chests=[3])


async def test_ids_are_never_given_twice(lab: Lab, keeper: Keeper) -> None:
    other = await lab.server("lab-2")
    first = await keeper.allocate_id()
    batch = await other.allocate_id(10)
    assert [first, batch, await keeper.allocate_id()] == [1, 2, 12]
    many = await asyncio.gather(*((keeper, other)[number % 2].allocate_id() for number in range(50)))
    assert len(set(many)) == 50


async def test_an_id_whose_answer_was_lost_is_skipped_and_not_given_again(lab: Lab, keeper: Keeper) -> None:
    lab.line().script("increment", LOSE_REPLY)
    with pytest.raises(Exception, match="the line broke"):
        await keeper.allocate_id()
    assert await keeper.allocate_id() == 2


async def test_the_server_configuration_is_a_dictionary_that_all_servers_read(lab: Lab, keeper: Keeper) -> None:
    assert await keeper.server_config.load() == {}
    await keeper.server_config.save({"motd": "Welcome", "rates": [1, 2.5]})
    assert await (await lab.server("lab-2")).server_config.load() == {"motd": "Welcome", "rates": [1, 2.5]}


async def test_a_server_configuration_that_is_none_is_said_to_be_so(lab: Lab, keeper: Keeper) -> None:
    with pytest.raises(Misuse, match="use JSON's types"):
        await keeper.server_config.save({"motd": object()})
    await lab.line().save("server:config", b"[]")
    with pytest.raises(Corrupt, match="server:config"):
        await keeper.server_config.load()
    lab.line().script("load", reject())
    with pytest.raises(StorageUnavailable):
        await keeper.server_config.load()


async def test_sessions_are_found_by_class_and_id(keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    assert keeper.session(Player, 1) is keeper.session(Player, "1") is ada
    assert keeper.session(Player, 3) is None
    assert keeper.sessions(Player) == [ada, bob]
    await keeper.commit(earn, ada)
    assert repr(ada) == "<Session rover:1 connected>"
