"""How far the servers have shipped, as the cold tier itself has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.operations.backup.moments import show_moment

if TYPE_CHECKING:
    from realmkeep.storage.cold import ColdStore

CUT: Final = "cut:"


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """The marks of the servers.

    Attributes:
        cuts: The moment of the last cut of each server that ever ran, in microseconds since the epoch.
        swept: The start of the last sweep that compared everything, likewise; 0 if there was none.
        ids: The highest id that was given out before the last cut.
    """

    cuts: dict[str, int]
    swept: int
    ids: int

    def lines(self) -> list[str]:
        """For people."""
        told = [f"{name}  has shipped its changes until {show_moment(at)}" for name, at in sorted(self.cuts.items())]
        swept = (
            f"last swept at {show_moment(self.swept)}" if self.swept else "never swept: the archive may lack records"
        )
        return [*told, swept, f"ids up to {self.ids} are noted"]


async def read_marks(cold: ColdStore) -> Marks:
    """Read the marks.

    Raises:
        StorageError: The cold tier cannot be reached.
    """
    found = await cold.marks()
    cuts = {name.removeprefix(CUT): at for name, at in found.items() if name.startswith(CUT)}
    return Marks(cuts=cuts, swept=found.get("swept", 0), ids=found.get("ids", 0))
