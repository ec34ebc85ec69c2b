"""Escalation: a trigger writes at once; an IMMEDIATE field changed outside a commit is a violation."""

import logging
from collections.abc import Callable

import pytest

from keeping.game import Item, Player, earn, enter, inside, kept
from keeping.wire import tap
from realmkeep.errors import CommitPending, SessionEnded, SessionFrozen, TierViolation
from realmkeep.keeping import Keeper
from realmkeep.testing.faulty import delay
from realmkeep.testing.lab import Lab


async def test_a_death_is_written_at_once_and_settled_waits_for_it(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.hp = 0
    await ada.settled()
    assert kept(lab).hp == 0
    assert keeper.status().escalations == 1


async def test_a_level_up_is_written_at_once_and_a_loss_of_one_is_not(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.level = 2
    await ada.settled()
    assert kept(lab).level == 2
    ada.record.level = 1
    await ada.settled()
    assert kept(lab).level == 2


async def test_a_death_followed_by_a_respawn_in_one_tick_is_still_written(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    wire = tap(monkeypatch, lab.line())
    ada.record.hp = 0
    ada.record.diary = "died once"
    ada.record.hp = 100
    await lab.clock.settle()
    assert len(wire.writes_of("rover:1")) == 1
    assert (kept(lab).hp, kept(lab).diary) == (100, "died once")


async def test_an_escalation_waits_for_nobody_and_needs_nobody_to_wait(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.hp = 0
    await lab.clock.settle()
    assert kept(lab).hp == 0


async def test_an_escalation_carries_the_batched_changes_of_its_turn_along(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    wire = tap(monkeypatch, lab.line())
    ada.record.level += 1
    ada.record.xp = 300
    ada.record.level += 1
    await lab.advance(120)
    assert len(wire.writes_of("rover:1")) == 1
    assert (kept(lab).level, kept(lab).xp) == (3, 300)


async def test_a_trigger_inside_a_commit_needs_no_write_of_its_own(
    lab: Lab, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await enter(keeper)
    wire = tap(monkeypatch, lab.line())
    await keeper.commit(lambda player: setattr(player, "level", 2), ada)
    await lab.advance(120)
    assert len(wire.writes_of("rover:1")) == 1
    assert keeper.status().escalations == 0


async def test_settled_returns_at_once_where_nothing_waits(keeper: Keeper) -> None:
    ada = await enter(keeper)
    await ada.settled()
    ada.record.xp = 1  # batched: not for settled() to wait for
    await ada.settled()
    assert ada.dirty


async def test_settled_waits_for_commits_too(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().plan = lambda _: delay(0.5, 0.5)
    write, _ = inside(keeper).commits.run(earn, [ada], ())
    await lab.finish(ada.settled())
    assert write.landed
    assert kept(lab).gold == 110


async def test_settled_says_when_the_store_does_not_answer(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    lab.line().down = True
    ada.record.hp = 0
    with pytest.raises(CommitPending, match=r"5 s.*await wait\(\)") as caught:
        await lab.finish(ada.settled())
    lab.line().down = False
    await lab.finish(caught.value.wait())
    assert kept(lab).hp == 0


async def test_settled_of_a_record_that_cannot_be_saved_says_so(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.diary = "x" * 70_000
    ada.record.hp = 0
    with pytest.raises(SessionFrozen, match="rover:1 cannot be saved"):
        await ada.settled()


def assigns(player: Player) -> None:
    player.gold += 1


def touches(player: Player) -> None:
    player.touch("bank")


@pytest.mark.parametrize("change", [assigns, touches])
async def test_strict_an_immediate_field_outside_a_commit_is_refused_and_unchanged(
    lab: Lab, keeper: Keeper, change: Callable[[Player], None]
) -> None:
    ada = await enter(keeper)
    with pytest.raises(TierViolation, match=r"rover:1: \w+ is IMMEDIATE.*keeper\.commit"):
        change(ada.record)
    assert ada.record.gold == 100
    assert not ada.dirty


async def test_production_an_immediate_field_outside_a_commit_is_written_at_once_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Lab(strict=False) as lab:
        ada = await enter(lab.keeper)
        ada.record.gold += 1
        await ada.settled()
        assert kept(lab).gold == 101
        assert lab.keeper.status().tier_violations == 1
        (said,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert "rover:1: gold is IMMEDIATE" in said.message


async def test_production_a_list_of_immediate_tier_changed_in_place_is_found_by_the_sweep() -> None:
    async with Lab(strict=False) as lab:
        ada = await enter(lab.keeper)
        ada.record.bank.append(Item("ring"))
        await lab.advance(41)
        assert kept(lab).bank == [Item("ring")]
        assert lab.keeper.status().forgotten_marks == 1


async def test_immediate_fields_change_freely_inside_a_commit_and_in_a_new_record(lab: Lab, keeper: Keeper) -> None:
    def equips(player: Player) -> None:
        player.bank.append(Item("ring"))
        player.bank = [*player.bank, Item("rope")]
        player.touch("bank")

    ada = await keeper.login(Player, 1, create=lambda: Player(gold=5, bank=[Item("coin")]))
    await keeper.commit(equips, ada)
    assert kept(lab).bank == [Item("coin"), Item("ring"), Item("rope")]
    assert keeper.status().tier_violations == 0


@pytest.mark.parametrize("strict", [True, False])
async def test_a_change_after_the_end_raises_in_strict_and_is_counted_in_production(strict: bool) -> None:
    async with Lab(strict=strict) as lab:
        ada = await enter(lab.keeper)
        record = ada.record
        await ada.logout()
        before = kept(lab)
        if strict:
            with pytest.raises(SessionEnded, match=r"rover:1\.xp was changed after its session was ended.*drop"):
                record.xp += 1
        else:
            record.xp += 1
            record.hp = 0
        assert lab.keeper.status().changes_after_end == (1 if strict else 2)
        await lab.advance(60)
        assert kept(lab) == before


async def test_one_zombie_does_not_stop_the_tick_for_everyone() -> None:
    async with Lab(strict=False) as lab:
        sessions = [await enter(lab.keeper, number) for number in range(3)]
        await sessions[1].logout()
        for session in sessions:
            session.record.hp -= 10
        assert [session.record.hp for session in sessions] == [90, 90, 90]
        await lab.advance(31)
        assert [kept(lab, number).hp for number in range(3)] == [90, 100, 90]
