"""Why the game says no."""


class ActionRefused(Exception):
    """An intent is well-formed and cannot be done; it is answered with `nack`, and nothing changed.

    Attributes:
        reason: A name for the client's program.
        detail: One sentence for the player.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
