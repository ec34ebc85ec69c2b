"""The throttle of password guessing: exponential delays for accounts, addresses, networks, and pairs of account and address.

A pair is an account at an address from which it has logged in before. It has a delay of its own, so an attacker elsewhere cannot
lock the player out; tickets are never throttled, because 256 bits cannot be guessed. All other addresses share the account's
delay. A wrong password at a known address gets the answer that an unknown name would get, so that another user of this address
cannot tell the two apart.

Memory is bounded: the least recently used entries go first. To make the server forget a delay, an attacker needs attempts with
`ENTRIES_MAX` other names or addresses, each at the price of one password hash (45 ms of a core: 24 minutes for all), and gains
five free guesses; waiting out the longest delay is cheaper. An address is an IPv4 address or an IPv6 /64, so that one machine is
one entry. The network around it is a /24 or a /48, so that a customer of a provider is one entry, too.

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
NETWORK_DELAY_S_MAX: Final = 60.0  # one attacker must not lock out thousands of neighbours for long
PAIR_DELAY_S_MAX: Final = 60.0  # a player at a known address waits less than a stranger
_ENTRY: Final = struct.Struct("<8sHHI")  # digest, failures, second of the last one: its upper 16 and its lower 32 bits
_FAILURES_MAX: Final = 0xFFFF
_SECOND_MAX: Final = (1 << 48) - 1  # entries of older releases have no upper bits, and end in 2106
_IPV4: Final = 4
_SLICE: Final = 2_000  # entries packed in one turn of the event loop: about 1 ms


@dataclass(frozen=True)
class Backoff:
    """The growth of a delay: none below `free` failures, then `first_s`, doubled with each failure up to `max_s`."""

    free: int
    first_s: float
    max_s: float

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after the last of `failures` failures."""
        if failures < self.free:
            return 0.0
        return float(min(self.max_s, self.first_s * 2.0 ** min(failures - self.free, 62)))


@dataclass(frozen=True)
class ThrottleSettings:
    """The delays of one realm.

    Attributes:
        account: For an account at addresses from which it has never logged in.
        address: For an address, over all accounts.
        pair: For an account at an address from which it has logged in before.
        network: For the network around an address, over all accounts.
        forget_s: Age in seconds after which failures are forgotten.
    """

    account: Backoff = Backoff(free=5, first_s=1.0, max_s=900.0)
    address: Backoff = Backoff(
        free=20, first_s=1.0, max_s=900.0
    )  # more, because a household or a school shares one address
    pair: Backoff = Backoff(free=5, first_s=1.0, max_s=60.0)
    network: Backoff = Backoff(free=20 * NETWORK_FREE, first_s=1.0, max_s=NETWORK_DELAY_S_MAX)
    forget_s: float = 24 * 3600.0


def throttle_settings(config: AuthConfig) -> ThrottleSettings:
    """The delays of the section `auth`."""
    longest_s = config.throttle_delay_s_max
    return ThrottleSettings(
        account=Backoff(config.throttle_account_free, 1.0, longest_s),
        address=Backoff(config.throttle_address_free, 1.0, longest_s),
        pair=Backoff(config.throttle_account_free, 1.0, min(longest_s, PAIR_DELAY_S_MAX)),
        network=Backoff(config.throttle_address_free * NETWORK_FREE, 1.0, min(longest_s, NETWORK_DELAY_S_MAX)),
    )


class _FailureTable:
    """Failures by digest, the least recently used entry first."""

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
        return min(delay_s, max(0.0, self.entries[key][1] + delay_s - now_s))  # min: if the clock was set back

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


