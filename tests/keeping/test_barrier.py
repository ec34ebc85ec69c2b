"""After a restart of a store that may have lost something, nobody gets in before every server has looked."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from keeping.game import Player, earn, enter, inside, kept, make, opens_letters, pay
from keeping.test_backwards import enter_unheard
from keeping.wire import tap
from realmkeep.errors import AlreadyOwned
from realmkeep.keeping import Hooks, Keeper
from realmkeep.keys import SERVER_STORE_RUNS
from realmkeep.storage import Guard, Put
from realmkeep.testing.faulty import NONE, delay
from realmkeep.testing.lab import Lab

LONG_S = 40.0  # some heartbeats


@pytest.fixture
async def everysec() -> AsyncGenerator[Lab]:
    """Two servers on a store that may lose its last second."""

    async with Lab(loss_window_s=1.0, hooks=opens_letters(Hooks())) as lab:
        await lab.server("lab-2")
        await lab.advance(LONG_S)
        yield lab


def other(lab: Lab) -> Keeper:
    """The second server."""
    keeper = lab.keeper_of("lab-2")
    assert keeper is not None
    return keeper


def vouched(lab: Lab) -> dict[str, str]:
    """Who has looked in which run of the store."""
    return msgspec.json.decode(lab.store.value(SERVER_STORE_RUNS) or b"{}")


async def test_who_logged_out_in_the_lost_moment_gets_in_elsewhere_as_they_left(everysec: Lab) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    before = lab.store.snapshot()
    await lab.keeper.commit(pay, ada, bob)
    await ada.logout()
    lab.store.restore(before)
    assert (await lab.finish(enter(other(lab), 1))).record.gold == 90
    assert kept(lab, 2).gold == 110
    assert lab.keeper.status().torn_records == 0


async def test_a_player_whose_claim_was_lost_is_not_given_away(everysec: Lab) -> None:
    lab = everysec
    nobody = lab.store.snapshot()
    ada = await enter(lab.keeper, 1)
    await lab.keeper.commit(earn, ada)
    lab.store.restore(nobody)
    with pytest.raises(AlreadyOwned):
        await lab.finish(enter(other(lab), 1))
    assert ada.connected
    assert kept(lab, 1).gold == 110


async def test_a_letter_is_not_sent_again_if_its_sender_may_have_gone_on_from_before_it(everysec: Lab) -> None:
    lab = everysec
    ada = await enter(lab.keeper, 1)
    await make(lab.keeper, 3)
    await lab.advance(LONG_S)
    before = lab.store.snapshot()

    def sends(player: Player) -> None:
        player.gold -= 5
        lab.keeper.tx.deliver(Player, 3, {"gold": 5})

    await lab.keeper.commit(sends, ada)
    await ada.logout()
    lab.store.restore(before)
    theirs = await enter_unheard(lab, other(lab), 1)
    assert theirs.record.gold == 100, "the control: it waited in vain, and got the older state"
    await other(lab).commit(earn, theirs)
    await lab.advance(15)
    assert (kept(lab, 1).gold, lab.store.entries("rover:3:inbox")) == (110, [])


async def test_what_other_servers_have_written_since_hides_no_loss(everysec: Lab) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    await lab.advance(LONG_S)
    before = lab.store.snapshot()
    for earner in (ada, bob, ada):  # of late writes the first and the last are remembered
        await lab.keeper.commit(earn, earner)
    await bob.logout()
    await ada.logout()
    entry = asyncio.ensure_future(enter(other(lab), 1))
    await lab.advance(0.5)
    lab.store.restore(before)
    lab.line().script("load_many", NONE, delay(5))  # the heartbeat, and the look at everything
    assert (await lab.finish(enter(other(lab), 2))).record.gold == 110
    assert (await lab.finish(entry)).record.gold == 120


async def test_a_server_that_is_silent_is_waited_for_as_long_as_its_lease_and_not_again(
    everysec: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab = everysec
    await lab.crash()
    lab.store.restore(lab.store.snapshot())
    began_s = lab.clock.monotonic_s()
    await lab.finish(enter(other(lab), 1))
    assert 30 <= lab.clock.monotonic_s() - began_s < 32
    (said,) = [each.getMessage() for each in caplog.records if "did not look" in each.getMessage()]
    assert "lab-1" in said
    assert set(vouched(lab)) == {"lab-2"}
    lab.store.restore(lab.store.snapshot())
    began_s = lab.clock.monotonic_s()
    await lab.finish(enter(other(lab), 2))
    assert lab.clock.monotonic_s() - began_s < 2


async def test_a_server_that_was_silent_for_too_long_is_waited_for_again_once_it_is_back(everysec: Lab) -> None:
    lab = everysec
    lab.store.restore(lab.store.snapshot())
    await enter_unheard(lab, other(lab), 1)
    assert set(vouched(lab)) == {"lab-2"}
    await lab.advance(5)
    assert set(vouched(lab)) == {"lab-1", "lab-2"}


async def test_those_who_wait_are_told_why_and_for_whom(everysec: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab = everysec
    lab.line().down = True
    lab.store.restore(lab.store.snapshot())
    waiting = [asyncio.create_task(enter(other(lab), number)) for number in range(3)]
    await lab.advance(5)
    assert not any(each.done() for each in waiting)
    (why,) = other(lab).degraded
    assert why.startswith("the store was restarted")
    assert why.endswith(": lab-1")
    assert [each.getMessage() for each in caplog.records if "logins wait" in each.getMessage()] == [
        "the store was restarted; logins wait until these servers have looked for lost writes: lab-1, lab-2"
    ]
    lab.line().down = False
    await lab.advance(2)
    assert [each.result().connected for each in waiting] == [True] * 3
    assert other(lab).degraded == ()


async def test_a_server_that_closes_is_not_waited_for(everysec: Lab) -> None:
    lab = everysec
    await enter(lab.keeper, 1)
    await lab.finish(lab.keeper.close())
    assert set(vouched(lab)) == {"lab-2"}


async def test_a_copy_of_a_record_is_not_of_an_older_state(everysec: Lab) -> None:
    lab = everysec
    ada = await enter(lab.keeper, 1)
    before = lab.store.snapshot()
    await lab.keeper.commit(earn, ada)
    await ada.logout()
    lab.store.restore(before)
    copy = await lab.finish(other(lab).table(Player).load(1))
    assert copy is not None
    assert copy.gold == 110


async def test_an_id_is_given_out_once_whatever_the_store_forgets(everysec: Lab) -> None:
    lab = everysec
    before = lab.store.snapshot()
    given = [await lab.keeper.allocate_id(10), await other(lab).allocate_id()]
    lab.store.restore(before)
    given += [await lab.finish(other(lab).allocate_id()), await lab.keeper.allocate_id()]
    assert len({*range(given[0], given[0] + 10), *given[1:]}) == 13


async def test_the_ids_of_a_server_that_asks_for_none_any_more_are_not_given_out_by_others(everysec: Lab) -> None:
    lab = everysec
    before = lab.store.snapshot()
    first = await lab.keeper.allocate_id(10)
    lab.store.restore(before)
    assert await lab.finish(other(lab).allocate_id()) >= first + 10


async def test_an_id_counted_before_the_others_had_looked_is_not_given_out(everysec: Lab) -> None:
    lab = everysec
    before = lab.store.snapshot()
    given = await lab.keeper.allocate_id(10)
    lab.store.restore(before)
    lab.line("lab-2").script(
        "run_id", delay(5)
    )  # the question of whoever allocates; by the answer everybody has looked
    assert await lab.finish(other(lab).allocate_id()) >= given + 10


async def test_an_id_is_given_out_once_where_the_store_does_not_tell_of_its_restarts(
    everysec: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = everysec

    async def silent() -> str:
        return ""

    monkeypatch.setattr(inside(lab.keeper).storage, "run_id", silent)
    before = lab.store.snapshot()
    first = await lab.keeper.allocate_id(10)
    lab.store.restore(before)
    assert await lab.keeper.allocate_id() == first + 10


async def test_what_cannot_be_read_is_written_anew(everysec: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab = everysec
    lab.store.perform(Put(SERVER_STORE_RUNS, b"by an operator"))
    await lab.advance(15)
    assert set(vouched(lab)) == {"lab-1", "lab-2"}
    assert any("server:store-runs cannot be read" in each.getMessage() for each in caplog.records)


async def test_many_servers_that_vouch_at_once_do_not_overwrite_each_other(everysec: Lab) -> None:
    lab = everysec
    names = [f"more-{number}" for number in range(20)]
    barriers = [inside(await lab.server(name)).barrier for name in names]
    await asyncio.gather(*(barrier.confirm_run("the next", Guard("absent", None)) for barrier in barriers))
    assert [vouched(lab)[name] for name in names] == ["the next"] * 20


async def test_a_store_that_loses_nothing_is_not_asked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = tap(monkeypatch, lab.line())
    await enter(lab.keeper)
    await lab.keeper.allocate_id()
    await lab.advance(LONG_S)
    assert lab.line().calls["run_id"] == 0
    assert SERVER_STORE_RUNS not in wire.keys_read
