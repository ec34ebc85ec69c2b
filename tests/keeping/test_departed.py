"""A store that lost acknowledged releases: what those who left had is written again, unless somebody claimed it meanwhile."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from functools import partial

import pytest

from keeping.game import (
    Guild,
    Player,
    at_some_turn,
    deposit,
    earn,
    enter,
    inside,
    kept,
    make,
    opens_letters,
    pay,
    revision,
)
from keeping.test_backwards import enter_unheard, hurt
from keeping.wire import tap
from realmkeep.errors import StorageUnavailable
from realmkeep.keeping import Hooks, Keeper, Op, Session, heal
from realmkeep.keeping.ownership.loss_probe import LOSS_S, LossProbe
from realmkeep.keeping.recovery.tail import ENTRY_BYTES, Tail
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.storage import Put
from realmkeep.storage.memory import MemoryContents
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REQUEST, NONE
from realmkeep.testing.lab import Lab

LONG_S = 40.0  # some heartbeats: what was acknowledged before is safe


@pytest.fixture
async def everysec() -> AsyncGenerator[Lab]:
    """A realm on a store that may lose its last second."""

    async with Lab(loss_window_s=1.0, hooks=opens_letters(Hooks())) as lab:
        await lab.advance(LONG_S)
        yield lab


def tail(lab: Lab) -> Tail:
    return inside(lab.keeper).store_loss.tail


def released(lab: Lab) -> list[str]:
    """The records whose release is kept."""
    return [entry.parts[0].keys.record for entry in tail(lab).released]


async def trade_and_leave(lab: Lab) -> tuple[MemoryContents, Session[Player]]:
    """Ada pays Bob and logs out; returns the store as it was before that, and Bob, who stays."""
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    before = lab.store.snapshot()
    await lab.keeper.commit(pay, ada, bob)
    await ada.logout()
    return before, bob


async def test_who_traded_and_logged_out_in_the_lost_moment_is_written_again_together_with_the_other(
    everysec: Lab,
) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    before = lab.store.snapshot()
    await lab.keeper.commit(pay, ada, bob, ops=(Op(1), Op(1)))
    await ada.logout()
    last = revision(lab, 1)
    lab.store.restore(before)
    bob.record.hp = 0
    torn = await at_some_turn(lambda: kept(lab, 1).gold + kept(lab, 2).gold != 200)
    await lab.advance(2)
    assert not torn
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)
    assert revision(lab, 1) == last
    assert lab.store.value("rover:1:owner") is None
    assert lab.keeper.degraded == ()
    again = await lab.keeper.commit(pay, await enter(lab.keeper, 1), bob, ops=(Op(1), Op(1)))
    assert again.repeated, "the op ring is back, too"
    assert lab.keeper.status().healed_records == 2


async def test_it_is_noticed_by_the_next_heartbeat_though_nobody_is_live(everysec: Lab) -> None:
    lab = everysec
    before, bob = await trade_and_leave(lab)
    await bob.logout()
    lab.store.restore(before)
    await lab.advance(12)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)


async def test_a_record_held_or_borrowed_and_released_is_written_again(everysec: Lab) -> None:
    lab = everysec
    ada = await enter(lab.keeper, 1)
    await (await enter(lab.keeper, 2)).logout()
    before = lab.store.snapshot()
    guild = await lab.keeper.hold(Guild, 1, create=Guild)  # made in the lost moment at that
    await lab.keeper.commit(deposit, ada, guild)
    await guild.release()
    async with lab.keeper.borrow(Player, 2) as bob:
        assert bob is not None
        await lab.keeper.commit(pay, ada, bob)
    lab.store.restore(before)
    await hurt(lab, 1)
    stored = lab.stored(Guild, 1)
    assert stored is not None
    assert (kept(lab, 1).gold, kept(lab, 2).gold, stored.gold) == (89, 110, 1)


async def test_letters_of_who_logged_out_are_sent_again_and_letters_it_had_opened_are_not(everysec: Lab) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    await make(lab.keeper, 3)
    await bob.logout()
    await lab.keeper.commit(lambda _: lab.keeper.tx.deliver(Player, 2, {"gold": 20}), ada)
    before = lab.store.snapshot()
    bob = await enter(lab.keeper, 2)
    await lab.finish(bob.open_letters())
    await lab.keeper.commit(lambda _: lab.keeper.tx.deliver(Player, 3, {"gold": 5}), bob)
    await bob.logout()
    lab.store.restore(before)
    await lab.advance(12)
    assert len(lab.store.entries("rover:3:inbox")) == 1
    assert lab.store.entries("rover:2:inbox") == [], "what had been opened is dropped again"
    bob = await enter(lab.keeper, 2)
    await lab.finish(bob.open_letters())
    assert bob.record.gold == 120


async def test_whom_another_server_let_in_meanwhile_is_never_overwritten_and_said_loudly(
    everysec: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab = everysec
    before, _ = await trade_and_leave(lab)
    lab.store.restore(before)
    other = await lab.server("lab-2")
    theirs = await enter_unheard(lab, other, 1)
    assert theirs.record.gold == 100, "the control: they got the older state"
    found = lab.store.value("rover:1"), lab.store.value("rover:1:owner")
    await hurt(lab, 2)
    assert (lab.store.value("rover:1"), lab.store.value("rover:1:owner")) == found
    assert kept(lab, 2).gold == 110
    assert lab.keeper.status().torn_records == 1
    (said,) = [each.getMessage() for each in caplog.records if "others had claimed" in each.getMessage()]
    assert "rover:1" in said
    await other.commit(earn, theirs)
    assert kept(lab, 1).gold == 110


async def test_who_has_played_on_elsewhere_meanwhile_is_not_overwritten_either(
    everysec: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    await ada.logout()
    other = await lab.server("lab-2")
    before = lab.store.snapshot()
    ada = await enter(lab.keeper, 1)
    await lab.keeper.commit(pay, ada, bob)
    await ada.logout()
    lab.store.restore(before)
    theirs = await enter_unheard(lab, other, 1)
    await other.commit(earn, theirs)
    await theirs.logout()
    await hurt(lab, 2)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (110, 110)
    assert lab.keeper.status().torn_records == 1
    assert any("rover:1" in each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL)


async def test_who_is_on_the_way_to_another_server_when_the_store_loses_it_arrives_as_it_left(everysec: Lab) -> None:
    lab = everysec
    other = await lab.server("lab-2")
    before, _ = await trade_and_leave(lab)
    entry = asyncio.ensure_future(enter(other, 1))
    await lab.advance(0.5)
    assert not entry.done(), "the control: it waits until what was left is safe"
    lab.store.restore(before)
    theirs = await lab.finish(entry)
    await other.commit(earn, theirs)
    await lab.advance(25)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (100, 110)
    await other.commit(earn, theirs)
    assert kept(lab, 1).gold == 110


async def test_a_login_here_never_gets_the_older_state(everysec: Lab) -> None:
    """It waits until this server has looked what the restarted store lost, and has written it again."""
    lab = everysec
    before, _ = await trade_and_leave(lab)
    lab.store.restore(before)
    again = await lab.finish(enter(lab.keeper, 1))
    assert again.record.gold == 90
    assert kept(lab, 2).gold == 110, "the other half as well"
    await lab.keeper.commit(earn, again)
    await lab.advance(LONG_S)
    assert kept(lab, 1).gold == 100


async def test_a_login_of_who_was_made_in_the_lost_moment_does_not_start_anew(everysec: Lab) -> None:
    lab = everysec
    bob = await enter(lab.keeper, 2)
    before = lab.store.snapshot()
    ada = await enter(lab.keeper, 1)
    await lab.keeper.commit(pay, ada, bob)
    await ada.logout()
    lab.store.restore(before)
    assert (await lab.finish(enter(lab.keeper, 1))).record.gold == 90


async def test_while_healing_waits_for_an_operator_a_login_is_refused_and_not_served_the_older_state(
    everysec: Lab,
) -> None:
    lab = everysec
    ada = await enter(lab.keeper, 1)
    before = lab.store.snapshot()
    await lab.keeper.commit(earn, ada)
    await ada.logout()
    lab.store.restore(before)
    lab.store.perform(Put(SERVER_STORE_ID, b"a backup of somebody else's"))
    with pytest.raises(StorageUnavailable, match="has not restored its lost writes"):
        await lab.finish(enter(lab.keeper, 1))
    heal(lab.keeper)
    await lab.advance(5)
    assert (await lab.finish(enter(lab.keeper, 1))).record.gold == 110


async def test_who_is_back_is_healed_from_memory_and_still_tied_to_whom_it_traded_with(everysec: Lab) -> None:
    lab = everysec
    before, bob = await trade_and_leave(lab)
    ada = await enter(lab.keeper, 1)
    await lab.keeper.commit(earn, ada)
    lab.store.restore(before)
    older = revision(lab, 1)
    bob.record.hp = 0
    torn = await at_some_turn(lambda: (revision(lab, 1) > older) != (kept(lab, 2).gold == 110))
    await lab.advance(2)
    assert not torn
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (100, 110)
    assert lab.store.value("rover:1:owner") is not None
    await lab.keeper.commit(earn, ada)


async def test_a_release_is_kept_however_long_the_store_is_away(everysec: Lab) -> None:
    """Time alone makes nothing safe: the store may come back after a minute with what it had before."""
    lab = everysec
    before, _ = await trade_and_leave(lab)
    lab.line().down = True
    await lab.advance(25)
    lab.store.restore(before)
    lab.line().down = False
    await (await lab.finish(enter(lab.keeper, 3))).logout()
    await lab.advance(15)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)


async def test_what_was_healed_and_is_lost_again_is_healed_again(everysec: Lab) -> None:
    lab = everysec
    before, bob = await trade_and_leave(lab)
    for hp in (0, 1):
        lab.store.restore(before)
        bob.record.hp = 100
        await lab.advance(1)
        await hurt(lab, 2)
        assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110), hp


async def test_healing_that_is_interrupted_goes_on_with_those_who_left(everysec: Lab) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    before = lab.store.snapshot()
    await lab.keeper.commit(earn, ada)
    await ada.logout()
    await lab.keeper.commit(earn, bob)
    lab.store.restore(before)
    bob.record.hp = 0
    lab.line().script("write", NONE, NONE, LOSE_REQUEST)  # Bob's own, Bob again, and Ada
    await lab.advance(3)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (110, 110)


def test_nothing_is_safe_by_looking_while_a_loss_is_not_mended() -> None:
    clock = FakeClock()
    loss_probe = LossProbe(clock, lambda: 2.0)
    loss_probe.add_sample("rover:1:updated", 7)
    assert not loss_probe.check(loss_probe.take_samples(), [b"6"])
    safe_s = loss_probe.safe_s
    assert loss_probe.check(loss_probe.take_samples(), [b"7"])
    assert loss_probe.safe_s == safe_s
    loss_probe.clear_suspicions(loss_probe.suspicions)
    assert loss_probe.check(loss_probe.take_samples(), [b"7"])
    assert loss_probe.safe_s == clock.monotonic_s() - LOSS_S


async def test_whom_somebody_deleted_since_is_not_brought_back(everysec: Lab) -> None:
    lab = everysec
    other = await lab.server("lab-2")
    lobby = await enter(other, 9)
    ada = await enter(lab.keeper, 1)
    await lab.keeper.commit(earn, ada)
    await ada.logout()
    await lab.advance(0.5)
    await other.commit(lambda _: other.tx.delete(Player, 1), lobby)
    await lab.advance(15)
    assert lab.stored(Player, 1) is None
    assert await lab.finish(lab.keeper.login(Player, 1)) is None
    assert (await lab.finish(enter(lab.keeper, 1, gold=7))).record.gold == 7


async def test_a_deletion_by_a_clock_that_is_behind_is_no_loss(everysec: Lab) -> None:
    lab = everysec
    lobby = await enter(lab.keeper, 9)
    ada = await enter(lab.keeper, 1)
    for _ in range(5):
        await lab.keeper.commit(earn, ada)  # in one microsecond, so that the revision is ahead of the clock
    await ada.logout()
    await lab.keeper.commit(lambda _: lab.keeper.tx.delete(Player, 1), lobby)
    await lab.advance(15)
    assert lab.stored(Player, 1) is None


async def test_a_deletion_that_was_lost_with_the_release_before_it_happens_again(everysec: Lab) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    before = lab.store.snapshot()
    await ada.logout()

    def inherits(heir: Player) -> None:
        lab.keeper.tx.delete(Player, 1)
        heir.gold += 100

    await lab.keeper.commit(inherits, bob)
    lab.store.restore(before)
    await hurt(lab, 2)
    assert lab.stored(Player, 1) is None
    assert kept(lab, 2).gold == 200


async def test_a_record_made_by_a_lost_commit_and_changed_since_keeps_the_change(everysec: Lab) -> None:
    lab = everysec
    ada = await enter(lab.keeper, 1)
    before = lab.store.snapshot()
    await lab.keeper.commit(lambda _: lab.keeper.tx.create(Guild, 7, Guild(gold=0)), ada)
    guild = await lab.keeper.hold(Guild, 7)
    assert guild is not None
    await lab.keeper.commit(deposit, ada, guild)
    await guild.release()
    lab.store.restore(before)
    await hurt(lab, 1)
    stored = lab.stored(Guild, 7)
    assert stored is not None
    assert (kept(lab, 1).gold, stored.gold) == (99, 1)


async def test_nothing_is_kept_longer_than_the_store_may_lose_it(everysec: Lab) -> None:
    lab = everysec
    for number in range(20):
        await (await enter(lab.keeper, number)).logout()
    assert len(released(lab)) == 20
    await lab.advance(LONG_S)
    await (await enter(lab.keeper, 99)).logout()
    assert released(lab) == ["rover:99"]
    await enter(lab.keeper, 99)
    assert len(released(lab)) == 0
    await lab.advance(LONG_S)
    await (await enter(lab.keeper, 100)).logout()
    assert (len(tail(lab)), released(lab)) == (1, ["rover:100"])
    assert 0 < tail(lab).size_bytes < 2 * ENTRY_BYTES


async def test_what_is_kept_is_bounded_in_bytes_and_the_newest_stay(
    everysec: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab = everysec
    inside(lab.keeper).store_loss.tail = Tail(bytes_max=3 * (ENTRY_BYTES + 2000))
    for number in range(10):
        player = await enter(lab.keeper, number)
        player.record.diary = "x" * 1500
        await player.logout()
    assert tail(lab).size_bytes <= 3 * (ENTRY_BYTES + 2000)
    assert released(lab) == ["rover:7", "rover:8", "rover:9"]
    assert tail(lab).given_up == 7
    assert len([each for each in caplog.records if "more is written than is kept" in each.getMessage()]) == 1


async def test_a_store_that_loses_nothing_costs_little(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last writes are kept for an operator who heals it all the same; none of them is given up unsafe."""
    monkeypatch.setattr("realmkeep.keeping.recovery.tail.SAFE_BYTES_MAX", 4 * ENTRY_BYTES)
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    for _ in range(9):
        await lab.keeper.commit(pay, ada, bob)
    await ada.logout()
    assert 0 < tail(lab).size_bytes <= 4 * ENTRY_BYTES
    assert released(lab) == [], "a release is safe at once"
    assert tail(lab).given_up == 0
    assert 0 < tail(lab).safe < tail(lab).acknowledged


