"""Which function does what, how soon it must be durable, and what of the state it changes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from realmkeep.realm.actions.banking import deposit, withdraw
from realmkeep.realm.actions.fighting import attack
from realmkeep.realm.actions.items import (
    consume,
    drop_common,
    drop_serial,
    equip,
    pickup_common,
    pickup_serial,
    unequip,
)
from realmkeep.realm.actions.looking import look
from realmkeep.realm.actions.mail import mail
from realmkeep.realm.actions.moving import move
from realmkeep.realm.actions.quests import accept_quest, advance_quest, complete_quest, is_last_stage
from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.actions.shop import buy, sell
from realmkeep.realm.actions.social import add_friend, block, remove_friend, set_setting, unblock
from realmkeep.realm.wire import intents
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.state import LEVELS


@dataclass(frozen=True)
class Rule:
    """How an action runs.

    Attributes:
        run: `(player, scene, intent)`; with `durable`, `(tx, player, scene, intent)`; with `zone`, the zone's record after
            the player's.
        reports: The fields of the state that it may change.
        durable: It is tier 1: it runs in a commit and needs an `op_id`.
        zone: The zone's record takes part in the commit.
    """

    run: Callable[..., dict[str, Any]]
    reports: tuple[str, ...]
    durable: bool = False
    zone: bool = False


HOLDINGS: Final = ("inventory", "parcels")
TRADED: Final = ("gold", *HOLDINGS)
NAMES_SOMEBODY: Final = (intents.Mail, intents.AddFriend, intents.RemoveFriend, intents.Block, intents.Unblock)

_PICKUP_SERIAL: Final = Rule(pickup_serial, ("inventory",), durable=True, zone=True)
_DROP_SERIAL: Final = Rule(drop_serial, HOLDINGS, durable=True, zone=True)
_COMPLETE: Final = Rule(
    complete_quest, ("quests", "gold", "inventory", "hp", "max_hp", "achievements", *LEVELS), durable=True
)
_RULES: Final[dict[type[intents.Intent], Rule]] = {
    intents.Move: Rule(move, ("zone", "x", "y", "quests")),
    intents.Attack: Rule(attack, ("hp", "max_hp", "in_combat", "quests", "achievements", *LEVELS)),
    intents.Look: Rule(look, ()),
    intents.Pickup: Rule(pickup_common, ("inventory",)),
    intents.Drop: Rule(drop_common, HOLDINGS, durable=True),
    intents.Consume: Rule(consume, ("hp", *HOLDINGS), durable=True),
    intents.Buy: Rule(buy, ("gold", "inventory"), durable=True),
    intents.Sell: Rule(sell, ("gold", *HOLDINGS), durable=True),
    intents.Equip: Rule(equip, ("inventory", "equipment")),
    intents.Unequip: Rule(unequip, ("inventory", "equipment")),
    intents.Deposit: Rule(deposit, ("gold", "bank_gold", "bank", *HOLDINGS), durable=True),
    intents.Withdraw: Rule(withdraw, ("gold", "bank_gold", "bank", "inventory"), durable=True),
    intents.Mail: Rule(mail, ("gold", *HOLDINGS), durable=True),
    intents.AcceptQuest: Rule(accept_quest, ("quests",)),
    intents.AdvanceQuest: Rule(advance_quest, ("quests",)),
    intents.AddFriend: Rule(add_friend, ("friends",), durable=True),
    intents.RemoveFriend: Rule(remove_friend, ("friends",), durable=True),
    intents.Block: Rule(block, ("blocked",), durable=True),
    intents.Unblock: Rule(unblock, ("blocked",), durable=True),
    intents.SetSetting: Rule(set_setting, ("settings",), durable=True),
}


def rule_of(player: Player, scene: Scene, intent: intents.Intent) -> Rule:
    """The rule for an intent here and now: what has a serial, and what brings a reward, is tier 1."""
    match intent:
        case intents.Pickup():
            thing = scene.place(player).ground.get(intent.ground_id)
            single = thing is not None and not scene.world.item(thing.item).stackable
            return _PICKUP_SERIAL if single else _RULES[intents.Pickup]
        case intents.Drop():
            has_serial = any(item.slot == intent.slot and item.serial is not None for item in player.inventory)
            return _DROP_SERIAL if has_serial else _RULES[intents.Drop]
        case intents.AdvanceQuest():
            return _COMPLETE if is_last_stage(player, scene, intent.quest) else _RULES[intents.AdvanceQuest]
        case _:
            return _RULES[type(intent)]


def reports_of(intent: intents.Intent) -> tuple[str, ...]:
    """The fields that an action may have changed when it was done before: those of its widest rule."""
    match intent:
        case intents.AdvanceQuest():
            return _COMPLETE.reports
        case intents.TradeConfirm():
            return TRADED
        case _:
            return _RULES[type(intent)].reports
