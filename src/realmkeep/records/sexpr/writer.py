"""Writes data without a type, so that the reader reads exactly the same data back."""

from fractions import Fraction
from typing import Final

from realmkeep.records.sexpr.names import Colon, Symbol, invert, keyword_text, quoted_symbol
from realmkeep.records.sexpr.reader import NIL, Datum
from realmkeep.records.sexpr.shapes import EMPTY, FLOAT, INT, STAND_INS, TEXT

_OF_TRUE: Final = "t"


def datum_text(datum: Datum) -> str:
    """Write a datum as text.

    Raises:
        Misfit: A number that no field can hold.
    """
    if datum is NIL:
        return "nil"
    if isinstance(datum, list):
        return f"({' '.join(map(datum_text, datum))})" if datum else EMPTY
    if datum in STAND_INS:
        return f":{datum}"
    if isinstance(datum, Symbol):
        quoted = quoted_symbol(invert(datum))
        return keyword_text(datum) or f":{quoted}" if isinstance(datum, Colon) else quoted
    if datum is True:
        return _OF_TRUE
    if isinstance(datum, Fraction):
        return f"{datum.numerator}/{datum.denominator}"
    return next(leaf for leaf in (INT, FLOAT, TEXT) if leaf.reads(datum)).text(datum)
