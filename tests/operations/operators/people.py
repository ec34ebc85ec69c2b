"""A game's word on its players, and operators of each role."""

from keeping.game import Player
from realmkeep.config import AuthConfig, OperatorsConfig
from realmkeep.errors import ActRefused
from realmkeep.keeping import Keeper
from realmkeep.operations.operators.acts import Acts
from realmkeep.operations.operators.audit import AuditEntry, AuditTrail
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.operators import Operators
from realmkeep.operations.operators.players import LiveGame, Players
from realmkeep.testing.lab import Lab

PASSWORD = "quiet lantern over marsh"
BROKEN = b'{"version":3,"player_id":9,"name":"Zoe","gold":-1}'  # no checksum, and a rule is broken
AUTH = AuthConfig()


def give(player: Player, thing: str, amount: int) -> None:
    if thing != "gold":
        raise ActRefused(f"there is no {thing}")
    player.gold += amount


def put(player: Player, place: str) -> None:
    player.x = float(place)


PLAYERS = Players(Player, gift=give, move=put)

VIEWER, SUPPORT, ADMIN = [Operator(name=f"a-{role}", role=role) for role in ("viewer", "support", "admin")]


def acts_at(keeper: Keeper, live: LiveGame | None = None, gift_max: int = 100) -> Acts:
    return Acts(keeper, PLAYERS, OperatorsConfig(support_gift_max=gift_max), live=live)


def operators_of(lab: Lab) -> Operators:
    return Operators(lab.line(), AUTH, lab.clock, server="lab-1")


async def audited(lab: Lab) -> list[AuditEntry]:
    return [entry async for entry in AuditTrail(lab.line()).entries()]
