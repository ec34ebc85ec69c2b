"""The console in a real browser: every page of the table, both schemes, a phone, the keyboard.

No message of the browser, no request to another place, no finding of axe, and names of players are text.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from functools import partial

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from operations.console.asking import HASHED, Jumper, hostile_things, path_of
from operations.console.browsing import Seen, check_page
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

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

BEYOND_THE_TABLE = ["/players?q=7&by=id", "/players?q=ada", "/accounts?q=ada", "/nowhere"]


async def sign_in(page: Page) -> None:
    await page.keyboard.type("ann")  # the first field has the focus
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Seen]:
    auth = AuthConfig(key_file=str(tmp_path_factory.mktemp("console") / "keys"))
    async with Keeper.open("memory://") as keeper:
        storage, clock = engine_of(keeper).storage, engine_of(keeper).clock
        await UnownedRecords(Operator, storage, clock=clock).create(
            "ann", Operator(name="ann", role="admin", password_hash=HASHED)
        )
        await hostile_things(keeper)
        accounts: Accounts = await asyncio.to_thread(
            partial(open_accounts, storage, auth, server_name=keeper.name, clock=clock)
        )
        config = Config(auth=auth)
        made = console_port(
            ConsoleConfig(listen="127.0.0.1:0"),
            lambda hosts: console(keeper, accounts, PLAYERS, config=config, records=[Jumper], hosts=hosts),
        )
        async with made as (url, _), async_playwright() as browsers:
            chromium = await browsers.chromium.launch(executable_path=needed("chromium"), args=["--no-sandbox"])
            yield Seen(url, chromium)
            await chromium.close()


async def test_every_page_is_quiet_local_accessible_and_fits_a_phone(seen: Seen) -> None:
    whole = 0
    async with seen.page() as page:
        await page.goto(f"{seen.url}/players/7")
        await check_page(page, "/login")
        await sign_in(page)
        await expect(page.get_by_role("heading", level=1)).to_contain_text("<img")
        for path in [*(path_of(route) for route in ROUTES if route.method == "GET"), *BEYOND_THE_TABLE]:
            await page.goto(seen.url + path)
            if not await page.evaluate("document.doctype !== null"):
                continue  # a part of a page, or JSON
            whole += 1
            if path == "/":
                await expect(page.locator(".charts[data-drawn]")).to_be_visible()
            await check_page(page, path)
    assert whole > len([route for route in ROUTES if route.label])
    assert seen.unexpected == []


async def test_an_edit_is_made_with_the_keyboard_alone(seen: Seen) -> None:
    async with seen.page() as page:
        await page.goto(f"{seen.url}/login")
        await sign_in(page)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        await page.goto(f"{seen.url}/players/7")
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


async def test_a_record_is_mended_while_the_loading_path_judges_what_is_typed(seen: Seen) -> None:
    async with seen.page() as page:
        await page.goto(f"{seen.url}/quarantine/rover%3A9")
        await sign_in(page)
        await expect(page.locator("h1")).to_contain_text("cannot be used")
        area, verdict = page.get_by_label("New content"), page.locator("#verdict")
        await area.fill('{"version": 1, "name": "Zoe", "gold": -1}')
        await expect(verdict).to_contain_text("refuses")
        await area.fill('{"version": 1, "name": "Zoe", "gold": 1}')
        await expect(verdict).to_contain_text("accepts")
        mending = page.locator("form", has=area)
        await mending.get_by_label("Reason").fill("ticket 82")
        await mending.get_by_label("Type rover:9").fill("rover:9")
        await mending.get_by_label("Your password").fill(PASSWORD)
        await mending.get_by_role("button", name="Mend").click()
        await expect(page.locator("h1")).to_contain_text("can be used")


async def test_the_account_of_a_player_with_another_name_is_looked_for_on_the_page(seen: Seen) -> None:
    async with seen.page() as page:
        await page.goto(f"{seen.url}/players/7")
        await sign_in(page)
        await page.get_by_text("Look for its account").click()
        await page.get_by_role("link", name="ada", exact=True).click()
        await expect(page.locator("summary", has_text="Ban")).to_be_visible()
    assert seen.unexpected == []
