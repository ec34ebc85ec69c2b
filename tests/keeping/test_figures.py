"""`keeper.status()`: the figures that an operator watches. They agree with the records, and cost the same for any number."""

import asyncio
import random

import pytest

from keeping.game import Guild, NotEnough, Player, earn, enter, inside, pay
from keeping.test_refused import take_over
from realmkeep.config import KeeperConfig
from realmkeep.errors import CommitPending, OwnershipLost, Quarantined, QueueFull, RateLimited, SessionFrozen
from realmkeep.keeping import Hooks, Keeper, Op, Session
from realmkeep.keeping.lifecycle.degraded import REASONS
from realmkeep.keeping.live.measures import BATCH_EDGES, Histogram
from realmkeep.testing.faulty import LOSE_REPLY, NONE, delay, reject
from realmkeep.testing.lab import Lab


def dirty_by_looking(keeper: Keeper) -> int:
    return sum(session.dirty for session in keeper.sessions(Player))


async def test_a_record_is_dirty_from_its_change_until_the_store_has_it(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    guild = await keeper.hold(Guild, 1, create=Guild)
    assert keeper.status().dirty_records == 0
    ada.record.xp += 1
    bob.record.x += 1.0
    guild.record.motto = "onwards"
    assert (keeper.status().dirty_records, dict(keeper.status().dirty_by_kind)) == (3, {"rover": 2, "guild": 1})
    await lab.advance(31)
    assert keeper.status().dirty_by_kind["rover"] == 1, "a position has twice the time"
    await lab.advance(30)
    assert keeper.status().dirty_records == 0


async def test_a_commit_on_its_way_is_dirty_and_so_is_a_change_behind_it(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    lab.line().plan = lambda _: delay(1.0, 1.0)
    paying = asyncio.ensure_future(keeper.commit(pay, ada, bob))
    await lab.advance(0.5)
    assert keeper.status().dirty_records == 2
    ada.record.xp += 1
    await lab.finish(paying)
    assert (keeper.status().dirty_records, ada.dirty, bob.dirty) == (1, True, False)


async def test_the_oldest_change_is_counted_from_the_change(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    assert keeper.status().oldest_dirty_s == 0
    ada.record.xp += 1
    await lab.advance(10)
    bob.record.xp += 1
    await lab.advance(10)
    assert keeper.status().oldest_dirty_s == pytest.approx(20)
    await keeper.commit(earn, ada)
    assert keeper.status().oldest_dirty_s == pytest.approx(10), "the commit carried the older change"
    await lab.advance(20)
    assert keeper.status().oldest_dirty_s == 0


async def test_a_position_alone_counts_against_its_own_limit(lab: Lab, keeper: Keeper) -> None:
    """One indicator for both tiers: `flush_interval_s` is the limit of each."""
    ada = await enter(keeper)
    ada.record.x += 1.0
    await lab.advance(25)
    assert keeper.status().oldest_dirty_s == 0
    await lab.advance(30)
    assert keeper.status().oldest_dirty_s == pytest.approx(25)


@pytest.mark.parametrize("carrier", ["flush", "commit"])
async def test_the_oldest_change_grows_while_its_write_is_on_the_way(lab: Lab, keeper: Keeper, carrier: str) -> None:
    ada = await enter(keeper)
    ada.record.xp += 1
    await lab.advance(20)
    lab.line().down = True
    committing = asyncio.ensure_future(keeper.commit(earn, ada)) if carrier == "commit" else None
    await lab.advance(40)
    assert keeper.status().oldest_dirty_s == pytest.approx(60, abs=0.1)
    lab.line().down = False
    await lab.advance(5)
    assert keeper.status().oldest_dirty_s == 0
    if committing is not None:
        await asyncio.gather(committing, return_exceptions=True)


async def test_a_commit_alone_ages_from_its_own_time(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().plan = lambda _: delay(3.0)
    committing = asyncio.ensure_future(keeper.commit(earn, ada))
    await lab.advance(2)
    assert keeper.status().oldest_dirty_s == pytest.approx(2)
    await lab.finish(committing)


async def test_frozen_records_are_counted_until_they_thaw(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    ada.record.diary = bob.record.diary = "x" * 100_000
    await lab.advance(31)
    assert keeper.status().frozen_records == 2
    assert [code for code, _ in keeper.status().degraded] == ["frozen_records"]
    ada.record.diary = "short"
    await lab.advance(31)
    assert (keeper.status().frozen_records, keeper.status().frozen) == (1, 2)
    bob.record.diary = "short"
    await lab.advance(61)
    assert (keeper.status().frozen_records, keeper.status().degraded, keeper.status().dirty_records) == (0, (), 0)


async def test_sessions_are_counted_by_state(lab: Lab, keeper: Keeper) -> None:
    ada, bob, eve = [await enter(keeper, number) for number in (1, 2, 3)]
    bob.disconnect()
    await eve.logout()
    by_state = {key: count for key, count in keeper.status().sessions_by_state.items() if count}
    assert by_state == {("rover", "connected"): 1, ("rover", "grace"): 1}
    bob.resume()
    assert keeper.status().sessions_by_state["rover", "connected"] == 2
    ada.record.xp += 1
    await lab.crash()
    assert (sum(keeper.status().sessions_by_state.values()), keeper.status().dirty_records) == (0, 0)


async def test_each_commit_has_one_outcome(lab: Lab, keeper: Keeper) -> None:
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)

    def lend(payer: Player) -> None:
        payer.gold -= 1_000

    await keeper.commit(pay, ada, bob, ops=(Op(1), None))
    await keeper.commit(pay, ada, bob, ops=(Op(1), None))
    with pytest.raises(NotEnough):
        await keeper.commit(lambda payer, payee: pay(payer, payee, 10_000), ada, bob)
    with pytest.raises(Exception, match="gold"):
        await keeper.commit(lend, ada)
    lab.line().script("write", LOSE_REPLY)
    await lab.finish(keeper.commit(pay, ada, bob))
    status = keeper.status()
    assert (status.commits, status.commits_durable, status.repeats) == (2, 2, 1)
    assert (status.refused_by_game, status.refused_by_rule) == (1, 1)
    assert (status.refused_by_store, status.commits_unknown) == (0, 0)
    assert inside(keeper).measures.commit_s.count == 2


async def test_a_commit_that_another_server_overtook_is_refused(lab: Lab, keeper: Keeper) -> None:
    """One whose fate is unknown is counted in `test_unknown.py`."""
    ada = await enter(keeper)
    await take_over(lab, 1)
    with pytest.raises(OwnershipLost):
        await lab.finish(keeper.commit(earn, ada))
    status = keeper.status()
    assert (status.refused_by_store, status.commits_unknown, status.commits_durable) == (1, 0, 0)
    assert (status.dirty_records, status.live_sessions) == (0, 0)


async def test_a_full_queue_counts_for_the_store_and_a_rate_limit_for_itself() -> None:
    async with Lab(config=KeeperConfig(queue_max=16, tier1_queue_max=1)) as lab:
        ada = await enter(lab.keeper)
        guild = await lab.keeper.hold(Guild, 1, create=Guild)
        lab.line().down = True
        waiting = [asyncio.ensure_future(lab.keeper.commit(lambda _: None, guild)) for _ in range(16)]
        await lab.advance(0.1)
        with pytest.raises(QueueFull):
            await lab.keeper.commit(lambda _: None, guild)
        assert lab.keeper.status().refused_by_store == 1
        lab.line().down = False
        await lab.finish(asyncio.gather(*waiting, return_exceptions=True))
        many = await lab.finish(
            asyncio.gather(*[lab.keeper.commit(earn, ada) for _ in range(13)], return_exceptions=True)
        )
        refused = [each for each in many if isinstance(each, RateLimited)]
        assert lab.keeper.status().rate_limited == len(refused) > 0


async def test_loads_migrations_letters_and_writes_are_counted_by_outcome(lab: Lab) -> None:
    hooks = Hooks()

    @hooks.on_letter(Player)
    def _(player: Player, letter: dict[str, int]) -> None:
        player.gold += letter["gold"]

    async with Lab(hooks=hooks) as own:
        keeper, measures = own.keeper, inside(own.keeper).measures
        ada, bob = await enter(keeper, 1), await enter(keeper, 2)
        assert await keeper.login(Player, 9) is None
        own.store.replace("rover:8", b"{")
        with pytest.raises(Quarantined):
            await keeper.login(Player, 8)
        await keeper.commit(lambda _: keeper.tx.deliver(Player, 2, {"gold": 5}), ada)
        await bob.open_letters()
        await bob.logout()
        await enter(keeper, 2)
        other = await own.server("lab-2")
        with pytest.raises(Exception, match="owned"):
            await enter(other, 1)
        assert dict(measures.loads) == {
            ("rover", "created"): 2,
            ("rover", "absent"): 1,
            ("rover", "quarantined"): 1,
            ("rover", "loaded"): 1,
        }
        assert dict(inside(other).measures.loads) == {("rover", "owned_elsewhere"): 1}
        status = keeper.status()
        assert (status.letters_sent, status.letters_opened, status.releases) == (1, 1, 1)
        ada.record.xp += 1
        await own.advance(31)
        assert (keeper.status().flushes, measures.flush_s.count) == (1, 1)
        assert measures.batch_writes.count == measures.round_trip_s.count > 0


async def test_no_figure_looks_at_every_session(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting the dirty among 50,000 sessions took 16 ms of the event loop."""
    await enter(keeper)

    def walks() -> None:
        raise AssertionError("it looks at every session")

    monkeypatch.setattr(inside(keeper).sessions, "live", walks)
    assert (keeper.status().live_sessions, keeper.degraded) == (1, ())


async def leave_and_return(lab: Lab, number: int, session: Session[Player]) -> Session[Player]:
    """The session after a logout over the faulty line and a login over a good one; the same if the record is frozen."""
    try:
        await lab.finish(session.logout())
    except SessionFrozen:
        return session
    except CommitPending as pending:
        await lab.finish(pending.wait())
    plan = lab.line().plan
    lab.line().plan = lambda _: NONE
    session = await lab.finish(enter(lab.keeper, number))
    lab.line().plan = plan
    return session


@pytest.mark.parametrize("seed", range(8))
async def test_the_count_agrees_with_the_records_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    async with Lab() as lab:
        keeper = lab.keeper
        sessions = {number: await enter(keeper, number) for number in range(6)}
        faults = (NONE, NONE, NONE, LOSE_REPLY, reject(), delay(0.2))
        lab.line().plan = lambda method: chance.choice(faults) if method == "write" else NONE
        for _ in range(150):
            ada, bob = chance.sample(sorted(sessions), 2)
            match chance.randrange(7):
                case 0:
                    sessions[ada].record.xp += 1
                case 1:
                    sessions[ada].record.x += 1.0
                case 2:
                    sessions[ada].record.hp = 0 if sessions[ada].record.hp else 100
                case 3:
                    await lab.finish(
                        asyncio.gather(keeper.commit(pay, sessions[ada], sessions[bob]), return_exceptions=True)
                    )
                case 4:
                    sessions[ada].record.diary = "x" * chance.choice((1, 100_000))
                case 5:
                    sessions[ada] = await leave_and_return(lab, ada, sessions[ada])
                case _:
                    await lab.advance(chance.uniform(0, 20))
            assert keeper.status().dirty_records == dirty_by_looking(keeper)
            frozen = [session for session in keeper.sessions(Player) if session.frozen]
            assert keeper.status().frozen_records == len(frozen)
        for session in sessions.values():
            session.record.diary = ""
        lab.line().plan = lambda _: NONE
        await lab.advance(120)
        assert (keeper.status().dirty_records, keeper.status().frozen_records, keeper.degraded) == (0, 0, ())


def test_every_reason_has_a_code_of_its_own() -> None:
    assert len(set(REASONS)) == len(REASONS)


def test_a_histogram_counts_an_edge_with_the_values_below_it() -> None:
    histogram = Histogram(BATCH_EDGES)
    for size in (1, 2, 3, 4, 128, 129):
        histogram.add(size)
    assert histogram.counts == [1, 1, 2, 0, 0, 0, 0, 1, 1]
    assert (histogram.total, histogram.count) == (267, 6)
