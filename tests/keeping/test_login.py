"""Login: claim, load, mend or quarantine, session."""

import asyncio
from typing import Any

import msgspec
import pytest

from keeping.game import Player, enter, kept
from keeping.wire import tap
from realmkeep.config import KeeperConfig
from realmkeep.errors import AlreadyOwned, Quarantined, ShuttingDown
from realmkeep.keeping import Keeper
from realmkeep.records import CLAMP, IMMEDIATE, Record, durable, encode
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, Fault, duplicate, late, reject
from realmkeep.testing.lab import Lab


async def test_an_absent_player_is_none_and_leaves_no_trace(lab: Lab, keeper: Keeper) -> None:
    before = lab.store.live_keys()
    assert await keeper.login(Player, 1) is None
    assert lab.store.live_keys() == before


async def test_an_absent_player_is_created_and_durable_on_return(lab: Lab, keeper: Keeper) -> None:
    session = await keeper.login(Player, 1, create=lambda: Player(name="Ada", gold=7))
    assert session.connected
    assert kept(lab) == Player(name="Ada", gold=7)
    assert lab.store.value("rover:1:version") == b"1"
    assert lab.store.value("rover:1:owner") == session.claim


async def test_create_is_not_called_for_a_player_that_exists(lab: Lab, keeper: Keeper) -> None:
    await (await enter(keeper, gold=5)).logout()
    session = await keeper.login(Player, 1, create=lambda: pytest.fail("it exists"))
    assert session.record.gold == 5


async def test_ephemeral_fields_are_back_at_their_defaults(keeper: Keeper) -> None:
    session = await enter(keeper)
    session.record.target = 9
    await session.logout()
    assert (await enter(keeper)).record.target is None


async def test_a_second_login_is_refused_and_says_what_to_do(keeper: Keeper) -> None:
    await enter(keeper)
    with pytest.raises(AlreadyOwned, match=r"rover:1 has a session on this server.*disconnect\(\)") as caught:
        await enter(keeper)
    assert (caught.value.server, caught.value.wait_s) == (keeper.name, 0.0)


