"""`realmkeep board` on the store of a realm without an archive: ranks as they are stored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from realmkeep.cli.app import app
from realmkeep.errors import RealmkeepError
from realmkeep.keeping.boards.ranking import Ranking
from realmkeep.operations import stored_boards
from realmkeep.realm.world.player import Player
from realmkeep.records import encode
from realmkeep.storage import Put, Transaction, open_storage

pytestmark = pytest.mark.backend("sqlite")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
async def realm(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'realm.db'}"
    storage = open_storage(url)
    await storage.connect()
    players = [Player(player_id=number, name=f"Ada{number}", xp=10 * number) for number in range(1, 13)]
    players.append(Player(player_id=20, name="Late", xp=120))
    puts = [Put(f"player:{each.player_id}", encode(each)) for each in players]
    await storage.write([Transaction((), (*puts, Put("player:30", b"{broken")))])
    await storage.disconnect()
    return url


@pytest.fixture
def run(realm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("REALMKEEP_STORE__URL", realm)

    def run(*arguments: str) -> tuple[int, str, str]:
        code: Any = 0
        try:
            app(["board", *arguments], result_action="return_value")
        except SystemExit as ended:
            code = ended.code
        except RealmkeepError as error:
            return 1, capsys.readouterr().out, f"{error}"
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_records_of_a_large_store_are_not_all_in_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counting(Ranking):
        @override
        def put(self, id: str, score: int, now_us: int) -> None:
            super().put(id, score, now_us)
            sizes.append(len(self))

    monkeypatch.setattr(stored_boards, "RECORDS_MAX", 3)
    monkeypatch.setattr(stored_boards, "Ranking", Counting)
    _, out, _ = run("top", "xp")
    assert [line.split()[-1] for line in out.splitlines()] == ["12", "20", "11"]
    assert max(sizes) == 2 * 3 + 1


def test_the_best_of_a_store(run: Run) -> None:
    code, out, err = run("top", "xp", "--count", "3")
    assert [line.split() for line in out.splitlines()] == [["1", "120", "12"], ["2", "120", "20"], ["3", "110", "11"]]
    assert (code, "every record of the store" in err, "1 records cannot be read" in err) == (0, True, True)
    code, out, _ = run("around", "xp", "1", "--count", "1", "--json")
    assert [(each["rank"], each["id"], each["score"]) for each in json.loads(out)] == [(12, "2", 20), (13, "1", 10)]
    code, out, err = run("around", "xp", "999")
    assert (code, out, "no such record" in err) == (0, "", True)


def test_its_boards_and_seasons(run: Run) -> None:
    assert run("list")[1].split() == ["xp"]
    code, out, _ = run("seasons", "xp", "--json")
    assert (code, [each["name"] for each in json.loads(out)]) == (0, [""])


def test_refusals(run: Run) -> None:
    for arguments, says in (
        (("top", "depth"), "no field is ranked on the board 'depth'"),
        (("top", "xp", "--count", "0"), "count is 0"),
        (("top", "xp", "--season", "spring"), "no season 'spring'"),
        (("around", "xp", "1", "--count", "501"), "count is 501"),
        (("end", "xp", "spring"), "set archive.url"),
    ):
        code, out, err = run(*arguments)
        assert (code != 0, out) == (True, ""), arguments
        assert says in err, (arguments, err)
