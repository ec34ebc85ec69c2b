"""Keys that somebody else wrote: the record concerned is reported, and everybody else is kept as before."""

import asyncio
import logging
from functools import partial

import pytest

from keeping.game import Player, earn, enter, hooks_of, kept, make, opens_letters, pay
from realmkeep.errors import Corrupt, RecordError
from realmkeep.keeping import Hooks, Keeper
from realmkeep.storage import Append, Committed, Delete, Effect, Put, Transaction
from realmkeep.testing.lab import Lab

COMPANIONS = ["", ":owner", ":updated", ":version", ":ops"]
CONTENTS: dict[str, bytes | None] = {
    "list": None,
    "garbage": b"\xff\xfe{",
    "empty": b"",
    "text": b'["\xff",1]',
    "deep": b'["a",' + b"[" * 60_000,
}


async def plant(lab: Lab, key: str, content: bytes | None) -> None:
    """What a hand at the store's console may leave there: a value, or a list."""
    effect: Effect = Append(key, b"x") if content is None else Put(key, content)
    assert await lab.line().write([Transaction((), (Delete(key), effect))]) == [Committed()]


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("companion", [*COMPANIONS, ":inbox"])
async def test_recovery_brings_everybody_else_back(lab: Lab, companion: str, content: str) -> None:
    for number in range(5):
        await enter(lab.keeper, number)
    await plant(lab, f"rover:2{companion}", CONTENTS[content])
    keeper = await lab.restart()
    sessions = await lab.finish(keeper.recover(Player))
    assert {"0", "1", "3", "4"} <= {session.id for session in sessions}
    harmless = {":version", ":inbox"} if content != "list" else {":inbox"}
    if companion not in harmless and not (companion == ":ops" and content == "empty"):
        assert "2" not in {session.id for session in sessions}
        assert companion == ":owner" or "rover:2" in " ".join(keeper.degraded)
    assert (await lab.finish(keeper.close())).released == len(sessions)


