"""The console of a real server: its address, the one-time link, and what it says without them."""

import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect
from server import SETTINGS, running

from operations.console.browsing import Seen, check_page
from operations.metrics.scraping import get
from suite.engines import needed

STANDS_STILL = """() => {
  const map = document.getElementById("map");
  const drawn = `${map.dataset.at} of ${map.clientWidth} at ${map.width}`;
  map.same = drawn === map.drawn ? (map.same || 0) + 1 : 0;
  map.drawn = drawn;
  return map.same > 5;
}"""


async def test_a_server_prints_its_console_and_the_link_for_the_first_operator_once(tmp_path: Path) -> None:
    with running(tmp_path, CONSOLE__LISTEN="127.0.0.1:0", OPERATIONS__LISTEN="") as server:
        url = server.told["console"]
        link = re.search(rf"{url}/first/[\w-]{{43}}", server.log)
        assert link is not None, server.log
        password = "quiet lantern over marsh"
        form = urllib.parse.urlencode({"name": "ann", "password": password, "again": password}).encode()
        request = urllib.request.Request(link[0], form, {"Origin": url})
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(request, timeout=20) as page:
            shown = page.read().decode()
        assert "<h1>Overview</h1>" in shown
        assert "Tick lateness" in shown
        with opener.open(f"{url}/map", timeout=20) as page:
            assert "Live map" in page.read().decode()
        with opener.open(f"{url}/map/world", timeout=20) as world:
            assert {zone["name"] for zone in json.load(world)["zones"]} >= {"town", "meadow"}
        await server.player("ada")
        with opener.open(f"{url}/map/events", timeout=20) as events:
            frame = json.loads(events.readline().removeprefix(b"data: "))
        assert frame["present"] == 1
        assert len(frame["players"]) == 1
        assert frame["monsters"]
        assert get(url.removeprefix("http://"), link[0].removeprefix(url)).status == 410
        server.stop()
        server.log_path.write_text("")
        server.start()
        assert "/first/" not in server.log
        assert server.told["console"] in server.log


@pytest.mark.needs("chromium")
async def test_the_live_map_shows_a_player_in_a_browser_and_leads_to_its_page(tmp_path: Path) -> None:
    with running(tmp_path, CONSOLE__LISTEN="127.0.0.1:0", OPERATIONS__LISTEN="") as server:
        link = re.search(r"http://127\.0\.0\.1:\d+/first/[\w-]{43}", server.log)
        assert link is not None, server.log
        await server.player("ada")
        async with async_playwright() as browsers:
            chromium = await browsers.chromium.launch(executable_path=needed("chromium"), args=["--no-sandbox"])
            seen = Seen(server.told["console"], chromium)
            async with seen.page() as page:
                await page.goto(link[0])
                for label in ("Name", "Password", "Password again"):
                    await page.get_by_label(label, exact=True).fill(
                        "quiet lantern over marsh"[: 5 if label == "Name" else 30]
                    )
                await page.keyboard.press("Enter")
                await page.get_by_role("link", name="Live map").click()
                await expect(page.locator("canvas[data-players='1']")).to_be_visible()
                await expect(page.locator("#map-zones")).to_contain_text("town (safe)1 players, 0 monsters")
                await check_page(page, "/map")
                await page.wait_for_function(STANDS_STILL)  # it was a phone's just now
                place = await page.evaluate("document.getElementById('map').dataset.at")
                x, y = map(float, place.split())
                await page.locator("canvas").click(position={"x": x, "y": y})
                await expect(page.get_by_role("heading", level=1)).to_contain_text("ada")
            assert seen.unexpected == []
            await chromium.close()


def test_without_the_setting_there_is_none_and_a_wrong_one_stops_the_start(tmp_path: Path) -> None:
    with running(tmp_path / "a") as server:
        assert server.told["console"] is None
    ended = subprocess.run(
        [sys.executable, "-m", "realmkeep.cli", "serve", "--data", tmp_path / "b", "--console", "0.0.0.0:0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **SETTINGS},
    )
    assert ended.returncode == 1, ended.stderr
    assert "console.tls_cert" in ended.stderr
