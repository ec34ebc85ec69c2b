"""The console in a real browser: every page, both schemes, a phone, the keyboard; no message, no other place, no axe finding."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect

from keeping.game import Player
from operations.console.asking import HASHED
from operations.operators.people import PASSWORD, PLAYERS
from realmkeep.accounts import Accounts, open_accounts
from realmkeep.config import AuthConfig, Config, ConsoleConfig
from realmkeep.keeping import Keeper
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.operations.console import console, console_port
from realmkeep.operations.console.routes import ROUTES
from realmkeep.operations.operators.operator import Operator
from suite.engines import needed

AXE = Path(__file__).with_name("axe") / "axe.min.js"
HOSTILE = "<img src=x onerror=alert(1)>"
PAGES = [route.path for route in ROUTES if route.label] + ["/players?q=7&by=id", "/players/7", "/nowhere"]
LIMIT_MS = 20_000


@asynccontextmanager
async def realm(tmp_path: Path) -> AsyncGenerator[str]:
    auth = AuthConfig(key_file=str(tmp_path / "keys"))
    async with Keeper.open("memory://") as keeper:
        storage, clock = engine_of(keeper).storage, engine_of(keeper).clock
        await UnownedRecords(Operator, storage, clock=clock).create(
            "ann", Operator(name="ann", role="admin", password_hash=HASHED)
        )
        await keeper.login(Player, 7, create=lambda: Player(name=HOSTILE, gold=10))
        accounts: Accounts = await asyncio.to_thread(
            partial(open_accounts, storage, auth, server_name=keeper.name, clock=clock)
        )
        config = Config(auth=auth)
        made = console_port(
            ConsoleConfig(listen="127.0.0.1:0"),
            lambda hosts: console(keeper, accounts, PLAYERS, config=config, hosts=hosts),
        )
        async with made as (url, _):
            yield url


async def findings(page: Page) -> list[Any]:
    """The rules of axe that the page breaks. Its script is evaluated by the test, so the page's own policy stays."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_quiet_local_accessible_and_fits_a_phone(tmp_path: Path, scheme: Any) -> None:
    said: list[str] = []
    async with realm(tmp_path) as url, async_playwright() as browsers:
        chromium = await browsers.chromium.launch(executable_path=needed("chromium"), args=["--no-sandbox"])
        page = await chromium.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900})
        page.set_default_timeout(LIMIT_MS)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda asked: None if asked.url.startswith((url, "data:")) else said.append(asked.url))
        await page.goto(f"{url}/players/7")
        assert await findings(page) == []
        await page.keyboard.type("ann")  # the first field has the focus
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE)
        for path in PAGES:
            await page.set_viewport_size({"width": 1280, "height": 900})
            await page.goto(url + path)
            if path == "/":
                await expect(page.locator(".charts[data-drawn]")).to_be_visible()
            assert await findings(page) == [], path
            await page.set_viewport_size({"width": 360, "height": 740})
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        await chromium.close()
    unexpected = [each for each in said if "404" not in each]
    assert unexpected == []


@pytest.mark.needs("chromium")
async def test_an_edit_is_made_with_the_keyboard_alone(tmp_path: Path) -> None:
    async with realm(tmp_path) as url, async_playwright() as browsers:
        chromium = await browsers.chromium.launch(executable_path=needed("chromium"), args=["--no-sandbox"])
        page = await chromium.new_page()
        page.set_default_timeout(LIMIT_MS)
        await page.goto(f"{url}/login")
        await page.keyboard.type("ann")
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        await page.goto(f"{url}/players/7")
        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()
        await page.locator("summary", has_text="Edit a field").focus()
        await page.keyboard.press("Enter")
        for text in ("gold", "500"):
            await page.keyboard.press("Tab")
            await page.keyboard.type(text)
        await page.keyboard.press("Enter")
        await expect(page.locator("ins")).to_have_text("500")
        await page.get_by_label("Reason").focus()
        for text in ("ticket 81", "7", PASSWORD):
            await page.keyboard.type(text)
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text(re.compile("Done: gold is changed"))
        await chromium.close()
