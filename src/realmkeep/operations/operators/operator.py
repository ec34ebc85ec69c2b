"""The stored account of an operator."""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from realmkeep.records import Record, durable

NAME_CHARS_MAX: Final = 32


class Operator(Record, kind="operator", version=1):
    """One operator of the realm.

    Attributes:
        name: The folded name; also the record's id.
        role: `viewer`, `support` or `admin`.
        password_hash: As for accounts.
        disabled: It can do nothing until an admin enables it.
        totp_secret: The secret of its one-time codes, in base32; empty if it uses none.
        totp_step: The step of the last accepted code: each code works once.
        created_s: In seconds since the Unix epoch.
    """

    name: str = durable(length_max=NAME_CHARS_MAX)
    role: str = durable()
    password_hash: str = durable(default="")
    disabled: bool = durable(default=False)
    totp_secret: str = durable(default="")
    totp_step: int = durable(default=0, ge=0)
    created_s: int = durable(default=0, ge=0)

    @override
    def __repr__(self) -> str:
        return f"Operator({self.name!r}, {self.role})"
