"""The lab and its fixtures: what a game's own tests stand on."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keeping.game import Player, earn, enter, pay
from realmkeep.config import KeeperConfig
from realmkeep.errors import AlreadyOwned, CommitPending, Corrupt, NameTaken, TierViolation
from realmkeep.keeping import Hooks, Keeper, Op
from realmkeep.testing.lab import Lab


async def test_the_fixtures_are_one_lab_and_its_first_keeper(lab: Lab, keeper: Keeper) -> None:
    assert lab.keeper is keeper
    assert keeper.name == "lab-1"


async def test_no_dupe_in_ten_lines(lab: Lab) -> None:
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)
    lab.lose_next_reply()
    trade = asyncio.create_task(lab.keeper.commit(pay, ada, bob, ops=(Op(1), Op(1))))
    await asyncio.sleep(0)
    keeper = await lab.restart()
    ada, bob = await enter(keeper, 1), await enter(keeper, 2)
    await keeper.commit(pay, ada, bob, ops=(Op(1), Op(1)))
    stored = lab.stored(Player, 1), lab.stored(Player, 2)
    assert [player.gold for player in stored if player is not None] == [90, 110]
    trade.cancel()


async def test_a_crash_saves_nothing_and_the_store_keeps_what_was_durable(lab: Lab) -> None:
    ada = await enter(lab.keeper)
    await lab.keeper.commit(earn, ada)
    ada.record.xp = 50
    await lab.crash()
    await lab.advance(120)
    stored = lab.stored(Player, 1)
    assert stored is not None
    assert (stored.gold, stored.xp) == (110, 0)
    with pytest.raises(LookupError, match=r"'lab-1' of this lab is not running; restart\(\) it"):
        assert lab.keeper
    with pytest.raises(LookupError):
        await lab.crash()
    keeper = await lab.restart()
    assert lab.keeper is keeper


async def test_what_is_on_the_wire_at_a_crash_still_arrives(lab: Lab) -> None:
    ada = await enter(lab.keeper)
    seen: set[int] = set()
    for turns in range(8):
        keeper = await lab.restart()
        ada = await enter(keeper)
        gold = ada.record.gold
        commit = asyncio.create_task(keeper.commit(earn, ada))
        for _ in range(turns):
            await asyncio.sleep(0)
        await lab.crash()
        commit.cancel()
        stored = lab.stored(Player, 1)
        assert stored is not None
        seen.add(stored.gold - gold)
    assert seen == {0, 10}


async def test_lost_replies_and_requests(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    for disturb in (lab.lose_next_reply, lab.lose_next_request):
        disturb()
        before = ada.record.gold
        await lab.finish(keeper.commit(earn, ada))
        stored = lab.stored(Player, 1)
        assert stored is not None
        assert stored.gold == before + 10


async def test_stored_is_a_copy_none_or_an_error(lab: Lab, keeper: Keeper) -> None:
    assert lab.stored(Player, 1) is None
    await enter(keeper)
    copy = lab.stored(Player, 1)
    assert copy is not None
    copy.xp = 5
    again = lab.stored(Player, 1)
    assert again is not None
    assert again.xp == 0
    await lab.line().save("rover:1", b"{")
    with pytest.raises(Corrupt):
        lab.stored(Player, 1)


async def test_a_lab_has_as_many_servers_as_the_game_needs(lab: Lab, keeper: Keeper) -> None:
    other = await lab.server("zone-2")
    await enter(other)
    with pytest.raises(AlreadyOwned, match="zone-2"):
        await enter(keeper)
    with pytest.raises(NameTaken):
        await lab.server("zone-2")
    assert lab.keeper_of("zone-2") is other
    await lab.crash("zone-2")
    assert lab.keeper_of("zone-2") is None
    assert (await lab.restart("zone-2")).name == "zone-2"


async def test_hooks_and_settings_reach_every_server_also_after_a_restart() -> None:
    left: list[str] = []
    hooks = Hooks()
    hooks.on_disconnect(Player)(lambda session: left.append(session.server))
    async with Lab("town", strict=False, config=KeeperConfig(grace_s=5), hooks=hooks) as lab:
        bob = await enter(await lab.server("forest"), 2)
        await lab.restart()
        ada = await enter(lab.keeper)
        ada.record.gold = 1
        ada.disconnect()
        bob.disconnect()
        assert left == ["town", "forest"]
        await lab.advance(6)
        assert ada.ended


async def test_a_lab_is_strict_unless_told_otherwise(keeper: Keeper) -> None:
    ada = await enter(keeper)
    with pytest.raises(TierViolation):
        ada.record.gold = 1


def test_a_game_s_own_suite_gets_the_fixtures_by_naming_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["realmkeep.testing.plugin"]\n', encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n", encoding="utf-8")
    (tmp_path / "test_game.py").write_text(
        "import pytest\n"
        "from realmkeep import Record, durable\n\n"
        'class Hero(Record, kind="rover", version=1):\n'
        "    xp: int = durable(default=0)\n\n"
        "@pytest.mark.asyncio\n"
        "async def test_xp(lab, keeper):\n"
        "    hero = await keeper.login(Hero, 1, create=Hero)\n"
        "    hero.record.xp = 5\n"
        "    await lab.advance(30)\n"
        "    assert lab.stored(Hero, 1).xp == 5\n",
        encoding="utf-8",
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey", "-W", "error", str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout


async def test_more_commits_of_one_player_than_a_second_allows_come_back(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    began_s = lab.clock.monotonic_s()
    for _ in range(35):
        await keeper.commit(earn, ada)
    assert ada.record.gold == 450
    assert lab.clock.monotonic_s() - began_s == pytest.approx(2.5)


async def test_no_time_passes_while_anything_else_can_happen(lab: Lab, keeper: Keeper) -> None:
    began_s = lab.clock.monotonic_s()
    ada = await enter(keeper)
    await keeper.commit(earn, ada)
    await asyncio.sleep(0.01)
    await asyncio.to_thread(threading.Event().wait, 0.05)
    reader, writer = socket.socketpair()
    reader.settimeout(0)
    asyncio.get_running_loop().call_later(0.05, writer.send, b"x")
    assert await asyncio.get_running_loop().sock_recv(reader, 1) == b"x"
    reader.close()
    writer.close()
    await ada.logout()
    assert lab.clock.monotonic_s() == began_s


async def test_a_login_that_waits_for_a_lease_can_be_tried_again_without_turning_the_clock(lab: Lab) -> None:
    zone = await lab.server("zone-2")
    await enter(zone)
    await lab.crash("zone-2")
    while True:
        try:
            assert await enter(lab.keeper)
            break
        except AlreadyOwned as owned:
            await lab.clock.sleep(owned.wait_s or 1.0)
    assert lab.keeper.session(Player, 1)


async def test_what_is_settled_or_pending_comes_back_by_itself(lab: Lab, keeper: Keeper) -> None:
    ada = await enter(keeper)
    ada.record.xp = 7
    ada.record.hp = 0
    lab.lose_next_request()
    await ada.settled()
    stored = lab.stored(Player, 1)
    assert stored is not None
    assert stored.hp == 0
    lab.line().down = True
    with pytest.raises(CommitPending) as pending:
        await keeper.commit(earn, ada)
    lab.clock.call_later(20, lambda: setattr(lab.line(), "down", False))
    receipt = await pending.value.wait()
    assert repr(receipt) == "Receipt(result=110, repeated=False)"


def test_what_no_server_will_bring_about_ends_the_test_and_says_so() -> None:
    async def forgetful() -> None:
        async with Lab() as lab:
            ada = await enter(lab.keeper)
            lab.line().down = True
            with pytest.raises(CommitPending) as pending:
                await lab.keeper.commit(earn, ada)
            await pending.value.wait()

    with pytest.raises(RuntimeError, match=r"no server of this lab will bring about.*stays down.*forgetful"):
        asyncio.run(forgetful())


def test_a_loop_is_left_as_it_was_found() -> None:
    async def parts() -> tuple[object, object]:
        loop = asyncio.get_running_loop()
        before = vars(loop)["_selector"]
        async with Lab() as lab:
            assert vars(loop)["_selector"] is not before
            assert lab.keeper
        return before, vars(loop)["_selector"]

    before, after = asyncio.run(parts())
    assert before is after


async def test_labs_may_end_in_any_order(lab: Lab) -> None:
    first, second = Lab(), Lab()
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__()
    for realm in (second, lab):
        ada = await enter(realm.keeper)
        for _ in range(12):
            await realm.keeper.commit(earn, ada)
    await second.__aexit__()
