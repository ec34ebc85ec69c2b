"""IdCounter: each given once, the counter exact under any order of answers, and a store whose counter has run away."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeping.game import earn, enter, inside, revision
from realmkeep.cli.app import app
from realmkeep.config import KeeperConfig
from realmkeep.errors import AlreadyOwned, Misuse, NoMoreIds, Quarantined, StorageError
from realmkeep.keeping import Keeper
from realmkeep.keeping.ownership.id_counter import COUNT_MAX, ID_MAX
from realmkeep.keeping.ownership.id_survey import SERIALS_GAP
from realmkeep.keeping.ownership.lease import LeaseState
from realmkeep.keeping.ownership.revisions import CLAIMABLE_MAX, DIGITS_MAX
from realmkeep.keys import SERVER_ID_COUNTER
from realmkeep.storage import AnyTransaction, Append, Put, WriteOutcome, open_storage
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, Fault, delay, late
from realmkeep.testing.lab import Lab

ANSWERS = st.floats(0, 3, allow_subnormal=False).map(lambda back_s: delay(0, back_s))
FAULTS = ANSWERS | st.just(LOSE_REPLY) | st.just(LOSE_REQUEST) | st.floats(0.1, 3).map(late)
REQUESTS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 50), FAULTS), min_size=1, max_size=30)


def counter(lab: Lab) -> int:
    return int(lab.store.value(SERVER_ID_COUNTER) or b"0")


async def asked(keeper: Keeper, count: int) -> range | None:
    """The ids that were given; None if the store said no."""
    try:
        first = await keeper.allocate_id(count)
    except StorageError:
        return None
    return range(first, first + count)


async def ask_all(lab: Lab, requests: list[tuple[int, int, Fault]]) -> list[range | None]:
    """All at once, by two servers, with these faults on their lines."""
    for server, _, fault in requests:
        lab.line(f"lab-{server + 1}").script("increment", fault)
    keepers = [lab.keeper, lab.keeper_of("lab-2") or lab.keeper]
    asking = [asyncio.ensure_future(asked(keepers[server], count)) for server, count, _ in requests]
    return [await lab.finish(each) for each in asking]


def assert_each_once(given_out: list[range | None]) -> None:
    times = Counter(number for some in given_out if some is not None for number in some)
    assert not [number for number, count in times.items() if count > 1]
    assert all(1 <= number <= ID_MAX for number in times)


@given(
    REQUESTS.map(
        lambda requests: [(server, count, fault) for server, count, fault in requests if fault.answered is None]
    )
)
async def test_the_counter_grows_by_exactly_what_was_asked_for_in_whatever_order_the_answers_come(
    requests: list[tuple[int, int, Fault]],
) -> None:
    async with Lab() as lab:
        await lab.server("lab-2")
        given_out = await ask_all(lab, requests)
        await lab.advance(30)
        assert_each_once(given_out)
        reached = sum(count for _, count, fault in requests if fault != LOSE_REQUEST)
        assert counter(lab) == reached


@given(st.lists(REQUESTS, min_size=1, max_size=4), st.sampled_from([0.0, 2.0]), st.data())
async def test_ids_are_given_once_across_restarts_of_the_store_and_of_servers(
    rounds: list[list[tuple[int, int, Fault]]], loss_window_s: float, data: st.DataObject
) -> None:
    async with Lab(loss_window_s=loss_window_s) as lab:
        await lab.server("lab-2")
        given_out: list[range | None] = []
        asked_for = 0
        for requests in rounds:
            before = lab.store.snapshot()
            given_out += await ask_all(lab, requests)
            asked_for += sum(count for _, count, _ in requests)
            if loss_window_s and data.draw(st.booleans(), label="the store loses it"):
                lab.store.restore(before)
                await lab.advance(data.draw(st.sampled_from([0.0, 0.5, 12.0]), label="s later"))
            elif data.draw(st.booleans(), label="a server restarts"):
                await lab.restart(data.draw(st.sampled_from(["lab-1", "lab-2"]), label="which"))
        await lab.advance(60)
        assert_each_once(given_out)
        highest = max((some[-1] for some in given_out if some is not None), default=0)
        assert highest <= counter(lab) <= (2 if loss_window_s else 1) * asked_for


async def test_a_crowd_that_asks_at_once_does_not_drive_the_counter(lab: Lab) -> None:
    """The audit's attack: batches of requests whose answers come in another order than they were counted."""
    for crowd in (10, 50, 100, 200):
        before = counter(lab)
        lab.line().script("increment", *(delay(0, (number * 7 % 11) / 10) for number in range(crowd)))
        asking = [asyncio.ensure_future(lab.keeper.allocate_id()) for _ in range(crowd)]
        assert len({await lab.finish(each) for each in asking}) == crowd
        await lab.advance(30)
        assert counter(lab) == before + crowd


