"""Point in time: an append-only file is cut at the end of a second, and never inside a transaction."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from operations.traders import CLOCK, GAME, Trader
from realmkeep import Keeper
from realmkeep.errors import BackupError, ConfigError, StorageMisconfigured
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.backup.moments import parse_second, show_duration, show_moment
from realmkeep.operations.backup.restoring import plan_restore, restore_backup
from realmkeep.storage import Append, Put, Transaction, open_storage
from realmkeep.storage.append_only import cut_after_second
from realmkeep.testing.servers import StoreServer

if TYPE_CHECKING:
    from realmkeep.operations.backup.manifest import Manifest


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


SET = command(b"SET", b"k", b"\r\n#TS:999\r\n")  # a player may be called so
MULTI, EXEC = command(b"MULTI"), command(b"EXEC")


@pytest.mark.parametrize(
    ("parts", "second", "kept", "goes_on"),
    [
        ((SET, b"#TS:10\r\n", SET, b"#TS:11\r\n", SET), 10, 3, True),
        ((SET, b"#TS:10\r\n", SET, b"#TS:11\r\n", SET), 9, 1, True),
        ((SET, b"#TS:10\r\n", SET, b"#TS:11\r\n", SET), 11, 5, False),
        ((SET, b"#TS:10\r\n", SET, b"#TS:15\r\n", SET), 12, 3, True),  # a second without a write
        ((b"#TS:10\r\n", MULTI, SET, EXEC, b"#TS:11\r\n", MULTI, SET, EXEC), 10, 4, True),
        ((b"#TS:10\r\n", MULTI, SET, b"#TS:11\r\n", SET, EXEC, SET), 10, 6, True),  # whole, and no more than that
        ((b"#TS:10\r\n", SET, MULTI, SET), 10, 2, False),  # copied while the store wrote it
        ((b"#TS:10\r\n", SET, SET[:-5]), 10, 2, False),
        ((), 10, 0, False),
    ],
)
def test_the_file_ends_with_the_second(
    tmp_path: Path, parts: tuple[bytes, ...], second: int, kept: int, goes_on: bool
) -> None:
    path = tmp_path / "appendonly.aof.1.incr.aof"
    path.write_bytes(b"".join(parts))
    path.chmod(0o600)
    assert cut_after_second(path, second) == goes_on
    assert path.read_bytes() == b"".join(parts[:kept])


def test_damage_before_the_second_is_named(tmp_path: Path) -> None:
    path = tmp_path / "appendonly.aof.1.incr.aof"
    path.write_bytes(SET + b"rubbish\r\n" + SET)
    path.chmod(0o600)
    with pytest.raises(StorageMisconfigured, match=f"is damaged at byte {len(SET)}"):
        cut_after_second(path, 10)
    assert path.stat().st_size == 2 * len(SET) + 9


@pytest.mark.backend("redis")
async def test_the_chosen_second_is_hit_exactly(pair: tuple[StoreServer, StoreServer], backups: Path) -> None:
    store, elsewhere = pair
    storage = open_storage(store.url)
    await storage.connect()
    last: dict[int, int] = {}  # the number of the last write that was made within each second, as the store counts it
    first_second = await second_of(store)
    number = 0
    while (second := await second_of(store)) <= first_second + 4:
        number += 1
        value = b"%d" % number
        await storage.write([Transaction((), (Put("trader:1:version", value), Append("trader:1:inbox", value)))])
        if await second_of(store) == second:
            last[second] = number
    await storage.disconnect()
    manifest = (await create_backup(store.url, backups, GAME, clock=CLOCK)).manifest
    assert manifest.log_to_s is not None
    chosen = manifest.log_to_s - 1
    assert first_second < chosen < first_second + 4

    plan = await plan_restore(backups, elsewhere.url, name=manifest.name, second=chosen, clock=CLOCK)
    report = await restore_backup(plan, GAME, identities=(), clock=CLOCK)
    assert report.as_of_us == (chosen + 1) * 1_000_000
    restored = int(cast("bytes", await asyncio.to_thread(elsewhere.ask, "GET", "trader:1:version")))
    letters = await asyncio.to_thread(elsewhere.ask, "LRANGE", "trader:1:inbox", 0, -1)
    assert letters == [b"%d" % each for each in range(1, restored + 1)]  # both halves of each transaction, none twice
    # A write between two looks at the clock belongs to either second.
    assert last[chosen] <= restored <= last[chosen] + 1
    assert restored < last[chosen + 1]


@pytest.mark.backend("redis")
async def test_each_backup_reaches_back_to_the_one_before(pair: tuple[StoreServer, StoreServer], backups: Path) -> None:
    store, elsewhere = pair
    storage = open_storage(store.url)
    await storage.connect()
    manifests: list[Manifest] = []
    number = 0
    for _ in range(3):
        begun = await second_of(store)
        while await second_of(store) < begun + 2:
            number += 1
            await storage.write([Transaction((), (Append("trader:1:inbox", b"%d" % number),))])
        manifests.append((await create_backup(store.url, backups, GAME, clock=CLOCK)).manifest)
    await storage.disconnect()
    _, second, third = manifests
    assert second.log_to_s is not None
    assert third.log_from_s is not None
    assert third.log_from_s - second.log_to_s in {
        1,
        2,
    }  # the next second, or the store made its snapshot in the one after
    await restore_backup(
        await plan_restore(backups, elsewhere.url, name=third.name, second=third.log_from_s, clock=CLOCK),
        GAME,
        identities=(),
        clock=CLOCK,
    )
    letters = cast("list[bytes]", await asyncio.to_thread(elsewhere.ask, "LRANGE", "trader:1:inbox", 0, -1))
    assert letters == [b"%d" % each for each in range(1, len(letters) + 1)]  # nothing twice, nothing left out
    assert 0 < len(letters) < number


async def second_of(store: StoreServer) -> int:
    return int(cast("list[bytes]", await asyncio.to_thread(store.ask, "TIME"))[0])


@pytest.mark.backend("redis")
async def test_a_second_outside_its_log_is_refused(pair: tuple[StoreServer, StoreServer], backups: Path) -> None:
    store, elsewhere = pair
    async with Keeper.open(store.url, rescue_path=Path("/dev/null")) as keeper:
        await keeper.login(Trader, 1, create=Trader)
    await asyncio.to_thread(store.ask, "CONFIG", "SET", "aof-timestamp-enabled", "no")
    manifest = (await create_backup(store.url, backups, GAME, clock=CLOCK)).manifest
    assert manifest.log_reason == "the store has aof-timestamp-enabled no: CONFIG SET aof-timestamp-enabled yes"
    for name in (None, manifest.name):
        with pytest.raises(BackupError, match="that reaches to that second"):
            await plan_restore(backups, elsewhere.url, name=name, second=0, clock=CLOCK)


@pytest.mark.parametrize(
    "text", ["2026-11-30T08:00:03Z", "2026-11-30 08:00:03", "2026-11-30T09:00:03+01:00", "1796025603"]
)
def test_a_moment_is_read_in_utc(text: str) -> None:
    assert show_moment(parse_second(text) * 1_000_000) == "2026-11-30 08:00:03 UTC"


@pytest.mark.parametrize("text", ["", "yesterday", "25:00", "9" * 13, "-1"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no moment"):
        parse_second(text)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (59.4, "59 s"), (130, "2 min 10 s"), (7200, "2 h"), (90_061, "1 d 1 h")]
)
def test_a_duration_has_its_two_largest_units(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown
