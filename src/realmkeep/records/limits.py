"""The caps that hold before anything is allocated for a stored record."""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Limits:
    """Bounds on one stored record.

    Attributes:
        bytes_max: Most bytes of its encoded form.
        depth_max: Deepest nesting of containers.
        nodes_max: Most values, containers and map keys together.
    """

    bytes_max: int = 64 * 1024  # the specification's player with a full bank takes about 4 KiB
    depth_max: int = 64
    nodes_max: int = 10_000

    @cached_property
    def bytes_unsuspected(self) -> int:
        """A record of so many bytes keeps `bytes_max`, and `nodes_max` too, since a node takes 2 bytes at the least."""
        return min(self.bytes_max, 2 * self.nodes_max)


DEFAULT_LIMITS = Limits()
