"""What a record holds of the game's economy: amounts that are conserved, and serials of items that exist once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from realmkeep.callables import fault_of
from realmkeep.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realmkeep.records.fields import RecordInfo

AmountT = TypeVar("AmountT", bound="Callable[[Any], int]")
SerialsT = TypeVar("SerialsT", bound="Callable[[Any], Iterable[int | None]]")
NAME_CHARS_MAX = 64


class Held(NamedTuple):
    """What one record or letter holds.

    Attributes:
        amounts: The amount of each conserved thing.
        serials: The serials of its items, each as often as it occurs.
    """

    amounts: dict[str, int]
    serials: tuple[int, ...]


def add_conserved(info: RecordInfo, name: str, function: AmountT) -> AmountT:
    """Declare a conserved thing of a class.

    Raises:
        DefinitionError: The name is empty or too long, or declared already; the function does not take one record.
    """
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise DefinitionError(f"{info.kind}: {name!r:.80} does not name a thing", hint='such as "gold"')
    if name in info.conserved:
        raise DefinitionError(f"{info.kind}: {name!r} is conserved already", hint="declare the sum of all of it once")
    _check(info, function)
    info.conserved[name] = function
    return function


def add_serials(info: RecordInfo, field: str, function: SerialsT) -> SerialsT:
    """Declare the function that lists the serials of a class, and the field in which they are stored.

    Raises:
        DefinitionError: There is one already, the field has no name, or the function does not take one record.
    """
    if not isinstance(field, str) or not field.isidentifier():  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise DefinitionError(f"{info.kind}: {field!r:.80} names no field", hint='such as "serial"')
    if info.serials:
        raise DefinitionError(f"{info.kind}: its serials are declared already", hint="list all of them in one function")
    _check(info, function, may_yield=True)
    info.serials.append(function)
    info.serial_fields.append(field)
    return function


def _check(info: RecordInfo, function: object, *, may_yield: bool = False) -> None:
    if (fault := fault_of(function, 1, may_yield=may_yield)) is not None:
        raise DefinitionError(f"{info.kind}: {fault}", hint="pass a plain function of one record")


def held_by(info: RecordInfo, thing: Any) -> Held | None:
    """What a record or a letter holds; None if its class declares nothing.

    Raises:
        Exception: A function of the game raises it.
    """
    if not info.conserved and not info.serials:
        return None
    amounts = {name: function(thing) for name, function in info.conserved.items()}
    serials = tuple([serial for function in info.serials for serial in function(thing) if serial is not None])
    return Held(amounts, serials)
