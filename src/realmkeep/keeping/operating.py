"""Acts of an operator on a running keeper; each is a decision that no server takes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.keeping.keeper import engine_of

if TYPE_CHECKING:
    from realmkeep.keeping.keeper import Keeper


def heal(keeper: Keeper) -> None:
    """Allow all live sessions to be written again, over a store that lost writes although it is set to lose none.

    The setting `keeper.heal` allows it in advance.
    """
    engine_of(keeper).store_loss.allowed = True
