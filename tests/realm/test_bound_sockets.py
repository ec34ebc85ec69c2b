"""Where a server listens: both transports at the same addresses and ports, and answers from the address that was asked."""

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from client import Client
from echo import Echo
from server import Server

from realmkeep.clock import SystemClock
from realmkeep.realm.wire.bound_sockets import PORT_TRIES, BoundSockets, CannotListen, bind_sockets
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.tcp import TcpServer
from realmkeep.realm.wire.udp import UdpServer
from realmkeep.realm.wire.udp_socket import UdpSocket, host_of


@pytest.fixture
async def heard(request: pytest.FixtureRequest) -> AsyncGenerator[BoundSockets]:
    """Both servers behind the doors of a host."""
    doors = await bind_sockets(request.param, 0, 0)
    clock = SystemClock()
    echo = Echo(Challenges(clock), clock)
    tcp, udp = TcpServer(echo, clock), UdpServer(echo, echo.challenges, clock)
    await tcp.listen(doors.tcp)
    udp.listen([UdpSocket(bound, number) for number, bound in enumerate(doors.udp)])
    yield doors
    tcp.close()
    udp.close()
    await asyncio.sleep(0)


async def hello(doors: BoundSockets, address: str, *, udp: bool) -> str:
    """Says hello at an address; returns the address that the answer came from."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as client:
        client.settimeout(0)
        async with asyncio.timeout(10):
            if udp:
                data = b'{"type": "hello", "pad": "' + b"." * 300 + b'"}'
                await loop.sock_sendto(client, data, (address, doors.udp_port))
                answer, (source, *_) = await loop.sock_recvfrom(client, 4096)
            else:
                await loop.sock_connect(client, (address, doors.tcp_port))
                await loop.sock_sendall(client, b'{"type": "hello"}\n')
                answer, source = await loop.sock_recv(client, 4096), client.getpeername()[0]
    assert b"welcome" in answer
    return source


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize(
    ("heard", "addresses", "others"),
    [
        ("", ["127.0.0.1", "127.0.0.5", "::1"], []),
        ("*", ["127.0.0.5", "::1"], []),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.5"], ["::1"]),
        ("::", ["::1"], ["127.0.0.1"]),
        ("127.0.0.1", ["127.0.0.1"], ["127.0.0.5", "::1"]),
        ("::1", ["::1"], ["127.0.0.1"]),
    ],
    indirect=["heard"],
)
async def test_both_transports_are_heard_at_the_same_addresses_and_answer_from_the_one_that_was_asked(
    heard: BoundSockets, addresses: list[str], others: list[str], udp: bool
) -> None:
    for address in addresses:
        assert await hello(heard, address, udp=udp) == address
    for address in others:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind, port = (socket.SOCK_DGRAM, heard.udp_port) if udp else (socket.SOCK_STREAM, heard.tcp_port)
        with socket.socket(family, kind) as free:
            free.bind((address, port))  # nobody of ours has it


@pytest.mark.parametrize("heard", ["two"], indirect=True)
async def test_a_name_with_two_addresses_is_both_of_them_on_one_port(heard: BoundSockets) -> None:
    assert sorted(heard.hosts) == ["127.0.0.1", "::1"]
    assert {each.getsockname()[1] for each in (*heard.tcp, *heard.udp)} == {heard.tcp_port}
    for address in heard.hosts:
        for udp in (False, True):
            assert await hello(heard, address, udp=udp) == address


def own_addresses_of_an_interface() -> list[str]:
    """Those of this machine that are good on one interface alone; Linux lists them."""
    listed = Path("/proc/net/if_inet6")
    entries = [line.split() for line in listed.read_text().splitlines()] if listed.exists() else []
    found = [(":".join(entry[0][at : at + 4] for at in range(0, 32, 4)), entry[5]) for entry in entries]
    return [f"{address}%{interface}" for address, interface in found if address.startswith("fe80")][:1]


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize("host", own_addresses_of_an_interface())
async def test_an_address_of_one_interface_is_heard_and_answers(host: str, udp: bool) -> None:
    doors = await bind_sockets(host, 0, 0)
    clock = SystemClock()
    echo = Echo(Challenges(clock), clock)
    tcp_server, udp_server = TcpServer(echo, clock), UdpServer(echo, echo.challenges, clock)
    await tcp_server.listen(doors.tcp)
    udp_server.listen([UdpSocket(bound, number) for number, bound in enumerate(doors.udp)])
    assert (await hello(doors, host, udp=udp)).partition("%")[0] in str(doors.hosts)
    tcp_server.close()
    udp_server.close()
    await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`two` has an IPv4 and an IPv6 address, `half` one that this machine does not have, `none` only that."""
    known = {
        "two": [
            (socket.AF_INET, ("127.0.0.1", 0)),
            (socket.AF_INET6, ("::1", 0, 0, 0)),
            (socket.AF_INET, ("127.0.0.1", 0)),
        ],
        "half": [(socket.AF_INET6, ("2001:db8::7", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))],
        "none": [(socket.AF_INET, ("203.0.113.7", 0))],
    }
    real = socket.getaddrinfo

    def found(host: Any, *args: Any, **how: Any) -> Any:
        if host in known:
            return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in known[host]]
        return real(host, *args, **how)

    monkeypatch.setattr(socket, "getaddrinfo", found)


