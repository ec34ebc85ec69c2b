"""Rate limits of one client: messages a second, and errors in ten seconds."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

ERRORS_MAX: Final = 20
ERRORS_WINDOW_S: Final = 10.0
MESSAGES_PER_S: Final = 200.0  # ten times as many as a client of a 20 Hz server needs
MESSAGES_BURST: Final = 400.0
STRANGERS_PER_S: Final = 20.0  # before login: hello, register and login are the only requests
STRANGERS_BURST: Final = 40.0
BYTES_PER_TOKEN: Final = 1024  # every message of the protocol but a padded one is shorter

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ErrorWindow:
    """Counts the errors of the last ten seconds."""

    __slots__ = ("_times_s",)

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=ERRORS_MAX)

    def add(self, now_s: float) -> bool:
        """Count one error; True if it is the twentieth within ten seconds."""
        self._times_s.append(now_s)
        return len(self._times_s) == ERRORS_MAX and now_s - self._times_s[0] <= ERRORS_WINDOW_S


def message_cost(encoded: bytes) -> float:
    """The cost of a message in tokens: a long message takes as much time to read as several short ones."""
    return 1.0 + len(encoded) // BYTES_PER_TOKEN


class TokenBucket:
    """A token bucket: allows `rate_per_s` in the long run and `burst` at once."""

    __slots__ = ("_at_s", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, now_s: float, *, rate_per_s: float = MESSAGES_PER_S, burst: float = MESSAGES_BURST) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at_s = now_s

    def take(self, now_s: float, amount: float = 1.0) -> bool:
        """Take `amount` tokens; False, and nothing taken, if there are fewer."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True


class LruMap(Generic[K, V]):
    """A map of at most `entries_max` entries; a further one evicts the least recently used. `make` supplies missing values."""

    def __init__(self, make: Callable[[], V], *, entries_max: int) -> None:
        self._make = make
        self._entries_max = entries_max
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __getitem__(self, key: K) -> V:
        if key not in self._entries:
            self._entries[key] = self._make()
            if len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return self._entries[key]
