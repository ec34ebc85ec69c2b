"""The operator's port: what it tells, and when it says that no player may log in."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from keeping.game import Guild, Player, earn, enter, inside
from operations.metrics.scraping import PATIENCE_S, asked, asked_of
from realmkeep.config import KeeperConfig, OperationsConfig
from realmkeep.errors import ConfigError
from realmkeep.keeping import Keeper
from realmkeep.operations.metrics import ObservedServer, operations_app, operations_port
from realmkeep.operations.metrics.app import observed_app
from realmkeep.operations.status.report import Durations
from realmkeep.testing.lab import Lab

FREE = "127.0.0.1:0"


async def test_a_games_own_server_has_the_port_with_one_line() -> None:
    async with Keeper.open("memory://") as keeper, operations_port(keeper, FREE) as address:
        ada = await keeper.login(Player, 1, create=Player)
        await keeper.commit(earn, ada)
        assert (await asked(address, "/healthz"))[::2] == (200, "ok\n")
        assert (await asked(address, "/readyz"))[::2] == (200, "ready\n")
        assert 'realmkeep_commits_total{outcome="committed"} 1.0' in (await asked(address, "/metrics")).text
        report = json.loads((await asked(address, "/status")).text)
        assert (report["server"], report["ready"], report["commits"]["committed"]) == ("realm-1", True, 1)
        assert (await asked(address, "/")).status == 404


async def test_a_web_game_mounts_the_routes_with_one_line(lab: Lab) -> None:
    app = Starlette(routes=[Mount("/operations", operations_app(lambda: lab.keeper))])
    assert (await asked_of(app, "/operations/readyz")).status == 200
    assert 'server="lab-1"' in (await asked_of(app, "/operations/metrics")).text
    before = lab.keeper
    await lab.restart()
    assert lab.keeper is not before
    assert (await asked_of(app, "/operations/readyz")).status == 200, "it follows the keeper of this moment"


async def test_a_page_of_another_name_cannot_read_a_loopback_port() -> None:
    """DNS rebinding: a web page's own host name resolves to 127.0.0.1."""
    async with Keeper.open("memory://") as keeper, operations_port(keeper, FREE) as address:
        assert (await asked(address, "/status", Host="evil.example")).status == 400
        port = address.rpartition(":")[2]
        for name in ("localhost", "127.0.0.1", "[::1]"):
            assert (await asked(address, "/status", Host=f"{name}:{port}")).status == 200


async def test_an_address_for_all_interfaces_answers_to_every_name() -> None:
    async with Keeper.open("memory://") as keeper, operations_port(keeper, "0.0.0.0:0") as address:
        port = address.rpartition(":")[2]
        assert (await asked(f"127.0.0.1:{port}", "/healthz", Host="realm.internal")).status == 200


@pytest.mark.needs("ipv6")
async def test_the_port_listens_on_ipv6() -> None:
    async with Keeper.open("memory://") as keeper, operations_port(keeper, "[::1]:0") as address:
        assert address.startswith("[::1]:")
        assert (await asked(address, "/healthz")).status == 200


