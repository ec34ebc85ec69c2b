"""`examples/browser_arena.py` is played over WebSockets, and in a browser; its server is killed with SIGKILL meanwhile.

Python plays always. Where there is a Chromium, two pages of it play too, as two people would.
"""

import asyncio
import json
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from examples.process import LIMIT_S, Example
from suite.engines import needed

Said = dict[str, Any]


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Example]:
    with Example("browser_arena.py", "sqlite:///arena.db", tmp_path) as running:
        yield running


class Client:
    """A page without a browser."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line

    async def send(self, said: object) -> None:
        await self._line.send(json.dumps(said))

    async def hears(self, *keys: str) -> Said:
        """The next message that has one of these keys."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                said: Said = json.loads(await self._line.recv())
                if said.keys() & set(keys):
                    return said

    async def asks(self, **said: object) -> Said:
        await self.send(said)
        return await self.hears("op", "no", "wait", "moved")

    async def sees(self, name: str, **fields: object) -> None:
        """Return when this player is shown so."""
        while True:
            shown = {each["name"]: each for each in (await self.hears("arena"))["arena"]}
            if name in shown and {key: shown[name][key] for key in fields} == fields:
                return

    async def closed(self) -> int | None:
        """The code with which the server closed the connection."""
        async with asyncio.timeout(LIMIT_S):
            with suppress(ConnectionClosed):
                while True:
                    await self._line.recv()
        return self._line.close_code


@asynccontextmanager
async def player(arena: Example, name: object) -> AsyncGenerator[tuple[Client, Said]]:
    async with connect(f"ws://127.0.0.1:{arena.port}/play") as line:
        client = Client(line)
        await client.send({"login": name})
        yield client, await client.hears("hello", "goodbye")


async def test_two_play_over_websockets_and_have_what_they_earned_after_kill_9(arena: Example) -> None:
    async with player(arena, "ada") as (ada, hello), player(arena, "bob") as (bob, _):
        assert hello == {"hello": "ada", "last_op": 0}
        assert await ada.asks(move=[1, 0]) == {"moved": [1, 0]}
        await bob.sees("ada", x=1, y=0, gold=50)
        assert [await ada.asks(op=number, attack="bob") for number in (1, 2, 3)] == [
            {"op": 1, "ok": "a hit"},
            {"op": 2, "ok": "a hit"},
            {"op": 3, "ok": "a kill: 10 gold"},
        ]
        assert await ada.asks(op=3, attack="bob") == {"op": 3, "ok": "a kill: 10 gold"}
        await bob.sees("bob", gold=40, hp=30)
        assert await bob.asks(op=1, pay="ada") == {"op": 1, "ok": "paid 5 gold"}
        await asyncio.to_thread(arena.kill)
    await asyncio.to_thread(arena.start)
    async with player(arena, "bob") as (bob, hello), player(arena, "ada") as (ada, _):
        assert hello == {"hello": "bob", "last_op": 1}
        assert await bob.asks(op=1, pay="ada") == {"op": 1, "ok": "paid 5 gold"}
        await ada.sees("bob", gold=35, hp=30, x=0)
        assert await ada.asks(op=4, pay="bob") == {"op": 4, "ok": "paid 5 gold"}
        await bob.sees("ada", gold=60, x=1)
    assert await asyncio.to_thread(arena.stop) == 0, arena.said()


async def test_the_rules_are_kept_and_nonsense_is_answered(arena: Example) -> None:
    async with player(arena, "ada") as (ada, _), player(arena, "bob") as (bob, _):
        assert await ada.asks(op=1, attack="ada") == {"op": 1, "no": "no such player is here"}
        assert await ada.asks(op=1, attack="cid") == {"op": 1, "no": "no such player is here"}
        for step in ([2, 0], [0, 0], ["x", 0], [1], [0.5, 1], None):
            assert await ada.asks(move=step) == {"no": "this cannot be done"}
        nonsense: list[object] = [[], "x", {"op": "1", "attack": "bob"}, {"op": 1}]
        for said in nonsense:
            await ada.send(said)
            assert await ada.hears("no") == {"no": "this cannot be done"}
        assert "no" in await ada.asks(op=0, attack="bob")
        for _ in range(3):
            await bob.asks(move=[0, 1])
        assert await ada.asks(op=1, attack="bob") == {"op": 1, "no": "too far away"}
        assert await ada.asks(move=[-1, 0]) == {"moved": [0, 0]}
        for number in range(1, 11):
            assert await ada.asks(op=number, pay="bob") == {"op": number, "ok": "paid 5 gold"}
        assert (await ada.asks(op=11, pay="bob")).keys() == {"op", "no"}
        await bob.sees("bob", gold=100, y=3)


