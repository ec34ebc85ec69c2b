"""What data of a former schema version mean, where only today's types are known.

A step of a migration has to see what its version wrote, whichever codec wrote it. JSON says by itself what is a list and
what a dictionary. A Lisp list may be either, so the notation decides here, and not the type that the field has today:
keywords in the places of keys make a dictionary. Today's type is believed against the notation only where it would have
written the very data that were read, as a `tuple[Keyword, int]` writes `(:town 3)`. It still says what `nil` and the
letters of keys stand for, which no notation tells; a step that changes that declares the former type.
"""

from typing import Any, Final, cast, final

from typing_extensions import override

from realmkeep.records.limits import Limits
from realmkeep.records.sexpr.names import Colon
from realmkeep.records.sexpr.reader import Datum, read
from realmkeep.records.sexpr.shapes import (
    INTEGER_MAX,
    INTEGER_MIN,
    STAND_INS,
    UNTYPED,
    Fields,
    Misfit,
    Pairs,
    Shape,
    is_property_list,
)

_READ_ALREADY: Final = Limits(bytes_max=2**40, depth_max=2**20, nodes_max=2**40)  # the caps held when it was first read


@final
class Older(Shape):
    """Today's type of a field, or of what lies inside one, asked about data of a former version.

    Args:
        today: The type's shape.
    """

    def __init__(self, today: Shape) -> None:
        self.today = today
        self.expects = today.expects

    @override
    def reads(self, datum: Datum) -> bool:
        return self.today.reads(datum)

    @override
    def fits(self, value: Any) -> bool:
        return self.today.fits(value)

    @override
    def _plain(self, datum: Any) -> Any:
        if type(datum) is Colon and datum in STAND_INS:
            return UNTYPED.plain(datum)
        if type(datum) is int and INTEGER_MIN <= datum <= INTEGER_MAX:
            return datum  # also where today's field is a float: floats are written as such
        if not isinstance(datum, list):
            return self.today.plain(datum)
        entries = cast("list[Datum]", datum)
        if isinstance(self.today, Pairs) is is_property_list(entries):
            return self.today.plain(entries)
        return self._against_the_notation(entries)

    @override
    def _text(self, value: Any) -> str:
        return self.today.text(value)

    def _against_the_notation(self, entries: list[Datum]) -> Any:
        try:
            plain = self.today.plain(entries)
            again = read(self.today.text(plain).encode(), _READ_ALREADY)
        except Misfit:
            return UNTYPED.plain(entries)
        is_part = not isinstance(self.today, Fields) or plain.keys() <= self.today.shapes.keys()
        return plain if is_part and _is_same(entries, again) else UNTYPED.plain(entries)


def _is_same(one: Datum, other: Datum) -> bool:
    """Equal, also in type: a keyword is no string, and 1 is not 1.0."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return type(one) is type(other) and one == other
