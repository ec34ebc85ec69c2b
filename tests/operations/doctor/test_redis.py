"""Every finding about a Valkey or Redis, on a real server that has the one fault; and none on a healthy one."""

import asyncio
import resource
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from operations.doctor.fake_machine import FakeMachine
from realmkeep.operations.doctor import Finding, Report, examine
from realmkeep.operations.doctor.mending import mend
from realmkeep.storage import Committed, Put, Transaction, open_storage
from realmkeep.storage.embedded_config import find_binary
from realmkeep.testing.replicated import free_ports
from realmkeep.testing.servers import StoreServer
from suite.engines import needed

TIMEOUT_S = 30.0
NewServer = Callable[..., StoreServer]
Look = Callable[..., Awaitable[Report]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    with StoreServer(tmp_path) as server:
        yield server


@pytest.fixture
def fake(tmp_path_factory: pytest.TempPathFactory, server: StoreServer) -> FakeMachine:
    assert server.process is not None
    return FakeMachine(tmp_path_factory.mktemp("root"), server.process.pid)


@pytest.fixture
def look(server: StoreServer, fake: FakeMachine) -> Look:
    async def look(url: str = "", accept: tuple[str, ...] = ()) -> Report:
        report = await examine(url or server.url, machine=fake.machine, accept=accept)
        findings = [
            finding for finding in report.findings if finding.name != "fsync-too-fast"
        ]  # a test's disk may be memory
        assert all(finding.what and finding.why and finding.mend for finding in findings)
        return Report(
            report.store, report.engine, report.outcome, report.error, tuple(findings), report.accepted,
            report.unexamined, report.promise,
        )  # fmt: skip

    return look


async def ask(server: StoreServer, *command: str | bytes | int) -> object:
    answer = await asyncio.to_thread(server.ask, *command)
    assert not isinstance(answer, Exception), answer
    return answer


async def configure(server: StoreServer, *settings: str) -> None:
    await ask(server, "CONFIG", "SET", *settings)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not await condition():
            await asyncio.sleep(0.01)


async def persistence_says(server: StoreServer, *lines: bytes) -> bool:
    info = await ask(server, "INFO", "persistence")
    assert isinstance(info, bytes)
    return all(line in info for line in lines)


async def test_a_store_of_realmkeep_has_no_findings(look: Look) -> None:
    report = await look()
    assert (report.findings, report.unexamined, report.outcome, report.error) == ((), (), "examined", "")
    assert report.engine.startswith("valkey 9.")
    assert "acknowledged operations survive" in report.promise


REFUSED = "This store promises: nothing, because Realmkeep does not use it as it is."
SURVIVES = "acknowledged operations survive"


@pytest.mark.parametrize(
    ("settings", "name", "grade", "promise", "is_fixed"),
    [
        ("appendonly no", "append-only-off", "danger", "may lose everything", True),
        ("appendfsync no", "fsync-never", "danger", "may lose everything", True),
        ("appendfsync everysec", "fsync-every-second", "warning", "may lose the last 2 s", True),
        ("no-appendfsync-on-rewrite yes", "rewrite-without-fsync", "danger", REFUSED, True),
        ("maxmemory-policy allkeys-lru", "eviction", "danger", REFUSED, True),
        ("maxmemory 0", "no-memory-limit", "warning", SURVIVES, False),
        ("maxmemory 100000gb", "memory-limit-beyond-the-machine", "warning", SURVIVES, False),
        ("stop-writes-on-bgsave-error no", "snapshot-errors-ignored", "warning", SURVIVES, True),
        ("auto-aof-rewrite-percentage 0", "rewrites-off", "warning", SURVIVES, True),
        ("save", "snapshots-off", "advice", SURVIVES, True),
        ("rdbcompression no", "snapshots-uncompressed", "advice", SURVIVES, True),
        ("latency-monitor-threshold 0", "latency-monitor-off", "advice", SURVIVES, True),
        ("aof-timestamp-enabled no", "no-timestamps", "advice", SURVIVES, True),
    ],
)  # fmt: skip
async def test_a_setting_is_found_and_fixed_where_that_is_safe(
    server: StoreServer, look: Look, settings: str, name: str, grade: str, promise: str, is_fixed: bool
) -> None:
    setting, _, value = settings.partition(" ")
    await configure(server, setting, value)
    report = await look()
    (finding,) = report.findings
    assert (finding.name, finding.grade, bool(finding.settings)) == (name, grade, is_fixed)
    assert promise in report.promise
    assert report.promise.count(".") == 1 + report.promise.count("0.")
    for each, mended in finding.settings:
        await configure(server, each, mended)
    if finding.settings:
        assert (await look()).findings == ()


@pytest.mark.needs("redis-server")
async def test_redis_is_examined_as_valkey_is(tmp_path: Path, fake: FakeMachine, new_server: NewServer) -> None:
    server = await asyncio.to_thread(new_server, tmp_path / "redis", binary=needed("redis-server"))
    assert server.process is not None
    fake.write(f"proc/{server.process.pid}/comm", "redis-server")
    assert await found(server, fake) == []
    await configure(server, "appendfsync", "no", "aof-timestamp-enabled", "no", "save", "")
    findings = await found(server, fake)
    assert [finding.name for finding in findings] == ["fsync-never", "snapshots-off", "no-timestamps"]
    assert not any(each.error for each in (await mend(server.url, findings)).mended)
    assert await found(server, fake) == []


async def test_what_an_operator_accepts_is_listed_apart(server: StoreServer, look: Look) -> None:
    await configure(server, "appendfsync", "everysec")
    report = await look(accept=("fsync-every-second",))
    assert report.findings == ()
    assert [finding.name for finding in report.accepted] == ["fsync-every-second"]
    assert "WAITAOF proves nothing" in report.accepted[0].why
    assert "may lose the last 2 s" in report.promise


async def test_an_eviction_policy_without_a_limit_waits_for_one(server: StoreServer, look: Look) -> None:
    await configure(server, "maxmemory", "0", "maxmemory-policy", "allkeys-lru")
    assert [finding.name for finding in (await look()).findings] == ["no-memory-limit", "eviction-once-limited"]


async def test_memory_that_is_nearly_full_is_found_by_its_share(server: StoreServer, look: Look) -> None:
    await ask(server, "SET", "player:1", bytes(10 * 1024**2))
    for limit, grade in (("14mb", "warning"), ("12mb", "danger")):
        await configure(server, "maxmemory", limit)
        (finding,) = (await look()).findings
        assert (finding.name, finding.grade) == ("memory-nearly-full", grade)


async def test_evicted_keys_are_told_for_ever_after(server: StoreServer, look: Look) -> None:
    for number in range(64):
        await ask(server, "SET", f"player:{number}", bytes(100_000))
    await configure(server, "maxmemory", "3mb", "maxmemory-policy", "allkeys-lru")
    await configure(server, "maxmemory", "64mb", "maxmemory-policy", "noeviction")
    (finding,) = (await look()).findings
    assert (finding.name, finding.grade) == ("keys-were-evicted", "danger")


async def test_a_failed_snapshot_is_found(server: StoreServer, look: Look) -> None:
    (server.directory / "dump.rdb").mkdir()
    (server.directory / "dump.rdb" / "in the way").touch()
    await ask(server, "BGSAVE")
    await until(lambda: persistence_says(server, b"rdb_last_bgsave_status:err"))
    (finding,) = (await look()).findings
    assert (finding.name, finding.grade) == ("snapshot-failed", "danger")
    assert str(server.directory / "dump.rdb") in finding.mend


async def test_a_failed_rewrite_is_found(server: StoreServer, look: Look) -> None:
    for number in range(1, 4):
        (server.directory / f"appendonlydir/appendonly.aof.{number}.base.rdb").unlink(missing_ok=True)
        (server.directory / f"appendonlydir/appendonly.aof.{number}.base.rdb").mkdir()
    await ask(server, "BGREWRITEAOF")
    await until(lambda: persistence_says(server, b"aof_last_bgrewrite_status:err"))
    found = [finding.name for finding in (await look()).findings]
    assert found == ["rewrite-failed"]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits the files of a running process")
async def test_a_failed_write_to_the_append_only_file_is_found(
    tmp_path: Path, fake: FakeMachine, new_server: NewServer
) -> None:
    limited = tmp_path / "ignores-the-signal-of-the-limit"

    def start() -> StoreServer:
        limited.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec '{find_binary()}' \"$@\"\n", encoding="utf-8")
        limited.chmod(0o700)
        return new_server(tmp_path / "full", binary=limited, fsync="everysec")

    server = await asyncio.to_thread(start)
    assert server.process is not None
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1024, 1024))
    await ask(server, "SET", "player:1", bytes(4096))
    await until(lambda: persistence_says(server, b"aof_last_write_status:err"))
    report = await examine(server.url, machine=fake.machine)
    assert [finding.name for finding in report.findings[:1]] == ["append-only-write-failed"]
    assert report.promise == "This store promises: what it has acknowledged, but it accepts no writes now."


