"""What one network may have of a server: places at once, and events in the long run.

A host is counted twice: as itself, an IPv4 address or an IPv6 /64, which is what one household gets; and within the network
around it, an IPv4 /24 or an IPv6 /48, which is what one customer of a provider may get. Hosts of this machine are counted only
where that is asked for, because bots and a proxy in front of the server are such hosts; what is no address is not counted.
"""

import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

NETWORKS_MAX: Final = 50_000  # of which a rate is remembered; the one that asked least recently goes first
_ROUNDING_S: Final = 1e-6
_ADDRESS_BITS: Final = {4: 32, 6: 64}
_AROUND_BITS: Final = {4: 24, 6: 48}


@dataclass(frozen=True)
class Limit:
    """How much one host may have, and how much all hosts of the network around it may have together."""

    host: int
    network: int


@lru_cache(maxsize=10_000)
def networks(host: str, *, loopback: bool = False) -> tuple[str, ...]:
    """The two networks that a host counts for, the narrow one first; none if it does not count.

    Args:
        host: An address, with or without a zone.
        loopback: Addresses of this machine count, too.
    """
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ()
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_loopback and not loopback:
        return ()
    bits = (_ADDRESS_BITS[parsed.version], _AROUND_BITS[parsed.version])
    return tuple(str(ipaddress.ip_network((parsed, each), strict=False)) for each in bits)


class Hold:
    """A place that a host has. It is given back once, however often `release` is called."""

    __slots__ = ("_shares", "networks")

    def __init__(self, shares: "Shares", of: tuple[str, ...]) -> None:
        self._shares: Shares | None = shares
        self.networks = of

    def release(self) -> None:
        """Give the place back."""
        shares, self._shares = self._shares, None
        if shares is not None:
            shares.give_back(self.networks)


class Shares:
    """Places at once.

    Args:
        limit: Of each network.
        loopback: Hosts of this machine count, too.
    """

    def __init__(self, limit: Limit, *, loopback: bool = False) -> None:
        self._most = (limit.host, limit.network)
        self._loopback = loopback
        self._held = Counter[str]()

    def full(self, host: str) -> str | None:
        """The network of a host that has all its places; None while the host may have one more."""
        of = networks(host, loopback=self._loopback)
        return next((each for each, most in zip(of, self._most, strict=False) if self._held[each] >= most), None)

    def hold(self, host: str) -> Hold:
        """Take a place; the caller has asked whether there is one."""
        of = networks(host, loopback=self._loopback)
        self._held.update(of)
        return Hold(self, of)

    def give_back(self, of: tuple[str, ...]) -> None:
        """A place is free again; nothing is kept of networks that have none."""
        for each in of:
            self._held[each] -= 1
            if self._held[each] <= 0:
                del self._held[each]


class Rates:
    """Events in the long run: so many at once, and so many in each `period_s` again.

    Args:
        limit: Of each network.
        period_s: Seconds in which a network that has used everything gets it back.
        loopback: Hosts of this machine count, too.
    """

    def __init__(self, limit: Limit, *, period_s: float, loopback: bool = False) -> None:
        self._most = (float(limit.host), float(limit.network))
        self._period_s = period_s
        self._loopback = loopback
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()  # events that count, and when they did

    def take(self, host: str, now_s: float) -> float:
        """Count an event if the host may have one: 0; otherwise count nothing, and return the seconds to wait."""
        of = networks(host, loopback=self._loopback)
        used = [self._used_by(each, most, now_s) for each, most in zip(of, self._most, strict=False)]
        wait_s = max(
            ((count + 1 - most) * self._period_s / most for count, most in zip(used, self._most, strict=False)),
            default=0.0,
        )
        if wait_s > _ROUNDING_S:
            return wait_s
        for each, count in zip(of, used, strict=True):
            self._keep(each, count + 1, now_s)
        return 0.0

    def give_back(self, host: str, now_s: float) -> None:
        """An event that was counted has not happened."""
        for each, most in zip(networks(host, loopback=self._loopback), self._most, strict=False):
            self._keep(each, max(0.0, self._used_by(each, most, now_s) - 1), now_s)

    def _used_by(self, network: str, most: float, now_s: float) -> float:
        count, at_s = self._used.get(network, (0.0, now_s))
        return max(0.0, count - (now_s - at_s) * most / self._period_s)

    def _keep(self, network: str, count: float, now_s: float) -> None:
        self._used[network] = (count, now_s)
        self._used.move_to_end(network)
        if len(self._used) > NETWORKS_MAX:
            self._used.popitem(last=False)
