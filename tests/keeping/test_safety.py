"""A store that fsyncs once a second dies, and not every server lives: what was lost is lost as a whole, and nothing is doubled."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

import pytest

from keeping.game import Guild, Player, enter, kept, opens_letters, pay
from realmkeep.keeping import Hooks, Keeper, Session
from realmkeep.keeping.live.op_ring import RING_LETTERS
from realmkeep.keeping.ownership.safe_point import SafePoint
from realmkeep.testing.lab import Lab

LONG_S = 40.0  # some heartbeats, and a lease


@pytest.fixture
async def everysec() -> AsyncGenerator[Lab]:
    """Two servers on a store that may lose its last second."""
    async with Lab(loss_window_s=1.0, hooks=opens_letters(Hooks())) as lab:
        await lab.server("lab-2")
        await lab.advance(LONG_S)
        yield lab


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: nobody waits until what was read is safe."""

    async def at_once(self: SafePoint, run: str) -> bool:
        return True

    monkeypatch.setattr(SafePoint, "reached", at_once)


def other(lab: Lab) -> Keeper:
    keeper = lab.keeper_of("lab-2")
    assert keeper is not None
    return keeper


def sends(keeper: Keeper, sender: Player, *, to: int = 2, letters: int = 1) -> None:
    for _ in range(letters):
        sender.gold -= 1
        keeper.tx.deliver(Player, to, {"gold": 1})


def all_gold(lab: Lab, *numbers: int) -> int:
    """In records and in letters, as the store has it."""
    return sum(kept(lab, number).gold + len(lab.store.entries(f"rover:{number}:inbox")) for number in numbers)


async def letter_of_a_server_that_dies(lab: Lab) -> None:
    """Ada sends from one server to Bob on the other; the store and Ada's server die before that is safe."""
    ada, bob = await enter(lab.keeper, 1), await enter(other(lab), 2)
    await lab.advance(LONG_S)
    before = lab.store.snapshot()
    await lab.keeper.commit(partial(sends, lab.keeper), ada)
    await lab.advance(1.5)  # the notice has arrived
    lab.store.restore(before)
    await lab.crash("lab-1")
    bob.record.hp = 0
    await lab.advance(LONG_S)


async def test_a_letter_is_lost_with_its_sending_if_the_server_of_its_sender_dies_with_the_store(everysec: Lab) -> None:
    await letter_of_a_server_that_dies(everysec)
    assert (kept(everysec, 1).gold, kept(everysec, 2).gold, all_gold(everysec, 1, 2)) == (100, 100, 200)


@pytest.mark.usefixtures("hasty")
async def test_control_a_letter_that_is_opened_before_it_is_safe_is_doubled(everysec: Lab) -> None:
    await letter_of_a_server_that_dies(everysec)
    assert all_gold(everysec, 1, 2) == 201


async def partner_moves_and_the_first_server_dies(lab: Lab) -> None:
    """Ada pays Bob, who goes on to the other server; the store and the first server die before the payment is safe."""
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    await lab.advance(LONG_S)
    before = lab.store.snapshot()
    await lab.keeper.commit(pay, ada, bob)
    await bob.logout()
    entry = asyncio.ensure_future(enter(other(lab), 2))
    await lab.advance(0.5)
    lab.store.restore(before)
    await lab.crash("lab-1")
    bob = await lab.finish(entry)
    bob.record.hp = 0
    await lab.advance(LONG_S)


async def test_who_changes_servers_brings_along_only_what_is_safe(everysec: Lab) -> None:
    await partner_moves_and_the_first_server_dies(everysec)
    assert (kept(everysec, 1).gold, kept(everysec, 2).gold) == (100, 100)


@pytest.mark.usefixtures("hasty")
async def test_control_who_is_let_in_before_that_is_safe_keeps_what_the_other_never_paid(everysec: Lab) -> None:
    await partner_moves_and_the_first_server_dies(everysec)
    assert (kept(everysec, 1).gold, kept(everysec, 2).gold) == (100, 110)


async def founder_dies(lab: Lab) -> None:
    """Ada founds a guild with her gold, the other server holds it; the store and Ada's server die before that is safe."""
    ada = await enter(lab.keeper, 1)
    await lab.advance(LONG_S)
    before = lab.store.snapshot()

    def found(founder: Player) -> None:
        founder.gold -= 50
        lab.keeper.tx.create(Guild, 7, Guild(gold=50))

    await lab.keeper.commit(found, ada)
    holding = asyncio.ensure_future(other(lab).hold(Guild, 7))
    await lab.advance(0.5)
    lab.store.restore(before)
    await lab.crash("lab-1")
    guild = await lab.finish(holding)
    if guild is not None:
        guild.record.motto = "on"
    await lab.advance(LONG_S)


