"""One UDP socket that answers from the address to which the request was sent.

A socket bound to every address would answer from the address that the route prefers, and the client would not recognise the
answer. Therefore the server asks the system for the destination address of each datagram and names it as the source of the
answer (RFC 3542 section 6.2, and `IP_PKTINFO` of ip(7)).
"""

import ipaddress
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

DATAGRAM_BYTES_MAX: Final = 8 * 1024
UNREAD_BYTES_MAX: Final = 4 * 1024 * 1024  # receive buffer; the system may allow less, and drops what does not fit
UNSENT_BYTES_MAX: Final = 1024 * 1024

_IP_PKTINFO: Final = {"linux": 8, "darwin": 26}.get(
    sys.platform
)  # from the systems' headers; Python has no name for it
_IN_PKTINFO: Final = struct.Struct("=I4s4s")  # interface, our address, the address in the header
_IN6_PKTINFO: Final = struct.Struct("=16sI")  # our address, interface
_ANCILLARY_BYTES: Final = 128


def host_of(address: Sequence[Any]) -> str:
    """The host of a socket's address; a link-local address (fe80::) includes its interface."""
    interface = address[3] if len(address) > 3 else 0
    return f"{address[0]}%{interface}" if interface else address[0]


class Address(NamedTuple):
    """The client's host and port, and the server's socket and local address that received the datagram."""

    host: str
    port: int
    socket_index: int = 0
    local: bytes = b""


class DatagramSocket(Protocol):
    """A bound socket for datagrams."""

    def fileno(self) -> int:
        """The file descriptor that the event loop watches."""
        ...

    def receive(self) -> tuple[bytes, Address] | None:
        """The next datagram; None if none waits. A longer one is cut to `DATAGRAM_BYTES_MAX` + 1 bytes."""
        ...

    def send(self, encoded: bytes, to: Address) -> None:
        """Send one datagram from the local address of `to`; a datagram that cannot be sent is lost."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class UdpSocket(DatagramSocket):
    """One bound UDP socket.

    Args:
        bound: The socket, in non-blocking mode.
        socket_index: Its position among the server's sockets.
    """

    def __init__(self, bound: socket.socket, socket_index: int) -> None:
        self._socket = bound
        self._index = socket_index
        with suppress(OSError):  # a system that refuses larger buffers serves with its own
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_BYTES_MAX)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES_MAX)
        self._level = self._told = 0  # level and type of the control messages with the destination; 0: it is fixed
        if ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_unspecified:
            self._ask_for_addresses()

    def fileno(self) -> int:
        """The file descriptor that the event loop watches."""
        return self._socket.fileno()

    def receive(self) -> tuple[bytes, Address] | None:
        """The next datagram; None if none waits. A longer one is cut to `DATAGRAM_BYTES_MAX` + 1 bytes."""
        try:
            if not self._told:
                data, source = self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
                return data, Address(host_of(source), source[1], self._index)
            data, ancillary, _, source = self._socket.recvmsg(DATAGRAM_BYTES_MAX + 1, _ANCILLARY_BYTES)
        except (
            OSError
        ):  # none waits, or an earlier answer was undeliverable: then the client's silence ends its session
            return None
        local = next((told for level, kind, told in ancillary if (level, kind) == (self._level, self._told)), b"")
        return data, Address(host_of(source), source[1], self._index, self._returned(local))

    def send(self, encoded: bytes, to: Address) -> None:
        """Send one datagram from the local address of `to`; a datagram that cannot be sent is lost."""
        with suppress(OSError):
            if to.local:
                self._socket.sendmsg([encoded], [(self._level, self._told, to.local)], 0, to[:2])
            else:
                self._socket.sendto(encoded, to[:2])

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _ask_for_addresses(self) -> None:
        """Ask for destination addresses; a system without them answers from the address of the route."""
        if self._socket.family == socket.AF_INET6 and hasattr(socket, "IPV6_RECVPKTINFO"):
            self._level, self._told = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
            self._socket.setsockopt(self._level, socket.IPV6_RECVPKTINFO, 1)
        elif self._socket.family == socket.AF_INET and _IP_PKTINFO is not None:
            self._level, self._told = socket.IPPROTO_IP, _IP_PKTINFO
            self._socket.setsockopt(self._level, self._told, 1)

    def _returned(self, told: bytes) -> bytes:
        """The destination from the system, in the form that it expects for the answer: any interface, unless link-local."""
        if self._socket.family == socket.AF_INET6 and len(told) == _IN6_PKTINFO.size:
            ours, interface = _IN6_PKTINFO.unpack(told)
            return _IN6_PKTINFO.pack(ours, interface if ipaddress.IPv6Address(ours).is_link_local else 0)
        if len(told) == _IN_PKTINFO.size:
            return _IN_PKTINFO.pack(0, _IN_PKTINFO.unpack(told)[1], bytes(4))
        return b""
