"""Ownership: leases, claims, names; release and claim between two servers of one realm."""

import asyncio
import logging

import msgspec
import pytest

from keeping.game import Player, earn, enter, hooks_of, kept
from realmkeep.config import KeeperConfig
from realmkeep.errors import AlreadyOwned, NameTaken, OwnershipLost, StorageUnavailable
from realmkeep.keeping import Keeper
from realmkeep.keeping.ownership.lease import Lease
from realmkeep.keeping.ownership.revisions import token_of
from realmkeep.storage import Committed, Put
from realmkeep.storage.memory import MemoryStorage
from realmkeep.testing.faulty import NONE, FaultyStorage, delay, late, reject
from realmkeep.testing.lab import Lab

LEASE = "server:lab-1:lease"


async def test_an_owned_player_is_refused_with_the_server_s_name_and_a_time(lab: Lab, keeper: Keeper) -> None:
    await enter(keeper)
    other = await lab.server("lab-2")
    with pytest.raises(AlreadyOwned, match=r"rover:1 is owned by the live server 'lab-1'.*30 s at most") as caught:
        await enter(other)
    assert (caught.value.server, caught.value.wait_s, caught.value.retryable) == ("lab-1", 30, True)


async def test_who_is_refused_is_told_what_is_left_of_the_owner_s_lease(lab: Lab, keeper: Keeper) -> None:
    await enter(keeper)
    other = await lab.server("lab-2")
    await lab.crash()
    waits: list[float] = []
    for _ in range(3):
        with pytest.raises(AlreadyOwned) as caught:
            await enter(other)
        waits.append(caught.value.wait_s)
        await lab.advance(11)
    assert waits == [30, 19, 8]
    assert (await enter(other)).connected


async def test_the_owner_s_lease_counts_and_not_that_of_who_asks() -> None:
    async with Lab(config=KeeperConfig(lease_ttl_s=100)) as lab:
        await enter(lab.keeper)
        line = FaultyStorage(MemoryStorage(lab.store, clock=lab.clock), clock=lab.clock)
        async with await Keeper.open(line, config=KeeperConfig(name="lab-2"), clock=lab.clock) as other:
            with pytest.raises(AlreadyOwned) as caught:
                await enter(other)
    assert caught.value.wait_s == 100


async def test_a_player_changes_servers_in_under_a_second_with_the_last_change_of_the_first(
    lab: Lab, keeper: Keeper
) -> None:
    other = await lab.server("lab-2")
    for name in ("lab-1", "lab-2"):
        lab.line(name).plan = lambda _: delay(0.01, 0.01)
    ada = await lab.finish(enter(keeper))
    began_s = lab.clock.monotonic_s()

    async def change() -> Player:
        commit = asyncio.create_task(keeper.commit(earn, ada))
        await asyncio.sleep(0)
        ada.record.xp = 12
        ada.record.x = 3.5
        await ada.release()
        assert commit.done()
        return (await enter(other)).record

    there = await lab.finish(change())
    assert lab.clock.monotonic_s() - began_s < 1
    assert (there.gold, there.xp, there.x) == (110, 12, 3.5)
    assert keeper.sessions(Player) == []


async def test_a_player_goes_to_and_fro_and_every_step_is_kept(lab: Lab, keeper: Keeper) -> None:
    other = await lab.server("lab-2")
    for step in range(20):
        session = await enter((keeper, other)[step % 2])
        assert session.record.xp == step
        session.record.xp += 1
        await session.release()