async def test_a_login_elsewhere_takes_the_player_over_and_a_line_that_broke_is_resumed(arena: Example) -> None:
    async with player(arena, "ada") as (first, _):
        assert await first.asks(move=[0, 1]) == {"moved": [0, 1]}
        async with player(arena, "ada") as (second, _):
            await first.send({"move": [0, 1]})
            assert await first.closed() == 4001
            assert await second.asks(move=[0, 1]) == {"moved": [0, 2]}
    async with player(arena, "ada") as (third, _):
        assert await third.asks(move=[0, 1]) == {"moved": [0, 3]}


@pytest.mark.parametrize("name", ["", "a:b", None, [], {}], ids=repr)
async def test_a_login_that_is_none_is_refused(arena: Example, name: object) -> None:
    async with player(arena, name) as (stranger, said):
        assert said.keys() == {"goodbye"}
        assert await stranger.closed() == 4002


async def test_what_is_no_message_ends_its_connection_alone(arena: Example) -> None:
    async with player(arena, "ada") as (ada, _):
        for nonsense in ("{", "[" * 4000, b"\xff"):  # the second is too deep for the reader of JSON
            async with connect(f"ws://127.0.0.1:{arena.port}/play") as line:
                await line.send(nonsense)
                assert await Client(line).closed() == 4002
        assert await ada.asks(move=[0, 1]) == {"moved": [0, 1]}
    assert "Traceback" not in arena.said()


async def test_a_page_of_another_site_is_refused_and_its_own_is_not(arena: Example) -> None:
    url = f"ws://127.0.0.1:{arena.port}/play"
    with pytest.raises(InvalidStatus, match="403"):
        await connect(url, origin=Origin("http://evil.example"))
    async with connect(url, origin=Origin(f"http://127.0.0.1:{arena.port}")) as line:
        await line.send('{"login": "ada"}')
        assert await Client(line).hears("hello") == {"hello": "ada", "last_op": 0}


def test_the_page_loads_nothing_else_and_the_program_fits_its_bound(arena: Example) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{arena.port}/", timeout=LIMIT_S) as answered:
        page = answered.read().decode()
    assert "://" not in page.replace("ws://${location.host}/play", "")
    program = Path(__file__).parents[2] / "examples/browser_arena.py"
    assert len(program.read_text(encoding="utf-8").splitlines()) <= 250


async def enter(page: Page, arena: Example, name: str) -> None:
    await page.goto(f"http://127.0.0.1:{arena.port}/")
    await page.get_by_label("your name").fill(name)
    await page.get_by_role("button", name="Enter").click()
    await expect(page.locator(f"tr[data-name={name}]")).to_be_visible()


@pytest.mark.needs("chromium")
async def test_two_people_play_in_a_browser_and_go_on_after_kill_9(arena: Example) -> None:
    async with async_playwright() as browsers:
        chromium = await browsers.chromium.launch(executable_path=needed("chromium"), args=["--no-sandbox"])
        of_ada, of_bob = await chromium.new_context(), await chromium.new_context()
        ada, bob = await of_ada.new_page(), await of_bob.new_page()
        for page in (ada, bob):
            page.set_default_timeout(LIMIT_S * 1000)
        await enter(ada, arena, "ada")
        await enter(bob, arena, "bob")
        await ada.keyboard.press("ArrowRight")
        await expect(bob.locator("tr[data-name=ada]")).to_contain_text("1,0")
        for told in ("a hit", "a hit", "a kill: 10 gold"):
            await ada.evaluate("document.getElementById('told').textContent = ''")
            await ada.locator("tr[data-name=bob]").get_by_role("button", name="attack").click()
            await expect(ada.locator("#told")).to_have_text(told)
        await expect(bob.locator("tr[data-name=bob]")).to_contain_text("40 gold")
        await asyncio.to_thread(arena.kill)
        await bob.locator("tr[data-name=ada]").get_by_role("button", name="pay 5").click()
        await asyncio.to_thread(arena.start)
        await expect(bob.locator("#told")).to_have_text("paid 5 gold")  # both came back, and bob's wish was sent again
        await expect(ada.locator("tr[data-name=ada]")).to_contain_text("65 gold")
        await expect(ada.locator("tr[data-name=ada]")).to_contain_text("1,0")
        await ada.reload()
        await expect(ada.locator("tr[data-name=bob]")).to_contain_text("35 gold")
        assert not await ada.locator("#login").is_visible()
        await chromium.close()
    assert await asyncio.to_thread(arena.stop) == 0, arena.said()
