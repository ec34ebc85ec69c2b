"""A rescue file: what a shutdown could not deliver, and what becomes of it when it is restored."""

import asyncio
import json
import os
import stat
import zlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from keeping.game import Guild, Player, earn, enter, hooks_of, kept, patiently, pay
from realmkeep.config import KeeperConfig
from realmkeep.errors import Corrupt, StorageFull, StorageMisconfigured, StorageUnavailable, WrongType
from realmkeep.keeping import CloseReport, Keeper, LeftBehind, RescueReport, Session, restore_rescued
from realmkeep.keeping.recovery.rescue import LINES_AT_ONCE
from realmkeep.keeping.recovery.rescue_file import Line, Undelivered, Unsavable, decode_line, encode_line, read_lines
from realmkeep.storage import Guard, Put, Transaction
from realmkeep.testing.faulty import LOSE_REPLY, NONE, cut, delay, reject
from realmkeep.testing.lab import Lab, abandon

LEASE_S = KeeperConfig().lease_ttl_s


def founds(keeper: Keeper, founder: Player) -> None:
    """Half of the founder's gold becomes a guild's."""
    half = founder.gold // 2
    founder.gold -= half
    keeper.tx.create(Guild, 7, Guild(gold=half))


def sends(keeper: Keeper, sender: Player) -> None:
    """Ten gold, by letter, to player 3."""
    sender.gold -= 10
    keeper.tx.deliver(Player, 3, 10)


def opens(player: Player, letter: Any) -> None:
    player.gold += letter


def lines_of(path: Path) -> list[Line]:
    return [*read_lines(path)]


class Town:
    """A server that is shut down while its store is away, and what it leaves."""

    def __init__(self, lab: Lab, keeper: Keeper, rescue: Path) -> None:
        self.lab = lab
        self.keeper = keeper
        self.rescue = rescue

    async def enter(self, *numbers: int) -> list[Session[Player]]:
        return [await enter(self.keeper, number) for number in numbers]

    async def commit(self, fn: Callable[..., Any], *sessions: Session[Player]) -> None:
        """One that is queued, and whose caller does not wait."""
        self.keeper._engine.commits.run(fn, sessions, ())
        await self.lab.advance(0)

    async def shut_down(self) -> CloseReport:
        """Without its store; then the store is back."""
        report = await patiently(self.lab, self.keeper.close(deadline_s=1))
        self.away = False
        return report

    @property
    def away(self) -> bool:
        return self.lab.line().down

    @away.setter
    def away(self, down: bool) -> None:
        self.lab.line().down = down

    async def restore(self) -> RescueReport:
        return await restore_rescued(self.lab.line(), self.rescue)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with Lab() as lab:
        rescue = tmp_path / "rescue.jsonl"
        keeper = await open_town(lab, rescue)
        yield Town(lab, keeper, rescue)


async def open_town(lab: Lab, rescue: Path, **settings: Any) -> Keeper:
    keeper = await lab.finish(
        Keeper.open(lab.line(), config=KeeperConfig(name="town", **settings), clock=lab.clock, rescue_path=rescue)
    )
    hooks_of(keeper).on_letter(Player)(opens)
    return keeper


async def play(town: Town) -> list[Session[Player]]:
    """Players 1 and 2 trade, 2 founds a guild and writes to 3; 4 gains something that no commit carries. Nothing is stored."""
    one, two, three, four = await town.enter(1, 2, 3, 4)
    town.away = True
    await town.commit(pay, one, two)
    await town.commit(partial(founds, town.keeper), two)
    await town.commit(partial(sends, town.keeper), two)
    four.record.xp = 5
    return [one, two, three, four]


def everything(lab: Lab) -> dict[str, object]:
    """What the store holds, the lab's own server left out."""
    return {key: value for key, value in lab.store.snapshot()[0].items() if not key.startswith("server:")}


