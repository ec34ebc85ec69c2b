"""The commands of operators: what they refuse, with which exit code, and what they print."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from operations.operators.people import BROKEN
from realmkeep.cli.commands import COMMANDS
from realmkeep.cli.exit_codes import exit_codes
from realmkeep.errors import ActPending, AuthFailed, RealmkeepError

if TYPE_CHECKING:
    from cyclopts import App

Run = Callable[..., tuple[int, str, str]]


YES = ("--reason", "a test", "--yes")

REFUSALS: list[tuple[str, tuple[str, ...], int, str]] = [
    ("no such player", ("player", "show", "99"), 1, "there is no player '99'"),
    ("no such player, edited", ("player", "edit", "99", "gold", "1", *YES), 1, "there is no player '99'"),
    ("no such player, kicked", ("player", "kick", "99", *YES), 1, "there is no player '99'"),
    ("no match", ("player", "find", "nemo"), 1, ""),
    ("malformed id", ("player", "show", "a:b"), 1, "no ':'"),
    ("role too low to edit", ("player", "edit", "7", "gold", "1", "--as", "sue", *YES), 1, "needs the role admin"),
    ("role too low to kick", ("player", "kick", "7", "--as", "vic", *YES), 1, "needs the role support"),
    ("role too low to ban", ("player", "ban", "7", "--as", "vic", *YES), 1, "needs the role support"),
    ("gift too large", ("player", "gift", "7", "gold", "1001", "--as", "sue", *YES), 1, "beyond the 1,000"),
    ("ban too long", ("player", "ban", "7", "--for", "8d", "--as", "sue", *YES), 1, "beyond"),
    ("value out of bounds", ("player", "edit", "7", "gold", "-1", *YES), 1, "at least 0"),
    ("value of another type", ("player", "edit", "7", "gold", "much", *YES), 1, "expected `int`"),
    ("no such field", ("player", "edit", "7", "mana", "1", *YES), 1, "no stored field 'mana'"),
    ("no such item", ("player", "gift", "7", "moon", "1", *YES), 1, "no item 'moon'"),
    ("item with a serial", ("player", "gift", "7", "crown", "1", *YES), 1, "serial"),
    ("no such zone", ("player", "move", "7", "moon", *YES), 1, "no zone 'moon'"),
    ("not in the game", ("player", "kick", "7", *YES), 1, "not in the game"),
    ("not in the game, released", ("player", "release", "7", *YES), 1, "not in the game"),
    ("no account to ban", ("player", "ban", "8", *YES), 1, "no account has player:8"),
    ("no account to unban", ("player", "unban", "8", *YES), 1, "no account has player:8"),
    ("malformed new name", ("player", "rename", "7", "a b c", *YES), 1, "is not allowed"),
    ("role too low to rename", ("player", "rename", "7", "zoe", "--as", "sue", *YES), 1, "needs the role admin"),
    ("no such account", ("account", "show", "nemo"), 1, "no account 'nemo'"),
    ("no such account to lock", ("account", "lock", "nemo", *YES), 1, "no account 'nemo'"),
    ("no such account to sign out", ("account", "sign-out", "nemo", *YES), 1, "no account 'nemo'"),
    ("role too low for a password", ("account", "reset-password", "ada", "--as", "sue", *YES), 1, "needs the role admin"),
    ("role too low to lock", ("account", "lock", "ada", "--as", "vic", *YES), 1, "needs the role support"),
    ("no --yes to unlock", ("account", "unlock", "ada", "--reason", "x"), 2, "add --yes"),
    ("nothing in quarantine", ("quarantine", "show", "player:99"), 1, "nothing at player:99"),
    ("no record", ("quarantine", "show", "server:config"), 1, "no key of a record"),
    ("other bytes", ("quarantine", "discard", "player:9", "--digest", "0" * 16, *YES), 1, "changed since"),
    ("usable", ("quarantine", "discard", "player:8", "--digest", "0" * 16, *YES), 1, "can be used"),
    ("role too low to discard", ("quarantine", "discard", "player:9", "--digest", "0", "--as", "sue", *YES), 1, "admin"),
    ("no file", ("quarantine", "mend", "player:9", "none", "--digest", "0", *YES), 2, ""),
    ("store away, keys", ("keys", "check", "--store", "redis://127.0.0.1:1/0"), 69, "127.0.0.1"),
    ("no reason", ("player", "kick", "7", "--yes"), 2, "--reason"),
    ("no --yes off a terminal", ("player", "edit", "7", "gold", "1", "--reason", "x"), 2, "add --yes"),
    ("no --yes for a kick", ("player", "kick", "7", "--reason", "x"), 2, "add --yes"),
    ("no such operator", ("player", "find", "ada", "--as", "nemo"), 1, "the name, the password or the code is wrong"),
    ("store away", ("player", "find", "ada", "--store", "redis://127.0.0.1:1/0"), 69, "127.0.0.1"),
    ("store away, audit", ("audit", "verify", "--store", "redis://127.0.0.1:1/0"), 69, "127.0.0.1"),
    ("malformed store", ("player", "find", "ada", "--store", "http://x"), 78, "store.url"),
    ("malformed --expect", ("audit", "verify", "--expect", "x"), 2, "--expect"),
    ("no such operator to change", ("operator", "role", "nemo", "admin", *YES), 1, "no operator 'nemo'"),
    ("last admin", ("operator", "disable", "ann", *YES), 1, "last admin"),
    ("role too low to add", ("operator", "role", "sue", "admin", "--as", "sue", *YES), 1, "needs the role admin"),
    ("no password file", ("operator", "password", "ann", *YES), 78, "--password-file"),
    ("no password of a new one", ("operator", "add", "zoe", "--role", "viewer", *YES), 78, "no password for zoe"),
    ("no such operator to enable", ("operator", "enable", "nemo", *YES), 1, "no operator 'nemo'"),
    ("role too low for codes", ("operator", "codes", "ann", "--as", "sue", *YES), 1, "needs the role admin"),
    ("role too low to see requests", ("operator", "requests", "--as", "sue"), 1, "needs the role admin"),
    ("no request", ("operator", "approve", "x", *YES), 1, "no act 'x' waits"),
    ("no such operator to list", ("operator", "list", "--as", "nemo"), 1, "the code is wrong"),
    ("no history", ("player", "history", "99"), 1, ""),
    ("no such archive", ("player", "history", "7", "--archive", "ftp://x"), 78, "names no archive"),
    ("no moment", ("player", "at", "7", "yesterday"), 78, "no moment"),
    ("no serial", ("item", "trace", "sword"), 2, ""),
    ("no item", ("item", "trace", "5"), 1, ""),
    ("no such person", ("player", "export", "nemo"), 1, "there is no player 'nemo'"),
    ("role too low to export", ("player", "export", "ada", "--as", "sue"), 1, "needs the role admin"),
    ("no such person to erase", ("player", "erase", "nemo", *YES), 1, "there is no player 'nemo'"),
    ("role too low to erase", ("player", "erase", "ada", "--as", "sue", *YES), 1, "needs the role admin"),
    ("no --yes to erase", ("player", "erase", "ada", "--reason", "x"), 2, "add --yes"),
    ("store away, quarantine", ("quarantine", "list", "--store", "redis://127.0.0.1:1/0"), 69, "127.0.0.1"),
    ("no such operator, audit", ("audit", "list", "--as", "nemo"), 1, "the code is wrong"),
    ("no such backup", ("economy", "audit", "--backup", "20000101T000000Z"), 1, "20000101T000000Z"),
    ("store away, economy", ("economy", "audit", "--store", "redis://127.0.0.1:1/0"), 69, "127.0.0.1"),
    ("archive of another kind", ("journal", "verify", "--archive", "nowhere"), 78, "journal.url"),
    ("archive of another kind, recent", ("journal", "recent", "player:7", "--archive", "nowhere"), 78, "journal.url"),
    ("archive to forget in", ("journal", "forget", "--archive", "nowhere"), 78, "journal.url"),
    ("store away, plan", ("migrate", "plan", "--store", "redis://127.0.0.1:1/0"), 69, "127.0.0.1"),
    ("no such backup to rehearse", ("migrate", "rehearse", "--backup", "20000101T000000Z"), 1, "no backup of that name"),
    ("no --yes to migrate", ("migrate", "run", "--reason", "x"), 2, ""),
    ("no such holdings", ("migrate", "check", "--store", "http://x"), 2, ""),
]  # fmt: skip


def test_every_refusal_is_a_line_and_an_exit_code_and_changes_nothing(run: Run) -> None:
    before, without_hint = json.loads(run("audit", "list", "--json")[1]), list[str]()
    for name, arguments, code, said in REFUSALS:
        ended, _, err = run(*arguments)
        assert (name, ended) == (name, code), err
        assert said in err, (name, err)
        hinted = err.strip().endswith(")") or "; use" in err
        if said and code in {1, 69} and not (hinted and "\n" not in err.strip()):
            without_hint.append(f"{name}: {err}")
    assert without_hint == []
    assert json.loads(run("audit", "list", "--json")[1]) == before
    assert len(before) == 3


def test_every_command_of_operators_has_a_refusal_in_the_table() -> None:
    rooms = {"player", "item", "quarantine", "account", "operator", "audit", "keys", "economy", "journal", "migrate"}
    commands: set[tuple[str, ...]] = set()
    for room in COMMANDS:
        if room.name in rooms:
            module, _, name = room.target.partition(":")
            app: App = getattr(importlib.import_module(module), name)
            commands |= {(room.name, command) for command in app if not command.startswith("-")}
    assert len(commands) > 35
    assert commands - {arguments[:2] for _, arguments, _, _ in REFUSALS} == set()


def test_an_edit_of_a_stored_player_shows_the_difference_first(run: Run) -> None:
    code, out, err = run("player", "edit", "7", "gold", "50", *YES)
    assert (code, err) == (0, "")
    assert out.splitlines()[:3] == ["player 7, stored: gold", "- 5", "+ 50"]
    assert "gold: 5 -> 50" in run("player", "history", "7")[1]
    assert run("player", "edit", "7", "settings.music", "false", *YES)[0] == 0
    assert run("player", "edit", "7", "name", "Ada L", *YES)[0] == 0
    code, out, _ = run("player", "show", "7", "--json")
    values = {field["name"]: field["value"] for field in json.loads(out)["fields"]}
    assert (values["gold"], values["settings"], values["name"]) == (50, {"music": False}, "Ada L")
    code, out, _ = run("player", "find", "ada", "--as", "vic")
    assert (code, out) == (0, "7  Ada L\n")
    code, out, _ = run("player", "show", "7", "--as", "vic")
    assert code == 0
    assert "where    stored" in out
    assert "gold             50  (IMMEDIATE, int, from 0" in out


def test_the_trail_is_listed_by_target_and_operator_and_verified_against_a_noted_end(run: Run) -> None:
    assert run("player", "gift", "7", "gold", "10", "--as", "sue", *YES)[0] == 0
    assert run("player", "gift", "8", "gold", "10", *YES)[0] == 0
    of_seven = json.loads(run("audit", "list", "--target", "player:7", "--json")[1])
    assert [(each["operator"], each["act"], each["reason"]) for each in of_seven] == [("sue", "gift", "a test")]
    assert len(json.loads(run("audit", "list", "--operator", "ann", "--last", "2", "--json")[1])) == 1
    code, out, _ = run("audit", "list", "--as", "vic")
    assert (code, len(out.splitlines())) == (0, 5)
    code, out, _ = run("audit", "verify")
    noted = out.split()[-1]
    assert (code, noted[:2]) == (0, "5:")
    assert run("audit", "verify", "--expect", noted)[0] == 0
    assert run("audit", "verify", "--expect", "5:" + "0" * 64)[0] == 1


def test_operators_are_listed_changed_and_disabled(run: Run, tmp_path: Path) -> None:
    assert run("operator", "role", "sue", "viewer", *YES)[0] == 0
    assert run("operator", "disable", "vic", *YES)[0] == 0
    code, out, err = run("operator", "codes", "sue", *YES)
    assert (code, err) == (0, "")
    assert "otpauth://totp/" in out
    assert run("operator", "list")[1].splitlines() == [
        "ann  admin",
        "sue  viewer  one-time codes",
        "vic  viewer  disabled",
    ]
    assert run("player", "find", "ada", "--as", "vic")[0] == 1
    assert run("player", "find", "ada", "--as", "sue")[0] == 1  # without its code
    assert run("operator", "enable", "vic", *YES)[0] == 0
    assert run("operator", "codes", "sue", "--end", *YES)[0] == 0
    other = tmp_path / "other"
    other.write_text("other lantern over marsh")
    other.chmod(0o600)
    assert run("operator", "password", "sue", "--password-file", str(other), *YES)[0] == 0
    assert run("player", "find", "ada", "--as", "sue")[0] == 1
    assert [row["name"] for row in json.loads(run("operator", "list", "--json")[1])] == ["ann", "sue", "vic"]


def test_a_quarantined_record_is_shown_mended_and_found_sound(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("keys", "check")
    assert code == 1
    assert "player:9 cannot be used: A stored player has no checksum" in out
    code, out, _ = run("quarantine", "show", "player:9", "--json")
    shown = json.loads(out)
    assert (code, shown["content"]) == (1, BROKEN.decode())
    content = tmp_path / "content"
    content.write_text('{"version": 3, "player_id": 9, "name": "Zoe", "gold": -1}')
    arguments = ("quarantine", "mend", "player:9", str(content), "--digest", shown["digest"], *YES)
    code, out, err = run(*arguments)
    assert (code, "as unusable" in err, "gold is -1, should be at least 0" in out) == (1, True, True)
    content.write_text('{"version": 3, "player_id": 9, "name": "Zoe", "gold": 1}')
    assert run(*arguments)[0] == 0
    assert run("player", "find", "zoe")[1] == "9  Zoe\n"
    code, out, _ = run("keys", "check", "--json")
    assert (code, json.loads(out)["records"]) == (0, {"account": 1, "operator": 3, "player": 3})
    assert run("quarantine", "list")[:2] == (0, "")


def test_a_check_shows_a_bar_on_a_terminal_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("keys", "check")[2] == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the captured stream for a terminal
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = run("keys", "check", "--json")
    assert (code, json.loads(out)["records"]["player"]) == (1, 2)
    assert "records" in err
    assert "100%" in err


def test_an_account_is_locked_renamed_and_gets_a_password(run: Run) -> None:
    assert run("account", "lock", "ada", "--as", "sue", *YES)[0] == 0
    assert "locked      a test" in run("account", "show", "ada", "--as", "vic")[1]
    assert run("account", "unlock", "ada", *YES)[0] == 0
    assert run("account", "sign-out", "ada", *YES)[0] == 0
    code, _, err = run("account", "reset-password", "ada", *YES)
    assert (code, "the new password, shown once: " in err) == (0, True)
    assert run("player", "rename", "ada", "lovelace", *YES)[0] == 0
    code, out, _ = run("account", "show", "lovelace", "--json")
    assert (code, json.loads(out)["character_ids"], json.loads(out)["usable"]) == (0, [7], True)
    acts = [each["act"] for each in json.loads(run("audit", "list", "--json")[1])][3:]
    assert acts == ["lock", "unlock", "sign-out", "reset-password", "rename"]


def test_settings_that_name_no_operator_or_password_are_misconfigured(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALMKEEP_OPERATORS__NAME", "")
    code, _, err = run("player", "find", "ada")
    assert (code, "no operator is named" in err) == (78, True)
    monkeypatch.delenv("REALMKEEP_OPERATORS__PASSWORD_FILE")
    code, _, err = run("player", "find", "ada", "--as", "ann")
    assert (code, "no password" in err) == (78, True)
    monkeypatch.setenv("REALMKEEP_OPERATORS__PLAYERS", "realmkeep.realm.world.player:Player")
    code, _, err = run("player", "find", "ada", "--as", "ann")
    assert (code, "is a MetaRecord" in err or "is a" in err) == (78, True)
    monkeypatch.setenv("REALMKEEP_OPERATORS__PLAYERS", "nothing.here:PLAYERS")
    code, _, err = run("player", "find", "ada", "--as", "ann")
    assert (code, "cannot be imported" in err) == (78, True)


def test_only_the_first_operator_needs_no_other(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REALMKEEP_OPERATORS__NAME", "")
    add = ("operator", "add", "eve", "--role", "admin", "--password-file", str(tmp_path / "password"), "--yes")
    code, _, err = run(*add, "--reason", "x")
    assert (code, "no operator is named" in err) == (78, True)
    code, _, err = run(*add)
    assert (code, "--reason" in err) == (2, True)


@pytest.mark.parametrize(
    ("error", "code"),
    [(ActPending("x"), 75), (AuthFailed("x", reason="throttled"), 75)],
)
def test_an_act_that_may_still_happen_and_a_throttled_login_end_with_75(error: RealmkeepError, code: int) -> None:
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise error
    assert ended.value.code == code


def test_guesses_at_the_command_line_are_throttled(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong lantern over marsh")
    wrong.chmod(0o600)
    monkeypatch.setenv("REALMKEEP_OPERATORS__PASSWORD_FILE", str(wrong))
    monkeypatch.setenv("REALMKEEP_AUTH__THROTTLE_ACCOUNT_FREE", "1")  # then 1 s, 2 s, 4 s
    codes = [run("player", "find", "ada")[0] for _ in range(4)]
    assert 75 in codes
