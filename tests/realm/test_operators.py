"""Operators at their commands beside a real server: a live player is edited once, also when the server is killed."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client import PATIENCE_S
from server import SETTINGS, Server

from realmkeep import keys
from realmkeep.storage.embedded_process import socket_path
from realmkeep.storage.redis import RedisStorage
from realmkeep.storage.redis_url import RedisAddress

PASSWORD = "quiet lantern over marsh"
SHORT = {"KEEPER__LEASE_TTL_S": "4", "KEEPER__HEARTBEAT_S": "0.5"}


class Desk:
    """An operator's terminal beside a server."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.url = f"embedded:///{server.directory / 'store'}"
        self.secret = directory / "password"
        self.secret.write_text(PASSWORD)
        self.secret.chmod(0o600)
        own = {f"REALMKEEP_{key}": value for key, value in SHORT.items()}
        self.environment = {
            **os.environ, **SETTINGS, **own,
            "REALMKEEP_OPERATORS__NAME": "ann", "REALMKEEP_OPERATORS__PASSWORD_FILE": str(self.secret),
        }  # fmt: skip
        self.store = RedisStorage(RedisAddress(socket_path=str(socket_path((server.directory / "store").absolute()))))

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a command."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "realmkeep.cli", *arguments, "--store", self.url,
            env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def done(self, *arguments: str) -> Any:
        """The JSON of a command that must succeed."""
        code, out, err = await self.run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    async def act(self, *arguments: str) -> Any:
        return await self.done(*arguments, "--reason", "a test", "--yes")

    async def open(self) -> None:
        """Add the first operator."""
        code, _, err = await self.run(
            "operator", "add", "ann", "--role", "admin", "--password-file", str(self.secret), "--yes"
        )
        assert code == 0, err
        await self.store.connect()

    async def trail(self, act: str) -> list[Any]:
        return [entry for entry in await self.done("audit", "list", "--last", "0") if entry["act"] == act]

    async def at_work(self) -> None:
        """Return when a command has opened the realm, before its operator has logged in."""
        async with asyncio.timeout(PATIENCE_S):
            while not [key async for key in self.store.keys("server:command-*:lease")]:
                await asyncio.sleep(0.01)

    async def ordered(self, server: str) -> None:
        """Return when an order lies in the control list of a server."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.store.load_list(keys.server_control(server)):
                await asyncio.sleep(0.01)


async def test_acts_on_a_live_player_happen_on_its_server(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start("town", **SHORT)
    desk = Desk(server, tmp_path)
    await desk.open()
    ada = await server.player("adalove")
    outcome = await desk.act("player", "edit", "adalove", "gold", "777")
    assert (outcome["server"], outcome["details"]) == ("town", {"field": "gold", "before": 100, "after": 777})
    await desk.act("player", "move", "adalove", "meadow")
    await desk.act("player", "kick", "adalove")
    assert (await ada.wait(lambda m: m["type"] == "goodbye"))["reason"] == "kicked"
    again = await server.client().connect()
    answer = await again.login("adalove")
    assert (answer["type"], answer["state"]["gold"], answer["state"]["zone"]) == ("auth_ok", 777, "meadow")
    await desk.act("player", "ban", "adalove", "--for", "7d")
    assert (await again.wait(lambda m: m["type"] == "goodbye"))["reason"] == "banned"
    acts = [entry["act"] for entry in await desk.done("audit", "list")]
    assert acts == ["add-operator", "edit", "move", "kick", "ban"]
    await desk.store.disconnect()


async def test_an_edit_happens_once_when_the_server_is_killed_before_it_runs_it(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start("town", **SHORT)
    desk = Desk(server, tmp_path)
    await desk.open()
    await server.player("adalove")
    editing = asyncio.create_task(desk.act("player", "edit", "adalove", "gold", "777", "--id", "one"))
    await desk.at_work()
    server.send_signal(signal.SIGSTOP)
    await desk.ordered("town")
    server.kill()
    outcome = await editing
    assert outcome["server"].startswith("command-")
    server.start()  # the order still lies in its list
    async with asyncio.timeout(PATIENCE_S):
        while await desk.store.load_list(keys.server_control("town")):
            await asyncio.sleep(0.01)
    assert await desk.act("player", "edit", "adalove", "gold", "777", "--id", "one") == outcome
    answer = await (await server.client().connect()).login("adalove")
    assert answer["state"]["gold"] == 777
    (entry,) = await desk.trail("edit")
    assert entry["details"] == {"field": "gold", "before": 100, "after": 777}
    await desk.store.disconnect()


async def test_gifts_happen_once_when_the_server_is_killed_at_any_moment(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start("town", **SHORT)
    desk = Desk(server, tmp_path)
    await desk.open()
    await server.player("adalove")
    for number, after_s in enumerate((0.0, 0.4)):
        ordered = asyncio.create_task(desk.ordered("town"))
        giving = asyncio.create_task(desk.run(
            "player", "gift", "adalove", "gold", "1", "--id", str(number), "--reason", "x", "--yes"
        ))  # fmt: skip
        await asyncio.wait([ordered, giving], return_when=asyncio.FIRST_COMPLETED)
        ordered.cancel()
        await asyncio.sleep(after_s)  # another moment of the act each time
        server.kill()
        await giving
        server.drop_clients()
        server.start()
        await desk.act("player", "gift", "adalove", "gold", "1", "--id", str(number))
        client = await server.client().connect()
        answer = await client.login("adalove")
        assert answer["state"]["gold"] == 101 + number, answer
    assert [entry["act_id"] for entry in await desk.trail("gift")] == ["0", "1"]
    await desk.store.disconnect()
