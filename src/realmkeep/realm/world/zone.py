"""The part of a zone that outlives a restart."""

from collections.abc import Iterator

from realmkeep import IMMEDIATE, Part, Record, durable
from realmkeep.records import Keyword


class GroundItem(Part):
    """An item with a serial that lies on the ground."""

    item_id: Keyword
    serial: int
    x: float
    y: float


class Zone(Record, kind="zone", version=1, suffix="objects"):
    """A zone's items with serials and its pending respawns, stored under `zone:{id}:objects`.

    Attributes:
        ground: The items with a serial. They move between zone and player in one commit; other items lie in memory only.
        respawns: Wall time, in microseconds, at which the monster or item of a spot comes back, by spot.
    """

    ground: list[GroundItem] = durable(default_factory=list[GroundItem], tier=IMMEDIATE)
    respawns: dict[str, int] = durable(default_factory=dict[str, int])


@Zone.serials
def serials_on_the_ground(zone: Zone) -> Iterator[int]:
    """The serials of the items that lie in a zone."""
    for item in zone.ground:
        yield item.serial