async def test_a_heartbeat_among_the_answers_does_not_move_the_counter(lab: Lab) -> None:
    lab.line().script("increment", *[delay(0, 4)] * 20)
    asking = [asyncio.ensure_future(lab.keeper.allocate_id()) for _ in range(20)]
    await lab.advance(100)
    assert [each.result() for each in asking] == list(range(1, 21))
    assert counter(lab) == 20


async def test_after_a_loss_the_counter_is_moved_on_once_to_where_it_was() -> None:
    async with Lab(loss_window_s=2.0) as lab:
        await lab.server("lab-2")
        before = lab.store.snapshot()
        await lab.keeper.allocate_id(1000)
        await (lab.keeper_of("lab-2") or lab.keeper).allocate_id(10)
        lab.store.restore(before)
        await lab.advance(5)
        assert counter(lab) == 1010
        given_out = [await lab.keeper.allocate_id() for _ in range(5)]
        assert given_out == [1011, 1012, 1013, 1014, 1015]


@pytest.mark.parametrize("count", [0, -1, COUNT_MAX + 1, 2**63])
async def test_a_request_has_a_sensible_size(lab: Lab, count: int) -> None:
    with pytest.raises(Misuse, match="ask for 1 to"):
        await lab.keeper.allocate_id(count)
    assert counter(lab) == 0


EXPLODED = [b"%d" % (2**63 - 1), b"%d" % (2**53), b"%d" % ID_MAX, b"-7", b"many", b"", b"9" * 40]


@pytest.mark.parametrize("stored", EXPLODED)
async def test_a_counter_that_ran_away_is_told_and_stops_nothing_else(lab: Lab, stored: bytes) -> None:
    lab.store.perform(Put(SERVER_ID_COUNTER, stored))
    keeper = await lab.restart()
    assert [why for why in keeper.degraded if SERVER_ID_COUNTER in why]
    ada = await enter(keeper, 1)
    await ada.logout()
    for _ in range(3):
        with pytest.raises(NoMoreIds, match="realmkeep store ids --fix"):
            await keeper.allocate_id()
    assert lab.store.value(SERVER_ID_COUNTER) == stored


async def test_a_counter_that_is_a_list_renews_the_lease_all_the_same(lab: Lab) -> None:
    lab.store.perform(Append(SERVER_ID_COUNTER, b"by an operator"))
    with pytest.raises(NoMoreIds):
        await lab.keeper.allocate_id()
    await lab.advance(60)
    assert inside(lab.keeper).lease.state is LeaseState.HELD


async def test_ids_are_given_again_once_the_counter_is_mended(lab: Lab) -> None:
    lab.store.perform(Put(SERVER_ID_COUNTER, b"%d" % 2**60))
    with pytest.raises(NoMoreIds):
        await lab.keeper.allocate_id()
    lab.store.perform(Put(SERVER_ID_COUNTER, b"77"))
    assert await lab.keeper.allocate_id() == 78
    assert lab.keeper.degraded == ()


async def test_the_last_ids_are_given_and_none_beyond(lab: Lab) -> None:
    lab.store.perform(Put(SERVER_ID_COUNTER, b"%d" % (ID_MAX - 3)))
    given_out = [await lab.keeper.allocate_id() for _ in range(3)]
    assert given_out == [ID_MAX - 2, ID_MAX - 1, ID_MAX]
    for _ in range(5):
        with pytest.raises(NoMoreIds):
            await lab.keeper.allocate_id(1000)
    assert counter(lab) <= ID_MAX + 1000
    assert all(after - before == 1 for before, after in pairwise(given_out))


def ids_command(*arguments: str) -> int | str | None:
    """The exit code of `realmkeep store ids`."""
    with pytest.raises(SystemExit) as ended:
        app(["store", "ids", *arguments], result_action="return_value")
    return ended.value.code


async def put(url: str, **values: bytes | None) -> None:
    """Set these keys of a store (`__` stands for `:`); None removes one."""
    storage = open_storage(url)
    await storage.connect()
    for name, value in values.items():
        key = SERVER_ID_COUNTER if name == "counter" else name.replace("__", ":")
        await (storage.delete(key) if value is None else storage.save(key, value))
    await storage.disconnect()


async def next_id(url: str) -> int:
    """Of a server that starts on this store and ends."""
    async with await Keeper.open(url, config=KeeperConfig(name="town")) as keeper:
        return await keeper.allocate_id()


