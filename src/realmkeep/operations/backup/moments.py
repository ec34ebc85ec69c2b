"""Moments as operators write and read them, always in UTC."""

import datetime as dt

from realmkeep.errors import ConfigError


def parse_second(text: str) -> int:
    """The second, since 1970, that an operator names.

    Args:
        text: `2026-11-30T08:00:03Z`, the same with another zone (`+01:00`) or without one (UTC), or a number.

    Raises:
        ConfigError: It is no such moment.
    """
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text[:40]!r} is no moment", hint="2026-11-30T08:00:03Z") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp())


def show_moment(at_us: int) -> str:
    """A moment to the second, `2026-11-30 08:00:03 UTC`."""
    return f"{dt.datetime.fromtimestamp(at_us // 1_000_000, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def show_duration(seconds: float) -> str:
    """A duration in its two largest units: `42 min 10 s`."""
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
