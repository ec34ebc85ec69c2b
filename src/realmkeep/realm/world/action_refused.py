"""The refusal of an action."""


class ActionRefused(Exception):
    """A well-formed intent that the rules do not allow; the client gets `nack`, and nothing has changed.

    Attributes:
        reason: The protocol's word, for the client's program.
        detail: One sentence for the player.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
