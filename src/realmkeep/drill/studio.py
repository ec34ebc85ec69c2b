"""A studio's game: found by its name, and checked before a drill begins."""

import sys
from importlib import import_module
from pathlib import Path

from realmkeep.errors import ConfigError
from realmkeep.records import Record
from realmkeep.testing.drill import GameDriver

HINT = "name it as module:attribute, such as mygame.drill:DRIVER; realmkeep.testing.drill has an example"


def load_driver(spec: str) -> GameDriver:
    """Return the driver that a name means; the working directory is searched, too.

    Raises:
        ConfigError: There is none, or it has no record class.
    """
    module, _, attribute = spec.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        driver = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"--game {spec!r:.80}: {error}", hint=HINT) from error
    wanted = [name for name in vars(GameDriver) if not name.startswith("_")]
    if missing := [name for name in wanted if not hasattr(driver, name)]:
        raise ConfigError(f"--game {spec}: it lacks {', '.join(missing)}", hint=HINT)
    if not (isinstance(driver.players, type) and issubclass(driver.players, Record)):
        raise ConfigError(f"--game {spec}: players is no class of records", hint=HINT)
    return driver


def kind_of(driver: GameDriver) -> str:
    """Return the kind of its players, the first part of their keys."""
    return driver.players.__realmkeep__.kind
