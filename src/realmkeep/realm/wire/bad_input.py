"""Errors of the protocol: a message that the server cannot take."""

from typing import Literal, TypeAlias

Reason: TypeAlias = Literal[
    "malformed", "too_large", "unknown_type", "unknown_action", "bad_field", "not_logged_in", "rate_limited"
]


class BadInput(Exception):
    """A message that is answered with `error` and has no other effect.

    Attributes:
        reason: The protocol's word.
        detail: One sentence for the developer of the client.
        op_id: The operation of the message, so that the client stops waiting for it; None if the id could not be read.
    """

    def __init__(self, reason: Reason, detail: str, *, op_id: int | None = None) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail
        self.op_id = op_id

    def message(self) -> dict[str, object]:
        """The `error` message for the client."""
        answer: dict[str, object] = {"type": "error", "reason": self.reason, "detail": self.detail}
        if self.op_id is not None:
            answer["op_id"] = self.op_id
        return answer
