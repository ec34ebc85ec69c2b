"""What lies inside a sealed payload: credentials as a message in either syntax."""

from dataclasses import dataclass, field
from typing import Final, cast

import msgspec

from realmkeep.accounts.sealed import PAYLOAD_BYTES_MAX
from realmkeep.errors import RealmkeepError, SealBroken
from realmkeep.records import NIL, Colon, Limits, key_name, read_sexpr

_LIMITS: Final = Limits(bytes_max=PAYLOAD_BYTES_MAX, depth_max=4, nodes_max=64)


@dataclass(frozen=True)
class Credentials:
    """A user name and a password, or a ticket, and when they were meant.

    Attributes:
        username: As typed; empty with a ticket.
        password: As typed; empty with a ticket.
        ticket: A resume ticket; empty with a password.
        timestamp_s: Seconds since the Unix epoch by the client's clock, or None.
        challenge: The challenge of a `welcome`; empty if there is none.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    ticket: str = field(default="", repr=False)
    timestamp_s: float | None = None
    challenge: str = ""


def read_credentials(message: bytes) -> Credentials:
    """Read the message inside a sealed payload: a JSON object or a property list; other fields are ignored.

    Raises:
        SealBroken: It is neither, a field has another type than it should, or there is no password and no ticket.
    """
    fields = _property_list(message) if message.lstrip()[:1] == b"(" else _json_object(message)

    def text(name: str) -> str:
        value = fields.get(name)
        if value is None:
            return ""
        if type(value) is not str:
            raise SealBroken
        return value

    timestamp = fields.get("timestamp")
    if timestamp is not None and type(timestamp) not in {int, float}:
        raise SealBroken
    read_ = Credentials(
        text("username"), text("password"), text("ticket"), cast("float | None", timestamp), text("challenge")
    )
    if not (read_.ticket or (read_.username and read_.password)):
        raise SealBroken
    return read_


def _json_object(message: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(message, type=dict[str, object])
    except (ValueError, RecursionError):  # not chained: such an error quotes what it could not read
        raise SealBroken from None


def _property_list(message: bytes) -> dict[str, object]:
    try:
        whole = read_sexpr(message, _LIMITS)
    except RealmkeepError:
        raise SealBroken from None
    if not isinstance(whole, list) or len(whole) % 2 or not all(isinstance(key, Colon) for key in whole[::2]):
        raise SealBroken
    fields: dict[str, object] = {}
    for key, value in zip(whole[::2], whole[1::2], strict=True):
        fields.setdefault(key_name(cast("Colon", key)), None if value is NIL else value)  # the first wins, as with getf
    return fields
