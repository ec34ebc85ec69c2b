"""The real server and its real store, as processes, spoken to by a client that was written from the page."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client import PATIENCE_S, Message, Seal
from server import Server, running

from realmkeep.storage.embedded_process import socket_path

StartPosition = Callable[..., Server]
BOTH = pytest.mark.parametrize("over_udp", [False, True], ids=["tcp", "udp"])
SYNTAXES = pytest.mark.parametrize("lisp", [False, True], ids=["json", "lisp"])


@BOTH
@SYNTAXES
async def test_a_newcomer_registers_shops_banks_fights_shy_and_comes_back(
    server: Server, *, over_udp: bool, lisp: bool
) -> None:
    name = f"new-{over_udp}-{lisp}"
    how = {"over_udp": over_udp, "lisp": lisp, "sealed": True, "upper": lisp}
    ada = await server.player(name, **how)
    assert (ada.state["name"], ada.state["gold"], ada.state["zone"]) == (name.casefold(), 100, "town")
    seen = await ada.done("look")
    assert seen["bank"] is True
    single = next(item for item in seen["shop"] if not item["stackable"] and item["price"] < 100)
    bought = await ada.act("buy", item=single["item"], count=1)
    assert (bought["tier"], bool(bought["repeated"])) == (1, False)
    assert bought["result"]["gold"] == 100 - single["price"]
    await ada.done("deposit", item="gold", count=5)
    await ada.done("set", name="music_volume", value=0.25)
    last_tier_1 = ada.op_id
    await ada.done("move", x=ada.state["x"] + 1, y=ada.state["y"] + 0.5)
    assert await ada.refused("attack", target=1) == "no_such_target"
    assert await ada.refused("buy", item=single["item"], count=-1) == "bad_field"
    assert (await ada.ask({"type": "ping", "t": 7}, lambda m: m["type"] == "pong"))["t"] == 7
    left = ada.state
    await ada.logout()
    back = await server.client(**how).connect()
    answer = await back.login(name)
    assert bool(answer["resumed"]) is False
    assert answer["state"] == left
    assert answer["last_op"] == last_tier_1


async def test_json_over_tcp_and_lisp_over_udp_trade_with_each_other(server: Server) -> None:
    ada = await server.player("trader-ada")
    bob = await server.player("trader-bob", over_udp=True, lisp=True)
    await ada.done("buy", item="dagger", count=1)
    (dagger,) = [item for item in ada.state["inventory"] if item["item"] == "dagger"]
    await ada.done("trade_request", player=bob.state["player_id"])
    await bob.event("trade_requested")
    await bob.done("trade_request", player="trader-ada")
    await ada.event("trade_opened")
    await ada.done("trade_offer", items=[{"slot": dagger["slot"], "count": 1}])
    await bob.done("trade_offer", items=[], gold=50)
    yes = asyncio.ensure_future(ada.act("trade_confirm"))
    await bob.event("trade_confirmed")
    done, also = await bob.act("trade_confirm"), await yes
    assert [done["type"], also["type"]] == ["ack", "ack"]
    assert await bob.event("trade_completed")
    assert (ada.state["gold"], bob.state["gold"]) == (100 - 30 + 50, 50)
    assert dagger["serial"] in [item.get("serial") for item in bob.state["inventory"]]


async def test_login_reasons(server: Server) -> None:
    await server.player("reasons")
    client = await server.client().connect()
    for kind, credentials, reason in (
        ("register", {"username": "reasons", "password": "another-good-password"}, "username_taken"),
        ("register", {"username": "x", "password": "another-good-password"}, "bad_username"),
        ("register", {"username": "fresh-name", "password": "secret"}, "weak_password"),
        ("login", {"username": "reasons", "password": "not-the-password-at-all"}, "bad_credentials"),
        ("login", {"username": "nobody-of-this-name", "password": "not-the-password"}, "bad_credentials"),
        ("login", {"ticket": "no-such-ticket"}, "bad_credentials"),
        ("login", {"encrypted_payload": "00" * 80}, "bad_credentials"),
    ):
        assert (await client.enter(kind, credentials))["reason"] == reason
    client.send({"type": "login", "username": "reasons"})
    assert (await client.wait(lambda m: m["type"] == "error"))["reason"] == "bad_field"


async def test_sealed_credentials_are_accepted_once_and_only_fresh(server: Server) -> None:
    ada = await server.player("sealed-ada", sealed=True)
    client = await server.client().connect()
    welcome = await client.hello()
    assert welcome["auth_public_key"] == server.told["auth_public_key"]

    def sealed(**fields: Any) -> Message:
        plaintext = json.dumps({"username": "sealed-ada", "password": "correct-horse-battery", **fields})
        return {"encrypted_payload": Seal(welcome["auth_public_key"]).seal(plaintext.encode())}

    async def reason(credentials: Message) -> str | None:
        answer = await client.ask({"type": "login", **credentials}, lambda m: m["type"] in {"auth_ok", "auth_fail"})
        return answer.get("reason")

    once = sealed(timestamp=time.time())
    assert await reason(once) is None
    assert await reason(once) == "replayed"
    assert await reason(sealed(timestamp=time.time() - 3600)) == "replayed"
    assert await reason(sealed()) == "replayed"
    assert await reason(sealed(challenge="00" * 20)) == "replayed"
    assert await reason(sealed(challenge=welcome["challenge"])) is None
    assert ada.ended or await ada.wait(lambda m: m["type"] == "goodbye")


async def test_a_datagram_from_another_address_is_nobodys(server: Server) -> None:
    ada = await server.player("udp-ada", over_udp=True)
    eve = await server.client(over_udp=True).connect()
    eve.sid = ada.sid
    eve.send({"type": "intent", "action": "buy", "item": "bread", "count": 1, "op_id": 99, "pad": "." * 100})
    assert (await eve.wait(lambda m: m["type"] == "error"))["reason"] == "not_logged_in"
    assert (await ada.done("look"))["zone"] == "town"
    assert ada.state["gold"] == 100


async def test_a_flood_of_errors_is_hung_up_on(server: Server) -> None:
    ada = await server.player("flood-ada")
    for _ in range(25):
        ada.send({"type": "intent", "action": "fly"})
    with pytest.raises(ConnectionError):
        await ada.wait(lambda m: m["type"] == "never")
    assert len([m for m in ada.heard if m["type"] == "error"]) == 20


async def test_a_rude_disconnect_is_forgiven_for_a_while(server: Server) -> None:
    ada = await server.player("rude-ada")
    await ada.done("buy", item="bread", count=1)
    ada.drop()
    await ada.connect()
    answer = await ada.resume()
    assert (answer["resumed"], answer["state"]["gold"], answer["last_op"]) == (True, 96, 1)


async def test_kill_9_and_start_again_players_resume_on_tickets(start: StartPosition) -> None:
    server = start()
    ada = await server.player("ada")
    bob = await server.player("bob", over_udp=True, lisp=True, sealed=True)
    await ada.done("buy", item="dagger", count=1)
    op = ada.op_id
    await bob.done("deposit", item="gold", count=33)
    store_pid = server.told["store_pid"]
    server.kill()
    server.start()
    assert server.told["store_pid"] == store_pid, "the store lived on and was adopted"
    for player in (ada, bob):
        player.drop()
        await player.connect()
        answer = await player.resume()
        assert answer["type"] == "auth_ok"
        assert answer["resumed"]
    assert ada.state["gold"] == 70
    assert (bob.state["gold"], bob.state["bank_gold"]) == (67, 33)
    again = await ada.act("buy", op=op, item="dagger", count=1)
    assert (again["repeated"], ada.state["gold"]) == (True, 70)


async def test_sigterm_tells_everybody_saves_everything_and_exits_with_0(start: StartPosition) -> None:
    server = start()
    ada = await server.player("ada")
    await ada.done("move", x=ada.state["x"] + 1.5, y=ada.state["y"])
    server.send_signal(signal.SIGTERM)
    assert (await ada.wait(lambda m: m["type"] == "shutdown"))["in_s"] >= 0
    assert await ada.wait(lambda m: m["type"] == "goodbye")
    assert server.ended() == 0
    assert not server.file.exists()
    assert not (server.directory / "rescue.jsonl").exists()
    server.start()
    ada.drop()
    await ada.connect()
    answer = await ada.login("ada")
    assert (answer["state"]["x"], bool(answer["resumed"])) == (ada.state["x"], False)
    assert answer["state"]["x"] == 21.5


async def test_a_store_that_stops_is_waited_for_and_a_second_signal_waits_for_nothing(start: StartPosition) -> None:
    server = start(KEEPER__PENDING_AFTER_S="0.3")
    ada = await server.player("ada")
    store_pid = server.told["store_pid"]
    os.kill(store_pid, signal.SIGSTOP)
    op = ada.op_id = ada.op_id + 1
    ada.send({"type": "intent", "action": "buy", "item": "bread", "count": 1, "op_id": op})
    await ada.wait(lambda m: m["type"] == "pending" and m["op_id"] == op)
    assert (await ada.done("move", x=ada.state["x"] + 1, y=ada.state["y"]))["x"] == 21.0
    os.kill(store_pid, signal.SIGCONT)
    ack = await ada.wait(lambda m: m["type"] in {"ack", "nack"} and m.get("op_id") == op)
    assert (ack["type"], ack["result"]["gold"]) == ("ack", 96)
    os.kill(store_pid, signal.SIGSTOP)
    server.send_signal(signal.SIGTERM)
    await ada.wait(lambda m: m["type"] == "shutdown")
    server.send_signal(signal.SIGTERM)
    assert server.ended() == 130
    os.kill(store_pid, signal.SIGCONT)
    server.start()  # it takes the store over, and stops it at its end


async def test_server_json_names_the_new_process_of_a_store_that_died(start: StartPosition) -> None:
    server = start()
    pid = server.told["store_pid"]
    os.kill(pid, signal.SIGKILL)
    told = await _until_told(server, lambda told: told["store_pid"] != pid)
    assert Path(f"/proc/{told['store_pid']}/cwd").readlink() == server.directory / "store"
    assert {**told, "store_pid": pid} == server.told


async def test_server_json_comes_back_while_the_server_runs_and_goes_with_it(start: StartPosition) -> None:
    server = start()
    server.file.unlink()
    assert await _until_told(server, lambda _: True) == server.told
    assert server.stop() == 0
    assert not server.file.exists()


async def _until_told(server: Server, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if server.file.exists() and holds(told := json.loads(server.file.read_text())):
                return told
            await asyncio.sleep(0.01)


def test_a_signal_that_comes_when_all_is_saved_does_not_change_the_exit_code(tmp_path: Path) -> None:
    """Orchestrators send SIGTERM more than once; the second one comes while the interpreter is dismantled."""
    code = """if True:
        import atexit, os, signal
        from realmkeep.cli import main
        from realmkeep.realm.server import serve

        async def until_told(_directory, _tell, _clock, stopping):
            os.kill(os.getpid(), signal.SIGTERM)
            await stopping.wait()

        serve.keep_server_file = until_told
        atexit.register(os.kill, os.getpid(), signal.SIGTERM)
        main()
    """
    arguments = ["serve", "--data", str(tmp_path), "--store", "memory://", "--tcp-port", "0", "--udp-port", "0"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


async def test_a_server_may_insist_on_sealed_credentials(start: StartPosition) -> None:
    server = start(AUTH__REQUIRE_ENCRYPTION="true")
    plain = await server.client().connect()
    assert (await plain.register("ada"))["reason"] == "encryption_required"
    sealed = await server.player("ada", sealed=True)
    assert "ticket" not in next(m for m in sealed.heard if m["type"] == "auth_ok")
    plain.ticket = sealed.ticket
    assert (await plain.resume())["reason"] == "encryption_required"


async def test_a_login_at_another_server_takes_over_from_the_first_with_everything(start: StartPosition) -> None:
    one = start()
    two = start("realm-2", STORE__URL=f"redis+unix://{socket_path(one.directory / 'store')}")
    ada = await one.player("ada")
    await ada.done("buy", item="bread", count=1)
    again = await two.client().connect()
    bob = await two.player("bob")
    await bob.done("mail", player="ada", gold=40)
    mail = await ada.event("mail")
    assert mail["sent"] == {"gold": 40}
    answer = await again.login("ada")
    assert (answer["type"], answer["state"]["gold"]) == ("auth_ok", 100 - 4 + 40)
    assert two.stop() == 0  # before the store, which is the first one's


def crowd(server: Server, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "realmkeep.cli", "crowd", "--data", str(server.directory), "--json", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def reported(process: subprocess.Popen[bytes]) -> Message:
    out, _ = process.communicate(timeout=120)
    assert process.returncode in {0, 1}
    return json.loads(out)


@pytest.mark.parametrize("how", [[], ["--udp", "--sealed", "--lisp"]], ids=["tcp", "udp-sealed-lisp"])
def test_a_crowd_conserves_and_its_journal_has_every_acknowledged_tier_1_operation(
    shared_server: Server, tmp_path: Path, how: list[str]
) -> None:
    journal = tmp_path / "journal.jsonl"
    report = reported(crowd(shared_server, "--bots", "10", "--duration", "3", "--journal", str(journal), *how))
    assert report["problems"] == []
    assert report["lost"] == 0
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert {"op_id", "player", "action", "result", "monotonic_s", "wall_us"} <= set(lines[0])
    done = {(line["player"], line["op_id"]) for line in lines if not line["repeated"]}
    assert len(done) == sum(entry["count"] for tier, entry in report["latency_ms"].items() if tier != "tier_2")
    assert all(first["monotonic_s"] <= then["monotonic_s"] for first, then in itertools.pairwise(lines))


def test_a_crowd_outlives_kill_9_and_loses_no_gold_and_no_serial(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        process = crowd(server, "--bots", "10", "--duration", "3")
        wait_for_players(server, 10)
        for _ in range(2):
            server.kill()
            server.start()
            wait_for_players(server, 10)
        report = reported(process)
        assert report["problems"] == []
        assert report["lost"] > 0


def wait_for_players(server: Server, count: int) -> None:
    """Until so many have come in since the last start, as the log tells."""
    give_up_s = time.monotonic() + PATIENCE_S
    start = server.log.rfind('"ready"')
    while server.log[start:].count("player logged in") < count:
        assert time.monotonic() < give_up_s, server.log
        time.sleep(0.05)
