"""Bans, changes of password and logouts everywhere, heard by players of other servers; in both syntaxes, over both transports."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client import Client, Message, Seal
from server import Server

from realmkeep.accounts import open_accounts
from realmkeep.config import AuthConfig
from realmkeep.storage import open_storage
from realmkeep.storage.embedded_process import socket_path

StartPosition = Callable[..., Server]
NEW = "another-horse-battery"
WAYS = [("tcp", "json"), ("tcp", "lisp"), ("udp", "json"), ("udp", "lisp")]


def store_of(server: Server) -> str:
    return f"redis+unix://{socket_path(server.directory / 'store')}"


async def ask_sealed(client: Client, kind: str, fields: Message, answer: str) -> Message:
    """A message whose fields are sealed; a ticket in the answer is opened."""
    welcome = await Client(client.host, client.tcp, client.udp).connect()
    seal = Seal((await welcome.hello())["auth_public_key"])
    welcome.drop()
    payload = seal.seal(json.dumps({**fields, "timestamp": int(time.time())}).encode())
    got = await client.ask({"type": kind, "encrypted_payload": payload}, lambda m: m["type"] in {answer, "auth_fail"})
    return {**got, "ticket": seal.open(got["sealed_ticket"])} if "sealed_ticket" in got else got


async def sent_away(client: Client) -> str:
    return (await client.wait(lambda message: message["type"] == "goodbye"))["reason"]


async def test_players_of_another_server_hear_of_bans_and_of_what_their_owners_do(
    start: StartPosition, tmp_path: Path
) -> None:
    one = start(AUTH__REQUIRE_ENCRYPTION="true")
    two = start("realm-2", STORE__URL=store_of(one), AUTH__REQUIRE_ENCRYPTION="true")
    hows: list[dict[str, Any]] = [
        {"over_udp": transport == "udp", "lisp": syntax == "lisp", "sealed": True} for transport, syntax in WAYS
    ]
    players = [await two.player(f"victim-{number}", **how) for number, how in enumerate(hows)]
    bystander = await two.player("bystander", sealed=True)
    storage = open_storage(store_of(one))
    await storage.connect()
    config = AuthConfig(key_file=str(tmp_path / "operator-keys.json"))
    operator = await asyncio.to_thread(open_accounts, storage, config, server_name="operator")
    for number in range(len(players)):
        await operator.ban(f"victim-{number}", "duping", until_s=int(time.time()) + 3600)
    await storage.disconnect()
    assert [await sent_away(player) for player in players] == ["banned"] * len(players)
    for player in players:
        again = await one.client(sealed=True).connect()
        again.ticket = player.ticket
        assert (await again.resume())["reason"] == "bad_credentials"
    assert (await bystander.ask({"type": "ping", "t": 1}, lambda m: m["type"] == "pong"))["t"] == 1
    assert two.stop() == 0


async def change_and_leave(server: Server, name: str, transport: str, syntax: str) -> None:
    how: dict[str, Any] = {"over_udp": transport == "udp", "lisp": syntax == "lisp", "sealed": True}
    ada = await server.player(name, **how)
    stolen = ada.ticket
    fields = {"password": "correct-horse-battery", "new_password": NEW}
    plain = await ada.ask({"type": "change_password", **fields}, lambda m: m["type"] == "auth_fail")
    assert plain["reason"] == "encryption_required"
    changed = await ask_sealed(ada, "change_password", fields, "password_changed")
    assert changed["type"] == "password_changed"
    await ada.done("look")
    thief = await server.client(sealed=True).connect()
    thief.ticket = stolen
    assert (await thief.resume())["reason"] == "bad_credentials"
    assert (await thief.login(name))["reason"] == "bad_credentials"
    await ada.ask({"type": "logout", "everywhere": True}, lambda m: m["type"] == "goodbye")
    thief.ticket = changed["ticket"]
    assert (await thief.resume())["reason"] == "bad_credentials"
    assert (await thief.login(name, NEW))["type"] == "auth_ok"


async def test_a_password_is_changed_sealed_in_either_syntax_over_either_transport(start: StartPosition) -> None:
    server = start(AUTH__REQUIRE_ENCRYPTION="true")
    await asyncio.gather(*(change_and_leave(server, f"ada-{way[0]}-{way[1]}", *way) for way in WAYS))
