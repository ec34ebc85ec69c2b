"""A store that refuses: nothing was changed, the error says why, and it works again when the reason is gone."""

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from realmkeep.errors import (
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
    WrongType,
)
from realmkeep.storage import (
    Append,
    Committed,
    Failed,
    Guard,
    Put,
    Refused,
    Storage,
    Transaction,
    Unknown,
    open_storage,
)
from realmkeep.storage.redis import RedisStorage
from realmkeep.storage.redis_connection import RedisConnection
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")

LARGE = b"x" * 400_000


def put(key: str, value: bytes = b"1") -> Transaction:
    return Transaction((), (Put(key, value),))


async def connected(server: StoreServer) -> Storage:
    storage = open_storage(server.url)
    await storage.connect()
    return storage


async def ask(server: StoreServer, *command: str | int) -> object:
    return await asyncio.to_thread(server.ask, *command)


def failure(outcome: object, kind: type[StorageError]) -> StorageError:
    assert isinstance(outcome, Failed), outcome
    assert type(outcome.error) is kind
    assert outcome.error.outcome == "not_applied"
    return outcome.error


@pytest.mark.parametrize(
    ("setting", "value", "usual", "kind"),
    [
        ("min-replicas-to-write", "1", "0", StorageUnavailable),
        ("maxmemory", "1", "0", StorageFull),
    ],
)
async def test_a_refusing_store_changes_nothing_and_takes_writes_again(
    server: StoreServer, setting: str, value: str, usual: str, kind: type[StorageError]
) -> None:
    storage = await connected(server)
    await ask(server, "CONFIG", "SET", setting, value)
    for outcome in await storage.write([put("a"), put("b")]):
        assert failure(outcome, kind).retryable
    with pytest.raises(kind):
        await storage.increment("a")
    with pytest.raises(kind):
        await storage.save("a", b"1")
    await ask(server, "CONFIG", "SET", setting, usual)  # a new connection reads nothing before it may write
    assert await storage.load_many(["a", "b"]) == [None, None]
    assert await storage.write([put("a")]) == [Committed()]
    await storage.disconnect()


async def test_a_full_store_still_frees_what_is_deleted(server: StoreServer) -> None:
    storage = await connected(server)
    await storage.write([put("a", LARGE)])
    await ask(server, "CONFIG", "SET", "maxmemory", 1)
    assert await storage.delete("a")
    await storage.disconnect()


async def test_a_replica_refuses_until_it_is_promoted(server: StoreServer) -> None:
    storage = await connected(server)
    await ask(server, "REPLICAOF", "127.0.0.1", 1)
    (outcome,) = await storage.write([put("a")])
    failure(outcome, StorageUnavailable)
    second = open_storage(server.url)
    with pytest.raises(StorageUnavailable, match="replica"):
        await second.connect()
    await ask(server, "REPLICAOF", "NO", "ONE")
    assert await storage.write([put("a")]) == [Committed()]
    await storage.disconnect()


async def test_a_busy_script_of_another_client_delays_but_tears_nothing(server: StoreServer) -> None:
    storage = await connected(server)
    await ask(server, "CONFIG", "SET", "busy-reply-threshold", 1)
    endless = asyncio.create_task(asyncio.to_thread(server.ask, "EVAL", "while true do end", 0))
    async with asyncio.timeout(10):
        while "BUSY" not in repr(await ask(server, "GET", "a")):
            await asyncio.sleep(0.005)
    (outcome,) = await storage.write([put("a")])
    assert "SCRIPT KILL" in failure(outcome, StorageUnavailable).hint
    await ask(server, "SCRIPT", "KILL")
    await endless
    assert await storage.load("a") is None
    assert await storage.write([put("a")]) == [Committed()]
    await storage.disconnect()


async def test_scripts_that_were_forgotten_are_taught_again_and_the_order_is_kept(server: StoreServer) -> None:
    storage = await connected(server)
    expected: list[bytes] = []
    for number in range(20):
        await ask(server, "SCRIPT", "FLUSH")
        entries = [b"%d.%d" % (number, n) for n in range(300)]  # several chunks in flight
        batch = [Transaction((), (Append("log", entry),)) for entry in entries]
        halves = await asyncio.gather(storage.write(batch[:100]), storage.write(batch[100:]))
        assert [outcome for half in halves for outcome in half] == [Committed()] * 300
        expected += entries
    assert await storage.load_list("log") == expected
    await storage.disconnect()


async def test_loading_is_waited_for_while_connecting(tmp_path: Path, new_server: Callable[..., StoreServer]) -> None:
    server = await asyncio.to_thread(
        new_server, tmp_path, extra="key-load-delay 2000\nloading-process-events-interval-bytes 1024\n"
    )
    storage = await connected(server)
    await storage.write([put(f"key:{n}") for n in range(500)])
    await storage.disconnect()
    await ask(server, "BGREWRITEAOF")  # so that it loads key by key
    async with asyncio.timeout(10):
        while "aof_base_size:0" in (info := str(await ask(server, "INFO"))) or "aof_rewrite_in_progress:1" in info:
            await asyncio.sleep(0.005)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start, wait=False)  # a second of loading: 500 keys of 2 ms each
    async with asyncio.timeout(10):
        while "LOADING" not in repr(reply := await until_answer(server)):
            assert reply != b"PONG", "it never was loading"
    storage = await connected(server)
    assert await storage.load("key:499") == b"1"
    await storage.disconnect()


