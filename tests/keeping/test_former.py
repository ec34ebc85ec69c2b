"""A server that is started again finds the rescue file of its former run, and delivers it before anybody is let in."""

import asyncio
import errno
import json
import os
import shutil
import zlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from keeping.game import Guild, Player, earn, enter, inside, kept, patiently, pay
from realmkeep.config import KeeperConfig
from realmkeep.errors import RescueNotDelivered
from realmkeep.keeping import CloseReport, Keeper
from realmkeep.keeping.recovery import former_rescues as former_module
from realmkeep.keeping.recovery.former_rescues import locked
from realmkeep.keeping.recovery.rescue_file import Undelivered, decode_line
from realmkeep.storage import Delete, Transaction
from realmkeep.testing.faulty import LOSE_REPLY, NONE, cut, reject
from realmkeep.testing.lab import Lab


def founds(keeper: Keeper, founder: Player) -> None:
    founder.gold -= 50
    keeper.tx.create(Guild, 7, Guild(gold=50))


def as_of_another_store(line: bytes) -> bytes:
    """A rescue line as a server of another store would have left it."""
    body = json.dumps({**json.loads(line)["line"], "store": "another"}).encode()
    return b'{"format":1,"crc32":"%08x","line":%b}\n' % (zlib.crc32(body), body)


class Town:
    """A server that is started again and again with one rescue file."""

    def __init__(self, lab: Lab, rescue: Path) -> None:
        self.lab = lab
        self.rescue = rescue

    async def opened(self, name: str = "town") -> Keeper:
        opening = Keeper.open(
            self.lab.line(), config=KeeperConfig(name=name), clock=self.lab.clock, rescue_path=self.rescue
        )
        return await opening  # files are read on threads, which the fake clock does not wait for

    async def shut_down_without_a_store(self, keeper: Keeper) -> CloseReport:
        """Players 1 and 2 trade, 2 founds a guild, 3 gains what no commit carries; none of it reaches the store."""
        one, two, three = [await enter(keeper, number) for number in (1, 2, 3)]
        self.lab.line().down = True
        keeper._engine.commits.run(pay, [one, two], ())
        keeper._engine.commits.run(partial(founds, keeper), [two], ())
        three.record.xp = 5
        report = await patiently(self.lab, keeper.close(deadline_s=1))
        self.lab.line().down = False
        assert report.rescue_path == self.rescue
        return report

    def aside(self) -> list[Path]:
        return sorted(self.rescue.parent.glob("rescue-*.delivered.jsonl"))

    def gold(self) -> list[int]:
        guild = self.lab.stored(Guild, 7)
        return [*(kept(self.lab, number).gold for number in (1, 2)), guild.gold if guild is not None else 0]


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with Lab() as lab:
        yield Town(lab, tmp_path / "rescue.jsonl")


DELIVERED = [90, 60, 50]