async def test_too_little_room_for_the_next_snapshot_is_found(server: StoreServer, look: Look) -> None:
    def make_huge() -> None:
        with (server.directory / "dump.rdb").open("wb") as file:
            file.truncate(shutil.disk_usage(server.directory).free)  # a hole: it takes no room itself

    await asyncio.to_thread(make_huge)
    (finding,) = (await look()).findings
    assert (finding.name, finding.grade) == ("little-room", "warning")
    assert str(server.directory) in finding.what


async def test_a_store_without_a_configuration_file_forgets(tmp_path: Path, fake: FakeMachine) -> None:
    path = tmp_path / "bare"
    path.mkdir()
    sock = str(path / "s")[-90:]
    options = ["--port", "0", "--unixsocket", sock, "--dir", str(path), "--appendonly", "yes", "--maxmemory", "64mb"]
    binary = await asyncio.to_thread(find_binary)
    process = await asyncio.create_subprocess_exec(
        binary, *options, "--appendfsync", "always", stdout=asyncio.subprocess.DEVNULL
    )
    fake.write(f"proc/{process.pid}/comm", "valkey-server")
    try:

        async def answers() -> bool:
            return (await examine(f"redis+unix://{sock}", machine=fake.machine)).outcome == "examined"

        await until(answers)
        report = await examine(f"redis+unix://{sock}", machine=fake.machine)
        assert "no-configuration-file" in [finding.name for finding in report.findings]
    finally:
        process.kill()
        await process.wait()


