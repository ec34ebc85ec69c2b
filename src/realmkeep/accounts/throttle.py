"""Slows guessing down: exponential delays for an account, an address, the network around it, and a known account at an address.

The last is why an attacker locks no player out: an account that logged in from an address before may try there as long as its
own failures there allow it, and a ticket is never throttled, since 256 bits are not guessed. All others share the account's
delay. A known account that is tried with a wrong password there hears what an unknown name would hear, so that nobody at a
shared address can tell the two apart.

Memory is bounded: the entries used least recently go first. An attacker who wants a delay forgotten must push `ENTRIES_MAX`
other names or addresses through, each at the price of one password hash (45 ms of a core: 24 minutes for all), and wins the
five free guesses; waiting out the longest delay is cheaper. An address is an IPv4 address or an IPv6 /64, so that one machine
is one entry; the network around it is a /24 or a /48, so that a provider's customer is one, too.

Each server counts for itself: with n servers an attacker has n times the free guesses.
"""

import hashlib
import ipaddress
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from realmkeep.clock import Clock
from realmkeep.config import AuthConfig

ENTRIES_MAX: Final = 32_000  # one table of 16 bytes each fits one stored value of 512 KiB
TABLES: Final[tuple[str, ...]] = ("accounts", "addresses", "pairs", "networks")
NETWORK_FREE: Final = 16  # times the free failures of one address: a campus, or a street behind one provider's address
NETWORK_DELAY_S_MAX: Final = 60.0  # one neighbour among thousands must not shut all of them out for long
PAIR_DELAY_S_MAX: Final = 60.0  # for who logged in from there before: slower is for strangers
_ENTRY: Final = struct.Struct("<8sHHI")  # digest, failures, second of the last one: its upper 16 and its lower 32 bits
_FAILURES_MAX: Final = 0xFFFF
_SECOND_MAX: Final = (1 << 48) - 1  # bytes of before have no upper bits, and end in 2106
_IPV4: Final = 4
_SLICE: Final = 2_000  # entries packed between two turns of the event loop: about 1 ms