async def test_the_owner_of_a_dead_server_s_players_is_whoever_asks_after_its_lease(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    await keeper.commit(earn, ada)
    other = await lab.server("lab-2")
    await lab.crash()
    await lab.advance(29)
    with pytest.raises(AlreadyOwned):
        await enter(other)
    await lab.advance(2)
    assert (await enter(other)).record.gold == 110


async def test_a_live_server_keeps_its_players_for_ever(lab: Lab, keeper: Keeper) -> None:
    await enter(keeper)
    other = await lab.server("lab-2")
    await lab.advance(1000)
    with pytest.raises(AlreadyOwned):
        await enter(other)


async def test_the_lease_is_renewed_at_each_heartbeat(lab: Lab) -> None:
    beats: list[int] = []
    for _ in range(6):
        stored = lab.store.value(LEASE)
        assert stored is not None
        beats.append(Lease.decode(stored, LEASE).beat)
        await lab.advance(10)
    assert beats == list(range(beats[0], beats[0] + 6))


async def test_a_paused_server_that_nobody_replaced_renews_in_place(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 5
    lab.line().down = True
    await lab.advance(120)
    assert lab.store.value(LEASE) is None
    lab.line().down = False
    await lab.advance(5)
    assert lab.store.value(LEASE) is not None
    assert not ada.ended
    assert kept(lab).xp == 5
    assert (await keeper.commit(earn, ada)).result == 110


async def test_a_paused_server_that_was_replaced_finds_its_writes_refused(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    other = await lab.server("lab-2")
    lab.line().down = True
    await lab.advance(40)
    theirs = await enter(other)
    theirs.record.xp = 1
    lab.line().down = False
    ada.record.xp = 99
    await lab.advance(60)
    assert ada.ended
    assert kept(lab).xp == 1


async def test_a_paused_server_hears_of_every_player_it_lost_though_nobody_plays(lab: Lab, keeper: Keeper) -> None:
    """An idle session writes nothing, so no refusal would tell; its player would go on in a dream."""
    lost: list[str] = []
    hooks_of(keeper).on_lost_ownership(Player)(lambda session, _: lost.append(session.id))
    taken, left, ours = [await enter(keeper, number) for number in (1, 2, 3)]
    other = await lab.server("lab-2")
    lab.line().down = True
    await lab.advance(40)
    await enter(other, 1)
    await (await enter(other, 2)).logout()
    lab.line().down = False
    await lab.advance(3)
    assert sorted(lost) == ["1", "2"]
    assert taken.ended
    assert left.ended
    assert ours.connected
    assert (await enter(keeper, 2)).connected


async def test_a_lease_that_a_former_self_sent_long_ago_does_not_end_the_keeper(lab: Lab) -> None:
    """It arrives on a connection of the dead, while the lease of the living has run out."""
    line = lab.line()
    line.down = True
    await lab.advance(40)
    line.down = False
    line.script("write", late(100.0))  # its attempt to renew, guarded on nothing
    await lab.advance(1.5)
    await lab.crash()
    keeper = await lab.restart()
    ada = await enter(keeper)
    lab.line().down = True
    await lab.advance(120)
    (renewal,) = line.late_results
    assert renewal == [Committed()]
    lab.line().down = False
    await lab.advance(5)
    assert ada.connected
    assert keeper.degraded == ()
    assert (await keeper.commit(earn, ada)).result == 110


async def test_a_restart_takes_its_own_sessions_back_at_once_and_gives_them_their_grace(lab: Lab) -> None:
    for number in range(3):
        await enter(lab.keeper, number)
    await (await enter(lab.keeper, 9)).logout()
    began_s = lab.clock.monotonic_s()
    keeper = await lab.restart()
    sessions = await keeper.recover(Player)
    assert lab.clock.monotonic_s() - began_s < 1
    assert sorted(session.id for session in sessions) == ["0", "1", "2"]
    assert not any(session.connected for session in sessions)
    back = await enter(keeper, 1)
    assert back.connected
    assert back.resumed
    await lab.advance(31)
    assert keeper.sessions(Player) == [back]
    assert lab.store.value("rover:0:owner") is None


@pytest.mark.parametrize(
    ("key", "stored", "said"),
    [
        ("rover:1", b"{", "rover:1 was not recovered"),
        ("rover:1:owner", b"somebody", "rover:1:owner does not name an owner"),
    ],
    ids=["record", "owner"],
)
async def test_recovery_goes_on_past_what_cannot_be_read(
    lab: Lab, caplog: pytest.LogCaptureFixture, key: str, stored: bytes, said: str
) -> None:
    for number in range(3):
        await enter(lab.keeper, number)
    await lab.line().save(key, stored)
    keeper = await lab.restart()
    with caplog.at_level(logging.ERROR):
        sessions = await keeper.recover(Player)
    assert sorted(session.id for session in sessions) == ["0", "2"]
    assert said in caplog.text


async def test_what_a_former_incarnation_owned_can_be_claimed_without_recovery(lab: Lab) -> None:
    await enter(lab.keeper)
    keeper = await lab.restart()
    assert (await enter(keeper)).connected


async def test_each_claim_has_a_token_above_those_before_it_though_clocks_stand_still_and_go_back(
    lab: Lab, keeper: Keeper
) -> None:
    tokens: list[int] = []
    for server in (keeper, keeper, await lab.server("lab-2"), keeper):
        session = await enter(server)
        tokens.append(token_of(lab.store.value("rover:1:owner") or b""))
        await session.logout()
        lab.clock.step_wall(-3600)
    assert tokens == sorted(set(tokens))
    assert tokens[0] > 0


async def test_two_servers_claim_at_once_and_one_owns(lab: Lab, keeper: Keeper) -> None:
    other = await lab.server("lab-2")
    for number in range(20):
        answers = await asyncio.gather(enter(keeper, number), enter(other, number), return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["AlreadyOwned", "Session"]


async def test_a_claim_loads_what_it_owns_even_if_somebody_writes_in_between(lab: Lab, keeper: Keeper) -> None:
    """The former owner's last write lands between the read and the claim: the claim starts again."""
    ada = await enter(keeper)
    other = await lab.server("lab-2")
    ada.record.xp = 42
    lab.line("lab-2").script("write", delay(0.1))
    leaving = asyncio.create_task(ada.release())
    await leaving
    session = await lab.finish(enter(other))
    assert session.record.xp == 42


async def test_a_second_keeper_of_one_name_in_this_process_is_refused_at_once(lab: Lab) -> None:
    with pytest.raises(NameTaken, match=r"a keeper named 'lab-1' is alive: pid \d+ on .*name of its own"):
        await lab.server("lab-1")


def foreign(beat: int, *, host: str = "elsewhere", pid: int = 4711) -> Put:
    value = msgspec.json.encode(Lease("f00f00f0", beat, host, pid))
    return Put("server:town:lease", value, expire_s=30)


async def test_a_foreign_keeper_of_this_name_that_renews_its_lease_is_found_alive(lab: Lab) -> None:
    lab.store.perform(foreign(1))
    lab.clock.call_later(10, lambda: lab.store.perform(foreign(2)))
    began_s = lab.clock.monotonic_s()
    with pytest.raises(NameTaken, match=r"'town' is alive: pid 4711 on elsewhere.*keeper\.name"):
        await lab.server("town")
    assert lab.clock.monotonic_s() - began_s <= 12


async def test_a_foreign_keeper_of_this_name_whose_lease_lapses_is_replaced(lab: Lab) -> None:
    lab.store.perform(foreign(1))
    began_s = lab.clock.monotonic_s()
    keeper = await lab.server("town")
    assert 29 <= lab.clock.monotonic_s() - began_s <= 32
    assert (await enter(keeper)).connected


async def test_a_keeper_whose_name_was_taken_ends_its_sessions_and_says_so(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    value = msgspec.json.encode(Lease("f00f00f0", 1, "elsewhere", 4711))
    lab.store.perform(Put(LEASE, value, expire_s=30))
    await lab.advance(11)
    assert ada.ended
    assert keeper.degraded == ("another keeper took the name lab-1",)
    with pytest.raises(OwnershipLost):
        await keeper.commit(earn, ada)


async def test_a_keeper_that_could_not_open_can_be_opened_again(lab: Lab) -> None:
    """What it had taken of its name is given back."""
    line = lab.line()
    for loads_that_work in (0, 1):  # the lease, what the store is called
        line.script("load", *[NONE] * loads_that_work, reject())
        with pytest.raises(StorageUnavailable):
            await Keeper.open(line, config=KeeperConfig(name="town"), clock=lab.clock)
    keeper = await lab.server("town")
    assert keeper.name == "town"


async def test_a_closed_keeper_leaves_its_name_free_at_once(lab: Lab, keeper: Keeper) -> None:
    await keeper.close()
    assert lab.store.value(LEASE) is None
    began_s = lab.clock.monotonic_s()
    await lab.server("lab-1")
    assert lab.clock.monotonic_s() == began_s


@pytest.mark.parametrize("turns", range(12))
async def test_a_player_who_comes_back_at_any_turn_of_the_recovery_is_here(
    lab: Lab, keeper: Keeper, turns: int
) -> None:
    await enter(keeper, 1)
    again = await lab.restart()
    recovery = asyncio.create_task(again.recover(Player))
    for _ in range(turns):
        await asyncio.sleep(0)
    session = await lab.finish(again.login(Player, 1))
    assert await lab.finish(recovery) in ([], [session])
    assert session is not None
    await lab.advance(60)
    assert session.connected
