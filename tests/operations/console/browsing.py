"""A real browser at a console, and what a page must be in it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, ViewportSize

AXE = Path(__file__).with_name("axe") / "axe.min.js"
LIMIT_MS = 20_000
WIDE, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=360, height=740)


@dataclass
class Seen:
    """A browser at a console, and everything that it said or asked elsewhere."""

    url: str
    chromium: Browser
    said: list[str] = field(default_factory=list[str])

    @asynccontextmanager
    async def page(self) -> AsyncGenerator[Page]:
        """A page of a browser that has not signed in."""
        page = await self.chromium.new_page(color_scheme="light", reduced_motion="reduce", viewport=WIDE)
        page.set_default_timeout(LIMIT_MS)
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))
        page.on(
            "request", lambda asked: None if asked.url.startswith((self.url, "data:")) else self.said.append(asked.url)
        )
        yield page
        await page.close()

    @property
    def unexpected(self) -> list[str]:
        """All of it, without the answers to a page that is not there, and to a link that has ended."""
        return [each for each in self.said if "404" not in each and "410" not in each]


async def findings(page: Page, **options: Any) -> list[Any]:
    """The rules of axe that the page breaks. Its script is evaluated by the test, so the page's own policy stays."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("options => axe.run(options)", {"resultTypes": ["violations"], **options})
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]


async def check_page(page: Page, path: str) -> None:
    """Look at the page in both schemes and in the width of a phone."""
    assert await findings(page) == [], path
    await page.emulate_media(color_scheme="dark")
    assert await findings(page, runOnly=["color-contrast"]) == [], f"{path} in the dark"
    await page.set_viewport_size(PHONE)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    await page.set_viewport_size(WIDE)
    await page.emulate_media(color_scheme="light")
