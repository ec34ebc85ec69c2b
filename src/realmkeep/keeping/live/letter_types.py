"""Types of letters: the content of a letter, declared, versioned and migrated as a record is."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final, TypeVar, cast, dataclass_transform, overload
from weakref import WeakValueDictionary

import msgspec

from realmkeep.errors import Corrupt, DefinitionError, Misuse
from realmkeep.keeping.live.envelope import PLAIN, Envelope, open_envelope
from realmkeep.records import RecordInfo
from realmkeep.records.definition import build_record_info, part_fields
from realmkeep.records.economy import AmountT, SerialsT, add_conserved, add_serials
from realmkeep.records.migrations import add_step, check_chains, migrate

RETURNED: Final = "returned"  # the kind of a letter that came back: it never goes back again

M = TypeVar("M", bound="LetterMeta")
StepT = TypeVar("StepT", bound=Callable[[dict[str, Any]], dict[str, Any]])

_kinds: "WeakValueDictionary[str, LetterMeta]" = WeakValueDictionary()


def _register(cls: "LetterMeta", info: RecordInfo) -> None:
    """Claim a kind; the same class defined again, by reloading its module, takes its own place.

    A class defined inside a function claims nothing: nothing else can reach it.

    Raises:
        DefinitionError: Another type has this kind.
    """
    if "<locals>" in cls.__qualname__:
        return
    other = _kinds.get(info.kind)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise DefinitionError(
            f"{cls.__name__}: {other.__module__}.{other.__qualname__} has the kind {info.kind!r} already",
            hint="a stored letter would be of either: give one another kind",
        )
    _kinds[info.kind] = cls


@dataclass_transform(frozen_default=True, kw_only_default=True)
class LetterMeta(msgspec.StructMeta):
    """Makes types of letters; `Letter` has their guarantees."""

    def __new__(  # noqa: PYI019 - a metaclass may not say Self
        mcls: type[M],
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        kind: str | None = None,
        version: int = 1,
    ) -> M:
        """Check the class body and make the class."""
        if any(hasattr(base, "__letter__") for base in bases):
            raise DefinitionError(
                f"{name} derives from the letter {bases[0].__name__}", hint="declare all fields in one letter"
            )
        is_base = not any(isinstance(base, LetterMeta) for base in bases)
        if kind is None and not is_base:
            raise DefinitionError(f"{name} has no kind", hint=f'write class {name}(Letter, kind="...", version=1)')
        for field in () if is_base else part_fields(name, namespace):
            if field.known is not None or (field.ge, field.le, field.length_max) != (None, None, None):
                raise DefinitionError(f"{name}.{field.name} has bounds", hint="check them in the hook of on_letter")
        cls = super().__new__(
            mcls, name, bases, namespace, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True
        )
        if kind is not None:
            internal = str(namespace.get("__module__", "")).startswith("realmkeep.keeping.")
            info = build_record_info(name, kind, version, "", {}, keep_unknown=False, internal=internal)
            if kind == RETURNED and not internal:
                raise DefinitionError(f"{name}: kind {RETURNED!r} is keeping's own", hint="give it another kind")
            cast("Any", cls).__letter__ = info
            _register(cls, info)
        return cls


class Letter(msgspec.Struct, metaclass=LetterMeta):
    """The base of all types of letters.

    ```python
    class Gift(Letter, kind="gift", version=2):
        gold: int
        wish: str = ""


    @Gift.migration(1)
    def _(gift: dict) -> dict:
        return gift | {"gold": gift.pop("amount")}
    ```

    A letter is immutable, made by keyword; its fields are as a Part's, without bounds. It is stored with its kind and
    version, and read by the type for which its receiver's hook is registered: `@hooks.on_letter(Player, Gift)`.

    Args:
        kind: Names the type in the store, formed as a record's kind. No two types of a program share it.
        version: From 1; raise it, and add a migration, when letters that are under way must change.
    """

    __letter__: ClassVar[RecordInfo]

    @classmethod
    def migration(cls, version: int) -> Callable[[StepT], StepT]:
        """Register the step from `version` to `version + 1`, as of a record. Steps are never deleted.

        Raises:
            DefinitionError: There is no such version, it has a step already, or the step is no plain function.
        """
        return add_step(cls.__letter__, version)

    @overload
    @classmethod
    def conserved(cls, name: str, function: AmountT, /) -> AmountT: ...
    @overload
    @classmethod
    def conserved(cls, name: str, /) -> Callable[[AmountT], AmountT]: ...
    @classmethod
    def conserved(cls, name: str, function: Any = None, /) -> Any:
        """Declare a conserved thing that a letter carries; as `Record.conserved`.

        Raises:
            DefinitionError: As `Record.conserved`.
        """
        add = partial(add_conserved, cls.__letter__, name)
        return add if function is None else add(function)

    @overload
    @classmethod
    def serials(cls, function: SerialsT, /) -> SerialsT: ...
    @overload
    @classmethod
    def serials(cls, /, *, field: str) -> Callable[[SerialsT], SerialsT]: ...
    @classmethod
    def serials(cls, function: Any = None, /, *, field: str = "serial") -> Any:
        """Declare the items that a letter carries; as `Record.serials`.

        Raises:
            DefinitionError: As `Record.serials`.
        """
        add = partial(add_serials, cls.__letter__, field)
        return add if function is None else add(function)


class Returned(Letter, kind=RETURNED):
    """A letter that came back to the record that sent it, because it was refused, was too late, or found no receiver.

    Attributes:
        reason: The reason that the hook gave in `Return`; or `expired`, `no record`, or an operator's reason.
        receiver: The key of the record to which it was sent.
        envelope: The letter as it was stored.
    """

    reason: str
    receiver: str
    envelope: str

    def open(self, *types: type[Letter]) -> Any:
        """The content of the letter as it was sent: plain values, or a letter of one of these types.

        Raises:
            Misuse: It is of none of them.
            RecordError: It is of a newer version, or cannot be brought to the current one.
        """
        letter = open_envelope(self.envelope.encode())
        if letter.kind == PLAIN:
            return letter.content
        for each in types:
            if each.__letter__.kind == letter.kind:
                return open_letter(letter, each)
        raise Misuse(
            f"a letter of kind {letter.kind!r} came back", hint="name its type, too: returned.open(Gift, Mail)"
        )


def open_letter(letter: Envelope, of: type[Letter]) -> Letter:
    """The content of a stored letter, as a letter of this type.

    Raises:
        Corrupt: It is not of the type's fields.
        RecordTooNew: A newer release wrote it.
        MigrationFailed: It cannot be brought to the current version.
    """
    info = of.__letter__
    content = letter.content
    if type(content) is not dict:
        raise Corrupt(f"a letter of kind {info.kind} holds no fields", hint="it is kept as it is")
    plain = cast("dict[str, Any]", content)
    current = migrate({**plain, "version": letter.version}, info)
    del current["version"]
    try:
        return msgspec.convert(current, of)
    except msgspec.ValidationError as error:
        raise Corrupt(
            f"a letter of kind {info.kind}, version {letter.version}: {error}",
            hint="mend its type, or the migration; the letter is kept as it is",
        ) from error


def check_letter_type(of: object, where: str) -> None:
    """Refuse a value that is no type of letters, and a type with a gap in its migrations.

    Raises:
        Misuse: It is no type of letters.
        DefinitionError: Steps are missing.
    """
    if not (isinstance(of, LetterMeta) and hasattr(of, "__letter__")):
        raise Misuse(f"{where} got {of!r:.80}", hint='pass a class such as Gift(Letter, kind="gift", version=1)')
    _check([of])


def check_letter_types() -> None:
    """Check the migrations of every type of letters that there is.

    Raises:
        DefinitionError: Steps are missing.
    """
    _check([of for _, of in sorted(_kinds.items())])


class _Chain:
    """A type of letters, as the checks of migrations want to see a record class."""

    def __init__(self, info: RecordInfo) -> None:
        self.__realmkeep__ = info


def _check(types: list[LetterMeta]) -> None:
    check_chains([cast("Any", _Chain(cast("type[Letter]", of).__letter__)) for of in types])