async def test_a_restart_delivers_it_before_anybody_is_let_in(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    report = await town.shut_down_without_a_store(await town.opened())
    assert not report.clean
    lines = town.rescue.read_bytes()
    keeper = await town.opened()
    assert town.gold() == DELIVERED
    assert (await enter(keeper, 3)).record.xp == 5
    assert await keeper.recover(Player) == []
    assert not town.rescue.exists()
    (aside,) = town.aside()
    assert aside.read_bytes() == lines
    assert aside.stat().st_mode & 0o077 == 0
    assert keeper.degraded == ()
    assert "4 restored, 0 already there, 0 left or damaged, 0 lines of another store" in caplog.text
    assert (await town.lab.finish(keeper.close())).clean


@pytest.mark.parametrize("writes", range(6))
@pytest.mark.parametrize("fault", [cut(reaches=1), cut(reaches=2, answered=1), LOSE_REPLY, reject()])
async def test_a_start_that_is_interrupted_lets_nobody_in_and_the_next_one_goes_on(
    town: Town, writes: int, fault: Any
) -> None:
    """Each line happens exactly once."""
    await town.shut_down_without_a_store(await town.opened())
    lines = town.rescue.read_bytes()
    town.lab.line().script("write", *[NONE] * writes, fault)
    (keeper,) = await asyncio.gather(town.opened(), return_exceptions=True)
    if isinstance(keeper, RescueNotDelivered):
        assert f"realmkeep store rescue {town.rescue}" in keeper.hint
        assert town.rescue.read_bytes() == lines
    if not isinstance(keeper, Keeper):  # interrupted there, or where it takes its name
        keeper = await town.opened()
    town.lab.line()._scripted["write"].clear()
    assert town.gold() == DELIVERED
    assert keeper.degraded == ()
    await keeper.commit(earn, await enter(keeper, 1))
    assert town.gold() == [100, 60, 50]
    assert not town.rescue.exists()


async def test_what_others_have_claimed_stays_in_the_file_and_in_sight(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    await town.shut_down_without_a_store(await town.opened())
    await town.lab.advance(31)
    north = await town.lab.server("north")
    one = await enter(north, 1)
    for _ in range(2):  # it is not forgotten at the second start either
        keeper = await town.opened()
        assert kept(town.lab, 3).xp == 5
        (said,) = keeper.degraded
        assert "records or lines of an earlier shutdown are not delivered, first rover:1 in line 1" in said
        assert f"realmkeep store rescue {town.rescue}" in said
        assert "rover:1 is not delivered: rover:1 is owned by north now" in caplog.text
        report = await town.lab.finish(keeper.close())
        assert not report.clean
        assert report.left[0].record == "rover:1"
        assert "rover:3" not in town.rescue.read_text()
    assert len(town.aside()) == 1
    keeper = await town.opened()
    town.rescue.rename(town.rescue.with_name("settled.jsonl"))
    assert keeper.degraded == ()
    assert (await town.lab.finish(keeper.close())).clean
    assert one.record.gold == 100


async def test_lines_of_another_store_are_left_to_it(town: Town) -> None:
    await town.shut_down_without_a_store(await town.opened())
    ours = town.rescue.read_bytes()
    foreign = as_of_another_store(ours.splitlines()[0])
    first, rest = ours.split(b"\n", 1)
    town.rescue.write_bytes(first + b"\n" + foreign + rest)
    keeper = await town.opened()
    assert town.gold() == DELIVERED
    assert town.rescue.read_bytes() == foreign
    assert town.aside()[0].read_bytes() == ours
    assert keeper.degraded == (f"{town.rescue} holds 1 lines of another store: move them away, or use that store",)
    assert (await town.lab.finish(keeper.close())).clean


async def test_a_line_of_another_store_changes_nothing_even_where_it_would_fit(town: Town) -> None:
    await town.shut_down_without_a_store(await town.opened())
    before = town.gold()
    foreign = b"".join(as_of_another_store(line) for line in town.rescue.read_bytes().splitlines())
    town.rescue.write_bytes(foreign)
    keeper = await town.opened()
    assert (town.gold(), town.rescue.read_bytes(), town.aside()) == (before, foreign, [])
    assert (await town.lab.finish(keeper.close())).clean


async def test_a_file_is_moved_only_when_its_lines_are_durable(town: Town) -> None:
    await town.shut_down_without_a_store(await town.opened())
    lines = town.rescue.read_bytes()
    town.lab.line().script("flush", reject())
    with pytest.raises(RescueNotDelivered):
        await town.opened()
    assert (town.rescue.read_bytes(), town.aside()) == (lines, [])


async def test_an_equal_revision_proves_nothing_of_a_session_without_a_release(town: Town) -> None:
    """Another server's clock gave the very microsecond: without a release in the file a free record is not ours."""
    await town.shut_down_without_a_store(await town.opened())
    trade, *_ = town.rescue.read_bytes().splitlines(keepends=True)
    town.rescue.write_bytes(trade)
    rescued = decode_line(trade)
    assert isinstance(rescued, Undelivered)
    equal = [effect for effect in rescued.transaction.effects if effect.key.endswith(":updated")]
    free = [Delete(f"rover:{number}:owner") for number in (1, 2)]
    await town.lab.line().write([Transaction((), (*equal, *free))])
    keeper = await town.opened()
    assert "rover:1 was released since" in keeper.degraded[0]
    assert (town.gold(), town.rescue.read_bytes()) == ([100, 100, 0], trade)
    assert not (await town.lab.finish(keeper.close())).clean


@pytest.mark.parametrize(
    "damage",
    [
        b'{"format":1,"crc',
        b"\xff\xfe\n",
        b"{}\n",
        b"\n",
        b'{"format":1,"crc32":"\xff0000000","line":{}}\n',
        b'{"format":1,"x":' + b"[" * 60_000 + b"\n",
    ],
    ids=["cut", "binary", "other", "empty", "text", "deep"],
)
async def test_a_damaged_line_keeps_no_other_out_and_stays_in_sight(town: Town, damage: bytes) -> None:
    await town.shut_down_without_a_store(await town.opened())
    ours = town.rescue.read_bytes()
    town.rescue.write_bytes(ours + damage)
    keeper = await town.opened()
    assert town.gold() == DELIVERED
    assert town.rescue.read_bytes() == damage
    assert (
        "? in line 6" in keeper.degraded[0] or "? in line 7" in keeper.degraded[0] or "? in line" in keeper.degraded[0]
    )
    assert not (await town.lab.finish(keeper.close())).clean


@pytest.mark.parametrize("wrong", ["format", "link", "of another user", "writable by others", "pipe"])
async def test_a_file_that_cannot_be_believed_or_read_stops_the_start(town: Town, wrong: str) -> None:
    await town.shut_down_without_a_store(await town.opened())
    lines = town.rescue.read_bytes()
    if wrong == "format":
        town.rescue.write_bytes(lines.replace(b'"format":1', b'"format":2'))
    elif wrong == "link":
        town.rescue.unlink()
        town.rescue.symlink_to("nowhere")
    elif wrong == "of another user":
        shutil.chown(town.rescue, 4711)
    elif wrong == "writable by others":
        town.rescue.chmod(0o666)
    else:
        town.rescue.unlink()
        os.mkfifo(town.rescue)
    with pytest.raises(RescueNotDelivered, match=r"nobody is let in before it is: `realmkeep store rescue "):
        await town.opened()
    assert town.gold() == [100, 100, 0]


async def test_a_directory_that_is_read_only_is_no_reason_to_stay_away(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    await town.shut_down_without_a_store(await town.opened())
    with monkeypatch.context() as patched:
        patched.setattr(former_module, "_move", read_only)
        keeper = await town.opened()
    assert town.gold() == DELIVERED
    assert keeper.degraded == (
        f"{town.rescue} was delivered, and cannot be moved away: [Errno 30] Read-only file system",
    )
    assert (await town.lab.finish(keeper.close())).clean
    keeper = await town.opened()
    assert (town.gold(), keeper.degraded, town.rescue.exists()) == (DELIVERED, (), False)


async def test_two_servers_of_one_directory_deliver_it_once(town: Town) -> None:
    await town.shut_down_without_a_store(await town.opened())
    south = await town.lab.server("south")
    await town.lab.finish(south.close())
    keepers = await asyncio.gather(town.opened(), town.opened("south"))
    assert town.gold() == DELIVERED
    assert [keeper.degraded for keeper in keepers] == [(), ()]
    assert len(town.aside()) == 1


async def test_a_file_that_is_being_written_is_waited_for(town: Town) -> None:
    await town.shut_down_without_a_store(await town.opened())
    async with locked(town.rescue.parent, town.lab.clock):
        waiting = asyncio.ensure_future(town.opened())
        while town.lab.clock.next_timer_s() != pytest.approx(0.05):
            await asyncio.sleep(0.001)
        assert town.gold() == [100, 100, 0]
    while not waiting.done():
        await town.lab.advance(0.05)
        await asyncio.sleep(0.001)
    assert inside(waiting.result()).former.left == ()
    assert town.gold() == DELIVERED


async def test_a_file_that_is_written_for_ever_stops_the_start_and_a_shutdown_uses_the_log(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    await town.shut_down_without_a_store(await town.opened())
    other = await town.lab.server("other")
    (await enter(other, 9)).record.xp = 3
    other._rescue_path = town.rescue
    async with locked(town.rescue.parent, town.lab.clock):
        opening = asyncio.ensure_future(town.opened())
        await _pass(town.lab, opening)
        assert isinstance(opening.exception(), RescueNotDelivered)
        town.lab.line("other").down = True
        closing = asyncio.ensure_future(other.close(deadline_s=1))
        await _pass(town.lab, closing)
    assert closing.result().rescue_path is None
    assert "rescue line: " in caplog.text


async def _pass(lab: Lab, task: "asyncio.Future[Any]") -> None:
    """Time passes until it is done; threads have their turns, however busy the machine is."""
    while not task.done():
        await lab.advance(0.05)
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("torn", [b'{"format":1,"crc32":"0', b"{", b"\n\n"])
async def test_a_line_that_a_kill_tore_spoils_none_that_a_later_shutdown_writes(town: Town, torn: bytes) -> None:
    town.rescue.write_bytes(torn)
    town.rescue.chmod(0o600)
    await town.shut_down_without_a_store(await town.opened())
    keeper = await town.opened()
    assert town.gold() == DELIVERED
    assert kept(town.lab, 3).xp == 5
    assert "line 1" in " ".join(keeper.degraded)
    assert town.rescue.read_bytes().strip() == torn.strip()
