"""Answers to recent datagrams: a repeated datagram gets its first answers again and has no second effect."""

from collections import OrderedDict
from typing import Final

from realmkeep.realm.wire.limits import TokenBucket, message_cost
from realmkeep.realm.wire.udp_socket import Address

ANSWERS_KEPT_S: Final = 30.0
BYTES_MAX: Final = 256 * 1024  # of one address: 30 s of acks at 200 a second, or thirty of the longest answers
ALL_BYTES_MAX: Final = 64 * 1024 * 1024  # of all addresses: 30 s of answers to 5,000 players; the oldest go first
ADDRESSES_MAX: Final = 20_000
ENTRY_BYTES: Final = 100  # overhead of an entry beside its text
AGAIN_PER_S: Final = 50.0  # a client that waits for 32 answers repeats each request once a second
AGAIN_BURST: Final = 100.0


class AddressReplies:
    """The datagrams of one address within 30 s, and their answers.

    Answers beyond the cap are dropped, the oldest first. A tier-1 operation stays safe without them: its id protects it for
    longer.

    Attributes:
        bytes: Size of the kept answers.
        newest_s: Time of the latest datagram.
    """

    def __init__(self, all_of_them: "ReplyCache", now_s: float) -> None:
        self._all: ReplyCache | None = all_of_them
        self._entries: OrderedDict[bytes, tuple[float, list[bytes]]] = OrderedDict()
        self._again = TokenBucket(now_s, rate_per_s=AGAIN_PER_S, burst=AGAIN_BURST)
        self.bytes = 0
        self.newest_s = now_s

    def find_answers(self, digest: bytes, now_s: float) -> list[bytes] | None:
        """The answers to this datagram so far; None if the datagram is new."""
        self._expire(now_s)
        entry = self._entries.get(digest)
        return None if entry is None else entry[1]

    def may_repeat(self, answers: list[bytes], now_s: float) -> bool:
        """Whether the address may have these answers again; each costs as much as a message of its size."""
        return self._again.take(now_s, max(1.0, sum(map(message_cost, answers))))

    def begin_datagram(self, digest: bytes, now_s: float) -> None:
        """Note that a datagram is being processed."""
        self._entries[digest] = (now_s, [])
        self.newest_s = now_s
        self._weigh(ENTRY_BYTES)

    def keep_answer(self, digest: bytes, encoded: bytes) -> None:
        """Keep an answer with its datagram, unless the datagram has been dropped meanwhile."""
        entry = self._entries.get(digest)
        if entry is None or self._all is None:
            return
        entry[1].append(encoded)
        self._weigh(len(encoded))
        while self.bytes > BYTES_MAX:
            self._drop_oldest()

    def forget_datagram(self, digest: bytes) -> None:
        """Forget a datagram that had no effect, so that its repetition is processed."""
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._weigh(-_weight(entry[1]))

    def forget(self) -> None:
        """Drop everything; later answers are not kept."""
        self._weigh(-self.bytes)
        self._entries.clear()
        self._all = None

    def _expire(self, now_s: float) -> None:
        while self._entries and now_s - next(iter(self._entries.values()))[0] > ANSWERS_KEPT_S:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, (_, answers) = self._entries.popitem(last=False)
        self._weigh(-_weight(answers))

    def _weigh(self, more: int) -> None:
        self.bytes += more
        if self._all is not None:
            self._all.bytes += more


def _weight(answers: list[bytes]) -> int:
    return ENTRY_BYTES + sum(map(len, answers))


class ReplyCache:
    """The replies of all addresses, the least recently active address first.

    Attributes:
        bytes: Size of all kept answers.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._by_address: OrderedDict[Address, AddressReplies] = OrderedDict()

    def find_address(self, address: Address) -> AddressReplies | None:
        """The replies kept for an address; None if there are none."""
        return self._by_address.get(address)

    def begin_datagram(self, address: Address, digest: bytes, now_s: float) -> AddressReplies:
        """Note that a datagram is being processed; returns the place for its answers."""
        answered = self._by_address.get(address)
        if answered is None:
            answered = self._by_address[address] = AddressReplies(self, now_s)
        self._by_address.move_to_end(address)
        answered.begin_datagram(digest, now_s)
        while len(self._by_address) > ADDRESSES_MAX or (self.bytes > ALL_BYTES_MAX and len(self._by_address) > 1):
            self._forget_oldest()
        return answered

    def expire_addresses(self, now_s: float) -> None:
        """Forget the addresses without a datagram in the last 30 s; costs nothing for the others."""
        while self._by_address and now_s - next(iter(self._by_address.values())).newest_s > ANSWERS_KEPT_S:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._by_address.popitem(last=False)[1].forget()