async def test_a_port_without_a_password_is_open_to_the_machine(
    tmp_path: Path, fake: FakeMachine, new_server: NewServer
) -> None:
    port = free_ports(1)
    extra = f"port {port}\nbind 127.0.0.1\n"
    server = await asyncio.to_thread(new_server, tmp_path / "open", extra=extra)
    assert server.process is not None
    fake.write(f"proc/{server.process.pid}/comm", "valkey-server")
    (finding,) = await found(server, fake)
    assert (finding.name, finding.grade) == ("open-to-the-machine", "warning")
    assert str(port) in finding.what
    await configure(server, "bind", "127.0.0.1 -::*", "protected-mode", "no")
    (finding,) = await found(server, fake)
    assert (finding.name, finding.grade) == ("open-to-the-network", "danger")
    await configure(server, "protected-mode", "yes")  # it refuses other hosts itself
    assert [finding.name for finding in await found(server, fake)] == ["open-to-the-machine"]


async def test_a_connection_that_leaves_the_machine_is_encrypted(
    tmp_path: Path, fake: FakeMachine, new_server: NewServer
) -> None:
    port = free_ports(1)
    server = await asyncio.to_thread(new_server, tmp_path / "far", extra=f"port {port}\nbind 127.0.0.1\n")
    await ask(server, "ACL", "SETUSER", "realm", "on", ">pass", "~*", "&*", "+@all")
    report = await examine(f"redis://realm:pass@0.0.0.0:{port}/0", machine=fake.machine)  # arrives here all the same
    assert "not-encrypted" in [finding.name for finding in report.findings]


async def found(server: StoreServer, fake: FakeMachine, url: str = "") -> list[Finding]:
    report = await examine(url or server.url, machine=fake.machine)
    return [finding for finding in report.findings if finding.name != "fsync-too-fast"]


async def test_a_user_that_may_do_everything_is_found_and_its_mend_serves_realmkeep(
    tmp_path: Path, fake: FakeMachine, new_server: NewServer
) -> None:
    port = free_ports(1)
    extra = f"port {port}\nbind 127.0.0.1\n"
    server = await asyncio.to_thread(new_server, tmp_path / "acl", extra=extra)
    assert server.process is not None
    fake.write(f"proc/{server.process.pid}/comm", "valkey-server")
    await ask(server, "ACL", "SETUSER", "realm", "on", ">pass", "~*", "&*", "+@all")
    await ask(server, "ACL", "SETUSER", "default", ">s3cret")
    url = f"redis://realm:pass@127.0.0.1:{port}/0"
    (finding,) = await found(server, fake, url)
    assert (finding.name, finding.grade) == ("acl-too-broad", "advice")
    assert "FLUSHALL" in finding.what
    assert "pass" not in f"{finding}".replace("password", "")
    line = finding.mend.partition("   ")[0].split()
    await as_admin(port, *line)
    assert await found(server, fake, url) == []
    await serves_realmkeep(url)


async def as_admin(port: int, *command: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for words in (("AUTH", "s3cret"), command):
        writer.write(
            b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)
        )
        assert await reader.readline() == b"+OK\r\n", words
    writer.close()
    await writer.wait_closed()