async def test_all_that_was_not_delivered_is_restored_and_only_once(town: Town) -> None:
    await play(town)
    report = await town.shut_down()
    assert set(report.rescued) == {"rover:1", "rover:2", "rover:3", "rover:4", "guild:7"}
    assert kept(town.lab, 1).gold == kept(town.lab, 2).gold == 100, "nothing of it was stored"
    restored = await town.restore()
    assert restored.clean
    assert set(restored.restored) == set(report.rescued)
    guild = town.lab.stored(Guild, 7)
    assert guild is not None
    assert (kept(town.lab, 1).gold, kept(town.lab, 2).gold, guild.gold) == (90, 110 - 55 - 10, 55)
    assert kept(town.lab, 4).xp == 5
    assert not [key for key in everything(town.lab) if key.endswith(":owner")], "everybody is free"

    held = everything(town.lab)
    again = await town.restore()
    assert (again.restored, set(again.already_there), again.clean) == ((), set(report.rescued), True)
    assert everything(town.lab) == held

    north = await town.lab.server("north")
    hooks_of(north).on_letter(Player)(opens)
    three = await enter(north, 3)
    await town.lab.advance(1)
    assert three.record.gold == 110, "the letter arrived, once"


async def test_a_trade_whose_one_half_was_claimed_is_left_whole_and_so_is_what_was_built_on_it(town: Town) -> None:
    await play(town)
    await town.shut_down()
    await town.lab.advance(LEASE_S)
    north = await town.lab.server("north")
    one = await enter(north, 1)
    report = await town.restore()
    assert set(report.restored) == {"rover:3", "rover:4"}
    assert not report.clean
    left = {each.record: each for each in report.left}
    assert left["rover:1"] == LeftBehind("rover:1", 1, "rover:1 is owned by north now")
    assert left["rover:2"] == LeftBehind("rover:2", 1, "rover:1 is owned by north now")
    assert left["guild:7"] == LeftBehind("guild:7", 2, "it was built on line 1, which is left")
    assert (one.record.gold, kept(town.lab, 2).gold, town.lab.stored(Guild, 7)) == (100, 100, None)
    assert town.lab.store.value("rover:2:owner") is not None, "its last state is still in the file alone"
    await one.logout()
    assert [each for each in (await town.restore()).left if each.record == "rover:1"] == [
        LeftBehind("rover:1", 1, "rover:1 was released since")
    ]


async def test_a_letter_that_cannot_be_sent_any_more_is_named(town: Town) -> None:
    (one,) = await town.enter(1)
    town.away = True
    await town.commit(partial(sends, town.keeper), one)
    await town.shut_down()
    await town.lab.advance(LEASE_S)
    await enter(await town.lab.server("north"), 1)
    (left,) = (await town.restore()).left
    assert left.why == "rover:1 is owned by north now; a letter to rover:3 is not sent"
    assert town.lab.store.snapshot()[0].get("rover:3:inbox") is None


async def test_a_new_incarnation_that_recovered_its_players_keeps_them_as_they_are(town: Town, tmp_path: Path) -> None:
    await play(town)
    await town.shut_down()
    anew = await open_town(town.lab, tmp_path / "other.jsonl")
    recovered = await anew.recover(Player)
    assert len(recovered) == 4
    await town.lab.advance(1)
    held = everything(town.lab)
    report = await town.restore()
    assert (report.restored, report.already_there) == ((), ())
    assert {each.why for each in report.left if each.record == "rover:1"} == {"rover:1 is owned by town now"}
    assert everything(town.lab) == held
    abandon(anew)


async def test_what_the_store_took_without_an_answer_is_there_and_the_rest_follows(town: Town) -> None:
    one, two = await town.enter(1, 2)
    town.lab.line().plan = lambda method: LOSE_REPLY if method == "write" else reject()
    await town.commit(pay, one, two)
    one.record.xp = 3
    report = await town.shut_down()
    assert set(report.rescued) == {"rover:1", "rover:2"}
    first, *_ = await asyncio.to_thread(lines_of, town.rescue)
    assert isinstance(first.rescued, Undelivered)
    assert first.rescued.why == "the store did not answer in time, so it may have it"
    assert (kept(town.lab, 1).gold, kept(town.lab, 1).xp) == (90, 0)
    town.lab.line().plan = lambda _: NONE
    assert (await town.restore()).restored == ("rover:1", "rover:2")
    assert (kept(town.lab, 1).gold, kept(town.lab, 1).xp, kept(town.lab, 2).gold) == (90, 3, 110)


async def test_what_the_store_took_wholly_without_an_answer_is_there(town: Town) -> None:
    one, two = await town.enter(1, 2)
    town.lab.line().plan = lambda method: LOSE_REPLY if method == "write" else reject()
    await town.commit(pay, one, two)
    await town.shut_down()
    (line, *_) = town.rescue.read_bytes().splitlines()
    town.rescue.write_bytes(line)  # without the releases that followed
    town.lab.line().plan = lambda _: NONE
    report = await town.restore()
    assert (report.restored, report.already_there, report.clean) == ((), ("rover:1", "rover:2"), True)


