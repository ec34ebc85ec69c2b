"""The intents of clients: one typed structure for each action, checked before the game sees it."""

from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.syntax import Message

COUNT_MAX: Final = 999_999
OP_ID_MAX: Final = (1 << 53) - 1  # the largest integer that every JSON reader keeps exact
PLAYER_ID_MAX: Final = (1 << 63) - 1
SLOT_MAX: Final = 999  # more than any inventory has; the game knows the real bound
OFFER_SLOTS_MAX: Final = 64

Count: TypeAlias = Annotated[int, Meta(ge=1, le=COUNT_MAX)]
Gold: TypeAlias = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
OpId: TypeAlias = Annotated[int, Meta(ge=1, le=OP_ID_MAX)]
Slot: TypeAlias = Annotated[int, Meta(ge=0, le=SLOT_MAX)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Id: TypeAlias = Annotated[int, Meta(ge=0, le=PLAYER_ID_MAX)]
PlayerRef: TypeAlias = Id | Name
"""A player by id or by name."""
Price: TypeAlias = Annotated[int, Meta(ge=0, le=OP_ID_MAX)]
SeenItem: TypeAlias = Name | UnsetType | None
SeenSerial: TypeAlias = Id | UnsetType | None
SeenPrice: TypeAlias = Price | UnsetType | None
"""The state that the client saw; if it is given and differs by now, the intent is refused. It is unset and not encoded by
default, because the encoded intent identifies a repeated operation, also to a later release."""
Terms: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Scalar: TypeAlias = (
    bool | Annotated[int, Meta(ge=-OP_ID_MAX, le=OP_ID_MAX)] | float | Annotated[str, Meta(max_length=64)] | None
)


class Intent(Struct, frozen=True, tag_field="action"):
    """The base class of all intents. Fields that an action does not have are ignored."""


class Move(Intent, frozen=True, tag="move"):
    """Walk to a point."""

    x: float
    y: float


class Attack(Intent, frozen=True, tag="attack"):
    """Strike a monster within reach."""

    target: Id


class Look(Intent, frozen=True, tag="look"):
    """Ask for everything in sight."""


class Pickup(Intent, frozen=True, tag="pickup"):
    """Pick up a thing within reach."""

    ground_id: Id
    item: SeenItem = UNSET


class Drop(Intent, frozen=True, tag="drop"):
    """Lay items on the ground."""

    slot: Slot
    count: Count
    item: SeenItem = UNSET
    serial: SeenSerial = UNSET


class Sell(Intent, frozen=True, tag="sell"):
    """Sell items to the shop within reach at its price; refused if it pays less than `price_min` each."""

    slot: Slot
    count: Count
    item: SeenItem = UNSET
    serial: SeenSerial = UNSET
    price_min: SeenPrice = UNSET


class Consume(Intent, frozen=True, tag="consume"):
    """Eat or drink."""

    slot: Slot
    count: Count
    item: SeenItem = UNSET
    serial: SeenSerial = UNSET


class Buy(Intent, frozen=True, tag="buy"):
    """Buy from the shop within reach at its price; refused if it asks more than `price_max` each."""

    item: Name
    count: Count
    price_max: SeenPrice = UNSET


class Equip(Intent, frozen=True, tag="equip"):
    """Wear or wield the item in a slot; the item worn before takes its slot."""

    slot: Slot
    item: SeenItem = UNSET
    serial: SeenSerial = UNSET


class Unequip(Intent, frozen=True, tag="unequip"):
    """Put a worn item into the inventory."""

    equipment: Name


class Deposit(Intent, frozen=True, tag="deposit"):
    """Deposit gold or items at the bank within reach."""

    item: Name
    count: Count


class Withdraw(Intent, frozen=True, tag="withdraw"):
    """Withdraw gold or items from the bank within reach."""

    item: Name
    count: Count


class TradeRequest(Intent, frozen=True, tag="trade_request"):
    """Ask a player nearby for a trade; asking back accepts."""

    player: PlayerRef


class OfferedItem(Struct, frozen=True):
    """Some items of one slot, as a part of an offer."""

    slot: Slot
    count: Count


class TradeOffer(Intent, frozen=True, tag="trade_offer"):
    """Set one's offer; it replaces the earlier one."""

    items: Annotated[list[OfferedItem], Meta(max_length=OFFER_SLOTS_MAX)] | None = None
    gold: Gold | None = None


class TradeConfirm(Intent, frozen=True, tag="trade_confirm"):
    """Agree to both offers as the client saw them: `terms` names exactly these."""

    terms: Terms


class TradeCancel(Intent, frozen=True, tag="trade_cancel"):
    """Cancel the trade."""


class Mail(Intent, frozen=True, tag="mail"):
    """Send gold, or items of a slot, to a player on any server, online or not."""

    player: PlayerRef
    gold: Count | None = None
    slot: Slot | None = None
    count: Count | None = None
    item: SeenItem = UNSET
    serial: SeenSerial = UNSET

    def __post_init__(self) -> None:
        if (self.gold is None) == (self.slot is None):
            raise ValueError("mail carries either `gold`, or `slot` and `count`")
        if (self.slot is None) != (self.count is None):
            raise ValueError("`slot` and `count` belong together")


class AcceptQuest(Intent, frozen=True, tag="accept_quest"):
    """Take a quest from the giver in reach."""

    quest: Name


class AdvanceQuest(Intent, frozen=True, tag="advance_quest"):
    """Report a finished stage; the last one brings the reward."""

    quest: Name


class AddFriend(Intent, frozen=True, tag="add_friend"):
    """Put a player on the friends list."""

    player: PlayerRef


class RemoveFriend(Intent, frozen=True, tag="remove_friend"):
    """Take a player off the friends list."""

    player: PlayerRef


class Block(Intent, frozen=True, tag="block"):
    """Refuse trades and mail of a player."""

    player: PlayerRef


class Unblock(Intent, frozen=True, tag="unblock"):
    """Accept trades and mail of a player again."""

    player: PlayerRef


class SetSetting(Intent, frozen=True, tag="set"):
    """Keep a setting of the client."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z")]
    value: Scalar = None


Slotted: TypeAlias = Drop | Sell | Consume | Equip | Mail
"""The intents that name a slot."""

INTENTS: Final[dict[str, type[Intent]]] = {
    cast("str", kind.__struct_config__.tag): kind for kind in Intent.__subclasses__()
}


def read_op_id(message: Message) -> int | None:
    """The operation's id; None if the message has none.

    Raises:
        BadInput: `bad_field`: it is no integer in range.
    """
    if message.get("op_id") is None:
        return None
    try:
        return msgspec.convert(message["op_id"], OpId)
    except msgspec.ValidationError as error:
        raise BadInput("bad_field", f"op_id: {error}") from error


def read_intent(message: Message) -> Intent:
    """The intent of a message with the type `intent`.

    Raises:
        BadInput: `unknown_action` or `bad_field`.
    """
    op_id = read_op_id(message)
    action: Any = message.get("action")
    if not isinstance(action, str) or action not in INTENTS:
        raise BadInput("unknown_action", f"action is one of {', '.join(INTENTS)}", op_id=op_id)
    try:
        return msgspec.convert(message, INTENTS[action])
    except msgspec.ValidationError as error:
        raise BadInput("bad_field", str(error), op_id=op_id) from error
