"""The sockets of a server: one rule for both transports.

- A name stands for every address that it resolves to; an empty name or `*` stands for every address of the machine.
- Each address gets a TCP and a UDP socket, or neither. An address that the machine does not have, as `::1` without IPv6, is
  skipped while another remains.
- An IPv6 socket serves IPv6 alone: `::` is every IPv6 address and no IPv4 address.
- A transport has one port on all addresses. Port 0 picks a free one, the same for both transports if both are 0.
"""

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from realmkeep.realm.wire.udp_socket import host_of

PORT_TRIES: Final = 32  # a port that is free at one address may be taken at another: then the next is tried
EVERYWHERE: Final = frozenset({"", "*"})
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

Place: TypeAlias = tuple[socket.AddressFamily, str, int]  # the last: the interface of a link-local address, or 0
Kind: TypeAlias = Literal["tcp", "udp"]


class CannotListen(Exception):
    """An address cannot be listened on.

    Attributes:
        kind: The transport.
        where: Address and port.
        error: The system's error.
    """

    def __init__(self, kind: Kind, where: str, error: OSError) -> None:
        super().__init__(kind, where, error)
        self.kind: Kind = kind
        self.where = where
        self.error = error


@dataclass(frozen=True)
class BoundSockets:
    """Bound sockets of both transports, at the same addresses."""

    hosts: list[str]
    tcp: list[socket.socket]
    udp: list[socket.socket]

    @property
    def tcp_port(self) -> int:
        """The port of all TCP sockets."""
        return self.tcp[0].getsockname()[1]

    @property
    def udp_port(self) -> int:
        """The port of all UDP sockets."""
        return self.udp[0].getsockname()[1]

    def close(self) -> None:
        """Close all sockets."""
        for each in (*self.tcp, *self.udp):
            each.close()


async def bind_sockets(host: str, tcp_port: int, udp_port: int) -> BoundSockets:
    """Bind the sockets of a server, by the rule of this module.

    Args:
        host: A name or an address; empty: every address of the machine.
        tcp_port: 0 picks a free port.
        udp_port: 0 picks a free port; the one of TCP if both are 0.

    Raises:
        CannotListen: The name is unknown, the machine has none of its addresses, or a port is taken.
    """
    try:
        places = await _places(host)
    except OSError as error:
        raise CannotListen("tcp", f"{host}:{tcp_port}", error) from error
    except ValueError as error:  # a NUL, or a label that is too long
        raise CannotListen("tcp", f"{host!r}:{tcp_port}", OSError(0, "it is neither a name nor an address")) from error
    for attempt in range(1, PORT_TRIES + 1):
        try:
            tcp = _bound("tcp", places, tcp_port)
            with ExitStack() as opened:
                for each in tcp:
                    opened.enter_context(each)
                hosts = [host_of(each.getsockname()) for each in tcp]
                found = [place for place in places if host_of((place[1], 0, 0, place[2])) in hosts]
                same = tcp[0].getsockname()[1] if tcp_port == udp_port == 0 else udp_port
                udp = _bound("udp", found, same)
                opened.pop_all()
        except CannotListen as error:
            picked = tcp_port == 0 or udp_port == 0
            if not picked or error.error.errno != errno.EADDRINUSE or attempt == PORT_TRIES:
                raise
        else:
            return BoundSockets(hosts, tcp, udp)
    raise AssertionError("unreachable")


async def _places(host: str) -> list[Place]:
    if host in EVERYWHERE:
        return [(socket.AF_INET, "0.0.0.0", 0), *([(socket.AF_INET6, "::", 0)] if socket.has_ipv6 else [])]  # noqa: S104 - asked for
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [*dict.fromkeys((family, str(address[0]), _interface(address)) for family, *_, address in found)]


def _interface(address: Sequence[object]) -> int:
    return address[3] if len(address) > 3 and isinstance(address[3], int) else 0


def _bound(kind: Kind, places: Sequence[Place], port: int) -> list[socket.socket]:
    """One socket for each address, all on one port."""
    missing: CannotListen | None = None
    with ExitStack() as opened:
        made: list[socket.socket] = []
        for family, host, interface in places:
            try:
                bound = opened.enter_context(_socket(kind, family, host, port, interface))
            except OSError as error:
                missing = CannotListen(kind, f"{host}:{port}", error)
                if error.errno in _NOT_HERE:
                    continue
                raise missing from error
            made.append(bound)
            port = bound.getsockname()[1]
        if missing is not None and not made:
            raise missing
        opened.pop_all()
    return made


def _socket(kind: Kind, family: socket.AddressFamily, host: str, port: int, interface: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    try:
        made.settimeout(0)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == "tcp" and hasattr(socket, "AF_UNIX"):  # on Windows SO_REUSEADDR would let another process share it
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port, 0, interface) if family == socket.AF_INET6 else (host, port))
    except BaseException:
        made.close()
        raise
    return made
