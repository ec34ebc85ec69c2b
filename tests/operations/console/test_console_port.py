"""The port of the console: where it listens, and where it refuses to."""

import asyncio
import http.client
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from operations.console.asking import Realm, realm
from operations.metrics.scraping import PATIENCE_S, asked
from operations.operators.people import PASSWORD
from realm.certificates import make
from realmkeep.config import ConsoleConfig, load_config
from realmkeep.errors import ConfigError
from realmkeep.operations.console import Console, console_port
from realmkeep.testing.lab import Lab


async def test_a_loopback_address_needs_nothing_else_and_has_its_own_names(kept: Realm) -> None:
    names: list[str] = []

    def made(hosts: Sequence[str]) -> Console:
        names.extend(hosts)
        return kept.app

    async with console_port(ConsoleConfig(listen="127.0.0.1:0", hosts="ops.example"), made) as (url, app):
        assert url.startswith("http://127.0.0.1:")
        assert (await asked(url.removeprefix("http://"), "/login")).status == 200
        assert app is kept.app
    assert {"ops.example", "localhost", "127.0.0.1"} <= {*names}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "passwords would cross the network in the open"),
        ({"hosts": "ops.example"}, "passwords would cross the network in the open"),
        ({"behind_proxy": True}, "console.hosts names no host"),
    ],
)
async def test_an_address_for_other_machines_is_refused_without_encryption_and_names(
    kept: Realm, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        async with console_port(ConsoleConfig(listen="0.0.0.0:0", **settings), lambda _: kept.app):
            pass


async def test_behind_a_proxy_it_listens_and_answers_to_its_names_alone(kept: Realm) -> None:
    names: list[str] = []

    def made(hosts: Sequence[str]) -> Console:
        names.extend(hosts)
        return kept.app

    config = ConsoleConfig(listen="0.0.0.0:0", behind_proxy=True, hosts="ops.example")
    async with console_port(config, made) as (url, _):
        assert url.startswith("http://0.0.0.0:")
    assert names == ["ops.example"]


def over_tls(address: str, certificate: Path) -> tuple[int, str]:
    """Sign an operator in by TLS: the status, and the cookie. Blocks."""
    port = int(address.rpartition(":")[2])
    context = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("localhost", port, timeout=PATIENCE_S, context=context)
    form, origin = urlencode({"name": "viewer", "password": PASSWORD}), f"https://localhost:{port}"
    connection.request("POST", "/login", form, {"Origin": origin, "Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    cookie = answer.getheader("Set-Cookie", "")
    connection.close()
    return answer.status, cookie


def in_the_open(address: str) -> bytes:
    """The answer of the port to a request without TLS. Blocks."""
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=PATIENCE_S) as plain:
        plain.sendall(b"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return plain.recv(1000)


async def test_with_a_certificate_it_speaks_tls_alone_to_other_machines(tmp_path: Path) -> None:
    made = await asyncio.to_thread(make, tmp_path / "tls")
    config = ConsoleConfig(listen="0.0.0.0:0", hosts="localhost", tls_cert=str(made.cert), tls_key=str(made.key))
    async with (
        Lab() as lab,
        realm(lab, tmp_path, settings=config) as kept,
        console_port(config, lambda _: kept.app) as (
            url,
            _,
        ),
    ):
        assert url.startswith("https://0.0.0.0:")
        status, cookie = await asyncio.to_thread(over_tls, url, made.cert)
        assert status == 303
        assert cookie.startswith("__Host-realmkeep=")
        assert "Secure" in cookie
        assert b"HTTP/1.1 200" not in await asyncio.to_thread(in_the_open, url)


async def test_a_certificate_that_cannot_be_used_is_told(kept: Realm, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    for path in ("cert.pem", "absent.pem"):
        config = ConsoleConfig(listen="127.0.0.1:0", tls_cert=str(tmp_path / path))
        with pytest.raises(ConfigError, match="certificate of the console cannot be used"):
            async with console_port(config, lambda _: kept.app):
                pass


def test_a_key_without_a_certificate_is_refused() -> None:
    with pytest.raises(ConfigError, match="tls_key without tls_cert"):
        load_config(environ={"REALMKEEP_CONSOLE__TLS_KEY": "key.pem"})
