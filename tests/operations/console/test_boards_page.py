"""Boards at the console."""

import re
from pathlib import Path

from operations.console.asking import Realm, realm
from realmkeep import Record, durable
from realmkeep.operations.operators.roles import Role
from realmkeep.testing.lab import Lab


class Jumper(Record, kind="console-jumper", version=1):
    points: int = durable(default=0, ranked="jumps")


async def test_the_ranks_are_shown_fifty_at_a_time_for_each_season(tmp_path: Path) -> None:
    async with Lab() as lab, realm(lab, tmp_path, records=[Jumper]) as kept:
        board = lab.keeper.board("jumps")
        for number in range(60):
            session = await lab.keeper.login(Jumper, number, create=Jumper)
            session.record.points = 1000 - number
        browser = await kept.browser(Role.VIEWER)
        assert (await browser.get("/boards")).headers["location"] == "/boards/jumps"
        await board.end_season("spring")
        assert "No record is on this board yet" in (await browser.get("/boards/jumps")).text
        first, second = [(await browser.get(f"/boards/jumps?season=spring&page={page}")).text for page in (0, 1)]
        found = re.findall(r'<th scope="row">(\d+)</th><td class="number">([\d,]+)</td>', first + second)
        assert found == [(str(number), f"{1000 - number:,}") for number in range(60)]
        assert ("Next 50" in first, "Next 50" in second) == (True, False)
        assert (await browser.get("/boards/jumps?season=autumn")).status == 409


async def test_a_board_that_the_game_does_not_declare_is_refused(kept: Realm) -> None:
    browser = await kept.browser(Role.VIEWER)
    assert (await browser.get("/boards/nothing")).status == 409
    assert "declares no board" in (await browser.get("/boards")).text
