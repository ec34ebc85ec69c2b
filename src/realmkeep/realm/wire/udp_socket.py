"""One UDP socket: datagrams with the addresses that they came from and were sent to, and answers that go the same way back.

A socket that is bound to every address would answer from the one that the route prefers, and a client would not know the
answer for its own. So the system is asked for the address of each datagram, and told it with each answer (RFC 3542 section
6.2, and `IP_PKTINFO` of ip(7)).
"""

import ipaddress
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

DATAGRAM_BYTES_MAX: Final = 8 * 1024
UNREAD_BYTES_MAX: Final = (
    4 * 1024 * 1024
)  # the system may allow less; what does not fit is lost, strangers' and players'
UNSENT_BYTES_MAX: Final = 1024 * 1024

_IP_PKTINFO: Final = {"linux": 8, "darwin": 26}.get(sys.platform)  # from the systems' headers: Python does not name it
_IN_PKTINFO: Final = struct.Struct("=I4s4s")  # interface, our address, the address in the header
_IN6_PKTINFO: Final = struct.Struct("=16sI")  # our address, interface
_ANCILLARY_BYTES: Final = 128


def host_of(address: Sequence[Any]) -> str:
    """The host of a socket's address; of one that is good on one interface alone (fe80::), with that interface."""
    interface = address[3] if len(address) > 3 else 0
    return f"{address[0]}%{interface}" if interface else address[0]


class Address(NamedTuple):
    """Where a datagram came from, and which of our sockets and addresses it came to."""

    host: str
    port: int
    socket_index: int = 0
    local: bytes = b""


class DatagramSocket(Protocol):
    """Where datagrams come in and go out."""

    def fileno(self) -> int:
        """What the event loop watches."""
        ...

    def receive(self) -> tuple[bytes, Address] | None:
        """The next datagram, a byte too long where it is longer than `DATAGRAM_BYTES_MAX`; None if none waits."""
        ...

    def send(self, encoded: bytes, to: Address) -> None:
        """Send one datagram from the address that the other side knows; what cannot be sent is lost, as datagrams are."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class UdpSocket(DatagramSocket):
    """One bound UDP socket.

    Args:
        bound: The socket, which does not block.
        socket_index: Its number among those of the server.
    """

    def __init__(self, bound: socket.socket, socket_index: int) -> None:
        self._socket = bound
        self._index = socket_index
        with suppress(OSError):  # a system that gives no more serves with what it gives
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_BYTES_MAX)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES_MAX)
        self._level = self._told = 0  # of the addresses that the system tells; 0: they are known
        if ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_unspecified:
            self._ask_for_addresses()

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def receive(self) -> tuple[bytes, Address] | None:
        """The next datagram, a byte too long where it is longer than `DATAGRAM_BYTES_MAX`; None if none waits."""
        try:
            if not self._told:
                data, source = self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
                return data, Address(host_of(source), source[1], self._index)
            data, ancillary, _, source = self._socket.recvmsg(DATAGRAM_BYTES_MAX + 1, _ANCILLARY_BYTES)
        except OSError:  # there are no more; or an earlier one could not be delivered, and silence will tell
            return None
        local = next((told for level, kind, told in ancillary if (level, kind) == (self._level, self._told)), b"")
        return data, Address(host_of(source), source[1], self._index, self._returned(local))

    def send(self, encoded: bytes, to: Address) -> None:
        """Send one datagram from the address that the other side knows; what cannot be sent is lost, as datagrams are."""
        with suppress(OSError):
            if to.local:
                self._socket.sendmsg([encoded], [(self._level, self._told, to.local)], 0, to[:2])
            else:
                self._socket.sendto(encoded, to[:2])

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _ask_for_addresses(self) -> None:
        """On other systems than these, which know no such thing, answers leave from the address of the route."""
        if self._socket.family == socket.AF_INET6 and hasattr(socket, "IPV6_RECVPKTINFO"):
            self._level, self._told = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
            self._socket.setsockopt(self._level, socket.IPV6_RECVPKTINFO, 1)
        elif self._socket.family == socket.AF_INET and _IP_PKTINFO is not None:
            self._level, self._told = socket.IPPROTO_IP, _IP_PKTINFO
            self._socket.setsockopt(self._level, self._told, 1)

    def _returned(self, told: bytes) -> bytes:
        """What the system told of a datagram, as it wants to be told for the answer: by whichever interface."""
        if self._socket.family == socket.AF_INET6 and len(told) == _IN6_PKTINFO.size:
            ours, interface = _IN6_PKTINFO.unpack(told)
            return _IN6_PKTINFO.pack(ours, interface if ipaddress.IPv6Address(ours).is_link_local else 0)
        if len(told) == _IN_PKTINFO.size:
            return _IN_PKTINFO.pack(0, _IN_PKTINFO.unpack(told)[1], bytes(4))
        return b""
