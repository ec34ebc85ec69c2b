"""A session that another connection takes over, and a record that another server does."""

import asyncio

import pytest

from keeping.game import Guild, Player, earn, enter, hooks_of, inside, kept
from realmkeep.errors import AlreadyOwned, SessionEnded, ShuttingDown
from realmkeep.keeping import Keeper, Session
from realmkeep.testing.lab import Lab


def hears(keeper: Keeper) -> list[str]:
    heard: list[str] = []

    @hooks_of(keeper).on_disconnect(Player)
    def _(session: Session[Player]) -> None:
        heard.append(f"{session.id} disconnected")

    @hooks_of(keeper).on_resume(Player)
    def _(session: Session[Player]) -> None:
        heard.append(f"{session.id} resumed")

    return heard


async def test_a_page_that_is_loaded_again_takes_the_session_over(lab: Lab, keeper: Keeper) -> None:
    heard = hears(keeper)
    ada = await enter(keeper)
    old = ada.connection
    ada.record.target = 7
    with pytest.raises(AlreadyOwned, match="take_over=True"):
        await keeper.login(Player, 1)
    assert heard == []
    again = await keeper.login(Player, 1, take_over=True)
    assert again is ada
    assert (ada.resumed, ada.connected, ada.record.target) == (True, True, 7)
    assert heard == ["1 disconnected", "1 resumed"]
    ada.disconnect(old)  # the old connection ends at last
    assert ada.connected
    await lab.advance(60)
    assert ada.connected
    ada.disconnect(ada.connection)
    await lab.advance(31)
    assert ada.ended
    ada.disconnect(ada.connection)  # whose session is over: nothing to tell
    with pytest.raises(SessionEnded):
        ada.disconnect()


async def test_nothing_is_lost_or_doubled_by_logins_that_take_over_each_other(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    logins = [keeper.login(Player, 1, take_over=True) for _ in range(5)]
    commits = [keeper.commit(earn, ada) for _ in range(5)]
    outcomes = await lab.finish(asyncio.gather(*logins, *commits))
    assert outcomes[:5] == [ada] * 5
    assert ada.connection == 6
    assert kept(lab).gold == 150


async def test_it_is_as_good_a_login_as_any_where_nobody_is_connected(lab: Lab, keeper: Keeper) -> None:
    new = await keeper.login(Player, 1, create=Player, take_over=True)
    assert (new.resumed, new.connection) == (False, 1)
    new.disconnect()
    assert await keeper.login(Player, 1, take_over=True) is new
    assert new.connection == 2
    assert await keeper.login(Player, 404, take_over=True) is None


async def test_a_hook_that_ends_the_session_is_waited_for(lab: Lab, keeper: Keeper) -> None:
    """A game that has no grace releases whoever is gone; the login that took over begins anew."""
    tasks: list[asyncio.Task[None]] = []

    @hooks_of(keeper).on_disconnect(Player)
    def _(session: Session[Player]) -> None:
        tasks.append(asyncio.ensure_future(session.release()))

    ada = await enter(keeper)
    ada.record.xp = 3
    again = await lab.finish(keeper.login(Player, 1, take_over=True))
    await lab.finish(asyncio.gather(*tasks, return_exceptions=True))
    live = keeper.session(Player, 1)
    assert again is not None
    assert kept(lab).xp == 3
    assert live is None or live.record.xp == 3


async def test_what_many_hold_and_what_another_server_has_is_not_taken_over(lab: Lab, keeper: Keeper) -> None:
    await keeper.hold(Guild, 1, create=Guild)
    with pytest.raises(AlreadyOwned):
        await keeper.login(Guild, 1, take_over=True)
    other = await lab.server("lab-2")
    await enter(keeper, 1)
    with pytest.raises(AlreadyOwned) as refused:
        await other.login(Player, 1, take_over=True)
    assert refused.value.server == "lab-1"


async def test_a_record_fails_over_when_the_lease_of_its_server_has_run_out(lab: Lab, keeper: Keeper) -> None:
    (await keeper.hold(Guild, 1, create=Guild)).record.motto = "carpe"
    await lab.advance(31)
    standby = await lab.server("lab-2")
    waiting = asyncio.ensure_future(standby.hold(Guild, 1, wait=True))
    await lab.advance(300)
    assert not waiting.done()
    await lab.crash()
    await lab.advance(19)
    assert not waiting.done()
    await lab.advance(12)
    held = waiting.result()
    assert held is not None
    assert held.record.motto == "carpe"
    assert held.shared


async def test_a_record_that_is_released_fails_over_within_a_second(lab: Lab, keeper: Keeper) -> None:
    guild = await keeper.hold(Guild, 1, create=Guild)
    standby = await lab.server("lab-2")
    waiting = asyncio.ensure_future(standby.hold(Guild, 1, wait=True))
    await lab.advance(5)
    await guild.release()
    await lab.advance(1)
    assert waiting.done()


async def test_who_waits_for_a_record_outlives_an_outage_and_hears_of_the_end(lab: Lab, keeper: Keeper) -> None:
    await keeper.hold(Guild, 1, create=Guild)
    standby = await lab.server("lab-2")
    waiting = asyncio.ensure_future(standby.hold(Guild, 1, wait=True))
    lab.line("lab-2").down = True
    await lab.advance(60)
    lab.line("lab-2").down = False
    await lab.advance(10)
    assert not waiting.done()
    assert (await lab.finish(standby.close())).clean
    await lab.advance(2)
    assert isinstance(waiting.exception(), ShuttingDown)


async def test_who_stops_waiting_for_a_record_leaves_it_alone(lab: Lab, keeper: Keeper) -> None:
    guild = await keeper.hold(Guild, 1, create=Guild)
    standby = await lab.server("lab-2")
    waiting = asyncio.ensure_future(standby.hold(Guild, 1, wait=True))
    await lab.advance(5)
    waiting.cancel()
    await guild.release()
    await lab.advance(60)
    assert lab.store.value("guild:1:owner") is None
    assert inside(standby).sessions.entering == {}


async def test_a_record_with_a_player_s_session_here_is_not_waited_for(lab: Lab, keeper: Keeper) -> None:
    await enter(keeper)
    with pytest.raises(AlreadyOwned):
        await keeper.hold(Player, 1, wait=True)
    assert await keeper.hold(Guild, 404, wait=True) is None
