"""The part of a zone that outlives a restart."""

from realmkeep import IMMEDIATE, Keyword, Part, Record, durable


class GroundItem(Part):
    """An item with a serial that lies on the ground."""

    item_id: Keyword
    serial: int
    x: float
    y: float


class Zone(Record, kind="zone", version=1, suffix="objects"):
    """What lies around and what has yet to come back; kept under `zone:{id}:objects`.

    Attributes:
        ground: The items with a serial. They move between zone and player in one commit; all others lie in memory only.
        respawns: When a monster or thing that is gone comes back, by its spot, in microseconds of wall time.
    """

    ground: list[GroundItem] = durable(default_factory=list[GroundItem], tier=IMMEDIATE)
    respawns: dict[str, int] = durable(default_factory=dict[str, int])