@pytest.mark.parametrize("stored", EXPLODED)
def test_the_command_mends_a_counter_that_ran_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stored: bytes
) -> None:
    url = f"sqlite:///{tmp_path / 'realm.db'}"
    asyncio.run(put(url, counter=stored, player__1025=b"{}", player__97768=b"{}", account__4000000=b"{}"))
    assert ids_command("--store", url) == 1
    assert "highest id in use: 97768" in (said := capsys.readouterr().out)
    assert "unusable" in said
    assert ids_command("--store", url, "--fix") == 0
    capsys.readouterr()
    assert ids_command("--store", url) == 0
    assert 97_768 + SERIALS_GAP < asyncio.run(next_id(url)) < 2**53


def test_the_command_finds_room_between_ids_that_the_counter_had_reached(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'realm.db'}"
    asyncio.run(
        put(url, counter=b"%d" % 2**62, player__7=b"", **{f"player__{ID_MAX - 5}": b"", f"player__{2**60}": b""})
    )
    assert ids_command("--store", url, "--fix") == 0
    assert asyncio.run(next_id(url)) == 7 + SERIALS_GAP + 1


def test_the_command_moves_a_counter_that_is_behind_and_leaves_one_that_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'realm.db'}"
    asyncio.run(put(url, counter=b"3", player__10=b"{}", zone__town__objects=b"{}", player__99__inbox=b""))
    assert ids_command("--store", url, "--json") == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "behind"
    assert ids_command("--store", url, "--fix") == 0
    assert asyncio.run(next_id(url)) == 11
    assert ids_command("--store", url, "--fix") == 0
    assert asyncio.run(next_id(url)) == 12


def test_the_counter_is_not_taken_back_while_a_server_lives(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'realm.db'}"
    asyncio.run(put(url, counter=b"%d" % 2**60, server__town__lease=b"{}"))
    with pytest.raises(AlreadyOwned, match="town"):
        ids_command("--store", url, "--fix")
    asyncio.run(put(url, server__town__lease=None))
    assert ids_command("--store", url, "--fix") == 0


@pytest.mark.parametrize("number", [CLAIMABLE_MAX + 1, 10**DIGITS_MAX - 1, 10**DIGITS_MAX, 10**40])
@pytest.mark.parametrize("what", ["revision", "token"])
async def test_a_number_without_room_behind_it_denies_the_login(lab: Lab, number: int, what: str) -> None:
    """Else the record would be played, acknowledged, and could not be read any more a few writes later."""
    await (await enter(lab.keeper)).logout()
    key, value = ("updated", b"%d") if what == "revision" else ("owner", b"lab-1/former/%d")
    lab.store.perform(Put(f"rover:1:{key}", value % number))
    with pytest.raises(Quarantined, match=f"the .*{what} .*far beyond today"):
        await enter(lab.keeper)


async def test_the_last_number_that_may_be_claimed_is_played_and_read_again(lab: Lab) -> None:
    await (await enter(lab.keeper)).logout()
    lab.store.perform(Put("rover:1:updated", b"%d" % (CLAIMABLE_MAX - 5)))
    ada = await enter(lab.keeper)
    await lab.keeper.commit(earn, ada)
    assert revision(lab) == CLAIMABLE_MAX - 4
    await ada.logout()
    assert (await enter(lab.keeper)).record.gold == 110


async def test_ids_of_a_store_that_was_restarted_under_way_are_taken_again() -> None:
    """It had forgotten what another server was given, which has not looked yet."""
    async with Lab(loss_window_s=1.0) as lab:
        other = await lab.server("lab-2")
        await lab.advance(40)
        before = lab.store.snapshot()
        theirs = await other.allocate_id(5)
        line = lab.line()
        increment = line.increment

        async def restarted_meanwhile(key: str, by: int = 1) -> int:
            line.increment = increment
            lab.store.restore(before)
            return await increment(key, by)

        line.increment = restarted_meanwhile
        ours = await lab.finish(lab.keeper.allocate_id(5))
        assert set(range(ours, ours + 5)).isdisjoint(range(theirs, theirs + 5))


async def test_the_counter_is_not_taken_back_by_a_server_that_catches_up_while_another_asks() -> None:
    async with Lab(loss_window_s=1.0) as lab:
        await lab.advance(40)
        before = lab.store.snapshot()
        await lab.keeper.allocate_id(5)
        lab.store.restore(before)
        line = lab.line()
        write, raced = line.write, False

        async def another_asks_meanwhile(transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
            nonlocal raced
            if not raced and any(effect.key == SERVER_ID_COUNTER for each in transactions for effect in each.effects):
                raced = True
                lab.store.perform(Put(SERVER_ID_COUNTER, b"1000"))
            return await write(transactions)

        line.write = another_asks_meanwhile
        await lab.finish(inside(lab.keeper).ids.catch_up())
        assert raced
        assert counter(lab) == 1000