async def test_a_record_that_was_made_is_lost_with_its_maker(everysec: Lab) -> None:
    await founder_dies(everysec)
    assert (kept(everysec, 1).gold, everysec.stored(Guild, 7)) == (100, None)


@pytest.mark.usefixtures("hasty")
async def test_control_a_record_that_is_held_before_it_is_safe_is_doubled(everysec: Lab) -> None:
    await founder_dies(everysec)
    guild = everysec.stored(Guild, 7)
    assert guild is not None
    assert kept(everysec, 1).gold + guild.gold == 150


async def test_a_server_that_was_started_again_takes_back_only_what_is_safe(everysec: Lab) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    await lab.advance(LONG_S)
    before = lab.store.snapshot()
    await lab.keeper.commit(pay, ada, bob)
    await lab.advance(0.3)
    keeper = await lab.restart("lab-1")
    entry = asyncio.ensure_future(enter(keeper, 2))
    await lab.advance(0.5)
    lab.store.restore(before)
    bob = await lab.finish(entry)
    bob.record.hp = 0
    await lab.advance(LONG_S)
    assert (kept(lab, 1).gold, kept(lab, 2).gold) == (100, 100)


async def test_who_comes_back_to_the_same_server_does_not_wait(everysec: Lab) -> None:
    bob = await enter(everysec.keeper, 2)
    await bob.logout()
    assert (await enter(everysec.keeper, 2)).connected


async def many_letters_opened(lab: Lab, letters: int) -> Session[Player]:
    """Bob opens many letters in what the store then loses; both servers live."""
    ada, bob = await enter(other(lab), 1, gold=1000), await enter(lab.keeper, 2)
    await other(lab).commit(lambda player: sends(other(lab), player, letters=letters), ada)
    before = lab.store.snapshot()
    await lab.finish(bob.open_letters())
    assert bob.record.gold == 100 + letters
    lab.store.restore(before)
    return bob


@pytest.mark.parametrize("letters", [RING_LETTERS, 4 * RING_LETTERS])
async def test_letters_that_come_back_are_not_opened_again_however_many(everysec: Lab, letters: int) -> None:
    lab = everysec
    bob = await many_letters_opened(lab, letters)
    bob.record.hp = 0
    await lab.advance(LONG_S)
    assert (bob.record.gold, kept(lab, 2).gold) == (100 + letters, 100 + letters)
    assert all_gold(lab, 1, 2) == 1100


async def test_they_are_not_opened_again_either_by_the_server_where_their_receiver_is_next(everysec: Lab) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1, gold=1000), await enter(lab.keeper, 2)
    await lab.keeper.commit(lambda player: sends(lab.keeper, player, letters=100), ada)
    before = lab.store.snapshot()
    await lab.finish(bob.open_letters())
    await bob.logout()
    lab.store.restore(before)
    bob = await lab.finish(enter(other(lab), 2))
    await lab.finish(bob.open_letters())
    await lab.advance(LONG_S)
    assert (bob.record.gold, kept(lab, 1).gold) == (200, 900)


async def test_they_are_not_opened_again_after_logging_in_again_on_the_same_server(everysec: Lab) -> None:
    lab = everysec
    bob = await many_letters_opened(lab, 100)
    lab.line().down = True  # what follows happens before this server has looked
    lab.line().down = False
    await lab.finish(bob.logout())
    bob = await lab.finish(enter(lab.keeper, 2))
    await lab.finish(bob.open_letters())
    await lab.advance(LONG_S)
    assert bob.record.gold == 200
    assert all_gold(lab, 1, 2) == 1100


async def test_what_a_ring_remembers_shrinks_to_what_is_stored_once_it_is_safe(everysec: Lab) -> None:
    lab = everysec
    ada, bob = await enter(lab.keeper, 1, gold=1000), await enter(lab.keeper, 2)
    for _ in range(2):
        await lab.keeper.commit(lambda player: sends(lab.keeper, player, letters=100), ada)
        await lab.finish(bob.open_letters())
        await lab.advance(LONG_S)
    assert bob.record.gold == 300
    await lab.keeper.commit(partial(sends, lab.keeper), ada)
    await lab.finish(bob.open_letters())
    assert bob.ring.size_bytes < 256 * (RING_LETTERS + 101) + 100
    assert len(bob.ring.encode()) < 24 * (RING_LETTERS + 3)