@pytest.mark.parametrize(
    "key", ["rover:a:b:owner", "rover::owner", "rover:" + "9" * 200 + ":owner", "rover:{x}:owner", "rover:2 :owner"]
)
async def test_a_foreign_key_that_looks_like_an_owner_s_is_left_alone(
    lab: Lab, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    await enter(lab.keeper)
    owner = lab.store.value("rover:1:owner")
    assert owner is not None
    for content in (None, b"x", owner, b"no such name/1/2"):
        await plant(lab, key, content)
        keeper = await lab.restart()
        assert [session.id for session in await lab.finish(keeper.recover(Player))] == ["1"]
    assert f"{key!r} is no key of Realmkeep" in caplog.text


async def test_a_record_whose_key_holds_something_else_is_refused_by_its_login_alone(lab: Lab, keeper: Keeper) -> None:
    await plant(lab, "rover:1:ops", None)
    await plant(lab, "rover:2:owner", None)
    for number in (1, 2):
        with pytest.raises(Corrupt, match=rf"rover:{number} cannot be used.*holds a list"):
            await lab.finish(enter(keeper, number))
    assert (await enter(keeper, 3)).connected


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("companion", COMPANIONS)
async def test_a_key_that_is_overwritten_while_its_record_lives_harms_nobody_else(
    lab: Lab, keeper: Keeper, companion: str, content: str
) -> None:
    """Nothing is acknowledged that is not there, and nothing is taken for a store that went back."""
    ada, bob, cid = [await enter(keeper, number) for number in (1, 2, 3)]
    await lab.advance(1)
    await plant(lab, f"rover:1{companion}", CONTENTS[content])
    await lab.advance(21)
    ada.record.xp = bob.record.xp = 7
    outcomes = await lab.finish(
        asyncio.gather(
            keeper.commit(earn, ada), keeper.commit(pay, ada, cid), keeper.commit(earn, bob), return_exceptions=True
        )
    )
    await lab.advance(31)
    assert (kept(lab, 2).gold, kept(lab, 2).xp) == (110, 7)
    assert kept(lab, 3).gold == 100 + 10 * (not isinstance(outcomes[1], Exception))
    if not isinstance(outcomes[0], Exception):
        assert kept(lab).gold >= 100
    assert keeper.degraded == () or all("rover:1" in reason for reason in keeper.degraded)
    assert not cid.ended
    report = await lab.finish(keeper.close(deadline_s=5))
    assert set(report.rescued) <= {"rover:1"}


async def test_a_letter_reaches_the_others_although_one_owner_cannot_be_read(lab: Lab, keeper: Keeper) -> None:
    opens_letters(hooks_of(keeper))
    north = await lab.server("north")
    opens_letters(hooks_of(north))
    ada, bob = await enter(keeper, 1), await enter(north, 2)
    await make(keeper, 3, 4)

    def send(_: Player) -> None:
        for number in (3, 4, 2):
            keeper.tx.deliver(Player, number, {"gold": 1})

    await plant(lab, "rover:3:owner", None)
    await plant(lab, "rover:4:owner", b"no such name/1/2")
    await keeper.commit(send, ada)
    await lab.advance(3)
    assert bob.record.gold == 101
    assert keeper.degraded == ()


async def test_a_lease_that_cannot_be_read_stops_those_who_need_it_alone(
    lab: Lab, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    await enter(keeper, 1)
    north = await lab.server("north")
    await lab.crash()
    await plant(lab, "server:lab-1:lease", None)
    with pytest.raises(RecordError, match="server:lab-1:lease does not hold a lease"):
        await lab.finish(enter(north, 1))
    assert (await lab.finish(enter(north, 2))).connected
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def pays_and_writes(keeper: Keeper, payer: Player, payee: Player) -> None:
    payer.gold -= 10
    payee.gold += 10
    for receiver in (2, 9):
        keeper.tx.deliver(Player, receiver, {"gold": 1})


async def lose_a_payment(lab: Lab) -> None:
    """Player 1 pays player 2 and writes to 2 and 9, and player 3 logs out; then the store has none of it."""
    ada, bob, cid = [await enter(lab.keeper, number) for number in (1, 2, 3)]
    await make(lab.keeper, 9)
    before = lab.store.snapshot()
    await lab.keeper.commit(partial(pays_and_writes, lab.keeper), ada, bob)
    await bob.open_letters()
    await cid.logout()
    lab.store.restore(before)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("key", [*(f"rover:2{each}" for each in (*COMPANIONS, ":inbox", ":kept")), "rover:9:inbox"])
async def test_what_a_crash_took_is_written_again_although_one_key_of_it_cannot_be(key: str, content: str) -> None:
    """Everybody else gets in, is served, and is released."""
    async with Lab(loss_window_s=1.0, hooks=opens_letters(Hooks())) as lab:
        await lab.advance(40)
        await lose_a_payment(lab)
        await plant(lab, key, CONTENTS[content])
        ada = lab.keeper.session(Player, 1)
        assert ada is not None
        ada.record.hp = 0
        await lab.advance(40)
        assert (kept(lab, 1).gold, kept(lab, 1).hp) == (90, 0)
        assert (await lab.finish(enter(lab.keeper, 3))).connected
        await lab.finish(lab.keeper.commit(earn, ada))
        report = await lab.finish(lab.keeper.close(deadline_s=5))
        assert report.released >= 2
        assert report.left in {(), ("rover:2",)}
        assert (lab.store.value("rover:1:owner"), kept(lab, 1).gold) == (None, 100)


@pytest.mark.parametrize("companion", ["", ":version", ":ops"])
async def test_a_key_that_kept_a_record_from_being_written_again_is_taken_away_and_all_is_well(companion: str) -> None:
    async with Lab(loss_window_s=1.0, hooks=opens_letters(Hooks())) as lab:
        await lab.advance(40)
        await lose_a_payment(lab)
        await plant(lab, f"rover:2{companion}", None)
        await lab.advance(20)
        assert "first rover:2" in " ".join(lab.keeper.degraded)
        await lab.line().write([Transaction((), (Delete(f"rover:2{companion}"),))])
        await lab.advance(40)
        assert (kept(lab, 1).gold, kept(lab, 2).gold) == (90, 111)
        assert lab.keeper.degraded == ()
        assert (await lab.finish(lab.keeper.close())).clean


async def test_a_record_that_cannot_be_saved_keeps_no_partner_from_being_written_again() -> None:
    async with Lab(loss_window_s=1.0, hooks=opens_letters(Hooks())) as lab:
        await lab.advance(40)
        await lose_a_payment(lab)
        bob = lab.keeper.session(Player, 2)
        assert bob is not None
        bob.record.name = "half a pair \ud800"
        await lab.advance(20)
        assert kept(lab, 1).gold == 90
        bob.record.name = "mended"
        await lab.advance(40)
        assert (kept(lab, 2).gold, kept(lab, 2).name) == (111, "mended")
        assert lab.keeper.degraded == ()
        await lab.finish(lab.keeper.commit(earn, bob))