async def test_a_store_that_is_still_away_or_goes_away_meanwhile_loses_nothing(town: Town) -> None:
    await play(town)
    await town.shut_down()
    held = everything(town.lab)
    town.away = True
    with pytest.raises(StorageUnavailable):
        await town.restore()
    assert everything(town.lab) == held
    town.away = False
    town.lab.line().script("write", cut(reaches=1))
    with pytest.raises(StorageUnavailable, match=r"line 1: the store did not take it: .*restore the file again"):
        await town.restore()
    assert (kept(town.lab, 1).gold, kept(town.lab, 2).gold, town.lab.stored(Guild, 7)) == (90, 110, None)
    report = await town.restore()
    assert report.clean
    assert kept(town.lab, 2).gold == 45


async def test_a_write_that_was_under_way_at_the_end_may_be_there(town: Town) -> None:
    one, two = await town.enter(1, 2)
    town.lab.line().plan = lambda method: delay(0, 60) if method == "write" else NONE
    await town.commit(pay, one, two)
    await town.shut_down()
    town.lab.line().plan = lambda _: NONE
    whys = [line.rescued.why for line in await asyncio.to_thread(lines_of, town.rescue)]
    assert whys == ["the store did not answer in time, so it may have it"] * 3
    assert (await town.restore()).clean
    assert (kept(town.lab, 1).gold, kept(town.lab, 2).gold) == (90, 110)


async def test_a_store_without_room_is_no_reason_to_leave_anybody(town: Town) -> None:
    await play(town)
    await town.shut_down()
    town.lab.line().script("write", reject(StorageFull("the disk is full")))
    with pytest.raises(StorageUnavailable, match=r"line 1: the store did not take it: the disk is full"):
        await town.restore()
    assert (await town.restore()).clean


async def test_what_the_store_will_never_take_is_left_with_its_reason(town: Town) -> None:
    (one,) = await town.enter(1)
    one.record.xp = 1
    town.away = True
    await town.shut_down()
    town.lab.line().script("write", reject(WrongType("a list lies at rover:1")))
    assert (await town.restore()).left == (LeftBehind("rover:1", 1, "a list lies at rover:1"),)


async def test_a_long_file_is_checked_to_its_end_before_anything_happens(town: Town) -> None:
    await town.enter(*range(LINES_AT_ONCE + 1))
    town.away = True
    await town.shut_down()
    lines = town.rescue.read_bytes().splitlines(keepends=True)
    town.rescue.write_bytes(b"".join([*lines[:-1], b"{}"]))
    held = everything(town.lab)
    with pytest.raises(Corrupt, match=rf"line {LINES_AT_ONCE + 1}: "):
        await town.restore()
    assert everything(town.lab) == held
    town.rescue.write_bytes(b"".join(lines))
    assert len((await town.restore()).restored) == LINES_AT_ONCE + 1


async def test_an_owner_elsewhere_hears_of_a_restored_letter_at_once(town: Town) -> None:
    north = await town.lab.server("north")
    hooks_of(north).on_letter(Player)(opens)
    three = await enter(north, 3)
    (one,) = await town.enter(1)
    town.away = True
    await town.commit(partial(sends, town.keeper), one)
    await town.shut_down()
    assert (await town.restore()).clean
    await town.lab.advance(2)
    assert three.record.gold == 110


def sealed(line: bytes, **changes: Any) -> bytes:
    """The line with other contents, and a checksum that fits."""
    body = json.dumps({**json.loads(line)["line"], **changes}).encode()
    return b'{"format":1,"crc32":"%08x","line":%b}' % (zlib.crc32(body), body)


