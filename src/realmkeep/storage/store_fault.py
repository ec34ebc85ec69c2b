"""A setting of a store that weakens its promise: the connection warns of it, and doctor tells it."""

import msgspec


class StoreFault(msgspec.Struct, frozen=True):
    """One setting that weakens or breaks the promise of a store; its text is a sentence.

    Attributes:
        name: A short name that stays the same.
        what: The setting as it is.
        why: Its consequence.
        mend: The line that mends it.
        settings: Names and values for `CONFIG SET` of a Valkey or Redis that mend it; empty if the right value is an
            operator's choice.
        is_refused: Realmkeep does not use a store with this fault.
    """

    name: str
    what: str
    why: str
    mend: str
    settings: tuple[tuple[str, str], ...] = ()
    is_refused: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"