class LoginAttempt:
    """A password attempt under way; it counts as a failure of its account from the start, so parallel guesses add up.

    Call exactly one of the methods.

    Attributes:
        strangers_wait_s: The present delay of an unknown account at this address; the answer to a failure names it, too.
    """

    def __init__(
        self, throttle: "Throttle", counted: list[tuple[_FailureTable, bytes]], address: str, strangers_wait_s: float
    ) -> None:
        self._throttle = throttle
        self._counted = counted
        self._address = address
        self.strangers_wait_s = strangers_wait_s

    def succeeded(self) -> None:
        """Forget the failures of the account, or, at a known address, those of the pair: the password was right.

        The failures of the address stay; otherwise an attacker could reset them with an account of their own.
        """
        table, key = self._counted[0]
        table.entries.pop(key, None)
        for table, key in self._counted[1:]:
            table.remove_one(key)

    def failed(self) -> None:
        """Count a failure of the address, too: the password was wrong."""
        if not self.strangers_wait_s:
            self._throttle.count_address(self._address)

    def withdrawn(self) -> None:
        """Take the attempt's failures back: the store was unreachable or the queue full, and no password was checked."""
        for table, key in self._counted:
            table.remove_one(key)


class Throttle:
    """The failures of one server, in memory.

    Args:
        settings: The delays.
        clock: The clock; failures have wall times, which stay valid across restarts.

    Attributes:
        changes: Counts attempts and failures, so that the saving task sees whether there are new ones.
    """

    def __init__(self, settings: ThrottleSettings, clock: Clock) -> None:
        self._clock = clock
        self._accounts = _FailureTable(settings.account, settings.forget_s)
        self._addresses = _FailureTable(settings.address, settings.forget_s)
        self._pairs = _FailureTable(settings.pair, settings.forget_s)
        self._networks = _FailureTable(settings.network, settings.forget_s)
        self.changes = 0
        tables = (self._accounts, self._addresses, self._pairs, self._networks)
        self._tables: dict[str, _FailureTable] = dict(zip(TABLES, tables, strict=True))

    def begin_attempt(self, username: str, address: str, *, known: bool) -> LoginAttempt | float:
        """Begin a password attempt; returns the seconds to wait instead if it is too early.

        Args:
            username: The folded name, of an existing account or not.
            address: The client's address; empty without a network.
            known: Whether this account has logged in from this address before.
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
        return LoginAttempt(self, counted, address, wait_s)

    def address_wait_s(self, address: str) -> float:
        """Seconds until this address may log in or register again; 0 without an address."""
        now_s = self._now_s()
        return max((table.wait_s(key, now_s) for table, key in self._places(address)), default=0.0)

    def count_address(self, address: str) -> None:
        """Count a failure of an address: a wrong password, or a registration with a taken name."""
        for table, key in self._places(address):
            self.changes += 1
            table.add(key, self._now_s())

    def _places(self, address: str) -> list[tuple[_FailureTable, bytes]]:
        """The tables and keys of an address; none without an address."""
        if not address:
            return []
        around = network_around(address)
        wide = [] if around is None else [(self._networks, _digest(around))]
        return [(self._addresses, _digest(network(address))), *wide]

    def pack(self, name: str) -> Iterator[bytes]:
        """The entries of one of `TABLES`, in parts; `unpack` reads the joined parts."""
        entries = list(self._tables[name].entries.items())
        for start in range(0, len(entries), _SLICE):
            yield b"".join(
                _ENTRY.pack(key, failures, *divmod(min(max(0, int(last_s)), _SECOND_MAX), 1 << 32))
                for key, (failures, last_s) in entries[start : start + _SLICE]
            )

    def unpack(self, name: str, packed: bytes) -> bool:
        """Load packed entries; returns False, and loads nothing, if they cannot be read."""
        if len(packed) % _ENTRY.size or len(packed) > ENTRIES_MAX * _ENTRY.size:
            return False
        entries = self._tables[name].entries
        for key, failures, upper, lower in _ENTRY.iter_unpack(packed):
            entries[key] = (failures, float((upper << 32) | lower))
        return True

    def _now_s(self) -> float:
        return self._clock.wall_us() / 1e6


def network(address: str) -> str:
    """The unit that counts as one address: an IPv4 address, an IPv6 /64, or the text itself if it is neither."""
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
    """The network around an address: an IPv4 /24 or an IPv6 /48; None if the text is no address."""
    try:
        narrow = ipaddress.ip_network(network(address))
    except ValueError:
        return None
    return str(narrow.supernet(new_prefix=24 if narrow.version == _IPV4 else 48))


def network_digest(username: str, address: str) -> str:
    """The digest with which an account remembers the network of a successful login."""
    return hashlib.sha256(f"{username}\0{network(address)}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
