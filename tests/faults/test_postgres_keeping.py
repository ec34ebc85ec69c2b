"""Keeping on a real Postgres, in real processes that are killed and stopped; a realm with its crowd; the rescue file."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faults.test_keeping_healing import until_everything_is_back
from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.drill.bots.client import POLL_S
from realmkeep.drill.checks.kept import violations
from realmkeep.drill.game import Hero
from realmkeep.drill.realm import CONFIG, REALM_S_MAX, open_realm
from realmkeep.drill.stores.postgres import PostgresStore
from realmkeep.keeping import Keeper, Op, restore_rescued
from realmkeep.storage import Put, Transaction, open_storage
from realmkeep.storage.postgres import PostgresStorage
from realmkeep.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.backend("postgresql"), pytest.mark.limit(REALM_S_MAX + 60)]

BOTS = 100
HEROES = 60  # the trades are sent, in several batches, the releases are not
PATIENCE_S = 60.0


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


async def test_what_a_database_loses_without_synchronous_commits_is_written_again(tmp_path: Path) -> None:
    """As for a Redis with `everysec`: the servers live, find the loss by the name of the run, and mend it."""
    make_store = partial(PostgresStore, synchronous_commit="off", wal_writer_delay="1s")
    options = "&timeout_s=0.6&connect_timeout=1"
    patient = msgspec.structs.replace(CONFIG, lease_ttl_s=20.0)  # a server that is silent for longer counts as dead
    async with open_realm(tmp_path, seed=12, config=patient, store_options=options, make_store=make_store) as realm:
        realm.crowd.start()
        await realm.play_on()
        for _ in range(2):
            await asyncio.to_thread(realm.store.kill)
            await asyncio.to_thread(realm.store.start)
            enough = realm.crowd.told.acked + 25
            await realm.crowd.until(
                lambda enough=enough: realm.crowd.told.acked >= enough, "operations are acknowledged"
            )
            await until_everything_is_back(realm)
        snapshot = await realm.calm_down("the store lost data")
        assert violations(realm.crowd.told, snapshot, settled=True) == []


async def test_what_a_keeper_writes_in_play_takes_the_fast_path(postgres_url: str) -> None:
    storage = open_storage(postgres_url)
    assert isinstance(storage, PostgresStorage)
    async with await Keeper.open(storage, config=KeeperConfig(name="town")) as keeper:
        heroes = [await keeper.login(Hero, number, create=lambda: Hero(gold=100)) for number in range(4)]
        before = storage.statistics.slow
        for number in range(1, 11):
            await keeper.commit(gives, heroes[0], heroes[1], ops=(Op(number), Op(number)))
            heroes[2].record.xp += 1
        await heroes[2].logout()
        assert storage.statistics.slow == before
        assert storage.statistics.fast > 10
    await storage.disconnect()


def gives(giver: Hero, taker: Hero) -> None:
    giver.gold -= 1
    taker.gold += 1


async def test_what_a_paused_store_was_not_told_is_restored(own_server: PostgresServer, tmp_path: Path) -> None:
    rescue = tmp_path / "rescue.jsonl"
    url = f"{own_server.url}&timeout_s=5"
    keeper = await Keeper.open(url, config=KeeperConfig(name="town"), rescue_path=rescue)
    logins = [keeper.login(Hero, number, create=lambda: Hero(gold=100)) for number in range(HEROES)]
    heroes = await asyncio.gather(*logins)
    await asyncio.to_thread(own_server.pause)
    for giver, taker in pairwise(heroes):
        keeper._engine.commits.run(gives, [giver, taker], ())
    report = await keeper.close(deadline_s=0.2)
    await asyncio.to_thread(own_server.resume)
    assert len(report.rescued) == HEROES
    storage = open_storage(own_server.url)
    restored = await restore_rescued(storage, rescue)
    assert restored.clean, restored.left[:3]
    assert len(restored.restored) + len(restored.already_there) == HEROES
    again = await restore_rescued(storage, rescue)
    assert (again.restored, len(again.already_there), again.clean) == ((), HEROES, True)
    await storage.disconnect()
    async with await Keeper.open(own_server.url, config=KeeperConfig(name="north")) as north:
        back = await asyncio.gather(*[north.login(Hero, number) for number in range(HEROES)])
        gold = [session.record.gold for session in back if session is not None]
    assert gold == [99, *[100] * (HEROES - 2), 101]


def until_listening(server: "subprocess.Popen[bytes]", file: Path, log: Path) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + PATIENCE_S
    while not (file.exists() and f'"pid":{server.pid},' in file.read_text()):
        assert server.poll() is None, log.read_text()
        assert clock.monotonic_s() < deadline_s, log.read_text()


def test_a_crowd_of_a_hundred_bots_is_conserved_in_a_realm_on_postgres(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    settings = {"REALMKEEP_STORE__URL": own_server.url}
    realm = [sys.executable, "-m", "realmkeep.cli"]
    ports = ["--tcp-port", "0", "--udp-port", "0"]
    log = tmp_path / "log"
    with log.open("wb") as said:
        server = subprocess.Popen(
            [*realm, "serve", "--data", tmp_path, *ports], env={**os.environ, **settings}, stdout=said, stderr=said
        )
        try:
            until_listening(server, tmp_path / "server.json", log)
            crowd = subprocess.run(
                [*realm, "crowd", "--data", tmp_path, "--bots", str(BOTS), "--duration", "4", "--json"],
                capture_output=True,
                check=False,
                timeout=REALM_S_MAX,
            )
        finally:
            server.terminate()
            assert server.wait(timeout=PATIENCE_S) == 0, log.read_text()
    assert crowd.returncode == 0, crowd.stderr.decode() + log.read_text()
    report: dict[str, Any] = json.loads(crowd.stdout)
    assert report["problems"] == []
    assert report["operations_per_s"] > 0


@pytest.mark.parametrize(("reads", "writes"), [(0, 1), (3, 0), (3, 1)])
async def test_a_disconnection_that_is_cancelled_before_a_silent_server_answers_leaves_no_connection(
    own_server: PostgresServer, reads: int, writes: int
) -> None:
    storage = open_storage(f"{own_server.url}&timeout_s=2")  # reads that wait end after it
    await storage.connect()
    await asyncio.gather(*[storage.load("a") for _ in range(reads)])
    await asyncio.to_thread(own_server.pause)
    calls: list[Coroutine[Any, Any, object]] = [storage.load("a") for _ in range(reads)]
    calls += [storage.write([Transaction((), (Put("a", b""),))]) for _ in range(writes)]
    asked = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)  # each call has begun
    ending = asyncio.ensure_future(storage.disconnect())
    done, _ = await asyncio.wait([ending], timeout=0.05)
    assert not done, "the control: it waits for the server"
    ending.cancel()
    await asyncio.wait([ending])
    await asyncio.to_thread(own_server.resume)
    await asyncio.gather(*asked, return_exceptions=True)
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'realmkeep'"
    async with asyncio.timeout(REALM_S_MAX):
        while await asyncio.to_thread(own_server.ask, query) != [(0,)]:
            await asyncio.sleep(POLL_S)
