"""Realmkeep keeps what players earn: records live in a game server's memory and become durable as soon as they must.

A game imports its names from here, and its tests from `realmkeep.testing`. The import opens no file and no connection and
imports no driver. The names are imported when the first of them is used, so that a command that needs none starts at once.
"""

import importlib.util
import typing

if typing.TYPE_CHECKING:
    from .public import *  # noqa: F403 - relative: type checkers would take an absolute import for another package
    from .public import __all__ as __all__

_ROOMS = ("errors", "records", "keeping", "storage", "config", "clock")


def __getattr__(name: str) -> object:
    """Return a public name; the first use imports all of them.

    Raises:
        ImportError: The name is public in another module; the message says which. `from realmkeep import ...` would
            replace the message of an `AttributeError` by its own.
        AttributeError: No module has it.
    """
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'realmkeep' has no attribute {name!r}")
    if importlib.util.find_spec(f"realmkeep.{name}") is not None:  # a module; it may be importing this package just now
        return importlib.import_module(f"realmkeep.{name}")
    public = importlib.import_module("realmkeep.public")
    names: list[str] = public.__all__
    globals().update({each: getattr(public, each) for each in names}, __all__=names)
    try:
        return globals()[name]
    except KeyError:
        for room in _ROOMS:
            module = importlib.import_module(f"realmkeep.{room}")
            if (
                name in getattr(module, "__all__", ())
                or getattr(vars(module).get(name), "__module__", "") == module.__name__
            ):
                raise ImportError(f"{name} is public in another module: from realmkeep.{room} import {name}") from None
        raise AttributeError(f"module 'realmkeep' has no attribute {name!r}") from None
