"""The address of a server as it stands in its lease: `host:tcp/udp`."""

import re
from dataclasses import dataclass
from typing import Final, Self

_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,100})\]|([A-Za-z0-9._-]{1,150})):([0-9]{1,5})(?:/([0-9]{1,5}))?")
_PORT_MAX: Final = 65_535


@dataclass(frozen=True)
class ServerAddress:
    """Where clients reach a server.

    Attributes:
        host: A name or an address.
        tcp: The port of TCP.
        udp: The port of UDP.
    """

    host: str
    tcp: int
    udp: int

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read `host:tcp/udp`, `[IPv6]:tcp/udp`, or either with one port for both; None if it is none of them."""
        found = _ADDRESS.fullmatch(text)
        if found is None:
            return None
        tcp = int(found[3])
        udp = int(found[4]) if found[4] else tcp
        return cls(found[1] or found[2], tcp, udp) if 0 < tcp <= _PORT_MAX and 0 < udp <= _PORT_MAX else None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.tcp}/{self.udp}"
