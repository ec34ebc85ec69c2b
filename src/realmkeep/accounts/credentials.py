"""The content of a sealed payload: credentials as a message in either syntax."""

import math
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec

from realmkeep.accounts.sealed_payloads import PAYLOAD_BYTES_MAX
from realmkeep.errors import RealmkeepError, SealBroken
from realmkeep.records import NIL, Colon, Limits, key_name, read_sexpr

TEXT_CHARS_MAX: Final = 1024  # of each field, as in an unsealed message
TIMESTAMP_S_MAX: Final = 2**53  # beyond it a float has no exact seconds, and no clock shows such a time
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # some UTF-8 writers begin a text with it
_LIMITS: Final = Limits(bytes_max=PAYLOAD_BYTES_MAX, depth_max=4, nodes_max=64)


@dataclass(frozen=True)
class Credentials:
    """A user name and a password, or a ticket, with the proof that they are fresh.

    Attributes:
        username: As typed; empty with a ticket.
        password: As typed; empty with a ticket.
        ticket: A resume ticket; empty with a password.
        timestamp_s: The client's time in seconds since the Unix epoch; infinity if out of range; None if absent.
        challenge: The challenge of a `welcome`; empty if there is none.
        new_password: As typed, for a change of password; else empty.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    ticket: str = field(default="", repr=False)
    timestamp_s: float | None = None
    challenge: str = ""
    new_password: str = field(default="", repr=False)


def read_credentials(message: bytes) -> Credentials:
    """Read the message inside a sealed payload: a JSON object or a property list; other fields are ignored.

    Raises:
        SealBroken: The message is neither, a field has a wrong type or is too long, or there are no credentials.
    """
    message = message.removeprefix(_BYTE_ORDER_MARK)
    fields = _property_list(message) if message.lstrip()[:1] == b"(" else _json_object(message)

    def text(name: str) -> str:
        value = fields.get(name)
        if value is None:
            return ""
        if type(value) is not str or len(value) > TEXT_CHARS_MAX:
            raise SealBroken
        return value

    timestamp_s = _timestamp_s(fields.get("timestamp"))
    read_ = Credentials(
        text("username"), text("password"), text("ticket"), timestamp_s, text("challenge"), text("new_password")
    )
    if not (read_.ticket or (read_.password and (read_.username or read_.new_password))):
        raise SealBroken
    return read_


def _timestamp_s(value: object) -> float | None:
    """The timestamp, bounded before any arithmetic: an integer of 400 digits fits no float. Infinity is never fresh."""
    if value is None:
        return None
    if type(value) not in {int, float}:
        raise SealBroken
    number = cast("float", value)
    return float(number) if 0 <= number <= TIMESTAMP_S_MAX else math.inf


def _json_object(message: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(message, type=dict[str, object])
    except (ValueError, RecursionError):  # not chained: such an error quotes the message
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
