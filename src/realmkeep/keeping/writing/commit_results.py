"""The results of commits, in the form that is recorded for repeats of their operations."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.callables import name_of
from realmkeep.errors import Misuse

if TYPE_CHECKING:
    from realmkeep.keeping.live.counters import Counters

RESULT_BYTES_MAX: Final = 256  # 32 results and their ids stay below 16 KiB a record
RESULT_BYTES_LONG: Final = RESULT_BYTES_MAX // 2  # a result that grows with the data is logged before it is refused

log = logging.getLogger("realmkeep.keeping")


def encode_result(result: object) -> bytes:
    """A commit's result as it is recorded.

    Raises:
        Misuse: It is not made of JSON's types, or takes more than 256 bytes.
    """
    try:
        encoded = msgspec.json.encode(result)
    except (TypeError, ValueError, OverflowError) as error:
        raise Misuse(
            f"the result of a commit cannot be recorded: {error}",
            hint="return None, numbers, text, lists or dictionaries from a commit that has ops",
        ) from error
    if len(encoded) > RESULT_BYTES_MAX:
        raise Misuse(
            f"the result of a commit takes {len(encoded)} bytes, {RESULT_BYTES_MAX} are recorded",
            hint="return the facts that the client needs, not the record",
        )
    return encoded


class ResultRecorder:
    """Encodes the results of one keeper's commits, and warns of results that are about to become too long.

    Args:
        counters: Counts long results.
        strict: Refuse too long a result also in a commit without operations, so that the first commit of a test finds it,
            not the first large guild.
    """

    def __init__(self, counters: Counters, *, strict: bool) -> None:
        self._counters = counters
        self._strict = strict
        self._told: set[str] = set()

    def record(self, fn: object, result: object, *, wanted: bool) -> bytes:
        """The result as it is recorded; empty if it is not `wanted`.

        Args:
            fn: The function that returned it; the log names each function once.
            result: Its result.
            wanted: The commit has operations.

        Raises:
            Misuse: As `encode_result`; without operations only in strict mode, and only if it is too long.
        """
        if not wanted and not (self._strict and _is_json(result)):
            return b""
        encoded = encode_result(result)
        if len(encoded) > RESULT_BYTES_LONG:
            self._counters.long_results += 1
            if (name := name_of(fn)) not in self._told:
                self._told.add(name)
                log.warning(
                    "the result of the commit %s takes %d bytes; beyond %d it is refused",
                    name,
                    len(encoded),
                    RESULT_BYTES_MAX,
                )
        return encoded if wanted else b""


def _is_json(result: object) -> bool:
    try:
        msgspec.json.encode(result)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
