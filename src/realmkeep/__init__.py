"""Realmkeep keeps what players earn: records that live in a game server's memory, durable when their worth demands.

Everything a game needs by name is here; what its tests need is in `realmkeep.testing`. Importing this opens nothing and
imports no driver; the names are imported when the first of them is used, so that a command that needs none starts at once.
"""

import importlib.util
import typing

if typing.TYPE_CHECKING:
    from .public import *  # noqa: F403 - relative, or type checkers take it for another's package
    from .public import __all__ as __all__


def __getattr__(name: str) -> object:
    """A public name; all of them are here from then on."""
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'realmkeep' has no attribute {name!r}")
    if importlib.util.find_spec(f"realmkeep.{name}") is not None:  # a module, which may be one of those that lead here
        return importlib.import_module(f"realmkeep.{name}")
    public = importlib.import_module("realmkeep.public")
    names: list[str] = public.__all__
    globals().update({each: getattr(public, each) for each in names}, __all__=names)
    try:
        return globals()[name]
    except KeyError:
        raise AttributeError(f"module 'realmkeep' has no attribute {name!r}") from None
