"""The caps on a stored record; they hold before memory is allocated for it."""

from dataclasses import dataclass, field

_BYTES_PER_NODE = 2  # the shortest value, with its comma


@dataclass(frozen=True)
class Limits:
    """Bounds on one stored record.

    Attributes:
        bytes_max: Most bytes of its encoded form.
        depth_max: Deepest nesting of containers.
        nodes_max: Most values, containers and map keys together.
        bytes_safe_max: Up to this many bytes, a record can break neither `bytes_max` nor `nodes_max`.
    """

    bytes_max: int = 64 * 1024  # the specification's player with a full bank takes about 4 KiB
    depth_max: int = 64
    nodes_max: int = 10_000
    bytes_safe_max: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes_safe_max", min(self.bytes_max, _BYTES_PER_NODE * self.nodes_max))


DEFAULT_LIMITS = Limits()
