"""A record's bytes as they are stored, checked as those of a loaded record are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.errors import InvalidRecord, RecordError, Unstorable
from realmkeep.records import ENCODERS, validate_encoded

if TYPE_CHECKING:
    from realmkeep.records import Codec, Limits, Record


class RecordEncoder:
    """Encodes the records of one keeper.

    Args:
        codec: The notation.
        limits: The caps on one record.
    """

    def __init__(self, codec: Codec, limits: Limits) -> None:
        self._encode = ENCODERS[codec]
        self._limits = limits

    def encode_record(self, record: Record, key: str) -> bytes:
        """The bytes of a record that is stored at `key`.

        Raises:
            InvalidRecord: It breaks its rules.
            RecordTooLarge: It exceeds the cap.
            Unstorable: It holds a value that cannot be stored.
        """
        try:
            blob = self._encode(record, self._limits)
        except RecordError:
            raise
        except Exception as error:
            raise Unstorable(f"{key} cannot be encoded: {error!r}", hint="look what it holds") from error
        if issues := validate_encoded(record):
            raise InvalidRecord(
                f"{key}: " + "; ".join(map(str, issues)),
                issues=tuple(issues),
                hint="refuse the request if a commit would leave it so: nothing happened; otherwise mend the record",
            )
        return blob
