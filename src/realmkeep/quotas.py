"""Quotas of a network at one server: places at once, and events over time.

A host counts twice. It counts as itself: an IPv4 address or an IPv6 /64, the share of one household. And it counts within the
network around it: an IPv4 /24 or an IPv6 /48, the possible share of one customer of a provider. Hosts of this machine, such as
bots or a proxy in front of the server, count only on request. A host without an address does not count.
"""

import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

NETWORKS_MAX: Final = 50_000  # rates remembered; the network idle for longest is forgotten first
_ROUNDING_S: Final = 1e-6
_ADDRESS_BITS: Final = {4: 32, 6: 64}
_AROUND_BITS: Final = {4: 24, 6: 48}


@dataclass(frozen=True)
class Limit:
    """The quota of one host, and of all hosts of the network around it together."""

    host: int
    network: int


@lru_cache(maxsize=10_000)
def networks(host: str, *, loopback: bool = False) -> tuple[str, ...]:
    """Return the two networks in which a host counts, the narrow one first; none if it does not count.

    Args:
        host: An address, with or without a zone.
        loopback: Addresses of this machine count too.
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


class TakenPlace:
    """A place taken by a host. It is given back once, however often `release` is called."""

    __slots__ = ("_shares", "networks")

    def __init__(self, shares: "PlaceQuota", of: tuple[str, ...]) -> None:
        self._shares: PlaceQuota | None = shares
        self.networks = of

    def release(self) -> None:
        """Give the place back."""
        shares, self._shares = self._shares, None
        if shares is not None:
            shares.give_back(self.networks)


class PlaceQuota:
    """Places that hosts take and give back.

    Args:
        limit: The places of each network.
        loopback: Hosts of this machine count too.
    """

    def __init__(self, limit: Limit, *, loopback: bool = False) -> None:
        self._most = (limit.host, limit.network)
        self._loopback = loopback
        self._held = Counter[str]()

    def full(self, host: str) -> str | None:
        """Return the first network of a host without a free place; None if the host may take one more."""
        of = networks(host, loopback=self._loopback)
        return next((each for each, most in zip(of, self._most, strict=False) if self._held[each] >= most), None)

    def hold(self, host: str) -> TakenPlace:
        """Take a place; the caller has checked `full`."""
        of = networks(host, loopback=self._loopback)
        self._held.update(of)
        return TakenPlace(self, of)

    def give_back(self, of: tuple[str, ...]) -> None:
        """Free a place; a network without taken places is forgotten."""
        for each in of:
            self._held[each] -= 1
            if self._held[each] <= 0:
                del self._held[each]


class RateQuota:
    """Events over time: a burst up to the limit, and as many again in each `period_s`.

    Args:
        limit: The events of each network.
        period_s: The seconds in which a used-up quota is refilled.
        loopback: Hosts of this machine count too.
    """

    def __init__(self, limit: Limit, *, period_s: float, loopback: bool = False) -> None:
        self._most = (float(limit.host), float(limit.network))
        self._period_s = period_s
        self._loopback = loopback
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()  # events that count, and the time of the last

    def take(self, host: str, now_s: float) -> float:
        """Count an event and return 0 if the host may have it; otherwise return the seconds to wait."""
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
        """Take back an event that was counted but did not happen."""
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
