"""The sources of settings: flags, then the environment, then realmkeep.toml, then the defaults."""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from realmkeep.config.sections import SECTIONS, Config
from realmkeep.config.settings import FILE_SUFFIX, Section, Setting, settings_of
from realmkeep.errors import ConfigError, FileRefused
from realmkeep.files import read_file, read_secret

DEFAULT_PATH: Final = Path("realmkeep.toml")
ENVIRONMENT_PREFIX: Final = "REALMKEEP_"
BACKENDS: Final = ("memory", "redis")
DEFAULT_REDIS_URL: Final = "redis://localhost:6379/0"  # the default of the specification's server


def settings() -> dict[str, Setting]:
    """Return every setting by its key, `section.name`, in the order of their declaration."""
    return {
        f"{section_name}.{setting.name}": setting
        for section_name, section in SECTIONS.items()
        for setting in settings_of(section).values()
    }


def load_config(
    *,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    path: Path | None = None,
) -> Config:
    """Load each setting from its flag, else the environment, else the file, else its default.

    `store.url` has two more sources: `MMORPG_DB_BACKEND` (`memory`, or `redis` at `REDIS_URL`) comes between
    `REALMKEEP_STORE__URL` and the file; `REDIS_URL` alone comes between the file and the default.

    A setting that may hold a secret (`store.url`) can be in a file of its own that no other user may read: its key, or its
    variable, with `_file` added names the file (`store.url_file`, `REALMKEEP_STORE__URL_FILE`).

    Blocks while it reads the file: call it before the event loop runs.

    Args:
        flags: Values by key (`"store.url"`); None stands for a flag that was not given. Text is read as in the environment.
        environ: Replaces the process's environment. Text is taken literally, other values are in TOML's notation.
        path: The file, which must exist; None: `./realmkeep.toml` if it exists.

    Raises:
        ConfigError: Settings have a wrong name, type or value, in any source; the message names all of them with their
            sources.
    """
    environ = os.environ if environ is None else environ
    collector = _SettingsCollector()
    collector.file(path)
    collector.backend(environ)
    collector.environment(environ)
    collector.flags(flags or {})
    collector.redis_url_alone(environ)
    return collector.config()


class _Accepted(NamedTuple):
    value: object
    source: str