async def test_a_commit_of_two_is_kept_until_it_is_safe(everysec: Lab) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    await lab.keeper.commit(pay, ada, bob)
    (first,) = tail(lab)
    await lab.advance(LONG_S)
    await lab.keeper.commit(pay, ada, bob)
    (second,) = tail(lab)
    assert second.order > first.order


async def test_nothing_is_asked_for_it_while_nothing_is_lost(everysec: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = everysec
    ada = await enter(lab.keeper)
    wire = tap(monkeypatch, lab.line())
    await ada.logout()
    assert (len(wire.batches), wire.keys_read) == (1, [])
    await enter(lab.keeper)
    assert len(wire.batches) == 2
    assert wire.keys_read.count("rover:1") == 1


def founds(keeper: Keeper, founder: Player) -> None:
    founder.gold -= 50
    keeper.tx.create(Guild, 7, Guild(gold=50, motto="new"))


def dissolves(keeper: Keeper, _: Player) -> None:
    keeper.tx.delete(Guild, 7)


async def test_a_record_that_others_deleted_and_made_again_is_not_taken_for_a_loss(
    everysec: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """Its revision never goes back, in whatever order it is made, left and deleted within a minute."""
    lab = everysec
    north = await lab.server("north")
    bob, ada = await enter(lab.keeper, 2), await enter(north, 1)
    await north.commit(partial(dissolves, north), ada)
    guild = await lab.finish(lab.keeper.hold(Guild, 7, create=lambda: Guild(motto="old")))
    await guild.release()
    lost = [Put(key, lab.store.value(key) or b"") for key in ("rover:2", "rover:2:updated")]
    await lab.keeper.commit(earn, bob)
    found = [int(lab.store.value("guild:7:updated") or b"0")]
    for change in (dissolves, founds, dissolves, founds):
        await north.commit(partial(change, north), ada)
        found.append(int(lab.store.value("guild:7:updated") or b"0"))
        await lab.advance(0.001)
    assert found == sorted(set(found))
    for effect in lost:
        lab.store.perform(effect)
    await hurt(lab, 2)
    assert kept(lab, 2).gold == 110
    stored = lab.stored(Guild, 7)
    assert stored is not None
    assert stored.motto == "new"
    assert "others had claimed" not in caplog.text


async def test_an_operation_of_a_lost_write_of_one_record_is_back_with_the_release_that_followed_it(
    everysec: Lab,
) -> None:
    lab = everysec
    ada = await enter(lab.keeper, 1)
    before = lab.store.snapshot()
    await lab.keeper.commit(earn, ada, ops=(Op(1),))
    await ada.logout()
    lab.store.restore(before)
    again = await lab.finish(enter(lab.keeper, 1))
    assert again.record.gold == 110
    assert (await lab.keeper.commit(earn, again, ops=(Op(1),))).repeated


async def test_what_was_written_again_late_is_kept_as_long_as_what_is_new(everysec: Lab) -> None:
    """An operator let the server wait: the store has it for a moment when the next beat asks what is safe."""
    lab = everysec
    before, bob = await trade_and_leave(lab)
    lab.store.restore(before)
    lab.store.perform(Put(SERVER_STORE_ID, b"a backup of somebody else's"))
    await hurt(lab, 2)
    await lab.advance(20)
    heal(lab.keeper)
    while kept(lab, 2).gold == 100:
        await lab.advance(0.1)
    lease = lab.store.value("server:lab-1:lease")
    while lab.store.value("server:lab-1:lease") == lease:
        await lab.advance(0.1)
    assert kept(lab, 1).gold == 90
    await (await enter(lab.keeper, 3)).logout()  # lets go of what is safe
    assert "rover:1" in released(lab)
    lab.store.restore(before)
    bob.record.hp = 100
    await hurt(lab, 2)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 110)


def test_a_store_with_a_longer_loss_window_is_watched_for_as_long() -> None:
    clock = FakeClock()
    loss_probe = LossProbe(clock, lambda: 11.0)
    loss_probe.add_sample("rover:1:updated", 7)
    assert loss_probe.check(loss_probe.take_samples(), [b"7"])
    assert loss_probe.safe_s == clock.monotonic_s() - 12.0
