"""What a letter between players says."""

from typing import Any, Self

from realmkeep import Letter


class MailLetter(Letter, kind="mail", version=1):
    """Gold, or an item, on its way from one player to another.

    Attributes:
        sender: Its id.
        sender_name: As it was called then.
        receiver: Its id; 0 in a letter of the time before letters had types.
        receiver_name: Likewise; empty in such a letter.
        gold: How much; None if it is an item.
        item: Which.
        count: How many.
        serial: Of an item that does not stack.
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
        """A letter as it was stored before letters had types."""
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
        """What is in it, as clients are told."""
        fields = {"gold": self.gold, "item": self.item, "count": self.count, "serial": self.serial}
        return {name: value for name, value in fields.items() if value is not None}