@dataclass(frozen=True)
class Backoff:
    """How delays grow: none for `free` failures, then `first_s`, twice that, and so on up to `max_s`."""

    free: int
    first_s: float
    max_s: float

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after the last of so many failures."""
        if failures < self.free:
            return 0.0
        return float(min(self.max_s, self.first_s * 2.0 ** min(failures - self.free, 62)))


@dataclass(frozen=True)
class ThrottleSettings:
    """The delays of one realm.

    Attributes:
        account: For one account, from addresses where it never logged in.
        address: For one address, over all accounts.
        pair: For one account at an address where it logged in before.
        network: For the network around an address, over all accounts.
        forget_s: Failures older than this are forgotten.
    """

    account: Backoff = Backoff(free=5, first_s=1.0, max_s=900.0)
    address: Backoff = Backoff(free=20, first_s=1.0, max_s=900.0)  # more: a household or a school is one address
    pair: Backoff = Backoff(free=5, first_s=1.0, max_s=60.0)
    network: Backoff = Backoff(free=20 * NETWORK_FREE, first_s=1.0, max_s=NETWORK_DELAY_S_MAX)
    forget_s: float = 24 * 3600.0


def throttle_settings(config: AuthConfig) -> ThrottleSettings:
    """The delays that an operator has set."""
    longest_s = config.throttle_delay_s_max
    return ThrottleSettings(
        account=Backoff(config.throttle_account_free, 1.0, longest_s),
        address=Backoff(config.throttle_address_free, 1.0, longest_s),
        pair=Backoff(config.throttle_account_free, 1.0, min(longest_s, PAIR_DELAY_S_MAX)),
        network=Backoff(config.throttle_address_free * NETWORK_FREE, 1.0, min(longest_s, NETWORK_DELAY_S_MAX)),
    )


class _Table:
    """Failures by digest, the least recently used first."""

    def __init__(self, backoff: Backoff, forget_s: float) -> None:
        self.backoff = backoff
        self.forget_s = forget_s
        self.entries: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def failures(self, key: bytes, now_s: float) -> int:
        failures, last_s = self.entries.get(key, (0, 0.0))
        return failures if now_s - last_s < self.forget_s else 0

    def wait_s(self, key: bytes, now_s: float) -> float:
        failures = self.failures(key, now_s)
        if not failures:
            return 0.0
        delay_s = self.backoff.delay_s(failures)
        return min(delay_s, max(0.0, self.entries[key][1] + delay_s - now_s))  # min: the clock may have been set back

    def add(self, key: bytes, now_s: float) -> None:
        self.entries[key] = (min(self.failures(key, now_s) + 1, _FAILURES_MAX), now_s)
        self.entries.move_to_end(key)
        if len(self.entries) > ENTRIES_MAX:
            self.entries.popitem(last=False)

    def remove_one(self, key: bytes) -> None:
        failures, last_s = self.entries.get(key, (0, 0.0))
        if failures > 1:
            self.entries[key] = (failures - 1, last_s)
        else:
            self.entries.pop(key, None)


class Attempt:
    """One password attempt that was let through. Until it is judged it counts as a failure of its account.

    So parallel guesses cannot slip through together. Call exactly one of the methods.

    Attributes:
        strangers_wait_s: What another account would have to wait here and now; a failure of a known one is told the same.
    """

    def __init__(
        self, throttle: "Throttle", counted: list[tuple[_Table, bytes]], address: str, strangers_wait_s: float
    ) -> None:
        self._throttle = throttle
        self._counted = counted
        self._address = address
        self.strangers_wait_s = strangers_wait_s

    def succeeded(self) -> None:
        """The password was right: the account's failures are forgotten, where it was known only those of that address.

        The address's are not: with one account of one's own they could be reset at will.
        """
        table, key = self._counted[0]
        table.entries.pop(key, None)
        for table, key in self._counted[1:]:
            table.remove_one(key)

    def failed(self) -> None:
        """The password was wrong."""
        if not self.strangers_wait_s:
            self._throttle.count_address(self._address)

    def withdrawn(self) -> None:
        """It was not judged: the store was away or the queue was full."""
        for table, key in self._counted:
            table.remove_one(key)


class Throttle:
    """The failures of one server, in memory.

    Args:
        settings: The delays.
        clock: Its wall time is what survives a restart.

    Attributes:
        changes: Counts the attempts that were let through and the failures: whoever saves compares it.
    """

    def __init__(self, settings: ThrottleSettings, clock: Clock) -> None:
        self._clock = clock
        self._accounts = _Table(settings.account, settings.forget_s)
        self._addresses = _Table(settings.address, settings.forget_s)
        self._pairs = _Table(settings.pair, settings.forget_s)
        self._networks = _Table(settings.network, settings.forget_s)
        self.changes = 0
        tables = (self._accounts, self._addresses, self._pairs, self._networks)
        self._tables: dict[str, _Table] = dict(zip(TABLES, tables, strict=True))

    def begin(self, username: str, address: str, *, known: bool) -> Attempt | float:
        """Let a password attempt through, or say how many seconds it has to wait.

        Args:
            username: The folded name, whether such an account exists or not.
            address: Where it comes from; empty if there is no network.
            known: This account logged in from this address before.
        """
        now_s = self._now_s()
        name = _digest(username)
        wait_s = max(self._accounts.wait_s(name, now_s), self.address_wait_s(address))
        counted = [] if wait_s else [(self._accounts, name)]
        if known:
            pair = _digest(username, network(address))
            if wait_s and self._pairs.wait_s(pair, now_s):
                return wait_s
            counted.insert(0, (self._pairs, pair))
        elif wait_s:
            return wait_s
        for table, key in counted:
            table.add(key, now_s)
        self.changes += 1
        return Attempt(self, counted, address, wait_s)

    def address_wait_s(self, address: str) -> float:
        """Seconds until this address may try or register another name; 0 where there is no address."""
        now_s = self._now_s()
        return max((table.wait_s(key, now_s) for table, key in self._places(address)), default=0.0)

    def count_address(self, address: str) -> None:
        """Count a failure against an address: a wrong password, or asking for a name that is taken."""
        for table, key in self._places(address):
            self.changes += 1
            table.add(key, self._now_s())

    def _places(self, address: str) -> list[tuple[_Table, bytes]]:
        """Where an address counts; nowhere if there is none."""
        if not address:
            return []
        around = network_around(address)
        wide = [] if around is None else [(self._networks, _digest(around))]
        return [(self._addresses, _digest(network(address))), *wide]

    def pack(self, name: str) -> Iterator[bytes]:
        """The entries of one of `TABLES` as they are now, in parts; joined they are what `unpack` takes."""
        entries = list(self._tables[name].entries.items())
        for start in range(0, len(entries), _SLICE):
            yield b"".join(
                _ENTRY.pack(key, failures, *divmod(min(max(0, int(last_s)), _SECOND_MAX), 1 << 32))
                for key, (failures, last_s) in entries[start : start + _SLICE]
            )

    def unpack(self, name: str, packed: bytes) -> bool:
        """Take over entries that were packed; False, and nothing taken, if they cannot be read."""
        if len(packed) % _ENTRY.size or len(packed) > ENTRIES_MAX * _ENTRY.size:
            return False
        entries = self._tables[name].entries
        for key, failures, upper, lower in _ENTRY.iter_unpack(packed):
            entries[key] = (failures, float((upper << 32) | lower))
        return True

    def _now_s(self) -> float:
        return self._clock.wall_us() / 1e6


def network(address: str) -> str:
    """What counts as one address: an IPv4 address, an IPv6 /64 network, or the text itself where it is neither."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
    return str(parsed)


def network_around(address: str) -> str | None:
    """The network that an address lies in: an IPv4 /24 or an IPv6 /48; None where it is no address."""
    try:
        narrow = ipaddress.ip_network(network(address))
    except ValueError:
        return None
    return str(narrow.supernet(new_prefix=24 if narrow.version == _IPV4 else 48))


def network_digest(username: str, address: str) -> str:
    """What an account keeps of an address where its password was right."""
    return hashlib.sha256(f"{username}\0{network(address)}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
