"""The port of the console: where it listens, and where it refuses to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from operations.console.asking import Realm
from operations.metrics.scraping import asked
from realmkeep.config import ConsoleConfig, load_config
from realmkeep.errors import ConfigError
from realmkeep.operations.console import Console, console_port


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
