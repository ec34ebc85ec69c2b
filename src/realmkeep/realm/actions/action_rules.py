"""The rule of each action: its function, its tier, and the fields of the state that it may change."""

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
class ActionRule:
    """The rule of an action.

    Attributes:
        run: `(player, scene, intent)`; with `zone`, the zone's record after the player's.
        reports: The fields of the state that the action may change; the answer carries them.
        durable: The action is tier 1: it runs in a commit and needs an `op_id`.
        zone: The zone's record takes part in the commit.
    """

    run: Callable[..., dict[str, Any]]
    reports: tuple[str, ...]
    durable: bool = False
    zone: bool = False


HOLDINGS: Final = ("inventory", "parcels")
TRADED: Final = ("gold", *HOLDINGS)
NAMES_A_PLAYER: Final = (intents.Mail, intents.AddFriend, intents.RemoveFriend, intents.Block, intents.Unblock)

_PICKUP_SERIAL: Final = ActionRule(pickup_serial, ("inventory",), durable=True, zone=True)
_DROP_SERIAL: Final = ActionRule(drop_serial, HOLDINGS, durable=True, zone=True)
_COMPLETE: Final = ActionRule(
    complete_quest, ("quests", "gold", "inventory", "hp", "max_hp", "achievements", *LEVELS), durable=True
)
_RULES: Final[dict[type[intents.Intent], ActionRule]] = {
    intents.Move: ActionRule(move, ("zone", "x", "y", "quests")),
    intents.Attack: ActionRule(attack, ("hp", "max_hp", "in_combat", "quests", "achievements", *LEVELS)),
    intents.Look: ActionRule(look, ()),
    intents.Pickup: ActionRule(pickup_common, ("inventory",)),
    intents.Drop: ActionRule(drop_common, HOLDINGS, durable=True),
    intents.Consume: ActionRule(consume, ("hp", *HOLDINGS), durable=True),
    intents.Buy: ActionRule(buy, ("gold", "inventory"), durable=True),
    intents.Sell: ActionRule(sell, ("gold", *HOLDINGS), durable=True),
    intents.Equip: ActionRule(equip, ("inventory", "equipment")),
    intents.Unequip: ActionRule(unequip, ("inventory", "equipment")),
    intents.Deposit: ActionRule(deposit, ("gold", "bank_gold", "bank", *HOLDINGS), durable=True),
    intents.Withdraw: ActionRule(withdraw, ("gold", "bank_gold", "bank", "inventory"), durable=True),
    intents.Mail: ActionRule(mail, ("gold", *HOLDINGS), durable=True),
    intents.AcceptQuest: ActionRule(accept_quest, ("quests",)),
    intents.AdvanceQuest: ActionRule(advance_quest, ("quests",)),
    intents.AddFriend: ActionRule(add_friend, ("friends",), durable=True),
    intents.RemoveFriend: ActionRule(remove_friend, ("friends",), durable=True),
    intents.Block: ActionRule(block, ("blocked",), durable=True),
    intents.Unblock: ActionRule(unblock, ("blocked",), durable=True),
    intents.SetSetting: ActionRule(set_setting, ("settings",), durable=True),
}


def action_rule(player: Player, scene: Scene, intent: intents.Intent) -> ActionRule:
    """The rule for an intent at this moment: moving an item with a serial and earning a reward are tier 1."""
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
    """The fields that a repeated operation may have changed: those of the action's widest rule."""
    match intent:
        case intents.AdvanceQuest():
            return _COMPLETE.reports
        case intents.TradeConfirm():
            return TRADED
        case _:
            return _RULES[type(intent)].reports
