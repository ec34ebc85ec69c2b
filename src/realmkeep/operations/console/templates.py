"""The templates of the console, compiled when this module is imported; every value is escaped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from jinja2 import DictLoader, Environment, StrictUndefined

from realmkeep.operations.backup.moments import show_duration
from realmkeep.operations.console.assets import ASSETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template

FOLDER: Final = Path(__file__).with_name("templates")
US: Final = 1_000_000


def moment(us: float | None) -> str:
    """A time in microseconds since the Unix epoch, to the second, in UTC."""
    return "-" if not us else f"{datetime.fromtimestamp(us / US, UTC):%Y-%m-%d %H:%M:%S}"


def plain(value: Any) -> str:
    """A value of JSON's types as one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _compiled() -> dict[str, Template]:
    sources = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.iterdir())}
    made = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"moment": moment, "plain": plain, "duration": show_duration}
    cast("dict[str, Any]", made.globals)["versions"] = {name: asset.version for name, asset in ASSETS.items()}
    return {name: made.get_template(name) for name in sources}


TEMPLATES: Final[Mapping[str, Template]] = MappingProxyType(_compiled())
