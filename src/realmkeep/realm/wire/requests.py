"""The requests of clients: one typed structure for each message type."""

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.intents import Intent, read_intent, read_op_id
from realmkeep.realm.wire.syntax import Message

_INT_64: Final = 1 << 63

Text: TypeAlias = Annotated[str, Meta(max_length=1024)]
Hex: TypeAlias = Annotated[str, Meta(max_length=8192)]
Echo: TypeAlias = (
    bool | Annotated[int, Meta(ge=-_INT_64, le=_INT_64 - 1)] | float | Annotated[str, Meta(max_length=256)] | None
)


class HelloRequest(Struct, frozen=True):
    """Ask for the server's name, key and challenge."""


class CredentialsRequest(Struct, frozen=True):
    """The fields of `register` and `login`: plain credentials, or sealed ones in `encrypted_payload`.

    Attributes:
        server: At a gateway: the server to which the player wants to go.
    """

    username: Text | None = None
    password: Text | None = None
    ticket: Text | None = None
    encrypted_payload: Hex | None = None
    challenge: Text | None = None
    server: Text | None = None


class RegisterRequest(CredentialsRequest, frozen=True):
    """Create an account and a player, and log in."""


class LoginRequest(CredentialsRequest, frozen=True):
    """Log in with a password or a ticket; `new_password` replaces the password."""

    new_password: Text | None = None


class LogoutRequest(Struct, frozen=True):
    """Log out; answered once the final state is durable and the tickets of this device have ended (`everywhere`: all)."""

    everywhere: bool | None = None


class ChangePasswordRequest(Struct, frozen=True):
    """Replace the password; both passwords are plain, or sealed in `encrypted_payload`."""

    password: Text | None = None
    new_password: Text | None = None
    encrypted_payload: Hex | None = None


class PingRequest(Struct, frozen=True):
    """Keep the session alive; the answer repeats `t`."""

    t: Echo = None


class IntentRequest(Struct, frozen=True):
    """An intent with its operation id; None if the client gave none."""

    intent: Intent
    op_id: int | None


Request: TypeAlias = (
    HelloRequest | RegisterRequest | LoginRequest | LogoutRequest | ChangePasswordRequest | PingRequest | IntentRequest
)

_PLAIN: Final[
    dict[str, type[HelloRequest | RegisterRequest | LoginRequest | LogoutRequest | ChangePasswordRequest | PingRequest]]
] = {
    "hello": HelloRequest,
    "register": RegisterRequest,
    "login": LoginRequest,
    "logout": LogoutRequest,
    "change_password": ChangePasswordRequest,
    "ping": PingRequest,
}
BEFORE_LOGIN: Final = frozenset({"hello", "register", "login"})


def read_request(message: Message, *, logged_in: bool) -> Request:
    """The typed request of a message.

    Raises:
        BadInput: `unknown_type`, `not_logged_in`, `unknown_action` or `bad_field`.
    """
    kind = message.get("type")
    if not isinstance(kind, str) or (kind != "intent" and kind not in _PLAIN):
        raise BadInput("unknown_type", f"type is one of intent, {', '.join(_PLAIN)}")
    if not logged_in and kind not in BEFORE_LOGIN:
        raise BadInput("not_logged_in", f"{kind} needs a session: register or log in first")
    if kind == "intent":
        return IntentRequest(read_intent(message), read_op_id(message))
    try:
        return msgspec.convert(message, _PLAIN[kind])
    except msgspec.ValidationError as error:
        raise BadInput("bad_field", str(error)) from error
