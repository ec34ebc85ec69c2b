"""Reads data of a former schema version by their notation, if only today's types are known.

A migration's step must see the same data whichever codec wrote them. JSON itself tells a list from a dictionary. A Lisp
list may be either, so its notation decides, not today's type of the field: a list with keywords in the places of keys is a
dictionary. Today's type overrules the notation only if it would have written the very same data, as a
`tuple[Keyword, int]` writes `(:town 3)`. Today's type still gives `nil` and the letters of keys their meaning, because the
notation cannot; a step that changes this declares the former type.
"""

from typing import Any, Final, cast, final

from typing_extensions import override

from realmkeep.records.limits import Limits
from realmkeep.records.plain import INTEGER_MAX, INTEGER_MIN
from realmkeep.records.sexpr.names import Colon
from realmkeep.records.sexpr.reader import Datum, read
from realmkeep.records.sexpr.shapes import (
    STAND_INS,
    UNTYPED,
    Fields,
    Misfit,
    Pairs,
    Shape,
    is_property_list,
)

_READ_ALREADY: Final = Limits(bytes_max=2**40, depth_max=2**20, nodes_max=2**40)  # the caps held at the first reading


@final
class FormerShape(Shape):
    """Today's type of a field, or of a part of one, applied to data of a former version.

    Args:
        today: The shape of today's type.
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
            return datum  # an int, even if today's field is a float: floats have a notation of their own
        if not isinstance(datum, list):
            return self.today.plain(datum)
        entries = cast("list[Datum]", datum)
        if isinstance(self.today, Pairs) is is_property_list(entries):
            return self.today.plain(entries)
        return self._by_todays_type_if_it_writes_the_same(entries)

    @override
    def _text(self, value: Any) -> str:
        return self.today.text(value)

    def _by_todays_type_if_it_writes_the_same(self, entries: list[Datum]) -> Any:
        try:
            plain = self.today.plain(entries)
            again = read(self.today.text(plain).encode(), _READ_ALREADY)
        except Misfit:
            return UNTYPED.plain(entries)
        is_part = not isinstance(self.today, Fields) or plain.keys() <= self.today.shapes.keys()
        return plain if is_part and _is_same(entries, again) else UNTYPED.plain(entries)


def _is_same(one: Datum, other: Datum) -> bool:
    """Whether two data are equal and of equal types: a keyword is not a string, and 1 is not 1.0."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return type(one) is type(other) and one == other
