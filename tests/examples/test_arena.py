"""`examples/arena.py` is played by a TCP client, killed, started again, and still has what was earned."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from examples.process import LIMIT_S, Example

ROOT = Path(__file__).parents[2]
STORES = ["embedded:///arena-data", "sqlite:///arena.db"]


@contextmanager
def connection(arena: Example) -> Generator["Line"]:
    with (
        socket.create_connection(("127.0.0.1", arena.port), LIMIT_S) as client,
        client.makefile("rw", encoding="utf-8", errors="surrogateescape", newline="\n") as stream,
    ):
        yield Line(stream)


class Line:
    """A client: one line to the arena, one line back."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, line: str) -> str:
        self._stream.write(f"{line}\n")
        self._stream.flush()
        return self.hear()

    def hear(self) -> str:
        """The next line of the arena; nothing once it has closed the connection."""
        return self._stream.readline().rstrip("\n")


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.partition(":")[0])
def test_what_was_earned_is_there_after_kill_9(tmp_path: Path, store: str) -> None:
    with Example("arena.py", store, tmp_path) as arena:
        with connection(arena) as ada, connection(arena) as bob:
            assert ada.say("login ada") == "hello: 20 gold, at 0.0, last operation 0"
            assert bob.say("login bob") == "hello: 20 gold, at 0.0, last operation 0"
            assert ada.say("move 3.5") == "you are at 3.5"
            assert [ada.say(f"{number} attack") for number in (1, 2, 3)] == [
                "ok 1: 20 gold",
                "ok 2: 20 gold",
                "ok 3: 30 gold",
            ]
            assert ada.say("4 pay bob 25") == "ok 4: 5 gold"
            assert ada.say("4 pay bob 25") == "ok 4: 5 gold"
            assert ada.say("5 pay bob 25").startswith("no 5: ")
            arena.kill()
            assert ada.say("6 attack") == ""
        arena.start()
        with connection(arena) as ada, connection(arena) as bob:
            assert ada.say("login ada") == "hello: 5 gold, at 3.5, last operation 4"
            assert bob.say("login bob") == "hello: 45 gold, at 0.0, last operation 0"
            assert ada.say("4 pay bob 25") == "ok 4: 5 gold"
            assert ada.say("3 attack") == "ok 3: 30 gold"
            assert bob.say("1 pay ada 45") == "ok 1: 0 gold"
        assert arena.stop() == 0


def test_a_player_comes_back_to_the_same_session_and_the_newest_connection_plays(tmp_path: Path) -> None:
    with Example("arena.py", "sqlite:///arena.db", tmp_path) as arena:
        with connection(arena) as first:
            first.say("login ada")
            assert first.say("1 attack") == "ok 1: 20 gold"
            with connection(arena) as second:
                assert second.say("login ada") == "hello: 20 gold, at 0.0, last operation 1"
                assert first.say("2 attack") == ""
                assert second.say("2 attack") == "ok 2: 20 gold"
        with connection(arena) as third:
            assert third.say("login ada").endswith("last operation 2")
        assert arena.stop() == 0


def test_nonsense_is_answered_and_the_game_goes_on(tmp_path: Path) -> None:
    with Example("arena.py", "sqlite:///arena.db", tmp_path) as arena, connection(arena) as ada:
        for line in ("", "login", "enter ada", "login ada bob", "1 attack"):
            assert ada.say(line) == "no: first of all: login NAME", line
        for line in ("login a:b", "\udcff"):
            assert ada.say(line).startswith("no: "), line
        assert ada.say("login ada") == "hello: 20 gold, at 0.0, last operation 0"
        for line in ("", "jump", "login ada", "move", "move far", "move nan", "move 1e9", "0 attack", "x attack"):
            assert ada.say(line).startswith("no: "), line
        for line in ("1 pay ada 5", "1 pay bob 5", "1 pay bob", "1 pay ada x", "1 pay ada -5"):
            assert ada.say(line).startswith("no: "), line
        assert ada.say("1 attack") == "ok 1: 20 gold"


def test_a_line_without_an_end_is_refused_and_ends_its_connection_alone(tmp_path: Path) -> None:
    with Example("arena.py", "sqlite:///arena.db", tmp_path) as arena, connection(arena) as ada:
        assert ada.say("login ada") == "hello: 20 gold, at 0.0, last operation 0"
        with connection(arena) as eve:
            eve.say("login eve")
            assert eve.say("x" * (2**16 + 1)) == "no: the line is too long"
            assert eve.hear() == ""
        assert ada.say("1 attack") == "ok 1: 20 gold"
        assert arena.stop() == 0
        assert "Traceback" not in arena.said()


def test_it_is_read_in_five_minutes() -> None:
    lines = (ROOT / "examples/arena.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 140