class _SettingsCollector:
    """Collects settings, from weaker to stronger sources, and all their faults."""

    def __init__(self) -> None:
        self._settings = settings()
        self._accepted: dict[str, _Accepted] = {}
        self._problems: list[str] = []
        self._wrong_sections: set[str] = set()

    def file(self, path: Path | None) -> None:
        """Read the file's tables; only the default file may be absent."""
        source = str(path or DEFAULT_PATH)
        tables: Mapping[str, object] = {}
        try:
            tables = tomllib.loads(read_file(Path(source)).decode("utf-8-sig"))  # some editors add a byte order mark
        except FileNotFoundError:
            if path is not None:
                self._problems.append(f"{source}: there is no such file")
        except FileRefused as error:
            self._problems.append(f"{source} is not read: {error}")
        except OSError as error:
            self._problems.append(f"{source}: cannot be read: {error.strerror}")
        except (ValueError, RecursionError) as error:
            self._problems.append(f"{source}: is not TOML: {error}")
        for section, values in tables.items():
            if section not in SECTIONS:
                self._unknown(section, source)
            elif isinstance(values, dict):
                for name, value in cast("dict[str, object]", values).items():
                    self._take(f"{section}.{name}", value, source)
            else:
                self._problems.append(f"{section} (from {source}): allowed is a table, [{section}]")

    def backend(self, environ: Mapping[str, str]) -> None:
        """Read `MMORPG_DB_BACKEND` and `REDIS_URL`, as the specification's server does."""
        backend = environ.get("MMORPG_DB_BACKEND")
        if backend == "memory":
            self._take("store.url", "memory://", "environment MMORPG_DB_BACKEND")
        elif backend == "redis" and "REDIS_URL" in environ:
            self._take_redis_url(environ["REDIS_URL"])
        elif backend == "redis":
            self._take("store.url", DEFAULT_REDIS_URL, "environment MMORPG_DB_BACKEND")
        elif backend is not None:
            self._problems.append(
                f"MMORPG_DB_BACKEND = {backend!r} (from environment): allowed is {' or '.join(BACKENDS)}"
            )

    def redis_url_alone(self, environ: Mapping[str, str]) -> None:
        """Read `REDIS_URL` if no other source names a store: a host may have set it for another program."""
        if "REDIS_URL" in environ and "MMORPG_DB_BACKEND" not in environ and "store.url" not in self._accepted:
            self._take_redis_url(environ["REDIS_URL"])

    def _take_redis_url(self, url: str) -> None:
        if url.startswith("redis"):
            self._take("store.url", url, "environment REDIS_URL")
        else:
            self._problems.append(
                f"REDIS_URL = {self._settings['store.url'].show(url)} (from environment): "
                "allowed is redis://, rediss:// or redis+unix://"
            )

    def environment(self, environ: Mapping[str, str]) -> None:
        variables = {_variable(key): key for key in self._settings}
        variables |= {
            _variable(key + FILE_SUFFIX): key + FILE_SUFFIX for key, setting in self._settings.items() if setting.mask
        }
        flat = {variable.replace("__", "_"): variable for variable in variables}
        for variable, text in sorted(environ.items()):
            if not variable.startswith(ENVIRONMENT_PREFIX):
                continue
            if key := variables.get(variable):
                self._take(key, text, f"environment {variable}", is_text=True)
            elif "__" in variable or variable.upper() in flat:
                near = flat.get(variable.upper()) or _first(difflib.get_close_matches(variable.upper(), variables, n=1))
                self._problems.append(f"environment variable {variable}: no such setting{_did_you_mean(near)}")

    def flags(self, flags: Mapping[str, object]) -> None:
        for key, value in flags.items():
            if value is not None:
                self._take(key, value, f"flag --{key}", is_text=isinstance(value, str))

    def _take(self, key: str, value: object, source: str, *, is_text: bool = False) -> None:
        setting = self._settings.get(key)
        if setting is None:
            secret = self._settings.get(key.removesuffix(FILE_SUFFIX))
            if secret is not None and secret.mask and isinstance(value, str):
                self._take_from_file(key, value, source)
            else:
                self._unknown(key, source)
            return
        try:
            accepted = setting.accept_text(str(value)) if is_text else setting.accept(value)
        except ConfigError as error:
            section = key.partition(".")[0]
            self._wrong_sections.add(section)
            self._problems.append(f"{section}.{error.message} (from {source})")
        else:
            self._accepted[key] = _Accepted(accepted, source)

    def _take_from_file(self, key: str, path: str, source: str) -> None:
        try:
            secret = read_secret(Path(path))
        except FileRefused as error:
            self._problems.append(f"{key} (from {source}): {error}")
        except OSError as error:
            self._problems.append(f"{key} (from {source}): {path} cannot be read: {error.strerror}")
        else:
            self._take(key.removesuffix(FILE_SUFFIX), secret, f"{path}, named by {source}", is_text=True)

    def _unknown(self, key: str, source: str) -> None:
        """Report an unknown key, without its value: that of a mistyped key may be a secret."""
        leaf = key.rpartition(".")[2]
        same_leaf = [known for known in self._settings if known.endswith(f".{leaf}")]
        near = _first(same_leaf) or _first(difflib.get_close_matches(key, [*self._settings, *SECTIONS], n=1))
        self._problems.append(f"{key} (from {source}): no such setting{_did_you_mean(near)}")

    def config(self) -> Config:
        """Return the settings, or raise an error with all faults."""
        sections: dict[str, Any] = {}
        for name in SECTIONS:
            if name not in self._wrong_sections:
                try:
                    sections[name] = self._section(name)
                except ConfigError as error:
                    self._problems.append(f"{name}: {error.message}")
        if self._problems:
            counted = "a setting is" if len(self._problems) == 1 else f"{len(self._problems)} settings are"
            raise ConfigError("\n  ".join([f"{counted} wrong:", *self._problems]))
        return Config(**sections, sources={key: accepted.source for key, accepted in self._accepted.items()})

    def _section(self, name: str) -> Section:
        """Build one section; the error of a conflict names the sources of its settings."""
        values: dict[str, Any] = {}
        sources: list[str] = []
        for key, accepted in self._accepted.items():
            section, _, setting = key.partition(".")
            if section == name:
                values[setting] = accepted.value
                sources.append(f"{setting} from {accepted.source}")
        try:
            return SECTIONS[name](**values)
        except ConfigError as error:
            raise ConfigError(f"{error.message} ({', '.join(sources)})") from error


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def _first(values: Iterable[str]) -> str | None:
    return next(iter(values), None)


def _did_you_mean(near: str | None) -> str:
    return f"; did you mean {near}?" if near else ""
