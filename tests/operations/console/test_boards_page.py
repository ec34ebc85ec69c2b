"""Boards at the console."""

import re
from pathlib import Path

from operations.console.asking import Jumper, Realm, realm
from operations.operators.people import PASSWORD, audited
from realmkeep.operations.operators.roles import Role
from realmkeep.testing.lab import Lab


def ranks(text: str) -> list[tuple[str, str]]:
    return re.findall(r'<th scope="row">(\d+)</th><td class="number">([\d,]+)</td>', text)


async def jump(kept: Realm) -> None:
    kept.lab.keeper.board("jumps")
    for number in range(60):
        session = await kept.lab.keeper.login(Jumper, number, create=Jumper)
        session.record.points = 1000 - number


async def test_the_ranks_are_shown_fifty_at_a_time_and_around_a_record_in_each_season(kept: Realm) -> None:
    await jump(kept)
    browser = await kept.browser(Role.VIEWER)
    assert (await browser.get("/boards")).headers["location"] == "/boards/jumps"
    await kept.lab.keeper.board("jumps").end_season("spring")
    assert "No record is on this board yet" in (await browser.get("/boards/jumps")).text
    first, second = [(await browser.get(f"/boards/jumps?season=spring&page={page}")).text for page in (0, 1)]
    assert ranks(first + second) == [(str(number), f"{1000 - number:,}") for number in range(60)]
    assert ("Next 50" in first, "Next 50" in second) == (True, False)
    assert [each for each, _ in ranks((await browser.get("/boards/jumps?season=spring&q=30")).text)] == [
        str(number) for number in range(10, 51)
    ]
    assert "61 is not on this board" in (await browser.get("/boards/jumps?q=61")).text
    assert (await browser.get("/boards/jumps?season=autumn")).status == 409
    assert "End the season" not in first


async def test_an_admin_ends_a_season_once_and_it_is_audited(kept: Realm) -> None:
    await jump(kept)
    browser = await kept.browser(Role.ADMIN)
    act_id = re.findall(r'name="act_id" value="(\w{16})"', (await browser.get("/boards/jumps")).text)[0]
    form = {"season": "spring", "reason": "as announced", "typed": "jumps", "password": PASSWORD, "act_id": act_id}
    for wrong, status in (({"typed": "jump"}, 409), ({"password": ""}, 401), ({"season": " "}, 409)):
        assert (await browser.post("/boards/jumps/end", {**form, **wrong})).status == status
    for _ in range(2):
        assert (await browser.post("/boards/jumps/end", form)).headers["location"] == "/boards/jumps"
    assert (await browser.post("/boards/jumps/end", {**form, "act_id": "1" * 16})).status == 409, "the name is taken"
    assert len(ranks((await browser.get("/boards/jumps?season=spring")).text)) == 50
    assert [(each.act, each.target, each.details) for each in await audited(kept.lab)] == [
        ("end-season", "board:jumps", {"season": "spring"})
    ]


async def test_a_board_that_the_game_does_not_declare_is_refused(kept: Realm, tmp_path: Path) -> None:
    browser = await kept.browser(Role.VIEWER)
    assert (await browser.get("/boards/nothing")).status == 409
    async with Lab() as lab, realm(lab, tmp_path, records=()) as without:
        assert "declares no board" in (await (await without.browser(Role.VIEWER)).get("/boards")).text