@pytest.mark.parametrize("listen", ["127.0.0.1:{taken}", "127.0.0.1:65536", "192.0.2.1:0", "no-such-host.invalid:0"])
async def test_an_address_that_cannot_be_used_says_which_setting_to_change(listen: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = listen.format(taken=taken.getsockname()[1])
        async with Keeper.open("memory://") as keeper:
            with pytest.raises(ConfigError, match=r"cannot listen on .*operations\.listen"):
                async with operations_port(keeper, listen):
                    pass


async def test_the_port_is_free_again_after_the_block() -> None:
    async with Keeper.open("memory://") as keeper:
        async with operations_port(keeper, FREE) as address:
            pass
        async with operations_port(keeper, address) as again:
            assert again == address


async def test_the_games_own_signal_handlers_stay() -> None:
    import signal  # noqa: PLC0415 - this test alone

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with Keeper.open("memory://") as keeper, operations_port(keeper, FREE):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def readyz(lab: Lab, server: ObservedServer) -> tuple[int, str]:
    answer = await asked_of(observed_app(server), "/readyz")
    assert (await asked_of(observed_app(server), "/healthz")).status == 200, (
        "the process is well, whatever the store does"
    )
    return answer.status, answer.text


async def test_a_silent_store_makes_it_not_ready_within_two_seconds(lab: Lab, keeper: Keeper) -> None:
    server = ObservedServer(keeper)
    await lab.advance(60)
    assert await readyz(lab, server) == (200, "ready\n")
    lab.line().down = True
    await lab.advance(2)
    assert await readyz(lab, server) == (503, "the store does not answer\n")
    await lab.advance(60)
    assert "the lease of lab-1 is lapsed\n" in (await readyz(lab, server))[1]
    lab.line().down = False
    await lab.advance(15)
    assert await readyz(lab, server) == (200, "ready\n")


async def test_a_store_that_hangs_without_an_error_is_noticed_as_soon(lab: Lab, keeper: Keeper) -> None:
    """A stopped process takes requests and answers none."""
    from realmkeep.testing.faulty import delay  # noqa: PLC0415 - this test alone

    server = ObservedServer(keeper)
    await lab.advance(60)
    lab.line().plan = lambda _: delay(3600.0)
    await lab.advance(2)
    assert await readyz(lab, server) == (503, "the store does not answer\n")


async def test_a_closing_keeper_and_the_games_own_reasons_make_it_not_ready(lab: Lab, keeper: Keeper) -> None:
    reasons = ["no zone is open"]
    server = ObservedServer(keeper, not_ready=lambda: reasons, degraded=lambda: ["the map is stale"])
    assert await readyz(lab, server) == (503, "no zone is open\n")
    assert server.degraded() == (("game", "the map is stale"),)
    reasons.clear()
    assert await readyz(lab, server) == (200, "ready\n")
    await lab.finish(keeper.close())
    assert (await readyz(lab, server))[1].startswith("the keeper is closing\n")


async def test_a_full_queue_makes_it_not_ready() -> None:
    async with Lab(config=KeeperConfig(queue_max=16)) as lab:
        guild = await lab.keeper.hold(Guild, 1, create=Guild)
        lab.line().down = True
        waiting = [asyncio.ensure_future(lab.keeper.commit(lambda _: None, guild)) for _ in range(16)]
        await lab.advance(0.1)
        assert await readyz(lab, ObservedServer(lab.keeper)) == (503, "the write queue is full\n")
        for each in waiting:
            each.cancel()


async def test_a_store_that_went_backwards_and_a_barrier_make_it_not_ready(lab: Lab, keeper: Keeper) -> None:
    server, engine = ObservedServer(keeper), inside(keeper)
    engine.store_loss.halted = "the store lost data"
    engine.barrier.awaited_servers = ("town-2",)
    assert (await readyz(lab, server))[1] == "the store lost data\nthe store was restarted: logins wait for town-2\n"


async def test_the_report_has_the_figures_of_the_moment(lab: Lab) -> None:
    keeper = lab.keeper
    server = ObservedServer(keeper, config=OperationsConfig(dirty_warning=7, dirty_critical=9))
    server.start()
    ada = await enter(keeper, 1)
    await keeper.commit(earn, ada)
    ada.record.xp += 1
    await lab.advance(10)
    report = json.loads((await asked_of(observed_app(server), "/status")).text)
    assert report["sessions"] == {"rover": {"connected": 1}}
    assert (report["dirty_records"], report["oldest_dirty_s"], report["frozen_records"]) == (1, 10.0, 0)
    assert (report["dirty_warning"], report["dirty_critical"], report["up_s"]) == (7, 9, 10.0)
    assert sum(report["durations"]["loop"]["counts"]) == 40
    assert "tick" not in report["durations"]
    assert report["store"]["engine"] == "python"


@pytest.mark.parametrize("kind", ["empty", "no directory"])
async def test_a_directory_without_backups_says_that_there_is_none(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "backups"
    if kind == "no directory":
        directory.write_text("a file")
    async with Keeper.open("memory://") as keeper:
        server = ObservedServer(keeper, backups=directory)
        server.start()
        async with asyncio.timeout(PATIENCE_S):
            while server.backup_ages is None:
                await asyncio.sleep(0.01)
        answer = await asked_of(observed_app(server), "/metrics")
        assert "realmkeep_backup_last_verified_timestamp_seconds 0.0\n" in answer.text
        assert keeper.degraded == ()


def test_durations_between_two_reports() -> None:
    before = Durations((0.01, 0.1, 1.0), (5, 5, 0, 0), 0.3)
    now = Durations((0.01, 0.1, 1.0), (5, 105, 1, 1), 9.0)
    assert now.since(before).counts == (0, 100, 1, 1)
    assert now.since(before).quantile_s(0.5) == 0.1
    assert now.since(before).quantile_s(0.99) == 1.0
    assert now.since(before).quantile_s(1.0) == float("inf")
    assert before.since(before).quantile_s(0.99) == 0.0