async def test_an_address_that_is_not_here_is_left_out_for_both_while_another_remains() -> None:
    doors = await bind_sockets("half", 0, 0)
    assert doors.hosts == ["127.0.0.1"]
    assert len(doors.tcp) == len(doors.udp) == 1
    doors.close()
    with pytest.raises(CannotListen) as caught:
        await bind_sockets("none", 0, 0)
    assert (caught.value.where, caught.value.error.errno) == ("203.0.113.7:0", errno.EADDRNOTAVAIL)


@pytest.mark.parametrize("host", ["no.such.name.invalid", "a" * 300, "a\0b", "\u00e4..b", "127.0.0.1.5"])
async def test_what_is_no_name_of_a_host_is_said_to_be_none(host: str) -> None:
    with pytest.raises(CannotListen):
        await bind_sockets(host, 0, 0)


async def test_an_address_of_one_interface_is_told_with_it() -> None:
    """Such an address (fe80::) says nothing without its interface, neither where we listen nor where an answer goes."""
    assert host_of(("fe80::1", 4000, 0, 3)) == "fe80::1%3"
    assert host_of(("2001:db8::1", 4000, 0, 0)) == "2001:db8::1"
    assert host_of(("192.0.2.1", 4000)) == "192.0.2.1"


async def test_a_port_that_is_taken_for_one_of_the_addresses_is_taken_for_all() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as holder:
        holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        holder.bind(("::1", 0))
        port = holder.getsockname()[1]
        with pytest.raises(CannotListen) as caught:
            await bind_sockets("two", 0, port)
    assert (caught.value.kind, caught.value.where) == ("udp", f"::1:{port}")


async def test_a_free_port_that_is_not_free_everywhere_is_not_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system picks for one socket; what it picks may be taken at the next address, or by the other transport."""
    taken: list[int] = []
    bind = socket.socket.bind

    class Watched(socket.socket):
        def bind(self, address: Any) -> None:
            if self.type == socket.SOCK_DGRAM and self.family == socket.AF_INET6 and len(taken) < PORT_TRIES - 1:
                taken.append(address[1])
                raise OSError(errno.EADDRINUSE, "taken")
            bind(self, address)

    monkeypatch.setattr(socket, "socket", Watched)
    doors = await bind_sockets("two", 0, 0)
    assert len(taken) == PORT_TRIES - 1
    assert doors.tcp_port == doors.udp_port
    doors.close()


async def test_a_server_on_every_address_says_where_and_answers_there(start: Callable[..., Server]) -> None:
    server = start("realm-1", "--host", "")
    assert server.told["host"] == "0.0.0.0"
    assert server.told["tcp"] == server.told["udp"]
    for host in ("127.0.0.1", "127.0.0.9", "::1"):
        for over_udp in (False, True):
            client = Client(host, server.told["tcp"], server.told["udp"], over_udp=over_udp)
            server.clients.append(client)
            await client.connect()
            assert (await client.hello())["type"] == "welcome", (
                "a connected socket hears only the address that it asked"
            )