async def until_answer(server: StoreServer) -> object:
    while True:
        try:
            return await ask(server, "PING")
        except OSError:
            await asyncio.sleep(0.002)


async def fill(storage: Storage) -> tuple[list[str], object]:
    """Write until it is refused: what was committed, and the refusal."""
    committed: list[str] = []
    for number in range(100):
        (outcome,) = await storage.write([put(f"large:{number}", LARGE)])
        if not isinstance(outcome, Committed):
            return committed, outcome
        committed.append(f"large:{number}")
    raise AssertionError("40 MB fitted on the disk")


@pytest.fixture
def small_disk(tmp_path: Path, mount: Callable[..., Path]) -> Path:
    return mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", at=tmp_path / "disk")


@pytest.mark.needs("mount")
async def test_a_full_disk_loses_nothing_that_was_committed(
    small_disk: Path, new_server: Callable[..., StoreServer]
) -> None:
    server = await asyncio.to_thread(new_server, small_disk, extra='save ""\n')
    storage = await connected(server)
    committed, outcome = await fill(storage)
    assert isinstance(outcome, (Unknown, Failed))  # with `always` the store ends itself rather than answer wrongly
    await storage.disconnect()
    await asyncio.to_thread(server.stop)
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    await asyncio.to_thread(server.start)
    storage = await connected(server)
    assert committed
    assert await storage.load_many(committed) == [LARGE] * len(committed)
    assert await storage.write([put("after")]) == [Committed()]
    await storage.disconnect()


async def read_when_there_is_room(storage: Storage, keys: list[str]) -> list[bytes | None]:
    """The store notices within a second; until then it refuses also the write with which a connection begins."""
    async with asyncio.timeout(60):
        while True:
            with suppress(StorageFull):
                return await storage.load_many(keys)
            await asyncio.sleep(0.01)


@pytest.mark.needs("mount")
async def test_a_full_disk_is_a_refusal_to_everysec_and_flush_says_so(
    small_disk: Path, new_server: Callable[..., StoreServer]
) -> None:
    server = await asyncio.to_thread(new_server, small_disk, fsync="everysec", extra='save ""\n')
    storage = await connected(server)
    committed, outcome = await fill(storage)
    failure(outcome, StorageFull)
    with pytest.raises(StorageFull):
        await storage.flush()
    assert committed
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert await read_when_there_is_room(storage, committed) == [LARGE] * len(committed)
    await storage.disconnect()


@pytest.mark.parametrize("value", [b"1", LARGE], ids=["short", "long"])  # the script looks at them in different ways
async def test_a_foreign_type_under_our_key_is_never_overwritten(server: StoreServer, value: bytes) -> None:
    storage = await connected(server)
    await ask(server, "HSET", "player:7", "field", "1")
    (outcome,) = await storage.write([Transaction((), (Put("player:8", b"1"), Put("player:7", value)))])
    assert "'player:7'" in failure(outcome, WrongType).message
    (outcome,) = await storage.write([Transaction((Guard("player:7", None),), (Put("player:8", b"1"),))])
    failure(outcome, WrongType)
    for call in (storage.load("player:7"), storage.save("player:7", b"1"), storage.increment("player:7")):
        with pytest.raises(WrongType, match="'player:7'"):
            await call
    assert await ask(server, "HGETALL", "player:7") == [b"field", b"1"]
    assert await storage.load("player:8") is None
    await storage.disconnect()


async def test_passwords_and_permissions(server: StoreServer) -> None:
    path = server.socket_path
    await ask(server, "ACL", "SETUSER", "keeper", "on", ">s3cr3t!", "~*", "+@all")
    await ask(server, "ACL", "SETUSER", "reader", "on", ">s3cr3t!", "~*", "+@read", "+@connection", "+info")
    await ask(server, "ACL", "SETUSER", "hosted", "on", ">s3cr3t!", "~*", "+@all", "-config")
    await ask(server, "ACL", "SETUSER", "default", "off")
    good = open_storage(f"redis+unix://keeper:s3cr3t%21@{path}?db=3")
    await good.connect()
    assert await good.write([put("a")]) == [Committed()]
    await good.disconnect()
    hosted = open_storage(f"redis+unix://hosted:s3cr3t%21@{path}")
    await hosted.connect()
    assert hosted.capability.fsync == "unknown"
    assert not hosted.capability.durable_on_return
    assert any("CONFIG" in warning for warning in hosted.capability.warnings)
    assert await hosted.load("a") is None  # another database
    await hosted.disconnect()
    for user_and_password in ("keeper:wr0ng!@", "", "reader:s3cr3t%21@"):
        storage = open_storage(f"redis+unix://{user_and_password}{path}")
        with pytest.raises(StorageMisconfigured) as caught:
            await storage.connect()
        said = f"{caught.value} {caught.value!r} {caught.value.__cause__} {storage!r}"
        assert "s3cr3t" not in said
        assert "wr0ng" not in said


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"no-appendfsync-on-rewrite": "yes"}, "no-appendfsync-on-rewrite"),
        ({"maxmemory-policy": "allkeys-lru"}, "noeviction"),
    ],
)
async def test_a_configuration_that_breaks_the_promise_is_refused(
    server: StoreServer, settings: dict[str, str], complaint: str
) -> None:
    for name, value in settings.items():
        await ask(server, "CONFIG", "SET", name, value)
    with pytest.raises(StorageMisconfigured, match=complaint):
        await open_storage(server.url).connect()