async def test_logins_at_the_same_moment_make_one_session(keeper: Keeper) -> None:
    answers = await asyncio.gather(*(enter(keeper) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers].count(AlreadyOwned) == 4
    assert len(keeper.sessions(Player)) == 1


async def test_a_login_while_the_player_is_leaving_waits_and_sees_the_last_change(lab: Lab, keeper: Keeper) -> None:
    session = await enter(keeper)
    session.record.xp = 12
    leaving = asyncio.create_task(session.logout())
    await asyncio.sleep(0)
    again = await lab.finish(enter(keeper))
    assert leaving.done()
    assert again is not session
    assert again.record.xp == 12


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (b"", "empty"),
        (b'{"version":1', "truncated"),
        (b'{"version":1,"gold":1,"crc":"00000000"}', "wrong checksum"),
        (b'{"version":1,"gold":1}', "no checksum"),
        (b"\x00\xff", "no text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_unreadable_player_is_quarantined_and_never_overwritten(lab: Lab, blob: bytes, why: str) -> None:
    storage = lab.line()
    await storage.save("rover:1", blob)
    for _ in range(2):
        with pytest.raises(Quarantined, match="rover:1 cannot be used") as caught:
            await enter(lab.keeper)
        assert lab.store.value(caught.value.kept_at) == blob
    assert lab.store.value("rover:1") == blob
    assert len([key for key in lab.store.live_keys() if key.startswith("corrupt:")]) == 1
    assert lab.store.value("rover:1:owner") is None


async def test_an_invalid_player_is_quarantined_with_its_report(lab: Lab) -> None:
    await (await enter(lab.keeper)).logout()
    cheat = Player()
    msgspec.structs.force_setattr(cheat, "gold", -1)
    await lab.line().save("rover:1", encode(cheat, "json"))
    with pytest.raises(Quarantined, match="gold"):
        await enter(lab.keeper)


async def test_quarantined_bytes_are_kept_for_a_week(lab: Lab) -> None:
    await lab.line().save("rover:1", b"{")
    with pytest.raises(Quarantined) as caught:
        await enter(lab.keeper)
    await lab.crash()
    await lab.advance(7 * 24 * 3600 - 1)
    assert lab.store.exists(caught.value.kept_at)
    await lab.advance(2)
    assert not lab.store.exists(caught.value.kept_at)


async def test_a_record_newer_than_the_code_is_quarantined(lab: Lab) -> None:
    class Later(Record, kind="rover", version=2):
        gold: int = durable(default=0, ge=0, tier=IMMEDIATE)

    await lab.line().save("rover:1", encode(Later(gold=3), "json"))
    with pytest.raises(Quarantined, match=r"version .*for a week; run the newer release"):
        await enter(lab.keeper)


async def test_a_record_that_was_mended_is_saved_at_once(lab: Lab) -> None:
    class Mage(Record, kind="mage", version=1):
        mana: int = durable(default=0, le=100, on_invalid=CLAMP)

    class Before(Record, kind="mage", version=1):
        mana: int = durable(default=0)

    await lab.line().save("mage:1", encode(Before(mana=500), "json"))
    session = await lab.keeper.login(Mage, 1)
    assert session is not None
    assert session.record.mana == 100
    await session.settled()
    stored = lab.stored(Mage, 1)
    assert stored is not None
    assert stored.mana == 100


async def test_a_migrated_record_is_saved_at_once_with_its_version(lab: Lab) -> None:
    class Old(Record, kind="scout", version=1):
        miles: int = durable(default=0)

    class Scout(Record, kind="scout", version=2):
        miles: int = durable(default=0)
        feet: int = durable(default=0)

    @Scout.migration(1)
    def _(scout: dict[str, Any]) -> dict[str, Any]:
        return {**scout, "feet": scout["miles"] * 5280}

    first = await lab.keeper.login(Old, 1, create=lambda: Old(miles=2))
    await first.logout()
    session = await lab.keeper.login(Scout, 1)
    assert session is not None
    await session.settled()
    assert lab.stored(Scout, 1) == Scout(miles=2, feet=2 * 5280)
    assert lab.store.value("scout:1:version") == b"2"


@pytest.mark.parametrize("fault", [LOSE_REPLY, LOSE_REQUEST, duplicate(2.0), late(2.0)])
@pytest.mark.parametrize("exists", [True, False])
async def test_a_claim_whose_answer_is_lost_is_resolved_by_looking(
    lab: Lab,
    keeper: Keeper,
    fault: Fault,
    exists: bool,
) -> None:
    if exists:
        await (await enter(keeper)).logout()
    lab.line().script("write", fault)
    session = await enter(keeper)
    await lab.advance(5)
    assert lab.store.value("rover:1:owner") == session.claim
    await session.logout()
    assert (await enter(await lab.server("lab-2"))).record.gold == 100


async def test_a_login_that_fails_leaves_the_way_free(lab: Lab, keeper: Keeper) -> None:
    lab.line().script("load_many", reject())
    with pytest.raises(Exception, match="loading"):
        await enter(keeper)
    assert (await enter(keeper)).connected


async def test_a_cancelled_login_can_be_tried_again_whenever_it_was_cancelled() -> None:
    turns = 0
    for turns in range(200):
        async with Lab() as lab:
            login = asyncio.create_task(enter(lab.keeper))
            for _ in range(turns):
                await asyncio.sleep(0)
            if login.done():
                break
            login.cancel()
            await lab.clock.settle()
            assert lab.keeper.sessions(Player) == []
            again = await lab.finish(enter(lab.keeper))
            assert again.connected
            assert again.record.gold == 100
    assert 3 < turns < 199


async def test_a_cancelled_login_leaves_the_player_free_for_another_server() -> None:
    turns = 0
    for turns in range(200):
        async with Lab() as lab:
            other = await lab.server("lab-2")
            login = asyncio.create_task(enter(lab.keeper))
            for _ in range(turns):
                await asyncio.sleep(0)
            if login.done():
                break
            login.cancel()
            await lab.clock.settle()
            assert (await enter(other)).connected
    assert 3 < turns < 199


async def test_logins_wait_while_the_queue_is_full() -> None:
    async with Lab(config=KeeperConfig(queue_max=16, tier1_rate_per_s=1000)) as lab:
        sessions = [await enter(lab.keeper, number) for number in range(16)]
        lab.line().down = True
        for session in sessions:
            session.record.level += 1
        await lab.clock.settle()
        login = asyncio.create_task(enter(lab.keeper, 99))
        await lab.advance(3)
        assert not login.done()
        lab.line().down = False
        assert (await lab.finish(login)).connected


async def test_nobody_logs_in_at_a_keeper_that_closes(keeper: Keeper) -> None:
    await keeper.close()
    with pytest.raises(ShuttingDown, match="connect to another server"):
        await enter(keeper)


async def test_no_record_is_read_from_the_store_during_play(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = lab.keeper
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    wire = tap(monkeypatch, lab.line())
    for second in range(90):
        ada.record.xp += 1
        bob.record.x += 1.0
        if second % 10 == 0:
            ada.record.level += 1
            await keeper.commit(lambda a, b: setattr(b, "gold", b.gold + a.level), ada, bob)
        await lab.advance(1)
    assert len(wire.transactions) > 10
    beside = [key for key in wire.keys_read if not key.startswith("server:")]
    assert all(key.endswith(":updated") for key in beside)
    assert len(beside) < 90, "each heartbeat asks whether the newest writes are still there"


async def test_a_version_of_any_length_beside_a_record_keeps_no_player_out(lab: Lab, keeper: Keeper) -> None:
    await (await enter(keeper, gold=5)).logout()
    await lab.line().save("rover:1:version", b"9" * 500_000)
    assert (await enter(keeper)).record.gold == 5