async def serves_realmkeep(url: str) -> None:
    storage = open_storage(url)
    await storage.connect()
    assert await storage.write([Transaction((), (Put("player:1", b"x", expire_s=60.0),))]) == [Committed()]
    assert await storage.load_many(["player:1"]) == [b"x"]
    assert [key async for key in storage.keys("player:*")] == ["player:1"]
    assert await storage.increment("server:id-counter") == 1
    await storage.save("player:2", b"y")
    await storage.flush()
    await storage.snapshot()
    assert storage.capability.warnings == ()
    await storage.disconnect()


async def test_a_host_that_forbids_config_promises_nothing(server: StoreServer, look: Look) -> None:
    await ask(server, "ACL", "SETUSER", "hosted", "on", ">s3cr3t-word", "~*", "&*", "+@all", "-config")
    report = await look(f"redis+unix://hosted:s3cr3t-word@{server.socket_path}")
    assert [finding.name for finding in report.findings] == ["config-forbidden"]
    assert "may lose everything" in report.promise
    assert "s3cr3t-word" not in report.store
    assert any("cannot be seen" in sentence for sentence in report.unexamined)


async def test_a_user_without_info_is_told_to_get_it(server: StoreServer, look: Look) -> None:
    await ask(server, "ACL", "SETUSER", "hosted", "on", ">s3cr3t-word", "~*", "&*", "+@all", "-info")
    report = await look(f"redis+unix://hosted:s3cr3t-word@{server.socket_path}")
    assert "info-forbidden" in [finding.name for finding in report.findings]


async def test_a_store_of_another_machine_is_not_taken_for_one_of_this(server: StoreServer, fake: FakeMachine) -> None:
    assert server.process is not None
    fake.write(f"proc/{server.process.pid}/comm", "systemd")  # as with a store in a container
    fake.write("proc/sys/vm/overcommit_memory", "0")
    report = await examine(server.url, machine=fake.machine)
    assert report.findings == ()
    assert any("run doctor there" in sentence for sentence in report.unexamined)


async def test_the_machine_of_a_local_store_is_examined(server: StoreServer, fake: FakeMachine) -> None:
    fake.write("proc/sys/vm/overcommit_memory", "0")
    fake.write("proc/self/mountinfo", f"1 1 0:1 / {server.directory} rw - tmpfs tmpfs rw")
    report = await examine(server.url, machine=fake.machine)
    assert {"files-in-memory", "overcommit"} <= {finding.name for finding in report.findings}
    assert report.promise == "This store promises: nothing survives a restart of the machine."


async def test_a_store_that_is_away_still_has_a_machine(tmp_path: Path, fake: FakeMachine) -> None:
    fake.clock = 5
    report = await examine(f"redis+unix://{tmp_path}/none", machine=fake.machine)
    assert report.outcome == "unavailable"
    assert [finding.name for finding in report.findings] == ["clock-unsynchronised"]
    assert report.promise == "This store promises: nothing, because it could not be examined."


async def test_a_replica_is_unavailable_and_a_wrong_password_a_setting(server: StoreServer, look: Look) -> None:
    await ask(server, "ACL", "SETUSER", "realm", "on", ">right", "~*", "+@all")
    wrong = await look(f"redis+unix://realm:wr0ng@{server.socket_path}")
    assert (wrong.outcome, "wr0ng" in f"{wrong}") == ("misconfigured", False)
    await ask(server, "REPLICAOF", "127.0.0.1", "1")
    assert (await look()).outcome == "unavailable"


@pytest.mark.needs("redis-server")
async def test_fragmented_memory_is_found_on_an_allocator_that_can_mend_it(
    tmp_path: Path, fake: FakeMachine, new_server: NewServer
) -> None:
    extra = "enable-debug-command local\nmaxmemory 2gb\n"
    server = await asyncio.to_thread(new_server, tmp_path / "redis", binary=needed("redis-server"), extra=extra)
    await configure(server, "appendonly", "no", "save", "")
    await ask(server, "DEBUG", "POPULATE", "800000", "player", "400")
    spare = "for i = 0, 799999 do if i % 3 ~= 0 then redis.call('DEL', 'player:' .. i) end end"
    await ask(server, "EVAL", spare, "0")
    report = await examine(server.url, machine=fake.machine)
    assert report.engine.startswith("redis 7.")
    (finding,) = (finding for finding in report.findings if finding.name == "fragmented")
    (mended,) = (await mend(server.url, [finding])).mended
    assert mended.error == "" or "Active defragmentation cannot be enabled" in mended.error  # as the server was built
