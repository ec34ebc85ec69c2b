"""Records of a newer version that this code may read: they are written back as they were found.

That means under their own version, in their own notation, and with the fields that this code does not know. In s-expressions
these are kept as data: read without a type and written again, `:iron_sword` and `:iron-sword` would become one.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from realmkeep.records.codecs import codec_of
from realmkeep.records.json_codec import join_json
from realmkeep.records.limits import Limits
from realmkeep.records.plain import Plain
from realmkeep.records.record import Record, set_newer, set_unknown_fields, unknown_fields
from realmkeep.records.sexpr import codec as sexpr_codec
from realmkeep.records.sexpr.reader import read


@dataclass(frozen=True)
class NewerJson:
    """A record that was found as JSON.

    Attributes:
        version: Its stored version.
        readable_by: The oldest version that may read it.
    """

    version: int
    readable_by: int

    def encode(self, record: Record, fields: bytes, limits: Limits) -> bytes:
        """The record as JSON."""
        return join_json(self.version, fields, unknown_fields(record), self.readable_by)


@dataclass(frozen=True)
class NewerSexpr:
    """A record that was found as an s-expression.

    Attributes:
        version: Its stored version.
        readable_by: The oldest version that may read it.
    """

    version: int
    readable_by: int

    def encode(self, record: Record, fields: bytes, limits: Limits) -> bytes:
        """The record as an s-expression.

        Raises:
            Unstorable: A value cannot be stored.
            RecordTooLarge: It exceeds the caps.
        """
        plain: dict[str, Any] = msgspec.to_builtins(record, order="deterministic")
        del plain["version"]
        stored = sexpr_codec.encode(
            plain, record.__realmkeep__, (self.version, self.readable_by), unknown_fields(record)
        )
        read(stored, limits)  # its caps are those of the next load
        return stored


def keep_newer(record: Record, stored: bytes, unknown: Plain, newer: tuple[int, int], limits: Limits) -> None:
    """Note how a record of a newer version is written back.

    Args:
        record: The record, just decoded.
        stored: Its bytes.
        unknown: The fields, found in JSON, that its class does not declare.
        newer: Its version, and the oldest version that may read it.
        limits: The caps on its bytes.

    Raises:
        Corrupt: A key is there twice.
    """
    if codec_of(stored) == "json":
        set_unknown_fields(record, unknown)
        set_newer(record, NewerJson(*newer))
    else:
        set_unknown_fields(record, sexpr_codec.kept_texts(stored, record.__blueprint__.names, limits))
        set_newer(record, NewerSexpr(*newer))
