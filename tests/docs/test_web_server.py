"""The page on web servers: its program is run as it stands, by uvicorn, and stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from realmkeep import Keeper, Record, durable
from realmkeep.asgi import AsgiKeeper
from realmkeep.errors import NameTaken
from realmkeep.testing.replicated import free_ports
from realmkeep.testing.servers import StoreServer

PAGE = Path(__file__).parents[2] / "docs" / "web-server.md"
LIMIT_S = 60.0  # for a start or an end on a busy machine


class Web:
    """The page's program as a process."""

    def __init__(self, directory: Path, store: str) -> None:
        self.port = free_ports(1)
        (found,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        program = directory / "server.py"
        program.write_text(found, encoding="utf-8")
        environment = os.environ | {"STORE": store, "PORT": str(self.port)}
        self.process = subprocess.Popen(
            [sys.executable, program], cwd=directory, env=environment, stderr=subprocess.PIPE, text=True
        )

    def post(self, path: str) -> tuple[int, dict[str, object]]:
        """Ask until it answers at all: it may be starting."""
        until = time.monotonic() + LIMIT_S
        while True:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method="POST")
            try:
                with urllib.request.urlopen(request, timeout=LIMIT_S) as answered:
                    return answered.status, json.load(answered)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)
            except OSError:
                assert self.process.poll() is None, self.process.communicate()[1]
                assert time.monotonic() < until
                time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """The exit code, and what was said."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """As `stop`, of one that ends by itself."""
        said = self.process.communicate(timeout=LIMIT_S)[1]
        return self.process.returncode, said


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreServer]:
    directory = tmp_path / "store"
    directory.mkdir()
    with StoreServer(directory) as running:
        yield running


@pytest.fixture
def webs(tmp_path: Path) -> Iterator[list[Web]]:
    started: list[Web] = []
    yield started
    for web in started:
        with suppress(ProcessLookupError):
            web.process.kill()
        web.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_saves_everything_and_ends_with_0(
    tmp_path: Path, store: StoreServer, webs: list[Web], number: signal.Signals
) -> None:
    webs.append(Web(tmp_path, store.url))
    assert webs[0].post("/shift/7?op=1") == (200, {"gold": 10})
    assert webs[0].post("/shift/7?op=1") == (200, {"gold": 10})
    assert webs[0].post("/shift/7?op=2") == (200, {"gold": 20})
    code, said = webs[0].stop(number)
    assert code == 0, said
    assert not (tmp_path / "rescue.jsonl").exists()
    assert b'"clicks":3' in bytes(store.ask("GET", "player:7"))  # pyright: ignore[reportArgumentType] - a bulk reply
    assert store.ask("EXISTS", "player:7:owner") == 0


def test_an_end_without_the_store_leaves_a_rescue_file_and_ends_with_1(
    tmp_path: Path, store: StoreServer, webs: list[Web]
) -> None:
    webs.append(Web(tmp_path, store.url))
    assert webs[0].post("/shift/7?op=1") == (200, {"gold": 10})
    store.kill()
    code, said = webs[0].stop()
    assert code == 1, said
    assert "player:7" in (tmp_path / "rescue.jsonl").read_text(encoding="utf-8")
    assert "could not be saved" in said


def test_a_store_that_cannot_be_opened_ends_the_start_with_3(tmp_path: Path, webs: list[Web]) -> None:
    webs.append(Web(tmp_path, "redis+unix:///nowhere/s"))
    code, said = webs[0].ended()
    assert code == 3, said
    assert "StorageUnavailable" in said


def test_uvicorn_alone_would_swallow_the_exit_code(tmp_path: Path, store: StoreServer, webs: list[Web]) -> None:
    """The control: what `AsgiKeeper.run` is for."""
    page = PAGE.read_text(encoding="utf-8")
    assert "sys.exit(kept.run(server.run))" in page
    web = Web(tmp_path, store.url)
    web.process.kill()
    web.process.communicate()
    program = tmp_path / "server.py"
    program.write_text(program.read_text().replace("sys.exit(kept.run(server.run))", "server.run()"))
    environment = os.environ | {"STORE": store.url, "PORT": str(web.port)}
    web.process = subprocess.Popen(
        [sys.executable, program], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    webs.append(web)
    assert web.post("/shift/7?op=1")[0] == 200
    store.kill()
    assert web.stop()[0] == -signal.SIGTERM


class Visitor(Record, kind="asgi-visitor", version=1):
    name: str = durable(default="")


async def test_the_keeper_lives_as_long_as_the_application() -> None:
    asked: list[Keeper] = []

    async def ready(keeper: Keeper) -> None:
        asked.append(keeper)

    kept = AsgiKeeper(lambda: Keeper.open("memory://"), ready=ready)
    with pytest.raises(LookupError, match="is not running"):
        assert kept.keeper
    async with kept.lifespan() as state:
        assert state == {"keeper": kept.keeper}
        assert asked == [kept.keeper]
        visitor = await kept.keeper.login(Visitor, 1, create=Visitor)
    assert visitor.ended
    assert kept.report is not None
    assert kept.report.clean
    assert kept.run(lambda: None) == 0


async def test_what_fails_before_the_first_request_closes_the_keeper_and_is_told() -> None:
    async def fails(_: Keeper) -> None:
        raise NameTaken("taken", hint="another")

    kept = AsgiKeeper(lambda: Keeper.open("memory://"), ready=fails)
    with pytest.raises(NameTaken):
        await kept.lifespan().__aenter__()
    assert kept.report is not None
    never = AsgiKeeper(lambda: Keeper.open("redis+unix:///nowhere/s"))
    assert never.run(lambda: None) == 1


def test_signals_are_as_they_were_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    def stopped() -> None:
        signal.raise_signal(signal.SIGTERM)

    assert AsgiKeeper(lambda: Keeper.open("memory://")).run(stopped) == 1
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
