"""Imports an object that a setting names: the declarations of a game, for its operators."""

from importlib import import_module
from typing import TypeVar

from realmkeep.errors import ConfigError

T = TypeVar("T")


def import_named(name: str, kind: type[T], *, setting: str, example: str) -> T:
    """Import the object that a setting names.

    Args:
        name: `module:object`.
        kind: Its class.
        setting: The setting, for the error.
        example: A name of such an object, for the hint.

    Raises:
        ConfigError: There is no such object, or it is of another class.
    """
    hint = f"name it as module:object, such as {example}; the object is a {kind.__name__}"
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{setting} = {name!r} cannot be imported: {error}", hint=hint) from error
    if not isinstance(found, kind):
        raise ConfigError(f"{setting} = {name!r} is a {type(found).__name__}", hint=hint)
    return found
