"""TLS for TCP: what is spoken, by which files, and what a flood of handshakes costs."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from certificates import PASSWORD, Made, make
from echo import Echo
from server import Server

from realmkeep.background import Background
from realmkeep.clock import SystemClock
from realmkeep.crowd.client import client_tls_context
from realmkeep.errors import ConfigError
from realmkeep.quotas import Limit, PlaceQuota
from realmkeep.realm.server.realm import CERTIFICATE_READ_S, follow_certificate
from realmkeep.realm.wire.bound_sockets import bind_sockets
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.tcp import LINE_BYTES_MAX, TcpServer
from realmkeep.realm.wire.tls import HANDSHAKES_BURST, HANDSHAKES_PER_S, Certificate, HandshakeQueue
from realmkeep.testing.clock import FakeClock


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path / "tls")


def trust(made: Made) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(made.cert))


async def test_a_player_plays_over_tls_as_over_a_bare_connection(start: Callable[..., Server], made: Made) -> None:
    server = start("realm-1", *made.flags)
    ada = await server.player("ada", tls=trust(made))
    assert (await ada.done("look"))["zone"] == "town"
    await ada.done("buy", item="bread", count=1)
    assert server.told["tls_cert"] == str(made.cert)
    with pytest.raises((ConnectionError, TimeoutError, OSError)):
        async with asyncio.timeout(10):
            await (await server.client().connect()).hello()
    with pytest.raises(ssl.SSLCertVerificationError):
        await server.client(tls=ssl.create_default_context()).connect()
    await ada.logout()


async def test_a_client_that_is_sent_away_reads_the_goodbye_first(start: Callable[..., Server], made: Made) -> None:
    server = start("realm-1", *made.flags)
    ada = await server.player("ada", tls=trust(made))
    again = await server.client(tls=trust(made)).connect()
    await again.enter("login", {"ticket": ada.ticket})
    assert (await ada.wait(lambda m: m["type"] == "goodbye"))["reason"] == "taken_over"


def test_a_crowd_plays_over_tls(start: Callable[..., Server], made: Made) -> None:
    server = start("realm-1", *made.flags)
    command = [sys.executable, "-m", "realmkeep.cli", "crowd", "--data", str(server.directory), "--json"]
    own = ["--tls-ca", str(made.cert)]
    for more in ([], own):  # one on this machine is known by its own certificate
        ran = subprocess.run(
            [*command, "--bots", "3", "--duration", "1", *more],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["problems"] == []


class Secure:
    """A TLS server in this process."""

    def __init__(self, made: Made, **how: Any) -> None:
        clock = SystemClock()
        self.made = made
        self.echo = Echo(Challenges(clock), clock)
        handshakes = HandshakeQueue(lambda: self.certificate.context, Background("the test", clock), clock)
        self.server = TcpServer(self.echo, clock, handshakes=handshakes, **how)

    async def __aenter__(self) -> Self:
        self.certificate = await asyncio.to_thread(Certificate, self.made.cert, self.made.key)
        self.doors = await bind_sockets("127.0.0.1", 0, 0)
        await self.server.listen(self.doors.tcp)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.doors.close()
        for peer in [*self.server.peers]:
            peer.abort()
        while self.server.peers:
            await asyncio.sleep(0.01)

    async def connect(self, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(20):
            return await asyncio.open_connection("127.0.0.1", self.doors.tcp_port, ssl=context)


async def line(reader: asyncio.StreamReader) -> dict[str, Any]:
    async with asyncio.timeout(20):
        return json.loads(await reader.readline())


async def test_what_is_sent_right_behind_the_handshake_is_heard(made: Made) -> None:
    async with Secure(made) as secure:
        for _ in range(20):
            reader, writer = await secure.connect(trust(made))
            writer.write(b'{"type": "hello"}\n' + b'{"type": "login", "ticket": "t"}\n{"type": "ping", "t": 5}\n')
            assert [(await line(reader))["type"] for _ in range(3)] == ["welcome", "auth_ok", "pong"]
            writer.close()


async def test_long_lines_and_many_lines_arrive_through_tls(made: Made) -> None:
    async with Secure(made) as secure:
        reader, writer = await secure.connect(trust(made))
        writer.write(b'{"type": "login", "ticket": "t"}\n')
        assert (await line(reader))["type"] == "auth_ok"
        writer.write(b"".join(b'{"type": "ping", "t": %d}\n' % number for number in range(200)))
        assert [(await line(reader))["t"] for _ in range(200)] == [*range(200)]
        writer.write(b'{"type": "ping", "t": "' + b"." * LINE_BYTES_MAX + b'"}\n{"type": "ping", "t": 1}\n')
        assert (await line(reader))["reason"] == "too_large"
        assert (await line(reader))["t"] == 1
        writer.close()


async def test_older_than_tls_1_2_is_not_spoken(made: Made) -> None:
    async with Secure(made) as secure:
        old = trust(made)
        with pytest.warns(DeprecationWarning, match="deprecated"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="deprecated"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await secure.connect(old)
        reader, writer = await secure.connect(trust(made))
        writer.write(b'{"type": "hello"}\n')
        assert (await line(reader))["type"] == "welcome"
        writer.close()


async def test_half_open_handshakes_hold_the_places_of_their_network_and_keep_nobody_out(made: Made) -> None:
    shares = PlaceQuota(Limit(8, 8), loopback=True)
    async with Secure(made, shares=shares) as secure, AsyncExitStack() as silent:
        for number in range(60):
            client = silent.enter_context(socket.create_connection(("127.0.0.1", secure.doors.tcp_port)))
            client.settimeout(0)
            if number % 2:
                client.send(b"\x16\x03\x01\x02\x00\x01\x00")  # the beginning of a handshake, and never its end
            await asyncio.sleep(0)
        reader, writer = await secure.connect(trust(made))
        writer.write(b'{"type": "hello"}\n')
        assert (await line(reader))["type"] == "welcome"
        assert len(secure.server.peers) <= 8
        writer.close()


async def test_a_handshake_of_nonsense_ends_its_connection_and_nothing_else(made: Made) -> None:
    async with Secure(made) as secure:
        reader, writer = await asyncio.open_connection("127.0.0.1", secure.doors.tcp_port)
        writer.write(b'{"type": "hello"}\n')
        async with asyncio.timeout(20):
            told = await reader.read()
        assert b"welcome" not in told
        writer.close()
        async with asyncio.timeout(20):
            while secure.server.peers:
                await asyncio.sleep(0.01)
        assert len(secure.server.strangers) == 0


async def test_handshakes_begin_at_a_pace(made: Made) -> None:
    clock = FakeClock()
    context = trust(made)
    handshakes = HandshakeQueue(lambda: context, Background("the test", clock), clock)
    begun: list[object] = []

    class Waiting:
        ended = False

        def secure(self, context: ssl.SSLContext) -> None:
            begun.append(context)

    gone = Waiting()
    gone.ended = True
    for number in range(1_000):
        handshakes.begin(gone if number % 2 else Waiting())
    assert len(begun) == HANDSHAKES_BURST
    await clock.advance(2)
    assert len(begun) == pytest.approx(HANDSHAKES_BURST + 2 * HANDSHAKES_PER_S, abs=3)
    await clock.advance(10)
    assert len(begun) == 500, "those that are gone take nobody's turn"


# --- the files


async def test_a_renewed_certificate_is_used_for_new_connections_and_a_bad_one_is_told(made: Made) -> None:
    async with Secure(made) as secure:
        clock = FakeClock()
        following = asyncio.create_task(follow_certificate(secure.certificate, clock))
        _, first = await secure.connect(trust(made))
        renewed = await asyncio.to_thread(make, made.cert.parent)
        context = secure.certificate.context
        await clock.advance(CERTIFICATE_READ_S + 1)
        async with asyncio.timeout(20):
            while secure.certificate.context is context:
                await asyncio.sleep(0.01)
        _, second = await secure.connect(trust(renewed))
        await asyncio.to_thread(made.key.write_text, "nonsense")
        with pytest.raises(ConfigError, match="cannot be used"):
            await asyncio.to_thread(secure.certificate.reread)
        _, third = await secure.connect(trust(renewed))
        for writer in (first, second, third):
            writer.close()
        following.cancel()
        await asyncio.wait([following])


def test_a_key_with_a_password_is_opened_with_it_and_nobody_is_asked_on_a_terminal(tmp_path: Path) -> None:
    made = make(tmp_path, password=PASSWORD)
    assert Certificate(made.cert, made.key, PASSWORD).context
    with pytest.raises(ConfigError, match="has a password, and none is set") as caught:
        Certificate(made.cert, made.key)
    assert "tls_key_password_file" in caught.value.hint
    with pytest.raises(ConfigError, match="password of the key is wrong"):
        Certificate(made.cert, made.key, "another")


def test_each_thing_that_is_wrong_with_the_files_is_a_sentence(tmp_path: Path, made: Made) -> None:
    other = make(tmp_path / "other", name="other")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("this is no certificate")
    nonsense.chmod(0o600)
    for cert, key, says in (
        (tmp_path / "gone.pem", made.key, "gone.pem cannot be used: No such file"),
        (made.cert, tmp_path / "gone.key", "gone.key cannot be used: No such file"),
        (tmp_path, made.key, "cannot be used"),
        (made.cert, other.key, "the key is not that of the certificate"),
        (nonsense, made.key, "cannot be used"),
        (made.cert, nonsense, "cannot be used"),
    ):
        with pytest.raises(ConfigError, match=says):
            Certificate(cert, key)
    made.key.chmod(0o644)
    with pytest.raises(ConfigError, match="cannot be used"):
        Certificate(made.cert, made.key)


def test_an_expired_certificate_is_noticed(tmp_path: Path, made: Made) -> None:
    assert Certificate(made.cert, made.key).expired_since(SystemClock()) is None
    old = make(tmp_path / "old", days=-1)
    assert Certificate(old.cert, old.key).expired_since(SystemClock()) is not None


def test_a_crowd_is_told_what_is_wrong_with_its_authority(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.pem cannot be used"):
        client_tls_context(tmp_path / "gone.pem", None)


def test_a_server_says_in_a_sentence_what_is_wrong_with_its_certificate(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "realmkeep.cli", "serve", "--data", str(tmp_path / "data"), "--store", "memory://"]
    for flags, says in (
        (["--tls-cert", str(tmp_path / "gone.pem")], "gone.pem cannot be used: No such file"),
        (["--tls-key", str(tmp_path / "gone.key")], "tls_key without tls_cert"),
    ):
        ran = subprocess.run([*command, *flags], capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode != 0
        assert says in ran.stderr
        assert "Traceback" not in ran.stderr