DAMAGE: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("half", lambda line: line[: len(line) // 2], "it cannot be read: JSON is malformed"),
    ("flipped", lambda line: line.replace(b'\\"gold\\":90', b'\\"gold\\":99'), "its checksum differs"),
    ("newer", lambda line: line.replace(b'"format":1', b'"format":2'), "it is of format 2, not 1"),
    ("foreign", lambda _: b'{"key":"rover:1","state":{}}', "it cannot be read: Object missing required field `format`"),
    ("empty", lambda _: b"", "it cannot be read: Input data was truncated"),
    ("unknown", lambda line: sealed(line, more=1), "it cannot be read: Object contains unknown field `more`"),
    ("key", lambda line: sealed(line, records=["rover"]), "it cannot be read: 'rover' is not a key of the schema"),
    (
        "guard",
        lambda line: sealed(line, guards=[["rover", "x"]]),
        "it cannot be read: 'rover' is not a key of the schema",
    ),
    ("nul", lambda line: sealed(line, effects=[["put", "a\0", "b"]]), "has a NUL"),
    ("large", lambda line: sealed(line, effects=[["put", "a", "b" * 600_000]]), "has 600,000 bytes"),
    ("count", lambda line: sealed(line, effects=[["drop_first", "a", 0]]), "0 entries cannot be dropped"),
]


@pytest.mark.parametrize(("damage", "said"), [each[1:] for each in DAMAGE], ids=[each[0] for each in DAMAGE])
async def test_a_damaged_line_is_named_and_nothing_happens(
    town: Town, damage: Callable[[bytes], bytes], said: str
) -> None:
    await play(town)
    await town.shut_down()
    lines = town.rescue.read_bytes().splitlines()
    town.rescue.write_bytes(b"\n".join([*lines[1:], damage(lines[0]), b""]))
    held = everything(town.lab)
    with pytest.raises(Corrupt) as caught:
        await town.restore()
    assert str(caught.value).startswith(f"{town.rescue}, line {len(lines)}: ")
    assert said in str(caught.value)
    assert everything(town.lab) == held


async def test_another_store_is_refused_before_anything_happens(town: Town) -> None:
    await play(town)
    await town.shut_down()
    async with Lab() as other:
        held = everything(other)
        with pytest.raises(StorageMisconfigured, match=r"line 1: it was meant for another store; nothing was changed"):
            await restore_rescued(other.line(), town.rescue)
        assert everything(other) == held


async def test_a_store_that_lost_data_since_is_not_overwritten(town: Town) -> None:
    (one,) = await town.enter(1)
    before = town.lab.store.snapshot()
    await town.keeper.commit(earn, one)
    town.away = True
    await town.commit(earn, one)
    await town.shut_down()
    town.lab.store.restore(before)
    (left,) = (await town.restore()).left
    assert left.why == "the store has lost what it acknowledged of rover:1"
    assert kept(town.lab, 1).gold == 100


async def test_a_record_that_exists_by_now_is_not_made_again(town: Town) -> None:
    (one,) = await town.enter(1)
    town.away = True
    await town.commit(partial(founds, town.keeper), one)
    await town.shut_down()
    north = await town.lab.server("north")
    guild = await north.hold(Guild, 7, create=lambda: Guild(gold=1))
    await guild.release()
    assert {(each.record, each.why) for each in (await town.restore()).left} == {
        ("rover:1", "guild:7 exists by now"),
        ("guild:7", "guild:7 exists by now"),
    }
    assert kept(town.lab, 1).gold == 100


async def test_a_full_queue_leaves_nobody_out(tmp_path: Path) -> None:
    async with Lab() as lab:
        town = Town(lab, await open_town(lab, tmp_path / "rescue.jsonl", queue_max=16), tmp_path / "rescue.jsonl")
        for session in await town.enter(*range(40)):
            session.record.xp = 1
        town.away = True
        report = await town.shut_down()
        assert len(report.rescued) == 40
        restored = await town.restore()
        assert (len(restored.restored), restored.clean) == (40, True)
        assert {kept(lab, number).xp for number in range(40)} == {1}


def dissolves(keeper: Keeper, founder: Player) -> None:
    """The guild's gold is its founder's again."""
    founder.gold += 10
    keeper.tx.delete(Guild, 7)


@pytest.mark.parametrize("changed", [False, True])
async def test_a_record_is_deleted_only_as_it_was_when_that_was_decided(town: Town, *, changed: bool) -> None:
    north = await town.lab.server("north")
    await (await north.hold(Guild, 7, create=lambda: Guild(gold=10))).release()
    await town.lab.advance(1)
    (one,) = await town.enter(1)
    town.away = True
    await town.commit(partial(dissolves, town.keeper), one)
    await town.shut_down()
    if changed:
        guild = await north.hold(Guild, 7, create=Guild)
        guild.record.motto = "not yet"
        await guild.release()
    report = await town.restore()
    assert report.clean is not changed
    assert kept(town.lab, 1).gold == (100 if changed else 110)
    kept_guild = town.lab.stored(Guild, 7)
    assert (kept_guild and kept_guild.motto) == ("not yet" if changed else None)
    assert {each.why for each in report.left} == ({"guild:7 went on since"} if changed else set())


@pytest.mark.parametrize("revision", [b"soon", b"", b"9" * 19, b"-1"])
async def test_a_record_whose_revision_is_no_number_is_not_deleted(town: Town, revision: bytes) -> None:
    north = await town.lab.server("north")
    await (await north.hold(Guild, 7, create=lambda: Guild(gold=10))).release()
    await town.lab.advance(1)
    (one,) = await town.enter(1)
    town.away = True
    await town.commit(partial(dissolves, town.keeper), one)
    await town.shut_down()
    await town.lab.line().write([Transaction((), (Put("guild:7:updated", revision),))])
    report = await town.restore()
    assert {each.why for each in report.left} == {"guild:7:updated is no revision"}
    assert town.lab.stored(Guild, 7) is not None
    assert kept(town.lab, 1).gold == 100


async def test_a_record_that_was_made_and_deleted_within_the_file_is_gone(town: Town) -> None:
    (one,) = await town.enter(1)
    town.away = True
    await town.commit(partial(founds, town.keeper), one)
    await town.commit(partial(dissolves, town.keeper), one)
    await town.shut_down()
    assert (await town.restore()).clean
    assert (kept(town.lab, 1).gold, town.lab.stored(Guild, 7)) == (60, None)
    assert (await town.restore()).clean


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("not even that")


async def test_a_record_that_nothing_can_encode_is_shown_and_keeps_nobody_else_out(town: Town) -> None:
    one, two, three = await town.enter(1, 2, 3)
    one.record.xp = 5
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(100_000):  # more than any Python follows
        deep = [deep]
    two.record.name, two.record.diary = "lone \ud800", "x" * 70_000
    two.record.inventory = endless
    two.record.xp = 10**5000
    three.record.bank = [cast("Any", Unshowable())]
    three.record.inventory = deep
    town.away = True
    report = await town.shut_down()
    assert set(report.rescued) == {"rover:1", "rover:2", "rover:3"}
    lines = [
        line.rescued for line in await asyncio.to_thread(lines_of, town.rescue) if isinstance(line.rescued, Unsavable)
    ]
    assert [line.record for line in lines] == ["rover:2", "rover:3"]
    state, other = [json.loads(bytes(line.state)) for line in lines]
    assert (state["gold"], state["name"], state["diary"]) == (100, "'lone \\ud800'", "x" * 70_000)
    assert (state["inventory"], state["xp"]) == ("[[...]]", "<int, whose repr raises ValueError>")
    assert other["bank"] == "<list, whose repr raises RuntimeError>"
    assert other["inventory"] == "<list, whose repr raises RecursionError>"
    restored = await town.restore()
    assert (restored.restored, restored.clean) == (("rover:1",), False)
    assert [(each.record, each.line) for each in restored.not_restorable] == [("rover:2", 2), ("rover:3", 3)]
    assert restored.not_restorable[0].why == lines[0].why
    assert kept(town.lab, 1).xp == 5


async def test_nobody_else_may_read_the_file(town: Town) -> None:
    await play(town)
    before = os.umask(0)
    try:
        await town.shut_down()
    finally:
        os.umask(before)
    assert stat.S_IMODE(town.rescue.stat().st_mode) == 0o600


async def test_a_lab_leaves_no_file_where_its_user_works(
    lab: Lab, keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (await enter(keeper)).record.xp = 1
    lab.line().down = True
    report = await lab.finish(keeper.close())
    assert (report.rescued, report.rescue_path) == (("rover:1",), Path(os.devnull))
    assert list(tmp_path.iterdir()) == []


async def test_a_shutdown_that_saved_everything_leaves_no_file(town: Town) -> None:
    await town.enter(1)
    assert (await patiently(town.lab, town.keeper.close())).clean
    assert not town.rescue.exists()


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    put = Put("rover:1", bytes(range(256)), expire_s=2.5)
    rescued = Undelivered(Transaction([Guard("rover:1:owner", b"\xff")], [put]), ("rover:1",), (), "", "")
    assert decode_line(encode_line(rescued)) == rescued
