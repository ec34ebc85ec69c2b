"""The letter type of mail between players."""

from collections.abc import Iterator
from typing import Any, Self

from realmkeep import Letter


class MailLetter(Letter, kind="mail", version=1):
    """Gold, or an item, on its way from one player to another.

    Attributes:
        sender: Id of the player that sent it.
        sender_name: Name of the sender at that time.
        receiver: Id of the receiver; 0 in a letter that was stored before letters had types.
        receiver_name: Name of the receiver at that time; empty in such a letter.
        gold: Amount of gold; None if the letter carries an item.
        item: Name of the item.
        count: Number of items.
        serial: Serial of an item that does not stack.
    """

    sender: int
    sender_name: str
    receiver: int = 0
    receiver_name: str = ""
    gold: int | None = None
    item: str | None = None
    count: int | None = None
    serial: int | None = None

    @classmethod
    def of_plain(cls, letter: dict[str, Any]) -> Self:
        """The letter of an entry that was stored before letters had types."""
        return cls(
            sender=letter["from"],
            sender_name=letter["name"],
            gold=letter.get("gold"),
            item=letter.get("item"),
            count=letter.get("count"),
            serial=letter.get("serial"),
        )

    @property
    def content(self) -> dict[str, Any]:
        """The contents in the words of the protocol."""
        fields = {"gold": self.gold, "item": self.item, "count": self.count, "serial": self.serial}
        return {name: value for name, value in fields.items() if value is not None}


@MailLetter.conserved("gold")
def gold_in(letter: MailLetter) -> int:
    """The gold that a letter carries."""
    return letter.gold or 0


@MailLetter.serials
def serial_in(letter: MailLetter) -> Iterator[int | None]:
    """The serial of the item that a letter carries."""
    yield letter.serial
