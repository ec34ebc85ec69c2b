"""What was answered to a datagram, so that the same datagram again gets the same answer without a second effect."""

from collections import OrderedDict
from typing import Final

ANSWERS_KEPT_S: Final = 30.0
BYTES_MAX: Final = 256 * 1024  # of one address: 30 s of acks at 200 a second, or thirty of the longest answers
ENTRY_BYTES: Final = 100  # what an entry costs beside its text


class Answered:
    """The datagrams of one address within 30 s, and their answers.

    A client that sends so much that its answers exceed the cap loses the oldest of them first; tier-1 operations are
    protected by their ids for longer than that.

    Attributes:
        bytes: What they weigh.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[float, list[bytes]]] = OrderedDict()
        self.bytes = 0

    def answers(self, digest: bytes, now_s: float) -> list[bytes] | None:
        """What was answered to this datagram so far; None if it is new."""
        self.expire(now_s)
        entry = self._entries.get(digest)
        return None if entry is None else entry[1]

    def began(self, digest: bytes, now_s: float) -> None:
        """A datagram is being worked on."""
        self._entries[digest] = (now_s, [])
        self.bytes += ENTRY_BYTES

    def add(self, digest: bytes, encoded: bytes) -> None:
        """Keep an answer with its datagram, if that has not been dropped meanwhile."""
        entry = self._entries.get(digest)
        if entry is None:
            return
        entry[1].append(encoded)
        self.bytes += len(encoded)
        while self.bytes > BYTES_MAX:
            self._drop_oldest()

    def expire(self, now_s: float) -> bool:
        """Drop what is older than 30 s; True if nothing is left."""
        while self._entries and now_s - next(iter(self._entries.values()))[0] > ANSWERS_KEPT_S:
            self._drop_oldest()
        return not self._entries

    def _drop_oldest(self) -> None:
        _, (_, answers) = self._entries.popitem(last=False)
        self.bytes -= ENTRY_BYTES + sum(map(len, answers))