@pytest.mark.parametrize(
    ("settings", "fsync", "durable", "loss_window_s"),
    [
        ({}, "always", True, 0.0),
        ({"appendfsync": "everysec"}, "everysec", False, 2.0),
        ({"appendfsync": "no"}, "no", False, None),
        ({"appendonly": "no"}, "off", False, None),
    ],
)
async def test_capability_is_read_from_the_live_server(
    server: StoreServer, settings: dict[str, str], fsync: str, durable: bool, loss_window_s: float | None
) -> None:
    for name, value in settings.items():
        await ask(server, "CONFIG", "SET", name, value)
    storage = await connected(server)
    capability = storage.capability
    assert capability.engine.startswith("valkey 9.")
    assert (capability.fsync, capability.survives_power_loss, capability.loss_window_s) == (
        fsync,
        durable,
        loss_window_s,
    )
    assert bool(capability.warnings) != durable
    await storage.disconnect()


async def test_flush_of_an_everysec_store_waits_for_an_fsync(
    tmp_path: Path, new_server: Callable[..., StoreServer]
) -> None:
    server = await asyncio.to_thread(new_server, tmp_path, fsync="everysec")
    storage = await connected(server)
    await storage.write([put("a", LARGE)])
    before = await fsynced_bytes(server)
    await storage.flush()
    assert await fsynced_bytes(server) >= before + len(LARGE) or before >= len(LARGE)
    await storage.disconnect()


async def test_flushes_that_wait_together_share_one_and_follow_what_each_had_written(
    tmp_path: Path, new_server: Callable[..., StoreServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await asyncio.to_thread(new_server, tmp_path, fsync="everysec")
    storage = await connected(server)
    waits: list[int] = []
    wait_for_fsync = RedisStorage._wait_for_fsync

    async def counted(storage: RedisStorage, connection: RedisConnection) -> None:
        waits.append(len(waits))
        await wait_for_fsync(storage, connection)

    monkeypatch.setattr(RedisStorage, "_wait_for_fsync", counted)
    first = asyncio.create_task(storage.flush())
    while not waits:
        await asyncio.sleep(0)
    others = [asyncio.create_task(storage.flush()) for _ in range(20)]
    await asyncio.sleep(0)
    others[0].cancel()
    await asyncio.gather(first, *others[1:])
    assert waits == [0, 1]
    last = asyncio.create_task(storage.flush())
    await asyncio.sleep(0)
    await storage.disconnect()
    assert last.done()


async def fsynced_bytes(server: StoreServer) -> int:
    """How much of what the process wrote has been sent to the disk, as the kernel accounts it for fsync."""
    assert server.process
    text = await asyncio.to_thread(Path(f"/proc/{server.process.pid}/io").read_text)
    return int(dict(line.split(": ") for line in text.splitlines())["write_bytes"])


async def test_guards_see_what_is_refused_for_another_reason(server: StoreServer) -> None:
    storage = await connected(server)
    await storage.write([put("a")])
    outcomes = await storage.write([Transaction((Guard("a", b"2"),), (Put("a", b"3"),)), put("a", b"4")])
    assert outcomes == [Refused(Guard("a", b"2"), b"1"), Committed()]
    await storage.disconnect()


async def test_a_user_who_may_not_set_a_name_comes_in_and_a_missing_right_is_named(server: StoreServer) -> None:
    path = server.socket_path
    await ask(server, "ACL", "SETUSER", "plain", "on", ">pw", "~*", "+@all", "-client|setname", "-client|setinfo")
    await ask(server, "ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "-evalsha")
    storage = open_storage(f"redis+unix://plain:pw@{path}")
    await storage.connect()
    assert await storage.write([put("a")]) == [Committed()]
    assert await storage.load("a") == b"1"
    await storage.disconnect()
    with pytest.raises(StorageMisconfigured, match="'evalsha' command"):
        await open_storage(f"redis+unix://mute:pw@{path}").connect()
