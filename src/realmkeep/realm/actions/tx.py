"""What the actions use of a commit's transaction."""

from typing import Any, Protocol


class Tx(Protocol):
    """The transaction that `keeper.commit` hands to its function."""

    def deliver(self, record_type: Any, id: int | str, letter: Any, /) -> None:  # noqa: A002 - the field's own name
        """Put a letter into a record's inbox, whoever owns the record, if the commit happens."""
        ...
