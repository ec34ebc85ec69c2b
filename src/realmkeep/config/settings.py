"""One setting: its type, bounds, default and meaning are read from its declaration in a section."""

import functools
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast, get_type_hints

import msgspec
from msgspec import inspect

from realmkeep.errors import ConfigError

FILE_SUFFIX: Final = "_file"  # with it, the name of a secret setting names the file of its value
SHOWN_CHARS_MAX: Final = 200  # of a wrong value, in an error
_PASSWORD_IN_QUERY = re.compile(r"([?&]\w*password=)[^&#]*")
_USER_INFO = re.compile(r"^([A-Za-z0-9+.-]+://)?.*@", re.DOTALL)


def mask_url(url: str) -> str:
    """Replace by `***`, even in a malformed `url`, everything before the last `@` and a password in its query.

    Raises:
        ConfigError: It is not text.
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a game may not be typed
        raise ConfigError(f"a URL is a {type(url).__name__}", hint="pass text")
    return _USER_INFO.sub(r"\1***@", _PASSWORD_IN_QUERY.sub(r"\1***", url))


def mask_all(secret: str) -> str:
    """Return `***` for a secret; nothing for an empty one."""
    return "***" if secret else ""


@dataclass(frozen=True)
class Setting:
    """One field of a section.

    Attributes:
        name: Its name within the section; the unit comes last.
        type: The annotated type with its bounds.
        default: Its value if no source sets it.
        allowed: The allowed range, in words.
        meaning: Its effect, in one sentence.
        mask: Hides the secret in a text value; None if it holds none.
    """

    name: str
    type: Any
    default: object
    allowed: str
    meaning: str
    mask: Callable[[str], str] | None

    def show(self, value: object) -> str:
        """Return `value` in TOML's notation with secrets masked, fit for logs."""
        if self.mask:
            return _quoted(self.mask(value)) if isinstance(value, str) else "***"
        return to_toml(value)

    def accept(self, value: object) -> object:
        """Return `value` as the declared type; a float also accepts a whole number.

        Raises:
            ConfigError: It has another type or is out of range.
        """
        try:
            return msgspec.convert(value, self.type)
        except (msgspec.ValidationError, UnicodeEncodeError):  # the second for lone surrogates
            # From None: the cause may quote the value, and the value may be a secret.
            shown = self.show(value)
            if len(shown) > SHOWN_CHARS_MAX:
                shown = f"{shown[:SHOWN_CHARS_MAX]}..."
            raise ConfigError(f"{self.name} = {shown}: allowed is {self.allowed}") from None

    def accept_text(self, text: str) -> object:
        """Return the value of `text`: a text setting takes it literally, every other reads TOML's notation (`true`, `0.5`).

        Raises:
            ConfigError: It has another notation or type, or is out of range.
        """
        return self.accept(text if _takes_text(inspect.type_info(self.type)) else _from_toml(text))


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A group of settings, checked whenever one is built.

    A setting is a field `name_unit: Annotated[type, Meta(ge=..., le=..., description=...)] = default`. In `Meta(extra=...)`,
    `allowed` is the range in words if there are no bounds, and `mask` is the function that hides a secret.
    """

    def __post_init__(self) -> None:
        for setting in settings_of(type(self)).values():
            msgspec.structs.force_setattr(self, setting.name, setting.accept(getattr(self, setting.name)))
        if conflicts := [*self.conflicts()]:
            raise ConfigError("; ".join(conflicts))

    def conflicts(self) -> Iterable[str]:
        """Yield a sentence for each contradiction between settings that are each in range."""
        return ()

    def __repr__(self) -> str:
        shown = (f"{s.name}={s.show(getattr(self, s.name))}" for s in settings_of(type(self)).values())
        return f"{type(self).__name__}({', '.join(shown)})"


@functools.cache
def settings_of(section: type[Section]) -> Mapping[str, Setting]:
    """Return the settings of a section by name, in the order of their declaration."""
    types = get_type_hints(section, include_extras=True)
    info = inspect.type_info(section)
    assert isinstance(info, inspect.StructType)
    return {field.name: _setting(field, types[field.name]) for field in info.fields}


def _setting(field: inspect.Field, annotated: Any) -> Setting:
    extra: Mapping[str, Any] = {}
    schema: Mapping[str, str] = {}
    if isinstance(field.type, inspect.Metadata):
        extra = cast("Mapping[str, Any]", field.type.extra or {})
        schema = cast("Mapping[str, str]", field.type.extra_json_schema or {})
    return Setting(
        name=field.name,
        type=annotated,
        default=field.default_factory() if field.default is msgspec.NODEFAULT else field.default,
        allowed=extra.get("allowed") or _allowed(field.type),
        meaning=schema.get("description", ""),
        mask=extra.get("mask"),
    )


def _allowed(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _allowed(kind.type)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number from {kind.ge} to {kind.le}"
        case inspect.FloatType():
            return f"a number from {kind.ge} to {kind.le}"
        case inspect.LiteralType():
            return " or ".join(str(value) for value in kind.values)
        case inspect.ListType() | inspect.VarTupleType():
            return f"an array, each {_allowed(kind.item_type)}"
        case _:
            return "text"


def _takes_text(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return _takes_text(kind.type)
    return isinstance(kind, (inspect.StrType, inspect.LiteralType))


def _from_toml(text: str) -> object:
    """Return the single TOML value in `text`; otherwise the text itself, which no other type accepts."""
    try:
        # Within an array neither a comment nor a second key can follow the value.
        parsed = tomllib.loads(f"value = [{text}]")
    except (ValueError, RecursionError):  # also for thousands of digits or brackets
        return text
    values = parsed.pop("value")
    return values[0] if len(values) == 1 and not parsed else text


def to_toml(value: object) -> str:
    """Return `value` in TOML's notation."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(to_toml(entry) for entry in cast('Iterable[object]', value))}]"
    if isinstance(value, int) and value.bit_length() > 64:
        return "an integer beyond 64 bits"  # str() refuses thousands of digits
    return str(value)


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON allows it, TOML does not
    return quoted.encode("utf-8", "backslashreplace").decode()  # a lone surrogate would make its log line fail
